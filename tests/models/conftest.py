"""What models from elsewhere are made of, and the list of trusted code."""

from __future__ import annotations

import pytest
import torch
from torch import nn


class Waves(nn.Module):
    """Two outputs of waveforms, by layers that training mode changes."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, 4, 9, stride=4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5)
        )
        self.head = nn.Linear(4, 2)

    def forward(self, waveforms):
        return torch.tanh(self.head(self.layers(waveforms.unsqueeze(1)).mean(-1)))


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A folder of its own for the list of trusted code."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def waves():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Waves().eval()
