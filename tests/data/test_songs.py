"""DEAM, emoMusic, PMEmo and MTG-Jamendo: what their files say, and what differs from the published formats."""

from __future__ import annotations

import functools
import hashlib
import zipfile

import numpy as np
import pytest

from tenuto.data import Deam, EmoMusic, Jamendo, PMEmo, deam, remote
from tenuto.errors import DataError, DownloadError, FileError, TenutoError
from tests import corpora
from tests.corpora import edit
from tests.data.osf_server import QUICK


def rows(path):
    """Rows of a made-up table as text."""
    return [[cell.strip() for cell in line.split(",")] for line in path.read_text().splitlines()[1:]]


def find(dataset, name):
    return next(dataset.root.rglob(name))


# What the files say


def test_deam(tmp_path):
    index = corpora.deam(tmp_path).index
    first = rows(next(tmp_path.rglob("*1_2000.csv")))[0]
    assert index.emotions == ("valence", "arousal")
    assert (index.clips[0], index.clips[-1]) == ("2", "2058")
    assert index.labels[0] == pytest.approx([(float(first[1]) - 1) / 8, (float(first[3]) - 1) / 8])
    assert index.deviations[0] == pytest.approx([float(first[2]) / 8, float(first[4]) / 8])
    assert index.artists[:2] == ("artist 1", "artist 1")
    assert index.artists[-4:] == ("m\ufffdnk", "monk", "bill", "")
    assert index.albums[-4:-2] == ("one", "two")
    assert index.official == {"2014": ("train",) * 8 + ("test",) * 2 + ("",) * 2}


def test_emomusic(tmp_path):
    index = corpora.emomusic(tmp_path).index
    first = rows(next(tmp_path.rglob("static_annotations.csv")))[
        0
    ]  # song, arousal, its spread, valence, its spread
    assert index.labels[0] == pytest.approx([(float(first[3]) - 1) / 8, (float(first[1]) - 1) / 8])
    assert index.deviations[0] == pytest.approx([float(first[4]) / 8, float(first[2]) / 8])
    assert index.paths[0] == tmp_path / "clips_45seconds" / "1.mp3"
    assert index.official == {"2013": ("train",) * 8 + ("test",) * 4}
    assert index.groups[:4] == ("folk", "rock", "blues", "jazz")
    assert index.artists[:3] == ("artist 0", "artist 1", "artist 1")


def test_pmemo(tmp_path):
    index = corpora.pmemo(tmp_path).index
    first = rows(next(tmp_path.rglob("static_annotations.csv")))[0]
    spread = rows(next(tmp_path.rglob("static_annotations_std.csv")))[0]
    assert index.labels[0] == pytest.approx([float(first[2]), float(first[1])])
    assert index.deviations[0] == pytest.approx([float(spread[2]), float(spread[1])])
    assert (index.artists[0], index.albums[0]) == ("artist 0", "album 1")


def test_jamendo(tmp_path):
    index = corpora.jamendo(tmp_path).index
    assert set(np.unique(index.labels)) == {0.0, 1.0}
    assert index.emotions == ("film", "happy", "sad")
    assert "track_9999999" not in index.clips  # its archive was not unpacked
    assert (index.artists[0], index.albums[0]) == ("artist_000003", "album_000002")
    assert index.official["0"][0] == "train"
    assert set(index.official) == {"0", "1"}
    assert index.paths[0].name == "7.low.mp3"


def test_jamendo_without_splits(tmp_path):
    made = corpora.jamendo(tmp_path)
    lines = [path.read_text().splitlines() for path in sorted(tmp_path.rglob("split-0/*.tsv"))]
    for path in tmp_path.rglob("split-*/*.tsv"):
        path.unlink()
    (tmp_path / "autotagging_moodtheme.tsv").write_text(
        "\n".join([lines[0][0], *(x for y in lines for x in y[1:])])
    )
    index = Jamendo(made.root).index
    assert (len(index), index.official) == (12, {})


def test_metadata_are_optional(tmp_path):
    for name, maker in (("deam", corpora.deam), ("emomusic", corpora.emomusic), ("pmemo", corpora.pmemo)):
        made = maker(tmp_path / name)
        for path in (*made.root.rglob("*metadata*.csv"), *made.root.rglob("songs_info.csv")):
            path.unlink()
        assert type(made)(made.root).index.artists is None


# What differs


@pytest.mark.parametrize(
    ("maker", "name", "old", "new", "message"),
    [
        (corpora.deam, "*1_2000.csv", "2, ", "2500, ", "'2500' is not one of the songs of deam, 1 to 2058"),
        (corpora.deam, "*1_2000.csv", "3, ", "2, ", "clip 2 is listed twice"),
        (corpora.deam, "*1_2000.csv", "valence_std", "valence_deviation", None),
        (corpora.emomusic, "static_annotations.csv", "mean_valence", "valence", "no column mean_valence"),
        (
            corpora.emomusic,
            "static_annotations.csv",
            "\n1,",
            "\n1,9",
            "mean_arousal of clip 1 is 9.*outside the scale",
        ),
        (
            corpora.pmemo,
            "static_annotations.csv",
            "\n1,0.",
            "\n1,7.",
            "Arousal.mean. of clip 1 is 7.*scale 0 to 1",
        ),
        (corpora.pmemo, "*_std.csv", "\n1,0.", "\n1,7.", r"Arousal\(std\) of clip 1 is 7.* must be 0 to 1"),
        (corpora.deam, "*1_2000.csv", "\n2, ", "\n2, 3, -1, 3, 1\n502, ", "valence_std of clip 2 is -1"),
        (corpora.jamendo, "*train.tsv", "mood/theme---", "genre---", "tags that begin with mood/theme---"),
        (corpora.jamendo, "*train.tsv", "\tPATH", "\tFILE", "must begin with the line TRACK_ID"),
    ],
)
def test_another_format_is_refused_with_a_sentence(tmp_path, maker, name, old, new, message):
    made = maker(tmp_path)
    edit(sorted(made.root.rglob(name))[0], old, new)
    again = type(made)(made.root)
    if message is None:
        assert again.index.labels.shape == (12, 2)  # the deviations are optional
        return
    with pytest.raises((DataError, FileError), match=message):
        _ = again.index


@pytest.mark.parametrize("maker", [corpora.deam, corpora.emomusic, corpora.pmemo])
def test_a_rated_song_without_recording_is_listed(tmp_path, maker):
    made = maker(tmp_path)
    made.index.paths[3].unlink()
    missing = type(made)(made.root).validate().missing
    assert len(missing) == 1
    assert "has ratings but does not exist" in missing[0]


@pytest.mark.parametrize("dataset", [EmoMusic, PMEmo, Jamendo])
def test_where_the_origin_asks_for_more_the_sentence_says_where(tmp_path, dataset):
    with pytest.raises(DataError, match=r"cannot be downloaded by Tenuto\. Get it by hand: https://"):
        dataset(tmp_path).download()
    with pytest.raises(TenutoError, match="get them: https://"):
        _ = dataset(tmp_path).index


# Download


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    """A small DEAM as three archives on a local server."""
    made = corpora.deam(tmp_path / "origin")
    contents = {
        "DEAM_Annotations.zip": "annotations",
        "metadata.zip": "metadata",
        "DEAM_audio.zip": "MEMD_audio",
    }
    known = {}
    for name, folder in contents.items():
        archive = tmp_path / name
        with zipfile.ZipFile(archive, "w") as pack:
            for path in sorted((made.root / folder).rglob("*")):
                pack.write(path, path.relative_to(made.root))
        content = archive.read_bytes()
        server.add(name, content)
        known[name] = (len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(deam, "ARCHIVES", known)
    monkeypatch.setattr(deam, "ADDRESS", server.store)
    monkeypatch.setattr(remote, "archives", functools.partial(remote.archives, waits=QUICK))
    return server, made


def test_deam_arrives_as_published(published, tmp_path):
    copy = Deam(tmp_path / "copy")
    copy.download()
    assert copy.validate().ok
    assert copy.index.clips == published[1].index.clips
    assert np.array_equal(copy.index.labels, published[1].index.labels)


def test_an_altered_archive_is_refused(published, tmp_path):
    server, _ = published
    server.files["metadata.zip"] = server.files["metadata.zip"][:-1] + b"x"
    with pytest.raises(DownloadError, match=r"metadata\.zip does not have the published size"):
        Deam(tmp_path / "copy").download()
