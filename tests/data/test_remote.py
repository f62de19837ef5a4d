"""`tenuto.data.remote` against a local server that speaks the OSF API."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys

import pytest

from tenuto.data.remote import osf_download, osf_file
from tenuto.errors import DownloadError, FileError
from tests.data.osf_server import LONG, NODE, QUICK, Answer, Sent, get, tree

pytestmark = pytest.mark.usefixtures("no_proxy")


# ---- what is fetched


def test_nested_folders_and_pages_arrive_whole(server, tmp_path):
    server.page_size = 2
    files = {f"Set1/{number:03d}.mp3": bytes([number]) * number for number in range(1, 6)}
    files |= {"ratings.csv": b"number,valence\n", "Set1/deep/er/notes.txt": b"x", "empty.txt": b""}
    for name, content in files.items():
        server.add(name, content)
    paths = get(server, tmp_path / "data")
    assert tree(tmp_path / "data") == files
    assert paths == [tmp_path / "data" / name for name in sorted(files)]
    assert server.listings == 7  # root 2 pages, Set1 3 pages, deep, er


def test_only_selected_files_are_fetched(server, tmp_path):
    server.add("Set1/001.mp3", b"one")
    server.add("Set2/001.mp3", b"two")
    get(server, tmp_path, select=lambda name: name.startswith("Set1/"))
    assert tree(tmp_path) == {"Set1/001.mp3": b"one"}


def test_an_unselected_file_need_not_be_checkable(server, tmp_path):
    server.add("a.csv", b"a")
    server.add("b.csv", b"b", extra={"hashes": {"sha256": None}})
    assert get(server, tmp_path, select=lambda name: name == "a.csv") == [tmp_path / "a.csv"]


def test_single_file_by_id(server, tmp_path):
    server.add("other.csv", b"other")
    server.add("folder/metadata_annotations.zip", LONG)
    path = osf_file(
        server.identifier("folder/metadata_annotations.zip"), tmp_path, api=server.api, waits=QUICK
    )
    assert path == tmp_path / "metadata_annotations.zip"
    assert tree(tmp_path) == {"metadata_annotations.zip": LONG}


def test_progress_counts_up_to_the_size(server, tmp_path):
    server.add("a.bin", LONG)
    seen: list[tuple[str, int, int | None]] = []
    get(server, tmp_path, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("a.bin", len(LONG), len(LONG))
    assert len(seen) > 1
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    server.add("a.csv", b"same")
    (tmp_path / "a.csv").write_bytes(b"same")
    seen: list[tuple[str, int, int | None]] = []
    assert get(server, tmp_path, progress=lambda *step: seen.append(step)) == [tmp_path / "a.csv"]
    assert server.log == []
    assert seen == [("a.csv", 4, 4)]


def test_an_altered_file_is_replaced(server, tmp_path):
    server.add("a.csv", b"right")
    (tmp_path / "a.csv").write_bytes(b"wrong")
    get(server, tmp_path)
    assert tree(tmp_path) == {"a.csv": b"right"}


# ---- interruptions


def test_a_cut_connection_is_continued_where_it_broke(server, tmp_path):
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


WHOLE = (None, len(LONG))
REST = ("bytes=1000-", len(LONG) - 1000)


@pytest.mark.parametrize(
    ("part", "answers", "log"),
    [
        (None, [Answer(body=LONG[:1000])], [(None, 1000), REST]),
        (LONG[:1000], [], [REST]),
        (LONG[:1000], [Answer(ranges=False)], [("bytes=1000-", len(LONG))]),
        (LONG[:1000], [Answer(status=416)], [("bytes=1000-", 0), WHOLE]),
        (LONG[:1000], [Answer(headers={"Content-Range": "bytes 7-9/10"})], [REST, WHOLE]),
        (LONG, [], []),
        (b"z" * 1000, [], [REST, WHOLE]),
        (b"z" * len(LONG), [], [WHOLE]),
        (b"z" * (len(LONG) + 1), [], [WHOLE]),
    ],
    ids=[
        "ends early",
        "part",
        "no ranges",
        "416",
        "other range",
        "whole",
        "stale",
        "whole stale",
        "too long",
    ],
)
def test_only_what_lacks_is_fetched_and_a_wrong_part_dropped(server, tmp_path, part, answers, log):
    server.add("a.bin", LONG)
    server.plan["a.bin"] = answers
    if part is not None:
        (tmp_path / "a.bin.part").write_bytes(part)
    get(server, tmp_path)
    assert server.log == [Sent("a.bin", *sent) for sent in log]
    assert set(server.encodings) <= {"identity"}  # byte 1000 of a compressed answer is another byte
    assert tree(tmp_path) == {"a.bin": LONG}


def test_a_failed_command_leaves_a_part_and_the_next_sends_only_the_rest(server, tmp_path):
    server.add("a.bin", LONG)
    server.plan["a.bin"] = [Answer(cut=400_000)]
    with pytest.raises(DownloadError, match="finished parts are kept"):
        get(server, tmp_path, waits=())
    held = len((tmp_path / "a.bin.part").read_bytes())
    assert not (tmp_path / "a.bin").exists()
    get(server, tmp_path, waits=())
    assert server.log[1] == Sent("a.bin", f"bytes={held}-", len(LONG) - held)
    assert tree(tmp_path) == {"a.bin": LONG}


def test_killed_in_the_middle_then_finished(server, tmp_path):
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


def test_a_full_disk_names_the_file_and_keeps_what_arrived(server, tmp_path, monkeypatch):
    server.add("a.bin", LONG)

    def full(descriptor):
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
def test_a_failing_server_is_asked_again(server, tmp_path, key, status):
    server.add("a.csv", b"a")
    server.plan[key] = [Answer(status=status), Answer(status=status, headers={"Retry-After": "0"})]
    get(server, tmp_path)
    assert tree(tmp_path) == {"a.csv": b"a"}


def test_pauses_grow_and_honour_retry_after(server, tmp_path, monkeypatch):
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


def test_a_server_that_keeps_failing_is_given_up(server, tmp_path):
    server.add("a.csv", b"a")
    server.plan["a.csv"] = [Answer(status=503)] * 9
    with pytest.raises(DownloadError, match=r"answered 503 .*, after 4 attempts\. Check the network"):
        get(server, tmp_path)
    assert len(server.log) == 4
    assert tree(tmp_path) == {}


def test_an_unknown_node_is_not_asked_for_twice(server, tmp_path):
    with pytest.raises(DownloadError, match=r"nodes/zzzzz/.* answered 404 Not Found\. Check the id"):
        osf_download("zzzzz", tmp_path, api=server.api, waits=QUICK)


def test_an_unreachable_host_is_named(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(
        DownloadError, match=rf"127\.0\.0\.1:{port}/v2/nodes/abc12/.* cannot be reached \(.*refused"
    ):
        osf_download(NODE, tmp_path, api=f"http://127.0.0.1:{port}/v2", waits=QUICK)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(status=429, headers={"Retry-After": "2400"}), "429 .* again in 40 minutes"),
        (Answer(status=403), r"403 Forbidden\. It is not public"),
        (Answer(body=b"<html>Sign in</html>"), "the answer is not JSON"),
        (Answer(body=b"\xff\xfe\x00"), "the answer is not JSON"),
        (Answer(body=b"[]"), "not that of the OSF API"),
        (Answer(body=b"{}"), "not that of the OSF API"),
        (Answer(body=b'{"data": [{}]}'), "not that of the OSF API"),
        (Answer(body=b'{"data": [], "links": null}'), "not that of the OSF API"),
    ],
)
def test_a_listing_that_is_none_is_not_asked_for_again(server, tmp_path, answer, message):
    server.plan["listing"] = [answer]
    with pytest.raises(DownloadError, match=message):
        get(server, tmp_path)
    assert server.listings == 1


def test_a_listing_that_leads_back_to_itself(server, tmp_path):
    again = f"{server.api}/nodes/{NODE}/files/osfstorage/?page[size]=100"
    server.plan["listing"] = [Answer(body=f'{{"data": [], "links": {{"next": "{again}"}}}}'.encode())]
    with pytest.raises(DownloadError, match="leads back to itself"):
        get(server, tmp_path)


def test_an_empty_selection_is_an_error(server, tmp_path):
    server.add("a.csv", b"a")
    with pytest.raises(DownloadError, match="none of its 1 file is selected"):
        get(server, tmp_path, select=lambda name: False)


def test_the_id_of_a_folder_is_no_file(server, tmp_path):
    server.add("Set1", b"", kind="folder")
    with pytest.raises(DownloadError, match="Set1 is a folder, not a file"):
        osf_file(server.identifier("Set1"), tmp_path, api=server.api, waits=QUICK)
