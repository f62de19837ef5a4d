"""A recogniser judged on a data set: outputs matched by name, predictions converted to the scale of the labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from tenuto.data.base import Index
from tenuto.errors import CheckpointError
from tenuto.models.heads import Prediction
from tenuto.models.recogniser import Recogniser, Scale
from tenuto.models.systems import Network


class Converted(Network):
    """A network with some of its emotions in another order, on another scale. Concepts stay as they are.

    Args:
        network: The network.
        columns: Which of its emotions, in which order.
        factor: Predictions are multiplied by it.
        shift: This is then added.
    """

    def __init__(self, network: Network, columns: Sequence[int], factor: float, shift: float) -> None:
        super().__init__(len(columns), 0, 1.0)
        self.network, self.columns, self.factor, self.shift = network, list(columns), factor, shift
        self.has_gradient = network.has_gradient

    def forward(self, excerpts: Tensor) -> Prediction:
        """Predict the chosen emotions on the new scale."""
        prediction: Prediction = self.network(excerpts)
        emotions = prediction.emotions[:, self.columns] * self.factor + self.shift
        return Prediction(emotions, prediction.concepts)

    def simplify(self) -> None:
        """Make the network faster."""
        self.network.simplify()


def judged_on(
    recogniser: Recogniser, index: Index, ratings: Scale | None = None
) -> tuple[Recogniser, Index, tuple[str, ...]]:
    """A recogniser and a data set with the emotions they share, in the order and on the scale of the data set.

    Args:
        recogniser: The model.
        index: The data set.
        ratings: Lowest and highest rating in its files, which sentences name where labels are on another scale.

    Returns:
        The model as it is judged (the same object where nothing has to be changed), the clips with the shared
        emotions, and a sentence for every thing that was changed.

    Raises:
        CheckpointError: They share no emotion.
    """
    predicted, rated = recogniser.emotions, index.emotions
    partners = _partners(rated, predicted)
    shared = tuple(partners)
    if not shared:
        raise CheckpointError(
            f"the model predicts {', '.join(predicted)}; the data set rates {', '.join(rated)}. Outputs are matched by "
            "name: name the model's outputs as the data set does."
        )
    converted, sentences = converted_to(recogniser, tuple(partners.values()), index.label_scale, ratings)
    if converted.emotions != shared:
        converted = dataclasses.replace(converted, emotions=shared)
    if left_out := [name for name in predicted if name not in partners.values()]:
        sentences.insert(0, f"not rated, left out: {', '.join(left_out)}.")
    if missing_names := [name for name in rated if name not in partners]:
        sentences.insert(0, f"not predicted, left out: {', '.join(missing_names)}.")
        columns = [rated.index(name) for name in shared]
        index = dataclasses.replace(index, emotions=shared, labels=index.labels[:, columns])
    return converted, index, tuple(sentences)


def _partners(rated: Sequence[str], predicted: Sequence[str]) -> dict[str, str]:
    """Rated emotion -> the output of its name. Upper and lower case count only where they tell two names apart."""

    def folded(names: Sequence[str]) -> dict[str, str]:
        alike = [name.casefold() for name in names]
        return {key: name for key, name in zip(alike, names, strict=True) if alike.count(key) == 1}

    outputs, labels = folded(predicted), folded(rated)
    partners = {}
    for name in rated:
        if name in predicted:
            partners[name] = name
        elif name.casefold() in labels and name.casefold() in outputs:
            partners[name] = outputs[name.casefold()]
    return partners


def converted_to(
    recogniser: Recogniser, emotions: tuple[str, ...], scale: Scale, ratings: Scale | None = None
) -> tuple[Recogniser, list[str]]:
    """A recogniser that predicts these of its emotions in this order and on this scale, and what was converted."""
    own = recogniser.scale or scale
    is_same_scale = torch.allclose(torch.tensor(own), torch.tensor(scale))
    if recogniser.emotions == emotions and is_same_scale:
        return recogniser, []
    factor = 1.0 if is_same_scale else (scale[1] - scale[0]) / (own[1] - own[0])
    shift = 0.0 if is_same_scale else scale[0] - own[0] * factor
    columns = [recogniser.emotions.index(name) for name in emotions]
    network = Converted(recogniser.network, columns, factor, shift).eval()
    converted = dataclasses.replace(recogniser, network=network, emotions=emotions, scale=scale)
    if is_same_scale:
        return converted, []
    labels = _ends(scale)
    if ratings is not None and _ends(ratings) != labels:
        labels += f" (ratings {_ends(ratings)} are labels {labels})"
    return converted, [f"predictions are converted from {_ends(own)} to the scale of the labels, {labels}."]


def _ends(scale: Scale) -> str:
    return f"{scale[0]:.3g} to {scale[1]:.3g}"
