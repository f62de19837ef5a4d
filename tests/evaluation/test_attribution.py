"""Attributions: known answers on small networks, and attacks on them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tenuto.attacks import Axes, Linf, Masked, Region
from tenuto.errors import ConfigError, DataError
from tenuto.evaluation import attribution_attack
from tenuto.evaluation.attribution import (
    ATTRIBUTION_METHODS,
    attribute,
    integrated_gradients,
    localisation,
    segment_slices,
    segment_table,
    similarity,
)
from tenuto.evaluation.attribution_attack import (
    Explained,
    Softened,
    _noise_like,
    find_region,
    move_attribution,
)
from tenuto.models.heads import Prediction

STEPS, BANDS = 12, 8
SEGMENTS = (4, 2)


class Small(nn.Module):
    """Two emotions of an excerpt (1, 12, 8): linear, or with a hidden layer of ReLU."""

    def __init__(self, hidden=0, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        size = STEPS * BANDS
        layers = (
            [nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, 2)] if hidden else [nn.Linear(size, 2)]
        )
        self.layers = nn.Sequential(*layers).requires_grad_(False)

    def forward(self, excerpts):
        return Prediction(self.layers(excerpts.flatten(1)))


@pytest.fixture
def example():
    return torch.randn(1, STEPS, BANDS, generator=torch.Generator().manual_seed(1))


def change(model, example, output):
    """f(x) - f(0)."""
    both = model(torch.stack([example, torch.zeros_like(example)])).emotions[:, output]
    return float(both[0] - both[1])


@pytest.mark.parametrize("method", ATTRIBUTION_METHODS)
def test_in_a_linear_model_every_method_gives_weight_times_input(example, method):
    model = Small()
    exact = (model.layers[0].weight[1].reshape(STEPS, BANDS) * example[0]).double().numpy()
    values = attribute(model, example, 1, method, SEGMENTS)
    if method == "occlusion":  # the sum over each segment
        sums, expected = (segment_table(one, None, SEGMENTS)["attribution"] for one in (values, exact))
        np.testing.assert_allclose(sums, expected, atol=1e-6)
    else:
        np.testing.assert_allclose(values, exact, atol=1e-6)


def test_integrated_gradients_add_up_to_the_change_of_the_prediction(example):
    model = Small(hidden=40)
    fine = integrated_gradients(model, example[None], 0, steps=400)
    assert float(fine.sum()) == pytest.approx(change(model, example, 0), abs=2e-3)
    first_order = attribute(model, example, 0, "gradient-input").sum()
    assert abs(first_order - change(model, example, 0)) > 0.01  # what the other method leaves out


def test_occlusion_is_the_change_without_the_segment(example):
    model = Small(hidden=40)
    values = attribute(model, example, 0, "occlusion", SEGMENTS)
    without = example.clone()
    without[0, 3:6, 4:] = 0  # the fourth segment
    expected = model(example[None]).emotions[0, 0] - model(without[None]).emotions[0, 0]
    assert values[3:6, 4:].sum() == pytest.approx(float(expected), abs=1e-5)
    assert np.ptp(values[3:6, 4:]) == 0


def test_segments_cover_a_plane_once_and_have_seconds_and_hertz():
    count = np.zeros((313, 149))
    for part in segment_slices(count.shape, (10, 8)):
        count[part] += 1
    assert (count == 1).all()
    assert len(segment_slices((3, 1), (10, 8))) == 3  # no more than there are entries
    with pytest.raises(ConfigError, match=r"segments \(400, 3\) are more than the 313 x 149 entries"):
        segment_slices((313, 149), (400, 3))
    axes = Axes(31.3, tuple(range(100, 249)))
    table = segment_table(count, axes, (10, 8))
    assert table["attribution"].sum() == count.size
    assert (table["from_hz"].min(), table["to_hz"].max(), table["to_seconds"].max()) == (100, 248, 10)


@pytest.mark.parametrize("segments", [(2, 0), (10,), (3, 2, 1), 5, (2.0, 3)])
def test_segments_are_two_whole_numbers(segments):
    message = f"segments must be two whole numbers of at least 1, got {segments}."
    with pytest.raises(ConfigError, match=re.escape(message)):
        segment_slices((3, 3), segments)


def test_similarity_is_1_of_the_same_and_chance_of_unrelated_shares():
    generator = np.random.default_rng(0)
    first, other = generator.normal(size=(2, 60, 60))
    assert similarity(first, -first) == {"rank_correlation": pytest.approx(1), "top_overlap": 1}
    unrelated = similarity(first, other)
    assert abs(unrelated["rank_correlation"]) < 0.06
    assert unrelated["top_overlap"] == pytest.approx(0.1, abs=0.04)
    assert np.isnan(similarity(first, np.zeros((60, 60)))["rank_correlation"])


def test_shares_that_are_mostly_zero_overlap_only_where_they_are_not():
    first, second = np.zeros((2, 100))
    first[:5], second[5:10] = 1.0, 1.0
    assert similarity(first, second)["top_overlap"] == 0
    second[3:5] = 1.0
    assert similarity(first, second)["top_overlap"] == pytest.approx(2 / 7)


def test_localisation_of_shares_inside_outside_and_everywhere():
    inside = np.zeros((10, 10), bool)
    inside[2:4, 2:7] = True
    assert localisation(-2.0 * inside, inside) == {"auc": 1, "pointing": 1, "mass": 1, "area": 0.1}
    assert localisation(~inside, inside) == {"auc": 0, "pointing": 0, "mass": 0, "area": 0.1}
    flat = localisation(np.ones((10, 10)), inside)
    assert flat["auc"] == 0.5
    assert flat["mass"] == pytest.approx(0.1)
    with pytest.raises(DataError, match="empty or the whole input"):
        localisation(inside, np.zeros_like(inside))


def gradient_of_segment(network, example):
    """Gradient of the share of the first segment, (1, 1, 12, 8)."""
    point = example[None].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(point).emotions[:, 0].sum(), point, create_graph=True)
    return torch.autograd.grad((point * gradient)[:, :, :3, :4].sum(), point)[0]


def test_softplus_in_place_of_relu_gives_shares_a_gradient_through_the_network(example):
    model = Small(hidden=40)
    smooth = Softened(model, sharpness=50.0)
    inputs = example[None]
    assert torch.allclose(smooth(inputs).emotions, model(inputs).emotions, atol=0.1)
    steep, curved = (gradient_of_segment(one, example)[:, :, 3:].abs().max() for one in (model, smooth))
    assert steep == 0  # entries that are no part of the segment
    assert curved > 1e-4
    with torch.no_grad():
        assert Explained(model, 0)(inputs).concepts.square().mean() == pytest.approx(1)


RELUS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "function": nn.functional.relu,
    "function in place": lambda values: nn.functional.relu(values, True),
    "method": lambda values: values.relu(),
    "method in place": lambda values: (values.relu_(), values)[1],
    "of torch": torch.relu,
}


@pytest.mark.parametrize("relu", RELUS.values(), ids=RELUS)
def test_every_way_to_call_relu_is_softened(example, relu):
    class Other(Small):
        def forward(self, excerpts):
            first, _, last = self.layers
            return Prediction(last(relu(first(excerpts.flatten(1)))))

    model, reference = Other(hidden=40), Softened(Small(hidden=40))
    inputs = example[None]
    assert torch.equal(Softened(model)(inputs).emotions, reference(inputs).emotions)
    assert torch.equal(*(gradient_of_segment(one, example) for one in (Softened(model), reference)))
    assert torch.equal(model(inputs).emotions, Small(hidden=40)(inputs).emotions)


def test_an_attack_moves_shares_of_a_curved_network_further_than_noise_and_keeps_the_emotions(example):
    model = Small(hidden=60, seed=3)
    moved = move_attribution(model, example, 0, Linf(0.3), method="gradient-input", steps=40)
    assert moved.attacked["rank_correlation"] < moved.noise["rank_correlation"] - 0.05
    assert moved.largest_change < 0.05
    assert moved.table["budget"] == "Linf(epsilon=0.3)"


def test_noise_has_the_size_of_the_attack_under_a_budget_of_masking_too():
    waveform = torch.sin(torch.arange(22050.0) / 10)[None]
    budget = Masked(0.0, 22050)
    generator = torch.Generator().manual_seed(0)
    quiet = budget.around(waveform, ("",)).project(0.1 * torch.randn(waveform.shape, generator=generator))
    noise = _noise_like(quiet, waveform, budget, None, seed=0)
    sizes = [float(budget.around(waveform, ("",)).size(one)) for one in (quiet, noise)]
    assert sizes[1] == pytest.approx(sizes[0], rel=1e-3)


def test_noise_keeps_the_valid_range_and_every_size_where_it_can():
    inputs = torch.zeros(1, 1, 20, 20)
    perturbation = torch.full_like(inputs, 0.1)
    noise = _noise_like(perturbation, inputs, Linf(0.1), (0.0, torch.inf), seed=0)
    assert torch.equal(noise, perturbation)
    noise = _noise_like(perturbation, inputs, Linf(0.1), (-0.05, 0.02), seed=0)
    assert (float(noise.min()), float(noise.max())) == pytest.approx((-0.05, 0.02))


def test_shares_of_a_linear_model_hardly_depend_on_an_attack(example):
    moved = move_attribution(
        Small(), example, 0, Linf(0.01), method="gradient-input", segments=SEGMENTS, steps=5
    )
    assert moved.attacked["rank_correlation"] > 0.99
    assert moved.attacked["top_overlap"] == 1


def test_the_attribution_of_a_linear_model_finds_an_attacked_region(example):
    axes, region = Axes(2.0, tuple(np.linspace(100, 800, BANDS).tolist())), Region(seconds=(1, 2))
    found = find_region(Small(), 0.01 * example, 0, Linf(1.0), region, axes, method="gradient-input", steps=5)
    assert found["change"] > 0
    assert (found["auc"], found["pointing"]) == (1, 1)
    assert found["area"] == pytest.approx(2 / STEPS)
    assert found["clean_auc"] < 0.8


def test_both_attacks_keep_the_valid_range_of_the_input(example, monkeypatch):
    seen = []

    def watch(model, one, *settings):
        seen.append(float(one.min()))
        return attribute(model, one, *settings)

    monkeypatch.setattr(attribution_attack, "attribute", watch)
    axes, region = Axes(2.0, tuple(np.linspace(100, 800, BANDS).tolist())), Region(seconds=(1, 2))
    lowest = float(example.min())
    for valid_range, is_kept in (((-torch.inf, torch.inf), False), ((lowest, torch.inf), True)):
        options: dict[str, Any] = {"method": "gradient-input", "steps": 5, "valid_range": valid_range}
        seen.clear()
        move_attribution(Small(hidden=60, seed=3), example, 0, Linf(5.0), keep=0.0, **options)
        moved = seen[1]
        seen.clear()
        find_region(Small(), example, 0, Linf(5.0), region, axes, **options)
        assert [value >= lowest - 1e-5 for value in (moved, seen[1])] == [is_kept] * 2


@pytest.mark.parametrize(
    ("shape", "bands", "message"),
    [
        ((1, STEPS, BANDS), tuple(range(100, 100 + BANDS)), "a smaller"),
        ((40,), None, "seconds: the shares of"),
    ],
)
def test_a_region_that_is_the_whole_input_is_refused_before_an_attack(shape, bands, message):
    model, axes = nn.Module(), Axes(100.0, bands)  # cannot be called
    with pytest.raises(ConfigError, match=f"is the whole input.*{message}"):
        find_region(model, torch.ones(shape), 0, Linf(1.0), Region(bands=(10, 500)), axes)


@pytest.mark.parametrize(
    ("shape", "method", "message"),
    [
        ((2, STEPS, BANDS), "gradient-input", "one axis of time"),
        ((STEPS, BANDS), "saliency", "method must be one of"),
    ],
)
def test_what_cannot_be_attributed_is_refused(shape, method, message):
    class Sum(nn.Module):
        def forward(self, inputs):
            return Prediction(inputs.flatten(1).sum(1, keepdim=True))

    with pytest.raises(ConfigError, match=message):
        attribute(Sum(), torch.ones(shape), 0, method)


def test_a_waveform_has_segments_of_time_alone():
    class Sum(nn.Module):
        def forward(self, inputs):
            return Prediction(inputs.sum(1, keepdim=True))

    values = attribute(Sum(), torch.ones(100), 0, "occlusion", (10, 8))
    assert values.shape == (100, 1)
    table = segment_table(values, Axes(100.0), (10, 8))
    assert list(table) == ["from_seconds", "to_seconds", "attribution"]
    np.testing.assert_allclose(table["attribution"], 10)


def test_features_without_known_axes_have_segments_of_rows_and_columns():
    table = segment_table(np.ones((43, 40)), None, (10, 8))
    assert list(table) == ["from_row", "to_row", "from_column", "to_column", "attribution"]
    last = table.iloc[-1]
    assert (last["from_row"], last["to_row"], last["from_column"], last["to_column"]) == (39, 43, 35, 40)
    assert len(table.drop(columns="attribution").drop_duplicates()) == 80
