"""Every rule of the released attack, switched off one at a time: a named golden case must notice.

A mutant overrides the one method that holds the rule; the table at the end says which case misses what.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tenuto.attacks import ReleasedAttack
from tenuto.attacks.smc2025.ladders import CorrelationLadder, ErrorLadder, Judgement, Ladder
from tenuto.attacks.smc2025.optimizers import SGD, Adam


def with_ladder(ladder: Ladder) -> type[ReleasedAttack]:
    """The attack on another ladder."""

    class Mutant(ReleasedAttack):
        def _ladder(self):
            return ladder

    return Mutant


def with_optimizer(kind: type[SGD]) -> type[ReleasedAttack]:
    """The attack with another optimiser."""

    class Mutant(ReleasedAttack):
        def _optimizer(self):
            return kind(self.step_size)

    return Mutant


class CorrelationRoundsDown(CorrelationLadder):
    def start(self, score):
        return np.floor(10.0 * score) / 10.0


class CorrelationStartsUnrounded(CorrelationLadder):
    def start(self, score):
        return score


class ErrorStartsUnrounded(ErrorLadder):
    def start(self, score):
        return score


class ZeroIsAThreshold(CorrelationLadder):
    def unset(self, threshold):
        return np.isnan(threshold)


class DrawnAnewInEveryIteration(CorrelationLadder):
    def unset(self, threshold):
        return np.ones_like(threshold, dtype=bool)


class MustPassBelow(CorrelationLadder):
    def meets(self, score, threshold):
        return score < threshold


class StoresEveryIterate(CorrelationLadder):
    def judge(self, score, threshold):
        return dataclasses.replace(super().judge(score, threshold), met=np.ones_like(score, dtype=bool))


class FirstIterationStoresNothing(CorrelationLadder):
    def judge(self, score, threshold):
        if not np.isnan(threshold).any():
            return super().judge(score, threshold)
        nothing = np.zeros_like(score, dtype=bool)
        return Judgement(self.start(score), met=nothing, converged=nothing)


class RoundsFallingThresholds(CorrelationLadder):
    def harder(self, threshold):
        return np.round(threshold - 0.1, 1)


class RoundsRisingThresholds(ErrorLadder):
    def harder(self, threshold):
        return np.round(threshold + 0.1, 1)


class SinglePrecisionThresholds(CorrelationLadder):
    def harder(self, threshold):
        return (threshold.astype(np.float32) - np.float32(0.1)).astype(np.float64)


class CorrelationNeverEnds(CorrelationLadder):
    def goes_on(self, threshold):
        return np.ones_like(threshold, dtype=bool)


class CorrelationEndsEarlier(CorrelationLadder):
    def goes_on(self, threshold):
        return threshold >= -0.8


class ErrorNeverEnds(ErrorLadder):
    def goes_on(self, threshold):
        return np.ones_like(threshold, dtype=bool)


class ErrorEndsEarlier(ErrorLadder):
    def goes_on(self, threshold):
        return threshold <= 0.8


class OneThresholdForAllClips(CorrelationLadder):
    def start(self, score):
        return np.full_like(score, super().start(score).max())


class ConvergedClipsStay(ReleasedAttack):
    def _leaves(self, converged, iteration):
        return np.full_like(converged, iteration >= self.iterations)


class LastUpdateCounts(ReleasedAttack):
    def _leaves(self, converged, iteration):
        return converged | (iteration > self.iterations)


class ReportsTheStoredPrediction(ReleasedAttack):
    def __call__(self, model, inputs, targets, **options):
        result = super().__call__(model, inputs, targets, **options)
        stored = model(inputs + result.stored_perturbation)
        return dataclasses.replace(result, adversarial_prediction=stored)


class FeedsTheGradientItself(ReleasedAttack):
    def _fed(self, gradient):
        return gradient


class ZeroHasASign(ReleasedAttack):
    def _fed(self, gradient):
        return torch.where(gradient < 0, -1.0, 1.0)


class DescendsTheError(ReleasedAttack):
    def _update(self, clip_states, gradient):
        super()._update(clip_states, -gradient)


class BudgetBinds(ReleasedAttack):
    def _update(self, clip_states, gradient):
        super()._update(clip_states, gradient)
        clip_states.delta.clamp_(-0.001, 0.001)


class AlphaIgnored(ReleasedAttack):
    def _update(self, clip_states, gradient):
        clip_states.optimizer.step(clip_states.delta, self._fed(-gradient))


class AlphaInOneStep(ReleasedAttack):
    def _update(self, clip_states, gradient):
        clip_states.optimizer.step(clip_states.delta, self._fed(2 * clip_states.delta - 5.0 * gradient))


class AlphaStepsSwapped(ReleasedAttack):
    def _update(self, clip_states, gradient):
        clip_states.optimizer.step(clip_states.delta, self._fed(2 * clip_states.delta))
        clip_states.optimizer.step(clip_states.delta, self._fed(-5.0 * gradient))


class AlphaHasASecondOptimizer(Adam):
    """Every other step has moments of its own."""

    def __init__(self, step_size):
        super().__init__(step_size)
        self.second = Adam(step_size)
        self.turn = 0

    def step(self, delta, gradient):
        self.turn += 1
        if self.turn % 2:
            super().step(delta, gradient)
        else:
            self.second.step(delta, gradient)


class Momentum(SGD):
    velocity: torch.Tensor | None = None

    def step(self, delta, gradient):
        self.velocity = gradient if self.velocity is None else 0.9 * self.velocity + gradient
        super().step(delta, self.velocity)


class NoFirstMoment(Adam):
    betas = (0.0, 0.999)


class LargeEpsilon(Adam):
    epsilon = 1e-2


class KeepsTheWrongMoments(Adam):
    def keep(self, rows):
        super().keep(torch.arange(len(rows)))


MUTANTS: list[tuple[type[ReleasedAttack], str, str]] = [
    # the first threshold
    (with_ladder(CorrelationRoundsDown()), "zero_corr_Adam_50", "best_delta"),
    (with_ladder(CorrelationStartsUnrounded()), "corr_Adam_10", "threshold"),
    (with_ladder(ErrorStartsUnrounded()), "mse_Adam_10", "threshold"),
    (with_ladder(OneThresholdForAllClips()), "zero_corr_Adam_50", "threshold"),
    # drawn again when unset or exactly 0.0, and only then
    (with_ladder(ZeroIsAThreshold()), "zero_corr_Adam_50", "best_delta"),
    (with_ladder(ZeroIsAThreshold()), "zero_alpha5_corr_Adam_200", "best_delta"),
    (with_ladder(DrawnAnewInEveryIteration()), "corr_Adam_50", "best_delta"),
    # what is stored
    (with_ladder(MustPassBelow()), "two_corr_SGD_400", "iterations"),
    (with_ladder(StoresEveryIterate()), "corr_Adam_50", "best_delta"),
    (with_ladder(FirstIterationStoresNothing()), "corr_Adam_10", "best_delta"),
    # the next threshold
    (with_ladder(RoundsFallingThresholds()), "corr_Adam_50", "threshold"),
    (with_ladder(RoundsRisingThresholds()), "mse_Adam_50", "threshold"),
    (with_ladder(SinglePrecisionThresholds()), "corr_Adam_50", "threshold"),
    # the end of the ladder
    (with_ladder(CorrelationNeverEnds()), "two_corr_SGD_400", "converged"),
    (with_ladder(CorrelationEndsEarlier()), "two_corr_SGD_400", "threshold"),
    (with_ladder(ErrorNeverEnds()), "mse_SGD_50", "converged"),
    (with_ladder(ErrorEndsEarlier()), "mse_SGD_50", "threshold"),
    # who leaves when, and with which prediction
    (ConvergedClipsStay, "mse_SGD_50", "iterations"),
    (LastUpdateCounts, "corr_Adam_50", "last_prediction"),
    (ReportsTheStoredPrediction, "corr_Adam_50", "last_prediction"),
    # the update
    (FeedsTheGradientItself, "corr_SGD_50", "last_prediction"),
    (DescendsTheError, "corr_Adam_50", "last_prediction"),
    (BudgetBinds, "corr_Adam_50", "norm"),
    (AlphaIgnored, "alpha5_corr_Adam_50", "last_prediction"),
    (AlphaInOneStep, "alpha5_corr_Adam_50", "last_prediction"),
    (AlphaStepsSwapped, "alpha5_corr_Adam_50", "last_prediction"),
    (with_optimizer(AlphaHasASecondOptimizer), "alpha5_corr_Adam_50", "last_prediction"),
    # the optimisers
    (with_optimizer(Momentum), "corr_SGD_50", "last_prediction"),
    (with_optimizer(NoFirstMoment), "corr_Adam_50", "last_prediction"),
    (with_optimizer(LargeEpsilon), "corr_Adam_50", "last_prediction"),
    (with_optimizer(KeepsTheWrongMoments), "mse_Adam_200", "last_prediction"),
]


def _rule(mutant: type[ReleasedAttack]) -> str:
    """The name of the class that breaks the rule."""
    probe = mutant()
    inner = [type(probe._ladder()).__name__, type(probe._optimizer()).__name__]
    return next((name for name in inner if name not in ("CorrelationLadder", "Adam")), mutant.__name__)


@pytest.mark.parametrize(
    ("mutant", "name", "field"), MUTANTS, ids=[f"{_rule(mutant)}-{name}" for mutant, name, _ in MUTANTS]
)
def test_without_the_rule_a_golden_case_fails(golden, mutant, name, field):
    case = golden[name]
    assert field in case.differences(case.run(mutant))


def test_every_rule_is_broken_by_name():
    """No mutant of the table is by mistake the production class."""
    names = {_rule(mutant) for mutant, _, _ in MUTANTS}
    assert "Mutant" not in names
    assert "ReleasedAttack" not in names


def with_dead_entries(case):
    """A golden case with one more column per frame that the network does not see."""
    width = case.inputs.shape[-1]
    seen = case.model
    return dataclasses.replace(
        case,
        model=lambda x: seen(x[..., :width]),
        inputs=torch.nn.functional.pad(case.inputs, (0, 1)),
        expected={
            **case.expected,
            "best_delta": np.pad(case.expected["best_delta"], [(0, 0)] * 3 + [(0, 1)]),
        },
    )


def test_an_entry_without_gradient_is_never_moved(golden):
    case = with_dead_entries(golden["corr_Adam_50"])
    assert case.differences(case.run()) == set()


def test_without_sign_of_zero_being_zero_a_golden_case_fails(golden):
    case = with_dead_entries(golden["corr_Adam_50"])
    assert {"best_delta", "norm"} <= case.differences(case.run(ZeroHasASign))
