"""`tenuto.data.remote` trusts no server: sizes, checksums, names, links, addresses."""

from __future__ import annotations

import hashlib

import pytest

from tenuto.data.remote import osf_download, osf_file
from tenuto.errors import DownloadError, FileError
from tests.data.osf_server import LONG, NODE, QUICK, Answer, get, tree

pytestmark = pytest.mark.usefixtures("no_proxy")


def test_a_wrong_checksum_removes_the_part(server, tmp_path):
    expected = hashlib.sha256(b"other").hexdigest()
    server.add("a.csv", b"wrong", extra={"hashes": {"sha256": expected}})
    with pytest.raises(DownloadError, match=rf"a\.csv does not have .* 5 bytes and SHA-256 {expected}"):
        get(server, tmp_path)
    assert tree(tmp_path) == {}


def test_more_bytes_than_announced_are_not_kept(server, tmp_path):
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
def test_a_file_that_cannot_be_checked_is_refused_before_anything_is_fetched(server, tmp_path, attributes):
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
def test_a_name_that_leads_elsewhere_is_refused(server, tmp_path, path, reason):
    server.add("a.csv", b"a")
    server.add("b.csv", b"evil", materialized_path=path)
    with pytest.raises(DownloadError, match=reason):
        get(server, tmp_path / "data")
    assert server.log == []
    assert tree(tmp_path) == {}


def test_a_single_file_with_an_unsafe_name_is_refused(server, tmp_path):
    server.add("a.csv", b"evil", name="../a.csv")
    with pytest.raises(DownloadError, match="not a plain path"):
        osf_file(server.identifier("a.csv"), tmp_path / "data", api=server.api, waits=QUICK)
    assert tree(tmp_path) == {}


def test_a_link_inside_the_destination_is_not_followed_outside(server, tmp_path):
    server.add("Set1/a.csv", b"a")
    (tmp_path / "outside").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/Set1").symlink_to(tmp_path / "outside")
    with pytest.raises(DownloadError, match="through a link"):
        get(server, tmp_path / "data")
    assert tree(tmp_path / "outside") == {}


@pytest.mark.parametrize("second", ["/a.csv", "/a.csv.part"])
def test_two_files_that_would_share_a_path_are_refused(server, tmp_path, second):
    server.add("a.csv", b"a")
    server.add("b.csv", b"b", materialized_path=second)
    with pytest.raises(DownloadError, match="listed twice"):
        get(server, tmp_path)
    assert server.log == []


def test_a_redirect_to_plain_http_is_refused(server, tmp_path):
    server.add("a.csv", b"a")
    server.plan["a.csv"] = [Answer(status=302, headers={"Location": "http://files.example.org/a.csv"})]
    with pytest.raises(DownloadError, match=r"http://files\.example\.org/a\.csv: plain HTTP"):
        get(server, tmp_path)
    assert tree(tmp_path) == {}


def test_the_users_proxy_is_used(server, tmp_path, monkeypatch):
    server.add("a.csv", b"a")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", server.host)
    get(server, tmp_path, api="http://localhost:9/v2")  # nobody listens there: only the proxy can answer
    assert tree(tmp_path) == {"a.csv": b"a"}


def test_a_destination_that_is_a_file_is_named(server, tmp_path):
    server.add("a.csv", b"a")
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(FileError, match=r"data/a\.csv: cannot write"):
        get(server, tmp_path / "data")


@pytest.mark.parametrize(
    ("node", "api", "message"),
    [
        ("", "http://localhost", "is not an OSF id"),
        ("../abc", "http://localhost", "is not an OSF id"),
        ("a/b", "http://localhost", "is not an OSF id"),
        ("abc12?x=1", "http://localhost", "is not an OSF id"),
        (NODE, "http://api.example.org/v2", r"http://api\.example\.org/.* Use https"),
        (NODE, "file:///etc", "cannot be downloaded"),
    ],
)
def test_an_id_or_address_that_is_none(tmp_path, node, api, message):
    with pytest.raises(DownloadError, match=message):
        osf_download(node, tmp_path, api=api, waits=QUICK)
