"""Audio files to waveforms, waveforms to log spectrograms.

Modules are imported where they are used: attacks need the masking threshold without what reads audio files, and readers
of audio files need no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenuto.audio.rate import SAMPLE_RATE

if TYPE_CHECKING:
    from tenuto.audio.loading import RecordingDescription, check_recording, load_and_describe, load_audio
    from tenuto.audio.spectrogram import LogSpectrogram

__all__ = [
    "SAMPLE_RATE",
    "LogSpectrogram",
    "RecordingDescription",
    "check_recording",
    "load_and_describe",
    "load_audio",
]


def __getattr__(name: str) -> Any:
    if name == "LogSpectrogram":
        from tenuto.audio.spectrogram import LogSpectrogram

        return LogSpectrogram
    if name in __all__:
        from tenuto.audio import loading

        return getattr(loading, name)
    raise AttributeError(f"module 'tenuto.audio' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
