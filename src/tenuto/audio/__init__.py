"""Audio files to waveforms, waveforms to log spectrograms. Torch is imported only where `LogSpectrogram` is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenuto.audio.loading import SAMPLE_RATE, Description, check_recording, load_and_describe, load_audio

if TYPE_CHECKING:
    from tenuto.audio.spectrogram import LogSpectrogram

__all__ = [
    "SAMPLE_RATE",
    "Description",
    "LogSpectrogram",
    "check_recording",
    "load_and_describe",
    "load_audio",
]


def __getattr__(name: str) -> Any:
    if name == "LogSpectrogram":
        from tenuto.audio.spectrogram import LogSpectrogram

        return LogSpectrogram
    raise AttributeError(f"module 'tenuto.audio' has no attribute '{name}'")
