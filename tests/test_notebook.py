"""What notebooks show of results: the remarks that the command line prints, escaped."""

from pathlib import Path

import pandas as pd
import pytest

import tenuto
from tenuto.analysis.certificates import Sandwich
from tenuto.analysis.comparison import Comparison, Settings
from tenuto.api.outcomes import Metrics
from tenuto.evaluation.leakage import Leakage

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
    assert "<li>Too few seeds &amp; clips of &lt;b&gt;A2E&lt;/b&gt;.</li>" in result._repr_html_()


def test_a_model_worse_than_a_constant_is_shown_as_such():
    numbers = {"rmse": {"joy": 0.3, "overall": 0.3}, "r2": {"joy": -1.0, "overall": -1.0}}
    constant = {"rmse": {"joy": 0.1, "overall": 0.1}, "r2": {"joy": 0.0, "overall": 0.0}}
    metrics = Metrics({"test": numbers, "mean_predictor": constant})
    assert metrics.remarks
    assert metrics.remarks[0] in metrics._repr_html_()


def test_the_paper_is_shown_with_captions():
    paper = tenuto.paper(out=None)
    assert paper.printed("table1")[1][:40] in paper._repr_html_()
