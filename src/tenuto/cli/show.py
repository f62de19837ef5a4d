"""`tenuto show`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.cli.screen import grid
from tenuto.errors import ConfigError
from tenuto.files import write_bytes
from tenuto.store.run import RunFolder

if TYPE_CHECKING:
    from tenuto.evaluation.resynthesis import Witness
    from tenuto.evaluation.runs import Run


def show(
    run: Annotated[Path, typer.Argument(help="Folder of an attacked run.")],
    root: common.Root,
    clips: Annotated[
        list[str] | None,
        typer.Argument(help="Names of clips, of one part of the split.", show_default="all test clips"),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Name of the rows in RUN/attacks.", show_default="the only one there"),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Budget, where the protocol has several.", show_default="the only one"),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where pictures and sounds go.", show_default="RUN/shown")
    ] = None,
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Show what an attack did to clips, and play it: spectrograms, emotions, and the attack rendered as sound.

    Per clip CLIP.png and .pdf, CLIP-before.wav, -after.wav and -difference.wav, all three with one gain. Then the
    share of the attack's effect that survives as sound, and the signal-to-noise ratio of the two sounds.

    Example: tenuto show runs/A2E-21-1a2b3c4d 055 --protocol standard-1 --epsilon 0.1 --root soundtracks
    """
    from tenuto.evaluation.resynthesis import mean_survival, witnesses
    from tenuto.evaluation.runs import open_run
    from tenuto.store.perturbations import saved_rows

    opened = open_run(run, common.prepare_data(RunFolder(run).read_config().data, root, cache))
    rows = saved_rows(opened.files, _part(opened, clips or []), protocol, epsilon)
    names = clips or list(rows["clip"])
    found, contents = [], []
    with common.bar("clips", len(names)) as advance:
        for witness in witnesses(opened, rows, names):
            paths = _write(witness, folder or run / "shown" / _attack_name(witness))
            found.append(witness)
            contents.append(witness.numbers() | {"files": [str(path) for path in paths]})
            advance(1)
    survival = mean_survival(found)
    if as_json:
        common.print_json({"run": opened.name, "survival": survival, "clips": contents})
        return
    if len(found) == 1:
        _print(found[0])
    else:
        out.print(_clips_table(found, survival))
    notes.print(f"{paths[0].parent}: pictures and sounds of {', '.join(names)}")


def _part(run: Run, clips: list[str]) -> str:
    """The one part of the split that all clips are in, test where none is named. Raises `ConfigError`."""
    parts = {clip: run.part_of(clip) for clip in clips}
    if len(set(parts.values())) > 1:
        said = ", ".join(f"{clip} ({part})" for clip, part in parts.items())
        raise ConfigError(f"clips of several parts of the split: {said}. Show one part at a time.")
    return next(iter(parts.values()), "test")


def _attack_name(witness: Witness) -> str:
    """A folder name for a protocol at a budget."""
    attack = witness.attack
    budget = f"-{attack['norm']}-{attack['epsilon']:g}" if attack["epsilon"] is not None else ""
    return f"{attack['protocol']}{budget}"


def _write(witness: Witness, folder: Path) -> list[Path]:
    """Picture and sounds of one clip; a name that holds folders becomes one word."""
    from tenuto.evaluation.resynthesis import SOUNDS
    from tenuto.reporting.figures import save
    from tenuto.reporting.figures.clip import witness_figure

    name = re.sub(r"[/\\]", "_", witness.clip)
    pictures = save(witness_figure(witness), folder / name).values()
    sounds = [write_bytes(folder / f"{name}-{which}.wav", witness.sound(which, "wav")) for which in SOUNDS]
    return [*pictures, *sounds]


def _table(witness: Witness) -> Table:
    """Emotions and concepts of one clip, before and after."""
    from tenuto.reporting.figures.clip import SHOWN, title

    headings = ["annotation", *(text.replace(", ", ",\n") for text in SHOWN.values())]
    table = grid(title(witness), "", *headings, names=[""])
    for states in (witness.emotions, witness.concepts or {}):
        for name in states.get("before", {}):
            values = [states.get(state, {}).get(name) for state in ("annotation", *SHOWN)]
            table.add_row(escape(name), *("" if value is None else f"{value:.3f}" for value in values))
        table.add_section()
    return table


def _print(witness: Witness) -> None:
    """One clip: its table, where the perturbation sits, and what becomes of it as sound."""
    from tenuto.reporting.figures.clip import percent, sentence

    out.print(_table(witness))
    out.print(sentence(witness))
    second = witness.strongest_second
    if witness.median_hz is not None and second is not None:
        out.print(
            f"Half of the squared perturbation lies in bands up to {witness.median_hz:.0f} Hz; "
            f"second {second[0] + 1} of {len(witness.second_shares)} holds the largest part, {percent(second[1])}."
        )
    effect = witness.effect
    out.print(
        f"Emotions move by {effect['after']:.3f}, through sound by {effect['heard']:.3f}; "
        f"by the way through sound alone, without an attack, by {effect['rendered']:.2g}."
    )
    if witness.below_silence:
        out.print(
            f"{percent(witness.below_silence)} of the attacked spectrogram lies below silence, which no sound can do."
        )


def _clips_table(found: list[Witness], survival: dict[str, Any]) -> Table:
    """A line per clip, and the mean."""
    from tenuto.reporting.figures.clip import decibels, percent

    headings = ("clip", "emotions\nmove by", "through\nsound", "survives", "SNR", "below\nsilence")
    table = grid(f"{found[0].run}, {_attack_name(found[0])}", *headings, names=["clip"])
    for witness in found:
        table.add_row(
            escape(witness.clip),
            f"{witness.effect['after']:.3f}",
            f"{witness.effect['heard']:.3f}",
            "" if witness.survival is None else percent(witness.survival),
            decibels(witness.snr_db),
            percent(witness.below_silence),
        )
    without = f"; {survival['without_effect']} without effect" if survival["without_effect"] else ""
    mean = percent(survival["mean"]) if survival["clips"] else "none"
    table.caption = f"survives: mean {mean} of {survival['clips']} clips{without}"
    return table
