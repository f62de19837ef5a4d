"""Attacked waveforms of a network of log spectrograms: shown, played, put into a gallery, and fitted for all clips."""

from __future__ import annotations

import html
import io
import re
import shutil

import numpy as np
import pytest
import soundfile
import torch

from tenuto.api import gallery
from tenuto.api.progress import SILENT
from tenuto.api.runs import with_progress
from tenuto.attacks import FGSM, PGD, SNR, OneEmotion
from tenuto.attacks.parsing import single
from tenuto.attacks.universal import Universal
from tenuto.audio import perceptual
from tenuto.audio.masking import noise_to_mask_db
from tenuto.data import prepare
from tenuto.errors import ConfigError, DataError
from tenuto.evaluation.resynthesis import resynthesise_clips
from tenuto.evaluation.robustness import attack
from tenuto.evaluation.runs import open_run
from tenuto.evaluation.universal import universal
from tenuto.files import read_safetensors
from tenuto.store.perturbations import Perturbations, row_of, saved_rows
from tenuto.store.rows import values_of
from tenuto.training.loop import train
from tests import corpora, small_runs

ATTACK = single(PGD(SNR(30), steps=3))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("played")
    prepared = prepare(corpora.soundtracks(root / "data", 30, seconds=12.0), root / "cache", workers=1)
    opened = open_run(train(small_runs.settings("A2E", epochs=1), prepared, root / "runs"), prepared)
    attack(opened.in_sound(), ATTACK)
    return opened


@pytest.fixture(scope="module")
def clip(run):
    return run.part("test").clips[0]


@pytest.fixture(scope="module")
def played(run, clip):
    """The first test clip, from the run whose own inputs are spectrograms."""
    (result,) = resynthesise_clips(run, saved_rows(run.files), [clip])
    return result


def test_the_attacked_waveform_itself_is_played(run, clip, played):
    sound = run.in_sound()
    place = sound.part("test").clips.index(clip)
    window = sound.part("test").inputs[place].numpy().astype(np.float64)
    delta = Perturbations(run.files)[row_of(saved_rows(run.files), clip)].astype(np.float64)
    assert played.is_played
    assert len(played.samples_after) == len(window) == sound.recogniser.inputs.window
    expected = (window + delta) * played.gain * 32767
    assert np.abs(played.samples_after - expected).max() <= 0.51
    assert played.clean.shape == (313, 149)
    assert len(played.second_shares) == 10


def test_its_predictions_are_those_of_the_row(run, clip, played):
    row = row_of(saved_rows(run.files), clip)
    for state, kind in (("before", "clean"), ("after", "adversarial")):
        expected = [row[f"{kind}_{name}"] for name in run.recogniser.emotions]
        assert list(played.emotions[state].values()) == pytest.approx(expected, abs=1e-5)
    assert played.survival == pytest.approx(1, abs=0.1)


def test_its_audibility_is_measured(run, clip, played):
    window = run.in_sound().part("test").inputs[run.part("test").clips.index(clip)]
    delta = torch.from_numpy(Perturbations(run.files)[row_of(saved_rows(run.files), clip)])
    assert played.snr_db == pytest.approx(30, abs=0.05)
    assert played.nmr_db == pytest.approx(float(noise_to_mask_db(delta, window)), abs=0.01)
    row = row_of(saved_rows(run.files), clip)
    if perceptual.is_installed():  # the row's is of the perturbation before it is rounded to 16 bits
        assert row["perceptual"] == pytest.approx(played.perceptual, abs=0.01)
    else:
        assert played.perceptual is None
        assert "perceptual" not in row
    assert played.noise_to_mask.shape[1] == len(played.critical_hz) == 23


def test_the_amplified_difference_is_as_loud_as_the_music_or_as_full_scale_allows(played):
    before, difference, amplified = (
        soundfile.read(io.BytesIO(played.sound(which)), dtype="int16")[0].astype(float)
        for which in ("before", "difference", "amplified")
    )
    np.testing.assert_allclose(amplified, difference * played.difference_gain, atol=1)
    is_as_loud = np.linalg.norm(amplified) == pytest.approx(np.linalg.norm(before), rel=1e-3)
    assert played.difference_gain > 10
    assert np.linalg.norm(amplified) <= 1.001 * np.linalg.norm(before)
    assert is_as_loud or np.abs(amplified).max() == pytest.approx(32767, abs=1)


def test_a_gallery_plays_every_run_at_every_budget(run, clip, tmp_path, undrawn):
    opened = with_progress(run, SILENT)
    made = gallery([opened, opened], tmp_path / "gallery.html", clip)
    page = made.path.read_text("utf-8")
    assert [one.clip for one in made.clips] == [clip, clip]
    assert page.count("<audio") == 2 * 3
    assert page.count("data:audio/flac;base64,") == 2 * 3
    assert all(source.startswith("data:") for source in re.findall(r' (?:src|href)="([^"#][^"]*)"', page))
    assert html.escape(f"Clip {clip}") in page
    assert made.bytes == len(page.encode())


def test_a_gallery_chooses_clips_by_how_far_they_move(run, tmp_path, undrawn):
    made = gallery(with_progress(run, SILENT), tmp_path / "gallery.html", 2)
    moves = [one.effect["after"] for one in made.clips]
    assert len(moves) == 2
    assert moves[0] > moves[1]


def test_a_gallery_refuses_what_is_not_there(run, tmp_path):
    opened, out = with_progress(run, SILENT), tmp_path / "gallery.html"
    with pytest.raises(ConfigError, match="runs is empty"):
        gallery([], out)
    for clips, message in ((0, "clips must be a whole number of at least 1"), ([], "clips is empty")):
        with pytest.raises(ConfigError, match=message):
            gallery(opened, out, clips)
    with pytest.raises(DataError, match="clip nothing has 0 rows"):
        gallery(opened, out, "nothing")
    assert not out.exists()


def test_a_gallery_compares_one_protocol(run, clip, tmp_path, undrawn):
    prepared, first = run.material.prepared, with_progress(run, SILENT)
    both = open_run(shutil.copytree(run.folder, tmp_path / "both" / run.name), prepared)
    attack(both.in_sound(), single(FGSM(SNR(30))))
    made = gallery([first, with_progress(both, SILENT)], tmp_path / "gallery.html", clip)
    assert len({one.attack["protocol"] for one in made.clips}) == 1
    assert len(made.clips) == 2
    protocol = made.clips[0].attack["protocol"]
    for path in both.files.attacks.glob(f"{protocol}.*"):
        path.unlink()
    with pytest.raises(ConfigError, match=f"no perturbations of test clips by {protocol}"):
        gallery([first, with_progress(both, SILENT)], tmp_path / "other.html", clip)


@pytest.fixture(scope="module")
def fitted(run, tmp_path_factory):
    """A universal perturbation at 20 dB, and its folder."""
    folder = tmp_path_factory.mktemp("universal")
    fit = Universal(SNR(20), objective=OneEmotion(0, True), epochs=1)
    return universal(run.in_sound(), fit, folder, shifts=(0.0, 5.0)), folder


def test_a_universal_perturbation_keeps_the_ratio_for_every_clip(run, fitted):
    rows = fitted[0].rows
    levels = run.in_sound().part("test").inputs.double().norm(dim=1)
    assert rows["snr_db"].min() > 20 - 1e-4
    assert rows["nmr_db"].notna().all()
    for _, part in rows.groupby("attack"):
        ratios = 20 * np.log10(levels.numpy() / part["l2"].to_numpy())
        assert (ratios > 20 - 1e-4).all()
        assert ratios == pytest.approx([20] * len(part), abs=0.1)  # less where it would leave full scale
    assert set(rows["unit"]) == {"samples (full scale 1)"}


def test_a_universal_perturbation_of_a_waveform_is_a_file(fitted):
    result, folder = fitted
    samples, rate = soundfile.read(folder / "perturbation.wav", dtype="int16")
    shape = read_safetensors(folder / "perturbation.safetensors")[0]["shape"]
    assert rate == 22_050
    assert np.abs(samples.astype(int)).max() == 32767
    np.testing.assert_allclose(samples / 32767 / result.gain, shape, atol=1 / result.gain / 32767)
    assert np.linalg.norm(shape) == pytest.approx(0.1, rel=1e-5)


def test_a_shifted_waveform_is_another_perturbation(fitted):
    rows = fitted[0].rows
    first, second = (
        values_of(rows[rows["attack"] == name], "adversarial") for name in ("Universal", "Universal +5 s")
    )
    assert np.abs(first - second).max() > 1e-5
