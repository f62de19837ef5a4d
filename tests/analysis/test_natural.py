"""Strengths and the corruption error from rows whose errors are known."""

import numpy as np
import pandas as pd
import pytest

import tenuto
from tenuto.analysis import natural
from tenuto.errors import ConfigError, DataError
from tenuto.store.natural import GRADED_CHANGES, GRADED_PROTOCOL, NATURAL_KINDS, check_protocol
from tenuto.store.rows import write_rows
from tests.reporting import made_up

CLEAN = 0.125
KIND_COUNT = len(NATURAL_KINDS)


def graded(system="A2E", seed=6, clips=4, error=None):
    """Rows in which the error of strength s of the k-th kind is ``error(k, s)``, by default the same for all."""
    about = {"protocol": GRADED_PROTOCOL, "attack": "natural", "l2": np.nan, "linf": np.nan}
    kinds = list(NATURAL_KINDS)
    parts = [
        made_up.run(
            *(system, seed, CLEAN, error(kinds.index(kind), strength) if error else 0.25),
            **about,
            clips=clips,
            objective=change,
        )
        for change, (kind, strength) in GRADED_CHANGES.items()
    ]
    return pd.concat(parts, ignore_index=True)


def test_the_corruption_error_is_the_mean_over_kinds_and_strengths():
    line = natural.corruption(graded(error=lambda kind, strength: kind + strength / 8)).iloc[0]
    expected = np.mean(range(KIND_COUNT)) + 3 / 8
    assert line["corruption_error"] == pytest.approx(expected)
    assert line["clean_mae"] == pytest.approx(CLEAN)
    assert line["increase"] == pytest.approx(expected - CLEAN)
    assert (line["seeds"], line["clips"], line["resampled"]) == (1, 4, "clips")


def test_a_clip_without_room_for_an_excerpt_counts_with_what_it_has():
    """The kinds weigh the same, whatever is missing within one; a missing kind leaves the mean of the others."""
    rows = graded(clips=1, error=lambda kind, strength: kind + strength / 8)
    fewer = rows[~rows["objective"].isin(["excerpt 4", "excerpt 5"])]
    last = KIND_COUNT - 1
    others = sum(range(last)) + last * 3 / 8
    measured = [natural.corruption(table).iloc[0]["corruption_error"] for table in (rows, fewer)]
    assert measured[0] == pytest.approx((others + last + 3 / 8) / KIND_COUNT)
    assert measured[1] == pytest.approx((others + last + 2 / 8) / KIND_COUNT)
    without = rows[~rows["objective"].str.startswith("excerpt")]
    assert natural.corruption(without).iloc[0]["corruption_error"] == pytest.approx(others / last)


def test_intervals_are_over_seeds_and_clips():
    rows = pd.concat([graded(seed=6), graded(seed=21, error=lambda kind, strength: 0.5)])
    line = natural.corruption(rows, draws=500).iloc[0]
    assert line["resampled"] == "seeds and clips"
    assert line["corruption_error"] == pytest.approx(0.375)
    assert line["corruption_error_low"] == pytest.approx(0.25)
    assert line["corruption_error_high"] == pytest.approx(0.5)
    assert line["increase_low"] == pytest.approx(0.125)


def test_every_system_has_a_line_in_the_study_order():
    table = natural.corruption(pd.concat([graded("aA2E"), graded("A2E")]), draws=10)
    assert table["system"].tolist() == ["A2E", "aA2E"]


def test_a_summary_has_kinds_strengths_and_values():
    lines = natural.summary(graded())
    assert lines["change"].tolist() == list(GRADED_CHANGES)
    assert lines.loc[2, ["kind", "strength", "value"]].tolist() == ["gain", 3, "-12 dB"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            lambda: graded().assign(protocol="natural-1"),
            "rows are of natural-1; strengths are those of natural-2",
        ),
        (lambda: graded().iloc[:0], "there are no rows of natural-2"),
        (lambda: graded().assign(objective="flanger 1"), "flanger 1 is not a change of natural-2"),
        (lambda: pd.concat([graded(), graded().assign(run="again")]), "A2E has 2 runs of seed 6"),
        (
            lambda: pd.concat([graded(), graded(seed=21).query("clip != '003'")]),
            "not every run has natural-2 rows of clip 003",
        ),
        (
            lambda: pd.concat([graded(), graded(seed=21).assign(label_valence=0.9)]),
            "clip 000 has other labels in A2E-21 than in A2E-6",
        ),
        (
            lambda: pd.concat([graded(), graded().assign(split="train")]),
            r"several parts of the split \(test, train\)",
        ),
    ],
)
def test_rows_without_a_corruption_error_are_refused(rows, message):
    with pytest.raises(DataError, match=message):
        natural.corruption(rows())


def test_the_corruption_error_of_folders_is_that_of_their_rows(tmp_path):
    for seed in (6, 21):
        rows = graded(seed=seed)
        write_rows(tmp_path / f"A2E-{seed}" / "attacks" / f"{GRADED_PROTOCOL}.csv", rows)
    together = tenuto.corruption_error(tmp_path)
    pd.testing.assert_frame_equal(
        together, tenuto.corruption_error(pd.concat([graded(seed=6), graded(seed=21)]))
    )
    assert together["seeds"].item() == 2


def test_only_two_protocols_exist():
    assert check_protocol("natural-2") == "natural-2"
    with pytest.raises(
        ConfigError, match=r"'natural-3'\. Did you mean natural-\d\? Valid: natural-1, natural-2"
    ):
        check_protocol("natural-3")
