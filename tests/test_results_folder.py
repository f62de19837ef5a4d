"""The committed results: rows that validate, and numbers in prose that the rows show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenuto import metrics, results
from tenuto.files import read_json

FOLDER = Path(__file__).resolve().parents[1] / "results"
RUN = FOLDER / "a2e-seed-6-epoch-34"


@pytest.fixture(scope="module")
def rows():
    return results.read_rows(RUN / "attacks" / "paper-2025-released+iterations=100.csv")


def test_all_test_clips_are_there(rows):
    split = (RUN / "split.csv").read_text().splitlines()
    assert sorted(rows["clip"]) == sorted(line.split(",")[0] for line in split if ",test," in line)
    assert len(rows) == 36


def test_the_numbers_on_the_page_are_those_of_the_rows(rows):
    page = (FOLDER / "README.md").read_text("utf-8")
    label = results.values(rows, "label")
    for kind in ("clean", "adversarial"):
        values = results.values(rows, kind)
        correlation, error = metrics.pearson(label, values).mean(), metrics.mae(label, values)
        assert f"| {correlation:.3f} | {error:.3f} |".replace("0.", ".") in page
    assert f"{rows['l2'].median():.1f} in median L2" in page
    assert f"report, {rows['stored_l2'].median():.1f}" in page
    assert not rows["converged"].any()
    outside = (results.values(rows, "adversarial") < 0) | (results.values(rows, "adversarial") > 1)
    assert f"{outside.mean():.0%} of attacked".replace("%", " %") in page


def test_metrics_and_rows_agree(rows):
    report = read_json(RUN / "metrics.json")["test"]
    label, clean = results.values(rows, "label"), results.values(rows, "clean")
    assert report["mae"]["overall"] == pytest.approx(metrics.mae(label, clean), abs=1e-6)
    assert report["correlation"]["overall"] == pytest.approx(metrics.pearson(label, clean).mean(), abs=1e-5)
