"""The remedies of failed checks find what the audited attack missed, and say what they found."""

import dataclasses
from typing import Any

import pytest
import torch

from tenuto.attacks import (
    L2,
    PGD,
    SNR,
    AbsoluteError,
    Amplitude,
    Axes,
    Linf,
    Masked,
    Region,
    Transformations,
)
from tenuto.evaluation.audit import CHECKS
from tenuto.evaluation.audit.examination import STAND_IN, examine, random_search
from tenuto.evaluation.audit.findings import judge
from tenuto.evaluation.audit.longer_search import AuditedAttack
from tenuto.evaluation.audit.remedies import ADVICE, REMEDIES, rerun, rerun_iterations
from tenuto.store.rows import validate_rows
from tests.evaluation.audit import planted
from tests.evaluation.audit.planted import subject

WIDE = dataclasses.replace(STAND_IN, budget=Linf(1.0))


def failing(*checks):
    return [judge(check, 1.0, 0.0, "as planted.", fail=True) for check in checks]


def by_remedy(model, search, *checks, sibling=None):
    return {
        one.remedy: one for one in rerun(subject(model, sibling), AuditedAttack(search), failing(*checks))
    }


def test_every_remedy_belongs_to_a_check():
    assert set(ADVICE) <= set(CHECKS)
    assert {name for names in ADVICE.values() for name in names} == set(REMEDIES)


def test_more_steps_reach_the_optimum_of_a_short_search_and_then_end():
    short = PGD(Linf(1.0), objective=AbsoluteError(), steps=2, step_size=0.25)
    spent: list[int] = []
    (result,) = rerun(
        subject(), AuditedAttack(short), failing("incomplete-optimisation"), spent.append, run="A2E-6"
    )
    best = subject().errors(WIDE, lambda done: None).mean()
    assert result.before < 0.9 * best
    assert [result.after, result.best] == pytest.approx([best, best])
    assert "steps=8" in result.attack or "steps=4" in result.attack
    assert result.rows["settings"].nunique() in (3, 4)
    assert set(validate_rows(result.rows)["run"]) == {"A2E-6"}
    assert f"more steps (incomplete-optimisation): MAE {result.before:.4f} by" in result.sentence
    assert sum(spent) == 4 * rerun_iterations(
        subject(), AuditedAttack(short), failing("incomplete-optimisation")
    )


def test_a_masked_model_loses_to_random_search_and_a_sibling():
    results = by_remedy(planted.Masked(), WIDE, "gradients", "black-box", sibling=planted.Linear())
    # No loss has a gradient; the start of a loss that is flat at the clean input is random.
    assert (
        results["other losses"].change
        < 0.5
        < min(results[name].change for name in ("sibling", "random search"))
    )
    assert results["sibling"].checks == ("gradients", "black-box")
    assert "Transfer(" in results["sibling"].attack


def test_random_search_is_square_in_every_budget_that_square_can_search():
    budgets = (Linf(0.1), Amplitude(0.1), L2(1.0), SNR(40), Masked(0))
    searches = [type(random_search(budget, 5)).__name__ for budget in budgets]
    assert searches == ["Square"] * 4 + ["Noise"]


def test_ripples_lose_to_a_smoothed_copy():
    class Rippled(planted.Linear):
        def seen(self, inputs):
            return inputs + 0.002 * torch.sin(5000 * inputs)

    results = by_remedy(Rippled(), WIDE, "unstable-predictions")
    assert results["smoothed copy"].change > 0.1


def test_noise_is_averaged_in_the_search_and_in_the_error():
    class Noisy(planted.Linear):
        def seen(self, inputs):
            return inputs * (1 + 3 * torch.randn_like(inputs))

    torch.manual_seed(0)
    one = dataclasses.replace(STAND_IN, steps=10)
    results = by_remedy(Noisy(), one, "repeatable")
    still = by_remedy(Noisy(), dataclasses.replace(one, budget=Linf(0.0)), "repeatable")
    # All perturbations are 0, and so is the change: the largest of several noisy errors is no rise.
    assert still["expectation over draws"].change == 0
    assert list(results) == ["expectation over draws"]
    assert "transformations=Transformations" in results["expectation over draws"].attack


@pytest.mark.parametrize("model", [planted.NotFinite(), lambda inputs: planted.Linear()(inputs).detach()])
def test_without_a_gradient_random_search_is_the_audited_attack(model):
    results = by_remedy(model, STAND_IN, "gradients")
    assert list(results) == ["random search"]
    assert results["random search"].rows["attack"].unique().tolist() == [
        "00 Square",
        "01 Square",
        "02 Square",
    ]


# The planted clips as spectrograms of five frames and four bands.
PART = Region(seconds=(0, 2))
AXES = Axes(1.0, (100.0, 200.0, 300.0, 400.0))


def within_part(model=None, attack=WIDE, sibling=None):
    """A rerun of all remedies of an attack on two frames."""
    one = dataclasses.replace(subject(model, sibling), axes=AXES)
    return rerun(
        one, AuditedAttack(dataclasses.replace(attack, region=PART)), failing("unbounded", "transfer")
    )


def test_remedies_of_an_attack_on_a_region_stay_in_it_and_find_no_more_on_a_linear_model():
    results = within_part(sibling=planted.Linear())
    assert {"sibling", "smoothed copy", "random search"} < {one.remedy for one in results}
    assert max(one.change for one in results) < 0.01
    assert all(f"region={PART!r}" in text for one in results for text in one.rows["settings"])


def test_random_search_in_place_of_an_attack_without_gradient_stays_in_its_region():
    results = within_part(planted.NotFinite())
    assert all(f"region={PART!r}" in text for one in results for text in one.rows["settings"])


@pytest.mark.parametrize("remedy", ["sibling", "smoothed copy", "random search", "expectation over draws"])
def test_remedies_keep_precision_and_transformations(remedy):
    own = Transformations(draws=3, seed=4)
    audited = dataclasses.replace(STAND_IN, precision="bfloat16", transformations=own)
    attacks: list[Any] = list(REMEDIES[remedy](subject(sibling=planted.Linear()), AuditedAttack(audited)))
    draws = 8 if remedy == "expectation over draws" else 3
    assert attacks
    assert {(one.precision, one.transformations) for one in attacks} == {
        ("bfloat16", Transformations(draws=draws, seed=4))
    }


def test_an_average_over_more_draws_than_the_remedy_has_is_not_shortened():
    audited = dataclasses.replace(STAND_IN, transformations=Transformations(draws=20))
    attack: Any = REMEDIES["expectation over draws"](subject(), AuditedAttack(audited))[0]
    assert attack.transformations.draws == 20


def test_more_steps_go_on_where_the_audited_attack_stopped():
    early = PGD(Linf(1.0), objective=AbsoluteError(), step_size=0.1, stop_at=0.8)
    (more, *_) = rerun(subject(), AuditedAttack(early), failing("incomplete-optimisation"))
    assert more.change > 0.1
    assert "stop_at" not in more.attack


def test_a_sound_model_needs_no_remedy():
    assert rerun(subject(), AuditedAttack(STAND_IN), examine(subject())) == []
