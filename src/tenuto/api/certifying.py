"""Certificates in one call: for a run, or for any model and inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tenuto.api.progress import SILENT, Progress
from tenuto.api.runs import Run, check_domain, open_run
from tenuto.attacks.checks import require_whole
from tenuto.data.batches import Batch
from tenuto.errors import ConfigError
from tenuto.evaluation import certifying
from tenuto.evaluation.certificates import Smoothing, draws_needed, summary
from tenuto.models.recogniser import Recogniser
from tenuto.models.systems import for_attack

Numbers = float | Sequence[float]

MOST_DRAWS = 100_000
"""Where a bound needs more, a larger sigma is the better advice."""


@dataclasses.dataclass(frozen=True)
class Certificates:
    """Proven bounds on the predictions of a smoothed model.

    Attributes:
        rows: A line per clip, sigma, radius and output: for every perturbation with an L2 norm up to ``radius``, the
            prediction of the smoothed model is between ``low`` and ``high``, with the confidence that was asked for.
            ``median`` is its prediction without one, ``clean`` that of the model without noise. Bounds are infinite
            (or the ends of the rating scale) where there were too few draws.
        remarks: What limits the rows, a sentence each.
    """

    rows: pd.DataFrame
    remarks: tuple[str, ...] = ()

    @property
    def summary(self) -> pd.DataFrame:
        """A line per sigma and radius, see `tenuto.evaluation.certificates.summary`."""
        return summary(self.rows)

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        return str(self.summary.to_html(index=False, float_format="{:.4f}".format))


def certify(
    model: Run | Recogniser | str | Path,
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
    progress: Progress = SILENT,
    **settings: Any,
) -> Certificates:
    """Certify a model by median smoothing: bounds that no perturbation inside a radius can leave.

    Args:
        model: An open run or its folder, whose clips are certified; or a recogniser, whose ``inputs`` are.
        inputs: Of a recogniser (n, ...), as it takes them. Of a run ``waveform`` or ``spectrogram``; default: the
            waveform with ``snr_db``, else what its model takes.
        sigma: Standard deviation of the noise, in the unit of the input; one or several.
        radius: L2 sizes of the perturbations; by default sigma / 4, sigma / 2 and sigma, of the largest sigma.
        snr_db: Sizes in dB below each clip, for waveforms.
        labels: (n, emotions), with ``inputs``, for errors.
        names: n names of the inputs.
        root: As in `open_run`, as is ``cache``.
        part: Part of the split.
        clips: The first so many of its clips; all by default.
        device: ``cpu`` or ``cuda``.
        batch_size: Noisy inputs predicted together; default: 6, on a GPU 64.
        progress: Receives progress.
        settings: Further settings of `tenuto.evaluation.certificates.Smoothing`: ``draws``, ``confidence``,
            ``clips_together``, ``clip_to_scale``, ``seed``, ``precision``.

    Raises:
        ConfigError: A setting out of range, inputs for a run that it does not have, or labels or names that do not
            fit the inputs.
        CheckpointError: Noisy predictions in the run folder belong to earlier weights.
    """
    smoothings = [Smoothing(sigma=one, **settings) for one in _numbers(sigma)]
    if not smoothings:
        raise ConfigError("sigma is empty: give at least one, such as 0.216.")
    sizes, decibels = _numbers(radius), _numbers(snr_db)
    if not sizes and not decibels:
        largest = max(one.sigma for one in smoothings)
        sizes = (largest / 4, largest / 2, largest)
    radii = certifying.Radii(sizes, decibels)
    if batch_size is not None:
        require_whole("batch_size", batch_size, 1)
    if clips is not None:
        require_whole("clips", clips, 1)
    if isinstance(model, Recogniser):
        if not isinstance(inputs, Tensor):
            raise ConfigError(f"inputs must be a tensor for a recogniser, got {inputs!r}; or name a run.")
        rows = _of_inputs(model, inputs, smoothings, radii, labels, names, device, batch_size, progress)
        return Certificates(rows, _remarks(rows, smoothings))
    if inputs not in (None, "waveform", "spectrogram") or labels is not None or names is not None:
        raise ConfigError(
            "a run has its own clips: inputs must be 'waveform' or 'spectrogram', and labels and names are left out."
        )
    run = model if isinstance(model, Run) else open_run(model, root, cache=cache, progress=progress)
    check_domain(run.recogniser, inputs)
    run = run.in_sound() if inputs == "waveform" or (inputs is None and decibels) else run
    if decibels and not run.recogniser.inputs.is_sound:
        raise ConfigError(
            "`snr_db` is for waveforms, not for `inputs=spectrogram`: leave one of the two out, or give `radius`."
        )
    count = len(run.part(part)) if clips is None else min(clips, len(run.part(part)))
    with progress.bar("certify", count * len(smoothings)) as advance:
        rows = certifying.certify(run, smoothings, radii, part, clips, device, batch_size, advance)
    return Certificates(rows, _remarks(rows, smoothings))


def _of_inputs(
    model: Recogniser,
    inputs: Tensor,
    smoothings: Sequence[Smoothing],
    radii: certifying.Radii,
    labels: Tensor | None,
    names: Sequence[str] | None,
    device: str,
    batch_size: int | None,
    progress: Progress,
) -> pd.DataFrame:
    """Rows of a recogniser on inputs."""
    if radii.snr_db and not model.inputs.is_sound:
        raise ConfigError(
            "`snr_db` is for waveforms, but this model takes a log spectrogram or features. Give `radius`, or certify "
            "model.in_sound()."
        )
    rated, count = labels is not None, len(inputs)
    named = tuple(map(str, range(count) if names is None else names))
    if len(named) != count or len(set(named)) < count:  # a name stands for the draws of its input
        raise ConfigError(f"names must be {count} different names, one for each of the inputs.")
    if labels is not None and labels.shape != (count, len(model.emotions)):
        raise ConfigError(
            f"labels has shape {tuple(labels.shape)}, must be ({count}, {len(model.emotions)}): inputs and emotions."
        )
    clips = Batch(
        named,
        inputs.detach().to(device),
        torch.zeros(count, len(model.emotions), device=device) if labels is None else labels.to(device),
        None,
    )
    network = for_attack(model.network).to(device)
    with progress.bar("certify", count * len(smoothings)) as advance:
        tables = [
            certifying.certify_clips(
                network,
                clips,
                model.emotions,
                smoothing,
                radii,
                scale=model.scale,
                rated=rated,
                batch_size=batch_size,
                progress=advance,
            )
            for smoothing in smoothings
        ]
    return pd.concat(tables, ignore_index=True)


def _numbers(value: Numbers) -> tuple[float, ...]:
    return (value,) if isinstance(value, int | float) else tuple(value)


def _remarks(rows: pd.DataFrame, smoothings: Sequence[Smoothing]) -> tuple[str, ...]:
    """A sentence for every sigma that has too few draws for one of its radii."""
    sentences, outputs, clips = [], rows["output"].nunique(), rows["clip"].nunique()
    for smoothing in smoothings:
        own = rows[rows["sigma"] == smoothing.sigma]
        needs = {
            radius: draws_needed(radius / smoothing.sigma, smoothing.risk(outputs, clips))
            for radius in sorted(own["radius"].unique())
        }
        if lacking := [radius for radius, needed in needs.items() if needed > smoothing.draws]:
            needed = needs[lacking[-1]]
            fix = f"{needed} draws" if needed <= MOST_DRAWS else "a larger sigma"
            at, which = (
                (f"a radius of {lacking[0]:.4g}", "which")
                if len(lacking) == 1
                else (f"radii of {lacking[0]:.4g} to {lacking[-1]:.4g}", "the largest of which")
            )
            sentences.append(
                f"sigma {smoothing.sigma:g}: {smoothing.draws} draws give no bound at {at}, {which} needs {fix}."
            )
    return tuple(sentences)
