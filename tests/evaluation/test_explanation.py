"""An explanation adds up to the prediction, knows its place, and follows a recording in time."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import tenuto
from tenuto.audio import LogSpectrogram, load_audio
from tenuto.data.excerpts import Normalisation
from tenuto.data.inputs import LogSpectrogramInputs
from tenuto.errors import AudioError, CheckpointError, ConfigError, FileError
from tenuto.evaluation import explanation
from tenuto.evaluation.explanation import (
    Background,
    curve_starts,
    explain,
)
from tenuto.evaluation.linear_head import head_gain, linear_head
from tenuto.models import Recogniser, build, checkpoint
from tenuto.store.run import BACKGROUND, RunFolder

EMOTIONS, CONCEPTS = ("valence", "tension"), ("mode", "beat", "noise")


def made(system="A2M2E", seed=0):
    torch.manual_seed(seed)
    network = build(system, emotions=2, concepts=3, width=0.125).eval()
    units = () if system == "A2E" else CONCEPTS
    return Recogniser(
        network, system, EMOTIONS, units, LogSpectrogramInputs(Normalisation(0.4, 0.42)), "f" * 64, 0.125
    )


@pytest.fixture(scope="module")
def recogniser():
    return made()


@pytest.fixture(scope="module")
def song(tmp_path_factory):
    """Twenty-five seconds that do not stay the same."""
    path = tmp_path_factory.mktemp("songs") / "song.wav"
    time = np.arange(25 * 22050) / 22050
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * (200 + 40 * time) * time), 22050)
    return path


@pytest.fixture(scope="module")
def background(recogniser):
    inputs = torch.randn(11, 1, 313, 149, generator=torch.Generator().manual_seed(0))
    return Background.of(recogniser, tuple(f"{n:03d}" for n in range(11)), inputs)


@pytest.fixture(scope="module")
def explained(recogniser, song, background):
    return explain(recogniser, song, background=background)


def test_emotions_and_concepts_are_those_of_predict(recogniser, song, explained):
    profile = recogniser.predict(song)
    assert explained.emotions == profile.emotions
    assert explained.concepts == profile.concepts


def test_baseline_and_effects_add_up_to_the_prediction(explained):
    for name, value in explained.emotions.items():
        assert explained.baseline[name] + sum(explained.effects[name].values()) == pytest.approx(
            value, abs=1e-5
        )


def test_without_training_clips_effects_are_counted_from_zero_and_add_up_too(recogniser, song):
    alone = explain(recogniser, song)
    assert (alone.places, alone.training_clips) == (None, 0)
    assert set(alone.centre.values()) == {0.0}
    bias = recogniser.network.head.emotions.bias.tolist()
    assert list(alone.baseline.values()) == pytest.approx(bias)
    for name, value in alone.emotions.items():
        assert alone.baseline[name] + sum(alone.effects[name].values()) == pytest.approx(value, abs=1e-5)


def test_an_effect_is_weight_times_distance_from_the_mean_training_clip(recogniser, explained, background):
    weight = recogniser.network.head.emotions.weight[1, 2].item()
    mean = background.concepts[:, 2].mean()
    assert explained.centre["noise"] == pytest.approx(mean)
    expected = weight * (explained.concepts["noise"] - mean)
    assert explained.effects["tension"]["noise"] == pytest.approx(expected, rel=1e-6)


def test_background_is_what_the_network_predicts(recogniser, background):
    inputs = torch.randn(11, 1, 313, 149, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        prediction = recogniser(inputs)
    np.testing.assert_allclose(background.emotions, prediction.emotions, atol=1e-5)
    np.testing.assert_allclose(background.concepts, prediction.concepts, atol=1e-5)


def test_the_place_is_the_percentage_below_with_ties_halved():
    values = np.array([[0.1, 0.5], [0.2, 0.5], [0.3, 0.5], [0.4, 0.5]])
    planted = Background(("a", "b", "c", "d"), values, np.empty((4, 0)))
    assert planted.place([0.3, 0.6]).tolist() == [62.5, 100.0]
    assert planted.place([0.0, 0.5]).tolist() == [0.0, 50.0]


def test_a_background_is_read_back_as_it_was_written(recogniser, background, tmp_path):
    background.write(tmp_path, recogniser)
    again = Background.read(tmp_path, recogniser)
    assert again.clips == background.clips
    np.testing.assert_array_equal(again.emotions, background.emotions)
    np.testing.assert_array_equal(again.concepts, background.concepts)


def test_a_background_of_other_weights_is_not_used(recogniser, background, tmp_path):
    background.write(tmp_path, recogniser)
    assert Background.read(tmp_path, made(seed=1)) is None


def test_a_background_of_other_names_is_refused(recogniser, background, tmp_path):
    background.write(tmp_path, recogniser)
    other = dataclasses.replace(recogniser, emotions=("valence", "energy"))
    with pytest.raises(FileError, match=rf"{BACKGROUND}: is damaged \(no column emotion_energy\)"):
        Background.read(tmp_path, other)


def test_a_loaded_run_explains_with_what_lies_in_its_folder(
    recogniser, background, explained, song, tmp_path
):
    checkpoint.save(RunFolder(tmp_path).checkpoint, recogniser, {})
    assert explain(tenuto.load(tmp_path), song).places is None
    background.write(tmp_path, recogniser)
    result = explain(tenuto.load(tmp_path), song)
    assert result.places == explained.places
    assert result.training_clips == 11


def test_a_system_without_bottleneck_has_no_effects(song):
    result = explain(made("A2E"), song)
    assert (result.concepts, result.centre, result.baseline, result.effects) == (None,) * 4
    assert result.curve.concepts is None
    with pytest.raises(ConfigError, match="A2E has no concepts"):
        result.sentence("tension")


@pytest.mark.parametrize(
    ("frames", "hop", "starts"),
    [
        (313, 1.0, [0]),
        (100, 1.0, [0]),
        (314, 1.0, [0, 1]),
        (400, 1.0, [0, 31, 63, 87]),
        (939, 10.0, [0, 313, 626]),
        (940, 10.0, [0, 313, 626, 627]),
        (320, 0.01, list(range(8))),
    ],
)
def test_windows_begin_at_every_hop_and_the_last_one_ends_with_the_recording(frames, hop, starts):
    assert curve_starts(frames, hop) == starts


@pytest.mark.parametrize("hop", [0.0, -1.0, float("nan")])
def test_a_hop_that_leads_nowhere_is_refused(hop):
    with pytest.raises(ConfigError, match=r"must be 0\.01 to 3600"):
        curve_starts(400, hop)


def test_the_curve_holds_the_prediction_of_each_window(recogniser, song):
    curve = explain(recogniser, song, hop_seconds=5).curve
    spectrogram = LogSpectrogram()(torch.from_numpy(load_audio(song))).numpy()
    starts = curve_starts(len(spectrogram), 5)
    assert len(starts) == 4
    with torch.inference_mode():
        inputs = recogniser.inputs.windows(spectrogram, starts)
        prediction = recogniser(torch.from_numpy(inputs))
    for column, name in enumerate(EMOTIONS):
        np.testing.assert_allclose(curve.emotions[name], prediction.emotions[:, column], atol=1e-5)
    for column, name in enumerate(CONCEPTS):
        np.testing.assert_allclose(curve.concepts[name], prediction.concepts[:, column], atol=1e-5)
    assert np.ptp(curve.emotions["tension"]) > 1e-3
    assert curve.seconds[0] == pytest.approx(5.0)
    assert np.diff(curve.seconds)[:-1] == pytest.approx(5.0, abs=0.02)
    assert curve.seconds[-1] == pytest.approx(20.0, abs=0.1)


def test_a_recording_shorter_than_a_window_has_one_point_in_its_middle(recogniser):
    wave = np.sin(np.arange(3 * 22050, dtype=np.float32) / 10)
    result = explain(recogniser, wave)
    assert result.curve.seconds == pytest.approx((1.5,), abs=0.02)
    assert result.curve.emotions["valence"] == pytest.approx((result.emotions["valence"],), abs=1e-5)
    assert result.source == "waveform"


def test_a_recording_that_cannot_be_used_is_named(recogniser, tmp_path):
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(22050), 22050)
    with pytest.raises(AudioError, match=r"silence\.wav"):
        explain(recogniser, path)


def planted(effects):
    """An explanation with given effects on one emotion."""
    curve = explanation.Curve((5.0,), {"tension": (0.6,)}, dict.fromkeys(effects, (0.0,)))
    nothing = dict.fromkeys(effects, 0.0)
    return explanation.Explanation(
        "<b>.mp3",
        "A2M2E",
        {"tension": 0.6},
        None,
        nothing,
        nothing,
        {"tension": 0.39},
        {"tension": effects},
        curve,
        0,
    )


def test_the_sentence_names_the_strongest_concepts_and_sums_the_others():
    result = planted({"mode": 0.07, "dissonance": 0.12, "beat": -0.03, "noise": 0.03, "melody": 0.02})
    assert result.sentence("tension", 2) == "tension +0.21: dissonance +0.12, mode +0.07, others +0.02"
    assert result.strongest("tension", 1)[0] == [("dissonance", 0.12)]


def test_the_sentence_of_few_concepts_has_no_others():
    assert planted({"mode": -0.1}).sentence("tension") == "tension -0.10: mode -0.10"


def test_a_notebook_shows_a_table_and_no_markup_of_the_file_name():
    shown = planted({"mode": -0.1})._repr_html_()
    assert "tension -0.10: mode -0.10" in shown
    assert "&lt;b&gt;.mp3" in shown
    assert "<b>" not in shown


def test_explaining_loads_nothing_that_draws():
    script = "import sys, tenuto.evaluation.explanation; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(tenuto.__file__).parents[1])}
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
    )
    loaded = set(ended.stdout.split())
    assert "tenuto.evaluation.explanation" in loaded
    assert not loaded & {"matplotlib", "tenuto.reporting"}


@pytest.mark.parametrize("system", ["A2E", "A2M2E"])
def test_the_linear_head_is_the_head_of_the_network(system):
    network = made(system).network
    features = torch.randn(5, network.backbone.features)
    with torch.inference_mode():
        expected = network.head(features)
    np.testing.assert_allclose(linear_head(network)(features.numpy()), expected.emotions, atol=1e-5)


def test_concepts_of_a_network_without_bottleneck_are_refused():
    with pytest.raises(CheckpointError, match="no bottleneck"):
        linear_head(made("A2E").network).concepts(np.zeros(32))


def test_head_gain_of_a_direct_head_holds_its_singular_values():
    network = made("A2E").network
    with torch.no_grad():
        network.head.emotions.weight.zero_()
        network.head.emotions.weight[0, 3], network.head.emotions.weight[1, 7] = 2.0, -5.0
    assert head_gain(network) == {
        "largest": 5.0,
        "rank": 2,
        "features": 32,
        "singular_values": {"composed": [5.0, 2.0]},
    }


def test_head_gain_of_each_layer_has_all_its_own_values():
    gain = head_gain(build("A2M2E", emotions=2, concepts=7, width=0.125))
    assert {name: len(values) for name, values in gain["singular_values"].items()} == {
        "composed": 2,
        "concepts": 7,
        "emotions": 2,
    }
    gain = head_gain(build("A2M2E", emotions=8, concepts=7, width=0.125))
    assert len(gain["singular_values"]["composed"]) == gain["rank"] == 7


def test_head_gain_of_a_bottleneck_has_as_many_values_as_units():
    torch.manual_seed(0)
    network = build("A2B2E", emotions=5, concepts=3, width=0.125)
    with torch.no_grad():
        network.head.concepts.weight.zero_()
        network.head.emotions.weight.zero_()
        for unit, (below, above) in enumerate([(3.0, 1.0), (1.0, 4.0), (2.0, 0.5)]):
            network.head.concepts.weight[unit, unit] = below
            network.head.emotions.weight[unit, unit] = above
    gain = head_gain(network)
    assert gain["singular_values"]["composed"] == pytest.approx([4.0, 3.0, 1.0])
    assert gain["singular_values"]["concepts"] == pytest.approx([3.0, 2.0, 1.0])
    assert gain["singular_values"]["emotions"] == pytest.approx([4.0, 1.0, 0.5])
    assert (gain["largest"], gain["rank"]) == (pytest.approx(4.0), 3)
