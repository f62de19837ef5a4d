"""Audio file to waveform, the way the study's front end did it (REFERENCE: step 1 of the spectrogram).

The order matters: the samples are rounded to 16 bits *before* they are scaled to full range and trimmed.
Trimming unrounded samples would leave tails of nearly silent samples and move every frame behind them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenuto.audio.mpeg import missing_bytes
from tenuto.errors import AudioError
from tenuto.files import read_bytes

SAMPLE_RATE = 22_050
"""Samples per second of every waveform in Tenuto."""

FULL_SCALE = 32_767
"""Largest 16-bit sample."""

EXTENSIONS = (".mp3", ".wav", ".flac", ".ogg")
"""File types that are looked for in folders."""


def load_audio(path: str | Path) -> NDArray[np.float32]:
    """Decode, mix down, resample, scale and trim one recording.

    Args:
        path: An mp3, ogg, flac or wav file of any sample rate and channel count.

    Returns:
        Waveform of shape (samples,), float32, 22 050 Hz, mono, peak 1 (less at most one 16-bit step), without silent
        samples at its ends.

    Raises:
        AudioError: The file cannot be decoded, is cut off, holds NaN, or is silent.
        FileError: The file cannot be read.
    """
    samples, rate = decode(path)
    return (quantise(resample(mix_down(samples), rate), str(path)) / FULL_SCALE).astype(np.float32)


def decode(path: str | Path) -> tuple[NDArray[np.float32], int]:
    """Samples of shape (frames, channels) in -1 to 1 and the sample rate, both as stored.

    Raises:
        AudioError: Undecodable, empty or cut off.
        FileError: The file cannot be read.
    """
    import io

    import soundfile

    content = read_bytes(path)
    if missing := missing_bytes(content) or _missing_riff_bytes(content):
        raise AudioError(
            f"{path}: cut off, about {missing} bytes are missing at its end. Fetch the file again."
        )
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as stream:
            samples: NDArray[np.float32] = stream.read(dtype="float32", always_2d=True)
            # For mp3 the announced length is an estimate; `missing_bytes` has judged it by its frames.
            announced = 0 if stream.format == "MP3" else stream.frames
            rate = int(stream.samplerate)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(
            f"{path}: cannot be decoded ({_reason(error)}). Wanted: mp3, ogg, flac or wav audio."
        ) from error
    if len(samples) == 0:
        raise AudioError(f"{path}: holds no samples. Fetch or export the file again.")
    if len(samples) < announced:
        raise AudioError(
            f"{path}: cut off after {len(samples)} of {announced} samples. Fetch the file again."
        )
    return samples, rate


def mix_down(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over channels, (frames, channels) to (frames,), added column by column.

    `numpy.mean` over so short an axis gives the same numbers in some fifteen times the time, a quarter of the
    whole front end.
    """
    total = samples[:, 0].copy()
    for channel in samples.T[1:]:
        total += channel
    mean: NDArray[np.float32] = total / np.float32(samples.shape[1])
    return mean


def resample(waveform: NDArray[Any], rate: int) -> NDArray[np.float64]:
    """A mono waveform (samples,) at ``rate`` Hz, resampled to 22 050 Hz in float64 by soxr ("HQ")."""
    import soxr

    return np.asarray(soxr.resample(np.asarray(waveform, np.float64), rate, SAMPLE_RATE), np.float64)


def quantise(waveform: NDArray[Any], name: str) -> NDArray[np.int16]:
    """Round to 16 bits, scale the peak to full range (truncating towards zero), trim zeros at both ends.

    Args:
        waveform: (samples,), nominally in -1 to 1.
        name: What to call the recording in an error.

    Raises:
        AudioError: A sample is not finite, or no sample is left.
    """
    scaled = full_scale(waveform, name)
    sounding = np.flatnonzero(scaled)
    trimmed: NDArray[np.int16] = scaled[sounding[0] : sounding[-1] + 1]
    return trimmed


def full_scale(waveform: NDArray[Any], name: str) -> NDArray[np.int16]:
    """The same without trimming, (samples,): every sample keeps its place. Raises `AudioError` likewise."""
    if not np.isfinite(waveform).all():
        raise AudioError(f"{name}: holds samples that are NaN or infinite. Export the recording again.")
    samples = np.rint(np.clip(waveform, -1.0, 1.0) * FULL_SCALE)
    peak = np.abs(samples).max(initial=0.0)
    if peak == 0:
        raise AudioError(f"{name}: silent, nothing is left after trimming. Leave this recording out.")
    scaled: NDArray[np.int16] = np.trunc(samples / (peak / FULL_SCALE)).astype(np.int16)
    return scaled


def _missing_riff_bytes(content: bytes) -> int:
    """How many bytes a wav file lacks by its own header, which libsndfile overlooks; 0 for other files."""
    announced = int.from_bytes(content[4:8], "little") + 8
    streamed = announced >= 2**32  # written to a pipe: the size was not known
    return 0 if content[:4] != b"RIFF" or streamed else max(0, announced - len(content))


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
