"""A changed log spectrogram back to sound: the filterbank inverted, the phase kept, the frames joined.

Three steps lead from 149 bands back to samples.

1. Bands to bins. Find magnitudes m >= 0 of 1024 bins whose filtered values are the given bands: a non-negative
   least-squares problem. Every filter peaks in a bin that no other filter sees, so it always has solutions without
   any residual, and because there are more bins than bands it has many. Of these, take the one nearest to the
   recording's own magnitudes in relative entropy, by simultaneous multiplicative iterations that start from the
   recording (J. N. Darroch, D. Ratcliff, "Generalized iterative scaling for log-linear models", Ann. Math. Stat. 43,
   1972; as an image reconstruction C. L. Byrne, IEEE Trans. Image Process. 2, 1993). The change is then an equaliser
   whose curve is straight, in decibels, from band centre to band centre, and what no filter sees stays as it is.
2. Every bin keeps its phase.
3. Frames are joined by least squares (D. W. Griffin, J. S. Lim, IEEE Trans. ASSP 32, 1984, eq. 6), here with a hop
   that is no whole number: frame k begins at sample floor(k * hop). Frames that were not changed take part as they are.

Frames overlap, so not every spectrogram belongs to a sound: the spectrogram of the rendered sound is near the target
spectrogram, not equal to it.
"""

from __future__ import annotations

import dataclasses
import io
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenuto.audio.loading import FULL_SCALE, SAMPLE_RATE
from tenuto.audio.spectrogram import FRAME_SIZE, HOP, filterbank, frame_count, frame_starts
from tenuto.errors import AudioError, ConfigError, counted

Values = NDArray[np.float64]
Samples = NDArray[np.int16]

BINS = FRAME_SIZE // 2

MOST_ITERATIONS = 200
ENOUGH = 1e-5
"""Root mean square difference of log10(1 + x) between the bands of a frame and its target, at which it is done."""

FLOOR = 1e-9
"""Magnitude given to a bin that is silent, so that it can be multiplied; 16 bits begin far above it."""

LEAST_WEIGHT = 0.1
"""Sum of squared windows (1.09 on average) below which a change is faded in: over the first 390 samples of a recording,
which only the edge of one window sees, a division by almost nothing would make a click."""

LOSSLESS_KINDS = ("wav", "flac")
"""Files that hold 16-bit samples as they are: a lossy one can change a sound as much as an attack does."""


@dataclasses.dataclass(frozen=True)
class Rendering:
    """A rendered sound and how well its bins match the target bands.

    Attributes:
        waveform: (samples,), float32, 22 050 Hz, as long as the recording.
        residual: Root mean square difference between the bands of the new magnitudes and the target, in units of
            log10(1 + x), before frames are joined. Only values below silence, which no sound has, keep it up.
        iterations: Iterations of the frame that needed most.
    """

    waveform: NDArray[np.float32]
    residual: float
    iterations: int


def band_centres() -> Values:
    """Frequency in Hz at which each of the 149 filters peaks, (149,)."""
    return np.asarray(filterbank().argmax(axis=0) * (SAMPLE_RATE / FRAME_SIZE))


def reach(first: int, count: int, samples: int) -> slice:
    """The samples that frames ``first`` to ``first + count`` of a recording of ``samples`` samples see."""
    begin, last = frame_starts(first, count)[[0, -1]]
    return slice(int(begin), min(int(last) + FRAME_SIZE, samples))


def render(waveform: ArrayLike, spectrogram: ArrayLike, first: int = 0) -> Rendering:
    """Change a recording so that its log spectrogram comes near to a given one.

    Args:
        waveform: The recording, (samples,), 22 050 Hz.
        spectrogram: The target log10(1 + x), (frames, 149), not normalised. Values below 0 count as silence.
        first: The frame of the recording at which these frames begin; all others stay as they are.

    Raises:
        AudioError: Wrong shapes, or values that are not finite.
    """
    sound, target = np.asarray(waveform, np.float64), np.asarray(spectrogram, np.float64)
    _check(sound, target, first)
    starts = frame_starts(first, len(target))
    index = starts[:, None] + np.arange(FRAME_SIZE)
    padded = np.pad(sound, (0, max(0, int(index[-1, -1]) + 1 - len(sound))))
    spectra = np.fft.rfft(padded[index] * np.hanning(FRAME_SIZE))[:, :BINS]
    old = np.abs(spectra)
    new, residual, iterations = invert(old, target)
    # A silent bin has no phase: it gets that of a click in the middle of the frame, where the window passes it.
    click = np.where(np.arange(BINS) % 2, -1.0, 1.0)
    phase = np.divide(spectra, old, out=np.broadcast_to(click + 0j, spectra.shape).copy(), where=old > 0)
    change = np.fft.irfft(np.pad(new * phase - spectra, ((0, 0), (0, 1))))
    joined = _overlap_add(change * np.hanning(FRAME_SIZE), starts, len(sound))
    joined /= np.maximum(_weights(len(sound), first, len(target)), LEAST_WEIGHT)
    return Rendering((sound + joined).astype(np.float32), residual, iterations)


def invert(magnitude: ArrayLike, spectrogram: ArrayLike) -> tuple[Values, float, int]:
    """Magnitudes of all bins whose bands equal the target, nearest to given magnitudes in relative entropy.

    Args:
        magnitude: (frames, 1024), >= 0, where to start.
        spectrogram: The target log10(1 + band), (frames, 149).

    Returns:
        Magnitudes (frames, 1024), and residual and iterations as in `Rendering`.
    """
    from scipy import sparse

    filters = filterbank()
    # Scaled to a peak of 1 the triangles that share a bin add up to 1 there: the condition for convergence.
    gather, spread = sparse.csr_array(filters.T), sparse.csr_array(filters / filters.max(axis=0))
    log_bands = np.asarray(spectrogram, np.float64).T
    sounding = np.maximum(log_bands, 0.0)
    target = np.maximum(10.0**sounding - 1, FLOOR)
    bins = np.maximum(np.asarray(magnitude, np.float64).T, FLOOR)
    open_frames, iterations = np.arange(bins.shape[1]), 0
    while True:
        bands = gather @ bins[:, open_frames]
        # Every frame ends by itself, so that it does not matter which frames it is inverted with.
        far = _distance(np.log10(1 + bands), sounding[:, open_frames]) > ENOUGH
        open_frames, bands = open_frames[far], bands[:, far]
        if not len(open_frames) or iterations == MOST_ITERATIONS:
            return bins.T, float(_distance(np.log10(1 + gather @ bins), log_bands, axis=None)), iterations
        bins[:, open_frames] *= np.exp(spread @ np.log(target[:, open_frames] / np.maximum(bands, FLOOR)))
        iterations += 1


def to_16_bit(*waveforms: NDArray[np.float32]) -> tuple[tuple[Samples, ...], float]:
    """Waveforms (samples,) as 16-bit samples, all with one gain, so that they can be compared by ear.

    Returns:
        The samples and the gain: 1, or less where a waveform would not fit otherwise.
    """
    peak = max((float(np.abs(waveform).max(initial=0.0)) for waveform in waveforms), default=0.0)
    gain = 1.0 / max(1.0, peak)
    scaled = (np.rint(waveform.astype(np.float64) * (gain * FULL_SCALE)) for waveform in waveforms)
    return tuple(samples.astype(np.int16) for samples in scaled), gain


def encode(samples: Samples, kind: str, rate: int = SAMPLE_RATE) -> bytes:
    """16-bit samples (samples,) at ``rate`` Hz as the content of a ``wav`` or ``flac`` file, which holds just these.

    Raises:
        ConfigError: Another kind.
    """
    import soundfile

    if kind not in LOSSLESS_KINDS:
        raise ConfigError(f"a sound cannot be written as {kind!r}. Valid: {', '.join(LOSSLESS_KINDS)}.")
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=kind.upper(), subtype="PCM_16")
    return stream.getvalue()


def snr_db(original: ArrayLike, changed: ArrayLike) -> float:
    """Energy of a waveform (samples,) over that of its change, in dB; infinite where nothing changed."""
    before, after = np.asarray(original, np.float64), np.asarray(changed, np.float64)
    signal, noise = float(np.square(before).sum()), float(np.square(after - before).sum())
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")


def _weights(samples: int, first: int, count: int) -> Values:
    """Sum of squared windows at each sample: of the changed frames and of all that overlap them."""
    around = math.ceil(FRAME_SIZE / HOP)
    begin, end = max(0, first - around), min(frame_count(samples), first + count + around)
    squares = np.broadcast_to(np.hanning(FRAME_SIZE) ** 2, (end - begin, FRAME_SIZE))
    return _overlap_add(squares, frame_starts(begin, end - begin), samples)


def _overlap_add(frames: Values, starts: NDArray[np.int64], samples: int) -> Values:
    """Frames (count, 2048) added up where they belong, cut to the recording's length, (samples,)."""
    index = starts[:, None] + np.arange(FRAME_SIZE)
    return np.asarray(np.bincount(index.ravel(), frames.ravel(), minlength=samples)[:samples], np.float64)


def _distance(first: Values, second: Values, axis: int | None = 0) -> Values:
    """Root mean square difference of (bands, frames): of each frame, or of all together."""
    return np.asarray(np.sqrt(np.square(first - second).mean(axis=axis)))


def _check(sound: Values, target: Values, first: int) -> None:
    """Raise `AudioError` for shapes that do not fit each other, and for values that are not finite."""
    bands = filterbank().shape[1]
    if sound.ndim != 1 or target.ndim != 2 or target.shape[1] != bands:
        raise AudioError(
            f"the waveform must have the shape (samples,) and the spectrogram (frames, {bands}), "
            f"got {sound.shape} and {target.shape}."
        )
    frames, last = frame_count(len(sound)), first + len(target)
    if not (len(target) and 0 <= first <= frames - len(target)):
        raise AudioError(
            f"frames {first} to {last} are not in a waveform of {counted(frames, 'frame')}. Give the waveform "
            "they were cut from."
        )
    if not (np.isfinite(sound).all() and np.isfinite(target).all()):
        raise AudioError(
            "the waveform or the spectrogram contains NaN or infinite values. Remove them first."
        )
