"""A budget in the units of hearing: how far a perturbation is above the masking threshold of the music.

Thresholds and powers are those of `tenuto.audio.masking`; docs/sound.md derives the projection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, max_pool2d, pad

from tenuto.attacks.axes import Axes
from tenuto.attacks.budgets import Decibels, euclidean, per_example
from tenuto.attacks.checks import listed, require_whole
from tenuto.attacks.registry import BUDGETS
from tenuto.audio import SAMPLE_RATE
from tenuto.audio.masking import Ear, band_powers, ear, powers, resynthesise, spectrum, threshold
from tenuto.errors import AttackError

TOLERANCE_DB = 0.1
"""By how much the ratio of a returned perturbation, measured in float64, may exceed the budget."""

CLOSE = 10**0.005
"""A projection ends at this excess of power (0.05 dB), which one factor for the whole clip removes."""

REACHES = ((0, 0), (0, 0), (1, 1), (1, 2), (1, 4), (1, 8), *[(1, 30)] * 4)
"""How far every round of a projection carries the attenuation of a band: to how many frames and bands around it."""

ROOM = 0.9
"""Share of the room up to the valid range that is used where a perturbation would leave it."""

AIM = 0.95
"""Share of the allowed power to which a round attenuates, for what leaks in from neighbours."""


@BUDGETS.register("masked")
@dataclass(frozen=True, repr=False)
class Masked(Decibels):
    """The noise-to-mask ratio is at most ``db`` in every critical band of every frame.

    The ratio is the power of the perturbation over the masking threshold of the clean waveform; at 0 dB a listener
    with the assumed playback level does not hear the perturbation. Its largest value over bands and frames counts;
    epsilon and sizes are its square root, a ratio of amplitudes.

    Args:
        db: Largest noise-to-mask ratio in dB.
        sample_rate: Of the waveforms, in Hz.

    Raises:
        ConfigError: A level that is not a number from -200 to 200, or a sample rate below 1000.
    """

    norm: ClassVar[str] = "masked"
    clipping_shrinks: ClassVar[bool] = False
    sign: ClassVar[int] = 1
    sample_rate: int = SAMPLE_RATE

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole("sample_rate", self.sample_rate, 1000)

    def __repr__(self) -> str:
        rate = "" if self.sample_rate == SAMPLE_RATE else f", sample_rate={self.sample_rate}"
        return f"Masked(db={self.db!r}{rate})"

    def at_sample_rate(self, sample_rate: int) -> Self:
        return dataclasses.replace(self, sample_rate=sample_rate)

    def at_rate_of(self, axes: Axes | None) -> Self:
        if axes is not None and axes.bands is None and axes.rate != self.sample_rate:
            raise AttackError(
                f"{self!r} is a budget for {self.sample_rate} Hz, but the axes say {axes.rate:g} Hz: give it their "
                f"rate, such as Masked({self.db!r}, sample_rate={round(axes.rate)})."
            )
        return self

    def around(self, inputs: Tensor, names: Sequence[str]) -> Self:
        is_silent = ~inputs.detach().abs().flatten(1).amax(dim=1).gt(0).cpu().numpy()
        if is_silent.any():
            raise AttackError(
                f"The waveform of {listed(names, is_silent)} is silent and masks nothing: leave it out, or use "
                "Amplitude(...)."
            )
        return self._with(_references=threshold(inputs, self.sample_rate))

    def size(self, delta: Tensor) -> Tensor:
        clips = [band_powers(clip, self._ear(delta)) for clip in delta.detach().double()]
        return (torch.stack(clips) / self._known_references()).flatten(1).amax(dim=1).sqrt()

    def project(self, delta: Tensor, epsilon: Tensor | None = None) -> Tensor:
        """Perturbations inside the budget, close to the given ones; docs/sound.md has the steps."""
        thresholds = self._known_references()
        bound = self.bounds(thresholds[:, 0, 0], epsilon)
        allowed = (thresholds * per_example(bound.square(), thresholds)).to(delta)
        # On a CPU one clip at a time, which stays in its cache and ends as soon as this clip is inside.
        count = 1 if delta.device.type == "cpu" else len(delta)
        model = self._ear(delta)
        pairs = zip(torch.split(delta, count), torch.split(allowed, count), strict=True)
        return torch.cat([_inside(part, limit, model) for part, limit in pairs])

    def fit(self, delta: Tensor, low: Tensor, high: Tensor, epsilon: Tensor | None = None) -> Tensor:
        """Attenuate the frames around samples that would leave the range, unless one factor for the clip leaves more.

        Clipping single samples makes clicks, whose power is in bands that are masked least.
        """
        clipped = delta.clamp(low, high)
        if torch.equal(clipped, delta):
            return delta
        share = torch.where(clipped != delta, ROOM * clipped / delta, 1)
        faded = (delta * _smooth(share, self._ear(delta))).clamp(low, high)
        size = self.size(clipped)
        scaled = (self.bounds(size, epsilon) / size).clamp_max(1) * euclidean(clipped)
        chosen = torch.where(per_example(euclidean(faded) < scaled, delta), clipped, faded)
        is_cut = (clipped != delta).flatten(1).any(dim=1)
        return torch.where(per_example(is_cut, delta), chosen, delta)

    def steepest(self, gradient: Tensor) -> Tensor:
        """Along the gradient in every band of every frame, each with the power of its threshold.

        This is optimal for frames that do not overlap. Where they do, the size may differ from 1; whatever follows a
        step projects.
        """
        return self._filled(gradient)

    def scattered(self, uniform: Tensor) -> Tensor:
        """Noise with the power of the threshold in every band of every frame, as far as overlapping frames allow."""
        return self.project(self._filled(uniform) * self.epsilon)

    def check(self, delta: Tensor, names: Sequence[str]) -> None:
        ratios = 20 * self.size(delta).log10().cpu().numpy()
        bad = ~(ratios <= self.db + TOLERANCE_DB)
        if bad.any():
            raise AttackError(
                f"The perturbation of {listed(names, bad)} has a noise-to-mask ratio of {ratios[bad].max():.2f} dB but "
                f"the budget is {self!r}. This is a bug in the attack: report it with the attack's settings."
            )

    def label(self) -> str:
        return f"noise-to-mask {self.db:g} dB"

    def _filled(self, waveforms: Tensor) -> Tensor:
        """Every band of every frame scaled to the power of its threshold."""
        model = self._ear(waveforms)

        def filled(waveform: Tensor, limit: Tensor) -> Tensor:
            frames = spectrum(waveform, model)
            power = powers(frames) @ model.bands.to(waveform)
            # In doubles: the quotient of a vanishing power is no float32.
            gain = torch.where(power > 0, (limit / power.double()).sqrt(), 0).to(power)
            return resynthesise(frames * _at_lines(gain, model), len(waveform), model)

        # A gradient may be too small for its power to be a float32.
        scale = waveforms.abs().flatten(1).amax(dim=1)
        scale = per_example(torch.where(scale > 0, scale, torch.ones_like(scale)), waveforms)
        clips = zip(waveforms / scale, self._known_references(), strict=True)
        return torch.stack([filled(waveform, limit) for waveform, limit in clips])

    def _ear(self, like: Tensor) -> Ear:
        return ear(self.sample_rate, str(like.device))


def _smooth(gain: Tensor, model: Ear) -> Tensor:
    """A gain (n, samples) that changes as slowly as the frames' window and is nowhere above the given one."""
    samples, hop = gain.shape[-1], model.hop
    blocks = -(-samples // hop)
    padded = pad(gain, (hop, (blocks + 1) * hop - samples), value=1.0)
    lowest = -max_pool1d(-padded[:, None], model.size, hop)[:, 0]
    fade = model.window.to(gain)
    fade = fade / (fade[:hop] + fade[hop:]).repeat(2)
    weighted = lowest[..., None] * fade
    return (weighted[:, :-1, hop:] + weighted[:, 1:, :hop]).flatten(1)[:, :samples]


def _at_lines(gain: Tensor, model: Ear) -> Tensor:
    """The gain (..., frames, bands) of the band that every line belongs to."""
    widths = torch.tensor(model.edges, device=gain.device).diff()
    return gain.repeat_interleave(widths, dim=-1, output_size=model.edges[-1])


def _inside(delta: Tensor, allowed: Tensor, model: Ear) -> Tensor:
    """Attenuate what is above the allowed powers (n, frames, bands), in rounds, until nothing is.

    Frames overlap, so an attenuated band gets some power back from its neighbours. A band that stays above therefore
    attenuates more of them in every round (`REACHES`).
    """
    for reach in (*REACHES, None):
        frames = spectrum(delta, model)
        power = powers(frames) @ model.bands.to(delta)
        ratio = torch.where(power > 0, power / allowed, 0)  # 0 / 0 where nothing is allowed
        excess = ratio.flatten(1).amax(dim=1)
        if reach is None or not (excess > CLOSE).any():
            break
        gain = torch.where(ratio > 1, AIM / ratio, 1).sqrt()
        gain = -max_pool2d(-gain[:, None], [2 * size + 1 for size in reach], 1, reach)[:, 0]
        attenuated = resynthesise(frames * _at_lines(gain, model), delta.shape[-1], model)
        delta = torch.where(per_example(excess > CLOSE, delta), attenuated, delta)
    return delta / per_example(excess.clamp_min(1).sqrt(), delta)
