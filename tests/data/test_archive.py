"""`unzip` gives back what was packed, and refuses hostile archives before anything is written."""

from __future__ import annotations

import stat
import warnings
import zipfile

import pytest
from hypothesis import given, settings, strategies as st

from tenuto.data.archive import unzip
from tenuto.errors import FileError
from tests.data.osf_server import LONG, tree


def pack(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_unzip_gives_back_what_was_packed(tmp_path):
    members = {"annotations.csv": b"song_id\n1\n", "deep/er/metadata.csv": LONG, "empty": b""}
    archive = pack(tmp_path / "a.zip", {"deep/": b"", **members})
    assert unzip(archive, tmp_path / "out") == [tmp_path / "out" / name for name in members]
    assert tree(tmp_path / "out") == members


def test_unzip_replaces_what_is_there(tmp_path):
    archive = pack(tmp_path / "a.zip", {"a.csv": b"new"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.csv").write_bytes(b"old and longer")
    unzip(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == {"a.csv": b"new"}


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "C:evil", "a\\..\\evil", "a//evil", "./evil"]
)
def test_unzip_refuses_a_name_that_leads_elsewhere(tmp_path, name):
    archive = pack(tmp_path / "a.zip", {"good": b"good", name: b"evil"})
    with pytest.raises(FileError, match=r"a\.zip: member .*(absolute path|not a plain path)"):
        unzip(archive, tmp_path / "out")
    assert list(tree(tmp_path)) == ["a.zip"]


def test_unzip_refuses_a_name_that_zipfile_would_cut_short(tmp_path):
    archive = pack(tmp_path / "a.zip", {"a.csv|x": b"a"})
    archive.write_bytes(archive.read_bytes().replace(b"|", b"\0"))
    with pytest.raises(FileError, match="not a plain path"):
        unzip(archive, tmp_path / "out")


def test_unzip_writes_to_the_name_it_has_checked(tmp_path, monkeypatch):
    """From Python 3.12 on, `zipfile` takes ``filename`` from an extra field, and only ``orig_filename`` as stored."""
    members = zipfile.ZipFile.infolist

    def renamed(archive):
        for member in members(archive):
            member.filename = "../escaped.txt"
            archive.NameToInfo[member.filename] = member
            yield member

    monkeypatch.setattr(zipfile.ZipFile, "infolist", renamed)
    unzip(pack(tmp_path / "a.zip", {"ok.csv": b"ok"}), tmp_path / "out")
    assert sorted(tree(tmp_path)) == ["a.zip", "out/ok.csv"]


def test_unzip_refuses_a_symbolic_link(tmp_path):
    link = zipfile.ZipInfo("link")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(FileError, match="'link' is a link or device"):
        unzip(tmp_path / "a.zip", tmp_path / "out")


def test_unzip_does_not_follow_a_link_out_of_the_destination(tmp_path):
    archive = pack(tmp_path / "a.zip", {"sub/a.csv": b"a"})
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sub").symlink_to(tmp_path / "outside")
    with pytest.raises(FileError, match="through a link"):
        unzip(archive, tmp_path / "out")
    assert tree(tmp_path / "outside") == {}


@pytest.mark.parametrize(
    ("members", "limits", "message"),
    [
        (
            {"zeros": bytes(3_000_000)},
            {"max_bytes": 1_000_000},
            "1 file of 3000000 bytes; .* at most 1000000 bytes",
        ),
        (
            dict.fromkeys("abcdefghijk", b""),
            {"max_files": 10},
            "11 files of 0 bytes; allowed are 1 to 10 files",
        ),
        ({"folder/": b""}, {}, "contains 0 files"),
    ],
)
def test_unzip_refuses_too_many_files_or_bytes_or_none(tmp_path, members, limits, message):
    with pytest.raises(FileError, match=message):
        unzip(pack(tmp_path / "a.zip", members), tmp_path / "out", **limits)
    assert list(tree(tmp_path)) == ["a.zip"]


def test_unzip_refuses_a_bomb_that_lies_about_its_size(tmp_path):
    archive = pack(tmp_path / "a.zip", {"zeros": bytes(3_000_000)})
    honest, lie = (3_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    content = archive.read_bytes()
    assert content.count(honest) == 2  # local header and directory
    archive.write_bytes(content.replace(honest, lie))
    with pytest.raises(FileError, match="damaged"):
        unzip(archive, tmp_path / "out", max_bytes=1_000_000)
    assert list(tree(tmp_path)) == ["a.zip"]


def test_unzip_refuses_an_encrypted_member(tmp_path):
    archive = pack(tmp_path / "a.zip", {"secret": b"x"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(FileError, match="'secret' is encrypted"):
        unzip(archive, tmp_path / "out")


def test_unzip_refuses_an_unbounded_compression(tmp_path):
    archive = pack(tmp_path / "a.zip", {"a.csv": b"a"}, zipfile.ZIP_BZIP2)
    with pytest.raises(FileError, match=r"'a\.csv' is neither stored nor deflated"):
        unzip(archive, tmp_path / "out")


def test_unzip_refuses_a_member_listed_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        archive.writestr("a.csv", "one")
        archive.writestr("a.csv", "two")
    with pytest.raises(FileError, match=r"'a\.csv' is listed twice"):
        unzip(tmp_path / "a.zip", tmp_path / "out")


def test_unzip_writes_nothing_where_one_member_is_damaged(tmp_path):
    archive = pack(tmp_path / "a.zip", {"a.csv": b"sound", "b.csv": b"to be altered"}, zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"altered", b"ALTERED"))
    with pytest.raises(FileError, match=r"a\.zip: damaged at 'b\.csv'"):
        unzip(archive, tmp_path / "out")
    assert list(tree(tmp_path)) == ["a.zip"]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_unzip_refuses_a_truncated_archive(tmp_path, share):
    archive = pack(tmp_path / "a.zip", {"a.csv": b"a" * 1000, "b.csv": b"b" * 1000})
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FileError, match=r"a\.zip: damaged or not a ZIP file"):
        unzip(archive, tmp_path / "out")


def test_unzip_names_a_missing_archive(tmp_path):
    with pytest.raises(FileError, match=r"none\.zip: cannot read"):
        unzip(tmp_path / "none.zip", tmp_path / "out")


def test_unzip_notices_a_member_swallowed_by_the_comment_of_another(tmp_path):
    archive = pack(tmp_path / "a.zip", {"a.csv": b"one", "b.csv": b"two"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 33] = 1  # the comment is now 256 bytes long
    archive.write_bytes(content)
    with pytest.raises(FileError, match=r"'a\.csv' hides another member"):
        unzip(archive, tmp_path / "out")


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_one_wrong_byte_is_noticed_or_harmless(tmp_path_factory, place, flip):
    """Wherever a byte is altered, the contents are the original ones or nothing is written."""
    folder = tmp_path_factory.mktemp("flip")
    contents = [b"one" * 10, b"two" * 20]
    archive = pack(folder / "a.zip", dict(zip(("a.csv", "b.csv"), contents, strict=True)))
    content = bytearray(archive.read_bytes())
    content[int(place * len(content))] ^= flip
    archive.write_bytes(content)
    try:
        paths = unzip(archive, folder / "out")
    except FileError:
        assert not (folder / "out").exists()
    else:
        assert [path.read_bytes() for path in paths] == contents
