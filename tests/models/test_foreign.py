"""Models from elsewhere: every kind opens, predicts (clips, outputs), and leaves what it was given untouched."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from tenuto.models.foreign import open_foreign, weights_sha256

EXAMPLE = torch.randn(2, 400, generator=torch.Generator().manual_seed(0))

NETWORK = """
import torch
from torch import nn

class Waves(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Conv1d(1, 4, 9, stride=4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2)

    def forward(self, waveforms):
        return torch.tanh(self.head(self.layers(waveforms.unsqueeze(1)).mean(-1)))

def build():
    return Waves()

def predict(waveforms):
    import numpy as np
    return np.stack([waveforms.mean(-1), waveforms.std(-1)], axis=1)
"""


class Waves(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(1, 4, 9, stride=4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5)
        )
        self.head = nn.Linear(4, 2)

    def forward(self, waveforms):
        return torch.tanh(self.head(self.layers(waveforms.unsqueeze(1)).mean(-1)))


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def waves():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Waves().eval()


def opened(model, **more):
    return open_foreign(model, example=more.pop("example", EXAMPLE), **more)


def code(tmp_path, text=NETWORK, name="mine.py"):
    file = tmp_path / name
    file.write_text(text)
    return file


def test_code_that_builds_a_module(tmp_path):
    file = code(tmp_path)
    foreign = opened(f"{file}:build", trust=True, outputs=2)
    assert (foreign.kind, foreign.has_gradient, foreign.outputs, foreign.note) == ("module", True, 2, "")
    assert foreign.source == f"{file}:build"
    assert foreign.module(EXAMPLE).shape == (2, 2)


def test_a_named_function_of_a_batch_is_the_model(tmp_path):
    foreign = opened(f"{code(tmp_path)}:predict", trust=True)
    assert (foreign.kind, foreign.has_gradient, foreign.weights_sha256) == ("callable", False, "")
    expected = np.stack([EXAMPLE.numpy().mean(-1), EXAMPLE.numpy().std(-1)], axis=1)
    np.testing.assert_allclose(foreign.module(EXAMPLE).numpy(), expected)


def saved_script(waves, file):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(waves), file)


def test_torchscript(tmp_path, waves):
    file = tmp_path / "model.pt"
    saved_script(waves, file)
    foreign = opened(file, trust=True)
    assert (foreign.kind, foreign.has_gradient, foreign.outputs) == ("torchscript", True, 2)
    assert foreign.content == file.read_bytes()
    torch.testing.assert_close(foreign.module(EXAMPLE), waves(EXAMPLE))
    assert foreign.weights_sha256 == weights_sha256(waves.state_dict())
