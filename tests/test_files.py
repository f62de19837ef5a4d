"""Atomic writes, checked tables, and messages that name the file and the reason."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from tenuto import files
from tenuto.errors import FileError, Problems


def test_writing_below_a_file_is_refused(tmp_path):
    files.write_text(tmp_path / "file", "x")
    with pytest.raises(FileError, match="cannot write: a file is in the place of its folder"):
        files.write_text(tmp_path / "file" / "below", "y")


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EFBIG, "would be larger"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "Check the permissions"),
        (errno.EXDEV, "Try again"),
    ],
)
def test_a_failed_write_says_why_and_keeps_the_old_content(tmp_path, monkeypatch, number, sentence):
    path = tmp_path / "it.txt"
    files.write_text(path, "old")

    def fail(source, target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(FileError, match=rf"it\.txt: .*{sentence}") as error:
        files.write_text(path, "new")
    assert ("permission" in str(error.value)) == (number == errno.EACCES)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["it.txt"]


def test_a_name_too_long_or_a_folder_is_not_blamed_on_permissions(tmp_path):
    with pytest.raises(FileError, match="name is too long"):
        files.write_text(tmp_path / ("x" * 300), "y")
    with pytest.raises(FileError, match="it is a folder"):
        files.read_text(tmp_path)


def test_a_named_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for read in (files.read_text, files.sha256_file, files.read_safetensors):
        with pytest.raises(FileError, match="a pipe or device"):
            read(tmp_path / "pipe")


@pytest.mark.parametrize("through_link", [False, True])
def test_a_pipe_or_device_is_not_replaced_by_a_file(tmp_path, through_link):
    os.mkfifo(pipe := tmp_path / "pipe")
    (link := tmp_path / "link").symlink_to(pipe)
    with pytest.raises(FileError, match="cannot write: it is a pipe or device"):
        files.write_bytes(link if through_link else pipe, b"new")
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_write_through_a_link_changes_the_file_it_names(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for content in (b"old", b"new"):
        files.write_bytes(tmp_path / "link", content)
        assert (tmp_path / "file").read_bytes() == content
    assert (tmp_path / "link").is_symlink()


def test_a_link_out_of_its_folder_is_followed_only_where_the_user_names_it(tmp_path):
    link = tmp_path / "run" / "metrics.json"
    link.parent.mkdir()
    link.symlink_to("../victim")
    with pytest.raises(
        FileError, match=r"metrics\.json: cannot write: it is a link to .*victim, out of its folder"
    ):
        files.write_text(link, "new")
    assert not (tmp_path / "victim").exists()
    files.write_text(files.followed(link), "new")
    assert (tmp_path / "victim").read_text() == "new"
    assert link.is_symlink()


def test_the_next_write_removes_what_killed_writers_left(tmp_path):
    child = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "it.txt"], capture_output=True, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    assert len(list(tmp_path.iterdir())) == 1
    running = tmp_path / f".it.txt.{files._host()}-{os.getpid()}-abc.part"
    old, other = tmp_path / ".it.txt.elsewhere-1-abc.part", tmp_path / ".that.txt.old.part"
    for part in (running, old, other):
        part.touch()
    for part in (old, other):
        os.utime(part, (0, 0))
    files.write_text(tmp_path / "it.txt", "new")
    assert {entry.name for entry in tmp_path.iterdir()} == {"it.txt", running.name, other.name}


KILLED = """
import os, signal, sys
from tenuto import files
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
files.write_text(sys.argv[1], "half")
"""


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_survive_csv_unchanged(tmp_path_factory, numbers):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    files.write_csv(path, pd.DataFrame({"a": numbers, "b": numbers}))
    assert files.read_csv(path)["a"].tolist() == numbers


def test_text_columns_stay_text(tmp_path):
    files.write_text(tmp_path / "t.csv", "clip,x\n001,1\nNA,2\n")
    assert files.read_csv(tmp_path / "t.csv", text=("clip",))["clip"].tolist() == ["001", "NA"]


def table(tmp_path, content, **options):
    files.write_bytes(tmp_path / "t.csv", content if isinstance(content, bytes) else content.encode())
    return files.read_csv(tmp_path / "t.csv", **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a;b\n1;2\n", "separated by ';', they must be separated by ','"),
        ("a\tb\n1\t2\n", "separated by a tab"),
        ("a,c\n1,2\n", "no column b. It has: a, c"),
        ("a,b\n", "no rows"),
        ("", "no column"),
        ("a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, the header has 2"),
        ("a,b\r\n\r\n1,2\r\n1\r\n", "line 4 has 1 field,"),
        ("a,b\r1,2,\r", "line 2 has 3 fields"),
        ("a,b, a\n1,2,3\n", "two columns are called 'a'"),
        ('a,b\n1,"2\n3,4\n5,6\n', "line 2 is not a row .* quotation marks"),
        ('a,b\n1,"2"2\n', "line 2 is not a row"),
        ("a,b\n1,\0\n", "NUL bytes"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "NUL bytes"),
        ("a,b\n\xe9,1\n".encode("latin-1"), "not UTF-8"),
        ("a\x1b\nc,b\n1,2\n", r"no column a, b. It has: a\\x1b"),
    ],
)
def test_bad_tables_are_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(FileError, match=f"^{tmp_path}/t.csv: .*{message}") as error:
        table(tmp_path, content, columns=("a", "b"))
    assert "\n" not in str(error.value)


CASES = Path(__file__).parent / "data" / "cases"


def test_a_row_longer_than_the_header_does_not_shift_the_columns():
    with pytest.raises(FileError, match="line 2 has 4 fields, the header has 3"):
        files.read_csv(CASES / "one_field_more_than_the_header.csv")


def test_rows_that_do_not_fit_the_header_are_rows(tmp_path):
    with pytest.raises(FileError) as error:
        table(tmp_path, "a,b\n1,2,3\n")
    assert [sentence.partition(". ")[0] for sentence in error.value.sentences] == [
        f"{tmp_path}/t.csv: line 2 has 3 fields, the header has 2"
    ]


def test_a_damaged_table_of_tenuto_is_to_be_made_again(tmp_path):
    path = tmp_path / "t.csv"
    with pytest.raises(FileError, match="no such file"), files.own_table(path):
        files.read_csv(path)
    path.write_text("a,b\n1,2\n1\n")
    with pytest.raises(FileError) as error, files.own_table(path):
        files.read_csv(path)
    assert str(error.value) == (
        f"{path}: is damaged (line 3 has 1 field, the header has 2). "
        "Delete it and run the command that wrote it again."
    )


def test_old_line_ends_and_blanks_in_the_header_are_read():
    old = files.read_csv(CASES / "line_ends_cr_only.csv", columns=("song_id", "arousal"))
    assert old.to_numpy().tolist() == [[2, 3, 4], [3, 4, 2], [4, 1, 5]]
    blank = files.read_csv(CASES / "header_with_blanks.csv", columns=("song_id", "valence_mean"))
    assert blank["valence_mean"].tolist() == [3.1, 4.2, 1.5]


@pytest.mark.parametrize(
    "content",
    ["a,b\n1,x\n2,y\n", "\ufeffa,b\r1,x\r\n2,y\n", 'a, "b",\n\n1,"x",\n2,y,\n\n', ",a,b\n0,1,x\n1,2,y\n"],
    ids=["plain", "mark and mixed ends", "quoted, blank lines, last column without a name", "index column"],
)
def test_one_table_in_several_spellings(tmp_path, content):
    assert table(tmp_path, content).to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}


def test_columns_are_called_as_requested_whatever_their_accents_are_made_of(tmp_path):
    composed, decomposed = "\u00e9nergie", "e\u0301nergie"
    read = table(tmp_path, f"{composed},b\n1,2\n", columns=(decomposed,))
    assert list(read) == [decomposed, "b"]


def test_a_file_keeps_its_permissions_and_a_new_one_gets_those_of_the_user(tmp_path, monkeypatch):
    kept = tmp_path / "kept"
    kept.touch(0o600)
    kept.chmod(0o640)
    monkeypatch.setattr(files, "UMASK", 0o077)
    modes = [files.write_text(path, "x").stat().st_mode & 0o777 for path in (kept, tmp_path / "new")]
    assert modes == [0o640, 0o600]


def test_separators_and_line_ends_in_quoted_fields_stay(tmp_path):
    assert table(tmp_path, 'a,b\n"1,\n""x""",2\n')["a"].tolist() == ['1,\n"x"']


def test_types_of_columns(tmp_path):
    read = table(
        tmp_path,
        "id,x_one,x_two,n,m,done\n007,1,1e-3,3,,True\n,nan,2,4.0,5,false\n",
        text=("id",),
        numbers=("x_*",),
        integers=("n", "m", "absent"),
        flags=("done",),
        optional=("x_one", "m"),
    )
    assert read["id"].tolist() == ["007", ""]
    assert read["x_two"].tolist() == [0.001, 2.0]
    assert read["x_one"].isna().tolist() == [False, True]
    assert read["m"].isna().tolist() == [True, False]
    assert read["n"].dtype == np.int64
    assert read["done"].dtype == bool


@pytest.mark.parametrize("cell", ["abc", "inf", "-Infinity", "nan", "", "1_000", "1e999", '"3,5"'])
def test_a_cell_that_is_no_finite_number_is_named(tmp_path, cell):
    shown = cell.strip('"')
    with pytest.raises(FileError, match=rf"t.csv: line 3, column x: '{shown}' is not a finite number"):
        table(tmp_path, f"x,y\n1,2\n{cell},3\n", numbers=("x",))


@pytest.mark.parametrize("cell", ["1.5", "true", str(10**23), "inf", "1e300"])
def test_a_cell_that_is_no_whole_number_is_named(tmp_path, cell):
    with pytest.raises(FileError, match=f"line 2, column x: '{cell}' is not a whole number"):
        table(tmp_path, f"x,y\n{cell},2\n", integers=("x",))


@pytest.mark.parametrize("cell", ["inf", "abc"])
def test_an_optional_number_is_finite_too(tmp_path, cell):
    with pytest.raises(FileError, match=f"'{cell}' is not a finite number"):
        table(tmp_path, f"x,y\n{cell},2\n", numbers=("x",), optional=("x",))


def test_a_long_or_broken_cell_is_quoted_in_one_short_line(tmp_path):
    with pytest.raises(FileError, match=r"column x: 'a\\na+\.\.\.' is not") as error:
        table(tmp_path, f'x,y\n"a\n{"a" * 5000}",2\n', flags=("x",))
    assert len(str(error.value)) < 300


def test_types_of_undeclared_columns_follow_from_their_cells(tmp_path):
    read = table(tmp_path, "a,b,c,d,e\n1,1.5,True,x,\n2,inf,False,,\n")
    assert [str(kind) for kind in read.dtypes] == ["int64", "float64", "bool", "str", "float64"]
    assert read["d"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "JSON list"),
        ("[" * 100_000, "not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
    ],
    ids=["cut", "list", "deep", "long number"],
)
def test_bad_json_is_refused(tmp_path, content, message):
    files.write_text(tmp_path / "t.json", content)
    with pytest.raises(FileError, match=message):
        files.read_json(tmp_path / "t.json")


def test_json_round_trip(tmp_path):
    files.write_json(tmp_path / "t.json", {"a": 0.1, "b": [1, "x"]})
    assert files.read_json(tmp_path / "t.json") == {"a": 0.1, "b": [1, "x"]}


def test_safetensors_round_trip(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array(3)}
    files.write_safetensors(tmp_path / "t.safetensors", arrays, {"k": "v"})
    read, metadata = files.read_safetensors(tmp_path / "t.safetensors")
    assert metadata == {"k": "v"}
    assert all(np.array_equal(read[name], arrays[name]) for name in arrays)


def test_no_arrays_are_written_and_read(tmp_path):
    assert files.read_safetensors(files.write_safetensors(tmp_path / "none", {}, {})) == ({}, {})


def test_joined_safetensors_are_those_of_the_arrays_written_at_once(tmp_path):
    parts: list[dict[str, files.Array]] = [
        {"é/b": np.arange(3, dtype=np.float32), "a": np.zeros((0, 2), np.float64)},
        {"c": np.array(3, np.float16), "b": np.arange(6, dtype=np.float32).reshape(2, 3)},
    ]
    sources = [files.write_safetensors(tmp_path / f"{number}", part, {}) for number, part in enumerate(parts)]
    joined = files.join_safetensors(tmp_path / "joined", sources).read_bytes()
    assert joined == files.write_safetensors(tmp_path / "whole", parts[0] | parts[1], {}).read_bytes()
    assert files.join_safetensors(tmp_path / "none", []).stat().st_size > 0
    assert not files.SafetensorsFile(tmp_path / "none")
    with pytest.raises(KeyError):
        files.SafetensorsFile(tmp_path / "joined")["d"]


@pytest.mark.parametrize("content", [b"", b"x" * 100, b"\xff" * 20])
def test_foreign_safetensors_are_refused(tmp_path, content):
    files.write_bytes(tmp_path / "t.safetensors", content)
    with pytest.raises(FileError, match="not a safetensors file"):
        files.read_safetensors(tmp_path / "t.safetensors")


def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    files.write_safetensors(tmp_path / "t.safetensors", {"a": np.zeros(1)}, {})
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(FileError, match=r"t\.safetensors: cannot read: permission denied"):
        files.read_safetensors(tmp_path / "t.safetensors")


def test_sha256_of_a_known_text(tmp_path):
    files.write_text(tmp_path / "t", "abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert files.sha256_file(tmp_path / "t") == files.sha256_bytes(b"abc") == known


def test_all_problems_of_a_table_are_collected_on_request(tmp_path):
    problems = Problems()
    read = table(tmp_path, "a,a,x\n1,2,3\n1,2\n1,2,no\n", columns=("b",), numbers=("x",), problems=problems)
    assert [sentence.split(": ", 1)[1] for sentence in problems.sentences] == [
        "no column b. It has: a, a, x.",
        "two columns are called 'a'. Rename or remove one.",
        "line 3 has 2 fields, the header has 3. Write one field for each column, and put fields that contain "
        "the separator in quotation marks.",
        "line 4, column x: 'no' is not a finite number. Correct that cell.",
    ]
    assert read["x"].dropna().to_dict() == {2: 3.0}
    with pytest.raises(FileError, match=r"no column b.*\(and 3 more problems\)$"):
        problems.raise_all()


def test_a_number_in_json_that_no_column_can_hold_is_a_float(tmp_path):
    path = files.write_text(tmp_path / "a.json", f'{{"seed": {2**62}, "mae": 1{"0" * 400}}}')
    assert files.read_json(path) == {"seed": 2**62, "mae": float("inf")}


def test_a_name_with_a_nul_character_is_refused_in_one_line(tmp_path):
    with pytest.raises(FileError, match=r"a\\x00b: cannot read: the name contains a NUL character"):
        files.read_text(tmp_path / "a\0b")
    with pytest.raises(FileError, match="cannot write: the name contains a NUL character"):
        files.write_text(tmp_path / "a\0b", "x")


def test_a_name_that_is_not_utf_8_is_escaped_in_a_table(tmp_path):
    assert files.write_text(tmp_path / "a.csv", "caf\udce9").read_text("utf-8") == "caf\\udce9"


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn"])
def test_arrays_of_a_type_that_numpy_lacks_are_refused(kind, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2, dtype=getattr(torch, kind))}, tmp_path / "a.safetensors")
    with pytest.raises(FileError, match=r"'weight' has a type NumPy cannot read .* Save it as float32"):
        files.read_safetensors(tmp_path / "a.safetensors")


def test_a_folder_is_tried_and_not_made(tmp_path):
    files.check_writable(tmp_path / "one" / "two")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "one").write_text("a file")
    with pytest.raises(FileError, match="two: cannot write: a part of its path is a file"):
        files.check_writable(tmp_path / "one" / "two")
