"""Tables for the terminal."""

import math

import pandas as pd
from rich.console import Console

from tenuto.cli import screen
from tenuto.cli.common import out


def printed(table):
    console = Console(width=100)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_no_number_is_cut_in_a_narrow_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    names = ("r2", "correlation", "rmse", "mse", "mae")
    with out.capture() as capture:
        out.print(
            screen.metrics_table("run", "test", pd.DataFrame(dict.fromkeys(names, -1312.7), index=["joy"]))
        )
    assert capture.get().count("-1312.7000") == len(names)


def test_an_undefined_metric_is_a_dash():
    values = pd.DataFrame({"r2": [0.5], "pearson": [math.nan]}, index=["joy"])
    words = printed(screen.metrics_table("run", "test", values)).split()
    assert words[words.index("joy") :][:5] == ["joy", "│", "0.5000", "│", "–"]


def test_an_undefined_correlation_under_attack_is_a_dash():
    rows = pd.DataFrame({"label_joy": [0.1, 0.3], "clean_joy": [0.5, 0.5]})
    assert screen._scores(rows, "clean") == ("0.3000", "–")
    assert screen._scores(rows[:1], "clean") == ("0.4000", "–")


def test_what_names_would_tell_a_terminal_is_text():
    hostile = "\x1b]0;owned\x07\x1b[2J\u202e"
    table = screen.metrics_table("run", "test", pd.DataFrame({"mae": [0.5]}, index=[f"joy{hostile}"]))
    with out.capture() as capture:
        out.print(table)
        out.print(f"a line\nand {hostile}")
    assert not {"\x1b", "\x07", "\u202e"} & set(capture.get())
    assert r"and \x1b]0;owned" in capture.get()
    assert "a line\nand " in capture.get()
