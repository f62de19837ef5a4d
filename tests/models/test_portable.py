"""ONNX and TorchScript files predict what the recogniser predicts, from the same sound."""

from __future__ import annotations

import functools
import io
import json

import numpy as np
import pytest
import torch

from tenuto.audio import LogSpectrogram
from tenuto.data.excerpts import PAPER_NORMALISATION
from tenuto.data.inputs import FeatureInputs, LogSpectrogramInputs, WaveformInputs
from tenuto.errors import ModelError
from tenuto.models import Recogniser, build
from tenuto.models.adoption import AdoptedNetwork
from tenuto.models.foreign import open_foreign
from tenuto.models.foreign.adopted import Adopted
from tenuto.models.portable import ExcerptSpectrogram, about, to_onnx, to_torchscript

SAMPLES = 220_500
CONVERTERS = {".pt": to_torchscript, ".onnx": to_onnx}
A2M2E = pytest.mark.parametrize("recogniser", ["A2M2E"], indirect=True)
"""The one with two outputs; files with one are those of a fixed number of clips."""

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("state"),
]


@pytest.fixture(scope="module", params=["A2E", "A2M2E"])
def recogniser(request):
    torch.manual_seed(0)
    network = build(request.param, emotions=3, concepts=2, width=0.0625).eval()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_var.uniform_(0.5, 2)
    concepts = ("one", "two") if request.param == "A2M2E" else ()
    inputs = LogSpectrogramInputs(PAPER_NORMALISATION)
    return Recogniser(network, request.param, ("happy", "sad", "tender"), concepts, inputs, "f" * 64, 0.0625)


@pytest.fixture(scope="module")
def waveforms():
    """Ten seconds of noise; the second one has a silent half."""
    waveforms = np.random.default_rng(0).uniform(-1, 1, (3, SAMPLES)).astype(np.float32)
    waveforms[1, : SAMPLES // 2] = 0
    return waveforms


@pytest.fixture(scope="module")
def expected(recogniser, waveforms):
    """What `Recogniser.predict` says of each waveform: emotions and concepts."""
    profiles = [recogniser.predict(waveform) for waveform in waveforms]
    emotions = np.array([list(profile.emotions.values()) for profile in profiles])
    return emotions, [list((profile.concepts or {}).values()) for profile in profiles]


@pytest.fixture(scope="module")
def content(recogniser):
    """The content of the recogniser's file by its ending, converted once."""
    return functools.cache(lambda ending: CONVERTERS[ending](recogniser))


def test_the_spectrogram_is_that_of_tenuto(waveforms):
    module = ExcerptSpectrogram(PAPER_NORMALISATION)
    ours = module(torch.from_numpy(waveforms)).numpy()[:, 0]
    theirs = PAPER_NORMALISATION(LogSpectrogram()(torch.from_numpy(waveforms)).numpy())
    assert ours.shape == theirs.shape == (3, 313, 149)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_a_torchscript_file_predicts_the_same_and_has_a_gradient(recogniser, content, waveforms, expected):
    files = {"tenuto.json": ""}
    script = torch.jit.load(io.BytesIO(content(".pt")), _extra_files=files)
    inputs = torch.from_numpy(waveforms).requires_grad_()
    outputs = script(inputs)
    emotions, concepts = outputs if recogniser.concepts else (outputs, None)
    emotions.sum().backward()
    np.testing.assert_allclose(emotions.detach(), expected[0], atol=1e-5)
    if concepts is not None:
        np.testing.assert_allclose(concepts.detach(), expected[1], atol=1e-5)
    assert np.isfinite(inputs.grad.numpy()).all()
    assert json.loads(files["tenuto.json"])["emotions"] == ["happy", "sad", "tender"]


@A2M2E
def test_an_onnx_file_predicts_the_same(recogniser, content, waveforms, expected):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    session = onnxruntime.InferenceSession(content(".onnx"))
    outputs = session.run(None, {"waveform": waveforms})
    for output, right in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(output, right, atol=1e-5)
    facts = json.loads(session.get_modelmeta().custom_metadata_map["tenuto"])
    assert (facts["sample_rate"], facts["samples"], facts["concepts"]) == (
        *(22_050, SAMPLES),
        list(recogniser.concepts),
    )


@A2M2E
@pytest.mark.parametrize("ending", CONVERTERS)
def test_a_file_can_be_adopted_and_has_a_gradient(recogniser, content, waveforms, expected, ending, tmp_path):
    if ending == ".onnx":
        pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    path = tmp_path / f"model{ending}"
    path.write_bytes(content(ending))
    output, example = {".pt": "0", ".onnx": "emotions"}[ending], torch.from_numpy(waveforms)
    foreign = open_foreign(path, example=example, output=output, outputs=3, trust=True)
    assert foreign.has_gradient
    np.testing.assert_allclose(foreign.module(example).detach(), expected[0], atol=1e-5)


def test_onnx_without_its_packages_is_refused(recogniser, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ModelError, match=r"pip install \"tenuto\[onnx\]\""):
        to_onnx(recogniser)


class Loudness(torch.nn.Module):
    def forward(self, waveform):
        return waveform.abs().mean(dim=1, keepdim=True)


def adopted(inputs, has_gradient=True):
    network = AdoptedNetwork(Loudness(), 1, has_gradient).eval()
    return Recogniser(network, "loudness", ("arousal",), (), inputs, "f" * 64)


def test_a_model_that_takes_waveforms_keeps_its_own_rate_and_length():
    recogniser = adopted(WaveformInputs(16_000, 2.0))
    script = torch.jit.load(io.BytesIO(to_torchscript(recogniser)))
    waveform = torch.rand(5, 32_000)
    torch.testing.assert_close(script(waveform), Loudness()(waveform))
    assert (about(recogniser)["sample_rate"], about(recogniser)["samples"]) == (16_000, 32_000)


class Fixed(torch.nn.Module):
    """Takes a fixed number of clips, as files do that were exported so."""

    def __init__(self, clips):
        super().__init__()
        self.clips = clips

    def forward(self, waveform):
        return waveform.reshape(self.clips, 32_000).abs().mean(dim=1, keepdim=True)


@pytest.mark.parametrize("windows", [1, 3])
@pytest.mark.parametrize("ending", CONVERTERS)
def test_a_model_that_takes_a_fixed_number_of_clips_keeps_it(ending, windows, tmp_path):
    if ending == ".onnx":
        pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    network = AdoptedNetwork(Adopted(Fixed(windows), "fixed", outputs=1, batch=windows), 1, True).eval()
    recogniser = Recogniser(network, "fixed", ("arousal",), (), WaveformInputs(16_000, 2.0), "f" * 64)
    assert about(recogniser)["windows"] == windows
    path, waveforms = tmp_path / f"model{ending}", torch.rand(5, 32_000)
    path.write_bytes(CONVERTERS[ending](recogniser))
    if ending == ".pt":
        script = torch.jit.load(path)
        torch.testing.assert_close(script(waveforms[:windows]), Loudness()(waveforms[:windows]))
    if (ending, windows) != (".pt", 3):  # TorchScript does not say how many it takes
        foreign = open_foreign(path, example=waveforms[:3], outputs=1, trust=True)
        for count in (1, 3, 5):
            torch.testing.assert_close(foreign.module(waveforms[:count]), Loudness()(waveforms[:count]))


def test_what_cannot_be_part_of_a_file_is_refused():
    with pytest.raises(ModelError, match="front end in Python"):
        to_torchscript(adopted(FeatureInputs(16_000, 2.0, "own:features", lambda waveform: waveform)))
    with pytest.raises(ModelError, match="black box"):
        to_torchscript(adopted(WaveformInputs(16_000, 2.0), has_gradient=False))


def test_a_network_that_fails_is_named():
    class Broken(torch.nn.Module):
        def forward(self, waveform):
            raise ValueError("no such layer")

    network = AdoptedNetwork(Broken(), 1, True).eval()
    broken = Recogniser(network, "broken", ("arousal",), (), WaveformInputs(16_000, 2.0), "f" * 64)
    with pytest.raises(ModelError, match=r"cannot be converted \(ValueError: no such layer\)"):
        to_torchscript(broken)
