import re
from pathlib import Path

import pytest

from tenuto.evaluation.audit.findings import (
    CHECKS,
    Finding,
    Verdict,
    counted,
    failed,
    judged,
    not_recorded,
    worst,
)

ROOT = Path(__file__).resolve().parents[3]
PASSED = judged("budget", 0.0, 1.0, "inside.")
WARNED = judged("budget", 1.0, 1.0, "at the edge.", warn=True)
FAILED = judged("budget", 2.0, 1.0, "outside.", fail=True, warn=True)
NOTHING = not_recorded("budget", "no norms.")


def test_fail_is_stronger_than_warn_and_neither_is_a_pass():
    assert [found.verdict for found in (PASSED, WARNED, FAILED, NOTHING)] == [
        Verdict.PASS,
        Verdict.WARN,
        Verdict.FAIL,
        Verdict.NOT_RECORDED,
    ]


def test_what_is_not_recorded_has_no_figure():
    assert (NOTHING.value, NOTHING.threshold, NOTHING.sentence) == (None, None, "no norms.")


def test_the_worst_names_whose_it_is_and_among_how_many():
    found = worst([("a", PASSED), ("b", FAILED), ("c", WARNED), ("d", NOTHING)])
    assert found.verdict is Verdict.FAIL
    assert found.sentence == "b (the most severe of 3): outside."


def test_the_worst_of_one_without_a_name_is_itself():
    assert worst([("", WARNED)]) == WARNED


def test_a_pass_counts_more_than_what_is_not_recorded():
    assert worst([("a", NOTHING), ("b", PASSED)]).sentence == "b: inside."
    assert worst([("a", NOTHING), ("b", NOTHING)]) == NOTHING


def test_only_a_fail_fails_an_audit():
    assert failed([PASSED, FAILED])
    assert not failed([PASSED, WARNED, NOTHING])


def test_verdicts_are_counted_most_severe_first():
    assert list(counted([PASSED, PASSED, NOTHING]).items()) == [
        (Verdict.FAIL, 0),
        (Verdict.WARN, 0),
        (Verdict.PASS, 2),
        (Verdict.NOT_RECORDED, 1),
    ]


def test_a_finding_as_json_has_all_of_it():
    assert FAILED.as_json() == {
        "source": "",
        "check": "budget",
        "verdict": "FAIL",
        "value": 2.0,
        "threshold": 1.0,
        "sentence": "outside.",
        "page": "docs/audit/budget.md",
    }


def test_a_figure_that_is_not_finite_is_none_for_programs():
    assert judged("budget", float("inf"), 1.0, "far outside.", fail=True).as_json()["value"] is None


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_a_page_that_says_what_verdicts_mean(check):
    text = (ROOT / Finding(check, Verdict.PASS, None, None, "").page).read_text("utf-8")
    assert text.startswith(f"# {check}\n")
    assert CHECKS[check] in text
    for word in ("PASS", "WARN", "FAIL", "NOT RECORDED"):
        assert word in text


def test_the_overview_links_every_page_and_no_page_is_left_over():
    pages = {path.stem for path in (ROOT / "docs" / "audit").glob("*.md")}
    assert pages == set(CHECKS)
    overview = (ROOT / "docs" / "audit.md").read_text("utf-8")
    assert all(f"](audit/{check}.md)" in overview for check in CHECKS)


@pytest.mark.parametrize("check", CHECKS)
def test_relative_links_of_a_page_lead_somewhere(check):
    page = ROOT / "docs" / "audit" / f"{check}.md"
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8"))
    assert "../audit.md" in links
    assert [link for link in links if "://" not in link and not (page.parent / link).is_file()] == []
