"""What a listener cannot hear in the presence of a recording: its masking threshold, and how far noise is above it.

The threshold is that of psychoacoustic model 1 (ISO/IEC 11172-3, annex D.1, steps 1 to 8; derived again in Painter &
Spanias, "Perceptual Coding of Digital Audio", Proceedings of the IEEE 2000, section V). docs/sound.md gives every step,
with the equations that are not below. Frames have 1024 samples at 22 050 Hz (46 ms) and overlap by half.

The level is calibrated once for all recordings: a sine of full scale has 96 dB SPL, the reference of step 2. Tenuto
scales recordings to peak 1, so this is a listener who plays them loud. Powers are relative to 0 dB SPL.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from tenuto.audio.rate import SAMPLE_RATE
from tenuto.errors import AudioError

Array = NDArray[np.float64]

FULL_SCALE_DB = 96.0
"""Sound pressure level of a sine of amplitude 1, in dB (step 2)."""

BAND_EDGES_HZ = (
    *(0, 100, 200, 300, 400, 510, 630, 770, 920, 1080, 1270, 1480, 1720, 2000, 2320, 2700, 3150, 3700, 4400),
    *(5300, 6400, 7700, 9500, 12_000, 15_500),
)
"""Lower edges of the critical bands (Zwicker 1961; Painter & Spanias, table 1); the last ends at half the rate."""

PROMINENCE = 10**0.7
"""A tonal masker is 7 dB above its surroundings (step 4a)."""

SURROUNDINGS = ((3, 2), (63, 3), (127, 6), (255, 12))
"""From which line on a line is compared with how many on either side (step 4a, layer II)."""

CLOSEST_BARK = 0.5
"""Of two tonal maskers that are closer, the weaker is dropped (step 5b)."""

TONE_OFFSET, NOISE_OFFSET = (6.025, 0.275), (2.025, 0.175)
"""A masker of level X at z Bark hides there what is a + b z dB below X (step 6): a and b of tones and of noise."""

DENSITY = ((48, 1), (96, 2), (192, 4), (math.inf, 8))
"""(Last line, spacing) of the lines at which the threshold is computed (step 6, table D.1), with the ends of bands."""

DEAFEST_DB = 300.0
"""Highest threshold in quiet; its formula, a fourth power, soon has no float32 above 22 kHz."""

NEPERS = math.log(10) / 10
"""A dB, as a natural logarithm of power."""

MASKER_BLOCK = 1024
"""Maskers spread at a time; their thresholds fit into the cache of a processor."""


def bark(hertz: Array) -> Array:
    """Critical-band rate: 13 atan(0.00076 f) + 3.5 atan((f / 7500)^2) (Zwicker & Terhardt 1980).

    >>> round(float(bark(np.array(1000.0))), 3)
    8.511
    """
    rate: Array = 13 * np.arctan(0.00076 * hertz) + 3.5 * np.arctan((hertz / 7500) ** 2)
    return rate


def quiet_db(hertz: Array) -> Array:
    """Level of the faintest audible tone in silence (step 3; Terhardt 1979), in dB SPL.

    3.64 f^-0.8 - 6.5 exp(-0.6 (f - 3.3)^2) + 0.001 f^4, with f in kHz.
    """
    khz = hertz / 1000
    level: Array = 3.64 * khz**-0.8 - 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4
    return level


def spreading_db(distance: Array) -> tuple[Array, Array]:
    """The spreading function (step 6) as a + b X: the level of a masker of X dB SPL after a distance dz in Bark.

    =============================  ============
    17 (dz + 1) - (0.4 X + 6)      -3 <= dz < -1
    (0.4 X + 6) dz                 -1 <= dz < 0
    -17 dz                         0 <= dz < 1
    -(dz - 1) (17 - 0.15 X) - 17   1 <= dz < 8
    =============================  ============

    It is minus infinity elsewhere.

    Args:
        distance: Bark of the masked line minus Bark of the masker.
    """
    parts = [distance < -3, distance < -1, distance < 0, distance < 8]
    nothing = np.zeros_like(distance)
    fixed = [nothing - np.inf, 17 * (distance + 1) - 6, 6 * distance, -17 * distance]
    per_db = [nothing, nothing - 0.4, 0.4 * distance, 0.15 * np.maximum(distance - 1, 0)]
    return np.select(parts, fixed, -np.inf), np.select(parts, per_db, 0.0)


@dataclass(frozen=True, eq=False)
class Ear:
    """The constants of the model at one sample rate. Lines are those of a frame's spectrum, 0 to size / 2.

    Attributes:
        size: Samples of a frame.
        window: (size,), Hann with mean square 1.
        edges: First line of every band, and the number of lines.
        bands: (lines, bands), 1 where a line belongs to a band.
        barks: (lines,), critical-band rate.
        quiet: (lines,), threshold in quiet as a power.
        reach: (lines,), with how many lines on either side a line is compared; 0 where no tone is sought.
        centres: (bands,), line of the noise masker.
        probes: Lines at which the threshold is computed.
        fixed: (lines, probes), spreading from a line to a probe, the part that no level changes, in dB.
        per_db: (lines, probes), the part per dB of the masker's level.
    """

    size: int
    window: Tensor
    edges: tuple[int, ...]
    bands: Tensor
    barks: Tensor
    quiet: Tensor
    reach: Tensor
    centres: Tensor
    probes: Tensor
    fixed: Tensor
    per_db: Tensor

    @property
    def hop(self) -> int:
        return self.size // 2


@functools.cache
def ear(sample_rate: int = SAMPLE_RATE, device: str = "cpu") -> Ear:
    """The model at a sample rate; a frame is the power of two nearest to 46 ms on a logarithmic scale."""
    size = 2 ** round(math.log2(1024 * sample_rate / SAMPLE_RATE))
    lines = np.arange(size // 2 + 1)
    hertz = lines * sample_rate / size
    hertz[0] = hertz[1]  # the formulas have no value at 0 Hz
    below = [edge for edge in BAND_EDGES_HZ if edge < sample_rate / 2]
    edges = [*np.unique(np.searchsorted(hertz, below)).tolist(), len(lines)]
    spans = list(itertools.pairwise(edges))
    reach = np.zeros(len(lines), int)
    for first, width in SURROUNDINGS:
        reach[first:-1] = width
    # The geometric mean of the numbers of a band's lines (step 4b).
    centres = [round(math.exp(np.log(np.arange(max(low, 1), high)).mean())) for low, high in spans]
    spacing = np.select([lines <= last for last, _ in DENSITY], [step for _, step in DENSITY])
    ends = np.isin(lines, edges) | np.isin(lines + 1, edges)
    probes = lines[(lines > 0) & ((lines % spacing == 0) | ends)]
    barks = bark(hertz)
    fixed, per_db = spreading_db(barks[probes] - barks[:, None])
    numbers = {
        "window": math.sqrt(8 / 3) * np.hanning(size + 1)[:-1],
        "bands": np.stack([(lines >= low) & (lines < high) for low, high in spans], axis=1).astype(float),
        "barks": barks,
        "quiet": 10 ** (np.minimum(quiet_db(hertz), DEAFEST_DB) / 10),
        "reach": reach,
        "centres": np.array(centres),
        "probes": probes,
        "fixed": (fixed * NEPERS).astype(np.float32),
        "per_db": per_db.astype(np.float32),
    }
    tensors = {name: torch.from_numpy(values).to(device) for name, values in numbers.items()}
    return Ear(size=size, edges=tuple(edges), **tensors)


def spectrum(waveform: Tensor, model: Ear) -> Tensor:
    """The frames (..., frames, lines) of waveforms (..., samples), complex.

    The first frame begins half a frame before the first sample, the last one ends beyond the last sample, so that
    every sample is in two frames.
    """
    blocks = -(-waveform.shape[-1] // model.hop)
    behind = (blocks + 1) * model.hop - waveform.shape[-1]
    framed = pad(waveform, (model.hop, behind)).unfold(-1, model.size, model.hop)
    frames: Tensor = torch.fft.rfft(framed * model.window.to(waveform.dtype))
    return frames


def resynthesise(frames: Tensor, samples: int, model: Ear) -> Tensor:
    """The waveforms (..., samples) whose `spectrum` is nearest to these frames; exactly those of a true spectrum."""
    window = model.window.to(frames.real.dtype)
    square = window.square()
    weighted: Tensor = torch.fft.irfft(frames) * (window / (square + square.roll(model.hop)))
    blocks = weighted[..., :-1, model.hop :] + weighted[..., 1:, : model.hop]
    return blocks.flatten(-2)[..., :samples]


def powers(frames: Tensor) -> Tensor:
    """Power of every line of every frame, relative to 0 dB SPL; their sum is the power of the sound (step 1)."""
    power = frames.real.square() + frames.imag.square()
    size = 2 * (frames.shape[-1] - 1)
    scale = torch.full(power.shape[-1:], 4 * 10 ** (FULL_SCALE_DB / 10) / size**2, dtype=power.dtype)
    scale[0] /= 2
    scale[-1] /= 2
    return power * scale.to(power)


def band_powers(waveform: Tensor, model: Ear) -> Tensor:
    """Power of every critical band of every frame, (..., frames, bands), relative to 0 dB SPL."""
    power = powers(spectrum(waveform, model))
    return power @ model.bands.to(power)


def threshold(waveform: Tensor, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """The masking threshold of recordings: what one critical band may hold in one frame without being heard.

    The value of a band is the lowest of its lines (step 8). So no part of a perturbation whose power in every band is
    below the threshold is above the threshold of its own line.

    A recording is taken as it is given: where steady tones begin or end abruptly, the first and last frame mask more
    than inside a longer recording.

    Args:
        waveform: (..., samples), full scale 1.
        sample_rate: In Hz.

    Returns:
        (..., frames, bands) float64, power relative to 0 dB SPL; 23 bands at 22 050 Hz.

    Raises:
        AudioError: No samples, or samples that are not finite.
    """
    _check(waveform)
    model = ear(sample_rate, str(waveform.device))
    clips = waveform.detach().double().reshape(-1, waveform.shape[-1])
    clips = clips - clips.mean(dim=1, keepdim=True)  # an offset is not heard, but would be a masker at 20 Hz
    thresholds = torch.stack(
        [_lowest(_threshold(powers(spectrum(clip, model)), model), model) for clip in clips]
    )
    return thresholds.view(*waveform.shape[:-1], *thresholds.shape[1:])


def noise_to_mask(delta: Tensor, waveform: Tensor, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Power of perturbations relative to the masking threshold of the recordings that they are added to.

    Args:
        delta: (..., samples), added to ``waveform``.
        waveform: (..., samples), full scale 1.
        sample_rate: In Hz.

    Returns:
        (..., frames, bands) float64; 1 is at the threshold.

    Raises:
        AudioError: No samples, samples that are not finite, or shapes that differ.
    """
    if delta.shape != waveform.shape:
        raise AudioError(
            f"the perturbation has shape {tuple(delta.shape)} and the waveform {tuple(waveform.shape)}; "
            "they must be equal."
        )
    _check(delta)
    model = ear(sample_rate, str(waveform.device))
    return band_powers(delta.detach().double(), model) / threshold(waveform, sample_rate)


def noise_to_mask_db(delta: Tensor, waveform: Tensor, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """The largest noise-to-mask ratio over all bands and frames, (...) float64 in dB; minus infinity for no change.

    Arguments and errors are those of `noise_to_mask`.
    """
    return 10 * noise_to_mask(delta, waveform, sample_rate).flatten(-2).amax(dim=-1).log10()


def _check(waveform: Tensor) -> None:
    if waveform.shape[-1] == 0:
        raise AudioError("the waveform contains no samples; at least one is needed.")
    if not torch.isfinite(waveform).all():
        raise AudioError("the waveform contains NaN or infinity; repair the recording.")


def _lowest(values: Tensor, model: Ear) -> Tensor:
    """The lowest value (frames, bands) of the probes (frames, probes) of every band."""
    places = torch.searchsorted(model.probes, torch.tensor(model.edges, device=values.device)).tolist()
    return torch.stack([values[:, low:high].amin(dim=1) for low, high in itertools.pairwise(places)], dim=1)


def _threshold(power: Tensor, model: Ear) -> Tensor:
    """The global threshold (frames, probes) from the power of every line (frames, lines): steps 4 to 7."""
    power[:, 0] = 0  # no masker is at 0 Hz
    is_tone = _tones(power, model)
    frame, line = torch.nonzero(is_tone, as_tuple=True)
    level = sum(power[frame, line + side] for side in (-1, 0, 1))
    assert isinstance(level, Tensor)
    noise_power = power.masked_fill(_around(is_tone, model), 0) @ model.bands
    on = _audible(frame, line, level, model)
    frame, line, level = frame[on], line[on], level[on]
    total = model.quiet[model.probes].float().repeat(len(power), 1)
    _spread(total, frame, line, level, TONE_OFFSET, model)
    frame, band = torch.nonzero(noise_power >= model.quiet[model.centres], as_tuple=True)
    _spread(total, frame, model.centres[band], noise_power[frame, band], NOISE_OFFSET, model)
    return total.double()


def _tones(power: Tensor, model: Ear) -> Tensor:
    """Where a line is a local maximum 7 dB above its surroundings (step 4a), bool (frames, lines)."""
    widest, count = int(model.reach.max()), power.shape[1]
    padded = pad(power, (widest, widest))

    def shifted(distance: int, first: int) -> Tensor:
        return padded[:, widest + distance + first : widest + distance + count]

    is_tone = (power > shifted(-1, 0)) & (power >= shifted(1, 0)) & (model.reach > 0)
    for distance in range(2, widest + 1):
        first = int(torch.nonzero(model.reach >= distance)[0])
        floor = torch.maximum(shifted(-distance, first), shifted(distance, first)) * PROMINENCE
        is_tone[:, first:] &= power[:, first:] >= floor
    return is_tone


def _around(is_tone: Tensor, model: Ear) -> Tensor:
    """The lines that belong to tones: those that a tone was compared with, bool (frames, lines)."""
    frame, line = torch.nonzero(is_tone, as_tuple=True)
    count, one = is_tone.shape[1], torch.ones((), dtype=torch.int32, device=is_tone.device)
    steps = torch.zeros(len(is_tone), count + 1, dtype=torch.int32, device=is_tone.device)
    steps.index_put_((frame, (line - model.reach[line]).clamp_min(0)), one, accumulate=True)
    steps.index_put_((frame, (line + model.reach[line] + 1).clamp_max(count)), -one, accumulate=True)
    return steps.cumsum(dim=1)[:, :count] > 0


def _audible(frame: Tensor, line: Tensor, level: Tensor, model: Ear) -> Tensor:
    """Which tones are audible in quiet and have no stronger one within half a Bark (step 5)."""
    is_audible = level >= model.quiet[line]
    on = is_audible.clone()
    place = model.barks[line]
    for ahead in range(1, len(line)):  # tones are in order of frame and line
        near, far = slice(None, -ahead), slice(ahead, None)
        is_close = (frame[near] == frame[far]) & (place[far] - place[near] < CLOSEST_BARK)
        if not is_close.any():
            break
        is_weaker = level[near] < level[far]
        on[near] &= ~(is_close & is_weaker & is_audible[far])
        on[far] &= ~(is_close & ~is_weaker & is_audible[near])
    return on


def _spread(
    total: Tensor, frame: Tensor, line: Tensor, level: Tensor, offset: tuple[float, float], model: Ear
) -> None:
    """Add the thresholds of maskers (steps 6 and 7): their own line, not their place in the list, says their Bark."""
    nepers = level.log()
    constant, slope = offset[0] * NEPERS, offset[1] * NEPERS
    height = (nepers - constant - slope * model.barks[line]).float()[:, None]
    # From here on in float32: no decision depends on it any more, and it halves the time.
    for first in range(0, len(line), MASKER_BLOCK):
        part = slice(first, first + MASKER_BLOCK)
        spread = model.per_db[line[part]].mul_(nepers[part, None].float())
        spread.add_(model.fixed[line[part]]).add_(height[part])
        total.index_add_(0, frame[part], spread.exp_())
