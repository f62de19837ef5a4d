"""Settings of training: robust training, averaging, and bottlenecks."""

from __future__ import annotations

import re

import pytest

from tenuto.api.training import run_config
from tenuto.config import (
    RobustConfig,
    RunConfig,
    StudyConfig,
    merge,
    parse_yaml,
    preset_run,
    signature,
    to_yaml,
    with_system,
)
from tenuto.errors import ConfigError
from tenuto.study import plan
from tenuto.training.robust import build

FAST = {"method": "fast", "epsilon": 0.1}


def test_robust_training_and_averaging_that_are_off_change_no_signature():
    assert {"robust", "average"} <= RunConfig().train.model_dump().keys()
    assert not {"robust", "average"} & parse_yaml(to_yaml(RunConfig()), "x")["train"].keys()


@pytest.mark.parametrize(
    ("system", "name"), [("A2E", "A2E_fast"), ("A2M2E", "A2M2E_fast"), ("mine", "a2m2e_w0.3_fast")]
)
def test_a_run_is_named_after_its_robust_training(system, name):
    weights = {"A2M2E": 0.5, "mine": 0.3}
    network = "a2e" if system == "A2E" else "a2m2e"
    train = {"task_loss_weight": weights.get(system, 1.0), "robust": FAST}
    run = RunConfig.parse({"model": {"network": network}, "train": train}, "x")
    assert run.named().system == name
    assert signature(run, "data") != signature(
        RunConfig.parse(merge(run.model_dump(), {"train": {"robust": {"epsilon": 0.2}}}), "x"), "data"
    )


def test_the_name_of_a_method_is_enough():
    assert RunConfig.parse({"train": {"robust": "fast"}}, "x").train.robust == RobustConfig(method="fast")


def test_systems_of_a_study_are_trained_by_their_own_method():
    content = {"systems": {"A2E": None, "A2E_fast": {"network": "a2e", "robust": FAST}}, "seeds": [1]}
    study = StudyConfig.parse(content, "it.yaml")
    assert study.systems["A2E_fast"].robust == RobustConfig(method="fast", epsilon=0.1)
    assert StudyConfig.parse(parse_yaml(to_yaml(study), "x"), "x") == study
    assert [run.train.robust for run in plan.runs(study)] == [None, RobustConfig(method="fast", epsilon=0.1)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"adversarial": {}, "robust": "fast"}, "two ways to train and cannot be combined. Leave one"),
        ({"robust": {"epsilon": 0.1}}, "train.robust: epsilon needs a method of robust training. Choose one"),
        (
            {"robust": {"method": "fast", "epsilons": 0.1}},
            "unknown key train.robust.epsilons. Did you mean epsilon",
        ),
        ({"robust": {"method": "fast", "epsilon": 0}}, "robust.epsilon: must be a number greater than 0"),
        ({"robust": {"method": "pgd", "steps": 1.5}}, "robust.steps: must be a whole number"),
        ({"average": 1}, "train.average: must be a number greater than 0 and at most 0.99999, got 1"),
    ],
)
def test_robust_training_that_cannot_be_is_refused(content, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        RunConfig.parse({"train": content}, "it.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"run": {"train": {"robust": "fast"}}, "systems": ["A2E"]},
            "run.train.robust is decided by systems",
        ),
        (
            {"systems": {"mine": {"network": "a2e", "adversarial": True, "robust": "fast"}}},
            "cannot be combined",
        ),
        ({"systems": {"mine": {"robust": "fast"}}}, "needs a network to train"),
    ],
)
def test_a_study_that_trains_robustly_in_two_ways_is_refused(content, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        StudyConfig.parse({"seeds": [1], **content}, "it.yaml")


def test_a_sequential_bottleneck_trains_concepts_alone_and_keeps_other_signatures():
    joint = preset_run(None, "A2M2E", 6)
    content = {"model": {"network": "a2m2e"}, "train": {"bottleneck": "sequential"}}
    run = RunConfig.parse(content, "x").named()
    assert (run.system, run.train.task_loss_weight) == ("A2M2E_sequential", 0)
    assert RunConfig.parse(parse_yaml(to_yaml(run), "x"), "x") == run
    assert RunConfig.parse({"train": {"bottleneck": "joint"}}, "x") == RunConfig()
    assert "bottleneck" not in to_yaml(joint)
    study = StudyConfig.parse(
        {"systems": {"mine": {"network": "a2m2e", "bottleneck": "independent"}}, "seeds": [1]}, "x"
    )
    assert StudyConfig.parse(parse_yaml(to_yaml(study), "x"), "x") == study
    with_own = with_system(run.model_dump(mode="json"), "mine", study.systems)
    assert RunConfig.parse(with_own, "x").train.bottleneck == "independent"
    again = RunConfig.parse(with_system(with_own, "A2M2E"), "x").named()
    assert (again.system, again.train.bottleneck, again.train.task_loss_weight) == ("A2M2E", None, 0.5)


@pytest.mark.parametrize(("bottleneck", "weight"), [(None, 0.5), ("joint", 0.5), ("independent", 0)])
def test_a_system_keeps_its_weight_unless_its_bottleneck_is_trained_in_another_way(bottleneck, weight):
    train = run_config("A2M2E", settings={"train": {"bottleneck": bottleneck}}).train
    assert (train.bottleneck or "joint", train.task_loss_weight) == (bottleneck or "joint", weight)


@pytest.mark.parametrize(
    ("robust", "expected"),
    [
        ("fast", {"method": "fast"}),
        ({"method": "fast", "epsilon": 0.1}, {"method": "fast", "epsilon": 0.1}),
        ({"method": "trades", "steps": 2}, {"method": "trades", "epsilon": 0.05, "steps": 2, "weight": 6}),
        ({"steps": 2}, {"method": "trades", "epsilon": 0.05, "steps": 2, "weight": 6}),
    ],
)
def test_another_method_takes_no_settings_from_that_of_a_preset(robust, expected):
    config = run_config("A2E", "robust-trades", {"train": {"robust": robust}})
    assert config.train.robust == RobustConfig(**expected)


@pytest.mark.parametrize(
    ("preset", "robust", "expected"),
    [
        ("robust-fast", {"db": 40}, {"method": "fast", "db": 40}),
        ("robust-fast", {"domain": "waveform"}, {"method": "fast", "domain": "waveform"}),
        ("robust-free", {"db": 40, "epsilon": None}, {"method": "free", "db": 40, "replays": 4}),
        ("robust-noise", {"domain": "waveform"}, {"method": "noise", "domain": "waveform"}),
        (
            "robust-noise",
            {"domain": "waveform", "sigma": 0.01},
            {"method": "noise", "domain": "waveform", "sigma": 0.01},
        ),
        ("robust-noise", {"sigma": 0.5}, {"method": "noise", "sigma": 0.5}),
    ],
)
def test_a_level_of_a_preset_is_not_read_in_another_unit(preset, robust, expected):
    config = run_config("A2E", preset, {"train": {"robust": robust}})
    assert config.train.robust == RobustConfig(**expected)


def test_another_level_of_the_sound_replaces_one_in_decibels(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("train: {robust: {method: fast, db: 40, step_size: 2}}\n")
    config = run_config("A2E", str(path), {"train": {"robust": {"epsilon": 0.001}}})
    assert config.train.robust == RobustConfig(method="fast", domain="waveform", epsilon=0.001)
    config = run_config("A2E", str(path), {"train": {"robust": {"domain": "waveform"}}})
    assert config.train.robust == RobustConfig(method="fast", domain="waveform", db=40, step_size=2)


def test_a_preset_in_another_domain_asks_for_a_level():
    for preset, message in (("robust-fast", "Waveforms need a budget"), ("robust-noise", "no usual level")):
        robust = run_config("A2E", preset, {"train": {"robust": {"domain": "waveform"}}}).train.robust
        assert robust is not None
        with pytest.raises(ConfigError, match=message):
            build(robust)


def test_settings_extend_a_method_that_a_file_names_alone(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("train: {robust: pgd}\n")
    config = run_config("A2E", str(path), {"train": {"robust": {"steps": 2}}})
    assert config.train.robust == RobustConfig(method="pgd", steps=2)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            {"bottleneck": "sequential", "task_loss_weight": 0.5},
            "task_loss_weight is 0.5, but bottleneck seq",
        ),
        ({"bottleneck": "sequential", "adversarial": {}}, "which bottleneck sequential does not train"),
        ({"bottleneck": "parallel"}, "train.bottleneck"),
    ],
)
def test_settings_that_contradict_a_bottleneck_are_refused(train, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.parse({"train": train}, "x")
    if "adversarial" in train:
        train = {**train, "adversarial": True}
    with pytest.raises(ConfigError, match=message.removeprefix("train.")):
        StudyConfig.parse({"systems": {"mine": {"network": "a2m2e", **train}}, "seeds": [1]}, "x")
