"""The command in a process of its own: environment, terminal, broken output, interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.reporting.made_up_report import plain, stored

ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("TENUTO_", "PYTHON"))}


def heed():
    """Heed interrupts, which a background job, and thus the processes it starts, ignores."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments, code=("-m", "tenuto"), **settings):
    """Start the command; keywords are what Python executes, and environment variables, of which None removes one."""
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "80"} | settings
    return subprocess.Popen(
        [sys.executable, *code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={key: value for key, value in environment.items() if value is not None},
        preexec_fn=heed,
    )


def ended(*arguments, **settings):
    """Exit code, stdout and stderr of the command."""
    process = start(*arguments, **settings)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of one run."""
    return stored(tmp_path_factory.mktemp("study"), plain((6,)))


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "iso-8859-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=["iso-8859-1", "C"],
)
def test_a_terminal_that_lacks_characters_gets_others(study, tmp_path, settings):
    code, stdout, stderr = ended("paper", "table1", study, "--out", tmp_path / "größe ♪", **settings)
    assert (code, stderr.count(b"Traceback")) == (0, 0), stderr
    assert b"Table 1" in stdout
    assert b"table1.csv" in stdout


def test_a_user_without_name_and_home_is_served():
    if os.getuid() != 0:
        pytest.skip("only root can become a user without a name")
    script = "import os, tenuto.cli.app as cli; os.setuid(54321); cli.app()"
    environment = {key: value for key, value in ENVIRONMENT.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", script, "data", "list"],
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_standard_output_is_one_sentence():
    with open("/dev/full", "wb") as full:
        process = subprocess.run(
            [sys.executable, "-m", "tenuto", "data", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        )
    assert process.returncode == 2
    assert process.stderr == b"error: cannot write to the standard output (the disk is full).\n"


@pytest.mark.parametrize(
    ("closed", "arguments", "code"),
    [
        (">&-", ("data", "list"), 0),
        ("2>&-", ("data", "info", "nothing"), 2),
        (">&- 2>&-", ("data", "info", "nothing"), 2),
    ],
)
def test_closed_streams_change_no_exit_code(closed, arguments, code):
    process = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-m", "tenuto", *arguments],
        capture_output=True,
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert process.returncode == code
    assert b"Traceback" not in process.stdout + process.stderr


@pytest.mark.parametrize(
    "arguments", [("data", "list"), ("paper", "all", "--help"), ("data", "info", "midlevel", "--json")]
)
def test_a_reader_that_leaves_early_gets_no_traceback(arguments):
    process = start(*arguments)
    process.stdout.close()
    with process.stderr as stderr:
        assert stderr.read() == b""
    assert process.wait(timeout=60) != 0


def ended_after(*lines):
    """How the command ends when these lines are its body."""
    body = "\n".join(f"    {line}" for line in lines)
    script = f"from tenuto.cli import main\ndef run():\n{body}\nmain._run = run\nmain.main()"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, preexec_fn=heed)


def test_an_interrupt_ends_an_import_that_would_catch_it(tmp_path):
    module = "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nexcept BaseException:\n    pass\n"
    (tmp_path / "catches_all.py").write_text(module)
    ended = ended_after("import sys", f"sys.path.append({str(tmp_path)!r})", "import catches_all", "return 0")
    assert (ended.returncode, ended.stderr) == (130, b"stopped.\n")


@pytest.mark.parametrize(("cause", "code"), [("KeyboardInterrupt", 130), ("ValueError", 0)])
def test_an_interrupt_in_a_destructor_ends_the_command(cause, code):
    ended = ended_after(
        "class Dropped:", "    def __del__(self):", f"        raise {cause}", "Dropped()", "return 0"
    )
    assert (ended.returncode, ended.stderr == b"stopped.\n") == (code, code == 130)
    assert (b"Traceback" in ended.stderr) == (code == 0)


BEGUN = "from tenuto.cli import main; run = main._run; main._run = lambda: print(flush=True) or run(); main.main()"
"""Runs the command, and prints an empty line when `main` has begun: until then Python itself answers an interrupt."""


@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.7, 1.4])
def test_an_interrupt_while_starting_gets_no_traceback(study, tmp_path, seconds):
    process = start("paper", "all", study, "--out", tmp_path, code=("-c", BEGUN))
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (0, 130), stderr
    assert process.returncode == 0 or (stderr.startswith(b"stopped") and stderr.count(b"\n") == 1), stderr


def test_a_folder_that_was_removed_is_one_sentence(tmp_path):
    script = f"import os; os.rmdir({str(tmp_path)!r}); from tenuto.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    sentence = b"error: the current folder no longer exists. Change to another folder.\n"
    assert (done.returncode, done.stderr) == (2, sentence)


def test_an_error_with_a_line_end_in_a_name_is_one_line(tmp_path):
    code, _, stderr = ended("report", tmp_path / "a\nb", "--out", tmp_path / "a.html")
    assert (code, stderr.count(b"\n")) == (2, 1)
