"""Certificates: proven bounds on how far any perturbation can move a smoothed model's prediction.

Median smoothing of a regressor f (Chiang et al. 2020, "Detection as Regression: Certified Object Detection by Median
Smoothing", arXiv 2007.03730): g(x) is the median of f(x + e) over Gaussian noise e ~ N(0, sigma^2 I), for every output
on its own. For every perturbation d with ||d||_2 <= r

    q(Phi(-r / sigma)) <= g(x + d) <= q(Phi(r / sigma)),

where q(p) is the p-quantile of f(x + e) at the unperturbed input (their Theorem 1). The quantiles are not known. With a
stated confidence, order statistics of n draws lie outside of them (their section 4, binomial distribution).
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tenuto.attacks.base import default_batch_size
from tenuto.attacks.calling import Evaluator, left_as_found
from tenuto.attacks.checks import is_number, require_whole
from tenuto.devices import Precision, computing_in
from tenuto.errors import ConfigError, DataError
from tenuto.files import sha256_bytes

Values = NDArray[np.float64]
NOISE_SOURCE = "a torch.Generator for every input"
"""How noise is drawn. Files of noisy predictions name it, so that those of another noise are not continued."""

NOISE_BLOCK = 64
"""Noisy inputs drawn together, whatever the batch size: the numbers depend on it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Smoothing:
    """How draws are made and what is claimed of them.

    Args:
        sigma: Standard deviation of the noise, in the unit of the input.
        draws: Noisy predictions of every clip.
        confidence: Probability with which the bounds of a clip hold, all outputs and both sides at once, at one sigma
            and radius.
        clips_together: With that probability they hold for all clips at once.
        clip_to_scale: Clip predictions to the rating scale before the median is taken.
        seed: Of the noise.
        precision: In which the network predicts the noisy inputs; the certificate holds for the model in it.

    Raises:
        ConfigError: A setting out of range.
    """

    sigma: float
    draws: int = 1000
    confidence: float = 0.95
    clips_together: bool = False
    clip_to_scale: bool = True
    seed: int = 0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if not is_number(self.sigma) or self.sigma <= 0:
            raise ConfigError(f"sigma must be a number above 0, got {self.sigma!r}.")
        object.__setattr__(self, "sigma", float(self.sigma))  # 1 and 1.0 draw the same noise
        require_whole("draws", self.draws, 1)
        require_whole("seed", self.seed, 0)
        if not is_number(self.confidence) or not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must be between 0 and 1, got {self.confidence!r}.")
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigError(f"precision must be 'float32' or 'bfloat16', got {self.precision!r}.")

    def name(self, domain: str) -> str:
        """Name of the files of its draws, which do not depend on what is claimed.

        >>> Smoothing(sigma=0.05).name("log-spectrogram")
        'log-spectrogram-sigma-0.05-draws-1000-seed-0'
        """
        precision = "" if self.precision == "float32" else f"-{self.precision}"
        sigma = repr(self.sigma).removesuffix(".0")  # all digits: another sigma has other draws
        return f"{domain}-sigma-{sigma}-draws-{self.draws}-seed-{self.seed}{precision}"

    def risk(self, outputs: int, clips: int) -> float:
        """Probability with which one bound may be wrong (Bonferroni's correction over all bounds that hold at once)."""
        return (1 - self.confidence) / (2 * outputs * (clips if self.clips_together else 1))

    def clipped(self, values: Values, scale: tuple[float, float] | None) -> Values:
        """Values on the rating scale; as they are where it is not known or predictions are not clipped."""
        return values if scale is None or not self.clip_to_scale else values.clip(*scale)


def rank(draws: int, share: float, risk: float) -> int | None:
    """Place, counted from 1, of the order statistic that is at least the quantile of ``share``, but for the ``risk``.

    The smallest k with BinomCDF(k - 1; draws, share) > 1 - risk, see the paper's section 4. None where even the
    largest draw may be too small: share ** draws > risk.

    >>> rank(1000, 0.8413447, 0.0031), rank(10, 0.9, 0.01)
    (873, None)
    """
    from scipy import stats

    place = int(stats.binom.ppf(1 - risk, draws, share))
    while stats.binom.cdf(place, draws, share) <= 1 - risk and place < draws:
        place += 1
    return place + 1 if place < draws else None


def bounds(predictions: Values, relative_radius: float, risk: float) -> tuple[Values, Values]:
    """Bounds of the median, each (outputs,), within a radius of ``relative_radius`` standard deviations of the noise.

    Args:
        predictions: Of noisy inputs, (draws, outputs).
        relative_radius: r / sigma.
        risk: Probability with which one of the bounds may be wrong.

    Returns:
        Lower and upper bounds; infinite where there are too few draws for a bound.
    """
    from scipy import stats

    draws, outputs = predictions.shape
    place = rank(draws, float(stats.norm.cdf(relative_radius)), risk)
    if place is None:
        return np.full(outputs, -math.inf), np.full(outputs, math.inf)
    ordered = np.sort(predictions, axis=0)
    return ordered[draws - place], ordered[place - 1]


def draws_needed(relative_radius: float, risk: float) -> int:
    """How many draws a bound at a radius needs at least.

    >>> draws_needed(1.0, 0.05 / 16)
    34
    """
    from scipy import stats

    share = float(stats.norm.logcdf(relative_radius))
    return math.ceil(math.log(risk) / share) if share < 0 else sys.maxsize


def noisy_predictions(
    model: Callable[[Tensor], Any],
    example: Tensor,
    like: Tensor,
    smoothing: Smoothing,
    batch_size: int | None = None,
) -> Values:
    """Predictions of one input under noise, (draws, outputs).

    The noise depends on the seed, sigma and the content of the input, not on the batch size or on other inputs. It is
    drawn on the device of the input: a CPU and a GPU draw different noise.

    Args:
        model: As for an attack.
        example: The input, (1, ...).
        like: (1, outputs), which gives the expected shape.
        smoothing: The noise.
        batch_size: Noisy inputs predicted together, at most 64; default: 6, on a GPU 64.

    Raises:
        DataError: A prediction is not finite.
    """
    batch_size = default_batch_size(example.device) if batch_size is None else batch_size
    generator = noise_generator(example, smoothing)
    evaluate, parts = Evaluator(model), []
    with left_as_found(model), torch.no_grad(), computing_in(smoothing.precision, example.device.type):
        for first in range(0, smoothing.draws, NOISE_BLOCK):
            count = min(NOISE_BLOCK, smoothing.draws - first)
            for noise in torch.split(standard_noise(example, count, generator), batch_size):
                noisy = torch.add(example, noise, alpha=smoothing.sigma)
                parts.append(evaluate(noisy, like.expand(len(noise), -1)).emotions)
    predictions: Values = torch.cat(parts).double().cpu().numpy()
    if not np.isfinite(predictions).all():
        raise DataError(
            "A prediction under noise is not finite. Check the checkpoint, or use a smaller sigma."
        )
    return predictions


def noise_generator(example: Tensor, smoothing: Smoothing) -> torch.Generator:
    """The random generator of an input (...), on its device."""
    settings = repr((smoothing.seed, smoothing.sigma)).encode()
    digest = sha256_bytes(settings + example.detach().cpu().contiguous().numpy().tobytes())
    return torch.Generator(example.device).manual_seed(int(digest[:16], 16))


def standard_noise(example: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Noise of standard deviation 1 in the type and shape of an input (1, ...), (count, ...)."""
    shape = (count, *example.shape[1:])
    return torch.randn(shape, generator=generator, dtype=example.dtype, device=example.device)


def certificate(
    predictions: Values,
    radii: Sequence[float],
    smoothing: Smoothing,
    clips: int,
    scale: tuple[float, float] | None,
) -> list[dict[str, Any]]:
    """``radius``, ``low``, ``median`` and ``high`` for every radius, in the unit of the input, of one clip.

    ``bounded`` says whether there were enough draws for bounds. Without them these are infinite, or the ends of the
    rating scale.

    Args:
        predictions: What `noisy_predictions` returned.
        radii: In L2, in the unit of the input.
        smoothing: How they were drawn.
        clips: Number of clips that are certified together.
        scale: Lowest and highest rating; None where it is not known.
    """
    predictions = smoothing.clipped(predictions, scale)
    risk, median = smoothing.risk(predictions.shape[1], clips), np.median(predictions, axis=0)
    outcome = []
    for radius in radii:
        low, high = bounds(predictions, radius / smoothing.sigma, risk)
        sides = {
            "low": smoothing.clipped(low, scale),
            "median": median,
            "high": smoothing.clipped(high, scale),
        }
        outcome.append({"radius": radius, **sides, "bounded": bool(np.isfinite(low).all())})
    return outcome
