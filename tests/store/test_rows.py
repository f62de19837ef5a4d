import numpy as np
import pandas as pd
import pytest

from tenuto.errors import DataError, FileError, TenutoError
from tenuto.files import write_csv
from tenuto.store.rows import (
    KEY_COLUMNS,
    VALUE_KINDS,
    at_budget,
    concept_names,
    emotion_names,
    in_unit,
    mark_worst,
    read_rows,
    scale_of,
    unit_of,
    units_of,
    validate_rows,
    values_of,
    worst_case,
    write_rows,
)
from tests.reporting import made_up


def with_unit(rows):
    return rows.assign(clean_melody=0.5, adversarial_melody=0.25)


def test_names_with_a_label_are_emotions_and_names_without_are_concepts():
    rows = with_unit(made_up.run())
    assert emotion_names(rows)[:2] == ("valence", "energy")
    assert len(emotion_names(rows)) == 8
    assert concept_names(rows) == ("melody",)
    assert concept_names(made_up.run()) == ()


def test_values_are_a_matrix_in_the_order_of_the_emotions_or_of_names():
    rows = with_unit(made_up.run())
    np.testing.assert_array_equal(values_of(rows, "label"), made_up.labels())
    np.testing.assert_array_equal(values_of(rows, "adversarial", ("melody",)), np.full((5, 1), 0.25))


def test_written_rows_come_back_unchanged_with_more_columns_and_text_as_text(tmp_path):
    rows = made_up.run(run="007", mood="odd")
    rows["adversarial_fear"] = 1 / 3 + np.arange(5)
    back = read_rows(write_rows(tmp_path / "rows.csv", rows))
    pd.testing.assert_frame_equal(back, rows)
    assert (back["run"].iloc[0], back["clip"].iloc[1], back["seed"].iloc[0]) == ("007", "001", 6)


@pytest.mark.parametrize("column", ["clip", "l2", "clean_sad"])
def test_a_missing_column_is_named(column):
    with pytest.raises(DataError, match=f"no column {column}"):
        validate_rows(made_up.run().drop(columns=column))


def test_a_missing_column_of_a_file_is_named_with_the_file(tmp_path):
    (tmp_path / "rows.csv").write_text("run,system\nA,B\n")
    with pytest.raises(FileError, match=r"rows\.csv: no column seed"):
        read_rows(tmp_path / "rows.csv")


def test_rows_without_any_emotion_are_refused():
    rows = made_up.run()
    with pytest.raises(DataError, match="no column label_"):
        validate_rows(rows[list(KEY_COLUMNS)])


@pytest.mark.parametrize(("name", "value"), [("system", "A2M2E"), ("seed", 7)])
def test_a_run_with_two_systems_or_seeds_is_refused(name, value):
    rows = made_up.run()
    rows.loc[rows.index[0], name] = value
    with pytest.raises(DataError, match=f"have {name} .*{value}.*; there must be one"):
        validate_rows(rows)


def test_a_row_that_stands_twice_is_refused():
    rows = made_up.run(clip="003")
    with pytest.raises(DataError, match="clip 003 of A2E-6 has two rows of the same attack"):
        validate_rows(rows)


WRONG = [
    *(
        (name, cell)
        for name in ("run", "system", "clip", "protocol", "attack", "objective", "norm")
        for cell in ("", " ")
    ),
    *(("split", cell) for cell in ("", "Test", "all")),
    *(("seed", cell) for cell in ("", "abc", "inf", "1.5", "9" * 23)),
    *((name, cell) for name in ("iterations", "gradient_passes") for cell in ("abc", "", "-1", "nan")),
    *((name, cell) for name in ("epsilon", "l2", "linf") for cell in ("abc", "inf", "-0.5", "1e999")),
    *(("converged", cell) for cell in ("", "maybe", "2")),
    *((f"{kind}_anger", cell) for kind in VALUE_KINDS for cell in ("abc", "inf", "nan", "")),
    *(("clean_melody", cell) for cell in ("abc", "-inf")),
    *(("uses_label", cell) for cell in ("abc", "2")),
    *(("worst", cell) for cell in ("abc", "")),
]


@pytest.mark.parametrize(("name", "cell"), WRONG)
def test_a_wrong_cell_of_a_file_is_named(tmp_path, name, cell):
    rows = with_unit(made_up.run(norm="linf", epsilon=0.1, worst=True, uses_label=True)).astype(object)
    rows.loc[2, name] = cell
    path = write_csv(tmp_path / "rows.csv", rows)
    with pytest.raises(
        TenutoError, match=rf"rows\.csv: (line 4|row 3).*column {name}: '{cell[:9].strip()}.* is not "
    ):
        read_rows(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("clip", 3), ("split", "Test"), ("seed", 1.5), ("iterations", -1), ("l2", np.inf), ("l2", "abc")),
        *(
            ("converged", "True"),
            ("clean_anger", np.nan),
            ("label_anger", "abc"),
            ("adversarial_melody", np.inf),
        ),
    ],
)
def test_a_wrong_cell_of_a_table_is_named(name, value):
    rows = with_unit(made_up.run()).astype({name: object})
    rows.loc[2, name] = value
    with pytest.raises(
        DataError, match=rf"row 3 \(clip '(002|3)' of 'A2E-6'\), column {name}: '{value}' is not"
    ):
        validate_rows(rows)


def test_missing_norms_units_and_unknown_objectives_come_back_missing(tmp_path):
    rows = with_unit(made_up.run(l2=np.nan, uses_label=None, settings=None)).astype({"clean_melody": object})
    rows.loc[1, "clean_melody"] = None
    back = read_rows(write_rows(tmp_path / "rows.csv", rows))
    assert back[["l2", "uses_label", "settings"]].isna().all(axis=None)
    assert back["clean_melody"].isna().tolist() == [False, True, False, False, False]


def test_refused_rows_are_not_written(tmp_path):
    with pytest.raises(DataError):
        write_rows(tmp_path / "rows.csv", made_up.run(clip="003"))
    assert not (tmp_path / "rows.csv").exists()


def ladder():
    """One clip's two attacks at two budgets, and a second clip's; the errors are 0.1 to 0.4, then 0.5."""
    first = made_up.run().iloc[:2]
    parts = [
        first.assign(
            attack=attack,
            norm="linf",
            epsilon=epsilon,
            **{f"adversarial_{name}": first[f"label_{name}"] + moved for name in emotion_names(first)},
        )
        for attack, epsilon, moved in (("a", 0.1, 0.1), ("b", 0.1, -0.2), ("a", 0.2, 0.4), ("b", 0.2, 0.3))
    ]
    return pd.concat(parts, ignore_index=True)


def test_the_worst_of_every_clip_and_budget_is_marked():
    marked = mark_worst(ladder())
    worst = marked[marked["worst"]]
    assert worst[["attack", "epsilon"]].drop_duplicates().to_numpy().tolist() == [["b", 0.1], ["a", 0.2]]
    assert len(worst) == 4


def test_a_label_that_is_missing_has_no_worst_case_and_is_named():
    rows = ladder()
    rows.loc[0, "label_valence"] = np.nan
    with pytest.raises(DataError, match="label_valence"):
        worst_case(rows)


def test_of_equal_rows_the_first_is_the_worst():
    rows = ladder()
    rows = rows[rows["attack"] == "a"]
    both = pd.concat([rows, rows.assign(attack="c")], ignore_index=True)
    assert set(mark_worst(both).query("worst")["attack"]) == {"a"}


def test_rows_without_a_budget_have_a_worst_too():
    assert mark_worst(made_up.run())["worst"].all()


def test_the_worst_case_is_one_attack():
    worst = worst_case(mark_worst(ladder()))
    assert set(worst["attack"]) == set(worst["objective"]) == {"worst"}
    validate_rows(worst)


def test_the_worst_is_sought_again_among_rows_that_were_picked_out():
    rows = mark_worst(ladder())
    for attack in ("a", "b"):
        own = rows[rows["attack"] == attack]
        assert worst_case(own) is own
    for picked in (rows[rows["worst"]], rows[~rows["worst"]]):
        assert len(worst_case(picked)) == 4
    mixed = rows.drop([0, 3])  # the worst row of one clip, the other one of the other clip
    assert set(worst_case(mixed)["attack"]) == {"worst"}


def test_worst_cases_over_different_attacks_are_refused():
    rows = ladder()
    with pytest.raises(
        DataError, match=r"not every clip of .* has the attack of this row, attack 'b', .*'0\.1'"
    ):
        worst_case(rows.drop(2))
    two = pd.concat([rows, rows.assign(run="another", seed=99)], ignore_index=True)
    assert len(worst_case(two)) == 8
    lacking = (two["run"] == "another") & (two["attack"] == "b")
    with pytest.raises(
        DataError, match=r"not every run of .* has the attack of this row, attack 'b', .*'0\.1'"
    ):
        worst_case(two[~lacking])
    other = two["system"].where(~(two["run"] == "another"), "B")
    assert len(worst_case(two.assign(system=other)[~lacking])) == 8


def test_rows_of_one_attack_are_their_own_worst_case():
    rows = made_up.run()
    assert worst_case(rows) is rows
    assert set(worst_case(mark_worst(rows))["attack"]) == set(rows["attack"])


def test_one_budget_of_several_is_chosen():
    rows = mark_worst(ladder())
    result = at_budget(rows, 0.2)
    assert set(result["epsilon"]) == {0.2}
    assert set(result["attack"]) == {"worst"}
    assert len(result) == 2


def test_rows_of_one_budget_need_no_choice():
    assert at_budget(mark_worst(ladder().query("epsilon == 0.1")))["clip"].nunique() == 2


@pytest.mark.parametrize(
    ("epsilon", "message"), [(None, "several budgets \\(0.1, 0.2\\)"), (0.3, "no budget 0.3")]
)
def test_a_budget_that_cannot_be_chosen_is_refused(epsilon, message):
    with pytest.raises(DataError, match=message):
        at_budget(mark_worst(ladder()), epsilon)


def test_rows_put_together_may_share_their_index():
    rows = ladder()
    parts = [rows.iloc[:4], rows.iloc[4:].reset_index(drop=True)]
    assert mark_worst(pd.concat(parts))["worst"].tolist() == mark_worst(rows)["worst"].tolist()


SAMPLES = "samples (full scale 1)"


def waves(**columns):
    """Rows of a model of waveforms, judged on ratings from 1 to 7."""
    return made_up.run(system="waves", **{"unit": SAMPLES, "scale_low": 1.0, "scale_high": 7.0} | columns)


def test_a_run_may_be_attacked_in_two_units_by_two_protocols():
    waveforms = made_up.run(system="A2E", protocol="sound-1", unit=SAMPLES, snr_db=-3.5, nmr_db=np.nan)
    both = validate_rows(pd.concat([made_up.run(), waveforms], ignore_index=True))
    assert units_of(both).nunique() == 2
    assert set(both["run"]) == {"A2E-6"}


@pytest.mark.parametrize("name", ["snr_db", "survives_mp3", "perceptual", "leakage_db"])
def test_columns_of_waveforms_are_numbers_of_any_sign_or_empty(name, tmp_path):
    rows = waves(**{name: [-3.5, 0.0, np.nan, 1.2, 40.0]})
    back = read_rows(write_rows(tmp_path / "rows.csv", rows))
    pd.testing.assert_series_equal(back[name], rows[name])
    with pytest.raises(
        DataError, match=f"column {name}: 'inf' is not a finite number in the range of float32, or empty"
    ):
        validate_rows(waves(**{name: np.inf}))


@pytest.mark.parametrize(
    "name", ["label_fear", "clean_fear", "fresh_fear", "l2", "linf", "epsilon", "db", "snr_db"]
)
@pytest.mark.parametrize("value", [1e308, -1e308])
def test_a_number_whose_square_would_be_infinite_is_refused(name, value):
    rows = waves(**{name: 3e38})
    validate_rows(rows)
    rows.loc[2, name] = value
    with pytest.raises(
        DataError, match=rf"row 3 .*column {name}: .* is not a finite number .*range of float32"
    ):
        validate_rows(rows)


def test_rows_of_earlier_versions_mean_the_log_spectrogram_and_name_no_scale():
    rows = made_up.run()
    assert unit_of(rows) == "standard deviations of the log spectrogram"
    assert scale_of(rows) is None


def test_unit_and_scale_come_back(tmp_path):
    back = read_rows(write_rows(tmp_path / "rows.csv", waves()))
    assert (unit_of(back), scale_of(back)) == (SAMPLES, (1.0, 7.0))


def test_rows_of_both_versions_can_stand_in_one_table(tmp_path):
    both = pd.concat([made_up.run(), waves()], ignore_index=True)
    back = read_rows(write_rows(tmp_path / "rows.csv", both))
    assert units_of(back).nunique() == 2
    assert scale_of(back) is None
    with pytest.raises(DataError, match=r"epsilon is in 2 units .*cannot be compared"):
        unit_of(back)


def test_a_unit_is_named_by_its_beginning():
    both = pd.concat([made_up.run(), waves()], ignore_index=True)
    assert set(in_unit(both, "samples")["system"]) == {"waves"}
    assert in_unit(both, None) is both
    with pytest.raises(DataError, match="unit 's' is not the unit of these rows"):
        in_unit(both, "s")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"unit": [SAMPLES, SAMPLES, "decibels", SAMPLES, SAMPLES]},
            "have unit .* and .*; there must be one",
        ),
        ({"scale_low": 7.0}, "the scale of 'waves-6' is 7 to 7"),
        ({"scale_high": np.inf}, "column scale_high"),
    ],
)
def test_a_contradictory_unit_or_scale_is_refused(columns, message):
    with pytest.raises(DataError, match=message):
        validate_rows(waves(**columns))


def test_a_budget_in_db_is_chosen_by_its_value():
    rows = mark_worst(made_up.sound())
    assert set(at_budget(rows, db=40)["norm"]) == {"snr"}
    assert set(at_budget(rows, db=-6)["norm"]) == {"masked"}
    assert set(at_budget(rows, 0.01)["epsilon"]) == {0.01}


def test_a_value_in_db_of_two_norms_needs_the_norm():
    rows = mark_worst(made_up.sound(ladders={"snr": {6: 0.2}, "masked": {6: 0.3}}))
    with pytest.raises(
        DataError, match=r"6 dB is a budget of several norms \(6 dB SNR, noise-to-mask 6 dB\)\. .*`norm`"
    ):
        at_budget(rows, db=6)
    with pytest.raises(DataError, match=r"Choose one with `db`, and `norm`"):
        at_budget(rows)
    assert set(at_budget(rows, db=6, norm="masked")["norm"]) == {"masked"}
    assert set(at_budget(rows, norm="snr")["norm"]) == {"snr"}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({}, r"several budgets .*40 dB SNR, .*noise-to-mask 6 dB.* Choose one with `db`\."),
        ({"db": 10}, "no budget 10 dB; budgets of the rows: 40 dB SNR"),
        ({"db": 40, "norm": "masked"}, "no budget 40 dB; budgets of the rows: noise-to-mask -6 dB"),
        ({"norm": "linf"}, "no norm 'linf'; norms of the rows: snr, masked"),
        ({"epsilon": 0.01, "db": 40}, "`epsilon` 0.01 and `db` 40 are two budgets"),
    ],
)
def test_a_budget_in_db_that_cannot_be_chosen_is_refused(choice, message):
    with pytest.raises(DataError, match=message):
        at_budget(mark_worst(made_up.sound()), **choice)


def test_a_size_is_no_value_in_db():
    with pytest.raises(DataError, match=r"no budget 0\.1 dB"):
        at_budget(mark_worst(ladder()), db=0.1)
