"""One clip before and after an attack, as spectrogram and as sound."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tenuto.audio import SAMPLE_RATE
from tenuto.audio.inversion import encode
from tenuto.audio.loading import FULL_SCALE
from tenuto.audio.masking import ear, noise_to_mask
from tenuto.audio.perceptual import is_installed, opinion_score
from tenuto.audio.spectrogram import FRAMES_PER_SECOND
from tenuto.errors import ConfigError, did_you_mean

Values = NDArray[np.float64]
Spectrogram = NDArray[np.float32]

SOUND_NAMES = ("before", "after", "difference")
SILENT_STEP = 1e-5
"""Difference of log10(1 + x) below which an entry counts as equal to silence."""


@dataclasses.dataclass(frozen=True, eq=False)
class Resynthesis:
    """The result of `resynthesise`: one clip before and after an attack, as spectrogram and as sound.

    Attributes:
        run: Name of the run.
        system: Its system.
        clip: Name of the clip.
        attack: Protocol, attack, objective, norm, epsilon (None without a budget), and the perturbation's l2 and
            linf in the units of the network's input.
        start_seconds: Where in the recording the excerpt begins, silence at its ends taken off.
        emotions: State -> emotion -> prediction, for each of `STATES`; ``annotation`` holds the ratings.
        concepts: The same; None without a bottleneck, without ``annotation`` where these concepts were not rated.
        effect: Euclidean change of the emotions against ``before``: by the attack (``after``), by the attack
            rendered as sound (``heard``), and by rendering alone (``rendered``).
        survival: Share of the attack's change of the emotions that remains in sound: the change in ``heard``
            projected on that in ``after``, over the latter. 1 is all of it, 0 none, negative the opposite; None where
            the attack has no effect.
        snr_db: Energy of these samples over that of what the attack adds to them, in dB; infinite where it adds
            nothing.
        gain: What both sounds were multiplied by to fit 16 bits.
        residual: What the filterbank's inversion left, see `tenuto.audio.inversion.Rendering`; the worst where there
            are several.
        iterations: Its iterations.
        band_hz: Centre of each band, (149,).
        clean: The excerpt's log spectrogram, log10(1 + x), (313, 149).
        attacked: The same under attack.
        perturbation: Their difference in `unit`, (313, 149).
        samples_before: What is played, 16 bits, (samples,).
        samples_after: The same under attack.
        noise_to_mask: Power of the change of the sound relative to the masking threshold of the sound before, in every
            frame and critical band, see `tenuto.audio.masking`; 1 is at the threshold.
        critical_hz: Lower edge of each critical band.
        perceptual: The mean opinion score of `tenuto.audio.perceptual`: 5 is inaudible, 1 very annoying; None where
            it is not installed or not defined.
        sample_rate: Of these samples.
        unit: Of the perturbation: ``std``, deviations of the normalised log spectrogram, or ``log10``.
    """

    run: str
    system: str
    clip: str
    attack: dict[str, Any]
    start_seconds: float
    emotions: dict[str, dict[str, float]]
    concepts: dict[str, dict[str, float]] | None
    effect: dict[str, float]
    survival: float | None
    snr_db: float
    gain: float
    residual: float
    iterations: int
    band_hz: tuple[float, ...]
    clean: Spectrogram = dataclasses.field(repr=False)
    attacked: Spectrogram = dataclasses.field(repr=False)
    perturbation: Spectrogram = dataclasses.field(repr=False)
    samples_before: NDArray[np.int16] = dataclasses.field(repr=False)
    samples_after: NDArray[np.int16] = dataclasses.field(repr=False)
    noise_to_mask: Values = dataclasses.field(repr=False)
    critical_hz: tuple[float, ...] = dataclasses.field(repr=False)
    perceptual: float | None
    sample_rate: int = dataclasses.field(default=SAMPLE_RATE, repr=False)
    unit: str = dataclasses.field(default="std", repr=False)

    @property
    def is_played(self) -> bool:
        """Whether the attacked waveform itself is played, not a rendering of an attacked spectrogram."""
        return self.unit != "std"

    @property
    def nmr_db(self) -> float:
        """The largest noise-to-mask ratio over frames and bands, in dB; minus infinity where nothing changes."""
        largest = float(self.noise_to_mask.max())
        return 10 * math.log10(largest) if largest else -math.inf

    @property
    def below_silence(self) -> float:
        """Share of the attacked spectrogram's entries that are below silence, which no sound has."""
        return float((self.attacked < -SILENT_STEP).mean())

    @property
    def band_shares(self) -> tuple[float, ...]:
        """Share of the squared perturbation in each band, (149,); all 0 where there is none."""
        return tuple(_shares(self.perturbation).sum(axis=0).tolist())

    @property
    def second_shares(self) -> tuple[float, ...]:
        """The same in each second of the excerpt, (10,)."""
        second = (np.arange(len(self.perturbation)) / FRAMES_PER_SECOND).astype(int)
        return tuple(np.bincount(second, _shares(self.perturbation).sum(axis=1)).tolist())

    @property
    def median_hz(self) -> float | None:
        """Centre of the first band up to which half of the squared perturbation is contained; None without one."""
        reached = np.cumsum(self.band_shares) >= 0.5
        return self.band_hz[int(reached.argmax())] if reached.any() else None

    @property
    def strongest_second(self) -> tuple[int, float] | None:
        """The second of the excerpt with most of the squared perturbation, and its share; None where there is none."""
        shares = self.second_shares
        place = int(np.argmax(shares))
        return (place, shares[place]) if shares[place] else None

    @property
    def difference_gain(self) -> float:
        """What makes the difference as loud as the sound before, as far as 16 bits allow; 1 where there is none."""
        change = self.samples_after.astype(np.float64) - self.samples_before
        energy, peak = float(np.square(change).mean()), float(np.abs(change).max())
        if not energy:
            return 1.0
        loudness = math.sqrt(float(np.square(self.samples_before, dtype=np.float64).mean()) / energy)
        return min(max(loudness, 1.0), FULL_SCALE / peak)

    def sound(self, which: str, kind: str = "flac") -> bytes:
        """A sound as the content of a flac or wav file.

        Args:
            which: ``before``, ``after`` or their ``difference``, all with one gain, or ``amplified``, the difference
                multiplied by `difference_gain`.
            kind: ``flac`` or ``wav``.

        Raises:
            ConfigError: No such sound or kind.
        """
        change = self.samples_after.astype(np.int32) - self.samples_before
        samples = {
            "before": self.samples_before,
            "after": self.samples_after,
            "difference": change,
            "amplified": np.round(change * self.difference_gain),
        }
        if which not in samples:
            raise ConfigError(f"sound {which!r} is unknown. {did_you_mean(which, samples)}")
        rounded = np.clip(samples[which], -FULL_SCALE, FULL_SCALE).astype(np.int16)
        return encode(rounded, kind, self.sample_rate)

    def numbers(self) -> dict[str, Any]:
        """Everything but spectrograms and samples, as JSON can hold it."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.repr}
        derived = ("nmr_db", "below_silence", "median_hz", "band_shares", "second_shares")
        seconds = len(self.samples_before) / self.sample_rate
        return {**values, "seconds": seconds, **{name: getattr(self, name) for name in derived}}


def audibility(before: NDArray[Any], after: NDArray[Any], rate: int) -> dict[str, Any]:
    """The fields of `Resynthesis` that say whether a listener hears the change of a sound of full scale 1."""
    delta, sound = (torch.from_numpy(samples) for samples in (after - before, before))
    score = opinion_score(before, after, rate) if is_installed() else math.nan
    model = ear(rate)
    return {
        "noise_to_mask": noise_to_mask(delta, sound, rate).numpy(),
        "critical_hz": tuple(edge * rate / model.size for edge in model.edges[:-1]),
        "perceptual": None if math.isnan(score) else score,
    }


def _shares(delta: Spectrogram) -> Values:
    """Each entry's share of the squared perturbation, (313, 149); all 0 where there is none."""
    squared = np.square(delta, dtype=np.float64)
    return np.asarray(squared / (squared.sum() or 1.0))
