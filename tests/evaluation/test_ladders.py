"""A protocol that climbs budgets: its rows, its worst cases, what it saves, and that interruptions change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tenuto import attacks
from tenuto.attacks import APGD, AbsoluteError, Linf, Noise, Protocol, SquaredError
from tenuto.attacks.objectives import EachEmotion
from tenuto.errors import CheckpointError, ConfigError
from tenuto.evaluation import robustness
from tenuto.evaluation.runs import open_run
from tenuto.files import read_safetensors, sha256_file
from tenuto.models.checkpoint import save
from tenuto.store.rows import read_rows, values_of
from tenuto.store.run import RunFolder
from tenuto.training.loop import train
from tests import small_runs
from tests.small_runs import settings

BUDGET = Linf(0.3)
CLIMB = Protocol(
    name="climb",
    version=1,
    description="",
    attacks=(
        APGD(budget=BUDGET, objective=SquaredError(), steps=3),
        Noise(budget=BUDGET, objective=AbsoluteError(), draws=2),
    ),
    budgets=(Linf(0.1), BUDGET),
    silence=True,
)


@pytest.fixture
def fresh(prepared, tmp_path_factory):
    """The same freshly trained run every time, in a folder of its own."""
    return open_run(train(settings("A2E", epochs=1), prepared, tmp_path_factory.mktemp("runs")), prepared)


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory):
    run = open_run(train(settings("A2E", epochs=1), prepared, tmp_path_factory.mktemp("runs")), prepared)
    robustness.attack(run, CLIMB, batch_size=2)
    return run


@pytest.fixture(scope="module")
def rows(run):
    return read_rows(run.files.rows(CLIMB))


@pytest.fixture(scope="module")
def arrays(run):
    return read_safetensors(run.files.perturbations(CLIMB))[0]


def error(rows):
    return np.abs(values_of(rows, "adversarial") - values_of(rows, "label")).mean(axis=1)


def test_every_clip_meets_every_member_at_every_budget(rows, run):
    clips = run.part("test").clips
    result = rows.groupby(["attack", "objective", "epsilon"])["clip"].apply(tuple)
    assert set(result.index) == {
        (attack, objective, epsilon)
        for attack, objective in (("APGD", "squared error"), ("Noise uniform", "absolute error"))
        for epsilon in (0.1, 0.3)
    }
    assert all(sorted(names) == sorted(clips) for names in result)
    assert set(rows["norm"]) == {"linf"}


def test_a_larger_budget_is_never_weaker(rows):
    small, large = (
        rows[rows["epsilon"] == epsilon].set_index(["attack", "clip"])["loss"] for epsilon in (0.1, 0.3)
    )
    assert (large.loc[small.index] >= small - 1e-6).all()


def test_the_worst_row_has_the_largest_error_of_its_clip_and_budget(rows, run):
    worst = rows[rows["worst"]]
    assert len(worst) == 2 * len(run.part("test"))
    largest = rows.assign(error=error(rows)).groupby(["clip", "epsilon"])["error"].max()
    result = worst.assign(error=error(worst)).set_index(["clip", "epsilon"])["error"]
    assert result.sort_index().equals(largest.sort_index())


def test_the_worst_perturbations_are_saved_and_no_others(rows, arrays):
    worst = rows[rows["worst"]]
    expected = {f"{row['settings']}/{row['clip']}/perturbation" for row in worst.to_dict("records")}
    assert arrays.keys() == expected


def test_saved_perturbations_give_the_rows_they_belong_to(rows, arrays, run):
    clips = run.part("test")
    for row in rows[rows["worst"]].to_dict("records"):
        delta = arrays[f"{row['settings']}/{row['clip']}/perturbation"]
        assert np.abs(delta.astype(np.float64)).max() == pytest.approx(row["linf"], rel=1e-9)
        assert row["linf"] <= row["epsilon"] * (1 + 1e-6)
        place = clips.clips.index(row["clip"])
        with torch.no_grad():
            result = run.recogniser(clips.inputs[place : place + 1] + torch.from_numpy(delta)).emotions[0]
        values = [row[f"adversarial_{name}"] for name in run.recogniser.emotions]
        assert np.allclose(result.numpy(), values, atol=1e-4)


def test_every_attack_is_described_and_can_be_built_again(rows, run):
    described = run.files.read_attacks(CLIMB)
    assert described.keys() == set(rows["settings"])
    for text, description in described.items():
        assert repr(attacks.from_dict(description)) == text
    assert run.files.read_attacks("another") == {}


def test_nothing_falls_below_silence(rows, arrays, run):
    clips = run.part("test")
    lowest = run.recogniser.inputs.valid_range[0]
    for row in rows[rows["worst"]].to_dict("records"):
        clean = clips.inputs[clips.clips.index(row["clip"]), 0].numpy()
        perturbed = clean + arrays[f"{row['settings']}/{row['clip']}/perturbation"]
        assert (perturbed >= np.minimum(lowest, clean) - 1e-6).all()
    assert lowest < 0


def test_progress_sums_to_what_was_announced(fresh):
    spent: list[int] = []
    robustness.attack(fresh, CLIMB, batch_size=2, progress=spent.append)
    assert sum(spent) == len(fresh.part("test")) * CLIMB.iterations(emotions=8)


@pytest.mark.parametrize("calls", [1, 4, 9])
def test_an_interrupted_climb_ends_as_an_undisturbed_one(fresh, rows, arrays, calls):
    spent: list[int] = []

    def progress(count):
        spent.append(count)
        if len(spent) == calls:
            raise small_runs.InterruptionError

    with pytest.raises(small_runs.InterruptionError):
        robustness.attack(fresh, CLIMB, batch_size=2, progress=progress)
    again: list[int] = []
    attacked_rows = robustness.attack(fresh, CLIMB, batch_size=2, progress=again.append)
    assert sum(again) == len(fresh.part("test")) * CLIMB.iterations(emotions=8)
    assert attacked_rows.drop(columns="run").equals(rows.drop(columns="run"))
    path = fresh.files.perturbations(CLIMB)
    saved = read_safetensors(path)[0]
    assert saved.keys() == arrays.keys()
    assert all(np.array_equal(saved[key], arrays[key]) for key in arrays)
    assert not list(path.parent.glob("*.pieces"))


def test_each_emotion_is_named(fresh):
    each = Protocol("each", 1, "", (APGD(budget=BUDGET, objective=EachEmotion(), steps=1),))
    rows = robustness.attack(fresh, each)
    assert set(rows["objective"]) == {
        f"{name} {way}" for name in fresh.recogniser.emotions for way in ("up", "down")
    }


def retrained(run):
    """The same run after its weights changed, as when training went on."""
    network = run.recogniser.network
    with torch.no_grad():
        next(iter(network.parameters())).add_(0.1)
    save(RunFolder(run.folder).checkpoint, run.recogniser, {})


def test_rows_of_earlier_weights_are_refused(fresh):
    brief = Protocol("brief", 1, "", (APGD(budget=BUDGET, objective=SquaredError(), steps=1),))
    robustness.attack(fresh, brief)
    retrained(fresh)
    fresh.files.perturbations(brief).unlink()
    with pytest.raises(CheckpointError, match=r"brief\.csv: was made with other weights than .*checkpoint"):
        robustness.attack(fresh, brief)


def test_an_attack_does_not_go_on_with_pieces_of_earlier_weights(fresh):
    spent: list[int] = []

    def progress(count):
        spent.append(count)
        if len(spent) == 9:
            raise small_runs.InterruptionError

    with pytest.raises(small_runs.InterruptionError):
        robustness.attack(fresh, CLIMB, batch_size=1, progress=progress)
    retrained(fresh)
    again: list[int] = []
    robustness.attack(fresh, CLIMB, batch_size=1, progress=again.append)
    assert again[0] == 0  # nothing was there already
    assert not list((fresh.folder / "attacks").glob("*.pieces"))


def test_rows_say_what_made_them(rows, run):
    assert set(rows["checkpoint"]) == {sha256_file(RunFolder(run.folder).checkpoint)}
    (versions,) = set(rows["versions"])
    assert torch.__version__ in versions


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_size_that_cannot_be_is_refused(run, size):
    with pytest.raises(ConfigError, match=f"batch_size must be a whole number of at least 1, got {size}"):
        robustness.attack(run, CLIMB, batch_size=size)
