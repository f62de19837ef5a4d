"""Natural changes: each does what its name says, and the rows say what was done.

Longer than other files: most tests look at the rows of one run, which are measured once.
"""

import contextlib
import dataclasses
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from filelock import FileLock

from tenuto.analysis.natural import OTHER_EXCERPT, lacking, summary
from tenuto.audio import load_audio
from tenuto.audio.loading import decode
from tenuto.audio.mp3 import encode
from tenuto.data import prepare
from tenuto.data.excerpts import EXCERPT_FRAMES, fixed_starts
from tenuto.data.splits import draw
from tenuto.errors import CheckpointError, FileError, TenutoError
from tenuto.evaluation import graded, locking, natural as baseline
from tenuto.evaluation.natural import NATURAL_CHANGES, GainChange, Mp3Change, NoiseChange, Recording
from tenuto.evaluation.runs import open_run
from tenuto.models.checkpoint import save
from tenuto.models.recogniser import predict
from tenuto.store.rows import VALUE_KINDS, validate_rows, values_of
from tenuto.store.run import RunFolder
from tenuto.training.loop import train
from tests import corpora, small_runs

LONG, SHORT, TINY = 16.0, 11.0, 0.6
"""Seconds of the three test clips: room for another excerpt, no room, and less than one excerpt."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A bottleneck run whose three test clips are long, short and tiny."""
    root = tmp_path_factory.mktemp("natural")
    dataset = corpora.midlevel(root / "data", small_runs.CLIPS)
    names = draw(dataset.index, "paper").test
    for name, seconds in zip(names, (LONG, SHORT), strict=False):
        corpora.write_audio(root / "data" / "Set1" / f"{name}.mp3", int(name), seconds)
    prepared = prepare(dataset, root / "cache", workers=1)
    folder = train(small_runs.settings("A2M2E", epochs=1), prepared, root / "runs")
    return open_run(folder, prepared)


@pytest.fixture(scope="module")
def rows(run):
    return baseline.natural(run)


@pytest.fixture(scope="module")
def recordings(run):
    """The test clips as changes meet them."""
    return {
        name: Recording.read(path, start, run.recogniser.inputs)
        for name, (path, start) in places(run).items()
    }


def excerpt_of(run, waveform, start):
    """What the network takes for an excerpt of a waveform."""
    inputs = run.recogniser.inputs
    return inputs.cut(inputs.steps(waveform.astype(np.float32)), start)


def places(run):
    """Test clip -> its file and the first frame of its excerpt."""
    prepared = run.material.prepared
    starts = fixed_starts([len(clip) for clip in prepared.spectrograms])
    names = run.part("test").clips
    rows = prepared.places(names)
    return {name: (prepared.index.paths[row], starts[row]) for name, row in zip(names, rows, strict=True)}


def recording(path, samples, rate):
    soundfile.write(path, samples, rate)
    return Recording(path, load_audio(path), slice(None))


def melody(seconds=2.0, rate=44100, channels=2):
    """Something with attacks, so that a delay shows: decaying tones of random pitch."""
    random = np.random.default_rng(3)
    time = np.arange(round(0.25 * rate)) / rate
    notes = [
        np.exp(-12 * time) * np.sin(2 * np.pi * random.uniform(200, 2000) * time)
        for _ in range(int(4 * seconds))
    ]
    wave = 0.5 * np.concatenate(notes)
    return np.stack([wave * (0.9**channel) for channel in range(channels)], axis=1)


def delay(first, second):
    """By how many samples the second waveform comes later, from the peak of their cross-correlation."""
    size = 2 * len(first)
    product = np.fft.rfft(second, size) * np.conj(np.fft.rfft(first, size))
    place = int(np.fft.irfft(product, size).argmax())
    return place if place < len(first) else place - size


# Changes


def test_an_unchanged_waveform_gives_the_excerpt_of_the_run(run, recordings):
    inputs = dict(zip(run.part("test").clips, run.part("test").inputs.numpy(), strict=True))
    for name, (_, start) in places(run).items():
        excerpt = excerpt_of(run, recordings[name].waveform, start)
        np.testing.assert_allclose(excerpt, inputs[name], rtol=0, atol=1e-5)


def test_what_is_heard_are_the_samples_below_the_excerpt(run, recordings):
    long = run.part("test").clips[0]
    start = places(run)[long][1]
    silent = recordings[long].waveform.copy()
    silent[recordings[long].excerpt] = 0
    excerpt = excerpt_of(run, silent, start)
    assert np.ptp(excerpt) == 0
    first = recordings[long].excerpt.start
    assert first == math.floor(start * 22050 / 31.3)
    assert recordings[long].excerpt.stop - first == pytest.approx(312 * 22050 / 31.3 + 2048, abs=1)


@pytest.mark.parametrize("decibels", [6.0, -6.0])
def test_gain_is_by_decibels(recordings, decibels):
    for one in recordings.values():
        changed = GainChange(decibels)(one)
        ratio = np.square(changed).sum() / np.square(one.waveform.astype(float)).sum()
        assert 10 * math.log10(ratio) == pytest.approx(decibels)


@pytest.mark.parametrize("decibels", [30.0, 20.0])
def test_noise_has_its_distance_from_what_is_heard(recordings, decibels):
    long = next(iter(recordings.values()))
    noise = NoiseChange(decibels)(long) - long.waveform
    signal = np.square(long.waveform[long.excerpt].astype(float)).mean()
    assert 10 * math.log10(signal / np.square(noise).mean()) == pytest.approx(decibels, abs=0.05)


def test_noise_is_white(recordings):
    long = next(iter(recordings.values()))
    noise = NoiseChange(20.0)(long) - long.waveform
    halves = np.array_split(np.square(np.abs(np.fft.rfft(noise)))[1:], 2)
    assert halves[0].mean() == pytest.approx(halves[1].mean(), rel=0.05)


def test_noise_follows_the_content_alone(recordings):
    first, second, _ = recordings.values()
    moved = Recording(second.path, first.waveform.copy(), first.excerpt)
    np.testing.assert_array_equal(NoiseChange(20.0)(first), NoiseChange(20.0)(moved))
    shortest = min(len(first.waveform), len(second.waveform))
    noises = [(NoiseChange(20.0)(one) - one.waveform)[:shortest] for one in (first, second)]
    assert abs(np.corrcoef(noises)[0, 1]) < 0.02


def test_mp3_has_the_bit_rate_it_says():
    samples = melody(seconds=10.0).astype(np.float32)
    content = encode(samples, 44100, 128, "made up")
    assert 8 * len(content) / 10.0 / 1000 == pytest.approx(128, rel=0.01)


@pytest.mark.parametrize(
    ("rate", "channels"), [(44100, 2), (48000, 1), (22050, 1), (96000, 2), (44100, 3)], ids=str
)
def test_mp3_leaves_every_sample_in_its_place(tmp_path, rate, channels):
    one = recording(tmp_path / "clip.wav", melody(rate=rate, channels=channels), rate)
    changed = Mp3Change(128)(one)
    assert changed.shape == one.waveform.shape
    assert delay(one.waveform, changed) == 0
    assert np.abs(changed).max() == pytest.approx(1.0)
    difference = np.square(changed - one.waveform).sum() / np.square(one.waveform).sum()
    assert 1e-8 < difference < 1e-2


def test_mp3_of_a_recording_with_silent_ends_stays_aligned(tmp_path):
    silence = np.zeros((7001, 2))
    one = recording(tmp_path / "clip.wav", np.concatenate([silence, melody(), silence]), 44100)
    changed = Mp3Change(128)(one)
    assert changed.shape == one.waveform.shape
    assert delay(one.waveform, changed) == 0


def test_mp3_needs_a_library_that_writes_it(tmp_path, monkeypatch):
    one = recording(tmp_path / "clip.wav", melody(), 44100)
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "wav"})
    with pytest.raises(
        FileError, match=r"clip.wav: libsndfile .* cannot write mp3, version 1.1 or later can"
    ):
        Mp3Change(128)(one)


@pytest.mark.parametrize(
    ("frames", "start", "expected"),
    [
        (470, 20, 157),
        (470, 120, 0),
        (EXCERPT_FRAMES + 78, 0, 78),
        (EXCERPT_FRAMES + 77, 0, None),
        (EXCERPT_FRAMES + 100, 50, None),
        (20, 0, None),
    ],
)
def test_another_excerpt_lies_as_far_away_as_it_can(frames, start, expected):
    assert baseline.other_start(frames, start) == expected


# Rows


def test_rows_have_every_clip_under_every_change(rows, run):
    validate_rows(rows)
    names = run.part("test").clips
    for change in NATURAL_CHANGES:
        assert tuple(rows.loc[rows["objective"] == change, "clip"]) == names
    assert tuple(rows.loc[rows["objective"] == OTHER_EXCERPT, "clip"]) == names[:1]
    assert len(rows) == 3 * len(NATURAL_CHANGES) + 1


def test_rows_say_what_they_are(rows, run):
    values = rows[["run", "system", "seed", "split", "protocol", "attack", "norm"]].drop_duplicates()
    assert values.to_numpy().tolist() == [
        [run.name, "A2M2E", 6, "test", "natural-1", "natural", "none"],
    ]
    counted = rows[["iterations", "forward_passes", "gradient_passes", "converged"]].drop_duplicates()
    assert counted.to_numpy().tolist() == [[0, 1, 0, False]]
    assert rows["epsilon"].isna().all()


def test_settings_name_the_numbers(rows, run):
    start = places(run)[run.part("test").clips[0]][1]
    settings = rows.drop_duplicates("objective").set_index("objective")["settings"]
    assert settings["mp3 128 kb/s"] == "Mp3(kilobits=128)"
    assert settings["6 dB down"] == "Gain(decibels=-6.0)"
    frames = len(run.material.prepared.spectrograms[run.material.prepared.places(run.part("test").clips)[0]])
    assert settings[OTHER_EXCERPT] == (
        f"OtherExcerpt(start={baseline.other_start(frames, start)}, instead_of={start})"
    )


def test_norms_and_predictions_belong_to_the_changed_excerpt(rows, run, recordings):
    clips, own = run.part("test"), rows[rows["objective"] == "6 dB up"]
    changed = np.stack(
        [excerpt_of(run, GainChange(6.0)(recordings[name]), places(run)[name][1]) for name in clips.clips]
    )
    delta = (changed.astype(np.float64) - clips.inputs.numpy()).reshape(len(clips), -1)
    np.testing.assert_allclose(own["l2"], np.linalg.norm(delta, axis=1), rtol=1e-6)
    np.testing.assert_allclose(own["linf"], np.abs(delta).max(axis=1), rtol=1e-6)
    with torch.no_grad():
        message = run.recogniser(torch.from_numpy(changed))
        clean = run.recogniser(clips.inputs)
    for kind, prediction in (("adversarial", message), ("clean", clean)):
        np.testing.assert_allclose(values_of(own, kind), prediction.emotions, atol=1e-6)
        concepts = values_of(own, kind, run.recogniser.concepts)
        np.testing.assert_allclose(concepts, prediction.concepts, atol=1e-6)


def test_another_excerpt_is_no_perturbation(rows):
    other = rows["objective"] == OTHER_EXCERPT
    assert rows.loc[other, ["l2", "linf"]].isna().all(axis=None)
    assert rows.loc[~other, ["l2", "linf"]].notna().all(axis=None)
    assert (values_of(rows[other], "adversarial") != values_of(rows[other], "clean")).all()


def test_rows_are_written_once_and_read_the_next_time(rows, run):
    path = run.folder / "attacks" / "natural-1.csv"
    assert path == run.files.natural()
    before = path.stat().st_mtime_ns
    again = baseline.natural(run)
    assert path.stat().st_mtime_ns == before
    pd.testing.assert_frame_equal(again, rows, check_dtype=False)


def test_a_variation_that_is_registered_later_is_added(rows, run, tmp_path, monkeypatch):
    copy = dataclasses.replace(run, folder=shutil.copytree(run.folder, tmp_path / run.name))
    monkeypatch.setattr(NATURAL_CHANGES, "_parts", {**NATURAL_CHANGES, "1 dB up": GainChange(1.0)})
    more = baseline.natural(copy)
    pd.testing.assert_frame_equal(more.head(len(rows)), rows, check_dtype=False)
    assert set(more["objective"].tail(len(more) - len(rows))) == {"1 dB up"}
    assert len(baseline.natural(copy)) == len(more)


@pytest.mark.parametrize(("module", "name"), [(baseline, "natural"), (graded, "graded")])
def test_one_process_at_a_time_measures_a_run_and_who_waited_reads(run, monkeypatch, module, name):
    measured, part = getattr(module, name)(run, "validation"), "validation"
    protocol = measured["protocol"][0]
    finished = run.files.natural(part, protocol).rename(run.folder / "aside.csv")
    monkeypatch.setattr(locking, "PROTOCOL_PATIENCE", 0.1)
    monkeypatch.setattr(Recording, "read", lambda *arguments: pytest.fail("measured again"))
    with (
        FileLock(run.files.lock(protocol, part)),
        pytest.raises(TenutoError, match=f"another process is running {protocol} on its validation clips"),
    ):
        getattr(module, name)(run, part)

    @contextlib.contextmanager
    def other_process_ends(*arguments):
        finished.rename(run.files.natural(part, protocol))
        yield

    monkeypatch.setattr(module, "one_process", other_process_ends)
    pd.testing.assert_frame_equal(getattr(module, name)(run, part), measured, check_dtype=False)
    run.files.natural(part, protocol).unlink()


def test_a_run_that_cannot_be_written_is_refused_before_anything_is_measured(run, tmp_path, monkeypatch):
    copy = dataclasses.replace(run, folder=shutil.copytree(run.folder, tmp_path / run.name))
    shutil.rmtree(copy.files.attacks)
    copy.files.attacks.touch()
    monkeypatch.setattr(Recording, "read", lambda *arguments: pytest.fail("measured"))
    with pytest.raises(FileError, match="attacks"):
        baseline.natural(copy)


def test_a_recording_that_is_gone_is_named(run):
    path = places_of(run, "train")[0]
    content = path.read_bytes()
    path.unlink()
    try:
        with pytest.raises(FileError, match=f"{path.name}: cannot read"):
            baseline.natural(run, "train")
    finally:
        path.write_bytes(content)
    assert not run.files.natural("train").exists()


def places_of(run, part):
    prepared = run.material.prepared
    return [prepared.index.paths[row] for row in prepared.places(run.part(part).clips)]


def test_other_parts_have_their_own_file_and_progress_counts_clips(run):
    done: list[int] = []
    baseline.natural(run, "validation", done.append)
    assert done == [1] * len(run.part("validation"))
    assert (run.folder / "attacks" / "natural-1-validation.csv").is_file()


def test_rows_are_computed_with_the_threads_of_the_run(run, tmp_path, monkeypatch):
    """Whatever this process computed with before: an interrupted study goes on in another one."""
    monkeypatch.setattr(
        "tenuto.evaluation.records.arithmetic", lambda device: f"{torch.get_num_threads()} threads"
    )
    threads = torch.get_num_threads() + 1
    monkeypatch.setattr(type(run), "threads", property(lambda self: threads))
    copy = dataclasses.replace(run, folder=shutil.copytree(run.folder, tmp_path / run.name))
    monkeypatch.setattr(baseline, "NATURAL_CHANGES", {"6 dB up": GainChange(6.0)})
    (copy.folder / "attacks" / "natural-1.csv").unlink(missing_ok=True)
    assert baseline.natural(copy)["versions"].str.endswith(f"{threads} threads").all()


# Summary


def test_a_summary_has_a_line_per_change_with_its_clips(rows):
    result = summary(rows).set_index("change")
    assert tuple(result.index) == (OTHER_EXCERPT, *NATURAL_CHANGES)
    assert result.loc[OTHER_EXCERPT, ["clips", "skipped"]].tolist() == [1, 2]
    assert result.loc["6 dB up", ["clips", "skipped"]].tolist() == [3, 0]
    own = rows[rows["objective"] == "noise 20 dB"]
    label, clean, changed = (values_of(own, kind) for kind in VALUE_KINDS)
    line = result.loc["noise 20 dB"]
    assert line["moved"] == pytest.approx(np.abs(changed - clean).mean())
    assert line["clean_mae"] == pytest.approx(np.abs(clean - label).mean())
    assert line["mae"] == pytest.approx(np.abs(changed - label).mean())


def test_one_clip_has_an_error_and_no_correlation(rows):
    line = summary(rows).set_index("change").loc[OTHER_EXCERPT]
    assert pd.isna(line["correlation"])
    assert line["mae"] > 0


def test_a_change_that_no_clip_has_room_for_keeps_its_line(rows):
    result = summary(rows[rows["objective"] != OTHER_EXCERPT]).set_index("change")
    assert result.loc[OTHER_EXCERPT, ["clips", "skipped"]].tolist() == [0, 3]
    assert result["moved"].isna().tolist() == [True] + [False] * len(NATURAL_CHANGES)


def test_a_run_that_lacks_a_change_is_named(rows):
    other = rows[rows["objective"] != "noise 20 dB"].assign(run="other")
    assert lacking(summary(rows)) == []
    assert lacking(summary(pd.concat([rows, other]))) == [
        "No rows of noise 20 dB of other; its means leave them out: `tenuto natural RUN` adds them."
    ]


def test_stereo_is_coded_as_stereo(tmp_path):
    one = recording(tmp_path / "clip.wav", melody(channels=2), 44100)
    samples, rate = decode(one.path)
    (tmp_path / "coded.mp3").write_bytes(encode(samples, rate, 128, str(one.path)))
    assert decode(tmp_path / "coded.mp3")[0].shape == samples.shape


def test_rows_of_earlier_weights_are_refused(run, tmp_path):
    folder = shutil.copytree(run.folder, tmp_path / run.name)
    copy = dataclasses.replace(run, folder=folder)
    baseline.natural(copy)
    save(
        RunFolder(folder).checkpoint, dataclasses.replace(run.recogniser, width=2 * run.recogniser.width), {}
    )
    with pytest.raises(CheckpointError, match="was made with other weights"):
        baseline.natural(copy)


def test_changes_are_predicted_without_tf32(run, tmp_path, monkeypatch):
    copied = dataclasses.replace(run, folder=shutil.copytree(run.folder, tmp_path / run.name))
    allowed = []

    def recorded(*arguments):
        allowed.append(torch.backends.cudnn.allow_tf32)
        return predict(*arguments)

    monkeypatch.setattr(baseline, "predict", recorded)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    inputs, clips = run.recogniser.inputs, run.part("test").clips
    changed = baseline.changes(run.material.prepared, inputs, clips, ["6 dB up"])
    baseline.write_changes(copied, "test", changed)
    assert allowed == [False, False]
    assert torch.backends.cudnn.allow_tf32
