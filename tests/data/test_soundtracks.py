"""Soundtracks and the mid-level annotations: real files, and every way the tables can be wrong."""

from __future__ import annotations

import numpy as np
import pytest

from tenuto.data import Midlevel, Soundtracks, Synthetic
from tenuto.data.midlevel import CONCEPTS
from tenuto.data.soundtracks import EMOTIONS
from tenuto.data.synthesis import synthesize
from tenuto.errors import DataError, FileError
from tests import corpora
from tests.corpora import edit

RATINGS, TRACKS = "mean_ratings_set1.csv", "set1_tracklist.csv"


@pytest.fixture
def copy(tmp_path):
    return corpora.soundtracks(tmp_path)


@pytest.fixture
def rated(tmp_path):
    return corpora.midlevel(tmp_path)


def test_real_ratings_and_albums(shared):
    index = Soundtracks(shared / "soundtracks").index
    assert len(index) == 360
    assert index.emotions == EMOTIONS
    assert index.labels[0].tolist() == pytest.approx([0.483, 0.683, 0.317, 0.1, 0.1, 0.733, 0.1, 0.1])
    assert index.albums is not None
    assert len(set(index.albums)) == 45


def test_a_full_copy_with_other_ratings_is_refused_and_other_formats_are_not(shared, tmp_path):
    text = (shared / "soundtracks" / RATINGS).read_text("utf-8-sig")
    for content, is_refused in (
        (text.replace("4.83", "4.830").replace("\n", "\r"), False),
        (text.replace("4.83", "4.84", 1), True),
    ):
        (tmp_path / RATINGS).write_text(content)
        if is_refused:
            with pytest.raises(
                DataError, match=r"not the published ratings of soundtracks.*`dataset=folder`"
            ):
                _ = Soundtracks(tmp_path).index
        else:
            assert len(Soundtracks(tmp_path).index) == 360


@pytest.mark.parametrize("dataset", [Soundtracks, Midlevel])
def test_the_synthetic_corpus_is_not_taken_for_real_music(tmp_path, dataset):
    synthesize(tmp_path, clips=2, seconds=1, workers=1)
    for _ in ("with its state file", "without"):
        with pytest.raises(
            DataError,
            match=f"contains the synthetic corpus, not {dataset.card.name}. Use `dataset=synthetic`",
        ):
            _ = dataset(tmp_path).index
        assert any(
            "`dataset=synthetic`" in sentence for sentence in dataset(tmp_path).validate().inconsistent
        )
        (tmp_path / "corpus.json").unlink(missing_ok=True)


def test_other_music_is_not_taken_for_the_synthetic_corpus(rated):
    with pytest.raises(DataError, match=r"contains no corpus\.json.* Use `dataset=midlevel`"):
        _ = Synthetic(rated.root).index


def test_a_folder_above_the_data_names_the_right_one(rated):
    folder = rated.root / "inner" / "data"
    folder.parent.mkdir()
    (rated.root / RATINGS).rename(rated.root / "inner" / RATINGS)
    with pytest.raises(
        DataError, match=f"contains no {RATINGS}, but {folder.parent} does. Use `root={folder.parent}`"
    ):
        _ = rated.index


def test_validate_lists_every_problem_of_both_tables(rated):
    edit(rated.root / RATINGS, "\n004,", "\n004,1,")
    edit(rated.root / RATINGS, "\n006,", "\n005,")
    edit(rated.root / TRACKS, "\n008,", "\n908,")
    path = rated.root / "metadata_annotations" / "annotations.csv"
    cells = [line.split(",") for line in path.read_text().splitlines()]
    cells[2][1], cells[4][2] = "11", "x"
    path.write_text("\n".join(map(",".join, cells)) + "\n")
    parts = (
        "line 5 has 11 fields",
        "clip 005 is listed twice",
        "no row for clip 008",
        " is 11, outside",
        " is x, outside",
    )
    sentences = rated.validate().inconsistent
    assert [part in sentence for part, sentence in zip(parts, sentences, strict=True)] == [True] * len(parts)


def test_validate_lists_missing_and_altered(copy):
    (copy.root / "Set1" / "003.mp3").unlink()
    result = copy.validate()
    assert any(sentence.startswith("Set1/003.mp3") for sentence in result.missing)
    assert any(sentence.startswith("Set1/001.mp3: sha256") for sentence in result.altered)
    assert result.inconsistent == ()


def test_ratings_are_divided_by_ten(copy):
    raw = np.loadtxt(
        copy.root / RATINGS, delimiter=",", skiprows=1, usecols=range(1, 9), encoding="utf-8-sig"
    )
    assert np.allclose(copy.index.labels, raw / 10)


def test_without_a_track_list_there_are_no_albums(copy):
    (copy.root / TRACKS).unlink()
    assert copy.index.albums is None


@pytest.mark.parametrize("bad", ["0.99", "9.01", "-3", "", "loud", "nan"])
def test_rating_outside_the_scale_is_named(copy, bad):
    path = copy.root / RATINGS
    first = path.read_text("utf-8-sig").splitlines()[4].split(",")
    edit(path, ",".join(first[:3]), ",".join([first[0], bad, first[2]]))
    with pytest.raises(DataError, match=f"valence of clip {first[0]}"):
        _ = copy.index


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (RATINGS, "tension", "tensoin", r"mean_ratings_set1\.csv: no column tension"),
        (RATINGS, ",", ";", "separated by ';', they must be separated by ','"),
    ],
)
def test_a_damaged_table_is_named(copy, name, old, new, message):
    edit(copy.root / name, old, new, -1 if old == "," else 1)
    with pytest.raises((DataError, FileError), match=message):
        _ = copy.index


def test_concepts_are_those_of_the_soundtracks_rows(rated):
    index = rated.index
    assert index.concepts == CONCEPTS
    table = (rated.root / "metadata_annotations" / "annotations.csv").read_text().splitlines()
    expected = [[float(x) / 10 for x in line.split(",")[1:]] for line in table[2::2]]
    assert np.allclose(index.concept_labels, expected)


def test_annotations_are_found_where_the_archive_put_them(rated):
    folder = rated.root / "metadata_annotations"
    (folder / "inner").mkdir()
    for name in ("metadata.csv", "annotations.csv"):
        (folder / name).rename(folder / "inner" / name)
    assert rated.index.concept_labels is not None


def test_without_annotations_the_mend_is_named(copy):
    with pytest.raises(DataError, match="tenuto data download midlevel"):
        _ = Midlevel(copy.root).index


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("annotations.csv", "\n2,", "\n77,", "row 2: song id .* is '2'"),
        ("metadata.csv", "4;soundtracks;2", "4;soundtracks;9", "row 2: ID at file source"),
        ("metadata.csv", "4;soundtracks;2", "4;deam;2", "has 11 rows"),
        ("metadata.csv", "Source", "Origin", "no column Source"),
        ("metadata.csv", ";", ",", "separated by ',', they must be separated by ';'"),
        ("annotations.csv", "atonality", "tonality", "no column atonality"),
    ],
)
def test_files_that_disagree_are_refused(rated, name, old, new, message):
    path = rated.root / "metadata_annotations" / name
    edit(path, old, new, -1 if old == ";" else 1)
    with pytest.raises((DataError, FileError), match=message):
        _ = rated.index
