import dataclasses

import numpy as np
import pytest
import torch

from tenuto.attacks import APGD, L2, PGD, AbsoluteError, ConceptsMove, Linf
from tenuto.data.excerpts import SPECTROGRAM_UNIT
from tenuto.evaluation.audit import examination, longer_search
from tenuto.evaluation.audit.examination import STAND_IN
from tenuto.evaluation.audit.findings import Verdict
from tenuto.evaluation.audit.longer_search import AuditedAttack
from tenuto.evaluation.audit.subject import EPSILON
from tests.evaluation.audit import planted
from tests.evaluation.audit.planted import subject

PASS, WARN, FAIL, NOT_RECORDED = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.NOT_RECORDED


def examined(model=None, sibling=None, inputs=None):
    return {result.check: result for result in examination.examine(subject(model, sibling, inputs))}


def searched(search, model=None, inputs=None):
    return longer_search.longer_search(subject(model, inputs=inputs), search)[0]


@pytest.fixture(scope="module")
def sound():
    return examined(sibling=planted.Linear())


@pytest.fixture(scope="module")
def masked():
    return examined(planted.Masked(), sibling=planted.Linear())


def test_a_sound_model_passes_every_check(sound):
    assert {check: result.verdict for check, result in sound.items()} == dict.fromkeys(
        (
            *("gradients", "finite-differences", "repeatable", "iterative", "unbounded", "black-box"),
            *("transfer", "unstable-predictions"),
        ),
        PASS,
    )


def test_the_attack_on_a_linear_model_reaches_the_closed_form(sound):
    model, one = planted.Linear(), subject()
    with torch.no_grad():
        clean = (model(one.inputs) - one.labels).mean(dim=1)
        expected = clean + EPSILON * model.layer.weight.mean(dim=0).abs().sum()
    assert f"by a single step, {expected.mean().item():.4f} by iterative" in sound["iterative"].sentence


class Random(planted.Linear):
    def forward(self, inputs):
        return super().forward(inputs) + torch.rand(len(inputs), 1)


def test_a_random_model_is_a_finding_and_no_warning():
    assert examined(Random())["repeatable"].verdict is FAIL


def test_a_masked_gradient_is_zero(masked):
    assert (masked["gradients"].verdict, masked["gradients"].value) == (FAIL, 1.0)


@pytest.mark.parametrize("check", ["black-box", "transfer"])
def test_a_masked_gradient_loses_to_attacks_without_it(masked, check):
    assert masked[check].verdict is FAIL


def test_a_masked_gradient_does_not_pass_the_constant_even_without_a_budget():
    close = planted.Masked()
    with torch.no_grad():
        close.layer.bias.fill_(0.1)
    result = examined(close)["unbounded"]
    assert result.verdict is FAIL
    assert result.value < 1


def test_a_model_that_hardly_moves_does_not_pass_the_constant():
    assert examined(planted.Squashed())["unbounded"].verdict is FAIL


@pytest.mark.parametrize("model", [planted.FarOff(), planted.Masked()])
def test_a_large_clean_error_is_not_taken_for_the_work_of_the_attack(model):
    result = examined(model)["unbounded"]
    assert result.verdict is FAIL
    assert result.value < 0.1
    assert "raises the MAE from" in result.sentence


def test_a_model_with_a_large_clean_error_that_the_attack_moves_passes():
    far = planted.Linear()
    with torch.no_grad():
        far.layer.bias.fill_(3)
    assert examined(far)["unbounded"].verdict is PASS


def test_random_search_that_moves_nothing_is_a_warning_whatever_the_clean_error():
    assert without_gradient(planted.FarOff())[0]["unbounded"].verdict is WARN


def test_another_gradient_than_the_function_s_is_found():
    result = examination.finite_differences(subject(planted.Surrogate()))
    assert result.verdict is FAIL
    assert result.value == pytest.approx(2, abs=1e-4)


def casting(before=torch.float64, after=torch.float64, grid=0.0):
    """A tanh of the linear model that computes or returns less than float64, or rounds behind the gradient."""
    model = planted.Linear().double()

    def call(inputs):
        emotions = torch.tanh(model(inputs.to(before).double()))
        if grid:
            emotions = emotions + (torch.round(emotions / grid) * grid - emotions).detach()
        return emotions.to(after)

    return call


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({}, PASS),
        ({"before": torch.float32}, PASS),
        ({"after": torch.float32}, PASS),
        ({"after": torch.bfloat16}, NOT_RECORDED),
        ({"after": torch.float16}, NOT_RECORDED),
        ({"grid": 1e-3}, FAIL),
        ({"grid": 0.1, "after": torch.float32}, FAIL),
    ],
)
def test_rounding_to_a_type_is_told_from_a_wrong_gradient(settings, verdict):
    assert examination.finite_differences(subject(casting(**settings))).verdict is verdict


def test_a_model_that_draws_new_noise_is_found():
    torch.manual_seed(0)
    one = subject(planted.Stochastic())
    assert examination.repeatable(one).verdict is FAIL
    assert examination.finite_differences(one).verdict is FAIL


def test_a_model_that_mixes_the_clips_of_a_batch_is_found():
    model = planted.Linear()
    result = examination.repeatable(subject(lambda inputs: model(inputs - inputs.mean(dim=0))))
    assert result.verdict is FAIL
    assert "depends on the other clips of its batch" in result.sentence


def test_a_gradient_that_is_not_finite_ends_the_examination():
    result = examined(planted.NotFinite())
    assert (result["gradients"].verdict, result["gradients"].value) == (FAIL, np.inf)
    assert {result[check].verdict for check in ("iterative", "black-box", "unbounded")} == {NOT_RECORDED}


def test_a_model_without_gradients_fails_and_is_not_attacked():
    def detached(inputs):
        return planted.Linear()(inputs).detach()

    result = examined(detached)
    assert result["gradients"].verdict is FAIL
    assert "no gradient with respect to its input" in result["gradients"].sentence
    assert result["repeatable"].verdict is PASS
    assert result["finite-differences"].verdict is NOT_RECORDED


def test_mostly_zero_entries_are_a_warning():
    model = planted.Linear()
    with torch.no_grad():
        model.layer.weight[:, :12] = 0
    result = examination.gradients(subject(model))
    assert result.verdict is WARN
    assert "60.0% of all entries" in result.sentence


def ascent(**settings):
    return AuditedAttack(PGD(budget=Linf(1.0), objective=AbsoluteError(), **settings))


def test_a_search_that_reached_the_optimum_gains_nothing_by_more():
    result = searched(AuditedAttack(STAND_IN))
    assert result.verdict is PASS
    assert repr(STAND_IN) in result.sentence


def test_a_search_that_was_too_short_is_found_and_named():
    search = ascent(steps=1, step_size=0.2)
    result = searched(search)
    assert result.verdict is FAIL
    assert result.value > 0.1
    assert repr(search.attack) in result.sentence
    assert "by 2 times the steps" in result.sentence


def test_an_attack_of_no_steps_is_found():
    assert searched(ascent(steps=0, step_size=0.2)).verdict is FAIL


def test_restarts_that_find_more_are_found():
    beside_the_dip = torch.linspace(0, 1e-4, planted.CLIPS).view(-1, 1, 1, 1).expand(-1, *planted.SHAPE)
    result = searched(AuditedAttack(STAND_IN), planted.TwoSided(), beside_the_dip)
    assert result.verdict is FAIL
    assert result.value > 0.2
    assert "by 5 restarts" in result.sentence


def test_many_restarts_are_doubled():
    assert "by 12 restarts" in searched(ascent(steps=2, restarts=6)).sentence


def test_a_ladder_is_climbed_before_its_attack_is_questioned():
    *lower, attack = (
        PGD(budget=Linf(epsilon), objective=AbsoluteError(), steps=1, step_size=0.2)
        for epsilon in (0.2, 0.4, 0.6)
    )
    alone, climbed = (searched(AuditedAttack(attack, below)) for below in ((), tuple(lower)))
    assert alone.verdict is FAIL  # one step of .2 from nothing; two go further
    assert climbed.verdict is PASS  # the third step reaches the budget
    assert "started from the result of epsilon 0.4" in climbed.sentence


def test_what_stands_in_says_so():
    result = searched(AuditedAttack(STAND_IN, instead="the rows hold no APGD"))
    assert result.sentence.endswith(" (a stand-in: the rows hold no APGD).")


@pytest.mark.parametrize(
    ("search", "model", "why"),
    [
        (AuditedAttack(STAND_IN), planted.NotFinite(), "is not finite"),
        (AuditedAttack(APGD(budget=Linf(0.1), objective=ConceptsMove())), None, "the model has none"),
    ],
    ids=["no gradient", "no concepts"],
)
def test_an_attack_that_cannot_be_repeated_is_not_recorded(search, model, why):
    result = searched(search, model)
    assert result.verdict is NOT_RECORDED
    assert why in result.sentence


@pytest.mark.parametrize(
    ("longer", "verdict"), [(0.101, PASS), (0.105, WARN), (0.12, FAIL), (0.095, WARN), (float("nan"), FAIL)]
)
def test_what_longer_search_may_change(longer, verdict):
    result = longer_search._changes(AuditedAttack(STAND_IN), {"": 0.1, "more": longer})
    assert result.verdict is verdict
    assert result.value == pytest.approx(abs(longer / 0.1 - 1), nan_ok=True)
    same = longer_search._changes(AuditedAttack(STAND_IN), {"": 0.1, "same": 0.1, "more": longer})
    assert same.verdict is verdict


def test_the_announced_iterations_of_a_longer_search_are_reported():
    spent: list[int] = []
    search = AuditedAttack(PGD(budget=Linf(0.1), steps=3), (PGD(budget=Linf(0.05), steps=3),))
    longer_search.longer_search(subject(), search, spent.append)
    assert sum(spent) == planted.CLIPS * longer_search.longer_iterations(search) == planted.CLIPS * 27


def test_the_announced_iterations_are_reported():
    spent: list[int] = []
    one = subject()
    examination.examine(one, spent.append)
    expected = planted.CLIPS * sum(attack.iterations for attack in examination.attacks(one).values())
    assert sum(spent) == expected


class InPlace(planted.Linear):
    """Changes its input, as a first layer with ``inplace=True`` does."""

    def seen(self, inputs):
        return inputs.sub_(0.5)


def test_a_model_that_changes_its_input_is_examined_at_the_clips_themselves():
    one = subject(InPlace())
    before = one.inputs.clone()
    values = {finding.check: finding for finding in examination.examine(one)}
    assert torch.equal(one.inputs, before)
    assert values["repeatable"].value == 0
    assert values["finite-differences"].verdict is PASS


def test_the_model_is_left_as_it_was():
    model = planted.Linear().train()
    examined(model)
    assert model.training
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())


# without gradients


def without_gradient(model=None):
    """Findings of a model that gives numbers only."""
    module = model or planted.Linear()
    blind = dataclasses.replace(subject(lambda inputs: module(inputs).detach()), has_gradient=False)
    return {result.check: result for result in examination.examine(blind)}, blind


def test_a_model_without_gradient_is_attacked_by_random_search_and_noise():
    findings, blind = without_gradient()
    assert {name for name, one in findings.items() if one.verdict is NOT_RECORDED} == {
        *("gradients", "finite-differences", "iterative", "transfer")
    }
    assert findings["gradients"].sentence == "the model has no gradient."
    assert findings["repeatable"].verdict is PASS
    assert findings["black-box"].verdict is PASS
    assert "by noise, " in findings["black-box"].sentence
    assert "by random search" in findings["black-box"].sentence
    assert findings["unbounded"].verdict is PASS
    longer, *_ = longer_search.longer_search(blind, AuditedAttack(examination.stand_in(blind)))
    assert longer.verdict is not NOT_RECORDED
    assert "4 times the queries" in longer.sentence


def test_random_search_that_does_not_exceed_the_constant_is_a_warning():
    assert without_gradient(planted.Squashed())[0]["unbounded"].verdict is WARN


def test_the_budget_of_the_examination_is_that_of_its_subject():
    findings = {one.check: one for one in examination.examine(dataclasses.replace(subject(), budget=L2(0.5)))}
    default = examined()
    assert findings["black-box"].verdict is PASS
    assert findings["black-box"].sentence != default["black-box"].sentence


def test_the_default_budget_follows_the_inputs_where_they_are_not_normalised():
    inputs = 0.02 * torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    assert examination.default_budget(inputs, "samples (full scale 1)") == Linf(0.002)
    assert examination.default_budget(inputs, SPECTROGRAM_UNIT) == Linf(0.1)
