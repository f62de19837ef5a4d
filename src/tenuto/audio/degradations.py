"""What happens to recordings on their way to a listener: filters, rooms, noise, and changes of pitch and tempo.

Every function takes a mono waveform (samples,) and returns one of the same length in which every sample keeps its
place. They use NumPy, SciPy and soxr, which Tenuto needs anyway. Randomness comes from the generator that is passed,
so the same seed gives the same result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

Waveform = NDArray[np.floating[Any]]
Samples = NDArray[np.float64]
Density = Callable[[Samples], Samples]

FILTER_ORDER = 8
"""Of the Butterworth low-pass: 48 dB per octave above the cut-off frequency."""

OCTAVES = (62.5, 125.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
"""Centres of the equaliser's bands in Hz (IEC 61260, rounded)."""

ROOM_VOLUME, SOURCE_DISTANCE = 200.0, 1.0
"""Of the synthetic room, a lecture room: cubic metres, and metres from the source to the microphone."""

LOWEST_HERTZ = 20.0
"""Noise has no power below."""

SPEECH_HERTZ = (
    *(63, 80, 100, 125, 160, 200, 250, 315, 400, 500, 630, 800, 1000, 1250, 1600, 2000, 2500, 3150, 4000),
    *(5000, 6300, 8000, 10000, 12500, 16000),
)
SPEECH_DB = (
    *(38.6, 43.5, 54.4, 57.7, 56.8, 60.2, 60.3, 59.0, 62.1, 62.1, 60.5, 56.8, 53.7, 53.0, 52.0, 48.7),
    *(48.1, 46.8, 45.6, 44.5, 44.3, 43.7, 43.4, 41.3, 40.7),
)
"""Long-term average level of speech in third octaves, dB (Byrne et al. 1994, JASA 96, combined talkers)."""

TALKERS = 6
SYLLABLES_HERTZ = 4.0
"""Rate at which the envelope of speech varies most (Houtgast and Steeneken 1985, JASA 77)."""

CONTROL_HERTZ = 64
"""Sample rate of envelopes."""

FRAME_SECONDS = 0.093
"""Frame of the phase vocoder, rounded to a power of two samples."""

OVERLAP = 4


def gain(waveform: Waveform, decibels: float) -> Samples:
    """The waveform louder (above 0) or quieter by decibels; peaks are not clipped."""
    return waveform.astype(np.float64) * 10 ** (decibels / 20)


def low_pass(waveform: Waveform, rate: int, hertz: float) -> Samples:
    """Without what is above a frequency: the magnitude of a Butterworth filter of order 8, -3 dB at ``hertz``.

    Args:
        waveform: (samples,).
        rate: Samples per second.
        hertz: The cut-off frequency.
    """
    frequencies = _frequencies(waveform, rate)
    return _filtered(waveform, 1 / np.sqrt(1 + (frequencies / hertz) ** (2 * FILTER_ORDER)))


def equalise(waveform: Waveform, rate: int, decibels: NDArray[np.float64]) -> Samples:
    """A graphic equaliser without delay: a gain for each band of `OCTAVES`, interpolated over log frequency.

    Args:
        waveform: (samples,).
        rate: Samples per second.
        decibels: (8,), the gains at the centres of the bands; the outer ones continue to both sides.
    """
    octave = np.log2(np.maximum(_frequencies(waveform, rate), 1.0))
    return _filtered(waveform, 10 ** (np.interp(octave, np.log2(OCTAVES), decibels) / 20))


def _padded_size(waveform: Waveform) -> int:
    """Room for what a filter rings before and after the waveform."""
    return int(fft.next_fast_len(len(waveform) + 4096, real=True))


def _frequencies(waveform: Waveform, rate: int) -> Samples:
    return np.asarray(fft.rfftfreq(_padded_size(waveform), 1 / rate), np.float64)


def _filtered(waveform: Waveform, response: Samples) -> Samples:
    size = _padded_size(waveform)
    spectrum = fft.rfft(waveform.astype(np.float64), size)
    return np.asarray(fft.irfft(spectrum * response, size)[: len(waveform)], np.float64)


# Rooms


def room_response(seconds: float, rate: int, random: np.random.Generator) -> Samples:
    """The response of a synthetic room: the direct sound, then noise that decays by 60 dB in ``seconds``.

    The tail is Gaussian noise under an exponential envelope (Polack 1988; Moorer 1979, Comput. Music J. 3). Its energy
    relative to the direct sound is that of a diffuse field, (distance / critical distance)^2 with the critical distance
    0.057 sqrt(volume / seconds) metres (Kuttruff, Room Acoustics), for a room of 200 cubic metres and 1 m distance.

    Args:
        seconds: Reverberation time T60.
        rate: Samples per second.
        random: Draws the tail.

    Returns:
        (samples,), the direct sound is sample 0 and 1.
    """
    time = np.arange(1, math.ceil(seconds * rate)) / rate
    tail = random.standard_normal(len(time)) * 10 ** (-3 * time / seconds)
    critical = 0.057 * math.sqrt(ROOM_VOLUME / seconds)
    tail *= SOURCE_DISTANCE / critical / math.sqrt(np.square(tail).sum())
    return np.concatenate([[1.0], tail])


def reverberate(waveform: Waveform, response: Samples) -> Samples:
    """The waveform in a room with this response (samples,); what follows the waveform's end is cut off."""
    full = signal.oaconvolve(waveform.astype(np.float64), response)
    return np.asarray(full[: len(waveform)], np.float64)


# Noise


def white_noise(size: int, rate: int, random: np.random.Generator) -> Samples:
    """Gaussian noise of power 1 with the same power at every frequency up to half the sample rate."""
    return random.standard_normal(size)


def pink_noise(size: int, rate: int, random: np.random.Generator) -> Samples:
    """Gaussian noise of power 1 whose power density falls as 1 / frequency, from 20 Hz on: 3 dB per octave."""
    return _unit(_shaped(size, rate, random, _pink)[:size])


def crowd_noise(size: int, rate: int, random: np.random.Generator) -> Samples:
    """Noise of power 1 like the voices of a small crowd: the spectrum of speech and the rhythm of syllables.

    Gaussian noise with the long-term spectrum of speech (`SPEECH_DB`). The level of every octave varies as the sum of
    six talkers, each with random pauses and an envelope that varies most at 4 Hz, partly common to all octaves. Words
    cannot be recognised, as in the noises of Dreschler et al. 2001 (Audiology 40).
    """
    noise = _shaped(size, rate, random, _speech)
    spectrum, frequencies = fft.rfft(noise), fft.rfftfreq(len(noise), 1 / rate)
    band = np.rint(np.log2(np.maximum(frequencies, 1.0) / OCTAVES[0])).clip(0, len(OCTAVES) - 1)
    common = _modulators(len(noise) / rate, random)
    control = np.arange(common.shape[1]) / CONTROL_HERTZ
    time, crowd = np.arange(len(noise)) / rate, np.zeros(len(noise))
    for number in range(len(OCTAVES)):
        own = _modulators(len(noise) / rate, random)
        power = np.square(np.maximum(common + own, 0) / math.sqrt(2)).mean(axis=0)
        voices = fft.irfft(np.where(band == number, spectrum, 0), len(noise))
        crowd += voices * np.interp(time, control, np.sqrt(power))
    return _unit(crowd[:size])


def add_noise(waveform: Waveform, noise: Samples, decibels: float, power: float) -> Samples:
    """The waveform with noise of power 1, added ``decibels`` below a signal of this power."""
    return waveform.astype(np.float64) + noise * math.sqrt(power / 10 ** (decibels / 10))


def _modulators(seconds: float, random: np.random.Generator) -> Samples:
    """A Gaussian series of power 1 for each talker, (talkers, control samples), that varies most at 4 Hz."""
    length = math.ceil((seconds + 1) * CONTROL_HERTZ)
    frequencies = np.maximum(fft.rfftfreq(length, 1 / CONTROL_HERTZ), 1e-3)
    shape = np.exp(-0.5 * np.log2(frequencies / SYLLABLES_HERTZ) ** 2)
    noise = random.standard_normal((TALKERS, length))
    slow = np.asarray(fft.irfft(fft.rfft(noise) * shape, length), np.float64)
    return np.asarray(slow / np.sqrt(np.square(slow).mean(axis=1, keepdims=True)), np.float64)


def _pink(frequencies: Samples) -> Samples:
    return 1 / frequencies


def _speech(frequencies: Samples) -> Samples:
    """Power density: the level of a third octave divided by its width, which grows as the frequency."""
    levels = np.interp(np.log(frequencies), np.log(SPEECH_HERTZ), SPEECH_DB)
    return 10 ** (levels / 10) / frequencies


def _shaped(size: int, rate: int, random: np.random.Generator, density: Density) -> Samples:
    """At least ``size`` samples of noise with this power density over frequency, and none below `LOWEST_HERTZ`."""
    length = int(fft.next_fast_len(size, real=True))
    frequencies = fft.rfftfreq(length, 1 / rate)
    magnitude = np.sqrt(density(np.maximum(frequencies, LOWEST_HERTZ))) * (frequencies >= LOWEST_HERTZ)
    return np.asarray(fft.irfft(fft.rfft(random.standard_normal(length)) * magnitude, length), np.float64)


def _unit(noise: Samples) -> Samples:
    """Noise of power 1; all zeros stay."""
    power = float(np.square(noise).mean())
    return noise / math.sqrt(power) if power else noise


NOISES: dict[str, Callable[[int, int, np.random.Generator], Samples]] = {
    "white": white_noise,
    "pink": pink_noise,
    "crowd": crowd_noise,
}
"""Kind -> noise of power 1, of a number of samples at a sample rate."""

# Pitch and tempo


def change_tempo(waveform: Waveform, rate: int, factor: float, centre: float) -> Samples:
    """The waveform ``factor`` times as fast, at the same pitch; the music at sample ``centre`` stays there.

    Where a faster waveform ends early, silence follows.
    """
    return _stretched(waveform, rate, 1 / factor, centre, len(waveform))


def change_pitch(waveform: Waveform, rate: int, factor: float) -> Samples:
    """The waveform with all frequencies times ``factor``, in the same time."""
    import soxr

    longer = _stretched(waveform, rate, factor, 0.0, math.ceil(len(waveform) * factor) + 1)
    result = np.asarray(soxr.resample(longer, rate * factor, rate), np.float64)[: len(waveform)]
    return np.pad(result, (0, len(waveform) - len(result)))


def _stretched(waveform: Waveform, rate: int, ratio: float, fixed: float, size: int) -> Samples:
    """The waveform ``ratio`` times as long at the same pitch: a phase vocoder with identity phase locking.

    Output sample ``fixed + t * ratio`` is what the input holds at ``fixed + t``. Every frame is analysed twice, one
    hop apart, so the phase that a bin gains within a hop is measured, not unwrapped. Peaks of the spectrum carry the
    phase on; the bins around a peak keep their phases relative to it, as in the input (Laroche and Dolson 1999,
    IEEE Trans. Speech Audio Process. 7). A ratio of 1 returns the input.

    Args:
        waveform: (samples,).
        rate: Samples per second.
        ratio: Output seconds per input second.
        fixed: The sample that keeps its place.
        size: Samples of the output.
    """
    frame = 2 ** round(math.log2(FRAME_SECONDS * rate))
    hop = frame // OVERLAP
    window = signal.get_window("hann", frame).astype(np.float32)
    centres = hop * np.arange(-OVERLAP // 2, math.ceil(size / hop) + OVERLAP // 2 + 1)
    places = np.rint(fixed + (centres - fixed) / ratio).astype(int) - frame // 2
    before, after = max(0, hop - int(places[0])), max(0, int(places[-1]) + frame - len(waveform))
    padded = np.pad(waveform.astype(np.float32), (before, after))
    views = np.lib.stride_tricks.sliding_window_view(padded, frame)
    spectra = fft.rfft(views[places + before] * window)
    earlier = fft.rfft(views[places + before - hop] * window)
    frames = fft.irfft(_locked(spectra, earlier), frame) * window
    joined = np.zeros((len(frames) + OVERLAP - 1) * hop)
    for part in range(OVERLAP):
        joined[part * hop : (part + len(frames)) * hop] += frames[:, part * hop : (part + 1) * hop].ravel()
    begin = frame // 2 - int(centres[0])
    return joined[begin : begin + size] / (OVERLAP * 3 / 8)  # the squared windows sum to that


def _locked(spectra: NDArray[Any], earlier: NDArray[Any]) -> NDArray[Any]:
    """Frames (frames, bins) whose phases continue from one to the next; ``earlier``: the input a hop before each."""
    peaks = _nearest_peaks(np.abs(spectra))
    result = spectra.copy()
    for row in range(1, len(spectra)):
        peak = peaks[row]
        turn = result[row - 1, peak] * earlier[row, peak].conj()
        size = np.abs(turn)
        turn[size == 0] = 1
        size[size == 0] = 1
        result[row] *= turn / size
    return result


def _nearest_peaks(magnitudes: NDArray[Any]) -> NDArray[np.intp]:
    """For every bin (frames, bins) the nearest that is larger than two on either side; itself where there is none."""
    bins = magnitudes.shape[1]
    inner = magnitudes[:, 2:-2]
    is_peak = np.zeros(magnitudes.shape, bool)
    is_peak[:, 2:-2] = np.logical_and.reduce(
        [inner > magnitudes[:, shift : bins - 4 + shift] for shift in (0, 1, 3, 4)]
    )
    own, far = np.arange(bins, dtype=np.int32), np.int32(4 * bins)
    below = np.maximum.accumulate(np.where(is_peak, own, -far), axis=1)
    above = np.minimum.accumulate(np.where(is_peak, own, far)[:, ::-1], axis=1)[:, ::-1]
    nearest = np.where(own - below <= above - own, below, above)
    return np.where((nearest < 0) | (nearest >= bins), own, nearest)
