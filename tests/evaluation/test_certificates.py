"""Certificates of median smoothing: closed forms, coverage by simulation, and what depends on what."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import tenuto
from tenuto.attacks import APGD, AbsoluteError, Linf
from tenuto.errors import ConfigError, DataError
from tenuto.evaluation.certificates import Smoothing, bounds, draws_needed, noisy_predictions, rank
from tenuto.models.heads import Prediction


class Linear(nn.Module):
    """f(x) = w x + b of four entries, two outputs."""

    weights = torch.tensor([[1.0, 2.0, 0.0, -2.0], [0.0, 0.5, 0.0, 0.0]])
    offset = torch.tensor([0.3, 0.6])

    def forward(self, inputs):
        return Prediction(inputs.flatten(1) @ self.weights.T + self.offset, None)


EXAMPLE = torch.tensor([[0.1, -0.2, 0.3, 0.05]])
LIKE = torch.zeros(1, 2)


def exact(sigma, radius):
    """Median and bounds of the smoothed linear model: f is its own median, and noise moves it by sigma |w|."""
    median = (EXAMPLE @ Linear.weights.T + Linear.offset)[0].double().numpy()
    change = radius * Linear.weights.norm(dim=1).double().numpy()
    return median, median - change, median + change


def test_bounds_of_a_linear_model_approach_the_closed_form():
    sigma, radius = 0.2, 0.1
    median, low, high = exact(sigma, radius)
    predictions = noisy_predictions(Linear(), EXAMPLE, LIKE, Smoothing(sigma=sigma, draws=20_000))
    lower, upper = bounds(predictions, radius / sigma, 0.001)
    scale = sigma * Linear.weights.norm(dim=1).numpy()
    np.testing.assert_allclose(np.median(predictions, axis=0), median, atol=0.05 * scale.max())
    np.testing.assert_allclose(lower, low, atol=0.05 * scale.max())
    np.testing.assert_allclose(upper, high, atol=0.05 * scale.max())
    assert (lower <= low + 0.01 * scale).all()
    assert (upper >= high - 0.01 * scale).all()


@pytest.mark.parametrize(("draws", "ratio"), [(60, 1.0), (200, 0.5), (100, 0.0)])
def test_the_stated_confidence_holds_in_a_simulation(draws, ratio):
    """1000 repetitions; the true quantile is outside of a bound in at most the stated share of them."""
    risk, repetitions = 0.05, 1000
    samples = np.random.default_rng(3).standard_normal((draws, repetitions))
    low, high = bounds(samples, ratio, risk)
    for wrong in ((high < ratio).mean(), (low > -ratio).mean()):
        # 3 standard deviations of a share of 1000.
        assert wrong <= risk + 3 * math.sqrt(risk * (1 - risk) / repetitions)
        assert wrong > 0  # a bound that is never wrong would be far too wide


def test_a_rank_is_the_smallest_that_the_binomial_distribution_allows():
    for draws, share, risk in [(1000, 0.84, 0.003), (60, 0.7, 0.05), (100, 0.5, 0.01), (5000, 0.999, 0.02)]:
        place = rank(draws, share, risk)
        assert place is not None
        assert stats.binom.cdf(place - 1, draws, share) > 1 - risk
        assert stats.binom.cdf(place - 2, draws, share) <= 1 - risk


@pytest.mark.parametrize("ratio", [0.25, 1.0, 2.0])
def test_bounds_exist_from_the_stated_number_of_draws_on(ratio):
    needed, share = draws_needed(ratio, 0.01), stats.norm.cdf(ratio)
    assert rank(needed, share, 0.01) == needed
    assert rank(needed - 1, share, 0.01) is None
    assert np.isinf(bounds(np.zeros((needed - 1, 2)), ratio, 0.01)).all()


def test_noise_depends_on_seed_and_content_alone():
    smoothing = Smoothing(sigma=0.1, draws=20)
    alone = noisy_predictions(Linear(), EXAMPLE, LIKE, smoothing, 20)
    assert alone.std(axis=0) == pytest.approx(0.1 * Linear.weights.norm(dim=1).numpy(), rel=0.5)
    np.testing.assert_allclose(noisy_predictions(Linear(), EXAMPLE, LIKE, smoothing, 3), alone, atol=1e-6)
    other = noisy_predictions(Linear(), EXAMPLE, LIKE, Smoothing(sigma=0.1, draws=20, seed=1), 20)
    assert not np.allclose(other, alone)


class OneOutput(nn.Module):
    """One output without an axis of its own, in double precision, from an input that is changed in place."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 0.0, -2.0], dtype=torch.float64))

    def forward(self, inputs):
        return inputs.mul_(self.weight).sum(dim=1)


def test_a_model_may_have_one_output_double_precision_and_change_its_input():
    example = EXAMPLE.double()
    predictions = noisy_predictions(
        OneOutput(), example, LIKE[:, :1].double(), Smoothing(sigma=0.1, draws=200)
    )
    assert predictions.shape == (200, 1)
    np.testing.assert_allclose(example, EXAMPLE)
    assert np.median(predictions) == pytest.approx(
        float(example @ torch.tensor([1.0, 2.0, 0.0, -2.0]).double()), abs=0.1
    )


def test_a_prediction_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="not finite"):
        noisy_predictions(lambda noisy: noisy.log()[:, :2], EXAMPLE, LIKE, Smoothing(sigma=0.1, draws=8))


def test_noise_and_attacks_stay_inside_the_interval_bounds_of_a_tiny_network():
    """Interval bounds hold for every input of a box, here one that contains all noise and all perturbations."""
    torch.manual_seed(0)
    first, second = nn.Linear(4, 6), nn.Linear(6, 2)
    network, smoothing = nn.Sequential(first, nn.ReLU(), second), Smoothing(sigma=0.1, draws=300)

    def box(reach):
        centre, width = EXAMPLE, torch.full_like(EXAMPLE, reach)
        ends = first(centre) - width @ first.weight.abs().T, first(centre) + width @ first.weight.abs().T
        low, high = (end.relu() for end in ends)
        middle, half = second((low + high) / 2), (high - low) / 2 @ second.weight.abs().T
        return (middle - half).detach().numpy(), (middle + half).detach().numpy()

    predictions = noisy_predictions(network, EXAMPLE, LIKE, smoothing)
    low, high = box(6 * smoothing.sigma)
    assert ((low <= predictions) & (predictions <= high)).all()
    result = APGD(Linf(0.05), objective=AbsoluteError(), steps=20)(network, EXAMPLE, LIKE + 9)
    low, high = box(0.05)
    assert (
        (low - 1e-6 <= result.adversarial_prediction.numpy())
        & (result.adversarial_prediction.numpy() <= high)
    ).all()


def test_a_whole_sigma_draws_the_same_noise_as_the_number_the_command_line_reads():
    whole, number = (
        noisy_predictions(Linear(), EXAMPLE, LIKE, Smoothing(sigma=sigma, draws=5)) for sigma in (1, 1.0)
    )
    np.testing.assert_array_equal(whole, number)
    assert Smoothing(sigma=1).name("waveform") == "waveform-sigma-1-draws-1000-seed-0"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0}, "sigma must be a number above 0"),
        ({"sigma": math.nan}, "sigma must be a number above 0"),
        ({"draws": 0}, "draws"),
        ({"confidence": 1}, "confidence must be between 0 and 1"),
        ({"precision": "float16"}, "precision must be"),
        ({"radius": -1}, "radius must be a number of at least 0"),
        ({"snr_db": 40}, "`snr_db` is for waveforms"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    recogniser = tenuto.load("a2e-soundtracks")
    with pytest.raises(ConfigError, match=message):
        tenuto.certify(recogniser, torch.zeros(1, 1, 313, 149), **{"sigma": 0.1, **settings})
