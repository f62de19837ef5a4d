"""Code and files that the user names: what is trusted, what is refused, and that no state changes."""

from __future__ import annotations

import functools
import json
import logging
from typing import Any

import pytest
import torch
from filelock import FileLock

from tenuto.errors import FileError, ModelError, TrustError
from tenuto.models.foreign import identify
from tenuto.models.foreign.identity import content_sha256
from tenuto.models.foreign.trust import check_trust
from tests.models.test_foreign import EXAMPLE, NETWORK, code, opened, saved_export, saved_script

pytestmark = pytest.mark.usefixtures("state")


def test_code_is_trusted_once_and_by_content(tmp_path, state):
    file = code(tmp_path, f"open({str(tmp_path / 'ran')!r}, 'w').close()\n" + NETWORK)
    with pytest.raises(TrustError, match=r"mine\.py.*--trust"):
        opened(f"{file}:build")
    assert not (tmp_path / "ran").exists()
    opened(f"{file}:build", trust=True)
    assert list(json.loads((state / "tenuto" / "trusted.json").read_text())) == [
        identify(f"{file}:build").source_sha256
    ]
    opened(f"{file}:build")
    with pytest.raises(TrustError):  # another function of the same file
        opened(f"{file}:predict")
    other = tmp_path / "elsewhere"
    other.mkdir()
    code(other, file.read_text())
    with pytest.raises(TrustError):  # it may import other files there
        opened(f"{other / 'mine.py'}:build")
    file.write_text(file.read_text() + "# changed")
    with pytest.raises(TrustError, match="changed"):
        opened(f"{file}:build")


@pytest.mark.parametrize("kind", ["pt", "pt2"])
def test_model_files_are_trusted_by_content(tmp_path, waves, kind):
    file = tmp_path / f"model.{kind}"
    (saved_script if kind == "pt" else saved_export)(waves, file)
    with pytest.raises(TrustError, match="model"):
        opened(file)
    opened(file, trust=True)
    twin = tmp_path / f"copied.{kind}"
    twin.write_bytes(file.read_bytes())
    opened(twin)


def test_a_lock_that_a_killed_process_left_is_named(tmp_path, state, monkeypatch):
    monkeypatch.setattr("tenuto.models.foreign.trust.TRUST_PATIENCE", 0.1)
    (state / "tenuto").mkdir(parents=True)
    with (
        FileLock(state / "tenuto" / "trusted.json.lock"),
        pytest.raises(FileError, match=r"\.lock: another process"),
    ):
        check_trust("0" * 64, "m.py:f", trust=True, is_complete=True)


def test_a_damaged_list_of_trusted_code(tmp_path, state):
    (state / "tenuto").mkdir(parents=True)
    (state / "tenuto" / "trusted.json").write_text("[1")
    with pytest.raises(FileError, match=r"trusted\.json"):
        opened(f"{code(tmp_path)}:build")


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (
            "import no_such_package\ndef build(): pass",
            "build",
            ["ModuleNotFoundError", "no_such_package", "line 1"],
        ),
        ("def build(:", "build", ["SyntaxError"]),
        ("import sys\nsys.exit(3)\ndef build(): pass", "build", ["SystemExit"]),
        ("\ndef build():\n    return 1 / 0", "build", ["ZeroDivisionError", "division by zero", "line 3"]),
        ("def build(): return 7", "build", ["int", "nn.Module"]),
        ("def build(): pass", "biuld", ["biuld", "build"]),
        ("def predict(x): raise ValueError('too short')", "predict", ["ValueError", "too short"]),
    ],
)
def test_errors_of_the_users_code(tmp_path, text, name, words):
    file = code(tmp_path, text)
    with pytest.raises(ModelError) as caught:
        opened(f"{file}:{name}", trust=True)
    message = str(caught.value)
    assert str(file) in message
    assert all(word in message for word in words), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no_such_module_at_all:build", ["no_such_module_at_all"]),
        ("nothing.h5", ["nothing.h5", "onnx"]),
        ("nothing.pt", ["nothing.pt"]),
        ("nothing.py", ["nothing.py:FUNCTION"]),
        ("sys:exit", ["sys"]),
        ("nothing.py:build", ["nothing.py"]),
    ],
)
def test_what_is_no_model(spec, words):
    with pytest.raises((ModelError, FileError)) as caught:
        opened(spec, trust=True)
    assert all(word in str(caught.value) for word in words)


def test_weights_without_a_network_are_refused(tmp_path, waves):
    torch.save(waves.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ModelError, match="no network"):
        opened(tmp_path / "weights.pt", trust=True)
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(ModelError, match="damaged"):
        opened(tmp_path / "text.pt", trust=True)


def test_a_damaged_export_is_refused_in_one_sentence(tmp_path, waves, caplog, monkeypatch):
    """PyTorch would log a traceback."""
    monkeypatch.setattr(logging.getLogger("torch.export"), "handlers", [caplog.handler])
    file = tmp_path / "model.pt2"
    saved_export(waves, file)
    content = file.read_bytes()
    file.write_bytes(content[:2000] + content[2100:])
    with pytest.raises(ModelError, match="cannot be loaded"):
        opened(file, trust=True)
    assert not any(record.name == "torch.export" for record in caplog.records)


def test_two_folders_with_files_of_the_same_name(tmp_path):
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        code(folder, f"FACTOR = {number}", "layers_of_mine.py")
        code(folder, "from layers_of_mine import FACTOR\ndef predict(x): return x[:, :2] * FACTOR")
    one, two = (
        opened(f"{tmp_path / str(number)}/mine.py:predict", trust=True).module(EXAMPLE) for number in (1, 2)
    )
    torch.testing.assert_close(2 * one, two)


def test_the_users_code_changes_no_state(tmp_path, capsys):
    text = "import torch, numpy\ntorch.manual_seed(1)\nnumpy.random.seed(1)\n"
    text += "torch.set_grad_enabled(False)\nprint('hello')\n"
    before = torch.get_rng_state()
    opened(f"{code(tmp_path, text + NETWORK)}:build", trust=True)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.is_grad_enabled()
    assert capsys.readouterr().out == ""


class Scaled(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, inputs):
        return inputs * self.factor


def adding(size):
    def call(model, inputs, labels):
        return inputs + size

    return call


def test_models_and_functions_are_told_apart_by_content():
    make: list[Any] = [
        *(functools.partial(Scaled, factor) for factor in (1.0, 2.0)),
        *(functools.partial(adding, size) for size in (1, 2)),
        *(functools.partial(functools.partial, adding, size) for size in (1, 2)),
        torch.nn.Identity,
        lambda: functools.partial(adding, 1).__call__,
        lambda: torch.ones(2),
        lambda: {"a", "b"},
    ]
    names = [content_sha256(one()) for one in make]
    assert names == [content_sha256(one()) for one in make]
    assert len(set(names)) == len(make)
