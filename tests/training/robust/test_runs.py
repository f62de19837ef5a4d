"""Whole runs of robust training: resumed to the same bytes, in any precision, domain and kind of bottleneck."""

from __future__ import annotations

import pytest
import torch

from tenuto.config import RunConfig, parse_yaml, to_yaml
from tenuto.data import prepare
from tenuto.errors import ConfigError
from tenuto.files import read_csv
from tenuto.models.backbone import Backbone
from tenuto.models.sound import SoundNetwork
from tenuto.store.run import RunFolder
from tenuto.training import loop
from tests import corpora, small_runs
from tests.small_runs import numbers, settings

METHODS = {
    "noise": {"method": "noise"},
    "fast": {"method": "fast"},
    "free": {"method": "free", "replays": 2},
    "trades": {"method": "trades", "steps": 1},
}


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("noise", {"average": 0.9}),
        ("fast", {"average": 0.9, "precision": "bfloat16"}),
        ("free", {}),
        ("trades", {}),
    ],
)
def test_an_interrupted_run_ends_with_the_numbers_of_an_undisturbed_one(method, changes, prepared, tmp_path):
    config = settings("A2M2E", epochs=2, robust=METHODS[method], **changes)
    undisturbed = loop.train(config, prepared, tmp_path / "whole")
    assert undisturbed.name.startswith(f"A2M2E_{method}-6-")
    with pytest.raises(small_runs.InterruptionError):
        loop.train(config, prepared, tmp_path / "parts", progress=small_runs.interrupt)
    assert numbers(loop.train(config, prepared, tmp_path / "parts")) == numbers(undisturbed)
    stored = RunFolder(undisturbed).read_config()
    assert loop.run_folder(tmp_path / "whole", stored, prepared) == undisturbed  # with its defaults filled in
    assert all(map(torch.isfinite, map(torch.tensor, read_csv(undisturbed / "history.csv")["loss"])))


def test_attacks_and_updates_in_bfloat16_are_in_bfloat16(prepared, tmp_path, monkeypatch):
    seen, forward = [], Backbone.forward

    def recorded(self, excerpts):
        features = forward(self, excerpts)
        seen.append((self.training, features.dtype))
        return features

    monkeypatch.setattr(Backbone, "forward", recorded)
    loop.train(settings(epochs=1, robust="fast", precision="bfloat16"), prepared, tmp_path)
    lowered = [training for training, dtype in seen if dtype == torch.bfloat16]
    assert lowered.count(True) == lowered.count(False) == 6  # batches
    assert seen[-1] == (False, torch.float32)  # validation


def test_a_sequential_bottleneck_is_attacked_by_its_concepts(prepared, tmp_path):
    """Its loss has no emotions, so an attack on them would leave the inputs alone."""
    joint = settings("A2M2E", epochs=1).model_dump(mode="json")
    plain = {**joint["train"], "bottleneck": "sequential", "task_loss_weight": 0}
    configs = [
        RunConfig.parse({**joint, "train": {**plain, "robust": robust}}, "a test").named()
        for robust in (None, "fast")
    ]
    runs = [loop.train(config, prepared, tmp_path) for config in configs]
    assert runs[1].name.startswith("A2M2E_sequential_fast-6-")
    clean, attacked = (read_csv(run / "history.csv")["loss"][0] for run in runs)
    assert attacked > clean


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """Clips of more than ten seconds."""
    root = tmp_path_factory.mktemp("long")
    return prepare(corpora.soundtracks(root / "data", 30, seconds=10.6), root / "cache", workers=1)


@pytest.fixture(scope="module")
def plain_loss(long, tmp_path_factory):
    """Of an epoch of plain training."""
    run = loop.train(settings(epochs=1), long, tmp_path_factory.mktemp("plain"))
    return read_csv(run / "history.csv")["loss"][0]


@pytest.mark.parametrize(
    "robust", [{"method": "fast", "db": 40}, {"method": "noise", "domain": "waveform", "sigma": 1e-3}]
)
def test_training_in_the_waveform_makes_a_network_of_spectrograms(
    robust, long, plain_loss, tmp_path, monkeypatch
):
    shapes, excerpts = [], SoundNetwork.excerpts

    def recorded(self, waveforms):
        shapes.append(tuple(waveforms.shape))
        return excerpts(self, waveforms)

    monkeypatch.setattr(SoundNetwork, "excerpts", recorded)
    run = loop.train(settings(epochs=1, robust=robust), long, tmp_path)
    assert set(shapes) == {(4, 221_843)}
    loss = read_csv(run / "history.csv")["loss"][0]
    assert loss != plain_loss
    assert loss == pytest.approx(plain_loss, rel=0.2)  # a faint perturbation of the same clips
    about = RunFolder(run).read_config()
    assert about.train.robust.domain == "waveform"
    assert RunConfig.parse(parse_yaml(to_yaml(about), "x"), "x") == about


def test_short_clips_are_refused_before_training_in_the_waveform(prepared, tmp_path):
    with pytest.raises(ConfigError, match=r"train.robust: clips \d+.* have less than 313 frames"):
        loop.train(settings(robust={"method": "fast", "db": 40}), prepared, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_wrong_setting_is_refused_before_training(prepared, tmp_path):
    with pytest.raises(ConfigError, match="noise has no setting `steps`"):
        loop.train(settings(robust={"method": "noise", "steps": 3}), prepared, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
