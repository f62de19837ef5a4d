"""A study's plan: which runs, in which order, with which settings, and how it is smaller than the paper's."""

from __future__ import annotations

import pytest

from tenuto.config import SYSTEMS, StudyConfig, preset_run, read_preset
from tenuto.study.plan import reductions, runs

PAPER_SEEDS = (6, 21, 42, 796, 950, 2025, 2324, 2451, 3100, 7192)


@pytest.fixture
def paper():
    """The whole study."""
    content = {"systems": list(SYSTEMS), "seeds": PAPER_SEEDS, "run": read_preset("paper-2025")}
    return StudyConfig.parse(content, "the paper")


def test_the_paper_s_study_is_fifty_runs_of_its_preset(paper):
    wanted = [preset_run("paper-2025", system, seed) for system in SYSTEMS for seed in PAPER_SEEDS]
    assert runs(paper) == wanted
    assert len(wanted) == 50


def test_systems_come_first_in_the_order_given():
    study = StudyConfig(systems=("aA2E", "A2M2E"), seeds=(9, 3))
    assert [(run.system, run.train.seed) for run in runs(study)] == [
        ("aA2E", 9),
        ("aA2E", 3),
        ("A2M2E", 9),
        ("A2M2E", 3),
    ]


def test_settings_of_the_study_hold_for_every_run():
    demo = StudyConfig.parse(read_preset("demo"), "demo")
    for run in runs(demo):
        assert run.data.dataset == "synthetic"
        assert (run.model.width, run.train.epochs, run.train.batch_size) == (0.125, 12, 4)
        assert run.train.threads == 1


def test_adversarial_systems_alone_are_attacked_in_training():
    demo = StudyConfig.parse(read_preset("demo"), "demo")
    for run in runs(demo):
        assert run.train.adversarial == (demo.adversarial if run.system.startswith("a") else None)
    assert demo.adversarial.iterations == 10


def test_systems_differ_in_network_and_weight_alone():
    study = StudyConfig(systems=("A2E", "A2B2E", "A2M2E"), seeds=(1,))
    assert [(run.model.network, run.train.task_loss_weight) for run in runs(study)] == [
        ("a2e", 1.0),
        ("a2m2e", 1.0),
        ("a2m2e", 0.5),
    ]
    assert len({(run.data, run.train.learning_rate) for run in runs(study)}) == 1


def test_the_whole_study_is_reduced_in_nothing(paper):
    assert reductions(paper) == []


def test_the_demo_says_everything_it_reduces():
    assert reductions(StudyConfig.parse(read_preset("demo"), "demo")) == [
        "180 generated clips of 11 s instead of 360 recordings",
        "0.125 of the channels",
        "at most 12 epochs instead of 199",
        "2 seeds instead of 10",
        "10 attack iterations in adversarial training instead of 50",
        "40 attack iterations instead of 1000",
    ]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"run": {"train": {"epochs": 100}}}, "at most 100 epochs instead of 199"),
        ({"run": {"model": {"width": 0.5}}}, "0.5 of the channels"),
        ({"seeds": [1, 2, 3]}, "3 seeds instead of 10"),
        ({"adversarial": {"iterations": 20}}, "20 attack iterations in adversarial training instead of 50"),
        ({"attack": {"settings": {"iterations": 7}}}, "7 attack iterations instead of 1000"),
        (
            {"corpus": {"clips": 50, "seconds": 12.5}},
            "50 generated clips of 12.5 s instead of 360 recordings",
        ),
    ],
)
def test_each_reduction_is_said_alone(change, sentence):
    content = {"systems": list(SYSTEMS), "seeds": PAPER_SEEDS, **change}
    assert reductions(StudyConfig.parse(content, "it")) == [sentence]
