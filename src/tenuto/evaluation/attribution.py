"""Which parts of an input a prediction comes from: attributions, and how well they find a part that was changed.

An attribution gives every entry of the input a share of f(x) - f(b), the difference between the predictions for the
input x and for a baseline b, which is 0: the mean level of a normalised spectrogram, silence in a waveform.

- ``gradient-input``: (x - b) * df/dx, the first-order share (A. Shrikumar et al., ICML 2017).
- ``integrated-gradients``: (x - b) times the mean gradient on the straight line from b to x; shares add up to
  f(x) - f(b) (M. Sundararajan et al., ICML 2017).
- ``occlusion``: f(x) - f(x with a segment at the baseline), for segments of time and frequency, spread evenly over the
  entries of the segment (M. Zeiler, R. Fergus, ECCV 2014).

The code is our own, since the methods take a dozen lines each, and a dependency would need adapters for axes,
segments and recognisers.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from tenuto.attacks import Budget
from tenuto.attacks.axes import Axes
from tenuto.attacks.calling import as_doubles
from tenuto.display import Displayed, Element
from tenuto.errors import ConfigError, DataError

Values = NDArray[np.float64]
Grid = tuple[int, int]

GRADIENT_BATCH = 8
IG_STEPS = 50
SEGMENTS: Grid = (10, 8)
TOP = 0.1
"""Share of the entries that counts as the most important ones."""


@dataclasses.dataclass(frozen=True)
class AttributionChange:
    """What an attack within a budget does to an attribution.

    Attributes:
        budget: The budget.
        attacked: `similarity` of the attributions before and after the attack.
        noise: The same after random noise of the same size, without which the attack says little.
        prediction_change: Change of the emotion by the attack.
        largest_change: Largest change of any emotion by the attack.
        noise_change: Change of the emotion by the noise.
        values: Attribution after the attack, (steps, bands).
    """

    budget: Budget
    attacked: dict[str, float]
    noise: dict[str, float]
    prediction_change: float
    largest_change: float
    noise_change: float
    values: Values

    @property
    def table(self) -> dict[str, Any]:
        """Every number by its name."""
        return {
            "budget": repr(self.budget),
            **{f"{name}_attacked": value for name, value in self.attacked.items()},
            **{f"{name}_noise": value for name, value in self.noise.items()},
            "prediction_change": self.prediction_change,
            "largest_change": self.largest_change,
            "noise_change": self.noise_change,
        }


@dataclasses.dataclass(frozen=True, repr=False)
class Attribution(Displayed):
    """The attribution of one prediction.

    Attributes:
        source: The clip.
        run: The run.
        output: The emotion.
        method: One of `ATTRIBUTION_METHODS`.
        prediction: f(x).
        baseline: f(b).
        inputs: x, (steps, bands); a waveform has one band.
        values: Shares of the entries, (steps, bands).
        segments: A line per segment of time and frequency: ``from_seconds``, ``to_seconds``, and, of a spectrogram,
            ``from_hz``, ``to_hz`` (centres of its lowest and highest band), and ``attribution``, the sum of its shares.
            Features, whose axes have no known meaning, have ``from_row``, ``to_row``, ``from_column`` and
            ``to_column`` instead, counted from 0, the ends not included.
        moved: What an attack on the attribution changes; None where none was asked for.
        found: Whether the attribution finds a part of the input that was attacked, see
            `tenuto.evaluation.attribution_attack.find_region`; None where no part was named.
    """

    source: str
    run: str
    output: str
    method: str
    prediction: float
    baseline: float
    inputs: Values
    values: Values
    segments: pd.DataFrame
    moved: AttributionChange | None = None
    found: dict[str, float] | None = None

    @property
    def gap(self) -> float:
        """f(x) - f(b) minus the sum of all shares; 0 for integrated gradients, but for the finite number of steps."""
        return self.prediction - self.baseline - float(self.values.sum())

    def strongest(self, count: int = 5) -> pd.DataFrame:
        """The segments with the largest shares, by size."""
        order = self.segments["attribution"].abs().sort_values(ascending=False, kind="stable").index
        return self.segments.loc[order[:count]].reset_index(drop=True)

    def _elements(self) -> list[Element]:
        return [f"{self.source}, {self.output} {self.prediction:.3f}, {self.method}", self.strongest()]


def gradient_input(model: nn.Module, inputs: Tensor, output: int) -> Tensor:
    """Input times gradient of one emotion, (n, ...) like the inputs."""
    return inputs * _gradient(model, inputs, output)


def integrated_gradients(model: nn.Module, inputs: Tensor, output: int, steps: int = IG_STEPS) -> Tensor:
    """Integrated gradients of one emotion by the midpoint rule, (n, ...) like the inputs.

    Args:
        model: Inputs to `Prediction`.
        inputs: (n, ...).
        output: Column of the emotion.
        steps: Points on the line from the baseline to each input.
    """
    total = torch.zeros_like(inputs)
    for step in range(steps):
        total += _gradient(model, inputs * ((step + 0.5) / steps), output)
    return inputs * total / steps


def _gradient(model: nn.Module, inputs: Tensor, output: int) -> Tensor:
    with torch.inference_mode(False), torch.enable_grad():
        point = inputs.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(point).emotions[:, output].sum(), point)
    return gradient


def occlusion(model: nn.Module, inputs: Tensor, output: int, segments: Grid = SEGMENTS) -> Tensor:
    """Change of one emotion where a segment is at the baseline, spread over the segment, (n, ...) like the inputs."""
    parts = segment_slices(plane(inputs[0]).shape, segments)
    shares = torch.zeros_like(inputs)
    for row, example in enumerate(inputs):
        changes = _occluded(model, example, output, parts)
        for (steps, bands), change in zip(parts, changes, strict=True):
            segment = plane(shares[row])[steps, bands]
            segment += change / segment.numel()
    return shares


def _occluded(
    model: nn.Module, example: Tensor, output: int, parts: Sequence[tuple[slice, slice]]
) -> list[float]:
    """Prediction of one example minus that without each of the parts."""
    changes: list[float] = []
    with torch.no_grad():
        whole = model(example[None].clone()).emotions[0, output]
        for first in range(0, len(parts), GRADIENT_BATCH):
            batch = example.repeat(len(parts[first : first + GRADIENT_BATCH]), *(1,) * example.ndim)
            for occluded, (steps, bands) in zip(batch, parts[first:], strict=False):
                plane(occluded)[steps, bands] = 0
            changes += (whole - model(batch).emotions[:, output]).tolist()
    return changes


ATTRIBUTION_METHODS: dict[str, Callable[[nn.Module, Tensor, int], Tensor]] = {
    "gradient-input": gradient_input,
    "integrated-gradients": integrated_gradients,
    "occlusion": occlusion,
}


def check_method(method: str) -> None:
    """Raise `ConfigError` for an unknown method."""
    if method not in ATTRIBUTION_METHODS:
        raise ConfigError(f"method must be one of {', '.join(ATTRIBUTION_METHODS)}, got {method!r}.")


def plane(example: Tensor) -> Tensor:
    """One example without its channel, as a view (steps, bands): (1, 313, 149) is (313, 149), (samples,) (samples, 1).

    Raises:
        ConfigError: Inputs of another kind, such as several channels.
    """
    if example.ndim == 1:
        return example[:, None]
    if example.ndim > 2 and example.shape[0] == 1:
        return plane(example[0])
    if example.ndim != 2:
        raise ConfigError(
            f"attributions need inputs with one axis of time and perhaps one of frequency, got {tuple(example.shape)}."
        )
    return example


def segment_slices(shape: Sequence[int], segments: Grid) -> list[tuple[slice, slice]]:
    """Slices of a plane (steps, bands) that divide it into ``segments`` parts of time and frequency.

    Raises:
        ConfigError: ``segments`` are no two numbers of parts, or more than there are entries. The usual number of
            segments is taken for every input, and divides a smaller one into its entries.
    """
    are_two = isinstance(segments, tuple | list) and len(segments) == 2
    if not are_two or not all(isinstance(value, int) and value >= 1 for value in segments):
        raise ConfigError(f"segments must be two whole numbers of at least 1, got {segments!r}.")
    if any(count > max(size, usual) for count, size, usual in zip(segments, shape, SEGMENTS, strict=True)):
        raise ConfigError(
            f"segments {segments!r} are more than the {shape[0]} x {shape[1]} entries of the input."
        )
    edges = [
        np.linspace(0, size, min(count, size) + 1).round().astype(int).tolist()
        for size, count in zip(shape, segments, strict=True)
    ]
    times, bands = ([slice(*pair) for pair in itertools.pairwise(one)] for one in edges)
    return [(time, band) for time in times for band in bands]


def segment_table(values: Values, axes: Axes | None, segments: Grid) -> pd.DataFrame:
    """Sums of shares (steps, bands) over segments, as in `Attribution.segments`.

    Args:
        values: (steps, bands).
        axes: What the axes mean; None where it is not known, and segments are rows and columns.
        segments: Number of segments of time and of frequency.
    """
    return pd.DataFrame(
        _place(axes, *part) | {"attribution": float(values[part].sum())}
        for part in segment_slices(values.shape, segments)
    )


def _place(axes: Axes | None, steps: slice, bands: slice) -> dict[str, float]:
    """Where a segment lies: seconds and Hz, or rows and columns."""
    if axes is None:
        rows = {"from_row": steps.start, "to_row": steps.stop}
        return rows | {"from_column": bands.start, "to_column": bands.stop}
    place: dict[str, float] = {
        "from_seconds": steps.start / axes.rate,
        "to_seconds": steps.stop / axes.rate,
    }
    if axes.bands is not None:
        place |= {"from_hz": axes.bands[bands.start], "to_hz": axes.bands[bands.stop - 1]}
    return place


def similarity(first: ArrayLike, second: ArrayLike) -> dict[str, float]:
    """How alike two attributions (steps, bands) are, by two measures of A. Ghorbani et al., AAAI 2019.

    Returns:
        ``rank_correlation``: Spearman's rho of the sizes of shares; ``top_overlap``: of the tenth of entries with the
        largest sizes, zeros left out, the part that they have in common; by chance about 0 and 0.1. NaN and 0 where one
        has no shares.
    """
    from scipy import stats

    one, other = (np.abs(np.asarray(values, np.float64)).ravel() for values in (first, second))
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return {"rank_correlation": float("nan"), "top_overlap": 0.0}
    count = max(1, round(TOP * len(one)))
    top, other_top = (
        set(np.argsort(-sizes, kind="stable")[: min(count, np.count_nonzero(sizes))].tolist())
        for sizes in (one, other)
    )
    return {
        "rank_correlation": float(stats.spearmanr(one, other).statistic),
        "top_overlap": len(top & other_top) / max(len(top), len(other_top)),
    }


def localisation(values: ArrayLike, inside: ArrayLike) -> dict[str, float]:
    """How well an attribution finds a part of the input.

    Args:
        values: Shares (steps, bands).
        inside: Which entries belong to the part, (steps, bands) bool.

    Returns:
        ``auc``: the probability that an entry inside has a larger share, by size, than one outside, ties counted half,
        .5 by chance; ``pointing``: 1 where the largest is inside (J. Zhang et al., ECCV 2016), else 0; ``mass``: part
        of the sum of sizes that is inside; ``area``: part of the entries that is inside, which is ``mass`` by chance.

    Raises:
        DataError: The part is empty or the whole input.
    """
    from scipy import stats

    sizes, mask = np.abs(np.asarray(values, np.float64)).ravel(), np.asarray(inside, bool).ravel()
    count, others = int(mask.sum()), int((~mask).sum())
    if not count or not others:
        raise DataError("a region that is empty or the whole input cannot be found. Choose a smaller one.")
    ranks = stats.rankdata(sizes)
    total = sizes.sum()
    return {
        "auc": float((ranks[mask].sum() - count * (count + 1) / 2) / (count * others)),
        "pointing": float(mask[int(sizes.argmax())]),
        "mass": float(sizes[mask].sum() / total) if total else float("nan"),
        "area": count / len(mask),
    }


def attribute(
    model: nn.Module,
    example: Tensor,
    output: int,
    method: str = "integrated-gradients",
    segments: Grid = SEGMENTS,
) -> Values:
    """The attribution of one prediction, (steps, bands).

    Args:
        model: Inputs to `Prediction`, frozen, in evaluation mode.
        example: (...), one input.
        output: Column of the emotion.
        method: One of `ATTRIBUTION_METHODS`.
        segments: Of occlusion.

    Raises:
        ConfigError: No such method, inputs without an axis of time, or no numbers of segments.
    """
    check_method(method)
    inputs = example[None]
    shares = (
        occlusion(model, inputs, output, segments)
        if method == "occlusion"
        else ATTRIBUTION_METHODS[method](model, inputs, output)
    )
    return as_doubles(plane(shares[0]))
