"""A user's own folder."""

from __future__ import annotations

import numpy as np
import pytest

from tenuto.data import Folder
from tenuto.errors import DataError, FileError
from tests import corpora


@pytest.fixture
def own(tmp_path):
    return corpora.folder(tmp_path)


def changed(own, **options):
    known = {
        "ratings_file": "table.csv",
        "id_column": "song",
        "emotions": ("arousal", "joy"),
        "scale": (1.0, 7.0),
    }
    return Folder(own.root, **{**known, **options})


def test_names_match_with_or_without_file_type(own):
    index = own.index
    assert index.clips[:2] == ("disc 0/song 0", "disc 1/song 1")
    assert index.emotions == ("arousal", "joy")
    assert index.concepts == ("roughness",)
    assert sorted(set(index.albums)) == ["r0", "r1", "r2", "r3"]


def test_labels_are_ratings_over_the_top_of_the_scale(own):
    assert own.index.labels.max() <= 1
    first = (own.root / "table.csv").read_text().splitlines()[1].split(",")
    assert own.index.labels[0] == pytest.approx(np.array(first[1:3], float) / 7)


def test_concepts_and_albums_are_optional(own):
    index = changed(own).index
    assert index.concept_labels is None
    assert index.albums is None


def test_no_emotions_named(own):
    with pytest.raises(DataError, match="--emotions"):
        changed(own, emotions=())


@pytest.mark.parametrize("scale", [(3, 3), (5, 1), (-2, -1)])
def test_impossible_scale(own, scale):
    with pytest.raises(DataError, match="rating scale"):
        changed(own, scale=scale)


def test_rating_outside_the_scale(own):
    with pytest.raises(DataError, match="outside the scale 1 to 5"):
        _ = changed(own, scale=(1, 5)).index


def test_missing_column(own):
    with pytest.raises(FileError, match="no column anger"):
        _ = changed(own, emotions=("anger",)).index


def test_rated_but_absent_recording_names_the_nearest(own):
    path = own.root / "table.csv"
    path.write_text(path.read_text().replace("disc 0/song 4", "disc 0/song 44"))
    with pytest.raises(DataError, match="rates disc 0/song 44"):
        _ = own.index


def test_two_files_of_one_name(own):
    corpora.write_audio(own.root / "disc 0" / "song 0.flac", 1)
    with pytest.raises(DataError, match="shares its name"):
        _ = own.index


def test_folder_without_recordings(tmp_path):
    (tmp_path / "table.csv").write_text("song,arousal\na,2\n")
    with pytest.raises(DataError, match="holds no recording"):
        _ = Folder(tmp_path, "table.csv", "song", ("arousal",), scale=(1, 7)).index


def test_validate_lists_a_cut_recording(own):
    path = next(own.root.glob("disc 1/*.flac"))
    path.write_bytes(path.read_bytes()[:-5000])
    assert any(path.name in sentence for sentence in own.validate().altered)
