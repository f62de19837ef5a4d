"""Attacks on a recording by models from elsewhere: waveforms that are played, and black boxes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import soundfile
import torch

import tenuto
from tenuto.api.progress import Progress
from tenuto.attacks import FGSM, Linf, OneEmotion
from tenuto.errors import ConfigError, RandomModelWarning


class Waves(torch.nn.Module):
    """Two outputs that follow the level of the first and of the second half of a window."""

    def forward(self, waveform):
        first, second = waveform.chunk(2, dim=1)
        return torch.stack([first.square().mean(1), second.square().mean(1)], 1)


class Dropping(Waves):
    """The same with dropout that is never switched off."""

    def forward(self, waveform):
        return torch.nn.functional.dropout(super().forward(waveform) + 1, 0.5, training=True)


def black_box(waveform):
    return Waves()(torch.as_tensor(waveform)).numpy()


def halves(waveform):
    return waveform.reshape(2, -1).std(1)


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "song.wav"
    soundfile.write(path, 0.5 * np.random.default_rng(0).uniform(-1, 1, 8000 * 5), 8000)
    return path


def adopted(model, **settings):
    about = {"scale": (-1, 1), "sample_rate": 8000, "seconds": 2.0, **settings}
    return tenuto.adopt(model, emotions="valence,arousal", **about)


def test_a_waveform_is_attacked_and_played_at_its_own_rate(song):
    result = tenuto.attack_recording(adopted(Waves()), song, objective="arousal+", epsilon=0.01, steps=5)
    assert result.row["attack"] == "APGD"
    assert result.row["unit"] == "samples (full scale 1)"
    assert (result.row["scale_low"], result.row["scale_high"]) == (-1, 1)
    assert result.table["change"].to_dict()["arousal"] > 0
    assert np.abs(result.perturbation).max() == pytest.approx(0.01, rel=1e-4)
    sound = result.resynthesis
    assert (sound.sample_rate, len(sound.samples_after)) == (8000, 16_000)
    assert sound.survival == pytest.approx(1, abs=0.05)
    assert result.start_seconds == pytest.approx(1.5, abs=0.01)


def test_masking_is_computed_at_the_rate_of_the_model(song):
    result = tenuto.attack_recording(
        adopted(Waves()), song, objective="arousal+", norm="masked", db=0, steps=5
    )
    assert "Masked(db=0, sample_rate=8000)" in result.row["settings"]
    assert -1 < result.row["nmr_db"] < 0.1


def test_whether_a_goal_was_reached_is_said(song):
    def attacked(attack, **settings):
        return tenuto.attack_recording(
            adopted(Waves()), song, attack, objective="arousal+", epsilon=0.01, steps=5, **settings
        )

    near, far = (attacked("Minimal", goal=goal) for goal in (1e-4, 3.0))
    assert repr(near).endswith(f"goal reached, objective {near.row['loss']:.4g}")
    assert repr(far).endswith(f"goal not reached, objective {far.row['loss']:.4g}")
    assert attacked("APGD").reached == ""


def test_what_an_attack_or_an_objective_has_itself_is_refused_beside_it(song):
    with pytest.raises(ConfigError, match="norm: belong to an attack by its name"):
        tenuto.attack_recording(adopted(Waves()), song, FGSM(Linf(0.01)), norm="snr")
    with pytest.raises(ConfigError, match=r"scale is for an objective given by name. Set it in OneEmotion"):
        tenuto.attack_recording(adopted(Waves()), song, objective=OneEmotion(0), epsilon=0.01, scale=(0, 1))


def test_a_black_box_is_searched(song):
    model = adopted(black_box)
    assert not model.has_gradient
    result = tenuto.attack_recording(model, song, objective="valence+", epsilon=0.05, queries=20)
    assert result.row["attack"] == "Square"
    assert result.table["change"].to_dict()["valence"] > 0
    with pytest.raises(ConfigError, match="follows a gradient"):
        tenuto.attack_recording(model, song, "APGD", objective="valence+", epsilon=0.05)


def test_files_of_the_user_beside_the_recording_stay(song, undrawn):
    beside = [song.with_suffix(ending) for ending in (".csv", ".png")]
    for path in beside:
        path.write_text("of the user")
    model = adopted(Waves())
    for _ in range(2):  # the files of an earlier attack are replaced
        files = tenuto.attack_recording(model, song, "FGSM", epsilon=0.01).write(song.parent)
        assert {path.stem for path in files} == {
            "song-attack",
            *(f"song-attack-{name}" for name in ("before", "after", "difference")),
        }
    assert {path.read_text() for path in beside} == {"of the user"}


def test_what_has_no_sound_is_written_as_rows_and_perturbation(song, tmp_path):
    class Noted(Progress):
        def note(self, sentence):
            notes.append(sentence)

    notes: list[str] = []
    features = adopted(torch.nn.Linear(2, 2), takes="features", front_end=halves)
    with pytest.warns(RandomModelWarning):
        random = adopted(Dropping())
    for model, reason in ((features, "takes features"), (random, "does not repeat its predictions")):
        with warnings.catch_warnings(action="ignore"):
            result = tenuto.attack_recording(
                model, song, objective="valence+", epsilon=0.1, steps=3, out=tmp_path, progress=Noted()
            )
        assert notes[-1].startswith(f"{model.system}: {reason}")
        assert notes[-1] in result._repr_html_()
        assert "<table" in result._repr_html_()
        assert {path.name for path in tmp_path.glob("song-attack*")} == {
            "song-attack.csv",
            "song-attack.safetensors",
        }
