"""One contract over all kinds of recogniser, trained here or adopted from elsewhere."""

from __future__ import annotations

import importlib.util
import io
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import tenuto
from tenuto.attacks import APGD, SNR, Square
from tenuto.config import DataConfig, FolderConfig
from tenuto.data.inputs import FeatureInputs
from tenuto.errors import AudioError, CheckpointError, ConfigError, RandomModelWarning
from tenuto.models import Recogniser
from tenuto.models.portable import to_torchscript
from tenuto.models.recogniser import predict
from tenuto.training import train
from tests import corpora, foreign_models, small_runs

FILE = Path(foreign_models.__file__)
WAVEFORM = {"sample_rate": foreign_models.RATE, "seconds": foreign_models.SECONDS, "scale": (-1, 1)}
DATA = DataConfig(
    dataset="folder",
    split="random",
    folder=FolderConfig(
        ratings="table.csv",
        id_column="song",
        emotions=("arousal", "joy"),
        scale=(1, 7),
        album_column="record",
    ),
)


def named(name, **settings):
    """The settings of `tenuto.adopt` for a function of `tests.foreign_models`."""
    return {"model": f"{FILE}:{name}", "emotions": "arousal,joy", **settings}


def scripted(root):
    path = root / "scripted.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(foreign_models.waveform()).save(path)
    return {"model": path, "emotions": "arousal,joy", **WAVEFORM}


def exported(root):
    path = root / "exported.pt2"
    dynamic = {"waveform": {0: torch.export.Dim("clips", min=1, max=64)}}
    example = torch.zeros(2, round(foreign_models.RATE * foreign_models.SECONDS))
    torch.export.save(
        torch.export.export(foreign_models.waveform().eval(), (example,), dynamic_shapes=dynamic), path
    )
    return {"model": path, "emotions": "arousal,joy", **WAVEFORM}


def onnx(root):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    path = root / "model.onnx"
    example = torch.zeros(2, round(foreign_models.RATE * foreign_models.SECONDS))
    with warnings.catch_warnings():  # the exporter's own
        warnings.simplefilter("ignore")
        torch.onnx.export(
            foreign_models.waveform().eval(),
            (example,),
            path,
            dynamic_shapes={"waveform": {0: torch.export.Dim("clips", min=1, max=64)}},
            verbose=False,
        )
    return {"model": path, "emotions": "arousal,joy", **WAVEFORM}


def pipeline(root):
    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("scikit-learn is not installed")
    file = root / "pipeline.py"
    file.write_text(
        "import numpy as np\n"
        "from sklearn.linear_model import Ridge\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "def describe(waveform):\n"
        "    return np.array([np.abs(waveform).mean(), waveform.std(), waveform.max()])\n"
        "def build():\n"
        "    chance = np.random.default_rng(0)\n"
        "    return make_pipeline(StandardScaler(), Ridge()).fit(chance.random((20, 3)), chance.random((20, 2)))\n"
    )
    window = {"sample_rate": foreign_models.RATE, "seconds": foreign_models.SECONDS}
    front_end = f"{file}:describe"
    return {
        "model": f"{file}:build",
        "emotions": "arousal,joy",
        "takes": "features",
        "front_end": front_end,
        **window,
    }


KINDS = {
    "waveform": lambda root: named("waveform", **WAVEFORM),
    "one output": lambda root: named("one_output", **WAVEFORM) | {"emotions": "joy"},
    "dict": lambda root: named("wrapped", output="logits", **WAVEFORM),
    "attribute": lambda root: named("attributes", output="emotions", **WAVEFORM),
    "log spectrogram": lambda root: named(
        "spectrogram", takes="log-spectrogram", concepts="mode", normalisation=(0.4, 0.4), scale=(-1, 1)
    ),
    "features": lambda root: named("bands", takes="features", front_end=f"{FILE}:spectrum", **WAVEFORM),
    "black box": lambda root: named("descriptors", pooling="median", **WAVEFORM),
    "object": lambda root: {"model": foreign_models.waveform(), "emotions": ["arousal", "joy"], **WAVEFORM},
    "TorchScript": scripted,
    "torch.export": exported,
    "ONNX": onnx,
    "scikit-learn": pipeline,
}
BLACK_BOXES = {"black box", "scikit-learn"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of rated recordings and an empty list of trusted code."""
    root = tmp_path_factory.mktemp("adopted")
    corpora.folder(root / "data", small_runs.CLIPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(root / "state"))
        patch.setenv("TENUTO_CACHE", str(root / "cache"))
        yield root


@pytest.fixture(scope="module", params=[*KINDS, "A2E", "A2M2E"])
def opened(request, place):
    """An open run of every kind, and what `open_run` needs to open it again."""
    if request.param in KINDS:
        settings = KINDS[request.param](place)
        run = tenuto.adopt(**settings, root=place / "data", data=DATA, runs=place / "runs", threads=1)
        return run, {"model": settings["model"]} if request.param == "object" else {}
    data = DATA.model_dump(exclude_none=True)
    data["folder"]["concepts"] = ["roughness"]
    config = small_runs.settings(request.param, epochs=1, data=data)
    folder = train(config, tenuto.prepare(place / "data", config.data), place / "runs")
    return tenuto.open_run(folder, place / "data"), {}


def test_it_predicts_a_recording_on_its_own_scale(opened, place):
    run, _ = opened
    profile = run.predict(place / "data" / "disc 1" / "song 1.flac")
    assert tuple(profile.emotions) == run.model.emotions
    assert np.isfinite(list(profile.emotions.values())).all()
    assert set(profile.concepts or {}) == set(run.model.concepts)


def test_it_is_judged_on_the_scale_of_the_labels(opened):
    run, _ = opened
    low, high = run.model.scale
    own = predict(run.model.network, run.part("test").inputs).emotions
    own = own[:, [run.model.emotions.index(name) for name in run.recogniser.emotions]]
    expected = 1 / 7 + (own - low) * (1 - 1 / 7) / (high - low)
    judged = predict(run.recogniser.network, run.part("test").inputs).emotions
    torch.testing.assert_close(judged, expected)


def test_a_batch_is_predicted_as_its_clips_one_by_one(opened):
    run, _ = opened
    inputs = run.part("train").inputs[:5]
    together = predict(run.recogniser.network, inputs).emotions
    alone = torch.cat([predict(run.recogniser.network, one[None]).emotions for one in inputs])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_it_has_the_gradient_it_states(opened, request):
    run, _ = opened
    kind = request.node.callspec.params["opened"]
    assert run.recogniser.has_gradient == (kind not in BLACK_BOXES)
    inputs = run.part("test").inputs.clone().requires_grad_()
    emotions = run.recogniser(inputs).emotions
    if run.recogniser.has_gradient:
        (gradient,) = torch.autograd.grad(emotions.sum(), inputs)
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() > 0
    else:
        assert not emotions.requires_grad


@pytest.mark.parametrize("opened", ["waveform", "log spectrogram", "features"], indirect=True)
def test_it_has_a_corruption_error(opened):
    """Whatever it takes: samples at 8 kHz, a log spectrogram, or features."""
    run, _ = opened
    lines = run.natural(protocol="natural-2")
    assert len(lines) == 55
    measured = lines[lines["clips"] > 0]
    assert set(measured["kind"]) >= {"gain", "reverberation", "crowd noise", "mp3", "pitch", "tempo"}
    assert np.isfinite(measured["mae"]).all()
    assert tenuto.corruption_error(run.folder)["clips"].item() == len(run.part("test"))


def test_a_budget_of_waveforms_is_for_the_samples_of_its_clips(opened):
    """The clips have 0.6 s: enough for the windows of these models of waveforms, not for an excerpt of ten seconds."""
    run, _ = opened
    attack = APGD(SNR(30), steps=1) if run.recogniser.has_gradient else Square(SNR(30), queries=4)
    if isinstance(run.recogniser.inputs, FeatureInputs):
        with pytest.raises(ConfigError, match="and no gradient flows through that front end"):
            run.attack(attack)
    elif not run.recogniser.inputs.is_sound:
        with pytest.raises(AudioError, match=r"clip .*: has 0\.\d+ s without silence at its ends"):
            run.attack(attack)
    else:
        rows = run.attack(attack)
        has_effect = rows["l2"] > 0
        assert (rows.loc[has_effect, "snr_db"] >= 30 - 1e-5).all()
        assert rows.loc[has_effect, ["nmr_db", "survives_16_bit", "survives_mp3"]].notna().all().all()


def predictions_elsewhere(folder, root, needs):
    """Predictions for the test clips in a process of its own; only the path of the folder gets there."""
    run = tenuto.open_run(folder, root, **needs)
    return predict(run.recogniser.network, run.part("test").inputs).emotions.numpy()


@pytest.fixture(scope="module")
def worker():
    """One process for all kinds."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_a_worker_opens_it_by_its_folder(opened, place, worker):
    run, needs = opened
    needs = {"model": foreign_models.waveform()} if needs else {}
    here = predictions_elsewhere(run.folder, place / "data", needs)
    there = worker.submit(predictions_elsewhere, run.folder, place / "data", needs).result()
    np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["TorchScript", "ONNX"])
def test_a_lost_copy_of_a_model_file_is_taken_from_the_original(kind, place):
    if kind == "ONNX":
        pytest.importorskip("onnxruntime")
    settings = KINDS[kind](place)
    run = tenuto.adopt(**settings, root=place / "data", data=DATA, runs=place / "lost", threads=1)
    (copy,) = run.folder.glob("model.*")
    copy.unlink()
    with pytest.raises(
        CheckpointError, match=r"the copy of the adopted model is missing\. Copy the file of the model"
    ):
        tenuto.open_run(run.folder, place / "data")
    again = tenuto.open_run(run.folder, place / "data", model=str(settings["model"]))
    assert again.model.emotions == run.model.emotions


def test_without_data_it_is_a_recogniser(place):
    model = tenuto.adopt(**KINDS["waveform"](place))
    assert isinstance(model, Recogniser)
    assert set(tenuto.predict(model, place / "data" / "disc 1" / "song 1.flac")) == {"arousal", "joy"}


def test_a_random_model_is_reported_when_it_is_adopted():
    class Rolling(torch.nn.Module):
        def forward(self, waveform):
            return torch.rand(len(waveform), 1)

    with pytest.warns(RandomModelWarning, match="draws random numbers"):
        tenuto.adopt(Rolling(), emotions="joy", scale=(0, 1), takes="waveform", sample_rate=8000, seconds=1)


@pytest.mark.parametrize(
    ("front_end", "message"),
    [
        (np.fft.rfft, "finite numbers, got the type complex"),
        (np.sum, "finite numbers, got one number"),
        (np.log, "finite numbers, got NaN or infinity"),
        (lambda waveform: waveform.no_such, "the front end failed on a waveform of shape"),
    ],
)
def test_features_that_are_no_finite_numbers_are_refused(front_end, message):
    with np.errstate(all="ignore"), pytest.raises(ConfigError, match=message):
        tenuto.adopt(torch.nn.Linear(5, 1), emotions="joy", takes="features", front_end=front_end)


class Masked(torch.nn.Module):
    """Two outputs; a buffer of infinities, as attention masks have."""

    mask: torch.Tensor

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(800, 2)
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))

    def forward(self, waveform):
        return self.layer(waveform) + torch.softmax(self.mask, 1)[0]


def test_an_adopted_model_is_exported_for_any_number_of_windows(tmp_path):
    model = tenuto.adopt(
        Masked(), emotions="a,b", scale=(0, 1), takes="waveform", sample_rate=8000, seconds=0.1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.load(io.BytesIO(to_torchscript(model)))
    for count in (1, 2, 3):
        windows = torch.rand(count, 800)
        torch.testing.assert_close(traced(windows), model(windows).emotions)


def test_weights_that_are_infinite_do_not_keep_an_adopted_run_shut(tmp_path):
    corpora.folder(tmp_path / "music", 30)
    columns = FolderConfig(
        ratings="table.csv", id_column="song", emotions=("arousal", "joy"), scale=(1.0, 7.0)
    )
    data = DataConfig(dataset="folder", folder=columns, split="random")
    run = tenuto.adopt(
        Masked(),
        emotions="arousal,joy",
        scale=(0, 1),
        takes="waveform",
        sample_rate=8000,
        seconds=0.1,
        root=tmp_path / "music",
        data=data,
        runs=tmp_path / "runs",
        cache=tmp_path / "cache",
    )
    again = tenuto.open_run(run.folder, tmp_path / "music", model=Masked(), cache=tmp_path / "cache")
    assert again.recogniser.emotions == ("arousal", "joy")
