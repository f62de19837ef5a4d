"""Results show themselves as text and in a notebook."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from tenuto.display import Displayed


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
