"""Audio files to waveforms, waveforms to log spectrograms."""

from tenuto.audio.loading import SAMPLE_RATE, load_audio
from tenuto.audio.spectrogram import LogSpectrogram

__all__ = ["SAMPLE_RATE", "LogSpectrogram", "load_audio"]
