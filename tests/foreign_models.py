"""Models from elsewhere, as users have them: small, untrained and seeded; named as ``tests/foreign_models.py:NAME``."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

RATE, SECONDS = 8000, 0.5


class WaveformCNN(nn.Module):
    """Waveform (clips, samples) to emotions between -1 and 1."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolutions = nn.Sequential(
            nn.Conv1d(1, 8, 64, stride=16), nn.ReLU(), nn.Conv1d(8, 8, 8, stride=4), nn.ReLU()
        )
        self.head = nn.Linear(8, outputs)

    def forward(self, waveform: Tensor) -> Tensor:
        features = self.convolutions(waveform[:, None]).mean(dim=2)
        return torch.tanh(4 * self.head(features))


def waveform() -> nn.Module:
    return WaveformCNN()


def one_output() -> nn.Module:
    return WaveformCNN(1)


class Wrapped(WaveformCNN):
    """What models of large libraries return: a dict with more than the predictions."""

    def forward(self, waveform: Tensor) -> Any:
        return {"logits": super().forward(waveform), "hidden_states": waveform}


def wrapped() -> nn.Module:
    return Wrapped()


class Attributes(WaveformCNN):
    """An object with the predictions as an attribute."""

    def forward(self, waveform: Tensor) -> Any:
        return SimpleNamespace(emotions=super().forward(waveform), loss=None, hidden=waveform)


def attributes() -> nn.Module:
    return Attributes()


class SpectrogramNetwork(nn.Module):
    """Excerpts (clips, 1, 313, 149) to three values; two emotions and a concept."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.head = nn.Linear(149, 3)

    def forward(self, excerpts: Tensor) -> Tensor:
        return torch.tanh(self.head(excerpts.mean(dim=(1, 2))))


def spectrogram() -> nn.Module:
    return SpectrogramNetwork()


def spectrum(waveform: np.ndarray) -> np.ndarray:
    """A front end: ten bands of the magnitude spectrum, in dB."""
    magnitude = np.abs(np.fft.rfft(waveform))
    return 20 * np.log10(1e-3 + np.array([part.mean() for part in np.array_split(magnitude, 10)]))


class BandNetwork(nn.Module):
    """Bands (clips, 10) to emotions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.head = nn.Linear(10, 2)

    def forward(self, bands: Tensor) -> Tensor:
        return torch.tanh(self.head(bands / 50))


def bands() -> nn.Module:
    return BandNetwork()


def descriptors(waveforms: np.ndarray) -> np.ndarray:
    """A black box: NumPy waveforms (clips, samples) to loudness and zero crossings, (clips, 2)."""
    loudness = np.sqrt(np.square(waveforms).mean(axis=1))
    crossings = (np.diff(np.signbit(waveforms), axis=1) != 0).mean(axis=1)
    return np.stack([loudness, crossings], axis=1) * 2 - 1
