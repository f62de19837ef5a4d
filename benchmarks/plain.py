"""Plain implementations to measure against: the same results by the most obvious means.

They are written as one would write them first: frame by frame, clip by clip, everything in its default state.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tenuto.attacks.base import Progress
from tenuto.data.batches import Batch

SAMPLE_RATE = 22_050
FULL_SCALE = 32_767
FRAME_SIZE = 2048
HOP = SAMPLE_RATE / 31.3


def spectrogram(path: Path, window: NDArray[Any], filters: NDArray[Any]) -> NDArray[np.float32]:
    """Log spectrogram (frames, 149) of a recording, one frame after the other in NumPy.

    Args:
        path: The recording.
        window: (2048,).
        filters: (1024, 149), built beforehand.
    """
    import soundfile
    import soxr

    samples, rate = soundfile.read(path, always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate, SAMPLE_RATE)
    rounded = np.rint(np.clip(mono, -1, 1) * FULL_SCALE)
    scaled = np.trunc(rounded / (np.abs(rounded).max() / FULL_SCALE))
    waveform = np.trim_zeros(scaled) / FULL_SCALE
    rows = []
    for number in range(math.ceil(len(waveform) / HOP)):
        start = math.floor(number * HOP)
        frame = waveform[start : start + FRAME_SIZE]
        frame = np.pad(frame, (0, FRAME_SIZE - len(frame)))
        magnitude = np.abs(np.fft.rfft(frame * window))[: FRAME_SIZE // 2]
        rows.append(np.log10(1 + magnitude @ filters))
    return np.stack(rows).astype(np.float32)


def attack(
    network: nn.Module, clip: Tensor, label: Tensor, iterations: int, progress: Progress
) -> tuple[Tensor, Tensor]:
    """The released attack (Adam, correlation) on one clip as a plain loop.

    Returns the last prediction, (emotions,), and the stored perturbation, (1, 1, frames, bands).

    The network is used as it is, so each backward pass also collects a gradient for every weight.

    Args:
        network: In evaluation mode.
        clip: (1, 1, frames, bands).
        label: (emotions,).
        iterations: Evaluations of the network; the last is followed by no update.
        progress: Called with 1 after every evaluation.
    """
    delta = torch.zeros_like(clip, requires_grad=True)
    optimizer = torch.optim.Adam([delta], lr=0.002)
    stored, threshold = delta.detach().clone(), 0.0
    for iteration in range(1, iterations + 1):
        prediction = network(clip + delta).emotions[0]
        loss = nn.functional.mse_loss(prediction, label)
        values = prediction.detach().cpu().numpy()
        correlation = np.corrcoef(values, label.cpu().numpy())[0, 1]
        if threshold == 0.0:
            threshold = math.ceil(10 * correlation) / 10
        if correlation <= threshold:
            stored.copy_(delta.detach())
            threshold -= 0.1
        progress(1)
        if iteration < iterations:
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            delta.grad = -torch.sign(delta.grad) if delta.grad is not None else None
            optimizer.step()
    return prediction.detach(), stored


class Training:
    """Plain training: a DataLoader, Adam, MSE, then validation, and network and optimiser on disk.

    Args:
        network: Trained in place.
        clips: Training clips.
        validation: Validation clips.
        folder: Where an epoch's state goes.
        iterations: Of the attack that follows every update, one clip after the other; 0 for none.
    """

    def __init__(
        self, network: nn.Module, clips: Batch, validation: Batch, folder: Path, iterations: int = 0
    ) -> None:
        self.network, self.folder, self.iterations = network, folder, iterations
        self.loader = _loader(clips, shuffle=True)
        self.validation = _loader(validation, shuffle=False)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=5e-4)

    def epoch(self) -> float:
        """One pass over the training clips and one over the validation clips; the validation error."""
        device = next(self.network.parameters()).device
        self.network.train()
        for inputs, labels in self.loader:
            self._update(inputs.to(device), labels.to(device))
            if self.iterations:
                self._update(self._attacked(inputs.to(device), labels.to(device)), labels.to(device))
        self.network.eval()
        with torch.no_grad():
            errors = [
                nn.functional.mse_loss(self.network(inputs.to(device)).emotions, labels.to(device)).item()
                for inputs, labels in self.validation
            ]
        torch.save(self.network.state_dict(), self.folder / "network.pt")
        torch.save(self.optimizer.state_dict(), self.folder / "optimizer.pt")
        return float(np.mean(errors))

    def _update(self, inputs: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        loss = nn.functional.mse_loss(self.network(inputs).emotions, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def _attacked(self, inputs: Tensor, labels: Tensor) -> Tensor:
        self.network.eval()
        clips = [
            clip + attack(self.network, clip, label, self.iterations, lambda _: None)[1]
            for clip, label in zip(inputs.unsqueeze(1), labels, strict=True)
        ]
        self.network.train()
        return torch.cat(clips)


def _loader(clips: Batch, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
    dataset = TensorDataset(clips.inputs, clips.labels)
    return DataLoader(dataset, batch_size=8, shuffle=shuffle, drop_last=len(clips) >= 8)
