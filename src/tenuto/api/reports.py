"""A whole study on one page: one HTML file that loads nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tenuto.api.auditing import trust_runs
from tenuto.api.comparing import Place, PlaceOrRun
from tenuto.api.datasets import find_data, prepare
from tenuto.api.progress import SILENT, Progress
from tenuto.arguments import checked
from tenuto.attacks.checks import require_whole
from tenuto.data import Prepared
from tenuto.data.splits import PARTS
from tenuto.display import Displayed, Element, paragraphs
from tenuto.errors import ConfigError, DataError, TenutoError, quote
from tenuto.evaluation.audit import Data, audit as run_audit, open_sources
from tenuto.evaluation.linear_head import head_gain, linear_head
from tenuto.evaluation.resynthesis import resynthesise_clips
from tenuto.evaluation.runs import OpenedRun, open_run
from tenuto.files import check_writable, followed, write_text
from tenuto.models.checkpoint import load
from tenuto.reporting.page.clips import clips_to_show, runs_to_show
from tenuto.reporting.page.inputs import PageInputs, gather, read_findings
from tenuto.reporting.page.report import make_page, render
from tenuto.store.location import complete
from tenuto.store.perturbations import saved_rows
from tenuto.store.rows import read_rows, write_rows
from tenuto.store.run import RunFolder
from tenuto.store.study import StudyFolder

REPORT_CLIPS = 6


@dataclasses.dataclass(frozen=True, repr=False)
class Report(Displayed):
    """A written report.

    Attributes:
        path: The HTML file.
        bytes: Its size.
        question: What the study asks.
        answer: Three sentences that the rows support.
        sections: Names of the sections.
        missing: What is not in the report and why, a sentence each.
    """

    path: Path
    bytes: int
    question: str
    answer: tuple[str, ...]
    sections: tuple[str, ...]
    missing: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything in plain values."""
        return {
            "report": str(self.path),
            "bytes": self.bytes,
            "question": self.question,
            "answer": list(self.answer),
            "sections": list(self.sections),
            "missing": list(self.missing),
        }

    def _elements(self) -> list[Element]:
        return [self.question, *self.answer, str(self.path), *self.missing]

    def _repr_html_(self) -> str:
        """Return the answer and a link, as a notebook shows them."""
        sentences = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.answer)
        path = html.escape(str(self.path), quote=True)
        link = f'<a href="{path}">{path}</a>{paragraphs(self.missing)}'
        return f"{paragraphs([self.question])}<ul>{sentences}</ul>{link}"


@checked
def report(
    study: PlaceOrRun,
    out: Place = "report.html",
    *,
    protocol: str | None = None,
    epsilon: float | None = None,
    db: float | None = None,
    norm: str | None = None,
    unit: str | None = None,
    root: Place | None = None,
    clips: int = REPORT_CLIPS,
    audit: Place | None = None,
    date: str = "",
    cache: Place | None = None,
    trust: bool = False,
    progress: Progress = SILENT,
) -> Report:
    """Write a whole study to one HTML file with tables, figures, audit and sounds.

    Args:
        study: Folder of a study, or of its runs; or a CSV of rows, such as `tenuto.rows` writes.
        out: The file to write.
        protocol: Name of the protocol; default: the released one, where it is unique.
        epsilon: The budget; may be left out where the protocol has one.
        db: The budget in dB, such as 40 for a signal-to-noise ratio of 40 dB.
        norm: Which norm, where several have this budget.
        unit: Unit of epsilon or its beginning; default: that of most runs, and sections of their own for others.
        root: Folder of the data set, for clips to play; default: the study's own corpus, else ``$TENUTO_DATA``.
        clips: Number of clips to play.
        audit: ``audit.json`` of an audit that evaluated the models; default: an audit of the rows alone.
        date: Shown at the top as it is.
        cache: Folder of spectrograms; default: that of the study, else the user's cache.
        trust: Whether you trust the code of adopted runs, which is then executed, now and later.
        progress: Reports prepared and rendered clips.

    Raises:
        FileError: No rows of that protocol, or a damaged file.
        DataError: No such budget, several and none chosen, or rows that contradict each other.
        ConfigError: A number of clips that is not whole or negative.
    """
    require_whole("clips", clips, 0)
    check_writable(followed(out).parent)
    source = study = complete(study)
    with contextlib.ExitStack() as stack:
        if study.is_file():
            place = stack.enter_context(tempfile.TemporaryDirectory())
            study = _unpacked(study, Path(place) / study.stem)
        try:
            inputs = gather(study, protocol, epsilon, db=db, norm=norm, unit=unit)
        except TenutoError as error:  # names the file, not the folder that its rows are unpacked to
            raise type(error)(str(error).replace(str(study), str(source))) from error
        runs = StudyFolder(study).runs(lambda error: None)  # `gather` names the others
        folders = {run.name: run.path for run in runs if run.config.is_file()}
        if trust:
            trust_runs(folders.values())
        prepared = _prepared(folders, inputs, root, cache, progress)
        inputs = _with_findings(study, inputs, prepared, audit)
        inputs = dataclasses.replace(inputs, others=tuple(_audited_others(study, inputs, prepared, audit)))
        inputs = _with_gains(inputs, folders)
        inputs = _with_clips(inputs, folders, prepared, clips, progress)
        page = make_page(inputs, date)
    path = write_text(followed(out), render(page))
    return Report(
        path=path,
        bytes=path.stat().st_size,
        question=page.question,
        answer=tuple(page.answer),
        sections=tuple(section.name for section in page.sections),
        missing=tuple(page.lacks),
    )


def _unpacked(file: Path, folder: Path) -> Path:
    """The rows of test clips in a file as the folder of a study. Raises `FileError` or `DataError`."""
    log_rows = read_rows(file)
    log_rows = log_rows[log_rows["split"] == "test"]
    if log_rows.empty:
        raise DataError(f"{file}: the rows hold no test clips; attack the test split first.")
    for number, (_, own) in enumerate(log_rows.groupby("run", sort=False)):
        for protocol, rows in own.groupby("protocol", sort=False):
            ends = tuple(f"-{part}" for part in PARTS)  # of files of rows of other parts
            if "/" in str(protocol) or str(protocol).startswith(".") or str(protocol).endswith(ends):
                raise DataError(
                    f"{file}: protocol {quote(protocol)} must not contain a slash, begin with a dot or end with "
                    f"{' or '.join(ends)}. Rename it."
                )
            write_rows(RunFolder(folder / f"{number}").rows(protocol), rows)
    return folder


def _prepared(
    folders: Mapping[str, Path],
    inputs: PageInputs,
    root: Place | None,
    cache: Place | None,
    progress: Progress,
) -> Prepared | None:
    """The data the runs were trained on; None where no run records which, or where they are not found."""
    run_folders = [folders[run] for run in dict.fromkeys(inputs.rows["run"]) if run in folders]
    if not run_folders:
        return None
    config = RunFolder(run_folders[0]).read_config().data
    try:
        root, cache = find_data(run_folders[0], config, root, cache)
    except ConfigError:
        return None
    return prepare(root, config, cache=cache, progress=progress)


def _audited_others(
    study: Path, inputs: PageInputs, prepared: Prepared | None, audit: Place | None
) -> Iterator[PageInputs]:
    """The other rows of a report with their audit; rows that share their source with earlier ones have no section."""
    sources = {inputs.source}
    for other in inputs.others:
        if other.source in sources:
            yield other
            continue
        sources.add(other.source)
        try:
            yield _with_findings(study, other, prepared, audit)
        except DataError as error:  # the file is of an audit of the shown rows alone
            yield _with_remarks(other, "audit", [str(error)])


def _with_findings(
    study: Path, inputs: PageInputs, prepared: Prepared | None, audit: Place | None
) -> PageInputs:
    """The inputs with an audit of its rows, made now without evaluating the models, or read from a file."""
    if audit is not None:
        own = [finding for finding in read_findings(audit) if finding.source == inputs.source]
        if not own:
            raise DataError(
                f"{audit}: no findings on {inputs.source}; audit this study with `tenuto audit {study} --out DIR`."
            )
        return dataclasses.replace(inputs, findings=own)
    index = None if prepared is None else prepared.index
    try:
        sources = [source for source in open_sources([study]) if source.name == inputs.source]
        findings = run_audit(*sources, data=Data(index=index, spared=True))
    except TenutoError as error:
        return _with_remarks(inputs, "audit", [str(error)])
    return dataclasses.replace(inputs, findings=findings)


def _with_gains(inputs: PageInputs, folders: Mapping[str, Path]) -> PageInputs:
    """The inputs with the head gain of every run that has weights, those of its rows."""
    gains, remarks = {}, []
    for run in inputs.rows["run"].unique():
        folder = folders.get(str(run))
        if folder is None or not RunFolder(folder).checkpoint.is_file():
            continue
        try:
            gains[str(run)] = head_gain(load(folder).network)
        except TenutoError as error:
            remarks.append(f"{run}: {error}")
    return _with_remarks(dataclasses.replace(inputs, gains=gains), "gain", remarks)


def _with_clips(
    inputs: PageInputs,
    folders: Mapping[str, Path],
    prepared: Prepared | None,
    clips: int,
    progress: Progress,
) -> PageInputs:
    """The inputs with clips of the first run that has some, and why earlier ones have none."""
    if not clips:
        return _with_remarks(inputs, "gallery", ["no clips were requested."])
    run_names = [run for run in runs_to_show(inputs.rows) if run in folders]
    if not run_names:
        return _with_remarks(inputs, "gallery", ["the rows are in no run folder (config.yaml)."])
    if prepared is None:
        return inputs
    remarks = []
    for name in run_names:
        try:
            with_clips = _with_clips_of(inputs, folders[name], prepared, clips, progress)
        except TenutoError as error:
            remarks.append(str(error) if str(error).startswith(f"{name}: ") else f"{name}: {error}")
            continue
        if with_clips is not None:
            return _with_remarks(with_clips, "gallery", remarks)
    none = f"no run has saved perturbations of {inputs.protocol} with its rows; `tenuto attack` saves them."
    return _with_remarks(inputs, "gallery", remarks or [none])


def _with_clips_of(
    inputs: PageInputs,
    folder: Path,
    prepared: Prepared,
    clips: int,
    progress: Progress,
) -> PageInputs | None:
    """The inputs with clips of a run; None where it has no saved perturbations of this protocol."""
    run, resyntheses = open_run(folder, prepared), []
    if inputs.protocol not in run.files.perturbed_protocols():
        return None
    rows = saved_rows(run.files, "test", inputs.protocol, inputs.epsilon, norm=inputs.norm)
    chosen = clips_to_show(rows, clips)
    with progress.bar("clips", len(chosen)) as advance:
        for resynthesis in resynthesise_clips(run, rows, chosen):
            resyntheses.append(resynthesis)
            advance(1)
    return dataclasses.replace(inputs, resyntheses=resyntheses, weights=_weights(run))


def _with_remarks(inputs: PageInputs, section: str, sentences: list[str]) -> PageInputs:
    """The inputs with sentences on what a section lacks; of many the first, and the number of others."""
    more = [f"{len(sentences) - 1} other runs were skipped too."] if len(sentences) > 2 else sentences[1:]
    return dataclasses.replace(inputs, remarks={**inputs.remarks, section: (*sentences[:1], *more)})


def _weights(run: OpenedRun) -> dict[str, dict[str, float]] | None:
    """Emotion -> concept -> weight of the network; None where emotions are no linear function of named units."""
    model = run.recogniser
    if not model.concepts:
        return None
    try:
        weight = linear_head(model.network).to_emotions[0]
    except ConfigError:
        return None
    return {
        emotion: dict(zip(model.concepts, line.tolist(), strict=True))
        for emotion, line in zip(model.emotions, weight, strict=True)
    }
