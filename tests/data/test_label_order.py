"""Exchanged columns are noticed; right ones, and too few clips, are not."""

import dataclasses

import numpy as np
import pytest

from tenuto.data import Index, Soundtracks
from tenuto.data.cache import Sound, listen_all
from tenuto.data.label_order import label_orders, p_value

NAMES = tuple(f"clip {number}" for number in range(60))


def sounds(clips=60, varied=("loudness", "onset_rate")):
    values = np.linspace(0, 1, clips)
    return {
        name: Sound(
            name,
            np.empty(0, np.uint32),
            -40 + 30 * value if "loudness" in varied else -20.0,
            5 * value if "onset_rate" in varied else 2.0,
            10.0,
        )
        for name, value in zip(NAMES, values, strict=False)
    }


def index(emotions=("valence", "arousal"), exchanged=False, clips=60):
    random = np.random.default_rng(0)
    energy = np.linspace(0.1, 0.9, clips)
    arousal = energy + random.normal(0, 0.15, clips)
    valence = 0.4 * energy + random.normal(0, 0.3, clips)
    columns = [arousal, valence] if exchanged else [valence, arousal]
    return Index(NAMES[:clips], (), emotions, np.stack(columns, axis=1))


@pytest.mark.parametrize(
    "names", [("valence", "arousal"), ("Valence(mean)", "AROUSAL_mean"), ("pleasure", "energy")]
)
def test_exchanged_columns_are_noticed_and_right_ones_are_not(names):
    (right,) = label_orders(index(names), sounds())
    (exchanged,) = label_orders(index(names, exchanged=True), sounds())
    assert (right.is_exchanged, exchanged.is_exchanged) == (False, True)
    assert f"{names[0]} follows loudness and onset rate more than {names[1]} does" in str(exchanged)
    assert "may be exchanged" not in str(right)


@pytest.mark.parametrize("varied", ["loudness", "onset_rate"])
def test_one_measure_is_enough(varied):
    (exchanged,) = label_orders(index(exchanged=True), sounds(varied=(varied,)))
    assert exchanged.is_exchanged


def test_few_clips_are_not_judged():
    assert label_orders(index(exchanged=True, clips=29), sounds()) == []
    assert label_orders(index(exchanged=True), sounds(29)) == []


def test_ratings_without_relation_to_the_sound_are_not_exchanged():
    random = np.random.default_rng(1)
    for _ in range(50):
        labels = random.uniform(0, 1, (60, 2))
        (order,) = label_orders(Index(NAMES, (), ("valence", "arousal"), labels), sounds())
        assert not order.is_exchanged


def test_valence_that_is_less_against_the_sound_is_no_exchange():
    energy = np.linspace(0.9, 0.1, 60)
    noise = np.random.default_rng(2).uniform(0, 1, 60)
    labels = np.stack([0.2 * energy + noise, energy], axis=1)
    (order,) = label_orders(Index(NAMES, (), ("valence", "arousal"), labels), sounds())
    assert order.p < 0.001
    assert not order.is_exchanged


@pytest.mark.parametrize("names", [("happy", "sad"), ("valence", "joy"), ("valency", "arousal")])
def test_other_names_are_not_judged(names):
    assert label_orders(index(names, exchanged=True), sounds()) == []


def test_columns_that_are_the_same_or_constant_are_not_exchanged():
    same = index()
    same = dataclasses.replace(same, labels=same.labels[:, [1, 1]])
    assert not label_orders(same, sounds())[0].is_exchanged
    constant = dataclasses.replace(same, labels=same.labels * [1, 0])
    assert label_orders(constant, sounds()) == []
    assert label_orders(index(), sounds(varied=())) == []


def test_p_is_below_a_level_as_often_as_it_says_where_both_correlations_are_equal():
    random = np.random.default_rng(3)
    covariance = [[1, 0.5, 0.4], [0.5, 1, 0.4], [0.4, 0.4, 1]]
    values = []
    for _ in range(2000):
        ranks = random.multivariate_normal(np.zeros(3), covariance, 50).argsort(axis=0).argsort(axis=0)
        rho = np.corrcoef(ranks.T)
        values.append(p_value(rho[0, 2], rho[1, 2], rho[0, 1], 50))
    assert np.mean(np.array(values) < 0.05) == pytest.approx(0.05, abs=0.015)
    assert np.mean(np.array(values) < 0.5) == pytest.approx(0.5, abs=0.035)


def test_p_of_extreme_correlations_is_defined():
    assert p_value(0.5, 0.5, 0.2, 100) == pytest.approx(0.5)
    assert p_value(1.0, -1.0, -1.0, 30) < 1e-9
    assert p_value(1.0, 1.0, 1.0, 30) == 1.0


def test_the_columns_of_the_real_soundtracks(shared, tmp_path):
    real = Soundtracks(shared / "soundtracks").index
    heard = listen_all(dict(list(zip(real.clips, real.paths, strict=True))[::12]), tmp_path / "cache")
    assert not any(order.is_exchanged for order in label_orders(real, heard))
    exchanged = dataclasses.replace(real, labels=real.labels[:, [1, 0, *range(2, 8)]])
    first = label_orders(exchanged, heard)[0]
    assert (first.valence, first.arousal, first.is_exchanged) == ("valence", "energy", True)
