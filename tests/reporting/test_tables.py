import numpy as np
import pandas as pd
import pytest

from tenuto.analysis import smc2025
from tenuto.analysis.comparison import Settings, compare
from tenuto.analysis.curves import measure
from tenuto.analysis.sentences import summarise
from tenuto.reporting import paper, tables
from tenuto.reporting.comparison import comparison_tables
from tenuto.reporting.curves import curve_table

from . import made_up


def shown(*cells, groups=None):
    table = pd.DataFrame({"A": list(cells), "B": ["1"] * len(cells)})
    return table if groups is None else table.assign(group=groups)


def test_markdown_is_a_table_with_its_caption():
    assert tables.markdown(shown("x", "y"), "What it shows.") == (
        "| A | B |\n| --- | ---: |\n| x | 1 |\n| y | 1 |\n\nWhat it shows.\n"
    )


def test_names_in_captions_and_headings_are_no_markup():
    table = pd.DataFrame({"<b>": ["x\x1b[2J"]})
    text = tables.markdown(table, "Of <img src=x> [here](javascript:x)\x1b[2J.")
    assert r"| \<b\> |" in text
    assert r"| x\\x1b\[2J |" in text
    assert r"Of \<img src=x> \[here](javascript:x)\x1b\[2J." in text
    assert "\x1b" not in tables.latex(table, "\x1b[2J")


def test_markdown_cells_cannot_break_the_table():
    assert r"| a\|b\_c | 1 |" in tables.markdown(shown("a|b_c"), "")
    assert r"| \&lt; \~\~ \$ | 1 |" in tables.markdown(shown("&lt;\r~~\r$"), "")


@pytest.mark.parametrize("name", ["[2pt]", "*"])
def test_a_name_is_no_option_of_a_latex_line(name):
    assert tables.latex(shown(name), "").splitlines()[7] == f"    {{}}{name} & 1 \\\\"


def test_latex_rules_stand_where_the_group_changes():
    text = tables.latex(shown("x", "y", "z", groups=["one", "one", "two"]), "What it shows.")
    body = [line.strip() for line in text.splitlines()]
    start = body.index(r"\toprule")
    assert body[start : body.index(r"\bottomrule") + 1] == [
        r"\toprule",
        r"A & B \\",
        r"\midrule",
        r"x & 1 \\",
        r"y & 1 \\",
        r"\midrule",
        r"z & 1 \\",
        r"\bottomrule",
    ]
    assert r"\caption{What it shows.}" in body


def test_the_group_itself_is_not_printed():
    table = shown("x", groups=["hidden"])
    assert "hidden" not in tables.markdown(table, "") + tables.latex(table, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.73 ± 0.02", r"0.73 $\pm$ 0.02"),
        ("50 % & more_", r"50 \% \& more\_"),
        ("{x}^2 \\ ~", r"\{x\}\textasciicircum{}2 \textbackslash{} \textasciitilde{}"),
        ("a\nb\r|", r"a b \textbar{}"),
    ],
)
def test_latex_is_escaped(text, expected):
    assert tables.escape_latex(text) == expected


@pytest.mark.parametrize(
    ("mean", "deviation", "alone", "expected"),
    [
        (0.7324, 0.0154, False, "0.73 ± 0.02"),
        (0.76, np.nan, False, "0.76 ± –"),
        (0.76, np.nan, True, "0.76"),  # a value of the paper without deviation
        (np.nan, np.nan, False, "–"),
        (-1e-3, 0, False, "0.00 ± 0.00"),
    ],
)
def test_mean_and_deviation_are_printed_with_two_decimals(mean, deviation, alone, expected):
    assert paper.mean_deviation(mean, deviation, alone) == expected


def test_one_seed_has_no_deviation():
    table = smc2025.table1(made_up.run(), paper_data=True)
    line = table[table["system"] == "A2E"].iloc[0]
    assert np.isnan([line["correlation_std"], line["mae_std"]]).all()
    shown = paper.table1(made_up.run(), paper_data=True).cells.iloc[-1]
    assert (shown["Avg. corr."], shown["MAE"]) == ("1.00 ± –", "0.12 ± –")
    assert shown["MAE (paper)"] == "0.10 ± 0.01"


def test_table_1_shows_the_papers_values():
    table = paper.table1(made_up.study(), paper_data=True).cells
    assert table.columns.tolist() == [
        "group",
        "System",
        "Seeds",
        "Avg. corr.",
        "MAE",
        "Avg. corr. (paper)",
        "MAE (paper)",
    ]
    assert table.iloc[0].tolist() == ["original", "A2E (orig.)", "–", "–", "–", "0.76", "–"]
    line = ["plain training", "A2E", "3", "1.00 ± 0.00", "0.12 ± 0.00", "0.73 ± 0.02", "0.10 ± 0.01"]
    assert table.iloc[2].tolist() == line


def test_the_caption_of_table_1_says_which_clips_and_whose_print():
    caption = paper.table1(made_up.study(), paper_data=True).caption
    assert "5 clean test clips (not attacked)" in caption
    assert "(paper): values of the SMC 2025 paper" in caption


def test_captions_of_one_clip_count_in_the_singular():
    rows = made_up.run(clips=1, norm="linf", epsilon=0.1, l2=2.0, linf=0.1)
    assert "on 1 clean test clip (not attacked)" in paper.table1(rows).caption
    assert "for each of 1 test clip, epsilon from 0 to 0.1" in curve_table(measure(rows, draws=10)).caption
    assert any("1 seed, 1 test clip" in sentence for sentence in summarise(rows, None))


def test_the_caption_of_the_tests_says_which_prediction_was_taken():
    released, other = made_up.run(), made_up.run(attack="PGD", norm="linf", epsilon=0.1, threshold=None)
    assert "predictions are those of the last iterate" in paper.significance(released).caption
    assert "belong to the perturbation whose norm is given" in paper.significance(other).caption


def test_t_is_shown_with_nine_decimals_and_p_with_four_digits():
    table = pd.DataFrame(
        [("A against B", "clip x seed", 360, 359, 13.0352006104, 4.56702e-32, np.nan, np.nan)],
        columns=["comparison", "unit", "n", "degrees_of_freedom", "t", "p", "paper_t", "paper_p"],
    )
    line = tables.text_cells(table, paper.SIGNIFICANCE | paper.PRINTED_SIGNIFICANCE).iloc[0]
    assert line[["df", "t", "p", "t (paper)"]].tolist() == ["359", "13.035200610", "4.567e-32", "–"]


def test_a_table_is_written_in_three_forms(tmp_path):
    full = pd.DataFrame({"A": ["x"], "B": [1 / 3]})
    written = tables.ResultTable(shown("x"), "Caption.", full).write(tmp_path / "deep" / "table")
    assert list(written) == ["table.csv", "table.md", "table.tex"]
    assert written["table.csv"].read_text() == "A,B\nx,0.3333333333333333\n"
    assert written["table.md"].read_text().endswith("Caption.\n")
    assert written["table.tex"].read_text().startswith(r"\begin{table}")


def test_without_the_papers_values_nothing_speaks_of_them():
    own = paper.table1(made_up.study())
    assert own.cells.columns.tolist() == ["group", "System", "Seeds", "Avg. corr.", "MAE"]
    assert "paper" not in own.caption


def test_tables_of_a_comparison_fit_in_a_hundred_columns():
    compared = compare(made_up.study(), Settings(draws=100))
    for table in comparison_tables(compared).values():
        cells = table.cells.drop(columns=["group", "Error"])
        widths = [max(len(str(name)), *cells[name].str.len()) for name in cells]
        assert sum(widths) + 3 * len(widths) + 1 <= 100
