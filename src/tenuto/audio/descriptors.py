"""Seven descriptors of sound, each a proxy of one mid-level concept; no listener rated them.

A descriptor is one measurement (`measure`) sent to 0-1 by a logistic curve through two fixed anchors, so that the value
of a recording depends on that recording alone and keeps its rank at both ends. It points where its concept points:
1 is stepwise, staccato, complex, stable, rough, in key, minor. They are independent of any data set.

Two short-time spectra feed all of them: a fine one, of which the strongest peaks are kept (pitch, harmony,
roughness), and a fast one (level, onsets).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from tenuto.audio.loading import SAMPLE_RATE
from tenuto.errors import AudioError

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

DESCRIPTORS_VERSION = 1
"""Raised whenever the numbers of this file change: cached values and data fingerprints follow it."""

PREFIX = "signal:"

ANCHORS: dict[str, tuple[float, float]] = {
    "melodiousness": (-7.5, -3.3),
    "articulation": (3.6, 6.6),
    "rhythmic_complexity": (1.4, 3.0),
    "rhythmic_stability": (-5.5, -2.0),
    "dissonance": (0.05, 0.30),
    "tonal_stability": (0.10, 0.85),
    "modality": (-0.18, 0.10),
}
"""Measurement that becomes 0.1 and measurement that becomes 0.9; units as in `measure`. Between them is the bulk of
both film music and generated music."""

DESCRIPTORS = tuple(PREFIX + name for name in ANCHORS)
"""Names of the seven values, in order."""

FINE, FINE_HOP = 4096, 1024
FAST, FAST_HOP = 1024, 256
FINE_RATE, FAST_RATE = SAMPLE_RATE / FINE_HOP, SAMPLE_RATE / FAST_HOP
"""Frames per second."""

PEAKS = 24
PEAK_RANGE = (55.0, 5000.0)
PEAK_FLOOR = 0.01
"""Peaks kept per frame, their range in Hz, and their least share of the frame's largest bin."""

CHROMA_HIGHEST = 2000.0
LINE_RANGE = (48, 96)
LINE_HARMONICS, LINE_DECAY = 6, 0.8
LINE_FRAMES = 9
"""Pitch of the leading line: MIDI notes, harmonics summed and their decay, frames of the median filter."""

SEMITONE_STEP = 2
"""Semitones of the largest move that still counts as a step."""

ONSET_BANDS = 40
FAINTEST_ONSET = 0.006
LOCAL_FRAMES = 61
"""Bands of the onset strength, how far an onset rises above its surroundings, fast frames (0.7 s) of these."""

# C. L. Krumhansl and E. J. Kessler, Psychological Review 89, 1982: probe-tone ratings of the 12 tones in C.
MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


@dataclasses.dataclass(frozen=True)
class MeasuredSound:
    """What is measured of a waveform once for all descriptors.

    Shapes: frequency (Hz) and amplitude (0: no peak) (fine frames, 24), onset (strength) and level (dB under the
    loudest frame, not below -60) (fast frames,).
    """

    frequency: Floats
    amplitude: Floats
    onset: Floats
    level: Floats
    seconds: float


def descriptors(waveform: NDArray[np.float32]) -> Floats:
    """The seven descriptors in the order of `DESCRIPTORS`.

    Args:
        waveform: (samples,) at 22 050 Hz, of any length and level; a few seconds of music make the values meaningful.

    Returns:
        (7,) float64 in 0-1.

    Raises:
        AudioError: There are no samples, several channels, or samples that are not finite.
    """
    low, high = np.array(list(ANCHORS.values())).T
    values: Floats = 1 / (1 + 9 ** (1 - 2 * (measure(waveform) - low) / (high - low)))
    return values


def measure(waveform: NDArray[np.float32]) -> Floats:
    """The measurements behind `descriptors`, shape (7,), each in its own unit (see the functions below)."""
    sound = listen(waveform)
    return np.array(
        [
            clear_steps(sound),
            decay_rate(sound),
            event_density(sound),
            interval_likeness(sound),
            roughness(sound),
            key_adherence(sound),
            minor_over_major(sound),
        ]
    )


def listen(waveform: NDArray[np.float32]) -> MeasuredSound:
    """Spectral peaks, onset strength and level of a waveform (samples,), scaled to peak 1.

    Raises:
        AudioError: There are no samples, several channels, or samples that are not finite.
    """
    if np.ndim(waveform) != 1 or np.size(waveform) == 0:
        raise AudioError(
            f"the waveform has shape {np.shape(waveform)}; it must be (samples,) with a sample at least. Mix it down."
        )
    if not np.isfinite(waveform).all():
        raise AudioError("the waveform contains NaN or infinity. Repair the recording.")
    scaled = np.asarray(waveform, np.float32) / np.float32(
        max(float(np.abs(waveform).max(initial=0.0)), 1e-9)
    )
    frequency, amplitude = _peaks(_spectrum(scaled, FINE, FINE_HOP))
    fast = _spectrum(scaled, FAST, FAST_HOP)
    energy = np.square(fast).sum(axis=1)
    level = 10 * np.log10(energy / max(float(energy.max()), 1e-12) + 1e-6)
    return MeasuredSound(frequency, amplitude, _onset_strength(fast), level, len(scaled) / SAMPLE_RATE)


def clear_steps(sound: MeasuredSound) -> float:
    """Melodiousness: log2 of the share of stepwise moves of the leading line, times the line's share of the salience.

    The line is the semitone of largest harmonic sum in each frame (A. Klapuri, "Multiple fundamental frequency
    estimation by summing harmonic amplitudes", ISMIR 2006, here with weights 0.8^(h-1)), median-filtered over nine
    frames (0.4 s). Small intervals bind tones into a line: D. Huron, "Tone and voice", Music Perception 19, 2001 (pitch
    proximity). One step among four moves is presumed, so that a line with very few moves is neither.
    """
    from scipy.ndimage import gaussian_filter1d, median_filter

    salience = _salience(sound)
    leading = salience.max(axis=1).sum() / max(salience.sum(), 1e-9)
    smooth = gaussian_filter1d(salience, 1.0, axis=0)
    line = median_filter(smooth.argmax(axis=1)[smooth.max(axis=1) > 0], LINE_FRAMES, mode="nearest")
    moves = np.abs(np.diff(line))
    stepwise = (np.sum((moves > 0) & (moves <= SEMITONE_STEP)) + 1) / (np.sum(moves > 0) + 4)
    return float(np.log2(stepwise) + np.log2(max(leading, 1e-3)))


def decay_rate(sound: MeasuredSound) -> float:
    """Articulation: log2 of the mean rate, in dB per second, at which the level falls wherever it falls.

    Detached notes end in silence, legato notes hold their level until the next: R. Bresin and G. Umberto Battel,
    "Articulation strategies in expressive piano performance", Journal of New Music Research 29, 2000.
    """
    from scipy.ndimage import gaussian_filter1d

    slope = np.diff(gaussian_filter1d(sound.level, 2.0)) * FAST_RATE
    falling = slope[slope < 0]
    return float(np.log2(max(-falling.mean(), 1.0))) if len(falling) else 0.0


def event_density(sound: MeasuredSound) -> float:
    """Rhythmic complexity: log2 of the number of onsets per second, weak ones included.

    Event density as in O. Lartillot and P. Toiviainen, "MIR in Matlab (II)", ISMIR 2007. Onsets of all voices are
    counted, which syncopation multiplies, since the voices no longer begin together. The crudest of the seven: a plain
    but fast rhythm counts as complex, too.
    """
    onsets = _onsets(sound, FAINTEST_ONSET)
    return float(np.log2(len(onsets) / sound.seconds + 0.25))


def interval_likeness(sound: MeasuredSound) -> float:
    """Rhythmic stability: log2 of the mean likeness of two inter-onset intervals of the clip.

    Likeness is exp(-d^2 / 2 w^2) of the distance d of two intervals in octaves, w = 0.08 (a change of 6 %): 1 in an
    even pulse, small where no interval comes back. It is the collision form of the entropy of intervals, which does
    not grow with the length of the clip. O. Lartillot et al., "Multi-feature modeling of pulse clarity", ISMIR 2008,
    use the autocorrelation of onset strength instead.
    """
    spacing = np.diff(_onsets(sound, 0.25 * float(np.percentile(sound.onset, 98)))) / FAST_RATE
    if len(spacing) < 3:
        return ANCHORS["rhythmic_stability"][0]  # no pulse to speak of
    octaves = np.log2(spacing)
    likeness = np.exp(-0.5 * np.square((octaves[:, None] - octaves) / 0.08))
    count = len(octaves)
    return float(np.log2(max((likeness.sum() - count) / (count * (count - 1)), 1e-3)))


def roughness(sound: MeasuredSound) -> float:
    """Dissonance: sensory roughness of the spectral peaks over their amplitude, summed over frames.

    R. Plomp and W. Levelt, JASA 38, 1965, in the form of W. Sethares, JASA 94, 1993: every pair of partials adds
    min(a1, a2) (exp(-3.5 s d) - exp(-5.75 s d)), with d their distance in Hz and s = 0.24 / (0.0207 f1 + 18.96).
    """
    frequency, amplitude = sound.frequency, sound.amplitude
    distance = np.abs(frequency[:, :, None] - frequency[:, None, :])
    lower = np.minimum(frequency[:, :, None], frequency[:, None, :])
    scaled = distance * 0.24 / (0.0207 * lower + 18.96)
    weaker = np.minimum(amplitude[:, :, None], amplitude[:, None, :])
    rough = weaker * (np.exp(-3.5 * scaled) - np.exp(-5.75 * scaled))
    return float(0.5 * rough.sum() / max(amplitude.sum(), 1e-9))


def key_adherence(sound: MeasuredSound) -> float:
    """Tonal stability: mean correlation of each second's chroma with the profile of the clip's best key.

    Key finding by Krumhansl-Schmuckler correlation (C. L. Krumhansl, "Cognitive foundations of musical pitch", 1990);
    compare E. Gomez, "Tonal description of polyphonic audio", INFORMS Journal on Computing 18, 2006.
    """
    chroma = _chroma(sound)
    key = int(_key_strengths(chroma.sum(axis=0)).argmax())
    return float(_key_strengths(_gathered(chroma, 1.0)).reshape(-1, 24)[:, key].mean())


def minor_over_major(sound: MeasuredSound) -> float:
    """Modality: how much better the best minor key fits than the best major key, mean over half seconds.

    "Majorness" turned round: O. Lartillot and P. Toiviainen, "MIR in Matlab (II)", ISMIR 2007. Taken over half a second
    it hears the chords, not only the scale.
    """
    best = _key_strengths(_gathered(_chroma(sound), 0.5)).max(axis=2)
    return float((best[:, 1] - best[:, 0]).mean())


def _spectrum(waveform: NDArray[np.float32], size: int, hop: int) -> Floats:
    """Magnitudes (frames, size / 2 + 1) under a Hann window; a sine of amplitude 1 has 1."""
    padded = np.pad(waveform, (0, max(0, size - len(waveform))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = (np.hanning(size) * 4 / size).astype(np.float32)
    return np.abs(np.fft.rfft(frames * window, axis=1)).astype(np.float64)


def _peaks(magnitude: Floats) -> tuple[Floats, Floats]:
    """Frequencies and amplitudes of the strongest local maxima, each (frames, 24), refined by a parabola in log."""
    spacing = SAMPLE_RATE / FINE
    inner, bins = magnitude[:, 1:-1], np.arange(1, magnitude.shape[1] - 1) * spacing
    high = inner > PEAK_FLOOR * np.maximum(magnitude.max(axis=1, keepdims=True), 1e-9)
    high &= (inner > magnitude[:, :-2]) & (inner >= magnitude[:, 2:])
    high &= (bins >= PEAK_RANGE[0]) & (bins <= PEAK_RANGE[1])
    heights = np.where(high, inner, 0.0)
    place = np.argsort(-heights, axis=1, kind="stable")[:, :PEAKS]
    logs = np.log(magnitude + 1e-12)
    left, middle, right = (np.take_along_axis(logs, place + shift, 1) for shift in (0, 1, 2))
    bend = np.minimum(left - 2 * middle + right, -1e-9)
    offset = np.clip(0.5 * (left - right) / bend, -0.5, 0.5)
    return (place + 1 + offset) * spacing, np.take_along_axis(heights, place, 1)


def _onset_strength(magnitude: Floats) -> Floats:
    """Spectral flux per fast frame: mean rise of the log magnitude over 40 logarithmic bands.

    S. Boeck, F. Krebs, M. Schedl, "Evaluating the online capabilities of onset detection methods", ISMIR 2012.
    """
    frequency = np.arange(magnitude.shape[1]) * SAMPLE_RATE / FAST
    edges = np.geomspace(40.0, 10_000.0, ONSET_BANDS + 2)
    below, centre, above = edges[:-2], edges[1:-1], edges[2:]
    rise = (frequency[:, None] - below) / (centre - below)
    fall = (above - frequency[:, None]) / (above - centre)
    weights = np.minimum(rise, fall).clip(0)
    empty = np.flatnonzero(weights.sum(axis=0) == 0)
    weights[np.abs(frequency[:, None] - centre[empty]).argmin(axis=0), empty] = 1.0
    bands = magnitude @ (weights / weights.sum(axis=0))
    logs = np.log10(1 + 1000 * bands / max(float(bands.max()), 1e-9))
    return np.concatenate([[0.0], np.maximum(np.diff(logs, axis=0), 0).mean(axis=1)])


def _onsets(sound: MeasuredSound, threshold: float) -> Places:
    """Fast frames at which a note begins: peaks of the onset strength by ``threshold`` above their surroundings."""
    from scipy.ndimage import gaussian_filter1d, maximum_filter1d, uniform_filter1d

    strength = gaussian_filter1d(sound.onset, 1.0)
    peak = maximum_filter1d(strength, 9) == strength
    return np.flatnonzero(
        peak & (strength > uniform_filter1d(strength, LOCAL_FRAMES) + max(threshold, FAINTEST_ONSET))
    )


def _pitch(frequency: Floats) -> Floats:
    """MIDI note numbers, fractions kept."""
    return 69 + 12 * np.log2(np.maximum(frequency, 20.0) / 440)


def _chroma(sound: MeasuredSound) -> Floats:
    """Pitch classes (fine frames, 12) from C: roots of peak amplitudes, the less the more a peak is out of tune."""
    pitch = _pitch(sound.frequency)
    near = np.round(pitch)
    weight = np.sqrt(sound.amplitude) * np.cos(0.9 * np.pi * (pitch - near)) ** 2
    weight[sound.frequency > CHROMA_HIGHEST] = 0
    return _summed(near.astype(np.int64) % 12, weight, 12)


def _salience(sound: MeasuredSound) -> Floats:
    """Harmonic sum per semitone of `LINE_RANGE`, (fine frames, 48)."""
    lowest, highest = LINE_RANGE
    pitch, count = _pitch(sound.frequency), highest - lowest
    salience = np.zeros((len(pitch), count))
    for harmonic in range(1, LINE_HARMONICS + 1):
        place = pitch - 12 * np.log2(harmonic) - lowest
        near = np.round(place).astype(np.int64)
        weight = sound.amplitude * LINE_DECAY ** (harmonic - 1) * np.cos(0.8 * np.pi * (place - near)) ** 2
        weight[(near < 0) | (near >= count)] = 0
        salience += _summed(near.clip(0, count - 1), weight, count)
    return salience


def _summed(column: Places, weight: Floats, columns: int) -> Floats:
    """Weights (frames, 24) added up by the column each belongs to: (frames, columns)."""
    frames = len(column)
    flat = (np.arange(frames)[:, None] * columns + column).ravel()
    summed: Floats = np.bincount(flat, weight.ravel(), frames * columns).astype(np.float64)
    return summed.reshape(frames, columns)


def _gathered(chroma: Floats, seconds: float) -> Floats:
    """Chroma summed over stretches of about so many seconds, (stretches, 12); silent stretches are left out."""
    parts = max(1, round(len(chroma) / (seconds * FINE_RATE)))
    sums = np.array([part.sum(axis=0) for part in np.array_split(chroma, parts)])
    sounding = sums.sum(axis=1) > 0
    return sums[sounding] if sounding.any() else sums[:1]


def _key_strengths(chroma: Floats) -> Floats:
    """Pearson's r of chroma (..., 12) with the 12 major and 12 minor profiles: (..., 2, 12)."""
    profiles = np.array(
        [[np.roll(mode, tonic) for tonic in range(12)] for mode in (MAJOR_PROFILE, MINOR_PROFILE)]
    )
    scaled: Floats = np.einsum("...c,mtc->...mt", _standard(chroma), _standard(profiles))
    return scaled


def _standard(values: Floats) -> Floats:
    """Rows centred and scaled to length 1; zero where they do not vary."""
    centred = values - values.mean(axis=-1, keepdims=True)
    scaled: Floats = centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-9)
    return scaled
