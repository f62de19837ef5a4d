"""The one place where clips are divided."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from tenuto.data import Index, Soundtracks
from tenuto.data.splits import PARTS, Split, draw, one_spelling, read_split, write_split
from tenuto.errors import ConfigError, DataError, FileError
from tests.conftest import GOLDEN


def index(clips, albums=None, **fields):
    names = tuple(f"c{number}" for number in range(clips))
    return Index(names, tuple(map(Path, names)), ("e",), np.zeros((clips, 1)), albums=albums, **fields)


def test_paper_split_equals_the_released_one(shared):
    table = pd.read_csv(GOLDEN / "paper" / "split.csv").sort_values("position")
    split = draw(Soundtracks(shared / "soundtracks").index, "paper", seed=7)
    for part in PARTS:
        assert [int(clip) for clip in split.part(part)] == table.loc[table["split"] == part, "clip"].tolist()


def test_album_split_of_the_real_data_shares_no_album(shared):
    whole = Soundtracks(shared / "soundtracks").index
    assert whole.albums is not None
    album = dict(zip(whole.clips, whole.albums, strict=True))
    split = draw(whole, "album", seed=0)
    parts = [{album[clip] for clip in split.part(part)} for part in PARTS]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert len(set.union(*parts)) == 45


@given(st.integers(10, 80), st.sampled_from(["paper", "random", "album"]), st.integers(0, 5))
def test_every_clip_is_in_one_part(clips, kind, seed):
    whole = index(clips, tuple(f"a{number // 2}" for number in range(clips)))
    if kind == "album" and clips < 20:
        return  # a tenth of fewer clips holds no album of two
    split = draw(whole, kind, seed)
    assert sorted(split.train + split.validation + split.test) == sorted(whole.clips)
    assert min(len(split.part(part)) for part in PARTS) >= 1
    assert draw(whole, kind, seed) == split


def test_random_split_follows_its_seed_and_the_paper_split_does_not():
    whole = index(50)
    assert draw(whole, "random", 1) != draw(whole, "random", 2)
    assert draw(whole, "paper", 1) == draw(whole, "paper", 2)


def test_a_split_survives_its_file(tmp_path):
    split = draw(index(30), "random", 3)
    write_split(tmp_path / "split.csv", split)
    assert read_split(tmp_path / "split.csv") == split


ROWS = ["clip,split,position", "a,train,0", "b,validation,0", "c,test,0"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("d,Test,1", "line 5: no part is called 'Test'. Did you mean test"),
        ("d,,1", "line 5: no part is called ''"),
        (" ,test,1", "line 5: the clip has no name"),
        ("a,test,1", "line 5: clip a is in train and in test"),
        ("c,test,1", "line 5: clip c is twice in test"),
        ("d,test,inf", "line 5, column position: 'inf' is not a whole number"),
        ("d,test", "line 5 has 2 fields"),
        ("a,Test,x", r"\(and 2 more problems\)"),
    ],
)
def test_a_stored_split_that_contradicts_itself_is_refused(tmp_path, row, message):
    (tmp_path / "split.csv").write_text("\n".join([*ROWS, row]))
    with pytest.raises((DataError, FileError), match=message):
        read_split(tmp_path / "split.csv")


def test_too_few_clips():
    with pytest.raises(DataError, match=r"at least 10 are needed.*`split=FILE.csv`"):
        draw(index(9), "random")


def test_albums_in_two_spellings_are_one():
    whole = index(40, ("Blue Train", "blue  train", *(f"album {place}" for place in range(18))) * 2)
    for seed in range(5):
        split = draw(whole, "album", seed=seed)
        parts = [next(part for part in PARTS if clip in split.part(part)) for clip in whole.clips]
        assert len({parts[0], parts[1], parts[20], parts[21]}) == 1
    assert one_spelling(["b", "B ", "a"]) == ("b", "b", "a")


def test_unknown_part_and_split():
    with pytest.raises(ConfigError, match="dev"):
        draw(index(20), "random").part("dev")
    with pytest.raises(ConfigError, match=r"no split is called 'albums'\. Did you mean album"):
        draw(index(20), "albums")


GENRES = ("folk", "jazz", "metal", "pop") * 10


def test_an_artist_split_shares_no_artist():
    artists = tuple(f"a{number // 2}" for number in range(40))
    split = draw(index(40, artists=artists), "artist", 0)
    parts = [{artists[int(clip[1:])] for clip in split.part(part)} for part in PARTS]
    assert parts[0].isdisjoint(parts[1] | parts[2])
    assert parts[1].isdisjoint(parts[2])


def test_four_genres_of_equal_size_are_left_out_one_after_the_other():
    whole = index(40, groups=GENRES)
    tested = []
    for seed in range(4):
        split = draw(whole, "group", seed)
        assert sorted(split.train + split.validation + split.test) == sorted(whole.clips)
        assert (len(split.train), len(split.validation), len(split.test)) == (27, 3, 10)
        tested.append({GENRES[int(clip[1:])] for clip in split.test})
    assert tested == [{"folk"}, {"jazz"}, {"metal"}, {"pop"}]
    named = draw(whole, "group:metal", 0)
    assert {GENRES[int(clip[1:])] for clip in named.test} == {"metal"}


def test_albums_serve_as_groups_and_the_album_split_names_the_group_split():
    whole = index(40, GENRES)
    with pytest.raises(DataError, match="split=group"):
        draw(whole, "album")
    assert len(draw(whole, "group", 1).test) == 10


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({}, "album", "album split needs albums, but this data set has none"),
        ({"albums": ("a", "b") * 10}, "album", "at least 3 albums, this data set has 2"),
        ({"albums": ("a", "b", "c", "d") * 5}, "album", "leaves validation empty: its albums are too large"),
        ({}, "artist", "artist split needs artists, but this data set has none.*artist_column"),
        ({}, "group", "group split needs groups, but this data set has none.*group_column"),
        ({"groups": ("jazz",) * 20}, "group", "at least 2 groups, this data set has 1"),
        ({"groups": ("jazz", "folk") * 10}, "group:jaz", "no group is called 'jaz'. Did you mean jazz"),
        ({}, "official", "has no official split"),
        ({"official": {"a": ("test",) * 20}}, "official", "0 clips for training and 20 for testing"),
        ({"official": {"2013": ("test",) * 20}}, "official:2014", "called '2014'. Did you mean 2013"),
    ],
)
def test_what_a_split_lacks_is_said(fields, kind, message):
    with pytest.raises(DataError, match=message):
        draw(index(20, **fields), kind)


def test_official_splits_are_taken_as_published():
    parts = ("train",) * 6 + ("validation", "test", "", "test")
    split = draw(index(10, official={"0": parts, "1": ("train",) * 7 + ("test",) * 3}), "official")
    assert (split.validation, split.test) == (("c6",), ("c7", "c9"))
    drawn = draw(index(10, official={"0": parts, "1": ("train",) * 7 + ("test",) * 3}), "official:1", 5)
    assert (len(drawn.train), len(drawn.validation), drawn.test) == (6, 1, ("c7", "c8", "c9"))


def own_split(path, rows, separator=","):
    path.write_text("\n".join(separator.join(row) for row in [("clip", "split"), *rows]))
    return str(path)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_split_of_the_users_own(tmp_path, separator):
    rows = [("c3.wav", "train "), ("c1", "train"), ("c2", "validation"), ("c0", "test")]
    split = draw(index(5), own_split(tmp_path / "own.csv", rows, separator))
    assert split == Split(("c3", "c1"), ("c2",), ("c0",))


def test_a_split_of_the_users_own_without_validation(tmp_path):
    rows = [(f"c{number}", "test" if number < 3 else "train") for number in range(20)]
    split = draw(index(20), own_split(tmp_path / "own.csv", rows), 3)
    assert (len(split.train), len(split.validation), split.test) == (15, 2, ("c0", "c1", "c2"))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("c1", "train"), ("c22", "test")], "clip c22 is not in the data. Did you mean c2"),
        ([("c1", "train"), ("c1.wav", "test")], "clip c1 is listed twice"),
        ([("c1", "train"), ("c2", "val")], "no part is called 'val'.*validation"),
        ([("c1", "train"), ("c2", "train")], "2 clips for training and 0 for testing"),
        (
            [("c1", "train"), ("c2", "test")],
            "1 clip for training and 1 for testing; at least 2 and 1 are needed",
        ),
    ],
)
def test_a_split_that_does_not_fit_the_data_is_refused(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        draw(index(5), own_split(tmp_path / "own.csv", rows))
