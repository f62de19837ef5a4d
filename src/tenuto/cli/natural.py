"""`tenuto natural`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common
from tenuto.cli.screen import print_natural, print_strengths
from tenuto.store.natural import GRADED_PROTOCOL, NATURAL_PROTOCOLS, check_protocol
from tenuto.store.rows import NATURAL_PROTOCOL


def natural(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    root: common.RunRoot = None,
    data: common.OtherData = None,
    trust: common.Trust = False,
    split: common.Part = common.PartName.test,
    protocol: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"{' or '.join(NATURAL_PROTOCOLS)}: eleven kinds of change with five strengths each, and the "
            "corruption error.",
            callback=check_protocol,
        ),
    ] = NATURAL_PROTOCOL,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Measure how predictions change under natural variation: another excerpt, mp3, gain, noise.

    The effect of an attack should be compared with these changes. natural-2 has more kinds, and strengths: gain,
    low-pass, equaliser, reverberation, three noises, mp3, pitch, tempo, excerpt. Their mean error is the corruption
    error.

    Example: tenuto natural runs/A2E-6-1a2b3c4d --root soundtracks
    """
    from tenuto import api
    from tenuto.analysis.natural import corruption

    opened_run = api.open_run(run, root, data=data, trust=trust, cache=cache, progress=common.TERMINAL)
    changes = opened_run.natural(split.value, protocol)
    path = opened_run.files.natural(split.value, protocol)
    is_graded = protocol == GRADED_PROTOCOL
    total = corruption(opened_run.files.read_rows(protocol, split.value)).iloc[0] if is_graded else None
    if as_json:
        lines = changes.drop(columns=["run", "system", "seed"]).to_dict("records")
        about = {"run": opened_run.name, "protocol": protocol, "split": split.value}
        mean = {} if total is None else {"corruption": total.to_dict()}
        common.print_json({**about, "changes": lines, **mean, "rows": str(path)})
        return
    title = f"{opened_run.name}, {protocol}, {split.value}"
    if total is None:
        print_natural(changes, title)
    else:
        print_strengths(changes, total, f"MAE, {title}")
    typer.echo(str(path))
