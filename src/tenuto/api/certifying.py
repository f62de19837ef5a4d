"""Certificates in one call, for a run or for any model and inputs, and both sides of the error in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from tenuto.analysis import certificates
from tenuto.analysis.certificates import Sandwich
from tenuto.api.calls import as_run, opening_of, refuse
from tenuto.api.certificates import Certificates, certify_inputs
from tenuto.api.comparing import Place, Places
from tenuto.api.progress import SILENT, Progress
from tenuto.api.runs import Run
from tenuto.arguments import as_list, checked, checked_with
from tenuto.errors import ConfigError
from tenuto.evaluation.certifying import Numbers, Request
from tenuto.models.recogniser import Recogniser
from tenuto.reporting import write_sandwich
from tenuto.store.location import complete


@checked_with(model="`tenuto.adopt(model, emotions=..., ...)` makes a recogniser of a model.")
def certify(
    model: Run | Recogniser | str | Path,
    /,
    inputs: Tensor | str | None = None,
    *,
    sigma: Numbers,
    radius: Numbers = (),
    snr_db: Numbers = (),
    labels: Tensor | None = None,
    names: Sequence[str] | None = None,
    root: str | Path | None = None,
    cache: str | Path | None = None,
    part: str = "test",
    clips: int | None = None,
    device: str = "cpu",
    batch_size: int | None = None,
    attack_steps: int = 0,
    progress: Progress = SILENT,
    **settings: Any,
) -> Certificates:
    """Certify a model by median smoothing: bounds that no perturbation inside a radius can leave.

    Args:
        model: An open run or its folder, whose clips are certified; or a recogniser, whose ``inputs`` are.
        inputs: Of a recogniser (n, ...), as it takes them. Of a run ``waveform`` or ``spectrogram``; default: the
            waveform with ``snr_db``, else what its model takes.
        sigma: Standard deviation of the noise, in the unit of the input; one or several.
        radius: L2 sizes of the perturbations; by default sigma / 4, sigma / 2 and sigma, of every sigma its own.
        snr_db: Sizes in dB below each clip, for waveforms.
        labels: (n, emotions), with ``inputs``, for errors.
        names: n names of the inputs.
        root: As in `open_run`, as are ``cache``, ``data``, ``model``, ``front_end`` and ``trust``.
        part: Part of the split.
        clips: The first so many of its clips, or of the inputs; all by default.
        device: ``cpu`` or ``cuda``.
        batch_size: Noisy inputs predicted together, at most 64; default: 6, on a GPU 64.
        attack_steps: Gradient steps of an attack on the smoothed model at every radius, such as 50: the lower bound
            that belongs to the certificate. Every step takes eight gradients. Default: no attack.
        progress: Receives progress.
        settings: Further settings of `tenuto.evaluation.certificates.Smoothing`: ``draws``, ``confidence``,
            ``clips_together``, ``clip_to_scale``, ``seed``, ``precision``.

    Raises:
        AttackError: Inputs that are no floating point batch, not finite, or not as the model takes them.
        ConfigError: A setting out of range, inputs for a run that it does not have, or labels or names that do not
            fit the inputs.
        CheckpointError: Noisy predictions in the run folder belong to earlier weights.
        DataError: A part without clips, a silent clip with ``snr_db``, or a prediction that is not finite.
    """
    opening = {"root": root, "cache": cache, **opening_of(settings)}
    if isinstance(model, Recogniser):
        refuse(**opening)
        if not isinstance(inputs, Tensor):
            raise ConfigError(
                f"inputs of a recogniser must be a tensor, got {type(inputs).__name__}; or name a run."
            )
        request = Request.of(sigma, radius, snr_db, clips, device, batch_size, attack_steps, **settings)
        return certify_inputs(model, inputs, labels, names, request, progress)
    if (
        not isinstance(inputs, str | None)
        or inputs not in (None, "waveform", "spectrogram")
        or labels is not None
        or names is not None
    ):
        raise ConfigError(
            "a run has its own clips: inputs must be 'waveform' or 'spectrogram', and labels and names are left out."
        )
    run = as_run(model, progress=progress, **opening)
    return run.certify(
        inputs,
        sigma=sigma,
        radius=radius,
        snr_db=snr_db,
        part=part,
        clips=clips,
        device=device,
        batch_size=batch_size,
        attack_steps=attack_steps,
        **settings,
    )


@checked
def sandwich(source: pd.DataFrame | Places, part: str = "test", *, out: Place | None = None) -> Sandwich:
    """The error of smoothed models over the radius: what an attack reaches, and what no perturbation can exceed.

    Args:
        source: Rows of `certify` with labels, or folders of runs or studies with certificates.
        part: Part of the split, for folders.
        out: Folder for the table and the figure; default: nothing is written.

    Raises:
        DataError: Rows without labels, or folders without certificates.
        FileError: No such folder, or a damaged file.
    """
    if isinstance(source, pd.DataFrame):
        both = certificates.sandwich(source)
    else:
        both = certificates.from_folders([complete(place) for place in as_list(source, "source")], part)
    if out is not None:
        write_sandwich(both, out)
    return both
