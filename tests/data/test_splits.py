"""The one place where clips are divided."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenuto.data import Index, Soundtracks
from tenuto.data.splits import PARTS, draw, read_split, write_split
from tenuto.errors import ConfigError, DataError, FileError
from tests.conftest import GOLDEN


def index(clips, albums=None):
    names = tuple(f"c{number}" for number in range(clips))
    return Index(names, tuple(map(Path, names)), ("e",), np.zeros((clips, 1)), albums=albums)


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
    with pytest.raises(DataError, match="at least 10"):
        draw(index(9), "random")


def test_album_split_without_albums():
    with pytest.raises(DataError, match="has none"):
        draw(index(20), "album")


def test_album_split_with_two_albums():
    with pytest.raises(DataError, match="at least 3 albums"):
        draw(index(20, ("a", "b") * 10), "album")


def test_albums_too_large_for_a_tenth():
    with pytest.raises(DataError, match="too large"):
        draw(index(30, ("a", "b", "c") * 10), "album")


def test_unknown_part():
    with pytest.raises(ConfigError, match="dev"):
        draw(index(20), "random").part("dev")
