"""The released attack as a citizen: settings, contract with the model, independence of clips, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tenuto.attacks import ReleasedAttack, ReleasedResult
from tenuto.attacks.smc2025.optimizers import Adam
from tenuto.errors import AttackError, ConfigError
from tests.attacks.conftest import Prediction


class Bottleneck(nn.Module):
    """A small network with everything a mode can change, and weights of mixed kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(20, 12), nn.BatchNorm1d(12), nn.Tanh(), nn.Dropout(0.5)
        )
        self.concepts = nn.Linear(12, 7)
        self.emotions = nn.Linear(7, 8)

    def forward(self, inputs: torch.Tensor) -> Prediction:
        concepts = self.concepts(self.body(inputs))
        return Prediction(self.emotions(concepts), concepts)


def bottleneck() -> Bottleneck:
    torch.manual_seed(3)
    model = Bottleneck().double()
    model.body[2].eval()
    model.concepts.bias.requires_grad_(False)
    model.emotions.weight.grad = torch.full((8, 7), 0.25, dtype=torch.float64)
    return model


def clips(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    inputs = torch.randn(count, 1, 5, 4, generator=generator, dtype=torch.float64)
    return inputs, torch.rand(count, 8, generator=generator, dtype=torch.float64)


def assert_same_state(one: ReleasedResult, other: ReleasedResult) -> None:
    """Equal in everything an attack decides; predictions up to the rounding of float64."""
    for name in ("stored_perturbation", "perturbation", "threshold", "iterations", "converged"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for name in ("clean_prediction", "adversarial_prediction", "loss"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=1e-12)


# settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measure": "cor"}, r"Unknown measure 'cor'. Did you mean corr\?"),
        ({"measure": None}, "Unknown measure None"),
        ({"optimizer": "adam"}, r"Unknown optimizer 'adam'. Did you mean Adam\?"),
        ({"step_size": 0.0}, "step_size must be a number from 1e-30"),
        ({"step_size": float("nan")}, "step_size must be a number"),
        ({"step_size": 1e39}, "step_size must be a number"),
        ({"step_size": "0.1"}, "step_size must be a number"),
        ({"iterations": 0}, "iterations must be a whole number of at least 1, got 0"),
        ({"iterations": 10.0}, "iterations must be"),
        ({"iterations": True}, "iterations must be"),
        ({"alpha": -1.0}, "alpha must be a number from 0"),
        ({"sign": 1}, "sign must be true or false, got 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        ReleasedAttack(**changes)


@pytest.mark.parametrize(
    ("attack", "printed"),
    [
        (ReleasedAttack(), "ReleasedAttack()"),
        (ReleasedAttack("mse", iterations=50), "ReleasedAttack(measure='mse', iterations=50)"),
        (ReleasedAttack(alpha=5.0, sign=False), "ReleasedAttack(alpha=5.0, sign=False)"),
        (ReleasedAttack(optimizer="SGD", step_size=0.01), "ReleasedAttack(optimizer='SGD', step_size=0.01)"),
    ],
)
def test_it_prints_as_the_call_that_made_it(attack, printed):
    assert repr(attack) == printed


# the model


def test_the_model_is_evaluated_once_an_iteration():
    model, calls = bottleneck(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    ReleasedAttack(iterations=7)(model, *clips())
    assert len(calls) == 7


@pytest.mark.parametrize("switch", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_switched_off(switch):
    expected = ReleasedAttack(iterations=4)(bottleneck(), *clips())
    model = bottleneck()
    with switch():
        inputs, targets = clips()
        result = ReleasedAttack(iterations=4)(model, inputs, targets)
    assert_same_state(result, expected)


# what comes back


def test_a_converged_clip_returns_its_stored_perturbation():
    result = ReleasedAttack("mse", "SGD", 0.05, 60)(bottleneck(), *clips())
    done = result.converged
    assert done.any()
    assert torch.equal(result.perturbation[done], result.stored_perturbation[done])


def test_one_iteration_moves_nothing():
    result = ReleasedAttack(iterations=1)(bottleneck(), *clips())
    assert not result.perturbation.any()
    assert not result.stored_perturbation.any()
    assert torch.equal(result.adversarial_prediction, result.clean_prediction)
    assert result.iterations.tolist() == result.forward_passes.tolist() == [1] * 5
    assert result.gradient_passes.tolist() == [0] * 5


def test_passes_are_counted_per_clip():
    result = ReleasedAttack("mse", "SGD", 0.05, 60)(bottleneck(), *clips())
    assert len(set(result.iterations.tolist())) > 1
    assert torch.equal(result.forward_passes, result.iterations)
    assert torch.equal(result.gradient_passes, result.iterations - 1)


def test_the_stored_norm_is_that_of_the_stored_perturbation():
    inputs, targets = clips()
    result = ReleasedAttack(iterations=60)(bottleneck().float(), inputs.float(), targets.float())
    expected = [float(delta.double().norm()) for delta in result.stored_perturbation]
    assert result.stored_l2.dtype == torch.float64
    assert result.stored_l2.tolist() == pytest.approx(expected, abs=1e-12)
    assert max(expected) > 0


def test_progress_adds_up_although_clips_converge():
    seen: list[int] = []
    result = ReleasedAttack("mse", "SGD", 0.05, 60)(
        bottleneck(), *clips(), batch_size=2, progress=seen.append
    )
    assert result.iterations.min() < 60
    assert sum(seen) == 5 * 60


# the clips are independent


@pytest.mark.parametrize(
    "attack",
    [
        ReleasedAttack(iterations=80),
        ReleasedAttack("mse", "Adam", 0.02, 80),
        ReleasedAttack("mse", "SGD", 0.05, 60),
        ReleasedAttack(iterations=40, alpha=5.0),
    ],
    ids=repr,
)
def test_the_batch_size_changes_no_state(attack):
    model = bottleneck()
    together, *others = (attack(model, *clips(), batch_size=size) for size in (5, 3, 1))
    for other in others:
        assert_same_state(other, together)


def test_without_sign_the_batch_size_changes_only_rounding():
    inputs, targets = clips()
    attack = ReleasedAttack("mse", "SGD", 0.5, 30, sign=False)
    one, other = (attack(bottleneck(), inputs, targets, batch_size=size) for size in (1, 5))
    torch.testing.assert_close(one.perturbation, other.perturbation, rtol=0, atol=1e-10)


def test_permuted_clips_give_permuted_results():
    model = bottleneck()
    inputs, targets = clips()
    attack = ReleasedAttack("mse", "SGD", 0.05, 60)
    straight = attack(model, inputs, targets)
    for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        permuted = attack(model, inputs[order], targets[order])
        assert torch.equal(permuted.stored_perturbation, straight.stored_perturbation[order])
        assert torch.equal(permuted.threshold, straight.threshold[order])


# the update


def test_adam_takes_the_steps_of_torch():
    torch.manual_seed(5)
    mine, theirs = torch.zeros(3, 1, 7, 5), torch.zeros(3, 1, 7, 5, requires_grad=True)
    own, other = Adam(0.002), torch.optim.Adam([theirs], lr=0.002)
    for _ in range(60):
        gradient = torch.randn_like(mine)
        own.step(mine, gradient)
        theirs.grad = gradient.clone()
        other.step()
    torch.testing.assert_close(mine, theirs.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("sign", "expected"), [(True, [-0.5, 0.5, 0.0]), (False, [-0.05, 0.4, 0.0])])
def test_the_first_plain_step_on_a_linear_model_is_known(sign, expected):
    weights = torch.tensor([[1.0, -2.0, 0.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    inputs = torch.tensor([[[[0.1, 0.2, 0.3]]]], dtype=torch.float64)
    # Predictions are (-0.3, 0.3), errors (-0.3, 0.2): their mean square has the gradient (-0.1, 0.8, 0).
    targets = torch.tensor([[0.0, 0.1]], dtype=torch.float64)
    attack = ReleasedAttack("mse", "SGD", 0.5, iterations=2, sign=sign)
    result = attack(lambda x: x.flatten(1) @ weights.T, inputs, targets).perturbation
    assert result.flatten().tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.5, 5.0, 500.0])
def test_with_sign_the_size_of_alpha_has_no_effect(golden, alpha):
    case = golden["alpha5_corr_Adam_50"]
    result = case.attack(alpha=alpha)(case.model, case.inputs, case.targets)
    assert case.differences(result) == set()


def test_alpha_of_zero_is_off(golden):
    case = golden["corr_Adam_50"]
    result = case.attack(alpha=0)(case.model, case.inputs, case.targets)
    assert case.differences(result) == set()


def test_with_plain_descent_the_two_steps_of_alpha_cancel():
    result = ReleasedAttack(optimizer="SGD", step_size=0.25, iterations=9, alpha=5.0)(bottleneck(), *clips())
    assert not result.perturbation.any()


# refusals


@pytest.mark.parametrize(
    ("names", "message"),
    [(None, "label of clip 1 is constant"), (["003", "017", "020"], "label of clip 017 is constant")],
)
def test_a_constant_label_is_refused_by_name(names, message):
    inputs, targets = clips(3)
    targets[1] = 0.4
    with pytest.raises(AttackError, match=message):
        ReleasedAttack(iterations=2)(bottleneck(), inputs, targets, names=names)


def test_a_constant_label_is_refused_before_the_model_is_asked():
    inputs, targets = clips(3)
    targets[2] = 0.4

    def model(_: torch.Tensor) -> torch.Tensor:
        raise AssertionError("asked")

    with pytest.raises(AttackError, match="constant"):
        ReleasedAttack(iterations=2)(model, inputs, targets, batch_size=1)


def test_a_constant_label_has_an_error():
    inputs, targets = clips(3)
    targets[1] = 0.4
    assert ReleasedAttack("mse", iterations=2)(bottleneck(), inputs, targets).iterations.tolist() == [2, 2, 2]


def switching(model: nn.Module, value: float, after: int):
    """A model whose prediction for its second clip becomes a constant after some calls."""
    calls = []

    def predict(inputs: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        emotions: torch.Tensor = model(inputs).emotions
        if len(calls) <= after:
            return emotions
        return torch.cat([emotions[:1], emotions[1:2] * 0 + value, emotions[2:]])

    return predict


@pytest.mark.parametrize("after", [0, 3])
def test_a_constant_prediction_is_refused_by_name(after):
    model = switching(bottleneck().eval(), 0.5, after)
    with pytest.raises(AttackError, match="prediction of clip 017 is constant"):
        ReleasedAttack(iterations=6)(model, *clips(3), names=["003", "017", "020"])


@pytest.mark.parametrize("measure", ["corr", "mse"])
def test_a_prediction_that_is_not_finite_is_refused_by_name(measure):
    model = switching(bottleneck().eval(), float("nan"), 2)
    with pytest.raises(AttackError, match="prediction for clip 017 is not finite in iteration 3"):
        ReleasedAttack(measure, iterations=6)(model, *clips(3), names=["003", "017", "020"])


def test_a_model_without_a_gradient_is_refused():
    model = bottleneck()
    with pytest.raises(AttackError, match="no gradient with respect to its input"):
        ReleasedAttack(iterations=2)(lambda x: model.eval()(x.detach()).emotions, *clips())
