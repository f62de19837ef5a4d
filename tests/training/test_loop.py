"""The training loop: its loss, its score, its early stopping, and what a run leaves."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
import torch

from tenuto.config import SYSTEMS, to_yaml
from tenuto.data.batches import Material
from tenuto.data.splits import read_split
from tenuto.errors import ConfigError, DataError, TenutoError
from tenuto.files import read_csv, read_json, read_safetensors
from tenuto.models import build
from tenuto.models.checkpoint import load
from tenuto.training import loop
from tenuto.training.state import State
from tests import small_runs
from tests.small_runs import EVERYTHING, kept_epoch, numbers, settings


@pytest.fixture(scope="module")
def unrated(tmp_path_factory):
    return small_runs.unrated(tmp_path_factory.mktemp("unrated"))


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Two emotions, one concept."""
    return small_runs.own(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def undisturbed(prepared, tmp_path_factory):
    return loop.train(EVERYTHING, prepared, tmp_path_factory.mktemp("runs"))


# What a run leaves


def test_a_run_leaves_what_the_design_says(undisturbed, prepared):
    left = {path.name for path in undisturbed.iterdir() if path.is_file()}
    assert left == {"config.yaml", "split.csv", "checkpoint.safetensors", "history.csv", "training.json"}
    assert (undisturbed / "config.yaml").read_text() == to_yaml(EVERYTHING.resolved())
    history = read_csv(undisturbed / "history.csv")
    assert list(history) == ["epoch", "loss", "validation_emotions", "validation_concepts", "score"]
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert load(undisturbed).fingerprint == prepared.fingerprint


def test_the_result_is_the_best_row_of_history(undisturbed):
    history, result = read_csv(undisturbed / "history.csv"), read_json(undisturbed / "training.json")
    best = history[history["score"] == history["score"].max()].iloc[-1]  # the last of equals
    assert (result["best_epoch"], result["best_score"]) == (best["epoch"], best["score"])
    assert result["epochs"] == 4
    assert kept_epoch(undisturbed) == best["epoch"]
    assert history["loss"].is_monotonic_decreasing


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_trains(system, prepared, tmp_path):
    run = loop.train(settings(system, epochs=2), prepared, tmp_path)
    assert run.name.startswith(f"{system}-6-")
    recogniser = load(run)
    assert recogniser.system == system
    assert recogniser.emotions == prepared.index.emotions
    units = {"A2M2E": prepared.index.concepts, "A2E": (), "aA2E": ()}
    assert recogniser.concepts == units.get(system, tuple(f"unit_{n}" for n in range(1, 8)))
    assert len(read_csv(run / "history.csv")) == 2


def test_other_emotions_and_one_concept_train(own, tmp_path):
    run = loop.train(settings("A2M2E", epochs=2), own, tmp_path)
    assert (load(run).emotions, load(run).concepts) == (("arousal", "joy"), ("roughness",))


def test_other_data_get_another_folder(prepared, tmp_path):
    other = dataclasses.replace(prepared, fingerprint="0" * 64)
    one, two = (loop.run_folder(tmp_path, EVERYTHING, data) for data in (prepared, other))
    assert one != two


@pytest.mark.parametrize("system", ["A2E", "A2M2E"])
@pytest.mark.parametrize("select", ["mae", "loss"])
def test_the_checkpoint_can_be_chosen_by_an_error(own, tmp_path, system, select):
    run = loop.train(settings(system, epochs=3, select=select), own, tmp_path)
    history, result = read_csv(run / "history.csv"), read_json(run / "training.json")
    assert history["score"].tolist() == (-history[f"validation_{select}"]).tolist()
    assert result["best_score"] == -history[f"validation_{select}"].min()
    assert result["select"] == select
    assert loop.remarks(run)[0].endswith(f"validation {select} {-result['best_score']:.4f}")
    part = Material(own, settings().data).part("validation")
    prediction = load(run).network.eval()(part.inputs)
    error = (prediction.emotions.detach() - part.labels).abs().mean()
    if (select, system) == ("mae", "A2E"):
        assert float(error) == pytest.approx(-result["best_score"], abs=1e-6)


def test_correlation_is_the_default_and_changes_no_signature():
    assert settings(select="correlation") == settings()
    assert "select" not in to_yaml(settings())


def constant_in_validation(prepared, column):
    """The same data with one value of an emotion in all validation clips."""
    labels = prepared.index.labels.copy()
    labels[prepared.places(Material(prepared, settings().data).split.validation), column] = 0.5
    return dataclasses.replace(prepared, index=dataclasses.replace(prepared.index, labels=labels))


def test_chosen_by_an_error_the_validation_clips_may_be_constant(own, tmp_path):
    constant = constant_in_validation(own, 0)
    with pytest.raises(DataError, match="choose the checkpoint with `select=mae`"):
        loop.train(settings(epochs=1), constant, tmp_path / "runs")
    assert loop.train(settings(epochs=1, select="mae"), constant, tmp_path / "runs").is_dir()


def test_the_content_of_a_split_file_names_the_run_and_its_path_does_not(prepared, tmp_path):
    clips = prepared.index.clips
    rows = [f"{clip},{'test' if place < 5 else 'train'}" for place, clip in enumerate(clips)]
    names = []
    for place, content in (("a.csv", rows), ("b.csv", rows), ("b.csv", rows[:-1])):
        path = tmp_path / place
        path.write_text("\n".join(["clip,split", *content]))
        names.append(loop.run_folder(tmp_path, settings(data={"split": str(path)}), prepared).name)
    assert names[0] == names[1] != names[2]
    run = loop.train(settings(data={"split": str(tmp_path / "a.csv")}, epochs=1), prepared, tmp_path / "runs")
    assert read_split(run / "split.csv").test == clips[:5]


def test_a_sink_gets_every_number_of_every_epoch(prepared, tmp_path):
    seen: list[tuple[int, str, float]] = []
    closed = []

    class Board:
        def log(self, step, values):
            seen.extend((step, name, value) for name, value in values.items())

        def close(self):
            closed.append(True)

    run = loop.train(settings(epochs=2), prepared, tmp_path, log=Board())
    rows = read_csv(run / "history.csv").set_index("epoch")
    expected = {(epoch, name, rows.loc[epoch, name]) for epoch in rows.index for name in rows.columns}
    assert set(seen) == expected
    assert closed == [True]


# The same numbers


def test_the_same_seed_gives_the_same_numbers(prepared, undisturbed, tmp_path):
    torch.manual_seed(12345)  # what the process did before must not matter
    assert numbers(loop.train(EVERYTHING, prepared, tmp_path)) == numbers(undisturbed)


def test_another_seed_gives_other_numbers(prepared, tmp_path):
    weights = [
        load(loop.train(settings(epochs=1, seed=seed), prepared, tmp_path)).network.state_dict()
        for seed in (1, 2)
    ]
    name = "head.emotions.weight"
    assert not torch.allclose(weights[0][name], weights[1][name])


def test_excerpts_decide_the_numbers(prepared, tmp_path):
    """Clips of 400 frames: fixed and fresh excerpts train on different music."""
    noise = np.random.default_rng(0).random((30, 400, 149), np.float32)
    long = dataclasses.replace(prepared, spectrograms=tuple(noise))
    fixed, fresh = (
        loop.train(settings(epochs=1, data={"excerpts": kind}), long, tmp_path) for kind in ("fixed", "fresh")
    )
    assert (fixed / "history.csv").read_text() != (fresh / "history.csv").read_text()


def test_training_leaves_the_global_generators_as_found(prepared, tmp_path):
    torch.manual_seed(987)  # a state in which no run ends
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    loop.train(settings(epochs=1), prepared, tmp_path)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before[1:]  # noqa: NPY002


def test_bfloat16_learns_as_float32_does(prepared, undisturbed, tmp_path):
    """Every update sees the weights of the last: losses fall alike, and differ in their later digits."""
    config = settings("A2M2E", epochs=2, adversarial=small_runs.ATTACKED, precision="bfloat16")
    losses, plain = (
        read_csv(run / "history.csv")["loss"].to_numpy()
        for run in (loop.train(config, prepared, tmp_path), undisturbed)
    )
    np.testing.assert_allclose(losses, plain[:2], rtol=0.1)
    assert (losses != plain[:2]).all()


# Refusals


def test_concepts_without_ratings_are_refused_before_anything_is_written(unrated, tmp_path):
    with pytest.raises(ConfigError, match="soundtracks has no concept ratings"):
        loop.train(settings("A2M2E"), unrated, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_refused(prepared, tmp_path):
    with pytest.raises(ConfigError, match="no usable GPU"):
        loop.train(settings(), prepared, tmp_path, device="cuda")


def test_diverged_training_ends_in_one_sentence(prepared, tmp_path):
    config = settings()
    hot = config.train.model_copy(update={"learning_rate": 1e30})  # more than a configuration allows
    with pytest.raises(
        TenutoError, match=r"^A2E-6-\w{8}: no epoch had a defined .*lower the learning rate\.$"
    ):
        loop.train(config.model_copy(update={"train": hot}), prepared, tmp_path)


def test_one_validation_clip_is_refused_before_training(prepared, tmp_path):
    parts = ["validation", "test", "test", *["train"] * 27]
    rows = [f"{clip},{part}" for clip, part in zip(prepared.index.clips, parts, strict=True)]
    (tmp_path / "split.csv").write_text("\n".join(["clip,split", *rows]))
    with pytest.raises(DataError, match=r"1 clip.*validation.*at least two"):
        loop.train(settings(data={"split": str(tmp_path / "split.csv")}), prepared, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_an_emotion_that_is_constant_in_the_validation_clips_is_refused_before_training(prepared, tmp_path):
    with pytest.raises(DataError, match=f"emotion {prepared.index.emotions[2]}: all 3 validation clips"):
        loop.train(settings(), constant_in_validation(prepared, 2), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            lambda index: index.labels[:, :2],
            "train.adversarial: The model has 2 outputs, .* use measure='mse'",
        ),
        (
            lambda index: index.labels * [[clip == index.clips[0]] * 8 for clip in index.clips],
            "of clips? .* equal",
        ),
    ],
)
def test_clips_that_adversarial_training_cannot_attack_are_refused_before_training(
    labels, message, prepared, tmp_path
):
    values = labels(prepared.index) + np.random.default_rng(0).random(len(prepared.index))[:, None]
    emotions = prepared.index.emotions[: values.shape[1]]
    index = dataclasses.replace(prepared.index, labels=values, emotions=emotions)
    with pytest.raises(ConfigError, match=message):
        loop.train(settings("aA2E"), dataclasses.replace(prepared, index=index), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


# Early stopping


@pytest.fixture
def scripted(prepared, tmp_path, monkeypatch):
    """Train with validation scores that were written down beforehand."""

    def train(scores, **settled):
        left = iter(scores)
        monkeypatch.setattr(loop, "_validate", lambda *_: {"score": next(left)})
        return loop.train(settings(epochs=len(scores), **settled), prepared, tmp_path)

    return train


@pytest.mark.parametrize(
    ("patience", "scores", "best", "stopped"),
    [
        (2, [0.5, 0.4, 0.4, 0.9], 1, 3),
        (2, [0.5, 0.5, 0.4, 0.4, 0.9], 2, 4),
        (2, [0.5, 0.4, 0.5, 0.4, 0.5, 0.4], 5, 6),
        (3, [0.5, 0.4, 0.6, 0.1, 0.2, 0.3, 0.9], 3, 6),
        (2, [math.nan, 0.1, math.nan, math.nan, 0.9], 2, 4),
        (9, [-0.3, -0.2, -0.4], 2, 3),
    ],
    ids=["in a row", "equal is better", "equal later", "count starts again", "NaN never", "epochs run out"],
)
def test_training_stops_at_the_last_epoch_of_patience(scripted, monkeypatch, patience, scores, best, stopped):
    monkeypatch.setattr(loop, "_epoch", lambda *_: 0.0)
    run = scripted(scores, patience=patience)
    result = read_json(run / "training.json")
    assert (result["best_epoch"], result["epochs"]) == (best, stopped)
    assert result["best_score"] == scores[best - 1]
    assert kept_epoch(run) == best
    assert len(read_csv(run / "history.csv")) == stopped


def test_the_best_epoch_s_weights_are_kept(scripted):
    early, _ = read_safetensors(scripted([0.9]) / "checkpoint.safetensors")
    late, _ = read_safetensors(scripted([0.9, 0.1, 0.1]) / "checkpoint.safetensors")
    assert {name: array.tobytes() for name, array in early.items()} == {
        name: array.tobytes() for name, array in late.items()
    }


@pytest.mark.parametrize(
    ("epoch", "best_epoch", "done"),
    [(0, 0, False), (49, 0, False), (50, 0, True), (99, 50, False), (100, 50, True), (199, 190, True)],
)
def test_done(epoch, best_epoch, done):
    config = settings(epochs=199, patience=50)
    network = build("A2E", width=0.0625)
    state = State(network, torch.optim.Adam(network.parameters()), epoch, best_epoch)
    assert state.is_done(config) == done
