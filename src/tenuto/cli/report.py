"""`tenuto report`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenuto.cli import common
from tenuto.cli.common import notes, out
from tenuto.store.run import RunFolder

if TYPE_CHECKING:
    from tenuto.data import Prepared
    from tenuto.evaluation.runs import Run
    from tenuto.reporting.page.inputs import PageInputs

CLIPS = 6


def report(
    study: Annotated[Path, typer.Argument(help="Folder of a study, or of its runs.")],
    to: Annotated[Path, typer.Option("--out", help="The HTML file to write.")] = Path("report.html"),
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Whose rows, as their file is called.", show_default="the released one, where it is unique"
        ),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Budget, where the protocol has several.", show_default="the only one"),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root", envvar="TENUTO_DATA", help="Folder of the data set; clips can be played with it."
        ),
    ] = None,
    clips: Annotated[int, typer.Option("--clips", min=0, help="Clips to play, with --root.")] = CLIPS,
    audit: Annotated[
        Path | None,
        typer.Option("--audit", help="audit.json of `tenuto audit --out`, for checks that ask the models."),
    ] = None,
    date: Annotated[str, typer.Option(help="Shown on top as it is.", show_default="none")] = "",
    cache: common.Cache = None,
    as_json: common.AsJson = False,
) -> None:
    """Put a whole study on one page: an HTML file with tables, figures, audit and sounds that loads nothing.

    Example: tenuto report demo --root demo/corpus --cache demo/cache --out report.html
    """
    made = make(study, to, protocol, epsilon, root, clips, audit, date, cache)
    if as_json:
        common.print_json(made)
        return
    for sentence in made["answer"]:
        out.print(f"- {sentence}", markup=False)
    for sentence in made["lacks"]:
        notes.print(f"Not in the report: {sentence}")
    out.print(f"{made['report']} ({made['bytes'] / 1e6:.1f} MB)", markup=False)


def make(
    study: Path,
    to: Path,
    protocol: str | None = None,
    epsilon: float | None = None,
    root: Path | None = None,
    clips: int = CLIPS,
    audit: Path | None = None,
    date: str = "",
    cache: Path | None = None,
) -> dict[str, Any]:
    """Write the report and return what was written: ``report bytes question answer sections lacks``."""
    from tenuto.files import write_text
    from tenuto.reporting.page.inputs import gather
    from tenuto.reporting.page.report import make_page, render

    material = gather(study, protocol, epsilon)
    folders = {path.parent.name: path.parent for path in sorted(study.rglob("config.yaml"))}
    prepared = None if root is None else _prepared(folders, material, root, cache)
    material = _with_findings(study, material, prepared, audit)
    material = _with_gains(material, folders)
    material = _with_clips(material, folders, prepared, epsilon, clips)
    shown = make_page(material, date)
    written = write_text(to, render(shown))
    return {
        "report": str(written),
        "bytes": written.stat().st_size,
        "question": shown.question,
        "answer": list(shown.answer),
        "sections": [section.name for section in shown.sections],
        "lacks": list(shown.lacks),
    }


def _prepared(
    folders: Mapping[str, Path], material: PageInputs, root: Path, cache: Path | None
) -> Prepared | None:
    """The data that the runs were trained on; None where no run says which that is."""

    named = [folders[run] for run in dict.fromkeys(material.rows["run"]) if run in folders]
    return common.prepare_data(RunFolder(named[0]).read_config().data, root, cache) if named else None


def _with_findings(
    study: Path, material: PageInputs, prepared: Prepared | None, audit: Path | None
) -> PageInputs:
    """The material with an audit of its rows: made now without asking the models, or as a file tells it."""
    from tenuto.errors import DataError, TenutoError
    from tenuto.evaluation.audit import Data, open_sources
    from tenuto.evaluation.audit import audit as run_audit
    from tenuto.reporting.page.inputs import read_findings

    if audit is not None:
        own = [finding for finding in read_findings(audit) if finding.source == material.protocol]
        if not own:
            raise DataError(
                f"{audit}: no findings on {material.protocol}; audit this study with `tenuto audit {study} --out DIR`."
            )
        return dataclasses.replace(material, findings=own)
    index = None if prepared is None else prepared.index
    try:
        sources = [source for source in open_sources([study]) if source.name == material.protocol]
        return dataclasses.replace(
            material, findings=run_audit(*sources, data=Data(index=index, spared=True))
        )
    except TenutoError as error:
        return _told(material, "audit", [str(error)])


def _with_gains(material: PageInputs, folders: Mapping[str, Path]) -> PageInputs:
    """The material with the head gain of every run whose checkpoint is there and is what its rows were made with."""
    from tenuto.errors import TenutoError
    from tenuto.evaluation.explanation import head_gain
    from tenuto.files import sha256_file
    from tenuto.models.checkpoint import load
    from tenuto.reporting.page.inputs import weights_of

    found, told = {}, []
    for run, rows in material.rows.groupby("run", sort=False):
        folder = folders.get(str(run))
        if folder is None or not RunFolder(folder).checkpoint.is_file():
            continue
        try:
            if weights_of(rows) - {sha256_file(RunFolder(folder).checkpoint)}:
                told.append(f"{run} was attacked with other weights than it holds; attack it anew.")
            else:
                found[str(run)] = head_gain(load(folder).network)
        except TenutoError as error:
            told.append(f"{run}: {error}")
    return _told(dataclasses.replace(material, gains=found), "gain", told)


def _with_clips(
    material: PageInputs,
    folders: Mapping[str, Path],
    prepared: Prepared | None,
    epsilon: float | None,
    clips: int,
) -> PageInputs:
    """The material with clips of the first run that can show some, and why others before it could not."""
    from tenuto.errors import TenutoError
    from tenuto.reporting.page.inside import runs_to_show

    if not clips:
        return _told(material, "gallery", ["no clips were wanted (`--clips 0`)."])
    named = [run for run in runs_to_show(material.rows) if run in folders]
    if not named:
        return _told(material, "gallery", ["no run folder (config.yaml) is beside the rows."])
    if prepared is None:
        return material
    told = []
    for name in named:
        try:
            made = _clips_of(material, folders[name], prepared, epsilon, clips)
        except TenutoError as error:
            told.append(f"{name}: {error}")
            continue
        if made is not None:
            return _told(made, "gallery", told)
    none = (
        f"no run has saved perturbations of {material.protocol} beside its rows; `tenuto attack` saves them."
    )
    return _told(material, "gallery", told or [none])


def _clips_of(
    material: PageInputs, folder: Path, prepared: Prepared, epsilon: float | None, clips: int
) -> PageInputs | None:
    """The material with clips of a run; None where it has no saved perturbations of this protocol."""
    from tenuto.evaluation.resynthesis import witnesses
    from tenuto.evaluation.runs import open_run
    from tenuto.reporting.page.inside import clips_to_show
    from tenuto.store.perturbations import saved_rows

    run, found = open_run(folder, prepared), []
    if material.protocol not in run.files.perturbed_protocols():
        return None
    rows = saved_rows(run.files, "test", material.protocol, epsilon)
    chosen = clips_to_show(rows, clips)
    with common.bar("clips", len(chosen)) as advance:
        for witness in witnesses(run, rows, chosen):
            found.append(witness)
            advance(1)
    return dataclasses.replace(material, witnesses=found, weights=_weights(run))


def _told(material: PageInputs, section: str, sentences: list[str]) -> PageInputs:
    """The material with sentences on what could not be shown in a section; of many the first, and how many more."""
    more = [f"{len(sentences) - 1} other runs were passed over too."] if len(sentences) > 2 else sentences[1:]
    return dataclasses.replace(material, remarks={**material.remarks, section: (*sentences[:1], *more)})


def _weights(run: Run) -> dict[str, dict[str, float]] | None:
    """Emotion -> concept -> weight, as the network has it; None without a bottleneck."""
    from tenuto.evaluation.explanation import linear_head

    known = run.recogniser
    if not known.concepts:
        return None
    weight = linear_head(known.network).to_emotions[0]
    return {
        emotion: dict(zip(known.concepts, line.tolist(), strict=True))
        for emotion, line in zip(known.emotions, weight, strict=True)
    }
