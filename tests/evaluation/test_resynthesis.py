"""What an attack did to a clip: planted perturbations with known answers, and what must hold on an attacked run."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from tenuto.attacks import protocol
from tenuto.audio import SAMPLE_RATE, load_audio
from tenuto.data import prepare
from tenuto.data.excerpts import fixed_starts
from tenuto.data.splits import draw
from tenuto.errors import CheckpointError, ConfigError, DataError, FileError
from tenuto.evaluation.resynthesis import STATES, mean_survival, resynthesise, resynthesise_clips
from tenuto.evaluation.robustness import attack
from tenuto.evaluation.runs import open_run
from tenuto.files import read_csv, read_safetensors, write_csv, write_safetensors
from tenuto.models.recogniser import predict
from tenuto.store.perturbations import Perturbations, row_of, saved_rows
from tenuto.store.rows import at_budget, read_rows, write_rows
from tenuto.training.loop import train
from tests import corpora, small_runs
from tests.small_runs import settings

ATTACK = protocol("paper-2025-released", iterations=6, step_size=0.05)
EMOTIONS = ("valence", "energy", "tension", "anger", "fear", "happy", "sad", "tender")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Thirty clips of which the first test clip is longer than an excerpt and the others are shorter."""
    root = tmp_path_factory.mktemp("rated")
    dataset = corpora.midlevel(root / "data", small_runs.CLIPS)
    long = draw(dataset.index, "paper").test[0]
    corpora.write_audio(dataset.index.paths[dataset.index.clips.index(long)], 3, seconds=13)
    return prepare(dataset, root / "cache", workers=1)


@pytest.fixture(scope="module")
def attacked(prepared, tmp_path_factory):
    runs, opened = tmp_path_factory.mktemp("runs"), {}
    for system in ("A2E", "A2M2E"):
        opened[system] = open_run(train(settings(system, epochs=1), prepared, runs), prepared)
        attack(opened[system], ATTACK)
    return opened


@pytest.fixture(scope="module")
def run(attacked):
    return attacked["A2M2E"]


@pytest.fixture(scope="module")
def long(run):
    """The name of the clip that is longer than an excerpt."""
    return run.part("test").clips[0]


@pytest.fixture(scope="module")
def seen(run):
    """All test clips of the bottleneck, under attack."""
    return list(resynthesise_clips(run, saved_rows(run.files), run.part("test").clips))


@pytest.fixture
def copied(run, prepared, tmp_path):
    """A copy of the run, to be changed."""
    folder = tmp_path / run.name
    shutil.copytree(run.folder, folder)
    return open_run(folder, prepared)


def waveform(run, clip):
    index = run.material.prepared.index
    return load_audio(index.paths[index.clips.index(clip)])


def planted(run, clip, delta):
    """The resynthesis of a perturbation of our own, its row made to fit."""
    batch = run.part("test")
    place = batch.clips.index(clip)
    inputs = batch.inputs[[place]]
    both = predict(run.recogniser.network, torch.cat([inputs, inputs + torch.from_numpy(delta)]))
    row = row_of(saved_rows(run.files), clip).copy()
    for kind, values in zip(("clean", "adversarial"), both.emotions.tolist(), strict=True):
        for name, value in zip(EMOTIONS, values, strict=True):
            row[f"{kind}_{name}"] = value
    return resynthesise(run, clip, row, delta, waveform(run, clip))


def vector(result, state):
    return np.array([result.emotions[state][name] for name in EMOTIONS])


def test_before_and_after_are_what_the_rows_say(run, seen):
    rows = saved_rows(run.files).set_index("clip")
    assert [result.clip for result in seen] == list(run.part("test").clips)
    for result in seen:
        for state, kind in (("annotation", "label"), ("before", "clean"), ("after", "adversarial")):
            expected = [rows.loc[result.clip, f"{kind}_{name}"] for name in EMOTIONS]
            np.testing.assert_allclose(vector(result, state), expected, atol=1e-5)
        for name, value in result.concepts["after"].items():
            assert value == pytest.approx(rows.loc[result.clip, f"adversarial_{name}"], abs=1e-5)


def test_every_state_has_every_emotion_and_concept(run, seen):
    for states, names in ((seen[0].emotions, EMOTIONS), (seen[0].concepts, run.recogniser.concepts)):
        assert list(states) == ["annotation", *STATES]
        assert all(tuple(values) == names for values in states.values())


def test_the_way_through_sound_alone_changes_nothing(seen):
    for result in seen:
        assert result.effect["after"] > 100 * result.effect["rendered"]
        np.testing.assert_allclose(vector(result, "rendered"), vector(result, "before"), atol=1e-3)


def test_survival_is_the_projection_of_the_change(seen):
    for result in seen:
        after, heard = (vector(result, state) - vector(result, "before") for state in ("after", "heard"))
        assert result.survival == pytest.approx(after @ heard / (after @ after))
        assert result.effect["after"] == pytest.approx(np.linalg.norm(after))
        assert result.effect["heard"] == pytest.approx(np.linalg.norm(heard))


def test_no_perturbation_has_no_share_that_could_survive(run, long):
    result = planted(run, long, np.zeros((313, 149), np.float32))
    assert result.survival is None
    assert result.effect["after"] == pytest.approx(0, abs=1e-6)
    assert result.snr_db == math.inf
    assert not any(result.band_shares)
    assert result.median_hz is None
    assert result.strongest_second is None
    np.testing.assert_array_equal(result.samples_after, result.samples_before)


def test_an_equaliser_is_a_perturbation_that_survives(run, long):
    # Half of every magnitude, in every frame: a sound has just this spectrogram.
    clean = next(resynthesise_clips(run, saved_rows(run.files), [long])).clean.astype(np.float64)
    halved = np.log10(1 + (10**clean - 1) / 2)
    delta = ((halved - clean) / small_runs.normalisation(run.recogniser.inputs).deviation).astype(np.float32)
    result = planted(run, long, delta)
    assert result.survival == pytest.approx(1.0, abs=0.02)
    assert result.snr_db == pytest.approx(20 * math.log10(2), abs=0.1)
    np.testing.assert_allclose(result.attacked, halved, atol=1e-5)


def test_the_share_sits_where_it_was_put(run, long):
    delta = np.zeros((313, 149), np.float32)
    delta[94:125, 100] = 0.1  # the fourth second
    delta[282:, 30] = -0.05  # 31 frames of the last
    result = planted(run, long, delta)
    assert result.band_shares[100] == pytest.approx(0.8)
    assert result.band_shares[30] == pytest.approx(0.2)
    assert result.second_shares[3] == pytest.approx(0.8)
    assert len(result.second_shares) == 10
    assert result.strongest_second == (3, result.second_shares[3])
    assert result.median_hz == result.band_hz[100]


def test_below_silence_is_counted(run, long):
    deviation = small_runs.normalisation(run.recogniser.inputs).deviation
    clean = next(resynthesise_clips(run, saved_rows(run.files), [long])).clean
    delta = np.zeros((313, 149), np.float32)
    delta[:, :10] = (-clean[:, :10] - 0.5) / deviation
    assert planted(run, long, delta).below_silence == pytest.approx(10 / 149)


def test_the_sound_is_the_excerpt_of_the_recording(run, long, seen):
    result, whole = seen[0], waveform(run, long).astype(np.float64)
    frames = [len(spectrogram) for spectrogram in run.material.prepared.spectrograms]
    start = fixed_starts(frames)[run.material.prepared.index.clips.index(long)]
    first = math.floor(start * SAMPLE_RATE / 31.3)
    assert start > 0
    assert result.start_seconds == pytest.approx(first / SAMPLE_RATE)
    assert len(result.samples_before) == 10 * SAMPLE_RATE
    expected = np.rint(whole[first : first + len(result.samples_before)] * result.gain * 32767)
    np.testing.assert_array_equal(result.samples_before, expected)


def test_a_short_clip_is_repeated_to_ten_seconds(run, seen):
    short = seen[1]
    whole = waveform(run, short.clip)
    assert len(whole) < SAMPLE_RATE
    repeats = math.ceil(313 / len(run.material.prepared.spectrograms[1]))
    assert len(short.samples_before) == pytest.approx(repeats * len(whole), abs=len(whole))
    np.testing.assert_array_equal(
        short.samples_before[: len(whole)], short.samples_before[len(whole) : 2 * len(whole)]
    )
    assert short.start_seconds == 0


def test_sounds_are_files_of_one_length_and_their_difference_is_the_attack(seen):
    before, after, difference = (
        soundfile.read(io.BytesIO(seen[0].sound(which, "wav")), dtype="int16")[0].astype(int)
        for which in ("before", "after", "difference")
    )
    np.testing.assert_array_equal(after - before, difference)
    noise = 10 * np.log10((before**2).sum() / (difference**2).sum())
    assert seen[0].snr_db == pytest.approx(noise)
    played = soundfile.read(io.BytesIO(seen[0].sound("after")), dtype="int16")[0]
    np.testing.assert_array_equal(played, seen[0].samples_after)


def test_the_file_that_is_played_gives_the_predictions_that_are_told(run, seen, tmp_path):
    path = tmp_path / "sound.wav"
    for which, state in (("before", "before"), ("after", "heard")):
        path.write_bytes(seen[0].sound(which, "wav"))
        result = run.recogniser.predict(path).emotions
        assert result == pytest.approx(seen[0].emotions[state], abs=2e-3)


def test_a_new_peak_counts_as_it_does_in_a_file(run, long, tmp_path):
    # A click of twice the peak, in one frame: the front end scales all the rest of the recording down.
    clean = next(resynthesise_clips(run, saved_rows(run.files), [long])).clean.astype(np.float64)
    delta = np.zeros((313, 149))
    louder = np.log10(1 + (10 ** clean[100:104] - 1) * 4)
    delta[100:104] = (louder - clean[100:104]) / small_runs.normalisation(run.recogniser.inputs).deviation
    result = planted(run, long, delta.astype(np.float32))
    assert result.gain < 0.6
    path = tmp_path / "after.wav"
    path.write_bytes(result.sound("after", "wav"))
    values = run.recogniser.predict(path).emotions
    assert values == pytest.approx(result.emotions["heard"], abs=2e-3)
    assert np.abs(vector(result, "heard") - vector(result, "after")).max() > 1e-3


def test_an_unknown_sound_is_refused(seen):
    with pytest.raises(ConfigError, match=r"sound 'afters' is unknown\. Did you mean after"):
        seen[0].sound("afters")


def test_numbers_are_json(seen):
    numbers = json.loads(json.dumps(seen[0].numbers()))
    assert numbers["attack"]["protocol"] == str(ATTACK)
    assert numbers["attack"]["epsilon"] is None
    assert numbers["attack"]["l2"] == pytest.approx(np.linalg.norm(seen[0].perturbation.astype(np.float64)))
    assert sum(numbers["band_shares"]) == pytest.approx(1)
    assert numbers["seconds"] == 10.0
    assert "clean" not in numbers
    assert "samples_after" not in numbers


def test_a_direct_network_has_no_concepts(attacked, long):
    (result,) = list(resynthesise_clips(attacked["A2E"], saved_rows(attacked["A2E"].files), [long]))
    assert result.concepts is None
    assert result.survival is not None


def test_the_mean_leaves_out_clips_without_effect(seen):
    made_up = [dataclasses.replace(seen[0], survival=share) for share in (0.25, None, 0.75)]
    assert mean_survival(made_up) == {"mean": 0.5, "clips": 2, "without_effect": 1}


def test_there_is_no_mean_where_no_clip_moved(seen):
    result = mean_survival([dataclasses.replace(seen[0], survival=None)])
    assert math.isnan(result["mean"])
    assert result["clips"] == 0


def test_another_recording_is_refused(run, long):
    row = row_of(saved_rows(run.files), long)
    with pytest.raises(DataError, match=f"clip {long} has .* frames, the waveform 7"):
        resynthesise(run, long, row, np.zeros((313, 149)), np.ones(4900, np.float32))


def test_a_perturbation_of_another_shape_is_refused(run, long):
    row = row_of(saved_rows(run.files), long)
    with pytest.raises(DataError, match=rf"clip {long} has shape \(3, 149\); it must be \(313, 149\)"):
        resynthesise(run, long, row, np.zeros((3, 149)), waveform(run, long))


@pytest.mark.parametrize("kind", ["clean", "adversarial"])
def test_rows_of_other_weights_are_refused(run, long, kind):
    row = row_of(saved_rows(run.files), long).copy()
    row[f"{kind}_fear"] += 0.01
    with pytest.raises(CheckpointError, match=rf"other weights .*\({kind} ones differ by 0.01\)"):
        resynthesise(run, long, row, Perturbations(run.files)[row], waveform(run, long))


def test_a_run_without_attacks_names_the_command(copied):
    shutil.rmtree(copied.folder / "attacks")
    with pytest.raises(ConfigError, match=r"of test clips\. Make them with `tenuto attack .* --split test`"):
        saved_rows(copied.files)


@pytest.mark.parametrize("protocol", [None, str(ATTACK)])
def test_lost_perturbations_are_named_with_the_rows_that_keep_them_from_being_made(copied, protocol):
    (copied.folder / "attacks" / f"{ATTACK}.safetensors").unlink()
    name = re.escape(str(ATTACK))
    message = rf"{name}\.safetensors: missing, although there are rows\. Delete .*{name}\.csv, then attack"
    with pytest.raises(FileError, match=message):
        saved_rows(copied.files, protocol=protocol)


def test_another_part_needs_an_attack_of_its_own(run):
    assert run.files.perturbed_protocols() == [str(ATTACK)]
    assert run.files.perturbed_protocols("validation") == []
    with pytest.raises(ConfigError, match="no perturbations of validation clips"):
        saved_rows(run.files, "validation")


def test_one_of_several_protocols_is_to_be_chosen(copied):
    attacks = copied.folder / "attacks"
    shutil.copy(attacks / f"{ATTACK}.safetensors", attacks / "other.safetensors")
    write_rows(attacks / "other.csv", read_rows(attacks / f"{ATTACK}.csv").assign(protocol="other"))
    with pytest.raises(ConfigError, match=r"contains other, paper-2025-.* Choose one with `protocol`"):
        saved_rows(copied.files)
    assert len(saved_rows(copied.files, protocol="other")) == 3


def test_rows_keep_the_name_of_their_attack_and_one_budget_is_chosen(copied):
    path = copied.folder / "attacks" / f"{ATTACK}.csv"
    rows = read_csv(path, text=("run", "clip", "norm", "settings")).assign(norm="linf", epsilon=0.1)
    other = rows.assign(epsilon=0.2, worst=False, attack="Noise")
    write_csv(path, pd.concat([rows, other, other.assign(attack="APGD", worst=True)]))
    assert set(saved_rows(copied.files, epsilon=0.2)["attack"]) == {"APGD"}
    with pytest.raises(DataError, match=r"several budgets \(0.1, 0.2\)"):
        saved_rows(copied.files)


def test_rows_of_an_older_kind_are_refused(copied):
    path = copied.folder / "attacks" / f"{ATTACK}.csv"
    write_csv(path, read_csv(path, text=("run", "clip", "norm")).drop(columns=["settings"]))
    with pytest.raises(DataError, match=r"no column settings\. Delete the file"):
        saved_rows(copied.files)


def test_a_clip_without_a_row_is_named(run):
    with pytest.raises(DataError, match=r"clip 999 has 0 rows; there must be one\. "):
        list(resynthesise_clips(run, saved_rows(run.files), ["999"]))


def test_a_missing_perturbation_is_named(copied, long):
    path = copied.folder / "attacks" / f"{ATTACK}.safetensors"
    arrays, about = read_safetensors(path)
    write_safetensors(path, {k: v for k, v in arrays.items() if k.split("/")[1] != long}, about)
    with pytest.raises(DataError, match=rf"no perturbation .*/{long}/perturbation"):
        list(resynthesise_clips(copied, saved_rows(copied.files), [long]))


def test_rows_chosen_for_a_table_serve_a_gallery_too(run, long):
    (result,) = list(resynthesise_clips(run, at_budget(saved_rows(run.files)), [long]))
    assert result.clip == long


def test_clips_know_their_part(run):
    assert run.part_of(run.material.split.validation[0]) == "validation"
    with pytest.raises(DataError, match="clip 'x' is in no part of the split of"):
        run.part_of("x")
