"""A network of log spectrograms from samples to emotions: its gradient, its predictions, and where frames begin."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tenuto.audio import load_audio
from tenuto.audio.spectrogram import frame_starts, log_spectrogram
from tenuto.data.excerpts import Normalisation
from tenuto.data.inputs import FeatureInputs, FramedWaveformInputs, LogSpectrogramInputs, WaveformInputs
from tenuto.errors import ConfigError
from tenuto.models.checkpoint import load
from tenuto.models.recogniser import Recogniser, predict
from tenuto.models.systems import build, for_attack
from tests import corpora

INPUTS = FramedWaveformInputs()


def recogniser(system="A2B2E", inputs=None):
    torch.manual_seed(0)
    network = build(system, 3, width=0.0625).eval().requires_grad_(False)
    units = tuple(f"unit_{n}" for n in range(7)) if network.has_concepts else ()
    inputs = inputs or LogSpectrogramInputs(Normalisation(0.3, 0.4))
    return Recogniser(network, system, ("joy", "fear", "calm"), units, inputs, "made up", scale=(0.0, 1.0))


@pytest.fixture(scope="module")
def song():
    return corpora.music(1, seconds=25.0).astype(np.float32)


def test_the_gradient_of_the_whole_chain_is_right_in_float64():
    """In a random direction: the whole Jacobian has 221 843 columns. Noise has no bins of magnitude 0, where the
    front end has a kink."""
    network = for_attack(recogniser().in_sound().network).double()
    random = torch.Generator().manual_seed(1)
    clip, direction = (torch.randn(1, INPUTS.window, generator=random, dtype=torch.float64) for _ in range(2))

    def along(step):
        prediction = network(clip / 10 + step * direction)
        return torch.cat([prediction.emotions, prediction.concepts], dim=1)

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(along, (step,), eps=1e-7)


def test_clean_predictions_are_those_of_the_spectrogram(song):
    """At frame 0 the same frames to the last bit; elsewhere frames begin up to one sample earlier."""
    model = recogniser()
    sound, spectrogram = model.in_sound(), model.inputs.steps(song)
    for frame, tolerance in ((0, 1e-6), (101, 1e-3), (len(spectrogram) - 313, 1e-3)):
        excerpt = model.inputs.cut(spectrogram, frame)[None]
        samples = INPUTS.cut(song, INPUTS.start(frame, len(song)))[None]
        own, other = (
            predict(one.network, torch.from_numpy(values))
            for one, values in ((model, excerpt), (sound, samples))
        )
        torch.testing.assert_close(other.emotions, own.emotions, atol=tolerance, rtol=0)
        torch.testing.assert_close(other.concepts, own.concepts, atol=tolerance, rtol=0)


def test_frames_of_a_window_begin_at_most_one_sample_early():
    for frame in range(0, 400, 7):
        early = frame_starts(frame, 313) - (INPUTS.start(frame, 10**7) + frame_starts(0, 313))
        assert set(early) <= {0, 1}


@pytest.mark.parametrize("seconds", [3.0, 10.0, 25.0])
def test_recordings_of_any_length_are_predicted_alike(seconds):
    model, song = recogniser(), corpora.music(2, seconds=seconds).astype(np.float32)
    own, sound = model.predict(song), model.in_sound().predict(song)
    tolerance = 0.05 if seconds < 10 else 1e-3  # a repetition of samples has other frames than one of frames
    assert sound.emotions == pytest.approx(own.emotions, abs=tolerance)


def test_samples_behind_the_end_are_silence():
    """As the front end has it: a clip of ten seconds has all 313 frames."""
    song = corpora.music(3, seconds=10.0).astype(np.float32)
    window = INPUTS.cut(song, 0)
    assert len(window) == INPUTS.window
    assert np.array_equal(window[: len(song)], song)
    assert not window[len(song) :].any()
    assert np.array_equal(log_spectrogram(window)[:313], log_spectrogram(song))


def test_a_clip_without_a_whole_excerpt_is_refused():
    assert INPUTS.refusal(219_796) is None
    assert INPUTS.refusal(219_795) == (
        "has 9.97 s without silence at its ends, an attack on the waveform of this model needs 9.97 s. Leave it out, "
        "or attack spectrograms."
    )


def test_the_front_end_computes_in_float32_inside_autocast(song):
    model, seen = recogniser("A2E").in_sound(), []
    model.network.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    clip = torch.from_numpy(INPUTS.cut(song, 0))[None]
    with torch.no_grad():
        model(clip)
        with torch.autocast("cpu", torch.bfloat16):
            model(clip)
    assert seen[1].dtype == torch.float32
    assert torch.equal(*seen)


def test_a_model_that_takes_waveforms_is_itself():
    model = recogniser(inputs=WaveformInputs(16_000, 2.0))
    assert model.in_sound() is model
    sound = recogniser().in_sound()
    assert sound.in_sound() is sound


def test_a_front_end_of_python_code_is_refused():
    model = recogniser(inputs=FeatureInputs(16_000, 2.0, "own.py:bands", np.abs))
    with pytest.raises(ConfigError, match=r"A2B2E: takes units of own\.py:bands, and no gradient flows"):
        model.in_sound()


@pytest.mark.parametrize("name", ["a2e-soundtracks", "a2m2e-soundtracks"])
def test_predictions_of_real_excerpts_are_those_of_their_spectrograms(name, shared):
    """docs/sound.md states the bound."""
    model = load(name)
    heard = model.in_sound()
    for path in sorted((shared / "soundtracks").rglob("*.mp3"))[:3]:
        waveform = load_audio(path)
        frames = model.inputs.steps(waveform)
        starts = [1, (len(frames) - 313) // 2]
        samples = [heard.inputs.start(start, len(waveform)) for start in starts]
        seen = predict(model.network, torch.from_numpy(model.inputs.windows(frames, starts))).emotions
        played = predict(heard.network, torch.from_numpy(heard.inputs.windows(waveform, samples))).emotions
        assert (seen - played).abs().max() < 2e-4
