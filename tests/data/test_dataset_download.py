"""`download` of the data sets, through the real client, from a local server that speaks the OSF API."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from typing import Any

import pytest

from tenuto.data import Midlevel, Soundtracks, remote
from tenuto.errors import DataError, DownloadError
from tests import corpora
from tests.data.osf_server import QUICK


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    """A small Soundtracks and its annotation archive on a local server; the server and the origin."""
    made = corpora.midlevel(tmp_path / "origin")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as pack:
        for name in ("metadata.csv", "annotations.csv"):
            pack.write(made.root / "metadata_annotations" / name, f"metadata_annotations/{name}")
    files = {path.relative_to(made.root).as_posix(): path for path in made.root.rglob("*") if path.is_file()}
    kept = {name: path for name, path in files.items() if not name.startswith("metadata_annotations")}
    sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in kept.items()}
    monkeypatch.setattr(Soundtracks, "checksums", lambda self: sums)
    for name, path in kept.items():
        server.add(name, path.read_bytes())
    server.add("Set2/001.mp3", b"another set")
    server.add("metadata_annotations.zip", archive.getvalue())
    options: dict[str, Any] = {"api": server.api, "waits": QUICK}
    monkeypatch.setattr(remote, "osf_download", functools.partial(remote.osf_download, **options))
    monkeypatch.setattr(remote, "osf_file", functools.partial(remote.osf_file, **options))
    return server, made


@pytest.fixture
def nodes(monkeypatch):
    from tenuto.data import midlevel, soundtracks
    from tests.data.osf_server import NODE

    monkeypatch.setattr(soundtracks, "OSF_NODE", NODE)
    return midlevel


def test_soundtracks_arrives_as_published(published, nodes, tmp_path):
    copy = Soundtracks(tmp_path / "copy")
    copy.download()
    assert copy.validate().ok
    assert copy.index.clips == published[1].index.clips
    assert not (copy.root / "Set2").exists()


def test_midlevel_brings_the_annotations_too(published, nodes, tmp_path, monkeypatch):
    server, made = published
    monkeypatch.setattr(nodes, "OSF_FILE", server.identifier("metadata_annotations.zip"))
    copy = Midlevel(tmp_path / "copy")
    copy.download()
    assert copy.index.concept_labels.tolist() == made.index.concept_labels.tolist()


def test_a_node_without_the_files_is_refused(published, nodes, tmp_path):
    server, _ = published
    del server.files["Set1/003.mp3"]
    with pytest.raises(DownloadError, match=r"lacks Set1/003\.mp3"):
        Soundtracks(tmp_path / "copy").download()


def test_a_folder_of_ones_own_has_no_origin(tmp_path):
    with pytest.raises(DataError, match="cannot be downloaded"):
        corpora.folder(tmp_path).download()
