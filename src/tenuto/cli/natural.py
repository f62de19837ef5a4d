"""`tenuto natural`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenuto.cli import common
from tenuto.cli.screen import print_natural


def natural(
    run: Annotated[Path, typer.Argument(help="Folder of a run.")],
    root: common.RunRoot = None,
    data: common.OtherData = None,
    trust: common.Trust = False,
    split: Annotated[
        common.PartName,
        typer.Option(metavar="PART", help=f"Part of the split: {', '.join(common.PartName)}."),
    ] = common.PartName.test,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Measure how predictions change under natural variation: another excerpt, mp3, gain, noise.

    The effect of an attack should be compared with these changes.

    Example: tenuto natural runs/A2E-6-1a2b3c4d --root soundtracks
    """
    from tenuto import api
    from tenuto.evaluation.natural import NAME

    opened = api.open_run(run, root, data=data, trust=trust, cache=cache, progress=common.TERMINAL)
    changes = opened.natural(split.value)
    path = opened.files.natural(split.value)
    if as_json:
        lines = changes.drop(columns=["run", "system", "seed"]).to_dict("records")
        about = {"run": opened.name, "protocol": NAME, "split": split.value}
        common.print_json({**about, "changes": lines, "rows": str(path)})
        return
    print_natural(changes, f"{opened.name}, {NAME}, {split.value}")
    typer.echo(str(path))
