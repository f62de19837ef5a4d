"""`tenuto paper`: the study's tables and figures from released logs or from own runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenuto.cli.common import names, notes, out, print_paths
from tenuto.cli.groups import Rows, grouped
from tenuto.cli.screen import print_cells

if TYPE_CHECKING:
    from tenuto.api import Paper

app = typer.Typer(
    help="The SMC 2025 paper's tables and figures, from the released logs or from a study of your own.",
    no_args_is_help=True,
)

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


def _make(part: str, rows: Rows, to: Path, seed: int | None = None, emotions: str | None = None) -> None:
    """Make a part of the paper and print it."""
    from tenuto import api

    paper = api.paper(part=part, out=to, seed=seed, emotions=names(emotions), **rows.chosen())
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
        cells, caption = paper.format_table(name)
        print_cells(cells, title, caption)


@app.command()
@grouped
def table1(rows: Rows = Rows(), to: Out = HERE) -> None:
    """Table 1: correlation and MAE on clean test clips; CSV, Markdown, LaTeX.

    Example: tenuto paper table1 --out paper
    """
    _make("table1", rows, to)


@app.command()
@grouped
def significance(rows: Rows = Rows(), to: Out = HERE) -> None:
    """The paired t-tests of A2E and A2B2E against A2M2E; CSV, Markdown, LaTeX.

    Example: tenuto paper significance --out paper
    """
    _make("significance", rows, to)


@app.command()
@grouped
def figure3(rows: Rows = Rows(), to: Out = HERE) -> None:
    """Figure 3: how much error the attack adds, per system; PNG and PDF.

    Example: tenuto paper figure3 demo --out demo/paper
    """
    _make("figure3", rows, to)


@app.command()
@grouped
def figure4(rows: Rows = Rows(), to: Out = HERE, seed: Seed = None, emotions: Emotions = None) -> None:
    """Figure 4: predictions over annotations, clean and attacked, of one seed; PNG and PDF.

    Example: tenuto paper figure4 --seed 42 --emotions anger,happy
    """
    _make("figure4", rows, to, seed, emotions)


@app.command("all")
@grouped
def everything(rows: Rows = Rows(), to: Out = HERE, seed: Seed = None, emotions: Emotions = None) -> None:
    """Every table and figure, and the metrics of every run.

    Example: tenuto paper all --out paper
    """
    _make("all", rows, to, seed, emotions)
