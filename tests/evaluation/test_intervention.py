"""Correcting concepts: known answers on planted heads, and what must hold on a trained run."""

from __future__ import annotations

import itertools
import shutil

import numpy as np
import pytest
import torch

from tenuto import metrics
from tenuto.attacks import protocol
from tenuto.errors import CheckpointError, ConfigError, ScaleWarning
from tenuto.evaluation import intervention
from tenuto.evaluation.intervention import choices, correct, follow, intervene, movement, set_concepts
from tenuto.evaluation.linear_head import Head
from tenuto.evaluation.robustness import attack
from tenuto.evaluation.runs import open_run
from tenuto.files import read_csv, sha256_file, write_csv
from tenuto.models.recogniser import predict
from tenuto.store.rows import read_rows, values_of
from tenuto.store.run import RunFolder
from tenuto.training.loop import train
from tests.small_runs import settings

ATTACK = protocol("paper-2025-released", iterations=6, step_size=0.05)


def planted(to_emotions, bias=0.0, to_concepts=None):
    """A head of given weights; concepts are the features themselves where nothing else is said."""
    weight = np.asarray(to_emotions, float)
    below = np.eye(weight.shape[1]) if to_concepts is None else np.asarray(to_concepts, float)
    return Head((below, np.zeros(len(below))), (weight, np.full(len(weight), bias)))


def test_correcting_takes_away_the_error_of_each_concept():
    # Emotions are the concepts, so that the error is the mean of what is left uncorrected.
    truth = np.array([[0.2, 0.4], [0.6, 0.8]])
    table = correct(planted(np.eye(2)), truth + np.array([0.1, -0.3]), truth, truth, order=(1, 0))
    assert table["k"].tolist() == [0, 1, 2]
    assert table["mae"].tolist() == pytest.approx([0.2, 0.05, 0.0])
    assert table["mean_mae"].tolist() == pytest.approx([0.2, 0.1, 0.0])
    assert table["lowest_mae"].tolist() == pytest.approx([0.2, 0.05, 0.0])
    assert table["highest_mae"].tolist() == pytest.approx([0.2, 0.15, 0.0])


def test_the_mean_over_choices_is_that_over_all_orders():
    random = np.random.default_rng(0)
    head, labels = planted(random.normal(size=(3, 4)), 0.2), random.normal(size=(5, 3))
    before, after = random.normal(size=(2, 5, 4))
    orders = [
        correct(head, before, after, labels, order)["mae"] for order in itertools.permutations(range(4))
    ]
    corrections = correct(head, before, after, labels, (0, 1, 2, 3))
    np.testing.assert_allclose(corrections["mean_mae"], np.mean(orders, axis=0))
    np.testing.assert_allclose(corrections["lowest_mae"], np.min(orders, axis=0))
    np.testing.assert_allclose(corrections["highest_mae"], np.max(orders, axis=0))


def test_the_order_itself_counts_where_choices_are_drawn():
    random = np.random.default_rng(0)
    truth = random.normal(size=(6, 14))
    shifts = np.linspace(1.0, 3.0, 14)
    order = tuple(np.argsort(shifts)[::-1].tolist())
    table = correct(planted(np.eye(14)), truth + shifts, truth, truth, order)
    assert (table["lowest_mae"] <= table["mae"]).all()
    assert table["lowest_mae"][7] == pytest.approx(shifts[:7].sum() / 14)


def test_many_choices_are_drawn_the_same_every_time():
    corrections = choices(30, 10)
    assert corrections == choices(30, 10)
    assert len(corrections) == 500
    assert all(len(set(choice)) == 10 and set(choice) <= set(range(30)) for choice in corrections)


def test_emotions_follow_a_concept_by_its_weight():
    head = planted([[2.0, -1.0], [0.0, 3.0]], bias=0.1)
    corrections = follow(head, ("mode", "beat"), [[0.5, 0.5], [0.0, 0.25]], {"beat": 1.0})
    np.testing.assert_allclose(corrections, [[0.1, 3.1], [-0.9, 3.1]])


def test_an_unknown_concept_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"'mod' is unknown. Did you mean mode\?"):
        follow(planted(np.eye(2)), ("mode", "beat"), [0.0, 0.0], {"mod": 1.0})


def test_a_value_outside_the_scale_is_remarked_on():
    with pytest.warns(ScaleWarning, match="beat is set to 5, outside its scale of 0 to 1"):
        follow(planted(np.eye(2)), ("mode", "beat"), [0.0, 0.0], {"beat": 5})
    follow(planted(np.eye(2)), ("unit_1", "unit_2"), [0.0, 0.0], {"unit_2": 5})  # has no scale


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_is_refused(value):
    with pytest.raises(ConfigError, match=r"concept mode is set to .* must be a finite number"):
        follow(planted(np.eye(2)), ("mode", "beat"), [0.0, 0.0], {"mode": value})


def test_without_bottleneck_no_concept_can_be_set():
    head = Head(None, (np.eye(2), np.zeros(2)))
    with pytest.raises(CheckpointError, match="no concept can be set"):
        follow(head, (), [], {"mode": 1.0})


CLEAN = np.array([[1.0, 0.0, 5.0, 0.0], [-1.0, 0.0, 5.0, 0.0]])
"""Features of two clips; a head that sees the first two of the four."""

SEEING = planted([[3.0, 0.0], [0.0, 1.0]], to_concepts=[[1, 0, 0, 0], [0, 1, 0, 0]])


def moved(*change):
    labels = SEEING(CLEAN)
    return movement(SEEING, CLEAN, CLEAN + np.array(change), labels)


def test_what_the_head_cannot_see_moves_no_emotion():
    corrections = moved(0, 0, 2.0, 0)
    assert (corrections["feature_change"], corrections["emotion_change"]) == (2.0, 0.0)
    assert (corrections["seen"], corrections["gain"], corrections["damage"]) == (pytest.approx(0.0), 0.0, 0.0)


def test_the_largest_gain_is_met_along_the_first_direction():
    corrections = moved(0.5, 0, 0, 0)
    assert (corrections["gain"], corrections["seen"]) == (pytest.approx(3.0), pytest.approx(1.0))
    assert corrections["damage"] == pytest.approx(0.75)  # 1.5 in one of two emotions
    assert corrections["mae"] == pytest.approx(0.75)


def test_a_slanting_change_is_seen_in_part():
    corrections = moved(0, 3.0, 0, 4.0)
    assert (corrections["feature_change"], corrections["seen"]) == (pytest.approx(5.0), pytest.approx(9 / 25))
    assert corrections["gain"] == pytest.approx(3 / 5)


def test_clip_are_the_measure_beside_the_attack():
    corrections = moved(0, 0, 0, 1.0)
    assert (corrections["clip_feature_spread"], corrections["clip_emotion_spread"]) == (
        1.0,
        pytest.approx(3.0),
    )
    assert corrections["clip_gain"] == pytest.approx(3.0)


def test_the_scale_of_the_features_changes_the_gain_and_not_how_far_emotions_move_beside_clips():
    # Features times four, weights a quarter: the same predictions, another gain.
    change = np.array([0.5, 0.25, 0.0, 1.0])
    quarter = planted([[0.75, 0.0], [0.0, 0.25]], to_concepts=[[1, 0, 0, 0], [0, 1, 0, 0]])
    corrections = movement(SEEING, CLEAN, CLEAN + change, SEEING(CLEAN))
    scaled = movement(quarter, 4 * CLEAN, 4 * (CLEAN + change), SEEING(CLEAN))
    assert scaled["gain"] == pytest.approx(corrections["gain"] / 4)
    for kind in ("feature", "emotion"):
        beside = [each[f"{kind}_change"] / each[f"clip_{kind}_spread"] for each in (corrections, scaled)]
        assert beside[0] == pytest.approx(beside[1])


def test_no_change_has_no_gain():
    assert np.isnan(moved(0, 0, 0, 0)["gain"])


@pytest.fixture(scope="module")
def attacked(prepared, tmp_path_factory):
    """One small run of each kind of network, its test clips attacked."""
    runs, opened = tmp_path_factory.mktemp("runs"), {}
    for system in ("A2E", "A2B2E", "A2M2E"):
        opened[system] = open_run(train(settings(system, epochs=1), prepared, runs), prepared)
        attack(opened[system], ATTACK)
    return opened


@pytest.fixture(scope="module")
def corrections(attacked):
    return intervene(attacked["A2M2E"])


@pytest.fixture
def copied(attacked, prepared, tmp_path):
    """A copy of the A2M2E run, to be changed."""
    folder = tmp_path / attacked["A2M2E"].name
    shutil.copytree(attacked["A2M2E"].folder, folder)
    return open_run(folder, prepared)


def errors(corrections, inputs, target):
    rows = corrections.rows
    return rows.loc[(rows["inputs"] == inputs) & (rows["target"] == target), "mae"].to_numpy()


def test_nothing_corrected_is_the_error_the_attack_reported(attacked, corrections):
    rows = read_rows(attacked["A2M2E"].folder / "attacks" / f"{ATTACK}.csv")
    labels = values_of(rows, "label")
    clean, adversarial = (metrics.mae(labels, values_of(rows, kind)) for kind in ("clean", "adversarial"))
    assert corrections.clean_mae == pytest.approx(clean, abs=1e-5)
    assert errors(corrections, "clean", "annotation")[0] == pytest.approx(clean, abs=1e-5)
    for target in ("annotation", "clean"):
        assert errors(corrections, "attacked", target)[0] == pytest.approx(adversarial, abs=1e-4)
    assert corrections.attacks[0]["mae"] == pytest.approx(adversarial, abs=1e-4)


def test_all_set_back_is_the_clean_error(corrections):
    assert errors(corrections, "attacked", "clean")[-1] == pytest.approx(corrections.clean_mae, abs=1e-12)


def test_all_set_to_annotations_leaves_nothing_of_the_attack(attacked, corrections):
    part = attacked["A2M2E"].part("test")
    head = attacked["A2M2E"].recogniser.network.head.emotions
    with torch.no_grad():
        expected = metrics.mae(part.labels.numpy(), head(part.concepts).numpy())
    assert errors(corrections, "attacked", "annotation")[-1] == pytest.approx(expected, abs=1e-5)
    assert errors(corrections, "clean", "annotation")[-1] == pytest.approx(expected, abs=1e-5)


def test_what_is_repaired_is_a_share_of_the_damage(corrections):
    rows = corrections.rows[
        (corrections.rows["inputs"] == "attacked") & (corrections.rows["target"] == "clean")
    ]
    assert corrections.attacks[0]["damage"] > 0
    assert rows["repaired"].iloc[0] == 0
    assert rows["repaired"].iloc[-1] == pytest.approx(1.0)
    expected = (rows["mae"].iloc[0] - rows["mae"]) / (rows["mae"].iloc[0] - corrections.clean_mae)
    np.testing.assert_allclose(rows["repaired"], expected)
    assert corrections.rows.loc[corrections.rows["inputs"] == "clean", "repaired"].isna().all()


def test_the_order_to_annotations_is_decided_on_validation_clips(attacked, corrections):
    run = attacked["A2M2E"]
    part = run.part("validation")
    error = (predict(run.recogniser.network, part.inputs).concepts - part.concepts).abs().mean(0)
    expected = [run.recogniser.concepts[place] for place in error.argsort(descending=True)]
    orders = [order["concepts"] for order in corrections.orders if order["target"] == "annotation"]
    assert orders == [expected, expected]
    rows = corrections.rows[(corrections.rows["inputs"] == "clean")]
    assert rows["concept"].tolist() == ["", *expected]


def test_rows_have_the_promised_columns_counts_and_weights(attacked, corrections):
    assert tuple(corrections.rows.columns) == intervention.INTERVENTION_COLUMNS
    assert corrections.rows["checkpoint"].unique().tolist() == [
        sha256_file(RunFolder(attacked["A2M2E"].folder).checkpoint),
    ]
    assert corrections.rows["k"].tolist() == [*range(8)] * 3


def test_attacked_validation_clips_decide_the_order_back_to_clean_values(copied):
    assert "from validation clip to validation clip" in intervene(copied).orders[-1]["by"]
    attack(copied, ATTACK, "validation")
    order = intervene(copied).orders[-1]
    assert "attacked validation clips" in order["by"]
    rows = read_rows(copied.folder / "attacks" / f"{ATTACK}-validation.csv")
    units = copied.recogniser.concepts
    change = values_of(rows, "adversarial", units) - values_of(rows, "clean", units)
    reach = copied.recogniser.network.head.emotions.weight.detach().abs().mean(0).numpy()
    size = np.abs(change).mean(0) * reach
    assert order["concepts"] == [units[place] for place in np.argsort(-size)]


def test_free_units_are_set_back_like_concepts(attacked):
    corrections = intervene(attacked["A2B2E"])
    assert set(corrections.rows["target"]) == {"clean"}
    assert set(corrections.orders[0]["concepts"]) == {f"unit_{number}" for number in range(1, 8)}
    assert errors(corrections, "attacked", "clean")[-1] == pytest.approx(corrections.clean_mae, abs=1e-12)
    assert corrections.gain["rank"] == 7


def test_a_direct_network_has_its_gain_and_movement_and_no_rows(attacked):
    corrections = intervene(attacked["A2E"])
    assert corrections.rows.empty
    assert tuple(corrections.rows.columns) == intervention.INTERVENTION_COLUMNS
    assert corrections.gain["rank"] == 8
    assert (
        corrections.attacks[0]["emotion_change"]
        <= corrections.gain["largest"] * corrections.attacks[0]["feature_change"]
    )


def test_concepts_are_set_on_clean_test_clip(attacked):
    run = attacked["A2M2E"]
    before, after = set_concepts(run, {"dissonance": 0.9, "modality": 0.1})
    clean = predict(run.recogniser.network, run.part("test").inputs)
    changed = clean.concepts.clone()
    changed[:, run.recogniser.concepts.index("dissonance")] = 0.9
    changed[:, run.recogniser.concepts.index("modality")] = 0.1
    with torch.no_grad():
        expected = run.recogniser.network.head.emotions(changed)
    np.testing.assert_allclose(before, clean.emotions, atol=1e-5)
    np.testing.assert_allclose(after, expected, atol=1e-5)


def test_a_run_that_was_not_attacked_is_corrected_clean(copied):
    shutil.rmtree(copied.folder / "attacks")
    corrections = intervene(copied)
    assert set(corrections.rows["inputs"]) == {"clean"}
    assert corrections.attacks == []


def test_a_protocol_that_was_not_run_is_named(copied):
    message = r"no perturbations of test clips by standard-1. Valid: paper-2025-released\+"
    with pytest.raises(ConfigError, match=message):
        intervene(copied, "standard-1")


def test_an_attack_on_other_weights_is_refused(copied):
    path = copied.folder / "attacks" / f"{ATTACK}.csv"
    rows = read_csv(path, text=("run", "clip", "norm", "settings"))
    write_csv(path, rows.assign(clean_tension=rows["clean_tension"] + 0.01))
    with pytest.raises(
        CheckpointError, match=r"attacked with other weights \(clean predictions differ by 0.01\)"
    ):
        intervene(copied)
