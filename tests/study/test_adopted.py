"""A study that adopts models and compares them with systems it trains."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import tenuto
from tenuto.attacks import PROTOCOLS
from tenuto.cli.app import app
from tenuto.errors import ConfigError, TenutoError, TrustError
from tenuto.evaluation.natural import NATURAL_CHANGES, GainChange
from tenuto.store.study import StudyFolder
from tenuto.study import plan_study
from tests import corpora, foreign_models

OUTPUTS = {"emotions": ["arousal", "joy"], "scale": [-1, 1]}
SOUND = {**OUTPUTS, "sample_rate": foreign_models.RATE, "seconds": foreign_models.SECONDS}
SPECTRA = {
    **OUTPUTS,
    "source": "model.py:spectrogram",
    "takes": "log-spectrogram",
    "concepts": ["mode"],
}
SYSTEMS = {
    "A2E": None,
    "spectra": {"adopted": SPECTRA},
    "waves": {"adopted": {**SOUND, "source": "model.py:waveform_{seed}"}},
    "crossings": {"adopted": {**SOUND, "source": "model.py:descriptors"}},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory, few_steps):
    """A folder with rated recordings and a user's models, of which one was trained with two seeds."""
    root = tmp_path_factory.mktemp("home")
    corpora.folder(root / "music", 20)
    columns = "emotions: [arousal, joy]\nratings: table.csv\nid_column: song\nscale: [1, 7]\n"
    (root / "music" / "tenuto.yaml").write_text(columns)
    code = Path(foreign_models.__file__).read_text()
    (root / "model.py").write_text(f"{code}\n\nwaveform_1 = waveform_2 = waveform\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("XDG_STATE_HOME", str(root / "state"))
        yield root


def study_file(path, systems=SYSTEMS, protocols=("standard-1",), seeds=(1, 2)):
    """A study of tiny runs."""
    train = {"epochs": 1, "threads": 1, "batch_size": 4}
    run = {"data": {"split": "random"}, "model": {"width": 0.0625}, "train": train}
    content = {"systems": systems, "seeds": list(seeds), "run": run, "protocols": list(protocols)}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


@pytest.fixture(scope="module")
def study(home):
    """A study that was refused once, since its code was not trusted, and then run."""
    file = study_file(home / "study.yaml")
    with pytest.raises(
        TrustError, match=r"system spectra: .*model\.py:spectrogram: this code is not trusted"
    ):
        tenuto.run_study(file, "study", "music")
    assert not Path("study").exists()
    report = tenuto.run_study(file, "study", "music", trust=True)
    assert not report.failed, report.failed
    return StudyFolder(home / "study")


def test_every_system_is_adopted_or_trained_attacked_and_compared(study):
    names = [run.name.rpartition("-")[0] for run in study.runs()]
    assert names == ["A2E-1", "A2E-2", "crossings-1", "spectra-1", "waves-1", "waves-2"]
    rows = study.rows("standard-1")
    assert set(rows["system"]) == set(SYSTEMS)
    assert set(rows[rows["system"] == "crossings"]["attack"].str.split().str[0]) == {"Square", "Noise"}
    clean = pd.read_csv(study.metrics)
    assert list(clean["system"]) == ["A2E", "A2E", "spectra", "waves", "waves", "crossings"]
    attacked = pd.read_csv(study.paper / "metrics.csv")
    assert attacked.groupby("unit")["system"].agg(set).to_list() == [
        {"waves", "crossings"},
        {"A2E", "spectra"},
    ]
    assert "adopt" in json.loads((study.journal / f"{study.runs()[3].name}.json").read_text())["finished"]


def test_finished_work_is_not_repeated_and_the_plan_says_so(study, home):
    before = {path: path.stat().st_mtime_ns for path in (home / "study" / "runs").rglob("*.*")}
    plan = CliRunner().invoke(
        app, ["study", "plan", "study.yaml", "--out", "study", "--root", "music"], env={"COLUMNS": "300"}
    )
    assert plan.exit_code == 0, plan.output
    assert re.search(r"adopt +waves-2-\w+ +.*model\.py:waveform_2 +checkpoint +done", plan.stdout)
    assert "Nothing is left to do." in plan.stdout
    assert not tenuto.run_study("study.yaml", "study", "music").failed
    assert {path: path.stat().st_mtime_ns for path in (home / "study" / "runs").rglob("*.*")} == before


@pytest.mark.parametrize("lost", ["config.yaml", "split.csv"])
def test_a_file_that_was_lost_is_made_again(study, home, lost):
    run = next(run for run in study.runs() if run.name.startswith("waves-1"))
    path = run.path / lost
    before = path.read_bytes()
    path.unlink()
    left = plan_study(
        tenuto.api.studies.study_config("study.yaml", "music"), "study", "music", trust=True
    ).left
    assert [stage.kind for stage in left if stage.run == run.name] == ["adopt"]
    assert not tenuto.run_study("study.yaml", "study", "music", trust=True).failed
    assert path.read_bytes() == before


def test_a_natural_variation_and_a_protocol_of_another_form_are_left(study, monkeypatch):
    config = tenuto.api.studies.study_config("study.yaml", "music")
    with monkeypatch.context() as patched:
        patched.setitem(NATURAL_CHANGES._parts, "halved", GainChange(-6.0))
        left = plan_study(config, "study", "music", trust=True).left
    assert [stage.kind for stage in left] == [*["natural"] * len(study.runs()), "analyse"]
    published = PROTOCOLS["standard-1"]
    monkeypatch.setitem(PROTOCOLS._parts, "standard-1", replace(published, attacks=published.attacks[:-1]))
    left = plan_study(config, "study", "music", trust=True).left
    assert [stage.kind for stage in left] == [*["attack"] * len(study.runs()), "analyse"]
    report = tenuto.run_study("study.yaml", "study", "music", trust=True)
    assert len(report.failed) == len(study.runs())
    assert "standard-1 had other attacks or budgets when these rows were made" in str(report.failed[0].error)


def test_the_command_makes_the_same_run(study):
    config = next(run for run in study.runs() if run.name.startswith("spectra")).read_config()
    run = tenuto.adopt(
        "model.py:spectrogram",
        emotions="arousal,joy",
        concepts="mode",
        scale=(-1, 1),
        takes="log-spectrogram",
        name="spectra",
        seed=1,
        threads=1,
        root="music",
        data=config.data,
        runs="alone",
    )
    assert run.name in {run.name for run in study.runs()}


def test_a_study_of_adopted_systems_alone_trains_nothing(home):
    alone = {"one": {"adopted": {**SPECTRA, "emotions": ["joy", "other"]}}}
    file = study_file(home / "alone.yaml", alone)
    plan = plan_study(tenuto.api.studies.study_config(file, "music"), "elsewhere", "music", trust=True)
    assert [stage.kind for stage in plan.stages] == [
        *("prepare", "adopt", "evaluate", "natural", "attack"),
        "analyse",
    ]


@pytest.mark.parametrize(
    ("changes", "protocol", "message"),
    [
        ({"concepts": [], "output": "x"}, "standard-1", "system mine: .*no output 'x'"),
        ({"source": "model.py:nothing"}, "standard-1", "system mine: .*nothing"),
        ({"source": "gone.py:network"}, "standard-1", "system mine: .*gone.py"),
        ({"emotions": ["happy", "sad"]}, "standard-1", "system mine: the model predicts happy, sad"),
        (
            {"emotions": ["joy", "calm"]},
            "standard-1",
            "mine: predicts joy of the rated emotions, other systems",
        ),
        ({"emotions": ["joy"]}, "standard-1", "system mine: .*has 3 outputs"),
        (
            {"emotion": ["joy"]},
            "standard-1",
            r"unknown key systems\.mine\.adopted\.emotion\. Did you mean emotions",
        ),
        ({"takes": "sound"}, "standard-1", r"systems\.mine\.adopted\.takes: .*'log-spectrogram'"),
        ({"sample_rate": 16000}, "standard-1", r"systems\.mine\.adopted: the log spectrogram has 22 050 Hz"),
        (
            {**SOUND, "source": "model.py:descriptors", "takes": "waveform", "concepts": []},
            {"protocol": "paper-2025-released", "settings": {"measure": "mse"}},
            "system mine: Protocol paper-2025-released.*: .*the model has no gradient",
        ),
    ],
)
def test_what_cannot_be_adopted_is_refused_before_any_work(home, changes, protocol, message):
    file = study_file(
        home / "wrong.yaml", {"A2E": None, "mine": {"adopted": {**SPECTRA, **changes}}}, [protocol]
    )
    with pytest.raises(TenutoError, match=message):
        tenuto.run_study(file, "wrong", "music", trust=True)
    assert not Path("wrong").exists()


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ({"task_loss_weight": 0.5}, "needs a network to train, or a model to be adopted"),
        ({"network": "a2e", "adopted": SPECTRA}, "an adopted model is not trained: leave out network"),
        ({"adopted": {"emotions": ["joy"]}}, "adopted.source: must be given"),
        ({"adopted": "model.py:network"}, "systems.mine.adopted: "),
    ],
)
def test_a_system_is_either_trained_or_adopted(home, system, message):
    with pytest.raises(ConfigError, match=message):
        tenuto.run_study(study_file(home / "wrong.yaml", {"mine": system}), "wrong", "music")
