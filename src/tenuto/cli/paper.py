"""`tenuto paper`: the study's tables and figures from released logs or from own runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenuto.cli.common import Decibels, Epsilon, NormName, Unit, notes, out, print_paths
from tenuto.cli.screen import print_cells
from tenuto.errors import ConfigError

if TYPE_CHECKING:
    from tenuto.api import Paper

app = typer.Typer(
    help="The SMC 2025 paper's tables and figures, from the released logs or from a study of your own.",
    no_args_is_help=True,
)

Logs = Annotated[
    Path | None,
    typer.Option("--logs", help="Folder of released logs, or a clone of the released repository."),
]
RunsFile = Annotated[
    Path | None,
    typer.Option("--runs", help="CSV folder,system,seed of logs other than the 50 released ones."),
]
Study = Annotated[
    Path | None,
    typer.Argument(help="Folder of a study, or of its runs.", show_default="the released logs"),
]
StudyOption = Annotated[Path | None, typer.Option("--study", hidden=True)]
ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        help="Name of the study's protocol.",
        show_default="the released one, where it is unique",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the files.")]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Seed of the predictions in Figure 4.", show_default="21, or the smallest"),
]
Emotions = Annotated[
    str | None,
    typer.Option("--emotions", help="Rows of Figure 4, comma-separated.", show_default="tension,tender"),
]
HERE = Path("paper")


def one_study(study: Path | None, option: Path | None) -> Path | None:
    """The study, as an argument or as an option. Raises `ConfigError` for both."""
    if study is not None and option is not None:
        raise ConfigError(f"--study {option}: the study {study} is given already. Leave one of them out.")
    return study or option


def _make(
    part: str,
    to: Path,
    study: Path | None,
    logs: Path | None,
    runs: Path | None,
    protocol: str | None,
    budget: tuple[float | None, float | None, str | None],
    unit: str | None,
    seed: int | None = None,
    emotions: str | None = None,
) -> None:
    """Make a part of the paper and print it; the budget is chosen by epsilon, dB and norm."""
    from tenuto import api

    epsilon, db, norm = budget

    names = None if emotions is None else [name.strip() for name in emotions.split(",") if name.strip()]
    paper = api.paper(
        study,
        part,
        out=to,
        protocol=protocol,
        epsilon=epsilon,
        unit=unit,
        db=db,
        norm=norm,
        logs=logs,
        runs_file=runs,
        seed=seed,
        emotions=names,
    )
    print_paper(paper, part)
    for remark in paper.remarks:
        notes.print(remark)
    print_paths(paper.files.values())


def print_paper(paper: Paper, part: str = "all") -> None:
    """Print Table 1 and the t-tests, or one of them."""
    for name, title in (("table1", "Table 1"), ("significance", "Paired t-tests")):
        if part not in ("all", name):
            continue
        if name == "significance" and paper.significance.empty:
            out.print("No t-test: the systems of the published comparisons share no seeds and clips.")
            continue
        cells, caption = paper.printed(name)
        print_cells(cells, title)
        out.print(caption, soft_wrap=False)


@app.command()
def table1(
    study: Study = None,
    study_option: StudyOption = None,
    logs: Logs = None,
    runs: RunsFile = None,
    protocol: ProtocolName = None,
    epsilon: Epsilon = None,
    db: Decibels = None,
    norm: NormName = None,
    unit: Unit = None,
    to: Out = HERE,
) -> None:
    """Table 1: correlation and MAE on clean test clips; CSV, Markdown, LaTeX.

    Example: tenuto paper table1 --out paper
    """
    _make("table1", to, one_study(study, study_option), logs, runs, protocol, (epsilon, db, norm), unit)


@app.command()
def significance(
    study: Study = None,
    study_option: StudyOption = None,
    logs: Logs = None,
    runs: RunsFile = None,
    protocol: ProtocolName = None,
    epsilon: Epsilon = None,
    db: Decibels = None,
    norm: NormName = None,
    unit: Unit = None,
    to: Out = HERE,
) -> None:
    """The paired t-tests of A2E and A2B2E against A2M2E; CSV, Markdown, LaTeX.

    Example: tenuto paper significance --out paper
    """
    _make("significance", to, one_study(study, study_option), logs, runs, protocol, (epsilon, db, norm), unit)


@app.command()
def figure3(
    study: Study = None,
    study_option: StudyOption = None,
    logs: Logs = None,
    runs: RunsFile = None,
    protocol: ProtocolName = None,
    epsilon: Epsilon = None,
    db: Decibels = None,
    norm: NormName = None,
    unit: Unit = None,
    to: Out = HERE,
) -> None:
    """Figure 3: how much error the attack adds, per system; PNG and PDF.

    Example: tenuto paper figure3 demo --out demo/paper
    """
    _make("figure3", to, one_study(study, study_option), logs, runs, protocol, (epsilon, db, norm), unit)


@app.command()
def figure4(
    study: Study = None,
    study_option: StudyOption = None,
    logs: Logs = None,
    runs: RunsFile = None,
    protocol: ProtocolName = None,
    epsilon: Epsilon = None,
    db: Decibels = None,
    norm: NormName = None,
    unit: Unit = None,
    to: Out = HERE,
    seed: Seed = None,
    emotions: Emotions = None,
) -> None:
    """Figure 4: predictions over annotations, clean and attacked, of one seed; PNG and PDF.

    Example: tenuto paper figure4 --seed 42 --emotions anger,happy
    """
    _make(
        "figure4",
        to,
        one_study(study, study_option),
        logs,
        runs,
        protocol,
        (epsilon, db, norm),
        unit,
        seed,
        emotions,
    )


@app.command("all")
def everything(
    study: Study = None,
    study_option: StudyOption = None,
    logs: Logs = None,
    runs: RunsFile = None,
    protocol: ProtocolName = None,
    epsilon: Epsilon = None,
    db: Decibels = None,
    norm: NormName = None,
    unit: Unit = None,
    to: Out = HERE,
    seed: Seed = None,
    emotions: Emotions = None,
) -> None:
    """Every table and figure, and the metrics of every run.

    Example: tenuto paper all --out paper
    """
    _make(
        "all",
        to,
        one_study(study, study_option),
        logs,
        runs,
        protocol,
        (epsilon, db, norm),
        unit,
        seed,
        emotions,
    )
