"""`LogSpectrogram` against madmom's numbers and known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tenuto.audio import LogSpectrogram, load_audio, spectrogram as module
from tenuto.audio.spectrogram import FRAME_SIZE, filterbank, frame_count, log_spectrogram
from tenuto.errors import AudioError
from tests.conftest import GOLDEN

CASES = ("noise", "short", "silence_edges", "sine")
CLIPS = ("001", "026", "057", "146", "310")


def spectrogram(pcm: np.ndarray) -> np.ndarray:
    return LogSpectrogram()(torch.from_numpy((pcm / 32767).astype(np.float32))).numpy()


@pytest.mark.parametrize("case", CASES)
def test_made_up_case_equals_golden(case):
    golden = np.load(GOLDEN / "frontend" / f"case_{case}.npz")
    assert np.abs(spectrogram(golden["pcm"]) - golden["spectrogram"]).max() <= 1e-5


@pytest.mark.parametrize("clip", CLIPS)
def test_real_pcm_equals_golden(shared, clip):
    golden = np.load(shared / "golden" / "frontend" / f"{clip}.npz")
    assert np.abs(spectrogram(golden["pcm"]) - golden["spectrogram"]).max() <= 1e-5


@pytest.mark.parametrize("clip", CLIPS)
def test_real_mp3_is_close_to_golden(shared, clip):
    golden = np.load(shared / "golden" / "frontend" / f"{clip}.npz")["spectrogram"]
    ours = LogSpectrogram()(
        torch.from_numpy(load_audio(shared / "soundtracks" / "Set1" / f"{clip}.mp3"))
    ).numpy()
    assert ours.shape == golden.shape
    assert np.abs(ours - golden).mean() <= 0.005
    assert np.corrcoef(ours.ravel(), golden.ravel())[0, 1] >= 0.9995


def test_filterbank_equals_golden(shared):
    golden = np.load(shared / "golden" / "frontend" / "filterbank.npz")["filterbank"]
    assert np.abs(filterbank() - golden).max() <= 1e-6


def test_filterbank_shape_and_sums():
    filters = filterbank()
    assert filters.shape == (1024, 149)
    assert filters.sum(axis=0) == pytest.approx(1)
    assert (filters >= 0).all()


def test_a_tone_peaks_in_the_band_of_its_frequency():
    time = torch.arange(22050) / 22050
    bands = LogSpectrogram()(torch.sin(2 * np.pi * 1000 * time))[:20].mean(0)
    centres = filterbank().argmax(axis=0) * 22050 / FRAME_SIZE
    assert centres[int(bands.argmax())] == pytest.approx(1000, rel=0.03)


def test_silence_is_zero():
    assert LogSpectrogram()(torch.zeros(5000)).abs().max() == 0


def test_frames_begin_at_the_floor_of_a_broken_hop():
    """A click at sample floor(3 * 704.47) = 2113 is the first sample of frame 3, where the window is 0."""
    waveform = torch.zeros(22050)
    waveform[2113] = 1.0
    energy = LogSpectrogram()(waveform).sum(-1)
    assert energy[3] == 0
    assert (energy[1:3] > 0).all()
    assert energy[4:].abs().max() == 0


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (704, 1), (705, 2), (22050, 32), (220500, 313)])
def test_frame_count(samples, frames):
    assert frame_count(samples) == frames
    assert LogSpectrogram()(torch.ones(samples)).shape == (frames, 149)


def test_batches_agree_with_single_waveforms():
    waveforms = torch.rand(3, 2, 5000, dtype=torch.float64)
    batch = LogSpectrogram()(waveforms)
    assert batch.shape == (3, 2, 8, 149)
    assert torch.allclose(batch[1, 1], LogSpectrogram()(waveforms[1, 1]))


def test_blocks_of_frames_join_to_the_whole(monkeypatch):
    waveform = np.random.default_rng(0).uniform(-1, 1, 20_000).astype(np.float32)
    whole = LogSpectrogram()(torch.from_numpy(waveform)).numpy()
    assert np.array_equal(log_spectrogram(waveform), whole)
    monkeypatch.setattr(module, "BLOCK_FRAMES", 7)
    assert np.abs(log_spectrogram(waveform) - whole).max() < 1e-5


def test_gradcheck_in_float64():
    module = LogSpectrogram()
    waveform = torch.rand(
        900, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: module(x)[:, ::37], (waveform,), fast_mode=True)


@pytest.mark.parametrize("shape", [(7000,), (3, 7000), (2, 2, 7000)])
def test_the_gradient_and_its_gradient_are_those_of_the_plain_operations(shape):
    """Frames overlap three deep, and the first sample of each lies at the floor of a multiple of the hop."""
    waveform = torch.rand(
        shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    starts = module.frame_starts(0, frame_count(7000))
    index = torch.from_numpy(starts[:, None] + np.arange(FRAME_SIZE))
    padded = torch.nn.functional.pad(waveform, (0, FRAME_SIZE))
    magnitude = torch.fft.rfft(padded[..., index] * torch.from_numpy(np.hanning(FRAME_SIZE)))[
        ..., :1024
    ].abs()
    plain = torch.log10(1 + magnitude @ torch.from_numpy(filterbank()))
    ours = LogSpectrogram()(waveform)
    weights = torch.rand(ours.shape, dtype=torch.float64)
    gradients = [
        torch.autograd.grad((one * weights).sum(), waveform, retain_graph=True)[0] for one in (ours, plain)
    ]
    assert torch.equal(ours, plain)
    torch.testing.assert_close(*gradients)
    slopes = [
        torch.autograd.grad((one * weights).sum(), waveform, create_graph=True)[0] for one in (ours, plain)
    ]
    second = [torch.autograd.grad(slope.square().sum(), waveform)[0] for slope in slopes]
    torch.testing.assert_close(*second)


def test_gradient_at_silence_is_finite():
    waveform = torch.zeros(3000, requires_grad=True)
    LogSpectrogram()(waveform).sum().backward()
    assert waveform.grad is not None
    assert torch.isfinite(waveform.grad).all()


def test_casting_the_module_keeps_its_precision():
    waveform = torch.rand(3000, dtype=torch.float64)
    assert torch.equal(LogSpectrogram().float()(waveform), LogSpectrogram()(waveform))


def test_an_empty_waveform_is_refused():
    with pytest.raises(AudioError, match="no samples"):
        LogSpectrogram()(torch.zeros(0))
    with pytest.raises(AudioError, match="no samples"):
        log_spectrogram(np.zeros(0, np.float32))
