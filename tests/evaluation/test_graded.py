"""natural-2: every kind has the strengths it states, whatever the recording, and the rows say what was done."""

import dataclasses
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from tenuto.audio import load_audio
from tenuto.errors import CheckpointError
from tenuto.evaluation import graded as graded_module
from tenuto.evaluation.graded import EXCERPT, SOUND_CHANGES, Passage, graded
from tenuto.evaluation.natural import Recording
from tenuto.models.checkpoint import save
from tenuto.store.natural import GRADED_CHANGES, NATURAL_KINDS
from tenuto.store.rows import validate_rows, values_of
from tenuto.store.run import RunFolder
from tenuto.study.limit import OutOfTime
from tests.evaluation.test_natural import (  # noqa: F401
    delay,
    melody,
    places,
    recordings,
    run,
)

BEGIN, SECONDS = 3.0, 4.0
"""The excerpt of the made-up recordings, in seconds."""


def recording(path, rate=22050, stored_rate=44100, channels=2, seconds=10.0, begin=BEGIN):
    """A melody in a file, and its excerpt."""
    soundfile.write(path, melody(seconds, stored_rate, channels), stored_rate)
    excerpt = slice(round(begin * rate), round((begin + SECONDS) * rate))
    return Recording(path, load_audio(path, rate), excerpt, rate)


@pytest.fixture(scope="module")
def passage(tmp_path_factory):
    return Passage(recording(tmp_path_factory.mktemp("graded") / "clip.wav"))


@pytest.fixture(scope="module")
def rows(run):  # noqa: F811
    return graded(run)


def power(waveform, passage):
    return np.square(waveform[passage.excerpt]).mean()


# Changes


@pytest.mark.parametrize("kind", SOUND_CHANGES)
def test_every_kind_has_five_strengths_and_states_their_values(passage, kind):
    variations = list(SOUND_CHANGES[kind](passage))
    assert len(variations) == len(NATURAL_KINDS[kind].values) == 5
    for (waveform, settings), value in zip(variations, NATURAL_KINDS[kind].values, strict=True):
        assert waveform.shape == passage.waveform.shape
        assert np.isfinite(waveform).all()
        stated = float(re.search(r"=([-+]?[\d.]+)[,)]", settings.replace("kind='", ""))[1])
        assert abs(stated) == abs(value)


@pytest.mark.parametrize("kind", sorted(set(SOUND_CHANGES) - {"tempo"}))
def test_a_stronger_change_changes_more(passage, kind):
    """In the log magnitude of frames, as networks see it. Music at another time differs as much at any tempo."""

    def magnitudes(waveform):
        frames = waveform[: len(waveform) // 2048 * 2048].reshape(-1, 2048)
        return np.log10(1 + np.abs(np.fft.rfft(frames * np.hanning(2048))))

    clean = magnitudes(passage.waveform)
    sizes = [np.abs(magnitudes(waveform) - clean).mean() for waveform, _ in SOUND_CHANGES[kind](passage)]
    assert sizes[0] > 0
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("kind", sorted(set(SOUND_CHANGES) - {"mp3"}))
def test_what_is_random_follows_the_content_of_the_recording(passage, kind):
    """Not its path, nor what was computed before."""
    elsewhere = dataclasses.replace(passage.recording, path=passage.recording.path / "elsewhere")
    for (first, name), (second, again) in zip(
        SOUND_CHANGES[kind](passage), SOUND_CHANGES[kind](Passage(elsewhere)), strict=True
    ):
        np.testing.assert_array_equal(first, second)
        assert name == again


def test_recordings_have_directions_and_rooms_of_their_own(tmp_path):
    chance = np.random.default_rng(0)
    stated: dict[str, set[str]] = {"equaliser": set(), "pitch": set(), "tempo": set()}
    for _ in range(12):
        waveform = chance.standard_normal(10 * 22050).astype(np.float32)
        one = Passage(Recording(tmp_path, waveform, slice(3 * 22050, 7 * 22050)))
        for kind, settings in stated.items():
            settings.add(next(iter(SOUND_CHANGES[kind](one)))[1])
    assert stated["pitch"] == {"Pitch(percent=+1)", "Pitch(percent=-1)"}
    assert stated["tempo"] == {"Tempo(percent=+2)", "Tempo(percent=-2)"}
    assert len(stated["equaliser"]) > 6
    assert all(settings.count("+") == settings.count("-") == 4 for settings in stated["equaliser"])


def test_a_direction_is_the_same_at_every_strength(passage):
    for kind in ("pitch", "tempo"):
        signs = {re.search("[+-]", settings)[0] for _, settings in SOUND_CHANGES[kind](passage)}
        assert len(signs) == 1
    assert len({settings[-10:] for _, settings in SOUND_CHANGES["equaliser"](passage)}) == 1


@pytest.mark.parametrize("kind", ["gain", "equaliser", "reverberation", "mp3"])
def test_the_excerpt_has_the_level_it_should_have(passage, kind):
    for (waveform, _), value in zip(SOUND_CHANGES[kind](passage), NATURAL_KINDS[kind].values, strict=True):
        change = 10 * np.log10(power(waveform, passage) / power(passage.waveform, passage))
        assert change == pytest.approx(value if kind == "gain" else 0.0, abs=1e-6)


@pytest.mark.parametrize("kind", ["white noise", "pink noise", "crowd noise"])
def test_noise_has_its_ratio_in_the_excerpt(passage, kind):
    for (waveform, _), value in zip(SOUND_CHANGES[kind](passage), NATURAL_KINDS[kind].values, strict=True):
        noise = waveform - passage.waveform
        ratio = 10 * np.log10(power(passage.waveform, passage) / power(noise, passage))
        assert ratio == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(
    ("rate", "stored_rate", "channels"),
    [(22050, 44100, 2), (16000, 48000, 1), (8000, 22050, 1), (16000, 96000, 2), (22050, 22050, 1)],
)
def test_mp3_leaves_every_sample_in_its_place(tmp_path, rate, stored_rate, channels):
    """Also where the passage begins between two samples of the file."""
    one = Passage(recording(tmp_path / "clip.wav", rate, stored_rate, channels, begin=BEGIN + 1.2345))
    for waveform, settings in SOUND_CHANGES["mp3"](one):
        before, after = one.waveform[one.excerpt], waveform[one.excerpt]
        assert delay(before, after) == 0, settings
        assert np.square(after - before).sum() / np.square(before).sum() < 0.01


def test_mp3_finds_the_place_behind_leading_silence(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.concatenate([np.zeros((7001, 2)), melody(10.0), np.zeros((7001, 2))]), 44100)
    one = Passage(Recording(path, load_audio(path), slice(3 * 22050, 7 * 22050)))
    waveform, _ = next(iter(SOUND_CHANGES["mp3"](one)))
    assert delay(one.waveform, waveform) == 0


def click_times(waveform, rate):
    """Of every burst, in seconds."""
    energy = np.convolve(np.square(waveform), np.hanning(rate // 20), "same")
    above = energy > energy.max() / 4
    edges = np.flatnonzero(np.diff(above.astype(int)))
    return np.array([edges[::2] + edges[1::2]]).ravel() / 2 / rate


@pytest.mark.parametrize("centre", [5.0, 2.0, 8.0])
def test_tempo_keeps_the_middle_of_the_excerpt_and_goes_slower_without_room(tmp_path, centre):
    """Of 10 s, 4 s around the middle. At 2 and 8 s the excerpt reaches an end."""
    rate, waveform = 22050, np.zeros(10 * 22050, np.float32)
    waveform[np.arange(rate // 2, 10 * rate, rate // 2)] = 1
    begin = round((centre - 2) * rate)
    one = Passage(Recording(tmp_path, waveform, slice(begin, begin + 4 * rate)))
    for changed, settings in SOUND_CHANGES["tempo"](one):
        factor = 1 + float(re.search(r"=([-+]\d+)", settings)[1]) / 100
        if centre != 5.0:
            assert factor < 1
        times = click_times(one.placed(changed), rate) - centre
        assert np.abs(times).min() < 0.012
        assert np.diff(times)[1:-1].mean() == pytest.approx(0.5 / factor, rel=0.01)
        inside = np.abs(times) < 1.9
        assert inside.sum() >= 7


@pytest.mark.parametrize("kind", SOUND_CHANGES)
def test_only_the_surroundings_of_the_excerpt_are_computed(tmp_path, kind):
    """However long the recording is."""
    one = Passage(recording(tmp_path / "clip.wav", seconds=40.0, begin=20.0))
    assert len(one.waveform) <= (SECONDS + 1) * 22050
    waveform, _ = next(iter(SOUND_CHANGES[kind](one)))
    placed = one.placed(waveform)
    assert placed.shape == one.recording.waveform.shape
    assert np.abs(placed[one.recording.excerpt]).max() > 0


@pytest.mark.parametrize("kind", ["gain", "low-pass", "equaliser", "reverberation"])
def test_the_excerpt_is_what_it_would_be_in_the_changed_recording(passage, kind):
    """Here the whole recording is changed: 3 s before the excerpt and 3 s behind it."""
    whole = Passage(passage.recording, 10.0)
    for (near, _), (far, _) in zip(SOUND_CHANGES[kind](passage), SOUND_CHANGES[kind](whole), strict=True):
        near, far = near[passage.excerpt], far[whole.excerpt]
        assert np.square(near - far).sum() < 1e-6 * np.square(far).sum()


def test_a_recording_shorter_than_an_excerpt_plays_at_every_tempo(tmp_path):
    waveform = melody(1.0, 22050, 1)[:, 0].astype(np.float32)
    one = Passage(Recording(tmp_path, waveform, slice(0, 4 * 22050)))
    before = min(np.abs(part).max() for part in np.array_split(waveform, 4))
    for changed, _ in SOUND_CHANGES["tempo"](one):
        after = min(np.abs(part).max() for part in np.array_split(changed, 4))
        assert after > 0.5 * before


def test_silence_stays_finite(tmp_path):
    waveform = np.zeros(8 * 22050, np.float32)
    waveform[:100] = 0.5
    one = Passage(Recording(tmp_path, waveform, slice(3 * 22050, 7 * 22050)))
    for kind, change in SOUND_CHANGES.items():
        if kind != "mp3":
            assert all(np.isfinite(changed).all() for changed, _ in change(one))


def test_an_unchanged_passage_gives_the_excerpt_of_the_run(run, recordings):  # noqa: F811
    inputs = dict(zip(run.part("test").clips, run.part("test").inputs.numpy(), strict=True))
    for name, (_, start) in places(run).items():
        one = Passage(recordings[name])
        excerpt = run.recogniser.inputs.excerpt(one.placed(one.waveform), start)
        np.testing.assert_allclose(excerpt, inputs[name], rtol=0, atol=1e-5)


# Rows


def test_rows_have_every_clip_under_every_change(rows, run):  # noqa: F811
    """The clips last 16, 11 and 0.6 s: the last is shorter than an excerpt, so no other one exists."""
    validate_rows(rows)
    names = run.part("test").clips
    counted = rows.groupby("objective")["clip"].agg(list)
    for change, (kind, _) in GRADED_CHANGES.items():
        clips = counted.get(change, [])
        assert clips == list(names) if kind != EXCERPT else names[2] not in clips
    assert counted[f"{EXCERPT} 1"] == list(names[:2])
    assert counted[f"{EXCERPT} 5"] == list(names[:1])


def test_rows_say_what_they_are(rows, run):  # noqa: F811
    about = rows[["run", "system", "seed", "split", "protocol", "attack", "norm"]].drop_duplicates()
    assert about.to_numpy().tolist() == [[run.name, "A2M2E", 6, "test", "natural-2", "natural", "none"]]
    settings = rows.drop_duplicates("objective").set_index("objective")["settings"]
    assert settings["low-pass 3"] == "LowPass(hertz=4000)"
    assert settings["gain 5"] == "Gain(decibels=-24)"
    assert settings["mp3 2"] == "Mp3(kilobits=192)"
    assert settings["crowd noise 1"] == "Noise(kind='crowd', decibels=40)"
    other = re.fullmatch(r"OtherExcerpt\(start=(\d+), instead_of=(\d+)\)", settings["excerpt 4"])
    assert abs(int(other[1]) - int(other[2])) == round(31.3 * 1.0)


def test_norms_and_predictions_belong_to_the_changed_excerpt(rows, run, recordings):  # noqa: F811
    clips, own = run.part("test"), rows[rows["objective"] == "gain 3"]
    changed = np.stack(
        [
            run.recogniser.inputs.excerpt((0.1**0.6 * recordings[name].waveform).astype(np.float32), start)
            for name, (_, start) in places(run).items()
        ]
    )
    delta = (changed.astype(np.float64) - clips.inputs.numpy()).reshape(len(clips), -1)
    np.testing.assert_allclose(own["l2"], np.linalg.norm(delta, axis=1), rtol=1e-5)
    np.testing.assert_allclose(own["linf"], np.abs(delta).max(axis=1), rtol=1e-5)
    with torch.no_grad():
        attacked, clean = run.recogniser(torch.from_numpy(changed)), run.recogniser(clips.inputs)
    for kind, prediction in (("adversarial", attacked), ("clean", clean)):
        np.testing.assert_allclose(values_of(own, kind), prediction.emotions, atol=1e-5)
        concepts = values_of(own, kind, run.recogniser.concepts)
        np.testing.assert_allclose(concepts, prediction.concepts, atol=1e-5)
    other = rows["objective"].str.startswith(EXCERPT)
    assert rows.loc[other, ["l2", "linf"]].isna().all(axis=None)
    assert rows.loc[~other, ["l2", "linf"]].notna().all(axis=None)


def test_rows_are_written_once_and_read_the_next_time(rows, run):  # noqa: F811
    path = run.folder / "attacks" / "natural-2.csv"
    before = path.stat().st_mtime_ns
    pd.testing.assert_frame_equal(graded(run), rows, check_dtype=False)
    assert path.stat().st_mtime_ns == before
    assert run.files.has_natural(protocol="natural-2")
    assert run.files.protocols() == []


def test_an_interrupted_call_is_continued(run, tmp_path, monkeypatch):  # noqa: F811
    rows = graded(run, "validation")  # short clips
    copy = dataclasses.replace(run, folder=shutil.copytree(run.folder, tmp_path / run.name))
    copy.files.natural("validation", "natural-2").unlink()
    variations = graded_module._variations
    measured: list[int] = []

    def out_of_time():
        raise OutOfTime

    def measure(*call):
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(call[1])
        return variations(*call)

    monkeypatch.setattr(graded_module, "_variations", measure)
    with pytest.raises(KeyboardInterrupt):
        graded(copy, "validation")
    with pytest.raises(OutOfTime):
        graded(copy, "validation", before_piece=out_of_time)
    assert len(measured) == 2
    measured.clear()

    def count(*call):
        measured.append(call[1])
        return variations(*call)

    monkeypatch.setattr(graded_module, "_variations", count)
    pd.testing.assert_frame_equal(graded(copy, "validation"), rows, check_dtype=False)
    assert len(measured) == len(run.part("validation")) - 2
    written = [path.name for path in copy.files.attacks.glob("*natural-2-validation*")]
    assert written == ["natural-2-validation.csv"]


def test_rows_of_earlier_weights_are_refused(rows, run, tmp_path):  # noqa: F811
    copy = dataclasses.replace(run, folder=shutil.copytree(run.folder, tmp_path / run.name))
    network = dataclasses.replace(run.recogniser, width=2 * run.recogniser.width)
    save(RunFolder(copy.folder).checkpoint, network, {})
    with pytest.raises(CheckpointError, match="was made with other weights"):
        graded(copy)
