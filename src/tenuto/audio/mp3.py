"""Sound to mp3 of constant bit rate and back, with libsndfile."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenuto.audio.loading import mix_down, resample
from tenuto.errors import FileError

SAMPLE_RATES = (32_000, 44_100, 48_000)
"""Sample rates of MPEG-1 layer III (ISO/IEC 11172-3); recordings with another one are coded at 44.1 kHz."""

BIT_RATES = (32, 320)
"""Lowest and highest bit rate of that layer, kb/s; libsndfile takes a number from 0 (highest) to 1 (lowest)."""


def encode(samples: NDArray[np.float32], rate: int, kilobits: int, name: str) -> bytes:
    """An mp3 file of samples (frames, channels), stereo or mono; peaks above full scale are clipped.

    Args:
        samples: (frames, channels); more than two channels are mixed down.
        rate: Samples per second.
        kilobits: Bit rate, kb/s.
        name: What messages call the recording.

    Raises:
        FileError: This version of libsndfile cannot write mp3.
    """
    import soundfile
    import soxr

    if "MP3" not in soundfile.available_formats():
        raise FileError(
            f"{name}: libsndfile {soundfile.__libsndfile_version__} cannot write mp3, version 1.1 or later can."
        )
    if samples.shape[1] > 2:
        samples = mix_down(samples)[:, None]
    if rate not in SAMPLE_RATES:
        samples, rate = soxr.resample(samples, rate, SAMPLE_RATES[1]), SAMPLE_RATES[1]
    low, high = BIT_RATES
    stream = io.BytesIO()
    soundfile.write(
        stream,
        np.clip(samples, -1.0, 1.0),
        rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=(high - kilobits) / (high - low),
    )
    return stream.getvalue()


def decoded(content: bytes, rate: int) -> NDArray[np.float64]:
    """The samples (samples,) of an mp3 file, mono, at ``rate`` per second, within full scale.

    The decoder removes the encoder's delay, which the encoder writes into the header, so samples keep their places.
    """
    import soundfile

    samples, own_rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return np.asarray(np.clip(resample(mix_down(samples), own_rate, rate), -1.0, 1.0))


def coded(waveform: NDArray[Any], rate: int, kilobits: int) -> NDArray[np.float32]:
    """A mono waveform (samples,) coded as mp3 and decoded again, of the same length."""
    content = encode(np.asarray(waveform, np.float32)[:, None], rate, kilobits, "waveform")
    samples = decoded(content, rate)[: len(waveform)].astype(np.float32)
    return np.pad(samples, (0, len(waveform) - len(samples)))
