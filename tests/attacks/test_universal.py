"""Universal perturbations: the closed form of a linear model, the budget, the range, and honest placements."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tenuto.attacks import L2, SNR, Amplitude, EmotionsMove, Linf, OneEmotion, SquaredError, Unbounded
from tenuto.attacks.universal import Part, Placement, Universal, shape_budget
from tenuto.errors import AttackError, ConfigError
from tests.attacks.conftest import Bottleneck, Linear, random

WEIGHTS = random(3, 20, seed=21)
MODEL = Linear(WEIGHTS)
BUDGETS = (Linf(0.05), L2(0.05))


def part(count, seed, names="clip"):
    """Examples of a shape (1, 5, 4) with three labels."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 1, 5, 4, generator=generator, dtype=torch.float64)
    labels = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    return Part(inputs, labels, [f"{names} {number}" for number in range(count)])


TRAINING, VALIDATION, TEST = part(11, 1), part(4, 2), part(5, 3)


def fitted(settings, model=MODEL, **rest):
    return settings.fit(model, TRAINING, VALIDATION, **rest)


def judged(settings, shape, model=MODEL, **rest):
    attack = Placement(settings, shape=shape)
    return attack(model, TEST.inputs, TEST.labels, names=TEST.names, **rest)


@pytest.mark.parametrize("batch_size", [1, 4, 100])
@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
def test_a_linear_model_has_the_closed_form(budget, batch_size):
    shape = fitted(Universal(budget, objective=OneEmotion(1, False), epochs=4, batch_size=batch_size))
    best = budget.epsilon * budget.steepest(-WEIGHTS[1].view(1, 1, 5, 4))[0]
    assert torch.allclose(shape, best, rtol=1e-9, atol=0)


@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
def test_the_mean_error_of_a_linear_model_is_that_of_its_mean_gradient(budget):
    """At a small budget the mean squared error is linear, so its mean gradient over the clips decides."""
    small = dataclasses.replace(budget, epsilon=1e-6)
    shape = fitted(Universal(small, epochs=30, batch_size=len(TRAINING.names), momentum=0.0))
    point = torch.zeros(1, 1, 5, 4, dtype=torch.float64, requires_grad=True)
    (MODEL(TRAINING.inputs + point) - TRAINING.labels).square().mean().backward()
    expected = small.epsilon * small.steepest(point.grad)[0]
    assert torch.allclose(shape, expected, rtol=1e-3, atol=1e-9)


def sounds(one):
    """Examples of a part as waveforms (20,) of different levels."""
    louder = torch.linspace(0.2, 3, len(one.names), dtype=torch.float64)[:, None]
    return one._replace(inputs=one.inputs.flatten(1) * louder)


def test_under_a_signal_to_noise_ratio_one_shape_is_scaled_to_every_clip():
    """On a linear model that is the steepest direction, at the level of each clip."""
    settings = Universal(SNR(20), objective=OneEmotion(1, True), epochs=4)
    shape = settings.fit(MODEL, sounds(TRAINING), sounds(VALIDATION))
    direction = WEIGHTS[1] / WEIGHTS[1].norm()
    assert torch.allclose(shape, 0.1 * direction)
    inputs = sounds(TEST).inputs
    result = Placement(settings, shape=shape)(MODEL, inputs, TEST.labels)
    assert torch.allclose(result.perturbation, 0.1 * inputs.norm(dim=1, keepdim=True) * direction)
    measured = 20 * torch.log10(inputs.norm(dim=1) / result.perturbation.norm(dim=1))
    assert measured.tolist() == pytest.approx([20] * 5)


def test_an_amplitude_is_the_same_for_every_clip():
    settings = Universal(Amplitude(0.01), objective=OneEmotion(1, True), epochs=4)
    shape = settings.fit(MODEL, sounds(TRAINING), sounds(VALIDATION))
    assert torch.allclose(shape, 0.01 * WEIGHTS[1].sign())
    result = Placement(settings, shape=shape)(MODEL, sounds(TEST).inputs, TEST.labels)
    assert torch.allclose(result.perturbation, shape.expand(5, 20))


def test_a_silent_clip_has_no_signal_to_noise_ratio():
    silent = sounds(TRAINING)
    silent.inputs[4] = 0
    with pytest.raises(AttackError, match="clip 4 is silent"):
        Universal(SNR(20)).fit(MODEL, silent, sounds(VALIDATION))


@pytest.mark.parametrize("budget", BUDGETS, ids=repr)
def test_it_is_worse_for_unseen_clips_than_noise_of_the_same_size(budget):
    model = Bottleneck(20, 6, 3, seed=5)
    settings = Universal(dataclasses.replace(budget, epsilon=0.5), objective=OneEmotion(0, True), epochs=20)
    shape = fitted(settings, model)
    attack, noise = judged(settings, shape, model), judged(settings, settings.noise(shape), model)
    size = settings.budget.size
    assert size(shape[None]).tolist() == pytest.approx(size(settings.noise(shape)[None]).tolist())
    assert attack.loss.mean() > 2 * noise.loss.abs().mean()


def test_the_same_seed_gives_the_same_shape_and_another_seed_another_order():
    settings = Universal(Linf(0.5), objective=SquaredError(), epochs=2, batch_size=2)
    model = Bottleneck(20, 6, 3, seed=5)
    first, again = fitted(settings, model), fitted(settings, model)
    other = fitted(dataclasses.replace(settings, seed=1), model)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_epoch_that_is_best_on_validation_clips_is_kept():
    """Validation clips that want the opposite are best served by the epoch that moved least towards training clips."""
    settings = Universal(L2(1.0), objective=OneEmotion(0, True), epochs=6)
    model = Linear(WEIGHTS)

    def opposite(inputs):
        """The first example's sign decides which way its output moves."""
        return model(inputs) * inputs[:, 0, 0, 0].sign()[:, None].detach()

    marked = TRAINING.inputs.clone()
    marked[:, 0, 0, 0] = 5.0
    against = VALIDATION.inputs.clone()
    against[:, 0, 0, 0] = -5.0
    shapes = [
        dataclasses.replace(settings, epochs=epochs).fit(
            opposite, TRAINING._replace(inputs=marked), VALIDATION._replace(inputs=against)
        )
        for epochs in (1, 6)
    ]
    sizes = [float(shape.norm()) for shape in shapes]
    assert sizes[1] < sizes[0] <= 1.0


def test_an_objective_that_is_flat_at_the_clean_input_starts_elsewhere():
    shape = fitted(Universal(L2(0.1), objective=SquaredError(against="clean"), epochs=3))
    assert float(shape.norm()) == pytest.approx(0.1)


def test_labels_that_the_model_predicts_are_left_too():
    whole = [part._replace(inputs=part.inputs.round()) for part in (TRAINING, VALIDATION)]
    same = [part._replace(labels=MODEL(part.inputs)) for part in whole]
    shape = Universal(L2(0.1), objective=SquaredError(), epochs=3).fit(MODEL, *same)
    assert float(shape.norm()) == pytest.approx(0.1)


def test_a_concept_objective_sees_the_concepts():
    model = Bottleneck(20, 6, 3, seed=5)
    settings = Universal(L2(0.5), objective=EmotionsMove(keep=1.0), epochs=5)
    result = judged(settings, fitted(settings, model), model)
    assert result.adversarial_concepts.shape == (5, 6)


def test_the_range_of_inputs_is_kept():
    low, high = float(TEST.inputs.min()), float(TEST.inputs.max())
    settings = Universal(Linf(0.5), objective=OneEmotion(0, True), epochs=2)
    result = judged(settings, fitted(settings, valid_range=(low, high)), valid_range=(low, high))
    assert low <= float(result.adversarial.min()) <= float(result.adversarial.max()) <= high


def test_a_placement_is_applied_where_it_lowers_the_objective_too():
    """Another attack would return the clean input there, which a fixed perturbation cannot do."""
    settings = Universal(L2(0.05), objective=OneEmotion(1, True))
    shape = fitted(settings)
    result = judged(settings, -shape)
    assert (result.loss < 0).all()
    assert torch.allclose(result.perturbation, -shape.expand_as(result.perturbation))


def test_a_placement_larger_than_its_budget_is_refused():
    with pytest.raises(AttackError, match="budget"):
        judged(Universal(L2(0.05)), torch.ones(1, 5, 4, dtype=torch.float64))


def test_the_title_names_shift_and_noise():
    shape, fit = torch.zeros(1, 5, 4), Universal(Linf(0.1))
    titles = [
        Placement(fit, shape=shape).title,
        Placement(fit, shape=shape, seconds=2.5).title,
        Placement(fit, shape=shape, kind="noise").title,
    ]
    assert titles == ["Universal", "Universal +2.5 s", "Noise shared"]
    assert repr(Placement(fit, shape=shape, seconds=2.5)) == f"Placement(fit={fit!r}, seconds=2.5)"


def test_nan_is_named():
    spoiled = TRAINING.inputs.clone()
    spoiled[3] = torch.nan
    with pytest.raises(AttackError, match="clip 3"):
        Universal(Linf(0.1)).fit(MODEL, TRAINING._replace(inputs=spoiled), VALIDATION)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objective": "happy"}, "objective must be an Objective"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"batch_size": 0}, "batch_size"),
        ({"momentum": 2}, "momentum"),
        ({"budget": Unbounded()}, "needs a limited budget"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Universal(**{"budget": Linf(0.1), **settings})


def test_a_budget_that_depends_on_the_input_in_its_own_way_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Local(Linf):
        def around(self, inputs, names):
            return self

    with pytest.raises(ConfigError, match="differs between clips"):
        shape_budget(Local(0.1))


def test_the_model_is_left_as_it_was_found():
    model = Bottleneck(20, 6, 3, seed=5).train()
    fitted(Universal(Linf(0.1), epochs=1), model)
    assert model.training
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())


def test_bfloat16_is_for_the_search_alone():
    settings = Universal(L2(0.5), objective=OneEmotion(0, True), epochs=3, precision="bfloat16")
    inputs = [
        one._replace(inputs=one.inputs.float(), labels=one.labels.float()) for one in (TRAINING, VALIDATION)
    ]
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(20, 3))
    shape = settings.fit(model, *inputs)
    assert shape.dtype == torch.float32
    result = Placement(settings, shape=shape)(model, TEST.inputs.float(), TEST.labels)
    with torch.no_grad():
        exact = model(TEST.inputs.float() + shape)
    assert torch.allclose(result.adversarial_prediction, exact, atol=1e-6)
