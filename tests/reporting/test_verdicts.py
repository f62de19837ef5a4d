import json

import pandas as pd
import pytest

from tenuto.errors import FileError
from tenuto.evaluation.audit.findings import Finding, Verdict
from tenuto.files import write_json
from tenuto.reporting import verdicts
from tenuto.reporting.page.inputs import read_findings

FINDINGS = [
    Finding("budget", Verdict.FAIL, 0.5, 0.0, "too | large.", "a"),
    Finding("labels", Verdict.NOT_RECORDED, None, None, "who knows.", "b"),
]


def test_findings_are_written_in_four_formats(tmp_path):
    written = verdicts.write(FINDINGS, tmp_path)
    assert set(written) == {"audit.json", "audit.csv", "audit.md", "audit.tex"}
    content = json.loads(written["audit.json"].read_text())
    assert content["verdicts"] == {"FAIL": 1, "WARN": 0, "PASS": 0, "NOT RECORDED": 1}
    assert content["findings"][0]["page"] == "docs/audit/budget.md"
    table = pd.read_csv(written["audit.csv"])
    assert table["value"].tolist()[0] == 0.5
    assert table["source"].tolist() == ["a", "b"]
    assert "too \\| large." in written["audit.md"].read_text()


def test_one_source_needs_no_column(tmp_path):
    verdicts.write(FINDINGS[:1], tmp_path)
    assert (tmp_path / "audit.md").read_text().startswith("| Check | Verdict |")


def test_the_summary_counts_most_severe_first():
    assert verdicts.summary(FINDINGS) == "1 FAIL, 0 WARN, 0 PASS, 1 NOT RECORDED"


def test_findings_that_are_no_list_are_none(tmp_path):
    with pytest.raises(FileError, match="contains no findings"):
        read_findings(write_json(tmp_path / "audit.json", {"findings": 5}))
