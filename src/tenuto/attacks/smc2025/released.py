"""The attack as its authors released it, rule for rule, over many clips at once.

Source: K. Hoedt, A. Flexer, G. Widmer, "Are Inherently Interpretable Models More Robust? A Study in Music
Emotion Recognition", SMC 2025, and the code released with it. The code differs from the paper: its budget
never binds, the prediction it reports and the perturbation it saves belong to two different inputs, and a
threshold of exactly 0 counts as unset. Here each rule is a method of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from tenuto.attacks.base import Attack, AttackJob, AttackResult, Examples, Range
from tenuto.attacks.budgets import Budget, Unbounded
from tenuto.attacks.calling import Model, Outputs, as_doubles, input_gradient
from tenuto.attacks.checks import FLAG, SMALLEST_STEP, check_settings_of, listed, number, whole
from tenuto.attacks.objectives import Objective, Situation, SquaredError, correlation_refusal
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.smc2025.ladders import LADDERS, Doubles, Flags, Ladder, correlations
from tenuto.attacks.smc2025.optimizers import OPTIMIZERS, SGD
from tenuto.attacks.trace import Recorder
from tenuto.errors import AttackError, ConfigError, did_you_mean
from tenuto.metrics import RELEASED_OBJECTIVES


@dataclass(frozen=True, eq=False, repr=False)
class ReleasedResult(AttackResult):
    """The outcome of the released attack, with what its logs report in addition.

    ``perturbation`` and ``adversarial_prediction`` are the last evaluated iterate. The released logs pair the
    prediction of that iterate with the norm of the *stored* perturbation, another input.

    Attributes:
        stored_perturbation: (n, ...), where a clip last met its threshold.
        threshold: (n,) float64, the threshold on leaving, in correlation or in squared rating units.
    """

    stored_perturbation: Tensor
    threshold: Tensor

    def extra_columns(self) -> dict[str, Tensor]:
        return {
            "threshold": self.threshold,
            "stored_l2": self.stored_l2,
            "db": torch.full_like(self.threshold, torch.nan),  # a column of the released logs
        }

    def extra_perturbations(self) -> dict[str, Tensor]:
        return {"stored": self.stored_perturbation}

    @property
    def last_prediction(self) -> Tensor:
        """(n, emotions), the "new prediction" of the released logs: that of the last evaluated iterate."""
        return self.adversarial_prediction

    @property
    def stored_l2(self) -> Tensor:
        """(n,) float64, Euclidean norm of the stored perturbation."""
        return self.stored_perturbation.cpu().double().square().flatten(1).sum(dim=1).sqrt()


class ClipStates:
    """The state of the clips of one chunk: n clips in all, a of them still attacked.

    Attributes:
        rows: (a,), which clips ``inputs``, ``targets``, ``labels`` and ``delta`` belong to; all else is (n, ...).
        stored: Perturbations with which clips last met their thresholds.
        last: Perturbations with which clips left, as are ``prediction``, ``loss`` and ``iterations``.
    """

    def __init__(self, clips: Examples, optimizer: SGD) -> None:
        self.clips, self.optimizer = clips, optimizer
        count = len(clips.names)
        self.rows = np.arange(count)
        self.inputs, self.targets = clips.inputs, clips.targets
        self.labels = as_doubles(self.targets)
        self.delta, self.stored, self.last = (torch.zeros_like(self.inputs) for _ in range(3))
        self.clean, self.prediction = torch.zeros_like(self.targets), torch.zeros_like(self.targets)
        self.threshold, self.loss = np.full(count, np.nan), np.full(count, np.nan)
        self.converged, self.iterations = np.zeros(count, bool), np.zeros(count, np.int64)

    def names(self) -> list[str]:
        """Names of the clips still attacked."""
        return [self.clips.names[row] for row in self.rows]

    def place(self, flags: Flags) -> tuple[Tensor, Tensor]:
        """Positions of the flagged ones among the attacked clips, and among all clips."""
        attacked_places, clip_places = np.flatnonzero(flags), self.rows[flags]
        device = self.delta.device
        return torch.from_numpy(attacked_places).to(device), torch.from_numpy(clip_places).to(device)

    def store(self, flags: Flags) -> None:
        """Remember the present perturbation of the flagged clips."""
        if flags.any():
            attacked_places, clip_places = self.place(flags)
            self.stored[clip_places] = self.delta[attacked_places]

    def dismiss(self, flags: Flags, iteration: int, prediction: Tensor, losses: Doubles) -> None:
        """Write down where the flagged clips ended."""
        attacked_places, clip_places = self.place(flags)
        self.last[clip_places] = self.delta[attacked_places]
        self.prediction[clip_places] = prediction[attacked_places]
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
            adversarial=self.clips.inputs + self.last,
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


@ATTACKS.register("ReleasedAttack")
@dataclass(frozen=True, repr=False)
class ReleasedAttack(Attack):
    """Untargeted ascent on the mean squared error, ended by a ladder of thresholds; without a budget.

    Each iteration evaluates the model at inputs + delta, judges the prediction by its ladder (`Ladder`),
    stores delta for the clips that met their threshold, and takes an optimiser step on delta. A clip's first
    iteration always stores delta = 0; the update of its last iteration is not made, because it would not be evaluated.

    Args:
        measure: Quantity the thresholds are defined on: "corr" (Pearson's r, falling; three emotions at least) or
            "mse" (rising).
        optimizer: "Adam" (torch's defaults) or "SGD" (no momentum).
        step_size: Step of the optimiser, in units of the normalised spectrogram.
        iterations: Most iterations per clip; the paper's evaluation took 1000, its training 50.
        alpha: None or 0 for off; else each iteration first ascends alpha * error, then descends the sum of
            squares of delta, two steps of one optimiser. By sign, the size of alpha has no effect.
        sign: Use the sign of the gradient (0 where it is 0) rather than the gradient.

    Raises:
        ConfigError: A setting that is unknown or out of range.
    """

    budget: ClassVar[Budget] = Unbounded()  # type: ignore[misc]
    objective: ClassVar[Objective] = SquaredError()  # type: ignore[misc]
    has_goal: ClassVar[bool] = True

    measure: str = "corr"
    optimizer: str = "Adam"
    step_size: float = field(default=0.002, metadata=number(SMALLEST_STEP))
    iterations: int = field(default=1000, metadata=whole(1))
    alpha: float | None = field(default=None, metadata=number(0))
    sign: bool = field(default=True, metadata=FLAG)

    def __post_init__(self) -> None:
        for setting, choices in (("measure", LADDERS), ("optimizer", OPTIMIZERS)):
            value = getattr(self, setting)
            if value not in tuple(choices):
                raise ConfigError(f"Unknown {setting} {value!r}. {did_you_mean(str(value), choices)}")
        check_settings_of(self)

    def objective_title(self, emotions: Sequence[str] | None = None, concepts: Sequence[str] = ()) -> str:
        return RELEASED_OBJECTIVES[self.measure]

    def refusal(self, emotions: int) -> str | None:
        return correlation_refusal(emotions, "measure='mse'") if self.measure == "corr" else None

    def __call__(self, model: Model, inputs: Tensor, targets: Tensor, **options: Any) -> ReleasedResult:
        """Attack every clip; arguments as of `Attack`, but neither ``start`` nor ``valid_range``.

        ``progress`` also counts the iterations that a converged clip does not need, so that the sum is
        n * iterations.

        Raises:
            AttackError: Inputs that cannot be attacked; with "corr", a constant label or prediction, or fewer than
                three emotions; a prediction that is not finite. The message names the clip.
            ConfigError: A batch size below 1.
        """
        return cast(ReleasedResult, super().__call__(model, inputs, targets, **options))

    def _check(self, examples: Examples, valid_range: Range | None) -> None:
        super()._check(examples, valid_range)
        for name, value in (("start", examples.start), ("valid_range", valid_range)):
            if value is not None:
                raise AttackError(
                    f"{self.title} has no {name}, because the study's attack has none: leave {name} out."
                )
        if self.measure == "corr":
            labels = as_doubles(examples.targets)
            correlations(labels, labels, examples.names)

    def _attack(self, job: AttackJob) -> ReleasedResult:
        clip_states = ClipStates(job.examples, self._optimizer())
        iteration = 0
        while True:
            iteration += 1
            point = clip_states.delta.detach().requires_grad_()
            prediction = job.evaluate(clip_states.inputs + point, clip_states.targets).emotions
            losses = (prediction - clip_states.targets).square().mean(dim=1)
            if job.recorder is not None:
                self._record(job.recorder, clip_states, iteration, prediction.detach())
            leaving = self._judge(clip_states, iteration, prediction.detach(), losses.detach())
            spared = (self.iterations - iteration) * int(leaving.sum())
            job.progress(len(leaving) + spared)
            if leaving.all():
                return clip_states.result()
            gradient = input_gradient(losses, point)
            if leaving.any():
                gradient = gradient[clip_states.keep(~leaving)]
            self._update(clip_states, gradient)

    def _record(
        self, recorder: Recorder, clip_states: ClipStates, iteration: int, prediction: Tensor
    ) -> None:
        """Record one evaluation; the first is that of the unperturbed clips."""
        rows = torch.from_numpy(clip_states.rows).to(prediction.device)
        clean = prediction if iteration == 1 else clip_states.clean[rows]
        outputs, situation = Outputs(prediction, None), Situation(clip_states.targets, Outputs(clean, None))
        loss = self.objective(outputs, situation)
        if iteration == 1:
            recorder.begin(loss, prediction)
        else:
            recorder.add(rows, loss, self._size(clip_states.delta, rows), prediction)

    def _size(self, delta: Tensor, rows: Tensor) -> Tensor:
        """Sizes (a,) of the perturbations of the clips at ``rows``."""
        return self.budget.size(delta)

    def _judge(self, clip_states: ClipStates, iteration: int, prediction: Tensor, losses: Tensor) -> Flags:
        """Enter one evaluation into the books; returns which of the attacked clips leave."""
        if iteration == 1:
            clip_states.clean.copy_(prediction)
        # One transfer an iteration: predictions and errors side by side.
        values = as_doubles(torch.cat([prediction, losses.unsqueeze(1)], dim=1))
        bad = np.asarray(~np.isfinite(values).all(axis=1))
        if bad.any():
            # A finite prediction with an infinite error has overflowed only in the square.
            what = "prediction" if not np.isfinite(values[:, :-1]).all() else "squared error"
            raise AttackError(
                f"The {what} for {listed(clip_states.names(), bad)} is not finite in iteration {iteration}: "
                "check the checkpoint, or use a smaller step_size."
            )
        errors = values[:, -1]
        score = errors
        if self.measure == "corr":
            score = correlations(values[:, :-1], clip_states.labels, clip_states.names())
        judgement = self._ladder().judge(score, clip_states.threshold[clip_states.rows])
        clip_states.threshold[clip_states.rows] = judgement.threshold
        clip_states.converged[clip_states.rows] = judgement.converged
        clip_states.store(judgement.met)
        leaving = self._leaves(judgement.converged, iteration)
        if leaving.any():
            clip_states.dismiss(leaving, iteration, prediction, errors)
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

    def _update(self, clip_states: ClipStates, gradient: Tensor) -> None:
        """Move delta, given the gradient of the error: an optimiser descends, so it gets the negative."""
        if not self.alpha:
            clip_states.optimizer.step(clip_states.delta, self._fed(-gradient))
            return
        clip_states.optimizer.step(clip_states.delta, self._fed(-self.alpha * gradient))
        clip_states.optimizer.step(clip_states.delta, self._fed(2 * clip_states.delta))
