"""Waveform to logarithmic spectrogram, as a differentiable module (REFERENCE: the spectrogram, steps 2 to 5).

The frame rate is 31.3 per second, so the hop, 22 050 / 31.3 = 704.47 samples, is no whole number: frame k begins
at sample floor(k * hop). A strided view cannot express that, hence the gather by a table of sample numbers.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenuto.audio.loading import SAMPLE_RATE
from tenuto.errors import AudioError

FRAME_SIZE = 2048
FRAMES_PER_SECOND = 31.3
HOP = SAMPLE_RATE / FRAMES_PER_SECOND
"""Samples from one frame to the next."""
BANDS_PER_OCTAVE = 24
MIN_FREQUENCY_HZ = 20.0
MAX_FREQUENCY_HZ = 16_000.0
CONCERT_PITCH_HZ = 440.0
BLOCK_FRAMES = 8192

SPECTROGRAM_SETTINGS: dict[str, float] = {
    "sample_rate": SAMPLE_RATE,
    "frame_size": FRAME_SIZE,
    "frames_per_second": FRAMES_PER_SECOND,
    "bands_per_octave": BANDS_PER_OCTAVE,
    "min_frequency_hz": MIN_FREQUENCY_HZ,
    "max_frequency_hz": MAX_FREQUENCY_HZ,
}
"""What identifies a spectrogram; kept with every cache and checkpoint."""


def frame_count(samples: int) -> int:
    """Number of frames of a waveform: ceil(samples / hop)."""
    return math.ceil(samples / HOP)


def frame_starts(first: int, count: int) -> NDArray[np.int64]:
    """First samples of ``count`` frames from frame ``first`` on, (count,).

    >>> frame_starts(0, 4).tolist()
    [0, 704, 1408, 2113]
    """
    return np.asarray(np.floor(np.arange(first, first + count) * HOP), np.int64)


def filterbank() -> NDArray[np.float64]:
    """Triangular filters spaced like a 24-tone scale, shape (1024 bins, 149 bands), each column summing to 1.

    Centres are the quarter tones around 440 Hz between 20 Hz and 16 kHz, each moved to the nearest FFT bin; centres
    that share a bin are one. Filter j climbs from bin b[j] to b[j+1] and descends to b[j+2].
    """
    steps = np.arange(-20 * BANDS_PER_OCTAVE, 20 * BANDS_PER_OCTAVE)
    centres = CONCERT_PITCH_HZ * 2.0 ** (steps / BANDS_PER_OCTAVE)
    centres = centres[(centres >= MIN_FREQUENCY_HZ) & (centres <= MAX_FREQUENCY_HZ)]
    bin_count = FRAME_SIZE // 2
    nearest = np.rint(centres * FRAME_SIZE / SAMPLE_RATE).clip(1, bin_count - 1)
    corners = np.unique(nearest.astype(int))
    filters = np.zeros((bin_count, len(corners) - 2))
    for band, (low, centre, high) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        filters[low:centre, band] = np.arange(centre - low) / (centre - low)
        filters[centre:high, band] = 1 - np.arange(high - centre) / (high - centre)
    normalised: NDArray[np.float64] = filters / filters.sum(axis=0)
    return normalised


class LogSpectrogram(nn.Module):
    """log10(1 + filtered magnitude spectrum), differentiable with respect to the waveform.

    Shape:
        - input: (..., samples), 22 050 Hz, float32 or float64
        - output: (..., frames, 149) with frames = ceil(samples / 704.47)

    >>> LogSpectrogram()(torch.zeros(2, 22050)).shape
    torch.Size([2, 32, 149])
    """

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.from_numpy(np.hanning(FRAME_SIZE)), persistent=False)
        self.register_buffer("filters", torch.from_numpy(filterbank()), persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> LogSpectrogram:
        """Follow the module to another device, but keep the constants in float64: they are cast per call."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = self.window.device
        self.window = torch.from_numpy(np.hanning(FRAME_SIZE)).to(device)
        self.filters = torch.from_numpy(filterbank()).to(device)
        return self

    def forward(self, waveform: Tensor) -> Tensor:
        """The log spectrogram (..., frames, 149) of waveforms (..., samples). Raises `AudioError` if empty."""
        if waveform.shape[-1] == 0:
            raise AudioError("the waveform contains no samples; at least one is needed.")
        return self.frames(waveform, 0, frame_count(waveform.shape[-1]))

    def frames(self, waveform: Tensor, first: int, stop: int) -> Tensor:
        """Frames ``first`` to ``stop`` (exclusive) of the log spectrogram of the whole waveform."""
        starts = frame_starts(first, stop - first)
        begin, end = int(starts[0]), int(starts[-1]) + FRAME_SIZE
        part = waveform[..., begin:end]
        index = torch.from_numpy(starts[:, None] - begin + np.arange(FRAME_SIZE)).to(waveform.device)
        padded = nn.functional.pad(part, (0, end - begin - part.shape[-1]))
        window = self.window.to(waveform.dtype)
        if padded.requires_grad:
            magnitude = _Magnitudes.apply(padded, index, window)  # type: ignore[no-untyped-call]
        else:  # may be recorded for an export, which has no functions of our own
            magnitude = _spectrum(padded, index, window).abs()
        logarithmic: Tensor = torch.log10(1 + magnitude @ self.filters.to(waveform.dtype))
        return logarithmic


def _spectrum(waveform: Tensor, index: Tensor, window: Tensor) -> Tensor:
    """Complex spectrum (..., frames, 1024) of the samples (frames, 2048) of a waveform (..., samples)."""
    spectrum: Tensor = torch.fft.rfft(waveform[..., index] * window)
    return spectrum[..., : FRAME_SIZE // 2]


class _Magnitudes(torch.autograd.Function):
    """Magnitudes of `_spectrum` with a gradient that takes half the time of PyTorch's own.

    The adjoint of a real FFT is computed by a real inverse FFT, in which every bin but the first counts twice. PyTorch
    computes a complex one. Frames are added one after the other, in an order that never varies, not even on a GPU.
    Where the gradient is itself differentiated, as in an attack on an attribution, it is PyTorch's.
    """

    @staticmethod
    def forward(ctx: Any, waveform: Tensor, index: Tensor, window: Tensor) -> Tensor:
        spectrum = _spectrum(waveform, index, window)
        magnitude = spectrum.abs()
        ctx.save_for_backward(spectrum, magnitude, window, waveform, index)
        ctx.starts, ctx.shape = index[:, 0].tolist(), waveform.shape
        return magnitude

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        spectrum, magnitude, window, waveform, index = ctx.saved_tensors
        if torch.is_grad_enabled():
            again = _spectrum(waveform, index, window).abs()
            return *torch.autograd.grad(again, waveform, gradient, create_graph=True), None, None
        # The magnitude has no gradient at 0; as in PyTorch, it is 0 there.
        slope = gradient / magnitude.masked_fill(magnitude == 0, math.inf)
        slope[..., 1:] /= 2
        frames = torch.fft.irfft(spectrum * slope, FRAME_SIZE, norm="forward")
        total = gradient.new_zeros(ctx.shape)
        for number, start in enumerate(ctx.starts):
            total[..., start : start + FRAME_SIZE].addcmul_(frames[..., number, :], window)
        return total, None, None


def log_spectrogram(
    waveform: NDArray[np.float32], begin: int = 0, end: int | None = None
) -> NDArray[np.float32]:
    """Compute the log spectrogram (frames, 149) of a waveform (samples,), some four minutes at a time.

    Args:
        waveform: (samples,).
        begin: First frame.
        end: The frame after the last one; None for all frames of the waveform.
    """
    module, samples = _front_end(), torch.from_numpy(waveform)
    count = frame_count(len(waveform)) if end is None else end
    if len(waveform) == 0:
        raise AudioError("the waveform contains no samples; at least one is needed.")
    with torch.inference_mode():
        blocks = [
            module.frames(samples, first, min(first + BLOCK_FRAMES, count)).numpy()
            for first in range(begin, count, BLOCK_FRAMES)
        ]
    return np.concatenate(blocks)


@functools.cache
def _front_end() -> LogSpectrogram:
    """One front end for all recordings: its filterbank takes a millisecond or two to build."""
    return LogSpectrogram()
