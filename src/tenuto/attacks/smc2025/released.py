"""The attack as its authors released it, rule for rule, over many clips at once.

Source: K. Hoedt, A. Flexer, G. Widmer, "Are Inherently Interpretable Models More Robust? A Study in Music
Emotion Recognition", SMC 2025, and the code released with it. The code differs from the paper: its budget
never binds, the prediction it reports and the perturbation it saves belong to two different inputs, and a
threshold of exactly 0 counts as unset. Here each rule is a method of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenuto.attacks.base import (
    AttackResult,
    Examples,
    Model,
    Progress,
    call_repr,
    emotions_of,
    input_gradient,
    is_number,
    joined,
    left_as_found,
    listed,
    require_whole,
)
from tenuto.attacks.smc2025.ladders import LADDERS, Doubles, Flags, Ladder, correlations
from tenuto.errors import AttackError, ConfigError, did_you_mean


@dataclass(frozen=True, eq=False)
class ReleasedResult(AttackResult):
    """What the released attack found, and what its logs report besides.

    ``perturbation`` and ``adversarial_prediction`` are the last evaluated iterate. The released logs pair the
    prediction of that iterate with the norm of the *stored* perturbation, another input.

    Attributes:
        stored_perturbation: (n, 1, frames, bands), where a clip last met its threshold.
        threshold: (n,) float64, the threshold on leaving, in correlation or in squared rating units.
    """

    stored_perturbation: Tensor
    threshold: Tensor

    @property
    def last_prediction(self) -> Tensor:
        """(n, emotions), the "new prediction" of the released logs: that of the last evaluated iterate."""
        return self.adversarial_prediction

    @property
    def stored_l2(self) -> Tensor:
        """(n,) float64, Euclidean norm of the stored perturbation."""
        return self.stored_perturbation.cpu().double().square().flatten(1).sum(dim=1).sqrt()


class SGD:
    """Plain gradient descent on a batch of perturbations: no momentum, no state."""

    def __init__(self, step_size: float) -> None:
        self.step_size = step_size

    def step(self, delta: Tensor, gradient: Tensor) -> None:
        """Move ``delta`` in place against ``gradient``, both (n, ...)."""
        delta.add_(gradient, alpha=-self.step_size)

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these."""


class Adam(SGD):
    """Adam (Kingma & Ba 2015, algorithm 1) on a batch of perturbations, with torch's defaults and arithmetic.

    All clips of a batch start together, so one count of steps serves all; the two moments are per entry.
    """

    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    epsilon: ClassVar[float] = 1e-8

    def __init__(self, step_size: float) -> None:
        super().__init__(step_size)
        self.steps = 0
        self.mean: Tensor | None = None
        self.square: Tensor | None = None

    def step(self, delta: Tensor, gradient: Tensor) -> None:
        """Move ``delta`` in place against ``gradient``, both (n, ...)."""
        if self.mean is None or self.square is None:
            self.mean, self.square = torch.zeros_like(delta), torch.zeros_like(delta)
        self.steps += 1
        first, second = self.betas
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        scale = self.square.sqrt().div_(math.sqrt(1 - second**self.steps)).add_(self.epsilon)
        delta.addcdiv_(self.mean, scale, value=-self.step_size / (1 - first**self.steps))

    def keep(self, rows: Tensor) -> None:
        """Forget the moments of all rows but these."""
        if self.mean is not None and self.square is not None:
            self.mean, self.square = self.mean[rows], self.square[rows]


OPTIMIZERS: dict[str, type[SGD]] = {"Adam": Adam, "SGD": SGD}


@dataclass(eq=False)
class Search:
    """Where the clips of one chunk stand: n clips in all, a of them still attacked."""

    clips: Examples
    optimizer: SGD
    rows: NDArray[np.intp] = field(init=False)
    """(a,), which clips the next four belong to."""
    inputs: Tensor = field(init=False)
    targets: Tensor = field(init=False)
    labels: Doubles = field(init=False)
    delta: Tensor = field(init=False)
    threshold: Doubles = field(init=False)
    """(n,), as everything below."""
    converged: Flags = field(init=False)
    iterations: NDArray[np.int64] = field(init=False)
    loss: Doubles = field(init=False)
    stored: Tensor = field(init=False)
    last: Tensor = field(init=False)
    clean: Tensor = field(init=False)
    prediction: Tensor = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.clips.names)
        self.rows = np.arange(count)
        self.inputs, self.targets = self.clips.inputs, self.clips.targets
        self.labels = _host(self.targets)
        self.delta, self.stored, self.last = (torch.zeros_like(self.inputs) for _ in range(3))
        self.clean, self.prediction = torch.zeros_like(self.targets), torch.zeros_like(self.targets)
        self.threshold, self.loss = np.full(count, np.nan), np.full(count, np.nan)
        self.converged, self.iterations = np.zeros(count, bool), np.zeros(count, np.int64)

    def names(self) -> list[str]:
        """Names of the clips still attacked."""
        return [self.clips.names[row] for row in self.rows]

    def place(self, flags: Flags) -> tuple[Tensor, Tensor]:
        """Positions of the flagged ones among the attacked clips, and among all clips."""
        here, there = np.flatnonzero(flags), self.rows[flags]
        device = self.delta.device
        return torch.from_numpy(here).to(device), torch.from_numpy(there).to(device)

    def store(self, flags: Flags) -> None:
        """Remember the present perturbation of the flagged clips."""
        if flags.any():
            here, there = self.place(flags)
            self.stored[there] = self.delta[here]

    def dismiss(self, flags: Flags, iteration: int, prediction: Tensor, losses: Doubles) -> None:
        """Write down where the flagged clips ended."""
        here, there = self.place(flags)
        self.last[there] = self.delta[here]
        self.prediction[there] = prediction[here]
        self.loss[self.rows[flags]] = losses[flags]
        self.iterations[self.rows[flags]] = iteration

    def keep(self, flags: Flags) -> Tensor:
        """Go on with the flagged clips alone, in their order; returns their positions before."""
        here, _ = self.place(flags)
        self.inputs, self.targets, self.delta = self.inputs[here], self.targets[here], self.delta[here]
        self.labels, self.rows = self.labels[flags], self.rows[flags]
        self.optimizer.keep(here)
        return here

    def result(self) -> ReleasedResult:
        """The promised result, once every clip was dismissed."""
        iterations = torch.from_numpy(self.iterations)
        return ReleasedResult(
            perturbation=self.last,
            clean_prediction=self.clean,
            adversarial_prediction=self.prediction,
            loss=torch.from_numpy(self.loss),
            iterations=iterations,
            forward_passes=iterations.clone(),
            # The iteration in which a clip leaves needs no gradient.
            gradient_passes=iterations - 1,
            stored_perturbation=self.stored,
            converged=torch.from_numpy(self.converged),
            threshold=torch.from_numpy(self.threshold),
        )


def _host(values: Tensor) -> Doubles:
    """Values on the CPU in doubles; only there, since some devices have none."""
    return np.asarray(values.detach().cpu().double().numpy())


@dataclass(frozen=True, repr=False)
class ReleasedAttack:
    """Untargeted ascent on the mean squared error, ended by a ladder of thresholds; without a budget.

    Each iteration evaluates the model at inputs + delta, judges the prediction by its ladder (`Ladder`),
    stores delta for the clips that met their threshold, and takes an optimiser step on delta. A clip's first
    iteration always stores delta = 0; the update of its last iteration is not made, since nothing sees it.

    Args:
        measure: What the thresholds speak of: "corr" (Pearson's r, falling) or "mse" (rising).
        optimizer: "Adam" (torch's defaults) or "SGD" (no momentum).
        step_size: Step of the optimiser, in units of the normalised spectrogram.
        iterations: Most iterations per clip; the paper's evaluation took 1000, its training 50.
        alpha: None or 0 for off; else each iteration first ascends alpha * error, then descends the sum of
            squares of delta, two steps of one optimiser. By sign, the size of alpha has no effect.
        sign: Feed the optimiser the sign of the gradient (0 where it is 0) rather than the gradient.

    Raises:
        ConfigError: A setting that is unknown or out of range.
    """

    measure: str = "corr"
    optimizer: str = "Adam"
    step_size: float = 0.002
    iterations: int = 1000
    alpha: float | None = None
    sign: bool = True

    def __post_init__(self) -> None:
        for setting, known in (("measure", LADDERS), ("optimizer", OPTIMIZERS)):
            value = getattr(self, setting)
            if value not in tuple(known):
                raise ConfigError(f"{setting} is {value!r}. {did_you_mean(str(value), known)}")
        if not (is_number(self.step_size) and self.step_size > 0):
            raise ConfigError(f"step_size is {self.step_size!r}, wanted a number above 0.")
        require_whole("iterations", self.iterations, 1)
        if self.alpha is not None and not (is_number(self.alpha) and self.alpha >= 0):
            raise ConfigError(f"alpha is {self.alpha!r}, wanted None or a number from 0 on (0 is off).")
        if not isinstance(self.sign, bool):
            raise ConfigError(f"sign is {self.sign!r}, wanted true or false.")

    def __repr__(self) -> str:
        return call_repr(self)

    def __call__(
        self,
        model: Model,
        inputs: Tensor,
        targets: Tensor,
        *,
        names: Sequence[str] | None = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> ReleasedResult:
        """Attack every clip; the batch size changes the memory needed, not the result.

        Args:
            model: Callable from (n, 1, frames, bands) to emotions or to an object that has them.
            inputs: (n, 1, frames, bands), normalised excerpts.
            targets: (n, emotions), the labels.
            names: n clip names for messages; positions by default.
            batch_size: Clips attacked together; 6 by default, 64 on a GPU.
            progress: Called in each iteration with the number of clip-iterations it settled; those that a
                converged clip is spared count too, so that the sum is n * iterations.

        Raises:
            AttackError: Inputs that cannot be attacked; with "corr", a constant label or prediction; a
                prediction that is not finite. The message names the clip.
            ConfigError: A batch size below 1.
        """
        with left_as_found(model):
            clips = Examples.checked(inputs, targets, names)
            if self.measure == "corr":
                labels = _host(clips.targets)
                correlations(labels, labels, clips.names)
            return joined([self.on_chunk(model, chunk, progress) for chunk in clips.chunks(batch_size)])

    def on_chunk(self, model: Model, clips: Examples, progress: Progress | None) -> ReleasedResult:
        """Attack checked examples at once, for a caller that has brought the model in evaluation mode."""
        search = Search(clips, self._optimizer())
        iteration = 0
        while True:
            iteration += 1
            point = search.delta.detach().requires_grad_()
            prediction = emotions_of(model(search.inputs + point), search.targets)
            losses = (prediction - search.targets).square().mean(dim=1)
            leaving = self._judge(search, iteration, prediction.detach(), losses.detach())
            if progress is not None:
                spared = (self.iterations - iteration) * int(leaving.sum())
                progress(len(leaving) + spared)
            if leaving.all():
                return search.result()
            gradient = input_gradient(losses, point)
            if leaving.any():
                gradient = gradient[search.keep(~leaving)]
            self._update(search, gradient)

    def _judge(self, search: Search, iteration: int, prediction: Tensor, losses: Tensor) -> Flags:
        """Enter one evaluation into the books; returns which of the attacked clips leave."""
        if iteration == 1:
            search.clean.copy_(prediction)
        # One transfer an iteration: predictions and errors side by side.
        values = _host(torch.cat([prediction, losses.unsqueeze(1)], dim=1))
        bad = np.asarray(~np.isfinite(values).all(axis=1))
        if bad.any():
            raise AttackError(
                f"The prediction for {listed(search.names(), bad)} is not finite in iteration {iteration}: "
                "check the checkpoint, or take a smaller step_size."
            )
        errors = values[:, -1]
        score = errors
        if self.measure == "corr":
            score = correlations(values[:, :-1], search.labels, search.names())
        judgement = self._ladder().judge(score, search.threshold[search.rows])
        search.threshold[search.rows] = judgement.threshold
        search.converged[search.rows] = judgement.converged
        search.store(judgement.met)
        leaving = self._leaves(judgement.converged, iteration)
        if leaving.any():
            search.dismiss(leaving, iteration, prediction, errors)
        return leaving

    def _ladder(self) -> Ladder:
        return LADDERS[self.measure]

    def _optimizer(self) -> SGD:
        return OPTIMIZERS[self.optimizer](self.step_size)

    def _leaves(self, converged: Flags, iteration: int) -> Flags:
        """Clips that leave before this iteration's update: converged ones, and all in the last iteration."""
        return converged | (iteration >= self.iterations)

    def _fed(self, gradient: Tensor) -> Tensor:
        """What the optimiser gets for a gradient to descend."""
        return gradient.sign() if self.sign else gradient

    def _update(self, search: Search, gradient: Tensor) -> None:
        """Move delta, given the gradient of the error: an optimiser descends, so it gets the negative."""
        if not self.alpha:
            search.optimizer.step(search.delta, self._fed(-gradient))
            return
        search.optimizer.step(search.delta, self._fed(-self.alpha * gradient))
        search.optimizer.step(search.delta, self._fed(2 * search.delta))
