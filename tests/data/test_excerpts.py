"""Where excerpts begin, how they are cut and normalised."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from tenuto.data import Soundtracks, prepare
from tenuto.data.excerpts import (
    EXCERPT_FRAMES,
    Normalisation,
    cut,
    fixed_starts,
    fresh_starts,
    measure,
)
from tests.conftest import GOLDEN


def test_fixed_starts_equal_the_released_ones():
    table = pd.read_csv(GOLDEN / "paper" / "slices.csv")
    assert fixed_starts(table["frames"].tolist()) == table["slice_start"].tolist()


def test_real_frames_and_normalisation_equal_the_reference(shared, tmp_path):
    prepared = prepare(Soundtracks(shared / "soundtracks"), tmp_path)
    table = pd.read_csv(GOLDEN / "paper" / "slices.csv")
    assert [len(clip) for clip in prepared.spectrograms] == table["frames"].tolist()
    result = measure(prepared.spectrograms)
    assert result.mean == pytest.approx(0.395230, abs=1e-3)
    assert result.deviation == pytest.approx(0.418999, abs=1e-3)


def test_every_clip_counts_the_same_whatever_its_length():
    short, long = np.zeros((10, 149), np.float32), np.ones((90, 149), np.float32)
    assert measure([short, long]) == Normalisation(0.5, 0.5)


@given(st.lists(st.integers(1, 900), min_size=1, max_size=20), st.integers(0, 9), st.integers(1, 99))
def test_starts_leave_room_for_an_excerpt(frames, seed, epoch):
    for starts in (fixed_starts(frames), fresh_starts(frames, seed, epoch)):
        for count, start in zip(frames, starts, strict=True):
            assert 0 <= start <= max(0, count - EXCERPT_FRAMES)


@pytest.mark.parametrize("frames", [1, 100, 312])
def test_a_short_clip_continues_with_its_own_beginning(frames):
    clip = np.random.default_rng(0).random((frames, 149), dtype=np.float32)
    piece = cut(clip, 0)
    assert piece.shape == (313, 149)
    assert np.array_equal(piece, clip[np.arange(313) % frames])
