"""The thresholds of the released attack: when a perturbation is stored, and when a clip has converged.

Source: the code released with K. Hoedt, A. Flexer, G. Widmer, "Are Inherently Interpretable Models More
Robust? A Study in Music Emotion Recognition", SMC 2025. Predictions are float32, everything here is doubles.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tenuto.attacks.checks import listed
from tenuto.errors import AttackError

Doubles = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Judgement:
    """The outcome of one iteration on the ladder; one value per clip."""

    threshold: Doubles
    met: Flags
    converged: Flags


class Ladder(abc.ABC):
    """Thresholds 0.1 apart; a clip that meets its threshold gets the next one."""

    @abc.abstractmethod
    def start(self, score: Doubles) -> Doubles:
        """The first threshold, from the score at that moment."""

    @abc.abstractmethod
    def meets(self, score: Doubles, threshold: Doubles) -> Flags:
        """Whether a score meets the threshold."""

    @abc.abstractmethod
    def goes_on(self, threshold: Doubles) -> Flags:
        """Whether a harder threshold follows; the ladder ends where none does."""

    @abc.abstractmethod
    def harder(self, threshold: Doubles) -> Doubles:
        """The next threshold, in IEEE doubles and never rounded (0.8 - 0.1 = 0.7000000000000001)."""

    def unset(self, threshold: Doubles) -> Flags:
        """Thresholds to be drawn (again): NaN before the first iteration, and exactly 0.0, which the
        released code cannot tell from "not set yet"."""
        return np.asarray(np.isnan(threshold) | (threshold == 0.0))

    def judge(self, score: Doubles, threshold: Doubles) -> Judgement:
        """Draw thresholds that are unset, compare, and replace those that were met by the next ones."""
        threshold = np.where(self.unset(threshold), self.start(score), threshold)
        is_met = self.meets(score, threshold)
        goes_on = self.goes_on(threshold)
        return Judgement(
            np.where(is_met & goes_on, self.harder(threshold), threshold), is_met, is_met & ~goes_on
        )


class CorrelationLadder(Ladder):
    """Downwards in Pearson's r, from the next tenth above the first r to about -1."""

    def start(self, score: Doubles) -> Doubles:
        return np.ceil(10.0 * score) / 10.0

    def meets(self, score: Doubles, threshold: Doubles) -> Flags:
        return score <= threshold

    def goes_on(self, threshold: Doubles) -> Flags:
        return threshold >= -0.9

    def harder(self, threshold: Doubles) -> Doubles:
        return threshold - 0.1


class ErrorLadder(Ladder):
    """Upwards in mean squared error, from the next tenth below the first error to about 1."""

    def start(self, score: Doubles) -> Doubles:
        return np.floor(10.0 * score) / 10.0

    def meets(self, score: Doubles, threshold: Doubles) -> Flags:
        return score >= threshold

    def goes_on(self, threshold: Doubles) -> Flags:
        return threshold <= 0.9

    def harder(self, threshold: Doubles) -> Doubles:
        return threshold + 0.1


LADDERS: dict[str, Ladder] = {"corr": CorrelationLadder(), "mse": ErrorLadder()}


def correlations(predictions: Doubles, targets: Doubles, names: Sequence[str]) -> Doubles:
    """Pearson's r between each row of ``predictions`` and ``targets``, (n, emotions) each, in doubles.

    Raises:
        AttackError: A constant row, which has no r; the message names its clip.
    """
    for role, rows in (("label", targets), ("prediction", predictions)):
        constant = np.ptp(rows, axis=1) == 0.0
        if constant.any():
            raise AttackError(
                f"The {role} of {listed(names, constant)} is constant, so it has no correlation: "
                "leave the clip out or attack with measure='mse'."
            )
    if predictions.shape[1] == 2:  # two points lie on a line: r is +-1, which sums of rounded products miss
        return np.asarray(np.sign(np.diff(predictions)[:, 0]) * np.sign(np.diff(targets)[:, 0]))
    p = predictions - predictions.mean(axis=1, keepdims=True)
    y = targets - targets.mean(axis=1, keepdims=True)
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    return np.asarray(np.clip((p * y).sum(axis=1), -1.0, 1.0))
