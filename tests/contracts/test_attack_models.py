"""One contract over every attack: the models it takes, and what it says of those it does not take."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tenuto.attacks import (
    APGD,
    DDN,
    FGSM,
    PGD,
    AbsoluteError,
    Described,
    Imperceptible,
    Linf,
    Minimal,
    Objective,
    Transfer,
)
from tenuto.errors import AttackError, RandomModelWarning
from tests.attacks.conftest import Prediction
from tests.contracts.attack_families import MODEL, families, same

pytestmark = pytest.mark.usefixtures("one_thread")


class InPlace(nn.Module):
    """Changes its input, and then returns what MODEL returns for the input it was given."""

    def forward(self, inputs):
        inputs -= 0.5
        return MODEL(inputs + 0.5)


class OneBuffer(nn.Module):
    """Writes all its predictions into the same tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: dict[int, torch.Tensor] = {}

    def forward(self, inputs):
        emotions = MODEL(inputs).emotions
        buffer = self.outputs.setdefault(len(inputs), torch.zeros(len(inputs), 4, dtype=torch.float64))
        buffer.detach_()
        buffer[:] = emotions
        return buffer


@pytest.mark.parametrize("model", [InPlace(), OneBuffer()], ids=["in place", "one buffer"])
@families()
def test_models_that_reuse_their_tensors_give_the_same_result(family, budget, model, inputs, labels):
    attack = family.make(budget, **({"source": model} if family.kind is Transfer else {}))
    reference = family.make(budget, **({"source": MODEL} if family.kind is Transfer else {}))
    result, expected = attack(model, inputs, labels), reference(MODEL, inputs, labels)
    for name in ("clean_prediction", "adversarial_prediction", "loss"):
        torch.testing.assert_close(getattr(result, name), getattr(expected, name), rtol=1e-9, atol=1e-12)


@dataclass(frozen=True)
class Reusing(Objective):
    """The mean absolute error, computed in the memory of what it is given."""

    uses_label = True

    def __call__(self, outputs, situation):
        values = outputs.emotions.sub_(situation.labels).abs().mean(dim=1)
        situation.labels.zero_()
        situation.clean.emotions.zero_()
        return values

    def title(self, emotions=None):
        return "reusing"


@families(lambda family: family.is_bounded and family.kind is not Described)
def test_an_objective_that_works_in_place_gives_the_same_result(family, budget, inputs, labels):
    settings = {"source": MODEL} if family.kind is Transfer else {}
    result, expected = (
        family.make(budget, objective=objective, **settings)(MODEL, inputs, labels)
        for objective in (Reusing(), AbsoluteError())
    )
    for name in ("clean_prediction", "adversarial_prediction", "loss"):
        torch.testing.assert_close(getattr(result, name), getattr(expected, name), rtol=1e-9, atol=1e-12)


def test_the_key_of_a_dict_can_be_named(inputs, labels):
    def model(values):
        return {"valence": MODEL(values).emotions, "genre": values.flatten(1)}

    result = FGSM(Linf(0.1))(model, inputs, labels, output="valence")
    assert same(result, FGSM(Linf(0.1))(lambda x: MODEL(x).emotions, inputs, labels))
    with pytest.raises(
        AttackError, match=r"dict without the key 'emotions'. Name the key .* Valid: valence, genre"
    ):
        FGSM(Linf(0.1))(model, inputs, labels)
    with pytest.raises(AttackError, match="without the key 'arousal'"):
        FGSM(Linf(0.1))(model, inputs, labels, output="arousal")
    with pytest.raises(AttackError, match="output is 'valence', but the model returned a Tensor"):
        FGSM(Linf(0.1))(lambda x: MODEL(x).emotions, inputs, labels, output="valence")


@families()
def test_a_model_with_one_output_takes_flat_targets(family, budget, inputs, labels):
    def flat(values):
        return MODEL(values).emotions[:, 0]

    attack = family.make(budget, **({"source": flat} if family.kind is Transfer else {}))
    result = attack(flat, inputs, labels[:, 0])
    assert same(result, attack(lambda x: flat(x)[:, None], inputs, labels[:, :1]))
    assert result.adversarial_prediction.shape == (3, 1)


@families()
def test_a_frozen_torchscript_module_can_be_attacked(family, budget, inputs, labels):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Tanh()).double().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of TorchScript
        frozen = torch.jit.freeze(torch.jit.script(model))
    settings = {"source": frozen} if family.kind is Transfer else {}
    assert family.make(budget, **settings)(frozen, inputs, labels).perturbation.any()


@families()
def test_weights_made_in_inference_mode_allow_an_attack(family, budget, inputs, labels):
    def made():
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4)).double()

    with torch.inference_mode():
        model = made()
    weights = list(model.parameters())
    assert same(family.make(budget)(model, inputs, labels), family.make(budget)(made(), inputs, labels))
    assert all(weight.requires_grad and weight.is_inference() for weight in weights)
    assert all(one is other for one, other in zip(weights, model.parameters(), strict=True))


def test_tensors_of_inference_mode_that_cannot_be_replaced_are_refused(inputs, labels):
    with torch.inference_mode():
        weights = torch.ones(12, 4, dtype=torch.float64)
    with pytest.raises(AttackError, match=r"tensors made in torch.inference_mode, which allow no gradient"):
        FGSM(Linf(0.1))(lambda x: x.flatten(1) @ weights, inputs, labels)


@families()
def test_inputs_need_not_be_contiguous(family, budget, inputs, labels):
    stacked = inputs if inputs.ndim == 2 else inputs.reshape(3, 2, 1, 2, 3)
    turned = stacked.transpose(0, -1).contiguous().transpose(0, -1)
    assert not turned.is_contiguous()
    assert same(family.make(budget)(MODEL, turned, labels), family.make(budget)(MODEL, stacked, labels))


class Dropout(nn.Module):
    def forward(self, inputs):
        return nn.functional.dropout(MODEL(inputs).emotions, 0.5, training=True)


class OwnGenerator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, inputs):
        emotions = MODEL(inputs).emotions
        return emotions + torch.rand(emotions.shape, generator=self.generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [None, 1])
@families()
def test_a_random_model_is_reported_once(family, budget, size, inputs, labels):
    with pytest.warns(RandomModelWarning, match="The model is random") as warned:
        family.make(budget)(Dropout(), inputs, labels, batch_size=size)
    assert len(warned) == 1


@families(lambda family: family.is_bounded and family.kind not in (Described, Minimal, DDN, Imperceptible))
def test_a_model_with_its_own_generator_is_reported(family, budget, inputs, labels):
    with pytest.warns(RandomModelWarning):
        family.make(budget)(OwnGenerator(), inputs, labels)


def silent(values, part):
    """NaN in one part of the output for the second example, in every batch that holds it."""
    outputs = MODEL(values)
    parts = {"emotions": outputs.emotions.clone(), "concepts": outputs.concepts.clone()}
    parts[part][values.flatten(1)[:, 0] < -5] = math.nan
    return Prediction(**parts)


@pytest.mark.parametrize("part", ["emotions", "concepts"])
@families()
def test_a_prediction_that_is_not_finite_is_refused_by_name(family, budget, part, inputs, labels):
    if not family.is_bounded and part == "concepts":
        return  # the released attack evaluates emotions alone
    inputs.flatten(1)[1, 0] = -9.0
    with pytest.raises(AttackError, match=r"prediction for clip 007 is not finite.*: check the checkpoint"):
        family.make(budget)(lambda values: silent(values, part), inputs, labels, names=["006", "007", "008"])


@families(lambda family: family.kind is not Transfer)
def test_a_prediction_that_breaks_in_the_search_is_refused_by_name(family, budget, inputs, labels):
    clean = inputs[2].clone()

    def brittle(values):
        moved = (values.detach() - clean).flatten(1).abs().amax(dim=1)
        return MODEL(values).emotions.masked_fill(((moved > 0) & (moved < 1))[:, None], math.nan)

    with pytest.raises(AttackError, match=r"prediction .*for clip c is not finite"):
        family.make(budget)(brittle, inputs, labels, names="abc")


@families(lambda family: family.kind in (FGSM, PGD, APGD, Minimal))
def test_a_gradient_that_is_not_finite_is_refused_by_name(family, budget, inputs, labels):
    def jagged(values):
        # sqrt has an infinite slope at 0, and 0 * infinity is NaN.
        return MODEL(values).emotions + (0 * values.flatten(1)[:, :1]).sqrt()

    with pytest.raises(AttackError, match="gradient for clips 0, 1, 2 is not finite"):
        family.make(budget)(jagged, inputs, labels)
