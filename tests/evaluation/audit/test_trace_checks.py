"""Attacks that fail silently or end early are found, in saved traces and by repeating them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from tenuto.attacks import (
    APGD,
    PGD,
    AbsoluteError,
    Foreign,
    Linf,
    Minimal,
    ReleasedAttack,
    Transfer,
    Transformations,
)
from tenuto.errors import FileError
from tenuto.evaluation.audit import examination
from tenuto.evaluation.audit.findings import Verdict
from tenuto.evaluation.audit.longer_search import AuditedAttack, longer_search
from tenuto.evaluation.audit.traces import FINDERS, SearchPath
from tenuto.store.traces import read_traces, write_traces
from tests.evaluation.audit import planted
from tests.evaluation.audit.planted import bounded, finding, source, subject

PASS, WARN, FAIL, NOT_RECORDED = Verdict.PASS, Verdict.WARN, Verdict.FAIL, Verdict.NOT_RECORDED
MAE = AbsoluteError()


def searched(attack, name):
    """The finding of one check on an attack of the linear model."""
    findings = {one.check: one for one in longer_search(subject(), AuditedAttack(attack))}
    return findings[name]


class LastIterate(PGD):
    """Goes back to where it came from, and returns that."""

    def search(self, search):
        super().search(search)
        search.settle(search.delta / 2, search.all_rows)


class Jagged(planted.Linear):
    """Adds ripples that are much shorter than a step."""

    def seen(self, inputs):
        return inputs + 5 * torch.sin(5000 * inputs)


def test_ripples_make_the_error_unstable():
    sound, jagged = (
        examination.unstable_predictions(subject(model)) for model in (planted.Linear(), Jagged())
    )
    assert (sound.verdict, jagged.verdict) == (PASS, FAIL)
    assert sound.value < 0.01
    assert "10 random points within a tenth of the budget" in jagged.sentence


def test_a_result_below_the_best_step_is_found():
    assert searched(PGD(Linf(0.1), objective=MAE, steps=20), "silent-success").verdict is PASS
    result = searched(LastIterate(Linf(0.1), objective=MAE, steps=20), "silent-success")
    assert result.verdict is FAIL
    assert result.value == pytest.approx(0.5, abs=0.01)
    assert "50.0% of what the search of LastIterate(" in result.sentence


def test_the_released_attack_which_returns_its_last_step_passes_while_that_is_its_best():
    model, attack = subject(), ReleasedAttack(measure="mse", iterations=12, step_size=0.05)
    result = model.attacked(attack, lambda done: None, trace=True)
    returned = pd.DataFrame({"loss": result.loss, "converged": result.converged}, index=result.trace.names)
    path = SearchPath.of(attack, result.trace.frame(), returned)
    assert FINDERS["silent-success"](path).verdict is PASS
    path = SearchPath.of(attack, result.trace.frame(), returned.assign(loss=result.trace.loss[-3]))
    assert FINDERS["silent-success"](path).verdict is FAIL


@pytest.mark.parametrize(("converged", "verdict"), [(True, PASS), (False, FAIL)])
def test_a_goal_that_was_reached_and_is_not_reported_is_found(converged, verdict):
    attack = Minimal(Linf(1.0), goal=0.6, objective=MAE)
    trace = pd.DataFrame({"clip": "a", "step": range(20), "best": np.linspace(0.5, 0.7, 20)})
    returned = pd.DataFrame({"loss": [0.6], "converged": [converged]}, index=["a"])
    result = FINDERS["silent-success"](SearchPath.of(attack, trace, returned))
    assert result.verdict is verdict
    assert "reached its goal on 1 of 1 clip;" in result.sentence


def test_a_search_in_place_of_that_of_the_rows_is_named_so():
    own = AuditedAttack(PGD(Linf(0.1), objective=MAE, steps=10), instead="the rows record none")
    findings = longer_search(subject(), own)
    assert all(one.sentence.endswith(" (a stand-in: the rows record none).") for one in findings)


def test_an_average_over_draws_is_not_compared_with_its_search():
    attack = PGD(Linf(0.1), objective=MAE, transformations=Transformations(draws=2))
    assert searched(attack, "silent-success").verdict is NOT_RECORDED


def test_losses_in_bfloat16_are_not_compared_with_the_result_in_float32():
    torch.manual_seed(0)
    layers = torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2), torch.nn.Sigmoid()
    model = torch.nn.Sequential(torch.nn.Flatten(), *layers)
    exact = PGD(Linf(0.002), objective=MAE, steps=20)
    assert silent(exact, model).verdict is PASS
    result = silent(dataclasses.replace(exact, precision="bfloat16"), model)
    assert result.verdict is NOT_RECORDED
    assert "rounds losses to bfloat16" in result.sentence


def silent(attack, model=None, start=None, name="silent-success"):
    """The finding of silent-success on the trace of an attack that the audit does not repeat."""
    result = subject(model).attacked(attack, lambda done: None, start, trace=True)
    returned = pd.DataFrame({"loss": result.loss, "converged": result.converged}, index=result.trace.names)
    return FINDERS[name](SearchPath.of(attack, result.trace.frame(), returned))


@pytest.mark.parametrize(("share", "verdict"), [(1.0, PASS), (0.95, WARN), (0.5, FAIL)])
def test_a_function_that_returns_less_than_it_found_is_found(share, verdict):
    def climb(model, inputs, labels):
        points = inputs.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model.objective(points).sum(), points)
        way = model.budget.epsilon * gradient.sign()
        model(inputs + way)
        model(inputs + 2 * way)  # outside of the budget, so nothing that could be returned
        return inputs + share * way

    result = silent(Foreign(Linf(0.1), call=climb, objective=MAE))
    assert result.verdict is verdict
    assert result.value == pytest.approx(1 - share, abs=0.01)


@pytest.mark.parametrize(("stop_at", "verdict"), [(0.6, PASS), (None, FAIL)])
def test_what_is_found_beyond_the_value_where_an_attack_stops_is_not_missed(stop_at, verdict):
    trace = pd.DataFrame({"clip": "a", "step": range(20), "best": np.linspace(0.5, 0.7, 20)})
    trace["loss"] = trace["best"]
    returned = pd.DataFrame({"loss": [0.61], "converged": [True]}, index=["a"])
    attack = PGD(Linf(1.0), objective=MAE, stop_at=stop_at)
    assert FINDERS["silent-success"](SearchPath.of(attack, trace, returned)).verdict is verdict


def test_a_search_that_the_trace_does_not_show_is_not_judged():
    def hidden(model, inputs, labels):
        return inputs + 0.1 * planted.Linear().layer.weight.sum(dim=0).sign().reshape(inputs.shape)

    foreign = silent(Foreign(Linf(0.1), call=hidden, objective=MAE))
    assert foreign.verdict is NOT_RECORDED
    assert "with the model that it is given" in foreign.sentence
    transfer = silent(Transfer(Linf(0.1), source=planted.Linear(), objective=MAE, steps=5))
    assert transfer.verdict is NOT_RECORDED
    assert "searches on another model" in transfer.sentence


@pytest.mark.parametrize("calls", [0, 1, 20])
@pytest.mark.parametrize("name", ["silent-success", "incomplete-optimisation"])
def test_a_function_that_asks_of_the_clean_input_alone_is_not_judged(calls, name):
    """It may search with a copy of the network, of which the trace says nothing."""

    def hidden(model, inputs, labels):
        for _ in range(calls):
            model(inputs)
        return inputs + 0.1 * planted.Linear().layer.weight.sum(dim=0).sign().reshape(inputs.shape)

    attack = Foreign(Linf(0.1), call=hidden, objective=MAE)
    for start in (None, torch.full_like(subject().inputs, 0.05)):
        result = silent(attack, start=start, name=name)
        assert result.verdict is NOT_RECORDED
        assert "with the model that it is given" in result.sentence


def test_a_search_that_still_rises_at_its_end_is_found():
    name = "incomplete-optimisation"
    assert searched(PGD(Linf(0.1), objective=MAE, steps=30), name).verdict is PASS
    result = searched(PGD(Linf(1.0), objective=MAE, steps=30, step_size=0.01), name)
    assert result.verdict is FAIL
    assert result.value == pytest.approx(0.1, abs=0.04)  # as much as in any other tenth
    assert searched(PGD(Linf(1.0), objective=MAE, steps=4), name).verdict is NOT_RECORDED


def test_a_search_with_several_starts_is_judged_by_the_start_that_found_most():
    """The end of the last of five starts is seldom the best, however early each of them is cut off."""
    name = "incomplete-optimisation"
    short = PGD(Linf(1.0), objective=MAE, steps=30, step_size=0.01, restarts=5)
    assert searched(short, name).verdict is FAIL
    assert searched(dataclasses.replace(short, steps=150), name).verdict is PASS
    assert searched(dataclasses.replace(short, steps=4), name).verdict is NOT_RECORDED
    stopped = searched(dataclasses.replace(short, stop_at=0.6), name)  # in the first start
    assert stopped.verdict is FAIL
    assert stopped.value == pytest.approx(0.1, abs=0.04)


def test_a_trace_with_few_points_of_every_start_is_not_judged():
    best = [0.0, 1.0, 1.0, 1.0, 1.0, 2.0]
    trace = pd.DataFrame({"clip": "000", "step": range(0, 48, 8), "loss": best, "best": best})
    returned = pd.DataFrame({"loss": [2.0], "converged": [False]}, index=["000"])
    searched_path = SearchPath.of(PGD(Linf(1.0), steps=20, restarts=2), trace, returned)
    result = FINDERS["incomplete-optimisation"](searched_path)
    assert result.verdict is NOT_RECORDED
    assert "too few points of each of its starts" in result.sentence


def saved(folder, best, returned):
    """Rows of five clips under an attack, and the trace of its search: 40 steps of every clip."""
    rows = bounded(loss=returned, converged=False)
    steps = pd.DataFrame({"step": range(41), "loss": best, "best": best, "size": 0.1, "moved": 0.1})
    traces = pd.concat([steps.assign(settings=rows["settings"].iloc[0], clip=clip) for clip in rows["clip"]])
    path = write_traces(folder / "planted.trace.csv.gz", traces)
    return source(rows, traces={rows["run"].iloc[0]: path})


def test_saved_traces_answer_without_the_model(tmp_path):
    flat = np.minimum(np.linspace(0, 2, 41), 1.0)
    sound = saved(tmp_path, flat, returned=1.0)
    for name in FINDERS:
        assert finding(name, sound).verdict is PASS
    rising = saved(tmp_path, np.linspace(0, 1, 41), returned=0.5)
    assert finding("silent-success", rising).value == pytest.approx(0.5)
    assert finding("incomplete-optimisation", rising).value == pytest.approx(0.1)
    assert "A2E-6, linf 0.1: 10.0% of what" in finding("incomplete-optimisation", rising).sentence


def test_a_search_that_gains_nothing_shows_nothing(tmp_path):
    for name in FINDERS:
        assert finding(name, saved(tmp_path, np.ones(41), returned=1.0)).verdict is NOT_RECORDED
    result = finding("silent-success", saved(tmp_path, np.ones(41), returned=0.5))
    assert (result.verdict, result.value) == (FAIL, np.inf)
    assert "its result is worse than the clean input" in result.sentence


def test_a_trace_without_its_rows_is_not_recorded(tmp_path):
    own = saved(tmp_path, np.linspace(0, 1, 41), returned=1.0)
    for rows in (own.rows[1:], own.rows.drop(columns="loss")):
        result = finding("silent-success", dataclasses.replace(own, rows=rows))
        assert result.verdict is NOT_RECORDED


def test_without_a_trace_and_a_model_nothing_is_recorded():
    assert "needs the model" in finding("silent-success", source(bounded())).sentence


def test_a_damaged_file_of_traces_is_refused(tmp_path):
    own = saved(tmp_path, np.linspace(0, 1, 41), returned=0.5)
    (path,) = own.traces.values()
    assert list(read_traces(path)["settings"].unique()) == [repr(APGD(Linf(0.1), steps=30))]
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(FileError, match=r"planted\.trace\.csv\.gz: is damaged .*attack the run again"):
        read_traces(path)
