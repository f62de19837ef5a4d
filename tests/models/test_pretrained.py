"""The models of the package: complete, small, in half precision, and described."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tenuto
from tenuto.files import read_safetensors
from tenuto.store.exported import ModelFolder
from tenuto.store.location import pretrained_models
from tenuto.store.run import BACKGROUND

NAMES = ("a2e-soundtracks", "a2m2e-soundtracks")
MODELS = pretrained_models()
LARGEST = 10_000_000
EMOTIONS = ("valence", "energy", "tension", "anger", "fear", "happy", "sad", "tender")

pytestmark = pytest.mark.skipif(not MODELS, reason="the package has no pretrained models yet")


def test_both_models_are_in_the_package():
    assert sorted(MODELS) == sorted(NAMES)


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return ModelFolder(MODELS[request.param])


def test_the_weights_are_small_checked_and_halved(model):
    assert model.checked_weights().stat().st_size < LARGEST
    assert sum(path.stat().st_size for path in model.path.iterdir()) < LARGEST
    arrays, _ = read_safetensors(model.weights)
    assert {array.dtype for array in arrays.values() if array.ndim > 1} == {np.dtype(np.float16)}


def test_a_model_predicts_plausible_ratings_of_noise(model):
    recogniser = tenuto.load(model.path.name)
    waveform = np.random.default_rng(0).uniform(-1, 1, 250_000).astype(np.float32)
    profile = recogniser.predict(waveform)
    assert tuple(profile.emotions) == EMOTIONS
    assert (recogniser.scale, recogniser.width) == ((0.1, 0.9), 1.0)
    assert all(-0.5 < value < 1.5 for value in profile.emotions.values())
    assert bool(profile.concepts) == model.path.name.startswith("a2m2e")


def test_a_model_knows_its_training_clips_and_is_described(model):
    assert (model.path / BACKGROUND).is_file()
    card = model.card.read_text("utf-8")
    for part in (
        "license: mit",
        "Soundtracks",
        "tenuto train --preset run.yaml",
        "test clips",
        "must not be used",
    ):
        assert part in card
    assert json.loads(model.config.read_text("utf-8"))["precision"] == "float16"
