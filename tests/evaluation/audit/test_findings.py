import re
from pathlib import Path

import pytest

from tenuto.errors import FileError
from tenuto.evaluation.audit import CHECKS, Check
from tenuto.evaluation.audit.findings import (
    ORDER,
    Finding,
    Verdict,
    count_verdicts,
    has_failed,
    judge,
    missing_checks,
    not_recorded,
    ordered_checks,
    worst,
)

ROOT = Path(__file__).resolve().parents[3]
PASSED = judge("budget", 0.0, 1.0, "inside.")
WARNED = judge("budget", 1.0, 1.0, "at the edge.", warn=True)
FAILED = judge("budget", 2.0, 1.0, "outside.", fail=True, warn=True)
NOTHING = not_recorded("budget", "no norms.")


def test_fail_is_stronger_than_warn_and_neither_is_a_pass():
    assert [result.verdict for result in (PASSED, WARNED, FAILED, NOTHING)] == [
        Verdict.PASS,
        Verdict.WARN,
        Verdict.FAIL,
        Verdict.NOT_RECORDED,
    ]


def test_the_worst_names_whose_it_is_and_among_how_many():
    result = worst([("a", PASSED), ("b", FAILED), ("c", WARNED), ("d", NOTHING)])
    assert result.verdict is Verdict.FAIL
    assert result.sentence == "b (the most severe of 3): outside."


def test_the_worst_of_one_without_a_name_is_itself():
    assert worst([("", WARNED)]) == WARNED


def test_a_pass_counts_more_than_what_is_not_recorded():
    assert worst([("a", NOTHING), ("b", PASSED)]).sentence == "b: inside."
    assert worst([("a", NOTHING), ("b", NOTHING)]) == NOTHING


@pytest.mark.parametrize(
    ("check", "values", "expected"),
    [
        ("budget", (0.06, 0.26, 0.07), 0.26),
        ("ranking", (0.8, -0.2, 1.0), -0.2),
        ("unbounded", (3.0, 2.0), 2.0),
        ("survival", (0.3, 0.2), 0.2),
        ("longer-search", (0.01, float("nan"), 0.02), None),
    ],
)
def test_of_one_verdict_the_worst_value_counts(check, values, expected):
    found = worst([(str(value), judge(check, value, 1.0, "so.")) for value in values])
    assert (
        found.sentence == f"{'nan' if expected is None else expected} (the most severe of {len(values)}): so."
    )


def test_only_a_fail_fails_an_audit():
    assert has_failed([PASSED, FAILED])
    assert not has_failed([PASSED, WARNED, NOTHING])


def test_verdicts_are_counted_most_severe_first():
    assert list(count_verdicts([PASSED, PASSED, NOTHING]).items()) == [
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
    assert judge("budget", float("inf"), 1.0, "far outside.", fail=True).as_json()["value"] is None


def test_findings_of_earlier_versions_are_read():
    fields = FAILED.as_json()
    assert Finding.from_json(fields) == FAILED
    fields["figure"] = fields.pop("value")
    assert Finding.from_json(fields) == FAILED


@pytest.mark.parametrize(
    "fields",
    [
        {"check": "nothing"},
        {"verdict": "GOOD"},
        {"check": 3},
        {"value": "a\nb"},
        {"threshold": []},
        {"sentence": None},
        {"source": 3},
    ],
)
def test_what_is_no_finding_is_refused_with_its_file(fields):
    with pytest.raises(FileError, match=r"audit.json: .* Make the file again"):
        Finding.from_json(FAILED.as_json() | fields, "audit.json")


def test_checks_without_a_finding_are_missing():
    assert missing_checks([FAILED])[0] == "same-iterate"
    assert len(missing_checks([FAILED])) == len(CHECKS) - 1


def test_a_check_of_another_package_comes_last():
    CHECKS.register("zz-own")(Check("Is it mine?", lambda evidence: judge("zz-own", 1, 1, "yes.")))
    try:
        assert ordered_checks() == [*ORDER, "zz-own"]
    finally:
        del CHECKS._parts["zz-own"]


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_a_page_that_says_what_verdicts_mean(check):
    text = (ROOT / Finding(check, Verdict.PASS, None, None, "").page).read_text("utf-8")
    assert text.startswith(f"# {check}\n")
    assert CHECKS[check].question in text
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
