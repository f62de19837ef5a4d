"""Outputs of a model and emotions of a data set are matched by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tenuto.data.base import Index
from tenuto.data.excerpts import Normalisation
from tenuto.data.inputs import LogSpectrogramInputs
from tenuto.errors import CheckpointError
from tenuto.models.heads import Prediction
from tenuto.models.matching import judged_on
from tenuto.models.recogniser import Recogniser
from tenuto.models.systems import Network


class Counting(Network):
    """Predicts 0, 1, 2, ... for its outputs."""

    def forward(self, excerpts):
        return Prediction(torch.arange(3.0).expand(len(excerpts), 3), None)


def judged(predicted, rated, label_scale=(0.0, 1.0), ratings=None):
    recogniser = Recogniser(
        Counting(3, 0, 1.0),
        "mine",
        predicted,
        (),
        LogSpectrogramInputs(Normalisation(0.0, 1.0)),
        "",
        1.0,
        (0.0, 1.0),
    )
    labels = np.tile(np.arange(len(rated)), (2, 1)) / 10
    index = Index(("a", "b"), (Path("a"), Path("b")), rated, labels, label_scale=label_scale)
    model, data, sentences = judged_on(recogniser, index, ratings)
    return model.emotions, model.network(torch.zeros(1, 1)).emotions[0].tolist(), data.labels[0], sentences


@pytest.mark.parametrize(
    ("predicted", "rated", "shared", "columns"),
    [
        (("x", "y", "z"), ("z", "x", "y"), ("z", "x", "y"), [2, 0, 1]),
        (("valence", "arousal", "z"), ("Arousal", "Valence"), ("Arousal", "Valence"), [1, 0]),
        (("Valence", "valence", "z"), ("valence", "z"), ("valence", "z"), [1, 2]),
        (("Valence", "valence", "z"), ("VALENCE", "z"), ("z",), [2]),
        (("valence", "y", "z"), ("Valence", "VALENCE", "z"), ("z",), [2]),
    ],
)
def test_case_counts_only_where_it_tells_names_apart(predicted, rated, shared, columns):
    emotions, values, labels, sentences = judged(predicted, rated)
    assert (emotions, values) == (shared, columns)
    np.testing.assert_allclose(labels, [rated.index(name) / 10 for name in shared])
    assert any("left out" in sentence for sentence in sentences) is (len(shared) < 3)


@pytest.mark.parametrize(
    ("label_scale", "ratings", "end"),
    [
        ((1 / 9, 1.0), (1.0, 9.0), "labels, 0.111 to 1 (ratings 1 to 9 are labels 0.111 to 1)."),
        ((0.0, 10.0), (0.0, 10.0), "labels, 0 to 10."),
        ((0.0, 10.0), None, "labels, 0 to 10."),
    ],
)
def test_a_conversion_names_the_ratings(label_scale, ratings, end):
    *_, (sentence,) = judged(("x", "y", "z"), ("x", "y", "z"), label_scale, ratings)
    assert sentence == f"predictions are converted from 0 to 1 to the scale of the {end}"


def test_without_a_common_name_both_lists_are_named():
    with pytest.raises(CheckpointError, match=r"predicts x, y, z; the data set rates joy"):
        judged(("x", "y", "z"), ("joy",))
