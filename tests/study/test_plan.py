"""A study's plan: which runs, with which settings and names, every stage, what is done and how long the rest takes."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tenuto.config import (
    SYSTEMS,
    AttackConfig,
    StudyConfig,
    merge,
    preset_run,
    preset_study,
    read_preset,
    signature,
)
from tenuto.data import open_dataset, prepare
from tenuto.data.synthesis import GENERATOR_VERSION, synthesize
from tenuto.errors import ConfigError, DataError
from tenuto.files import write_json, write_text
from tenuto.store.run import RunFolder
from tenuto.store.study import StudyFolder
from tenuto.study import journal, stages
from tenuto.study.limit import Limit, OutOfTime
from tenuto.study.plan import identity, plan_study, planned, protocols, reductions, runs, tasks
from tenuto.study.stages import Job
from tests.study import small

PAPER_SEEDS = (6, 21, 42, 796, 950, 2025, 2324, 2451, 3100, 7192)
STUDIES = ["demo", "paper-2025", "paper-2025-quick"]
SIGNATURES = {
    ("A2E", 6): "69c95deb",
    ("A2E", 21): "5b994967",
    ("A2B2E", 6): "d47ad466",
    ("A2M2E", 6): "bc74378d",
    ("aA2E", 6): "adf5f70b",
    ("aA2B2E", 21): "cc720879",
}
"""Of `paper-2025` with two threads on data whose fingerprint is ``data``: runs on disk are called so."""


@pytest.fixture
def paper():
    """The whole study."""
    return preset_study("paper-2025")


@pytest.fixture
def demo():
    """The study in small."""
    return preset_study("demo")


def test_the_paper_s_study_is_fifty_runs_of_its_preset(paper):
    expected = [preset_run("paper-2025", system, seed) for system in SYSTEMS for seed in PAPER_SEEDS]
    assert runs(paper) == expected
    assert len(expected) == 50
    assert str(protocols(paper)[0]) == "paper-2025-released"


@pytest.mark.parametrize(("system", "seed"), SIGNATURES)
def test_the_paper_s_runs_keep_their_names(system, seed):
    run = preset_run("paper-2025", system, seed)
    settled = run.model_copy(update={"train": run.train.model_copy(update={"threads": 2})})
    assert signature(settled.resolved(), "data") == SIGNATURES[system, seed]


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_and_a_single_training_make_the_same_runs(name):
    study = preset_study(name)
    assert runs(study) == [preset_run(name, system, seed) for system in study.systems for seed in study.seeds]


def test_the_quick_study_is_the_paper_s_but_for_what_it_says(paper):
    quick = preset_study("paper-2025-quick")
    assert reductions(quick) == [
        "0.5 of the channels",
        "at most 40 epochs instead of 199",
        "2 seeds instead of 10",
        "10 attack iterations in adversarial training instead of 50",
        "updates in bfloat16 where the processor has it instead of float32",
    ]
    same = {"epochs", "patience", "threads", "adversarial", "precision"}
    assert quick.run.train.model_dump(exclude=same) == paper.run.train.model_dump(exclude=same)
    assert (quick.systems, quick.run.data) == (paper.systems, paper.run.data)


def test_the_paper_s_preset_alone_trains_without_attacks():
    assert "adversarial" not in read_preset("paper-2025")["train"]


def test_a_preset_of_one_run_is_no_study(tmp_path):
    file = write_text(tmp_path / "run.yaml", "train: {epochs: 3}\n")
    with pytest.raises(ConfigError, match="holds the settings of one run, not a study"):
        preset_study(str(file))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run": {"train": {"epoch": 1}}}, "unknown key run.train.epoch. Did you mean epochs?"),
        ({"protocols": [{"protocol": "x", "setings": {}}]}, "Did you mean settings?"),
        ({"corpus": {"clips": 20}}, "a corpus is the data set synthetic: name it"),
        ({"corpus": {"clip": 20}}, "unknown key corpus.clip. Did you mean clips?"),
        ({"systems": ["A2E", "A2E"]}, "A2E is listed twice in systems"),
        ({"seeds": [6, 21, 6]}, "6 is listed twice in seeds"),
        ({"run": {"train": {"seed": 6}}}, "run.train.seed is decided by seeds"),
        ({"run": {"model": {"network": "a2m2e"}}}, "decided by systems"),
        ({"run": {"system": "A2M2E"}}, "run.system is decided by systems: leave it out of run"),
    ],
)
def test_a_wrong_study_is_refused_and_the_nearest_right_key_named(changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        StudyConfig.parse(merge(small.CONTENT, changes), "mine.yaml")


def test_a_protocol_is_a_name_or_a_name_with_settings():
    listed = ["standard-1", {"protocol": "paper-2025-released", "settings": {"iterations": 5}}]
    study = small.changed(protocols=listed)
    assert [str(attack) for attack in protocols(study)] == ["standard-1", "paper-2025-released+iterations=5"]


def test_a_protocol_is_listed_once_also_where_one_names_its_defaults():
    listed = ["paper-2025-released", {"protocol": "paper-2025-released", "settings": {"iterations": 1000}}]
    with pytest.raises(ConfigError, match="paper-2025-released is listed twice in protocols"):
        protocols(small.changed(protocols=listed))


def test_systems_come_first_in_the_order_given():
    study = StudyConfig(systems=("aA2E", "A2M2E"), seeds=(9, 3))
    named = [(run.system, run.train.seed) for run in runs(study)]
    assert named == [("aA2E", 9), ("aA2E", 3), ("A2M2E", 9), ("A2M2E", 3)]


def test_settings_of_the_study_hold_for_every_run(demo):
    for run in runs(demo):
        assert run.data.dataset == "synthetic"
        assert (run.model.width, run.train.epochs, run.train.batch_size) == (0.125, 12, 4)
        assert run.train.threads == 1


def test_adversarial_systems_alone_are_attacked_in_training(demo):
    settings = demo.run.train.adversarial
    for run in runs(demo):
        assert run.train.adversarial == (settings if run.system.startswith("a") else None)
    assert settings.iterations == 10


def test_systems_differ_in_network_and_weight_alone():
    study = StudyConfig(systems=("A2E", "A2B2E", "A2M2E"), seeds=(1,))
    settings = [(run.model.network, run.train.task_loss_weight) for run in runs(study)]
    assert settings == [("a2e", 1.0), ("a2m2e", 1.0), ("a2m2e", 0.5)]
    assert len({(run.data, run.train.learning_rate) for run in runs(study)}) == 1


def test_the_whole_study_is_reduced_in_nothing(paper):
    assert reductions(paper) == []


def test_the_demo_says_everything_it_reduces(demo):
    assert reductions(demo) == [
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
        (
            {"run": {"train": {"adversarial": {"iterations": 20}}}},
            "20 attack iterations in adversarial training instead of 50",
        ),
        (
            {"protocols": [{"protocol": "paper-2025-released", "settings": {"iterations": 7}}]},
            "7 attack iterations instead of 1000",
        ),
        (
            {"corpus": {"clips": 50, "seconds": 12.5}, "run": {"data": {"dataset": "synthetic"}}},
            "50 generated clips of 12.5 s instead of 360 recordings",
        ),
    ],
)
def test_each_reduction_is_said_alone(change, sentence):
    content = {"systems": list(SYSTEMS), "seeds": PAPER_SEEDS, **change}
    assert reductions(StudyConfig.parse(content, "it")) == [sentence]


def kinds(result):
    return [(stage.kind, stage.run.rpartition("-")[0]) for stage in result.stages]


def test_every_stage_is_listed_in_the_order_it_can_be_done(music, tmp_path):
    plan = plan_study(small.TINY, tmp_path, music)
    assert kinds(plan) == [
        ("prepare", ""),
        *((kind, run) for run in ("A2M2E-21", "aA2E-21") for kind in ("train", "evaluate", "attack")),
        ("analyse", ""),
    ]
    attack = plan.stages[3]
    assert attack.protocol == "paper-2025-released+iterations=2"
    assert attack.inputs == f"runs/{attack.run}/checkpoint.safetensors"
    assert attack.output == f"runs/{attack.run}/attacks/{small.ROWS}"


def test_names_are_those_training_gives_and_nothing_is_decoded(music, tmp_path, monkeypatch):
    prepared = prepare(open_dataset(small.TINY.run.data, music), tmp_path / "cache", workers=1)
    expected = [one.run for one in planned(small.TINY, prepared)]

    def refuse(*arguments):
        raise AssertionError("a recording was decoded")

    monkeypatch.setattr("tenuto.data.cache.compute", refuse)
    monkeypatch.setattr("tenuto.audio.loading.decode", refuse)
    plan = plan_study(small.TINY, tmp_path / "study", music)
    assert plan.fingerprint == prepared.fingerprint
    assert [stage.run for stage in plan.stages if stage.kind == "train"] == expected
    assert not (tmp_path / "study").exists()


def test_names_are_open_until_the_data_are_there(demo, tmp_path):
    plan = plan_study(demo, tmp_path / "study")
    assert plan.fingerprint is None
    assert {stage.run[-8:] for stage in plan.stages if stage.run} == {"????????"}
    assert not any(stage.done for stage in plan.stages)
    assert not (tmp_path / "study").exists()


def test_what_a_study_writes_down_of_itself_can_be_read_again(tmp_path):
    study = small.changed(systems=list(SYSTEMS))
    assert preset_study(str(small.write_study(tmp_path / "study.yaml", study))) == study


def finished(folder, run, seconds, *stages):
    """What a run leaves that finished these stages in this many seconds each, as far as a plan reads it."""
    files = StudyFolder(folder).run(run)
    for path in (files.training, files.checkpoint, files.metrics):
        write_json(path, {})
    record = journal.Record(run, finished=list(stages), seconds=dict.fromkeys(stages, seconds))
    write_json(journal.record_path(folder, run), dataclasses.asdict(record))


def test_what_is_done_is_said_and_its_seconds_are_expected_of_others(music, tmp_path):
    study = small.changed(seeds=[21, 6, 42])
    first, second, third, *others = [one.run for one in planned(study, identity(study, tmp_path, music))]
    finished(tmp_path, first, 30.0, "train", "evaluate")
    finished(tmp_path, second, 50.0, "train", "evaluate")
    stages = {(stage.kind, stage.run): stage for stage in plan_study(study, tmp_path, music).stages}
    assert [run for kind, run in stages if stages[kind, run].done and kind == "train"] == [first, second]
    assert stages["train", third].seconds == stages["evaluate", third].seconds == 40.0
    assert stages["train", others[0]].seconds is None  # trained adversarially: of another kind
    assert stages["attack", first].seconds is None
    assert not stages["attack", first].done
    made = plan_study(study, tmp_path, music)
    assert (made.seconds, made.unmeasured, len(made.left)) == (80.0, 14, 16)


def test_time_already_spent_on_a_stage_is_taken_off(music, tmp_path):
    study = small.changed(systems=["A2E"], seeds=[21, 6])
    first, second = [one.run for one in planned(study, identity(study, tmp_path, music))]
    finished(tmp_path, first, 30.0, "train")
    record = journal.Record(second, stage="train", seconds={"train": 12.0})
    write_json(journal.record_path(tmp_path, second), dataclasses.asdict(record))
    stages = {(stage.kind, stage.run): stage for stage in plan_study(study, tmp_path, music).stages}
    assert stages["train", second].seconds == 18.0


def test_curves_are_read_against_natural_changes(tmp_path):
    study = preset_study("demo").model_copy(update={"protocols": (AttackConfig(protocol="standard-1"),)})
    kinds = [stage.kind for stage in plan_study(study, tmp_path).stages]
    assert kinds.count("natural") == kinds.count("train") == 10
    assert "natural" not in [stage.kind for stage in plan_study(preset_study("demo"), tmp_path).stages]


def test_natural_variation_with_strengths_is_measured_where_a_study_says_so(monkeypatch, tmp_path):
    study = preset_study("demo")
    studies = {name: study.model_copy(update={"natural": name}) for name in (None, "natural-1", "natural-2")}
    run = RunFolder("runs/A2E-6-00000000")
    each = {name: list(tasks(run, runs(one)[0], one)) for name, one in studies.items()}
    names = {name: [task.name for task in own if task.kind == "natural"] for name, own in each.items()}
    assert names == {None: [], "natural-1": ["natural"], "natural-2": ["natural", "natural natural-2"]}
    measured: list[str] = []

    def graded(run, before_piece):
        measured.append("natural-2")
        before_piece()

    monkeypatch.setattr(stages, "natural", lambda run: measured.append("natural-1"))
    monkeypatch.setattr("tenuto.evaluation.graded.graded", graded)
    job = Job(study, None, tmp_path, None, limit=Limit(tmp_path, 0.0))  # type: ignore[arg-type]
    first, second = (task for task in each["natural-2"] if task.kind == "natural")
    stages._evaluate(job, None, first, None)  # type: ignore[arg-type]
    with pytest.raises(OutOfTime):  # between two clips
        stages._evaluate(job, None, second, None)  # type: ignore[arg-type]
    assert measured == ["natural-1", "natural-2"]


def test_natural_variation_is_no_protocol_of_attacks():
    study = preset_study("demo").model_copy(update={"protocols": (AttackConfig(protocol="natural-2"),)})
    with pytest.raises(ConfigError, match=r"natural-2 is no attack. Set `natural: natural-2` instead"):
        protocols(study)


def test_a_study_of_signal_concepts_knows_its_data_before_they_are_computed(music, tmp_path):
    signal = small.changed(run={"data": {"dataset": "soundtracks", "concepts": "signal"}})
    data = prepare(open_dataset(signal.run.data, music), tmp_path / "cache", workers=1)
    assert identity(signal, tmp_path, music).fingerprint == data.fingerprint
    assert identity(small.TINY, tmp_path, music).fingerprint != data.fingerprint
    names = [one.run for one in planned(signal, data)]
    assert [
        stage.run for stage in plan_study(signal, tmp_path, music).stages if stage.kind == "train"
    ] == names


def test_recordings_for_a_study_that_makes_its_own_are_refused(demo, music, tmp_path):
    with pytest.raises(ConfigError, match="Leave `root` out"):
        plan_study(demo, tmp_path / "study", music)


def made_by(folder, **changes):
    """What the generator leaves of a finished corpus of the demo but for these settings, as far as a plan looks."""
    settings = {"generator": GENERATOR_VERSION, "clips": 180, "seconds": 11.0, "seed": 0}
    write_json(StudyFolder(folder).corpus / "corpus.json", {**settings, "sha256": {}, **changes})


def test_a_corpus_that_is_begun_is_not_there_yet(demo, tmp_path):
    made_by(tmp_path)
    assert plan_study(demo, tmp_path).fingerprint is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"clips": 360},
            "made with generator 1, clips 360, seconds 11.0, seed 0, not with generator 1, clips 180",
        ),
        ({"seconds": 15.0}, "seconds 15.0, seed 0, not with"),
        ({"seed": 1}, "seed 1, not with"),
        ({"generator": 0}, "made with generator 0"),
    ],
)
def test_a_corpus_of_other_settings_is_refused_as_its_generator_would(change, message, demo, tmp_path):
    made_by(tmp_path, **change)
    with pytest.raises(DataError, match=re.escape(message)) as planned:
        plan_study(demo, tmp_path)
    with pytest.raises(DataError) as generated:
        synthesize(StudyFolder(tmp_path).corpus, clips=180, seconds=11, seed=0)
    assert str(planned.value) == str(generated.value)


def test_learning_concepts_nobody_rated_is_refused_with_both_ways_out(music, tmp_path):
    unrated = small.changed(run={"data": {"dataset": "soundtracks"}})
    with pytest.raises(ConfigError, match=r"`concepts=signal`, use the data set midlevel"):
        plan_study(unrated, tmp_path, music)


OWN = {"systems": {"A2E": None, "light": {"network": "a2m2e", "task_loss_weight": 0.7, "adversarial": True}}}


def test_a_system_of_the_user_is_trained_as_it_says_and_called_as_named(music, tmp_path):
    study = StudyConfig.parse({**small.CONTENT, **OWN}, "mine.yaml")
    plain, own = runs(study)
    assert (plain.system, own.system) == ("A2E", "light")
    assert (own.model.network, own.train.task_loss_weight) == ("a2m2e", 0.7)
    assert own.train.adversarial == study.run.train.adversarial
    trained = [stage.run for stage in plan_study(study, tmp_path, music).stages if stage.kind == "train"]
    assert [run.split("-")[0] for run in trained] == ["A2E", "light"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systems": {"mine": {"network": "a2m3e"}}}, "a2m2e"),
        ({"run": {"data": {"dataset": "soundtrack"}}}, "Did you mean soundtracks?"),
        ({"protocols": ["paper-2025-relesed"]}, "Did you mean paper-2025-released?"),
    ],
)
def test_names_that_no_registry_knows_are_refused_with_the_nearest(changes, message, music, tmp_path):
    content = merge(small.CONTENT, changes) | (
        {"systems": changes["systems"]} if "systems" in changes else {}
    )
    with pytest.raises(ConfigError, match=re.escape(message)):
        plan_study(StudyConfig.parse(content, "mine.yaml"), tmp_path / "study", music)
    assert not (tmp_path / "study").exists()
