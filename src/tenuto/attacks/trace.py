"""What a search evaluated, step by step: to see whether an attack still improved when it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tenuto.attacks.calling import as_doubles
from tenuto.errors import AttackError, counted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Values = NDArray[np.float64]

MOST_POINTS = 256
"""Most points that are kept of one search; beyond it every second point is dropped, and from then on every second
evaluation is kept."""

POINT_MEASURES = ("loss", "best", "size", "moved")
"""Values of a point, apart from the prediction."""


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """Points along the search of n examples, in the order of the evaluations.

    Point 0 is the unperturbed input. Where an example ended earlier than others, its last point is repeated; `frame`
    has every point once. A long search has at most `MOST_POINTS` + 1 points, evenly spaced, and its last evaluation.
    `Foreign` attacks have points only where they may return them, `Transfer` only its result.

    Attributes:
        names: n names of the examples.
        step: (points, n) int64, evaluations of the example before this point; passes over several draws count once.
        loss: (points, n) float64, the attack's objective there, in the precision of the search; of the released attack
            its mean squared error.
        best: (points, n) float64, the largest loss of all evaluations up to there, also of those between two points.
        size: (points, n) float64, size of the perturbation in the norm of the budget; without a budget the largest
            absolute entry.
        moved: (points, n) float64, mean absolute change of the prediction from the clean one.
        prediction: (points, n, emotions) float64, the mean over draws for an attack with transformations.
    """

    names: tuple[str, ...]
    step: NDArray[np.int64]
    loss: Values
    best: Values
    size: Values
    moved: Values
    prediction: Values

    def frame(self, emotions: Sequence[str] | None = None) -> pd.DataFrame:
        """A line per example and point: ``clip``, ``step``, ``loss``, ``best``, ``size``, ``moved``, ``prediction_*``.

        Args:
            emotions: Names of the outputs; their positions by default.

        Raises:
            AttackError: Another number of names than outputs.
        """
        import pandas as pd

        outputs = self.prediction.shape[2]
        labels = [str(number) for number in range(outputs)] if emotions is None else list(emotions)
        if len(labels) != outputs:
            raise AttackError(
                f"emotions has {counted(len(labels), 'name')}, the model has {counted(outputs, 'output')}."
            )
        parts = []
        for place, name in enumerate(self.names):
            is_new = np.diff(self.step[:, place], prepend=-1) > 0
            columns: dict[str, Any] = {"clip": name, "step": self.step[is_new, place]}
            columns |= {measure: getattr(self, measure)[is_new, place] for measure in POINT_MEASURES}
            predicted = self.prediction[is_new, place].T
            columns |= {f"prediction_{label}": row for label, row in zip(labels, predicted, strict=True)}
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)

    def plot(self) -> Figure:
        """Draw loss, size and change of the prediction over the steps: a line per example, and their mean."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 6), layout="constrained")
        panels = figure.subplots(3, sharex=True)
        titles = (
            "loss; bold: mean of the best so far",
            "size of the perturbation; bold: mean",
            "mean absolute change of the prediction; bold: mean",
        )
        steps = np.unique(self.step)
        # Each example has points of its own; between two of them the first one holds.
        places = [np.searchsorted(own, steps, "right") - 1 for own in self.step.T]
        for axes, title, measure in zip(panels, titles, ("loss", "size", "moved"), strict=True):
            values = getattr(self, measure)
            axes.plot(self.step, values, color="0.6", linewidth=0.7)
            own = self.best if measure == "loss" else values
            mean = np.mean([column[place] for column, place in zip(own.T, places, strict=True)], axis=0)
            axes.plot(steps, mean, color="C0", linewidth=2)
            axes.set_title(title, loc="left", fontsize="medium")
        panels[-1].set_xlabel("evaluations")
        return figure

    @classmethod
    def joined(cls, parts: Sequence[Trace]) -> Trace:
        """The trace of consecutive chunks of examples."""
        longest = max(len(part.step) for part in parts)
        arrays = {
            name: np.concatenate([_padded(getattr(part, name), longest) for part in parts], axis=1)
            for name in ("step", *POINT_MEASURES, "prediction")
        }
        return cls(tuple(name for part in parts for name in part.names), **arrays)

    def __repr__(self) -> str:
        return (
            f"Trace({counted(len(self.names), 'example')}, {counted(len(self.step), 'point')} up to step "
            f"{self.step.max()}, mean best loss {self.best[0].mean():.4g} to {self.best[-1].mean():.4g})"
        )


def _padded(values: NDArray[Any], count: int) -> NDArray[Any]:
    """The points with the last one repeated, ``count`` in all."""
    return np.concatenate([values, np.repeat(values[-1:], count - len(values), axis=0)])


class Recorder:
    """Collects the trace of one chunk during a search.

    Args:
        names: n names of the examples.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._points: list[NDArray[Any]] = []
        self._calls, self._stride = 0, 1

    def begin(self, loss: Tensor, prediction: Tensor) -> None:
        """Record the unperturbed inputs: losses (n,) and predictions (n, emotions)."""
        self._clean = as_doubles(prediction)
        fields = [("step", np.int64), *((measure, np.float64) for measure in POINT_MEASURES)]
        outputs = ("prediction", np.float64, (self._clean.shape[1],))
        self._state = np.zeros(len(self.names), dtype=[*fields, outputs])
        self._state["loss"] = self._state["best"] = as_doubles(loss)
        self._state["prediction"] = self._clean
        self._points = [self._state.copy()]

    def add(self, rows: Tensor, loss: Tensor, size: Tensor, prediction: Tensor) -> None:
        """Record one evaluation of the examples at ``rows`` (r,): losses and sizes (r,), predictions (r, emotions)."""
        places, losses, predictions = rows.cpu().numpy(), as_doubles(loss), as_doubles(prediction)
        state = self._state
        state["step"][places] += 1
        state["loss"][places], state["size"][places] = losses, as_doubles(size)
        state["best"][places] = np.maximum(state["best"][places], losses)
        state["moved"][places] = np.abs(predictions - self._clean[places]).mean(axis=1)
        state["prediction"][places] = predictions
        self._calls += 1
        if self._calls % self._stride == 0:
            self._points.append(state.copy())
        if len(self._points) > MOST_POINTS:
            self._points, self._stride = self._points[::2], 2 * self._stride

    def trace(self) -> Trace | None:
        """The points so far, and the last evaluation of every example; None where nothing was recorded."""
        if not self._points:
            return None
        points = np.stack([*self._points, self._state])
        arrays = {name: points[name].copy() for name in ("step", *POINT_MEASURES, "prediction")}
        return Trace(self.names, **arrays)
