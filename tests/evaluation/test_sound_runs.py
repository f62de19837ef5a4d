"""A run of a network of log spectrograms, attacked on the samples of its clips."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import tenuto
from tenuto.api.progress import SILENT
from tenuto.api.recordings import attack_recording
from tenuto.api.runs import with_progress
from tenuto.attacks import (
    APGD,
    L2,
    PGD,
    SNR,
    AbsoluteError,
    Gain,
    Linf,
    LowPass,
    Noise,
    OneEmotion,
    Protocol,
    Region,
    Transformations,
    from_dict,
    search,
)
from tenuto.attacks.parsing import single
from tenuto.audio.masking import noise_to_mask_db
from tenuto.data.inputs import FramedWaveformInputs
from tenuto.errors import AttackError, AudioError, ConfigError
from tenuto.evaluation import robustness
from tenuto.evaluation.attacked_clips import Clips
from tenuto.evaluation.runs import Sibling, open_run
from tenuto.files import read_safetensors
from tenuto.models.recogniser import predict
from tenuto.store.rows import values_of
from tenuto.training.loop import train
from tests import corpora, foreign_models, small_runs

UNIT = "samples (full scale 1)"
LADDER = Protocol(
    name="ladder-1",
    version=1,
    description="For tests.",
    attacks=(
        APGD(SNR(20), objective=AbsoluteError(), steps=3),
        Noise(SNR(20), objective=AbsoluteError(), draws=2),
    ),
    budgets=(SNR(60), SNR(30)),
    silence=True,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    prepared = small_runs.sound(root)
    return open_run(train(small_runs.settings("A2B2E", epochs=1), prepared, root / "runs"), prepared)


@pytest.fixture(scope="module")
def rows(run):
    return robustness.attack(run, LADDER)


def saved(run, protocol=LADDER):
    return read_safetensors(run.files.perturbations(protocol))[0]


def test_a_run_in_sound_has_the_same_clips_and_predictions(run):
    sound = run.in_sound()
    assert sound.recogniser.inputs == FramedWaveformInputs()
    assert (sound.name, sound.folder, sound.material.split) == (run.name, run.folder, run.material.split)
    for part in ("validation", "test"):
        own, other = run.part(part), sound.part(part)
        assert other.clips == own.clips
        assert torch.equal(other.labels, own.labels)
        before, after = (
            predict(one.recogniser.network, one.part(part).inputs).emotions for one in (run, sound)
        )
        torch.testing.assert_close(after, before, atol=1e-3, rtol=0)


def test_rows_name_the_inputs_they_were_attacked_in(run):
    assert run.in_unit(run.recogniser.inputs.unit) is run
    sound = run.in_unit(UNIT)
    assert sound.recogniser.inputs.unit == UNIT
    assert sound.in_unit(UNIT) is sound


def test_a_sibling_takes_the_samples_of_a_run_in_sound(run):
    other = small_runs.normalisation(run.recogniser.inputs)
    other = dataclasses.replace(other, deviation=2 * other.deviation)
    inputs = dataclasses.replace(run.recogniser.inputs, normalisation=other)
    sibling = dataclasses.replace(run.recogniser, inputs=inputs)
    samples = run.in_sound().part("test").inputs
    ours = predict(Sibling(run.in_sound(), sibling), samples).emotions
    torch.testing.assert_close(ours, predict(sibling.in_sound().network, samples).emotions)


def test_a_clip_too_short_is_named(tmp_path):
    prepared = small_runs.unrated(tmp_path)
    run = open_run(train(small_runs.settings("A2E", epochs=1), prepared, tmp_path / "runs"), prepared)
    with pytest.raises(AudioError, match=r"^clip \d{3}: has 0\.\d+ s without silence at its ends, an attack"):
        run.in_sound().part("test")


def test_waveforms_need_no_cache_that_can_be_written(run, monkeypatch):
    prepared = run.material.prepared
    expected = prepared.waveform(0, 11_025)
    blocked = prepared.folder / "blocked"
    blocked.write_text("a file, so that no folder of this name can be made")
    again = dataclasses.replace(prepared, folder=blocked).waveform(0, 11_025)
    assert np.array_equal(again, expected)


# Attacks


def test_a_budget_of_waveforms_is_spent_on_waveforms(run, rows):
    assert set(rows["unit"]) == {UNIT}
    assert set(rows["norm"]) == {"snr"}
    budget = np.where(rows["epsilon"] > 0.01, 30, 60)
    assert (rows["snr_db"].isna() == (rows["l2"] == 0)).all()
    assert (rows["snr_db"].fillna(np.inf) > budget - 1e-5).all()
    assert (rows["snr_db"] - budget).min() < 1e-3
    sound = run.in_sound()
    for place, clip in enumerate(sound.part("test").clips):
        waveform = sound.part("test").inputs[place]
        for row in rows[(rows["clip"] == clip) & rows["worst"]].to_dict("records"):
            delta = torch.from_numpy(saved(run)[f"{row['settings']}/{clip}/perturbation"])
            assert float(delta.double().norm()) == pytest.approx(row["l2"])
            ratio = 20 * torch.log10(waveform.double().norm() / delta.double().norm())
            assert row["snr_db"] == pytest.approx(float(ratio), abs=1e-6)
            assert row["nmr_db"] == pytest.approx(float(noise_to_mask_db(delta, waveform)), abs=1e-6)
            assert (waveform + delta).abs().max() <= 1
            emotions = predict(sound.recogniser.network, (waveform + delta)[None]).emotions[0]
            attacked = [row[f"adversarial_{name}"] for name in sound.recogniser.emotions]
            assert emotions.tolist() == pytest.approx(attacked, abs=1e-4)


def test_only_the_worst_perturbations_are_saved_and_written_to_files(run, rows):
    worst = rows[rows["worst"]]
    assert len(worst) == 2 * len(run.part("test"))
    assert set(saved(run)) == {f"{row.settings}/{row.clip}/perturbation" for row in worst.itertuples()}
    columns = ["survives_16_bit", "survives_mp3"]
    assert worst[columns].notna().all().all()
    assert rows.loc[~rows["worst"], columns].isna().all().all()
    assert worst.loc[worst["epsilon"] > 0.01, "survives_16_bit"].between(0.8, 1.2).all()


def test_an_interrupted_attack_goes_on_and_batches_change_next_to_nothing(run, rows, tmp_path):
    place = tmp_path / run.name
    place.mkdir()
    for name in ("config.yaml", "split.csv", "checkpoint.safetensors"):
        (place / name).write_bytes((run.folder / name).read_bytes())
    other, spent = dataclasses.replace(run, folder=place), list[int]()

    def progress(count):
        spent.append(count)
        if sum(spent) >= 17:  # a clip takes 10 iterations, 6 of them for its first member
            raise small_runs.InterruptionError

    with pytest.raises(small_runs.InterruptionError):
        robustness.attack(other, LADDER, batch_size=1, progress=progress)
    spent.clear()
    again = robustness.attack(other, LADDER, batch_size=1, progress=spent.append)
    assert spent[0] == 10
    assert sum(spent) == 10 * len(run.part("test"))
    assert len(again) == len(rows)
    assert set(saved(other)) == set(saved(run))
    # The clips are pure tones. Between them, magnitudes are rounding errors, and so are the phases of gradients.
    keys = ["clip", "attack", "epsilon"]
    for is_ascent, tolerance in ((True, 0.1), (False, 1e-5)):
        first, second = (
            values_of(table[(table["attack"] == "APGD") == is_ascent].sort_values(keys), "adversarial")
            for table in (rows, again)
        )
        assert np.abs(first - second).max() < tolerance


def test_a_run_may_be_attacked_in_both_domains(run):
    own = single(APGD(Linf(0.001), steps=1))
    sound = own.in_domain("waveform")
    first, second = (robustness.attack(run, protocol) for protocol in (own, sound))
    assert set(second["protocol"]) == {f"{own}+domain=waveform"}
    assert set(first["unit"]) != set(second["unit"]) == {UNIT}
    assert "snr_db" not in first
    assert run.files.rows(sound).name == f"{own}+domain=waveform.csv"
    assert saved(run, own).keys() == saved(run, sound).keys()


def test_concepts_are_corrected_under_an_attack_on_waveforms(run, rows):
    clips = Clips(run, "test")
    worst = rows[rows["worst"]].set_index("clip")
    for attacked in clips.attacked(str(LADDER)):
        at_budget = worst[worst["epsilon"] == attacked.about["epsilon"]].loc[list(clips.batch.clips)]
        emotions = clips.head(attacked.features)
        assert np.allclose(emotions, values_of(at_budget, "adversarial"), atol=1e-4)


def test_front_door_names_the_domain(run):
    opened = with_progress(run, SILENT)
    rows = opened.attack(APGD(L2(0.5), steps=1), inputs="waveform")
    assert set(rows["unit"]) == {UNIT}
    with pytest.raises(ConfigError, match=r"SNR\(db=40\).* is for waveforms: leave out"):
        opened.attack(APGD(SNR(40), steps=1), inputs="spectrogram")
    with pytest.raises(ConfigError, match="`inputs` must be waveform or spectrogram, got 'sound'"):
        opened.attack(APGD(SNR(40), steps=1), inputs="sound")  # type: ignore[arg-type]


def test_a_recording_is_attacked_on_its_samples(run, tmp_path):
    path = tmp_path / "song.wav"
    soundfile.write(path, corpora.music(5, seconds=20.0), 22_050)
    name = run.recogniser.emotions[0]
    result = attack_recording(run.recogniser, path, objective=f"{name}+", norm="snr", db=30, steps=3)
    assert result.row["unit"] == UNIT
    assert result.row["snr_db"] >= 30 - 1e-5
    assert result.perturbation.shape == (221_843,)
    assert result.table["change"][name] > 0
    assert result.row[["nmr_db", "survives_16_bit", "survives_mp3"]].notna().all()
    sound = result.resynthesis
    assert sound.snr_db == pytest.approx(result.row["snr_db"], abs=0.1)
    assert len(sound.samples_after) == 221_843
    corpora.write_audio(tmp_path / "short.wav", 1, seconds=5.0)
    with pytest.raises(AudioError, match=r"short\.wav: has 5\.00 s"):
        attack_recording(run.recogniser, tmp_path / "short.wav", objective=f"{name}+", norm="snr", db=30)


def test_a_model_of_waveforms_has_one_domain(tmp_path):
    model = tenuto.adopt(
        foreign_models.waveform(),
        emotions="arousal,joy",
        takes="waveform",
        sample_rate=8000,
        seconds=0.5,
        scale=(-1, 1),
    )
    corpora.write_audio(tmp_path / "song.wav", 1, seconds=2.0)

    def attacked(inputs):
        path = tmp_path / "song.wav"
        return attack_recording(model, path, objective="joy+", epsilon=0.01, steps=2, inputs=inputs)

    own, same = attacked(None), attacked("waveform")
    assert own.row["protocol"] == same.row["protocol"]
    assert own.row[["snr_db", "nmr_db", "survives_16_bit", "survives_mp3"]].notna().all()
    with pytest.raises(ConfigError, match=r"`inputs` is spectrogram, but WaveformCNN takes samples"):
        attacked("spectrogram")


def test_a_silent_excerpt_is_named(run, monkeypatch):
    sound = run.in_sound()
    silent = dataclasses.replace(
        sound.part("test"), inputs=torch.zeros(len(sound.part("test")), sound.recogniser.inputs.window)
    )
    monkeypatch.setattr(type(run), "part", lambda self, name: silent)
    with pytest.raises(AttackError, match=rf"The waveform of clips {silent.clips[0]}.* is silent and has no"):
        robustness.attack(run, single(APGD(SNR(35), steps=1)))


# Some seconds and frequencies, and averages over transformations


LOCALISED = single(APGD(SNR(30), objective=AbsoluteError(), steps=2, region=Region((2, 4), (200, 2000))))
AVERAGED = single(
    APGD(
        Linf(0.01),
        objective=AbsoluteError(),
        steps=2,
        transformations=Transformations((Gain(), LowPass()), draws=2),
    )
)


def test_a_localised_attack_on_samples_is_zero_outside_and_states_what_leaks(run):
    rows = robustness.attack(run, LOCALISED)
    assert set(rows["unit"]) == {UNIT}
    assert rows["leakage_db"].max() < -30
    for delta in saved(run, LOCALISED).values():
        power = np.abs(np.fft.rfft(delta[44_100:88_200].astype(np.float64))) ** 2
        hertz = np.fft.rfftfreq(44_100, 1 / 22_050)
        assert power[(hertz < 200) | (hertz > 2000)].sum() <= 1e-3 * power.sum()
        delta[44_100:88_200] = 0
        assert not delta.any()
    pd.testing.assert_frame_equal(run.files.read_rows(LOCALISED), rows, check_dtype=False)


def test_transformations_attack_the_samples_and_leave_their_effect_in_the_rows(run):
    rows = robustness.attack(run, AVERAGED)
    assert set(rows["unit"]) == {UNIT}
    for name in ("loss", "clean_loss", "error", "clean_error", "moved"):
        assert np.isfinite(run.files.read_rows(AVERAGED)[f"fresh_{name}"]).all()
    (described,) = run.files.read_attacks(AVERAGED).values()
    assert from_dict(described) == AVERAGED.attacks[0]


def test_a_pretrained_model_is_moved_more_in_the_world_by_an_averaged_attack(monkeypatch):
    """A low-pass takes away what the plain attack relies on."""
    monkeypatch.setattr(search, "FRESH_DRAWS", 4)
    recogniser = tenuto.load("a2e-soundtracks").in_sound()
    network, axes = recogniser.network, recogniser.inputs.axes
    time = np.arange(recogniser.inputs.window) / recogniser.inputs.sample_rate
    chord = sum(
        np.sin(2 * np.pi * hertz * time) / (1 + n) for n, hertz in enumerate((110, 220, 277, 330, 880))
    )
    noise = np.random.default_rng(0).standard_normal(len(time))
    waveform = torch.from_numpy((0.2 * chord + 0.02 * noise).astype(np.float32))[None]
    muffled = Transformations((LowPass((500.0, 1000.0)),), draws=2)
    labels = predict(network, waveform).emotions
    plain = PGD(SNR(40), objective=OneEmotion(5), steps=6)
    averaged = dataclasses.replace(plain, transformations=muffled)(network, waveform, labels, axes=axes)
    start = plain(network, waveform, labels).perturbation
    # An attack of no steps from there measures the plain one on the same fresh draws.
    measured = PGD(SNR(40), objective=OneEmotion(5), steps=1, step_size=1e-9, transformations=muffled)(
        network, waveform, labels, axes=axes, start=start
    )
    gains = [
        float(one.columns["fresh_loss"] - one.columns["fresh_clean_loss"]) for one in (measured, averaged)
    ]
    assert gains[1] > 1.3 * gains[0] > 0
