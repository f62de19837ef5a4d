"""Numbers reach TensorBoard, Weights & Biases and MLflow under their names and steps."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pandas as pd
import pytest

from tenuto.errors import ConfigError
from tenuto.sinks import SINKS, open_sink
from tenuto.store.traces import log_traces
from tests.evaluation.audit.planted import bounded

VALUES = ((1, {"loss": 0.5, "score": 0.1}), (2, {"loss": 0.25, "score": 0.3}))


def report(log, folder, part="training"):
    with open_sink(log, folder, "A2E-6", part) as sink:
        for step, values in VALUES:
            sink.log(step, values)


def test_tensorboard_reads_what_was_logged(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for part in ("training", "standard-1"):
        report("tensorboard", tmp_path, part)
    for folder in (tmp_path / "tensorboard", tmp_path / "tensorboard" / "standard-1"):
        board = events.EventAccumulator(str(folder)).Reload()
        for name in ("loss", "score"):
            logged = {event.step: event.value for event in board.Scalars(name)}
            assert logged == pytest.approx({step: values[name] for step, values in VALUES})


def test_tensorboard_shows_a_repeated_attack_once(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for _ in range(2):
        report("tensorboard", tmp_path, "standard-1")
    board = events.EventAccumulator(str(tmp_path / "tensorboard" / "standard-1")).Reload()
    assert [event.step for event in board.Scalars("loss")] == [1, 2]


class Wandb:
    """Weights & Biases with the arguments of its functions that are used here."""

    def __init__(self):
        self.calls = []

    def init(self, *, project=None, name=None, id=None, resume=None, dir=None, config=None):
        self.calls.append(("init", project, name, id, resume, dir, config))
        return self

    def log(self, data, step=None, commit=None):
        self.calls.append(("log", data, step))

    def finish(self, exit_code=None):
        self.calls.append(("finish",))


def test_wandb_gets_one_run_that_an_interrupted_one_continues(tmp_path, monkeypatch):
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    report("wandb", tmp_path, "paper+iterations=2")
    name = "A2E-6-paper+iterations=2"
    assert wandb.calls == [
        ("init", "tenuto", name, name, "allow", str(tmp_path), {"run": "A2E-6"}),
        *(("log", values, step) for step, values in VALUES),
        ("finish",),
    ]


def test_mlflow_gets_one_run_that_an_interrupted_one_continues(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow-skinny")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # files need no further package
    report("mlflow", tmp_path)
    with open_sink("mlflow", tmp_path, "A2E-6", "training") as sink:
        sink.log(3, {"APGD absolute error, linf 0.1/loss": 1.0})
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("tenuto").experiment_id])
    assert (run.info.run_name, run.info.status) == ("A2E-6", "FINISHED")
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.25)]
    assert run.data.metrics["APGD absolute error_ linf 0.1/loss"] == 1.0


def test_the_same_with_a_stand_in_for_mlflow(tmp_path, monkeypatch):
    calls: list[tuple[object, ...]] = []
    earlier: list[SimpleNamespace] = []

    class Client:
        def get_experiment_by_name(self, name):
            return SimpleNamespace(experiment_id="7")

        def search_runs(self, experiment_ids, filter_string=""):
            calls.append((experiment_ids, filter_string))
            return earlier

        def delete_run(self, run_id):
            calls.append((run_id, "deleted"))

        def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
            calls.append((experiment_id, run_name))
            return SimpleNamespace(info=SimpleNamespace(run_id="42"))

        def log_metric(self, run_id, key, value, timestamp=None, step=None):
            calls.append((run_id, key, value, step))

        def set_terminated(self, run_id, status=None, end_time=None):
            calls.append((run_id, "ended"))

    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=Client))
    report("mlflow", tmp_path)
    logged = [("42", name, value, step) for step, values in VALUES for name, value in values.items()]
    found = (["7"], "attributes.run_name = 'A2E-6'")
    assert calls == [found, ("7", "A2E-6"), *logged, ("42", "ended")]
    calls.clear()
    earlier.append(SimpleNamespace(info=SimpleNamespace(run_id="41")))
    report("mlflow", tmp_path)  # interrupted training is continued, a repeated attack replaced
    report("mlflow", tmp_path, "standard-1")
    assert [call for call in calls if call[-1] != "ended" and len(call) == 2][1:] == [
        (["7"], "attributes.run_name = 'A2E-6-standard-1'"),
        ("41", "deleted"),
        ("7", "A2E-6-standard-1"),
    ]


@pytest.mark.parametrize(("name", "module"), [("wandb", "wandb"), ("tensorboard", "torch.utils.tensorboard")])
def test_a_package_that_is_not_installed_is_named(name, module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"`log` {name} needs a package .* pip install tenuto\[{name}\]"):
        report(name, tmp_path)
    report(None, tmp_path)  # by default it is no error


def test_nothing_is_reported_where_that_is_wanted(tmp_path):
    report("none", tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_sink_that_cannot_begin_is_one_sentence(tmp_path, monkeypatch):
    class Client:
        def get_experiment_by_name(self, name):
            raise RuntimeError("no server\nat this address")

    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=Client))
    with pytest.raises(ConfigError, match=r"`log` mlflow cannot begin: no server\\nat this address\. Set up"):
        report("mlflow", tmp_path)


def test_an_unknown_sink_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"Unknown sink 'tensorbord'\. Did you mean tensorboard"):
        report("tensorbord", tmp_path)
    assert {"tensorboard", "wandb", "mlflow"} <= set(SINKS)


class List:
    """A sink that keeps what it gets."""

    def __init__(self):
        self.values = []

    def log(self, step, values):
        self.values.append((step, values))

    def close(self):
        pass


def test_traces_are_logged_as_means_over_clips_that_end_at_different_steps():
    rows = bounded()
    settings = rows["settings"].iloc[0]
    lines = [("a", 0, 1.0), ("a", 1, 2.0), ("b", 0, 3.0), ("b", 1, 4.0), ("b", 2, 6.0)]
    traces = pd.DataFrame(lines, columns=["clip", "step", "loss"]).assign(settings=settings)
    sink = List()
    log_traces(traces.assign(best=traces["loss"], size=0.1, moved=0.2), rows, sink)
    assert [(step, values["APGD squared error linf 0.1/loss"]) for step, values in sink.values] == [
        (0, 2.0),
        (1, 3.0),
        (2, 4.0),
    ]
    assert sink.values[0][1]["APGD squared error linf 0.1/moved"] == pytest.approx(0.2)


def test_traces_of_several_attacks_are_logged_with_rising_steps():
    """Weights & Biases ignores what is logged at a smaller step than the last one."""
    rows = pd.concat([bounded(), bounded(attack="Square")], ignore_index=True)
    lines = [(settings, "a", step, 1.0) for settings in rows["settings"].unique() for step in range(3)]
    traces = pd.DataFrame(lines, columns=["settings", "clip", "step", "loss"])
    sink = List()
    log_traces(traces.assign(best=1.0, size=0.1, moved=0.2), rows, sink)
    assert [step for step, _ in sink.values] == [0, 1, 2]
    names = {f"{name} squared error linf 0.1/loss" for name in ("APGD", "Square")}
    assert all(names <= set(values) for _, values in sink.values)
