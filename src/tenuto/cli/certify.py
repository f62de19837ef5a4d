"""`tenuto certify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common
from tenuto.cli.attack import Precision
from tenuto.cli.common import notes, out
from tenuto.cli.screen import certificate_table
from tenuto.errors import ConfigError


def certify(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    root: common.RunRoot = None,
    data: common.OtherData = None,
    trust: common.Trust = False,
    sigma: Annotated[
        list[float] | None,
        typer.Option(
            help="Standard deviation of the noise, in the unit of the input; may be repeated.",
            show_default=False,
        ),
    ] = None,
    radius: Annotated[
        list[float] | None,
        typer.Option(
            help="L2 size of the perturbations; may be repeated.",
            show_default="sigma / 4, sigma / 2 and sigma, of each sigma",
        ),
    ] = None,
    snr_db: Annotated[
        list[float] | None,
        typer.Option("--db", help="Size in dB below each clip, for waveforms; may be repeated."),
    ] = None,
    draws: Annotated[int, typer.Option(help="Number of noisy predictions of every clip.")] = 1000,
    confidence: Annotated[float, typer.Option(help="Confidence level of each clip's bounds.")] = 0.95,
    clips_together: Annotated[
        bool, typer.Option("--clips-together", help="Apply the confidence level jointly to all clips.")
    ] = False,
    unclipped: Annotated[
        bool,
        typer.Option("--no-clip-to-scale", help="Do not clip noisy predictions to the rating scale."),
    ] = False,
    attack_steps: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of steps (eight gradients each) of an attack on the smoothed model, at every radius.",
            show_default="no attack",
        ),
    ] = 0,
    domain: common.Domain = None,
    clips: Annotated[
        int | None, typer.Option(min=1, help="Use only the first N clips.", show_default="all")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Number of noisy inputs evaluated together.", show_default="6; GPU: 64"),
    ] = None,
    split: common.Part = common.PartName.test,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    precision: Annotated[
        Precision,
        typer.Option(metavar="NAME", help="Precision of the certified network: float32 or bfloat16."),
    ] = Precision.float32,
    cache: common.Cache = None,
    device: common.Device = "cpu",
    as_json: common.AsJson = False,
) -> None:
    """Bound how far any perturbation can move the prediction of the smoothed model (median over Gaussian noise).

    An attack finds a lower bound of the largest change, a certificate proves an upper bound. `tenuto curve RUN
    --certificate` draws both.

    Example: tenuto certify runs/A2E-6-1a2b3c4d --sigma 0.216 --radius 0.05 --radius 0.216 --root soundtracks
    """
    from tenuto import api

    if not sigma:
        raise ConfigError("sigma is missing: give at least one, such as --sigma 0.216.")
    opened_run = api.open_run(run, root, data=data, trust=trust, cache=cache, progress=common.TERMINAL)
    certificates = opened_run.certify(
        None if domain is None else domain.value,
        sigma=sigma,
        radius=radius or (),
        snr_db=snr_db or (),
        part=split.value,
        clips=clips,
        device=device,
        batch_size=batch_size,
        attack_steps=attack_steps,
        draws=draws,
        confidence=confidence,
        clips_together=clips_together,
        clip_to_scale=not unclipped,
        seed=seed,
        precision=precision.value,
    )
    for remark in certificates.remarks:
        notes.print(remark)
    if as_json:
        lines = certificates.summary.to_dict("records")
        files = [str(path) for path in certificates.files]
        about = {"run": opened_run.name, "split": split.value}
        common.print_json({**about, "certificates": lines, "files": files})
        return
    out.print(certificate_table(certificates.summary, f"{opened_run.name}, {split.value}"))
    common.print_paths(certificates.files)
