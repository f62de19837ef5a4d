"""Checkpoints rebuild themselves, refuse what is damaged or foreign, and predict from audio alone."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import soundfile
import torch

import tenuto
from tenuto.data.excerpts import Normalisation, window_starts
from tenuto.data.inputs import LogSpectrogramInputs
from tenuto.data.soundtracks import EMOTIONS
from tenuto.errors import AudioError, CheckpointError, FileError
from tenuto.files import read_safetensors, write_safetensors
from tenuto.models import Recogniser, build, checkpoint, predict
from tenuto.store.run import RunFolder
from tests import small_runs
from tests.models.golden import released_state


@pytest.fixture
def recogniser():
    torch.manual_seed(0)
    network = build("A2M2E", emotions=2, concepts=3, width=0.125).eval()
    names = ("valence", "arousal"), ("one", "two", "three")
    return Recogniser(
        network, "A2M2E", *names, LogSpectrogramInputs(Normalisation(0.4, 0.42)), "f" * 64, 0.125
    )


@pytest.fixture
def saved(recogniser, tmp_path):
    checkpoint.save(RunFolder(tmp_path / "run").checkpoint, recogniser, {"epoch": 7})
    return tmp_path / "run"


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "song.wav"
    time = np.arange(25 * 22050) / 22050
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * (200 + 20 * time) * time), 22050)
    return path


def test_a_loaded_checkpoint_predicts_what_was_saved(recogniser, saved):
    loaded = tenuto.load(saved)
    inputs = torch.randn(2, 1, 313, 149)
    for ours, theirs in zip(loaded(inputs), recogniser(inputs), strict=True):
        assert ours is not None
        assert theirs is not None
        assert torch.equal(ours, theirs)
    assert (loaded.system, loaded.emotions, loaded.concepts) == (
        "A2M2E",
        *(recogniser.emotions, recogniser.concepts),
    )
    assert small_runs.normalisation(loaded.inputs) == small_runs.normalisation(recogniser.inputs)
    assert not loaded.network.training


def test_predict_names_emotions_and_concepts(saved, song):
    profile = tenuto.load(RunFolder(saved).checkpoint).predict(song)
    assert list(profile.emotions) == ["valence", "arousal"]
    assert list(profile.concepts or ()) == ["one", "two", "three"]


def test_predict_takes_a_waveform_or_its_file(saved, song):
    loaded = tenuto.load(saved)
    waveform = tenuto.audio.load_audio(song)
    assert loaded.predict(waveform) == loaded.predict(song)


def test_predict_is_the_mean_over_windows(saved, song):
    loaded = tenuto.load(saved)
    spectrogram = tenuto.audio.LogSpectrogram()(torch.from_numpy(tenuto.audio.load_audio(song))).numpy()
    starts = window_starts(len(spectrogram))
    assert len(starts) == 3
    windows = np.stack(
        [small_runs.normalisation(loaded.inputs)(spectrogram[start : start + 313]) for start in starts]
    )[:, None]
    with torch.no_grad():
        expected = loaded(torch.from_numpy(windows)).emotions.mean(0)
    assert list(loaded.predict(song).emotions.values()) == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_short_recording_is_continued_with_its_beginning(saved):
    waveform = np.random.default_rng(0).uniform(-1, 1, 40_000).astype(np.float32)
    assert np.isfinite(list(tenuto.load(saved).predict(waveform).emotions.values())).all()


@pytest.mark.parametrize(
    ("frames", "starts"), [(1, [0]), (313, [0]), (314, [0, 1]), (626, [0, 313]), (700, [0, 193, 387])]
)
def test_windows_cover_everything(frames, starts):
    assert window_starts(frames) == starts


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(0), r"must have the shape \(samples,\)"),
        (np.zeros((2, 100)), r"must have the shape \(samples,\)"),
        (np.array([0.1, np.nan]), "finite values"),
        (np.array([0.1, 1e39]), "finite values"),
        (np.full(900, 1000, np.int16), "got int16. Divide whole numbers"),
        (np.full(900, 1 + 1j), "got complex128"),
        (["song.mp3"], r"expected one audio file or a waveform, got \['song.mp3'\]"),
        (torch.zeros(900, requires_grad=True), "must be an array of floats"),
    ],
)
def test_predict_refuses_what_is_no_waveform(saved, waveform, message):
    with pytest.raises(AudioError, match=message):
        tenuto.load(saved).predict(waveform)


def test_predict_joins_batches_in_evaluation_mode():
    network = build("A2B2E", width=0.0625).train()
    inputs = torch.randn(5, 1, 40, 149, generator=torch.Generator().manual_seed(0))
    prediction = predict(network, inputs, batch_size=2)
    assert network.training
    network.eval()
    with torch.no_grad():
        expected = network(inputs)
    assert torch.allclose(prediction.emotions, expected.emotions, atol=1e-5)
    assert prediction.concepts is not None
    assert torch.allclose(prediction.concepts, expected.concepts, atol=1e-5)
    assert not prediction.emotions.requires_grad


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder without a model"):
        tenuto.load(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_checkpoint_is_refused(saved, share):
    path = RunFolder(saved).checkpoint
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match="damaged"):
        tenuto.load(saved)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_checkpoint_with_weights_that_are_not_finite_is_refused(saved, value):
    path = RunFolder(saved).checkpoint
    arrays, metadata = read_safetensors(path)
    name = next(name for name, array in arrays.items() if array.dtype.kind == "f")
    arrays[name].flat[-1] = value
    write_safetensors(path, arrays, metadata)
    with pytest.raises(CheckpointError, match=f"'{name}' contains NaN or infinity"):
        tenuto.load(saved)


def test_a_checkpoint_with_a_changed_bit_is_refused(saved):
    path = RunFolder(saved).checkpoint
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="its weights have changed since it was written"):
        tenuto.load(saved)


def test_a_checkpoint_of_an_earlier_version_has_no_checksum(saved):
    path = RunFolder(saved).checkpoint
    arrays, metadata = read_safetensors(path)
    about = json.loads(metadata["tenuto"])
    assert about.pop("checksum")
    write_safetensors(path, arrays, {"tenuto": json.dumps(about)})
    assert tenuto.load(path).system == about["system"]


def test_an_unreadable_checkpoint_is_not_called_damaged(saved, monkeypatch):
    def refuse(path, *arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(FileError, match=r"checkpoint\.safetensors: cannot read.*permission"):
        tenuto.load(saved)


def test_foreign_safetensors_is_refused(tmp_path):
    path = write_safetensors(tmp_path / "foreign.safetensors", {"w": np.zeros(3)}, {})
    with pytest.raises(CheckpointError, match="not a Tenuto checkpoint"):
        tenuto.load(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "tenuto-checkpoint-9"),
        ("spectrogram", {"sample_rate": 16000}),
        ("width", 0.25),
        ("network", ["a2e"]),
        ("emotions", ["valence", "valence"]),
        ("emotions", "va"),
        ("concepts", ["one", "two", 3]),
        ("system", None),
        ("normalisation", {"mean": 0.4, "deviation": 0}),
        ("normalisation", {"mean": float("nan"), "deviation": 1}),
        ("normalisation", {"mean": "0.4", "deviation": 1}),
        ("scale", [1, 0]),
        ("scale", [1]),
        ("adopted", None),
        ("adopted", {"takes": "waveform"}),
    ],
)
def test_changed_metadata_is_refused(saved, key, value):
    path = RunFolder(saved).checkpoint
    arrays, metadata = read_safetensors(path)
    about = {**json.loads(metadata["tenuto"]), key: value}
    write_safetensors(path, arrays, {"tenuto": json.dumps(about)})
    with pytest.raises(CheckpointError, match="not a Tenuto checkpoint"):
        tenuto.load(path)


def test_a_bottleneck_whose_units_have_no_names_is_refused(recogniser, tmp_path):
    nameless = dataclasses.replace(recogniser, network=build("A2M2E", emotions=2, width=0.125), concepts=())
    checkpoint.save(tmp_path / "it.safetensors", nameless, {})
    with pytest.raises(CheckpointError, match="0 names of concepts for the network a2m2e"):
        tenuto.load(tmp_path / "it.safetensors")


def test_a_checkpoint_of_a_network_that_is_not_installed_says_so(saved):
    path = RunFolder(saved).checkpoint
    arrays, metadata = read_safetensors(path)
    about = {**json.loads(metadata["tenuto"]), "network": "transformer"}
    write_safetensors(path, arrays, {"tenuto": json.dumps(about)})
    with pytest.raises(CheckpointError, match=r"Unknown network 'transformer'.*Install the package"):
        tenuto.load(path)


def test_import_makes_a_run_that_predicts(tmp_path, song):
    path = tmp_path / "released.pt"
    torch.save(released_state(build("A2M2E")), path)
    folder = checkpoint.import_run(path, "A2B2E", 21, tmp_path / "runs")
    assert re.fullmatch("A2B2E-21-[0-9a-f]{8}", folder.name)
    profile = tenuto.load(folder).predict(song)
    assert tuple(profile.emotions) == EMOTIONS
    assert next(iter(profile.concepts or ())) == "unit_1"


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_weights_of_every_kind_become_arrays():
    number = torch.tensor([[1 + 2j]])
    for weights, expected in (
        (torch.eye(2).to_sparse(), [[1, 0], [0, 1]]),
        (torch.eye(2).to_sparse_csr(), [[1, 0], [0, 1]]),
        (number.to_sparse_csr(), [[[1, 2]]]),
        (number.conj(), [[[1, -2]]]),
        (number.conj().imag, [[-2]]),
        (torch.tensor([0.5], dtype=torch.bfloat16), [0.5]),
    ):
        np.testing.assert_array_equal(checkpoint.to_array(weights), expected)


def test_names_beyond_measure_are_refused_before_a_network_is_made(recogniser, tmp_path):
    arrays, metadata = _stored(recogniser, tmp_path)
    about = json.loads(metadata["tenuto"]) | {"concepts": [f"c{number}" for number in range(5000)]}
    path = tmp_path / "large.safetensors"
    write_safetensors(path, arrays, {**metadata, "tenuto": json.dumps(about)})
    with pytest.raises(CheckpointError, match="more than 4096 names"):
        tenuto.load(path)


def _stored(recogniser, folder):
    path = RunFolder(folder / "own").checkpoint
    checkpoint.save(path, recogniser, {"epoch": 7})
    return read_safetensors(path)
