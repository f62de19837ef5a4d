"""Audio file to waveform, the way the study's front end did it (REFERENCE: step 1 of the spectrogram).

The order matters: samples are rounded to 16 bits *before* they are scaled to full range and trimmed. Trimming
unrounded samples would keep tails of nearly silent samples and shift every frame behind them.

Files are decoded, mixed down and resampled block by block, so that an hour of audio needs little more memory than its
waveform.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tenuto.audio.decoding import BLOCK_SAMPLES, not_finite, read_blocks
from tenuto.audio.rate import SAMPLE_RATE as SAMPLE_RATE
from tenuto.errors import AudioError, ConfigError, counted

Number = TypeVar("Number", bound=np.generic)

FULL_SCALE = 32_767
"""Largest 16-bit sample."""

EXTENSIONS = (".mp3", ".wav", ".flac", ".ogg", ".oga", ".opus", ".aif", ".aiff")
"""File types that are looked for in folders."""

QUIET_DB = -60.0
"""Relative to the loudest sample (sound) or to full scale (peak)."""
CANCELLED_DB = -12.0
"""Channels cancel if the power of their mono mix is this much lower than theirs."""
SHORTEST_SECONDS, SMALLEST_SHARE = 0.3, 0.05
"""Duration and share of sound below which a recording is nearly silent."""
_SOUND_BLOCK_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class RecordingDescription:
    """What a recording holds, to judge whether a prediction of it means anything.

    Attributes:
        seconds: Duration of the file.
        sample_rate: As stored, in Hz.
        channels: As stored.
        peak_db: Largest sample of the mono mix relative to full scale, in dB.
        mono_db: Power of the mono mix relative to the mean power of the channels, in dB; -3 for independent ones.
        sounding_seconds: Duration of the blocks of 50 ms that reach -60 dB relative to the peak.
        decoder_messages: Messages of the decoder about damage that it skipped.
        silent_samples: Samples of silence that were cut off at the beginning, at the rate of the waveform.
    """

    seconds: float
    sample_rate: int
    channels: int
    peak_db: float
    mono_db: float
    sounding_seconds: float
    decoder_messages: tuple[str, ...] = ()
    silent_samples: int = 0

    def warnings(self) -> list[str]:
        """Sentences on what makes the recording a doubtful input; empty for ordinary music."""
        sentences = []
        if self.mono_db < CANCELLED_DB:
            sentences.append(
                f"its channels cancel in the mono mix, which is {-self.mono_db:.0f} dB quieter than they are"
            )
        if self.sounding_seconds < max(SHORTEST_SECONDS, SMALLEST_SHARE * self.seconds):
            sentences.append(
                f"only {self.sounding_seconds:.2f} s of its {self.seconds:.2f} s are louder than {QUIET_DB:.0f} dB "
                "relative to its peak"
            )
        if self.peak_db < QUIET_DB:
            sentences.append(
                f"its peak is at {self.peak_db:.0f} dB, so it is scaled up together with its rounding noise"
            )
        if self.decoder_messages:
            first = self.decoder_messages[0].rpartition("error: ")[2].rstrip(".!")
            sentences.append(f"it is damaged ({counted(len(self.decoder_messages), 'time')}, first: {first})")
        return sentences


def load_audio(path: str | Path, rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
    """Decode, mix down, resample, scale and trim one recording.

    Args:
        path: An mp3, ogg, opus, flac, wav or aiff file of any channel count.
        rate: Samples per second of the result.

    Returns:
        Waveform of shape (samples,), float32, at ``rate`` Hz, mono, peak 1 (less at most one 16-bit step), without
        silent samples at its ends.

    Raises:
        AudioError: The file cannot be decoded, is cut off, holds NaN, or is silent.
        ConfigError: ``rate`` is below 1.
        FileError: The file cannot be read or is no regular file.
    """
    if rate < 1:
        raise ConfigError(f"rate must be at least 1 sample per second, got {rate}.")
    return load_and_describe(path, rate)[0]


def load_and_describe(
    path: str | Path, rate: int = SAMPLE_RATE
) -> tuple[NDArray[np.float32], RecordingDescription]:
    """The waveform of `load_audio` and what the recording holds. Raises likewise."""
    name, messages, parts, resampler = str(path), list[str](), list[NDArray[np.int16]](), None
    seconds = power = mono_power = 0.0
    stored_rate = channels = 1
    for block, block_rate in read_blocks(path, messages):
        if resampler is None or block_rate != stored_rate:
            if resampler is not None:
                parts.append(_rounded(resampler.resample_chunk(np.empty(0), last=True), name))
            resampler = _resampler(block_rate, rate)
        stored_rate, channels = block_rate, block.shape[1]
        mono = mix_down(block)
        parts.append(_rounded(resampler.resample_chunk(mono.astype(np.float64)), name))
        seconds += len(block) / stored_rate
        power += float(np.vdot(block, block)) / channels
        mono_power += float(np.vdot(mono, mono))
    if resampler is not None:
        parts.append(_rounded(resampler.resample_chunk(np.empty(0), last=True), name))
    samples = np.concatenate(parts)
    parts.clear()
    is_cancelled = mono_power < power * 10 ** (CANCELLED_DB / 10)
    peak = _peak(samples, name, "Its channels cancel in the mono mix. " if is_cancelled else "")
    silent_samples = int((samples != 0).argmax())
    samples = _trimmed(samples)
    waveform = _table_values((_full_scale_table(peak) / FULL_SCALE).astype(np.float32), samples)
    description = RecordingDescription(
        seconds,
        stored_rate,
        channels,
        peak_db=20 * math.log10(peak / FULL_SCALE),
        mono_db=10 * math.log10(mono_power / power),
        sounding_seconds=min(seconds, _sounding_seconds(samples, peak, rate)),
        decoder_messages=tuple(messages),
        silent_samples=silent_samples,
    )
    return waveform, description


def check_recording(path: str | Path) -> float:
    """Decode to the end, keep nothing, and return the duration in seconds. Raises as `load_audio`."""
    return sum(len(block) / rate for block, rate in read_blocks(path))


def decode(path: str | Path) -> tuple[NDArray[np.float32], int]:
    """Samples of shape (frames, channels) and the sample rate, both as stored; floats beyond 1 scaled to peak 1.

    Raises:
        AudioError: Undecodable, empty, cut off, or joined from parts of different sample rates or channels.
        FileError: The file cannot be read or is no regular file.
    """
    blocks = list(read_blocks(path))
    if len({(rate, block.shape[1]) for block, rate in blocks}) > 1:
        raise AudioError(
            f"{path}: joins parts of different sample rates or channels. Convert it to wav first."
        )
    return np.concatenate([block for block, _ in blocks]), blocks[0][1]


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


def resample(waveform: NDArray[Any], rate: int, new_rate: int = SAMPLE_RATE) -> NDArray[np.float64]:
    """A mono waveform (samples,) at ``rate`` Hz, resampled to ``new_rate`` in float64 by soxr ("HQ")."""
    import soxr

    return np.asarray(soxr.resample(np.asarray(waveform, np.float64), rate, new_rate), np.float64)


def full_scale(waveform: NDArray[Any], name: str) -> NDArray[np.int16]:
    """Round to 16 bits and scale the peak to full range (truncating towards zero); every sample keeps its place.

    Args:
        waveform: (samples,), nominally in -1 to 1.
        name: What to call the recording in an error.

    Raises:
        AudioError: A sample is not finite, or all are silent.
    """
    samples = _rounded(waveform, name)
    return _table_values(_full_scale_table(_peak(samples, name)), samples)


def _resampler(rate: int, new_rate: int) -> Any:
    """Its blocks joined equal `resample` of the whole."""
    import soxr

    return soxr.ResampleStream(rate, new_rate, 1, dtype="float64")


def _rounded(waveform: NDArray[Any], name: str) -> NDArray[np.int16]:
    if not np.isfinite(waveform).all():
        raise not_finite(name)
    rounded: NDArray[np.int16] = np.rint(np.clip(waveform, -1.0, 1.0) * FULL_SCALE).astype(np.int16)
    return rounded


def _peak(samples: NDArray[np.int16], name: str, reason: str = "") -> int:
    peak = int(max(samples.max(initial=0), -int(samples.min(initial=0))))
    if peak == 0:
        raise AudioError(f"{name}: silent, nothing is left after trimming. {reason}Leave this recording out.")
    return peak


def _full_scale_table(peak: int) -> NDArray[np.int16]:
    """What each 16-bit value becomes, -32 768 first, when the peak is scaled to full range."""
    values = np.arange(-FULL_SCALE - 1, FULL_SCALE + 1) / (peak / FULL_SCALE)
    return np.trunc(np.clip(values, -FULL_SCALE, FULL_SCALE)).astype(np.int16)


def _table_values(table: NDArray[Number], samples: NDArray[np.int16]) -> NDArray[Number]:
    """``table[sample + 32768]`` of every sample, in blocks: an index needs four times the memory of a sample."""
    values = np.empty(len(samples), table.dtype)
    for start in range(0, len(samples), BLOCK_SAMPLES):
        block = samples[start : start + BLOCK_SAMPLES].astype(np.intp)
        values[start : start + BLOCK_SAMPLES] = table[block + FULL_SCALE + 1]
    return values


def _trimmed(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    sounding = samples != 0
    first, last = int(sounding.argmax()), len(samples) - int(sounding[::-1].argmax())
    return samples[first:last]


def _sounding_seconds(samples: NDArray[np.int16], peak: int, rate: int) -> float:
    size = max(1, round(_SOUND_BLOCK_SECONDS * rate))
    loudest = np.maximum.reduceat(np.abs(samples), np.arange(0, len(samples), size))
    return float((loudest > peak * 10 ** (QUIET_DB / 20)).sum()) * _SOUND_BLOCK_SECONDS
