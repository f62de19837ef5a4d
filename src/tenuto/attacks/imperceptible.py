"""An attack that a listener should not notice: reach a goal, then lower the noise-to-mask ratio.

The idea is that of Qin et al., "Imperceptible, Robust, and Targeted Adversarial Examples for Automatic Speech
Recognition", 2019, section 4: a first stage that looks at the model alone, and a second that keeps its success and
minimises what is above the masking threshold. Qin et al. weigh a sum of both; here the second stage searches the
smallest ratio at which the goal is still reached, as `tenuto.attacks.minimal` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tenuto.attacks.base import Examples, Range
from tenuto.attacks.budgets import LARGEST_DB
from tenuto.attacks.checks import LARGEST_NUMBER, number, whole
from tenuto.attacks.masked import Masked
from tenuto.attacks.minimal import GoalSeeker, Hunt, aim
from tenuto.attacks.registry import ATTACKS
from tenuto.attacks.search import Search
from tenuto.errors import AttackError


@ATTACKS.register("Imperceptible")
@dataclass(frozen=True, kw_only=True, repr=False)
class Imperceptible(GoalSeeker):
    """The lowest noise-to-mask ratio at which a waveform reaches ``goal`` within the budget.

    The ratio is the largest over critical bands and frames, see `Masked`. ``converged`` says which examples reach the
    goal; the others keep the strongest perturbation. A start is where the first stage begins.

    Args:
        budget: Where both stages stay, such as `SNR` or `Amplitude`.
        goal: Value of the objective to reach, in its units (the mean absolute error, say).
        steps: Most gradient steps of the first stage, which ends for an example at its goal.
        quiet_steps: Gradient steps of the second stage.
        bisections: Evaluations that shorten the result along its ray.

    Raises:
        ConfigError: A setting out of range, `Unbounded`, or a ``stop_at`` of its own.
    """

    goal: float = field(metadata=number(-LARGEST_NUMBER))
    steps: int = field(default=40, metadata=whole(1))
    quiet_steps: int = field(default=60, metadata=whole(0))
    bisections: int = field(default=10, metadata=whole(0))

    @property
    def iterations(self) -> int:
        return self.steps + self.quiet_steps + self.bisections

    def _check(self, examples: Examples, valid_range: Range | None) -> None:
        super()._check(examples, valid_range)
        if examples.inputs.ndim != 2:
            raise AttackError(
                "Imperceptible attacks waveforms (n, samples), but the inputs have shape "
                f"{tuple(examples.inputs.shape)}: attack the waveforms, or use Minimal."
            )

    def search(self, search: Search) -> None:
        rows = search.all_rows[search.value < self.goal]
        if len(rows):
            rows, delta = self._reach(search, rows)
        if not len(rows):
            return
        masks = Masked(LARGEST_DB, search.budget.sample_rate)
        names = [search.task.examples.names[row] for row in rows.tolist()]
        hunt = _QuietHunt(search, rows, masks.around(search.inputs[rows], names), self.goal)
        hunt.begin(delta, hunt.budget.size(delta))
        hunt.run(self.quiet_steps, self.bisections)

    def _reach(self, search: Search, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The rows that reach the goal by steps of one size, and their perturbations."""
        stride = 2.5 * self.budget.epsilon / self.steps
        delta = search.first(rows, scattered=False)
        reached = [(rows[:0], delta[:0])]
        for _ in range(self.steps):
            values, gradient = search.gradient(delta, rows)
            is_met = values >= aim(self.goal)
            reached.append((rows[is_met], delta[is_met]))
            rows, delta, gradient = rows[~is_met], delta[~is_met], gradient[~is_met]
            if not len(rows):
                break
            delta = search.allowed(delta + stride * search.budget.take(rows).steepest(gradient), rows)
            search.tick(rows)
        if len(rows):
            is_met = search.values(delta, rows) >= aim(self.goal)
            reached.append((rows[is_met], delta[is_met]))
        return torch.cat([one for one, _ in reached]), torch.cat([one for _, one in reached])


class _QuietHunt(Hunt):
    """A hunt for the least noise-to-mask ratio, inside the budget of the search."""

    def inside(self, ahead: Tensor) -> Tensor:
        return self.search.allowed(self.budget.project(ahead, self.radius), self.rows)
