"""The same sound is found under other names; different sounds are not."""

import shutil

import numpy as np
import pytest
import soundfile

from tenuto.audio.decoding import read_blocks
from tenuto.data.cache import listen_all
from tenuto.data.duplicates import duplicates
from tests.corpora import music


def mp3(path, waveform, rate=22050):
    soundfile.write(path, waveform, rate, compression_level=0.8, bitrate_mode="CONSTANT")


CHANGES = {
    "coded": lambda path, sound: mp3(path.with_suffix(".mp3"), sound),
    "quieter": lambda path, sound: soundfile.write(path, 0.1 * sound, 22050),
    "trimmed": lambda path, sound: soundfile.write(path, sound[33333:-44444], 22050),
    "begun later": lambda path, sound: soundfile.write(path, np.r_[np.zeros(50000), sound], 22050),
    "all of it": lambda path, sound: mp3(path.with_suffix(".mp3"), 0.2 * sound[33333:-44444]),
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache that all tests share, which have most clips in common."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENUTO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def heard(folder, cache=None):
    paths = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix}
    return listen_all(paths, cache, 1)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number in range(8):
        soundfile.write(folder / f"clip {number}.wav", music(number, 8.0), 22050)
    return folder


@pytest.fixture
def clips(recordings, tmp_path):
    return shutil.copytree(recordings, tmp_path, dirs_exist_ok=True)


def test_different_clips_are_no_duplicates(clips):
    assert duplicates(heard(clips)) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_under_another_name(clips, change):
    CHANGES[change](clips / "other name.wav", music(3, 8.0))
    (pair,) = duplicates(heard(clips))
    assert (pair.first, pair.second) == ("clip 3", "other name")
    assert pair.errors < 0.25
    assert pair.seconds > 3
    assert "clip 3 and other name have the same" in str(pair)


def test_excerpts_that_overlap_are_found_with_what_they_share(clips):
    sound = music(50, 12.0)
    soundfile.write(clips / "x.wav", sound[: 8 * 22050], 22050)
    soundfile.write(clips / "y.wav", sound[4 * 22050 :], 22050)
    (pair,) = duplicates(heard(clips))
    assert (pair.first, pair.second) == ("x", "y")
    assert pair.seconds == pytest.approx(4 - 17 / 31.3, abs=0.3)


@pytest.mark.parametrize(("own", "is_found"), [(4.0, True), (12.0, False)])
def test_recordings_that_share_less_than_some_60_percent_are_not_found(clips, own, is_found):
    """What docs/data.md says: bits are compared over the whole overlap."""
    for number, name in ((61, "x.wav"), (62, "y.wav")):
        soundfile.write(clips / name, np.r_[music(60, 8.0), music(number, own)], 22050)
    assert bool(duplicates(heard(clips))) is is_found


def test_copies_of_the_same_file_are_found_however_short(clips):
    for name in ("a.wav", "b.wav"):
        soundfile.write(clips / name, music(9, 0.5), 22050)
    (pair,) = duplicates(heard(clips))
    assert (pair.first, pair.second, pair.errors) == ("a", "b", 0.0)


def test_silence_that_two_clips_share_is_no_duplicate(clips):
    for number in (20, 21):
        sound = np.r_[music(number, 1.0), np.zeros(8 * 22050), music(number + 5, 1.0)]
        soundfile.write(clips / f"pause {number}.wav", sound, 22050)
    assert duplicates(heard(clips)) == []


def test_only_pairs_across_are_found_where_there_are_others(clips, tmp_path_factory):
    soundfile.write(clips / "twice.wav", music(3, 8.0), 22050)
    other = tmp_path_factory.mktemp("other")
    soundfile.write(other / "elsewhere.flac", music(5, 8.0), 22050)
    (pair,) = duplicates(heard(clips), heard(other))
    assert (pair.first, pair.second) == ("clip 5", "elsewhere")
    assert duplicates(heard(clips), {}) == []


def test_a_read_only_cache_is_no_obstacle(clips):
    (clips / "cache").write_text("a file in its place")
    assert len(heard(clips, clips / "cache")) == 8


def test_on_the_real_audio_changed_copies_are_found_and_nothing_else(shared, tmp_path):
    paths = {
        f"{number:03d}": shared / "soundtracks" / "Set1" / f"{number:03d}.mp3" for number in range(60, 76)
    }
    sounds = listen_all(paths, tmp_path / "cache")
    changed = {}
    for name in list(paths)[::4]:
        blocks = list(read_blocks(paths[name]))
        sound, rate = np.concatenate([block for block, _ in blocks]), blocks[0][1]
        changed[f"{name} again"] = tmp_path / f"{name}.mp3"
        mp3(changed[f"{name} again"], 0.3 * sound[2 * rate : -3 * rate], rate)
    assert duplicates(sounds) == []
    pairs = duplicates(sounds, listen_all(changed, tmp_path / "cache"))
    assert [(pair.first, pair.second) for pair in pairs] == [
        (name, f"{name} again") for name in list(paths)[::4]
    ]
