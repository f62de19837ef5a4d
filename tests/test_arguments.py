"""Arguments of public calls: what their parameters do not take is refused before anything is computed."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import tenuto
from tenuto import api
from tenuto.api import Run
from tenuto.arguments import as_list, checked
from tenuto.attacks import FGSM, Linf
from tenuto.errors import ConfigError, TenutoError, did_you_mean

WRONG: Any = [
    ("attack", ("run", FGSM(Linf(0.1)), None), {}),
    ("attack", ("run", 3.5), {}),
    ("attack", ("run",), {"device": None}),
    ("attack_recording", ("a2e-soundtracks", "song.mp3"), {"objective": 3}),
    ("attack_recording", ("a2e-soundtracks", "song.mp3"), {"start": "1"}),
    ("adopt", ("net.py:net",), {"emotions": 3}),
    ("attribute", ("run", 59), {}),
    ("audit", ([],), {}),
    ("compare", (), {"epsilon": "0.1"}),
    ("compare", (), {"settings": 3}),
    ("curves", ([],), {}),
    ("corruption_error", ([],), {}),
    ("describe", (3,), {}),
    ("download", (3, "folder"), {}),
    ("explain", ("a2e-soundtracks", ["song.mp3"]), {}),
    ("explain", ("a2e-soundtracks", "song.mp3"), {"hop_seconds": "1"}),
    ("export", ("a2e-soundtracks", None, "x"), {}),
    ("export", ("a2e-soundtracks", "torchscript", None), {}),
    ("gallery", ("run",), {"clips": 1.5}),
    ("gallery", ([],), {}),
    ("intervene", ("run", 3), {}),
    ("leakage", ("run",), {"seed": "0"}),
    ("natural", ("run",), {"protocol": None}),
    ("open_run", ("run", 3), {}),
    ("optimality", ("run", 3), {}),
    ("optimality", ("run", []), {}),
    ("paper", (), {"seed": "6"}),
    ("paper", (), {"emotions": []}),
    ("plan_study", (None, "out"), {}),
    ("predict", ("a2e-soundtracks", None), {}),
    ("predict", ("a2e-soundtracks", []), {}),
    ("prepare", (3,), {}),
    ("prepare", ("folder",), {"workers": "2"}),
    ("rows", (None,), {"epsilon": "x"}),
    ("run_study", ("demo", "out"), {"engine": "ray"}),
    ("sandwich", ([],), {}),
    ("set_concepts", ("run", ["dissonance"], "song.mp3"), {}),
    ("show", ("run", 3), {}),
    ("study_status", (3,), {}),
    ("synthesize", ("out",), {"clips": "15"}),
    ("synthesize", ("out",), {"clips": 1}),
    ("train", ("folder", 3), {}),
    ("universal", ("run", 0.1), {}),
    ("validate", (3,), {}),
    ("curves", ("run",), {"epsilon": 0.1}),
]


@pytest.mark.parametrize(("name", "args", "kwargs"), WRONG)
def test_a_wrong_argument_is_refused_in_one_sentence(name, args, kwargs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as refused:
        getattr(tenuto, name)(*args, **kwargs)
    parameters = inspect.signature(getattr(tenuto, name)).parameters
    assert str(refused.value).split()[0] in [*parameters, "epsilon"]
    assert not list(tmp_path.iterdir())


def test_every_public_call_checks_its_arguments():
    functions = [each for name in api.__all__ if inspect.isfunction(each := getattr(api, name))]
    methods = [each for name, each in vars(Run).items() if inspect.isfunction(each) and name[0] != "_"]
    assert len(functions) > 30
    assert len(methods) > 10
    assert [each.__qualname__ for each in (*functions, *methods) if not hasattr(each, "__wrapped__")] == []


class Sung:
    """A class for an annotation."""


@checked
def sing(
    tune: str | Path,
    times: int = 1,
    level: float | None = None,
    *,
    words: Sequence[str] = (),
    notes: str | Sequence[str] | None = None,
    rests: Iterable[float] = (),
    span: tuple[float, float] = (0, 1),
    gains: Mapping[str, float] | None = None,
    key: Literal["major", "minor"] = "major",
    order: Mapping[str, Any] | None = None,
    by: Sung | Unknown | None = None,  # type: ignore[name-defined]  # noqa: F821
) -> str:
    """Return the tune, or fail inside."""
    return tune.strip()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"tune": 3}, "tune must be a path, got 3."),
        ({"times": True}, "times must be a whole number, got True."),
        ({"times": 1.5}, "times must be a whole number, got 1.5."),
        ({"level": "1"}, "level must be a number or None, got '1'."),
        ({"words": "la"}, "words must be a list, each entry a string, got 'la'."),
        ({"words": ["la", 3]}, "words must be a list, each entry a string, got ['la', 3]."),
        ({"notes": 3}, "notes must be a string, several or None, got 3."),
        ({"span": (0, 1, 2)}, "span must be 2 values, each a number, got (0, 1, 2)."),
        (
            {"gains": {"high": "1"}},
            "gains must be a mapping, each value a number or None, got {'high': '1'}.",
        ),
        ({"order": 3}, "order must be a mapping or None, got 3."),
        ({"key": 3}, "key must be 'major' or 'minor', got 3."),
        ({"time": 3}, "time is no parameter of sing. Did you mean times? Valid: tune, times, level, words, "),
    ],
)
def test_what_a_parameter_takes_is_said(kwargs, message):
    with pytest.raises(ConfigError) as refused:
        sing(**{"tune": "la", **kwargs})
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"times": np.int64(2), "level": np.float32(0.5)},
        {"times": torch.tensor(2), "rests": torch.tensor([0.5]), "span": np.array([0, 1])},
        {"words": np.array(["la"]), "rests": iter([0.5]), "span": [0, 1]},
        {"words": {"la"}, "gains": {"high": 1}, "by": 3},
    ],
)
def test_numbers_and_lists_of_other_libraries_are_taken(kwargs):
    assert sing(" la", **kwargs) == "la"


@checked
def play(model: str, /, *, out: Path | None = None, **settings: Any) -> dict[str, Any]:
    return settings


def test_a_setting_may_have_the_name_of_a_parameter_without_one():
    assert play("A2E", model=3) == {"model": 3}
    with pytest.raises(TypeError, match="positional"):
        play("A2E", 3)  # type: ignore[call-arg, arg-type]


def test_an_error_inside_a_call_passes_as_it_is():
    with pytest.raises(AttributeError, match="strip"):
        sing(Path("la"))
    with pytest.raises(TypeError, match="tune"):
        sing()  # type: ignore[call-arg]


@pytest.mark.parametrize("value", ["a", Path("a"), 3])
def test_one_value_is_a_list_of_one(value):
    assert as_list(value) == [value]
    for several in ([value, "b"], (each for each in (value, "b")), {value: 1, "b": 2}):
        assert as_list(several) == [value, "b"]
    with pytest.raises(TenutoError, match="runs is empty"):
        as_list([], "runs")


def test_a_choice_that_is_no_string_is_compared_as_one():
    assert did_you_mean(None, ["none", "all"]) == "Did you mean none? Valid: none, all."


def test_one_folder_is_compared_with_and_not_its_letters(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TenutoError, match="empty: contains no recording"):
        tenuto.validate(tmp_path, "folder", against=str(tmp_path / "empty"))
