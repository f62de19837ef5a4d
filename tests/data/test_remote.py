"""`tenuto.data.remote` against a local server that speaks the OSF API, and against hostile archives."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import socket
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from tenuto.data.archive import unzip
from tenuto.data.remote import osf_download, osf_file
from tenuto.errors import DownloadError, FileError

from .osf_server import NODE, Answer, OsfServer, Sent

LONG = bytes(range(256)) * 2400  # 614 400 bytes, several chunks
QUICK = (0.0, 0.0, 0.0)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy the environment names, this machine is reached directly."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def server() -> Iterator[OsfServer]:
    with OsfServer() as running:
        yield running


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def get(server: OsfServer, destination: Path, **options: Any) -> list[Path]:
    return osf_download(NODE, destination, **{"api": server.api, "waits": QUICK, **options})


# ---- what is fetched


def test_nested_folders_and_pages_arrive_whole(server: OsfServer, tmp_path: Path) -> None:
    server.page_size = 2
    files = {f"Set1/{number:03d}.mp3": bytes([number]) * number for number in range(1, 6)}
    files |= {"ratings.csv": b"number,valence\n", "Set1/deep/er/notes.txt": b"x", "empty.txt": b""}
    for name, content in files.items():
        server.add(name, content)

    paths = get(server, tmp_path / "data")

    assert tree(tmp_path / "data") == files
    assert paths == [tmp_path / "data" / name for name in sorted(files)]
    assert server.listings == 7  # root 2 pages, Set1 3 pages, deep, er


def test_only_selected_files_are_fetched(server: OsfServer, tmp_path: Path) -> None:
    server.add("Set1/001.mp3", b"one")
    server.add("Set2/001.mp3", b"two")
    get(server, tmp_path, select=lambda name: name.startswith("Set1/"))
    assert tree(tmp_path) == {"Set1/001.mp3": b"one"}


def test_an_unselected_file_need_not_be_checkable(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.csv", b"a")
    server.add("b.csv", b"b", extra={"hashes": {"sha256": None}})
    assert get(server, tmp_path, select=lambda name: name == "a.csv") == [tmp_path / "a.csv"]


def test_single_file_by_id(server: OsfServer, tmp_path: Path) -> None:
    server.add("other.csv", b"other")
    server.add("folder/metadata_annotations.zip", LONG)
    path = osf_file(
        server.identifier("folder/metadata_annotations.zip"), tmp_path, api=server.api, waits=QUICK
    )
    assert path == tmp_path / "metadata_annotations.zip"
    assert tree(tmp_path) == {"metadata_annotations.zip": LONG}


def test_progress_counts_up_to_the_size(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.bin", LONG)
    seen: list[tuple[str, int, int | None]] = []
    get(server, tmp_path, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("a.bin", len(LONG), len(LONG))
    assert len(seen) > 1
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})


def test_what_is_there_is_not_fetched_again(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.csv", b"same")
    (tmp_path / "a.csv").write_bytes(b"same")
    seen: list[tuple[str, int, int | None]] = []
    assert get(server, tmp_path, progress=lambda *step: seen.append(step)) == [tmp_path / "a.csv"]
    assert server.log == []
    assert seen == [("a.csv", 4, 4)]


def test_an_altered_file_is_replaced(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.csv", b"right")
    (tmp_path / "a.csv").write_bytes(b"wrong")
    get(server, tmp_path)
    assert tree(tmp_path) == {"a.csv": b"right"}


# ---- interruptions


def test_a_cut_connection_is_continued_where_it_broke(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.bin", LONG)
    server.plan["a.bin"] = [Answer(cut=400_000)]
    get(server, tmp_path)
    assert tree(tmp_path) == {"a.bin": LONG}
    first, second = server.log
    assert first == Sent("a.bin", None, 400_000)
    assert second.range is not None
    start = int(second.range.removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 400_000
    assert second.size == len(LONG) - start


def test_no_compressed_answer_is_asked_for(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.bin", LONG)
    (tmp_path / "a.bin.part").write_bytes(LONG[:1000])
    get(server, tmp_path)
    assert server.encodings == ["identity"]  # byte 1000 of a compressed answer is another byte


def test_an_answer_that_ends_early_is_continued(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.bin", LONG)
    server.plan["a.bin"] = [Answer(body=LONG[:1000])]
    get(server, tmp_path)
    assert server.log[1] == Sent("a.bin", "bytes=1000-", len(LONG) - 1000)
    assert tree(tmp_path) == {"a.bin": LONG}


def test_a_failed_command_leaves_a_part_and_the_next_sends_only_the_rest(
    server: OsfServer, tmp_path: Path
) -> None:
    server.add("a.bin", LONG)
    server.plan["a.bin"] = [Answer(cut=400_000)]
    with pytest.raises(DownloadError, match="finished parts are kept"):
        get(server, tmp_path, waits=())
    held = len((tmp_path / "a.bin.part").read_bytes())
    assert not (tmp_path / "a.bin").exists()

    get(server, tmp_path, waits=())

    assert server.log[1] == Sent("a.bin", f"bytes={held}-", len(LONG) - held)
    assert tree(tmp_path) == {"a.bin": LONG}


def test_killed_in_the_middle_then_finished(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.bin", LONG)
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom tenuto.data.remote import osf_download\n"
        "def die(name, done, total):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "osf_download(sys.argv[1], Path(sys.argv[2]), api=sys.argv[3], progress=die)\n"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    killed = subprocess.run(
        [sys.executable, "-c", program, NODE, str(tmp_path), server.api],
        env={**os.environ, "PYTHONPATH": paths},
        timeout=60,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert list(tree(tmp_path)) == ["a.bin.part"]
    held = len(tree(tmp_path)["a.bin.part"])
    assert 0 < held < len(LONG)

    get(server, tmp_path)

    assert server.log[-1] == Sent("a.bin", f"bytes={held}-", len(LONG) - held)
    assert tree(tmp_path) == {"a.bin": LONG}


def test_a_server_without_ranges_is_read_from_the_start(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.bin", LONG)
    server.plan["a.bin"] = [Answer(ranges=False)]
    (tmp_path / "a.bin.part").write_bytes(LONG[:1000])
    get(server, tmp_path)
    assert server.log == [Sent("a.bin", "bytes=1000-", len(LONG))]
    assert tree(tmp_path) == {"a.bin": LONG}


def test_a_whole_part_is_checked_and_not_fetched(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.bin", LONG)
    (tmp_path / "a.bin.part").write_bytes(LONG)
    get(server, tmp_path)
    assert server.log == []
    assert tree(tmp_path) == {"a.bin": LONG}


@pytest.mark.parametrize("stale", [b"z" * 1000, b"z" * len(LONG), b"z" * (len(LONG) + 1)])
def test_a_part_of_another_version_is_dropped(server: OsfServer, tmp_path: Path, stale: bytes) -> None:
    server.add("a.bin", LONG)
    (tmp_path / "a.bin.part").write_bytes(stale)
    get(server, tmp_path)
    assert server.log[-1] == Sent("a.bin", None, len(LONG))
    assert tree(tmp_path) == {"a.bin": LONG}


@pytest.mark.parametrize(
    "refusal", [Answer(status=416), Answer(headers={"Content-Range": "bytes 7-9/10"})], ids=["416", "range"]
)
def test_a_range_the_server_cannot_give_starts_over(
    server: OsfServer, tmp_path: Path, refusal: Answer
) -> None:
    server.add("a.bin", LONG)
    server.plan["a.bin"] = [refusal]
    (tmp_path / "a.bin.part").write_bytes(LONG[:1000])
    get(server, tmp_path)
    assert [sent.range for sent in server.log] == ["bytes=1000-", None]
    assert tree(tmp_path) == {"a.bin": LONG}


def test_a_full_disk_names_the_file_and_keeps_what_arrived(
    server: OsfServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.add("a.bin", LONG)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FileError, match=r"a\.bin\.part: the disk is full"):
            get(server, tmp_path)
    assert list(tree(tmp_path)) == ["a.bin.part"]
    get(server, tmp_path)
    assert tree(tmp_path) == {"a.bin": LONG}


# ---- what the server may answer


@pytest.mark.parametrize("key", ["listing", "a.csv"])
@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_failing_server_is_asked_again(server: OsfServer, tmp_path: Path, key: str, status: int) -> None:
    server.add("a.csv", b"a")
    server.plan[key] = [Answer(status=status), Answer(status=status, headers={"Retry-After": "0"})]
    get(server, tmp_path)
    assert tree(tmp_path) == {"a.csv": b"a"}


def test_pauses_grow_and_honour_retry_after(
    server: OsfServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    server.add("a.csv", b"a")
    server.plan["a.csv"] = [
        Answer(status=500),
        Answer(status=429, headers={"Retry-After": "30"}),
        Answer(status=500),
    ]
    get(server, tmp_path, waits=(1.0, 2.0, 4.0))
    assert pauses == [1.0, 30.0, 4.0]


def test_a_server_that_keeps_failing_is_given_up(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.csv", b"a")
    server.plan["a.csv"] = [Answer(status=503)] * 9
    with pytest.raises(DownloadError, match=r"answered 503 .*, after 4 attempts\. Check the network"):
        get(server, tmp_path)
    assert len(server.log) == 4
    assert tree(tmp_path) == {}


def test_an_hour_of_throttling_is_told_not_waited_for(server: OsfServer, tmp_path: Path) -> None:
    server.plan["listing"] = [Answer(status=429, headers={"Retry-After": "2400"})]
    with pytest.raises(DownloadError, match=r"429 .* again in 40 minutes"):
        get(server, tmp_path)
    assert server.listings == 1


def test_an_unknown_node_is_not_asked_for_twice(server: OsfServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"nodes/zzzzz/.* answered 404 Not Found\. Check the id"):
        osf_download("zzzzz", tmp_path, api=server.api, waits=QUICK)


def test_a_private_node_says_so(server: OsfServer, tmp_path: Path) -> None:
    server.plan["listing"] = [Answer(status=403)]
    with pytest.raises(DownloadError, match=r"403 Forbidden\. It is not public"):
        get(server, tmp_path)


def test_an_unreachable_host_is_named(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(
        DownloadError, match=rf"127\.0\.0\.1:{port}/v2/nodes/abc12/.* cannot be reached \(.*refused"
    ):
        osf_download(NODE, tmp_path, api=f"http://127.0.0.1:{port}/v2", waits=QUICK)


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"\xff\xfe\x00"])
def test_a_page_instead_of_json(server: OsfServer, tmp_path: Path, body: bytes) -> None:
    server.plan["listing"] = [Answer(body=body)]
    with pytest.raises(DownloadError, match="the answer is not JSON"):
        get(server, tmp_path)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"data": [{}]}', b'{"data": [], "links": null}'])
def test_json_of_another_shape(server: OsfServer, tmp_path: Path, body: bytes) -> None:
    server.plan["listing"] = [Answer(body=body)]
    with pytest.raises(DownloadError, match="the description is not that of the OSF API"):
        get(server, tmp_path)


def test_a_listing_that_leads_back_to_itself(server: OsfServer, tmp_path: Path) -> None:
    again = f"{server.api}/nodes/{NODE}/files/osfstorage/?page[size]=100"
    server.plan["listing"] = [Answer(body=f'{{"data": [], "links": {{"next": "{again}"}}}}'.encode())]
    with pytest.raises(DownloadError, match="leads back to itself"):
        get(server, tmp_path)


def test_an_empty_selection_is_an_error(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.csv", b"a")
    with pytest.raises(DownloadError, match="none of its 1 files is selected"):
        get(server, tmp_path, select=lambda name: False)


@pytest.mark.parametrize("identifier", ["", "../abc", "a/b", "abc12?x=1"])
def test_an_id_that_is_none(tmp_path: Path, identifier: str) -> None:
    with pytest.raises(DownloadError, match="is not an OSF id"):
        osf_download(identifier, tmp_path, waits=())


def test_the_id_of_a_folder_is_no_file(server: OsfServer, tmp_path: Path) -> None:
    server.add("Set1", b"", kind="folder")
    with pytest.raises(DownloadError, match="Set1 is a folder, not a file"):
        osf_file(server.identifier("Set1"), tmp_path, api=server.api, waits=QUICK)


# ---- trust


def test_a_wrong_checksum_removes_the_part(server: OsfServer, tmp_path: Path) -> None:
    expected = hashlib.sha256(b"other").hexdigest()
    server.add("a.csv", b"wrong", extra={"hashes": {"sha256": expected}})
    with pytest.raises(DownloadError, match=rf"a\.csv does not have .* 5 bytes and SHA-256 {expected}"):
        get(server, tmp_path)
    assert tree(tmp_path) == {}


def test_more_bytes_than_announced_are_not_kept(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.bin", LONG, size=100)
    pieces: list[int] = []
    with pytest.raises(DownloadError, match=r"a\.bin does not have the published size of 100 bytes"):
        get(server, tmp_path, progress=lambda name, done, total: pieces.append(done))
    assert len(pieces) == 1  # the rest was not read
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    "attributes",
    [
        {"extra": {"hashes": {"md5": "0" * 32, "sha256": None}}},
        {"extra": {}},
        {"extra": None},
        {"extra": {"hashes": {"sha256": "abc"}}},
        {"size": None},
    ],
)
def test_a_file_that_cannot_be_checked_is_refused_before_anything_is_fetched(
    server: OsfServer, tmp_path: Path, attributes: dict[str, Any]
) -> None:
    server.add("a.csv", b"a")
    server.add("b.csv", b"b", **attributes)
    with pytest.raises(DownloadError, match=r"OSF lists b\.csv without its size or SHA-256"):
        get(server, tmp_path)
    assert server.log == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/../evil.csv", "not a plain path"),
        ("/a/../../evil.csv", "not a plain path"),
        ("/a/./evil.csv", "not a plain path"),
        ("/a//evil.csv", "not a plain path"),
        ("/a\\..\\evil.csv", "not a plain path"),
        ("/a\x00.csv", "not a plain path"),
        ("/", "not a plain path"),
        ("//etc/evil.csv", "absolute path"),
        ("/C:/evil.csv", "absolute path"),
        ("/C:evil.csv", "absolute path"),
        ("\\\\host\\share\\evil.csv", "absolute path"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(
    server: OsfServer, tmp_path: Path, path: str, reason: str
) -> None:
    server.add("a.csv", b"a")
    server.add("b.csv", b"evil", materialized_path=path)
    with pytest.raises(DownloadError, match=reason):
        get(server, tmp_path / "data")
    assert server.log == []
    assert tree(tmp_path) == {}


def test_a_single_file_with_an_unsafe_name_is_refused(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.csv", b"evil", name="../a.csv")
    with pytest.raises(DownloadError, match="not a plain path"):
        osf_file(server.identifier("a.csv"), tmp_path / "data", api=server.api, waits=QUICK)
    assert tree(tmp_path) == {}


def test_a_link_inside_the_destination_is_not_followed_outside(server: OsfServer, tmp_path: Path) -> None:
    server.add("Set1/a.csv", b"a")
    (tmp_path / "outside").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/Set1").symlink_to(tmp_path / "outside")
    with pytest.raises(DownloadError, match="through a link"):
        get(server, tmp_path / "data")
    assert tree(tmp_path / "outside") == {}


@pytest.mark.parametrize("second", ["/a.csv", "/a.csv.part"])
def test_two_files_that_would_share_a_path_are_refused(
    server: OsfServer, tmp_path: Path, second: str
) -> None:
    server.add("a.csv", b"a")
    server.add("b.csv", b"b", materialized_path=second)
    with pytest.raises(DownloadError, match="listed twice"):
        get(server, tmp_path)
    assert server.log == []


def test_plain_http_to_another_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"http://api\.example\.org/.* Use https"):
        osf_download(NODE, tmp_path, api="http://api.example.org/v2", waits=QUICK)


def test_a_redirect_to_plain_http_is_refused(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.csv", b"a")
    server.plan["a.csv"] = [Answer(status=302, headers={"Location": "http://files.example.org/a.csv"})]
    with pytest.raises(DownloadError, match=r"http://files\.example\.org/a\.csv: plain HTTP"):
        get(server, tmp_path)
    assert tree(tmp_path) == {}


def test_an_address_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="cannot be downloaded"):
        osf_download(NODE, tmp_path, api="file:///etc", waits=QUICK)


def test_the_users_proxy_is_used(server: OsfServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.add("a.csv", b"a")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", server.host)
    get(server, tmp_path, api="http://localhost:9/v2")  # nobody listens there: only the proxy can answer
    assert tree(tmp_path) == {"a.csv": b"a"}


def test_a_destination_that_is_a_file_is_named(server: OsfServer, tmp_path: Path) -> None:
    server.add("a.csv", b"a")
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(FileError, match=r"data/a\.csv: cannot write"):
        get(server, tmp_path / "data")


# ---- archives


def pack(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_unzip_gives_back_what_was_packed(tmp_path: Path) -> None:
    members = {"annotations.csv": b"song_id\n1\n", "deep/er/metadata.csv": LONG, "empty": b""}
    archive = pack(tmp_path / "a.zip", {"deep/": b"", **members})
    assert unzip(archive, tmp_path / "out") == [tmp_path / "out" / name for name in members]
    assert tree(tmp_path / "out") == members


def test_unzip_replaces_what_is_there(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"a.csv": b"new"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.csv").write_bytes(b"old and longer")
    unzip(archive, tmp_path / "out")
    assert tree(tmp_path / "out") == {"a.csv": b"new"}


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "C:evil", "a\\..\\evil", "a//evil", "./evil"]
)
def test_unzip_refuses_a_name_that_leads_elsewhere(tmp_path: Path, name: str) -> None:
    archive = pack(tmp_path / "a.zip", {"good": b"good", name: b"evil"})
    with pytest.raises(FileError, match=r"a\.zip: member .*(absolute path|not a plain path)"):
        unzip(archive, tmp_path / "out")
    assert list(tree(tmp_path)) == ["a.zip"]


def test_unzip_refuses_a_name_that_zipfile_would_cut_short(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"a.csv|x": b"a"})
    archive.write_bytes(archive.read_bytes().replace(b"|", b"\0"))
    with pytest.raises(FileError, match="not a plain path"):
        unzip(archive, tmp_path / "out")


def test_unzip_refuses_a_symbolic_link(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(FileError, match="'link' is a link or device"):
        unzip(tmp_path / "a.zip", tmp_path / "out")


def test_unzip_does_not_follow_a_link_out_of_the_destination(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"sub/a.csv": b"a"})
    (tmp_path / "outside").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/sub").symlink_to(tmp_path / "outside")
    with pytest.raises(FileError, match="through a link"):
        unzip(archive, tmp_path / "out")
    assert tree(tmp_path / "outside") == {}


def test_unzip_refuses_a_declared_bomb(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"zeros": bytes(3_000_000)})
    with pytest.raises(FileError, match=r"1 files of 3000000 bytes; allowed are .* at most 1000000 bytes"):
        unzip(archive, tmp_path / "out", max_bytes=1_000_000)


def test_unzip_refuses_a_bomb_that_lies_about_its_size(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"zeros": bytes(3_000_000)})
    honest, lie = (3_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    content = archive.read_bytes()
    assert content.count(honest) == 2  # local header and directory
    archive.write_bytes(content.replace(honest, lie))
    with pytest.raises(FileError, match="damaged"):
        unzip(archive, tmp_path / "out", max_bytes=1_000_000)
    assert list(tree(tmp_path)) == ["a.zip"]


def test_unzip_refuses_too_many_files(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {str(number): b"" for number in range(11)})
    with pytest.raises(FileError, match="11 files of 0 bytes; allowed are 1 to 10 files"):
        unzip(archive, tmp_path / "out", max_files=10)


def test_unzip_refuses_an_encrypted_member(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"secret": b"x"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(FileError, match="'secret' is encrypted"):
        unzip(archive, tmp_path / "out")


def test_unzip_refuses_an_unbounded_compression(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"a.csv": b"a"}, zipfile.ZIP_BZIP2)
    with pytest.raises(FileError, match=r"'a\.csv' is neither stored nor deflated"):
        unzip(archive, tmp_path / "out")


def test_unzip_refuses_a_member_listed_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        archive.writestr("a.csv", "one")
        archive.writestr("a.csv", "two")
    with pytest.raises(FileError, match=r"'a\.csv' is listed twice"):
        unzip(tmp_path / "a.zip", tmp_path / "out")


def test_unzip_writes_nothing_where_one_member_is_damaged(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"a.csv": b"sound", "b.csv": b"to be altered"}, zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(b"altered", b"ALTERED"))
    with pytest.raises(FileError, match=r"a\.zip: damaged at 'b\.csv'"):
        unzip(archive, tmp_path / "out")
    assert list(tree(tmp_path)) == ["a.zip"]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_unzip_refuses_a_truncated_archive(tmp_path: Path, share: float) -> None:
    archive = pack(tmp_path / "a.zip", {"a.csv": b"a" * 1000, "b.csv": b"b" * 1000})
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FileError, match=r"a\.zip: damaged or not a ZIP file"):
        unzip(archive, tmp_path / "out")


def test_unzip_names_a_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.zip: cannot read"):
        unzip(tmp_path / "none.zip", tmp_path / "out")


def test_unzip_refuses_an_archive_without_files(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"folder/": b""})
    with pytest.raises(FileError, match="contains 0 files"):
        unzip(archive, tmp_path / "out")


def test_unzip_notices_a_member_swallowed_by_the_comment_of_another(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"a.csv": b"one", "b.csv": b"two"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 33] = 1  # the comment is now 256 bytes long
    archive.write_bytes(content)
    with pytest.raises(FileError, match=r"'a\.csv' hides another member"):
        unzip(archive, tmp_path / "out")


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_one_wrong_byte_is_noticed_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, place: float, flip: int
) -> None:
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
