"""Results show themselves as text and in a notebook."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

import tenuto
from tenuto.analysis.certificates import Sandwich
from tenuto.analysis.comparison import Comparison, Settings
from tenuto.api.outcomes import Metrics
from tenuto.display import Displayed
from tenuto.evaluation.leakage import Leakage


@dataclasses.dataclass(frozen=True, repr=False)
class Result(Displayed):
    table: pd.DataFrame

    def _elements(self):
        return ["two <clips>", self.table]


NUMBERED = pd.DataFrame({"clip": ["<b>x</b>", "y" * 120], "mae": [0.123456, 2.0]})
NAMED = NUMBERED.set_index("clip")


def test_text_has_the_name_the_sentence_and_four_decimals():
    shown = repr(Result(NUMBERED.assign(p=[3.2e-11, 0.5]))).splitlines()
    assert shown[:2] == ["Result", "two <clips>"]
    assert shown[3].split() == ["<b>x</b>", "0.1235", "3.2000e-11"]
    assert "..." in shown[4]


@pytest.mark.parametrize(("table", "columns"), [(NUMBERED, 2), (NAMED, 1)], ids=["numbered", "named"])
def test_lines_are_named_where_they_have_names(table, columns):
    page = Result(table)._repr_html_()
    assert page.startswith("<p>two &lt;clips&gt;</p><table")
    assert page.count("<td>") == 2 * columns
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "y" * 120 in page


def test_the_users_settings_of_pandas_are_kept():
    with pd.option_context("display.precision", 1):
        assert "0.1235" in repr(Result(NUMBERED))
        assert pd.get_option("display.precision") == 1


TABLE = pd.DataFrame({"error": [0.5]})
REMARKS = ("Too few seeds & clips of <b>A2E</b>.",)


@pytest.mark.parametrize(
    "result",
    [
        Comparison(Settings(), "clip", TABLE, TABLE, TABLE, TABLE, TABLE, REMARKS),
        Sandwich(TABLE, REMARKS),
        Leakage("run", "test", 3, "", TABLE, TABLE, TABLE, REMARKS),
        tenuto.Gallery(Path("gallery.html"), 1, (), REMARKS),
        tenuto.Report(Path("report.html"), 1, "Robust?", (), (), REMARKS),
    ],
    ids=lambda result: type(result).__name__,
)
def test_remarks_are_shown(result):
    assert "<p>Too few seeds &amp; clips of &lt;b&gt;A2E&lt;/b&gt;.</p>" in result._repr_html_()


def test_a_model_worse_than_a_constant_is_shown_as_such():
    numbers = {"rmse": {"joy": 0.3, "overall": 0.3}, "r2": {"joy": -1.0, "overall": -1.0}}
    constant = {"rmse": {"joy": 0.1, "overall": 0.1}, "r2": {"joy": 0.0, "overall": 0.0}}
    metrics = Metrics({"test": numbers, "mean_predictor": constant})
    assert metrics.remarks
    assert metrics.remarks[0] in metrics._repr_html_()


def test_the_paper_is_shown_with_captions():
    paper = tenuto.paper(out=None)
    assert paper.format_table("table1")[1][:40] in paper._repr_html_()
