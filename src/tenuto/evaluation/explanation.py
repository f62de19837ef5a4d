"""Explain the predictions for a recording: rank among training clips, effects of concepts, curve over time.

In a bottleneck the emotions are a linear function of the concepts, so a prediction is a readable sum: the
prediction of an average training clip plus, per concept, weight x (value - average value). P. W. Koh et al.,
"Concept Bottleneck Models", ICML 2020; effects of concepts on emotions in S. Chowdhury et al., ISMIR 2019.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tenuto.attacks.calling import as_doubles
from tenuto.audio.spectrogram import FRAMES_PER_SECOND
from tenuto.data.excerpts import EXCERPT_FRAMES
from tenuto.data.soundtracks import Soundtracks
from tenuto.display import Displayed, Element
from tenuto.errors import ConfigError
from tenuto.evaluation.linear_head import Head, linear_head
from tenuto.files import own_table, read_csv, write_csv
from tenuto.models.backbone import BackboneNetwork
from tenuto.models.checkpoint import to_array
from tenuto.models.recogniser import read_waveform
from tenuto.models.systems import Network
from tenuto.store.run import BACKGROUND

if TYPE_CHECKING:
    from tenuto.models.recogniser import Recogniser

Values = NDArray[np.float64]

WINDOW_BATCH = 8
HOP_SECONDS = 1.0
SHORTEST_HOP, LONGEST_HOP = 0.01, 3600.0
BAR_COLOUR = "#0072B2"


@dataclasses.dataclass(frozen=True)
class Background:
    """Predictions for the training clips, the reference of an explanation.

    Attributes:
        clips: Names of the n clips.
        emotions: (n, emotions).
        concepts: (n, concepts), (n, 0) without a bottleneck.
    """

    clips: tuple[str, ...]
    emotions: Values
    concepts: Values

    @classmethod
    def of(cls, recogniser: Recogniser, clips: tuple[str, ...], inputs: Tensor) -> Background:
        """Predict training clips, given as inputs (n, ...)."""
        return cls(clips, *_predict(recogniser, torch.split(inputs, WINDOW_BATCH)))

    def write(self, folder: Path, recogniser: Recogniser) -> Path:
        """Keep it in a run folder as ``training_predictions.csv``, with the identity of the weights."""
        columns = _columns(recogniser)
        table = pd.DataFrame(np.hstack([self.emotions, self.concepts]), columns=columns)
        table.insert(0, "weights", identity(recogniser.network))
        table.insert(0, "clip", self.clips)
        return write_csv(folder / BACKGROUND, table)

    @classmethod
    def read(cls, folder: Path, recogniser: Recogniser) -> Background | None:
        """What `write` saved; None where there is no file or the network has other weights."""
        path = folder / BACKGROUND
        if not path.is_file():
            return None
        columns = _columns(recogniser)
        with own_table(path):
            table = read_csv(
                path, columns=("clip", "weights", *columns), text=("clip", "weights"), numbers=columns
            )
        if (table["weights"] != identity(recogniser.network)).any():
            return None
        values = table[columns].to_numpy(np.float64)
        count = len(recogniser.emotions)
        return cls(tuple(table["clip"]), values[:, :count], values[:, count:])

    def place(self, emotions: ArrayLike) -> Values:
        """Percent of training clips with a lower prediction, equal ones counted half; (emotions,) to (emotions,)."""
        values = np.asarray(emotions, np.float64)
        below, equal = (self.emotions < values).mean(axis=0), (self.emotions == values).mean(axis=0)
        return np.asarray(100 * (below + equal / 2))


@dataclasses.dataclass(frozen=True)
class Curve:
    """Predictions along a recording.

    Attributes:
        seconds: Centre of each window (10 s for a network of Tenuto), counted from the first sample that is not silent.
        emotions: By name, a value per window.
        concepts: The same; None without a bottleneck.
    """

    seconds: tuple[float, ...]
    emotions: dict[str, tuple[float, ...]]
    concepts: dict[str, tuple[float, ...]] | None


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation(Displayed):
    """The predictions for one recording and what they consist of.

    For every emotion, ``baseline`` plus the sum of its ``effects`` is its value in ``emotions``.

    Attributes:
        source: Name of the file.
        system: System of the run.
        emotions: Mean over windows, as `Recogniser.predict` gives it.
        places: Percent of training clips with a lower prediction; None where these are not known.
        concepts: Value of each concept or free unit; None without a bottleneck.
        centre: Mean value of each concept over training clips, 0 where these are not known.
        baseline: Prediction where every concept is at its centre.
        effects: Emotion -> concept -> weight x (value - centre).
        curve: The same predictions along the recording.
        training_clips: Number of clips from which places and centre are computed; 0 where these are not known.
        scale: On which values are drawn.
    """

    source: str
    system: str
    emotions: dict[str, float]
    places: dict[str, float] | None
    concepts: dict[str, float] | None
    centre: dict[str, float] | None
    baseline: dict[str, float] | None
    effects: dict[str, dict[str, float]] | None
    curve: Curve
    training_clips: int
    scale: tuple[float, float] = (0.0, 1.0)

    def strongest(self, emotion: str, count: int = 3) -> tuple[list[tuple[str, float]], float]:
        """The concepts with the largest effects on an emotion, and the sum of all others'.

        Raises:
            ConfigError: The system has no concepts.
        """
        if self.effects is None:
            raise ConfigError(f"{self.system} has no concepts, so there are no effects; choose an A2M2E run.")
        ordered = sorted(self.effects[emotion].items(), key=lambda item: -abs(item[1]))
        return ordered[:count], sum(effect for _, effect in ordered[count:])

    def sentence(self, emotion: str, count: int = 3) -> str:
        """One emotion as a musician reads it: ``tension +0.21: dissonance +0.12, modality +0.07, others +0.02``."""
        first, others = self.strongest(emotion, count)
        total = sum(effect for _, effect in first) + others
        parts = [f"{name} {effect:+.2f}" for name, effect in first]
        if self.effects is not None and len(self.effects[emotion]) > count:
            parts.append(f"others {others:+.2f}")
        return f"{emotion} {total:+.2f}: {', '.join(parts)}"

    def _elements(self) -> list[Element]:
        table = pd.DataFrame({"value": self.emotions})
        if self.places:
            table[f"above % of {self.training_clips} training clips"] = pd.Series(self.places).round()
        if self.effects:
            table["because"] = [self.sentence(name) for name in self.emotions]
        return [f"{Path(self.source).name}, predicted by {self.system}", table]

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows: value, bar, place among the training clips, strongest effects."""
        head = ["emotion", "", ""]
        head += [f"above ... of {self.training_clips} training clips"] if self.places else []
        head += ["because"] if self.effects else []
        lines = []
        for name, value in self.emotions.items():
            low, high = self.scale
            width = 100 * min(max((value - low) / (high - low), 0.0), 1.0)
            filled = f'<div style="width:{width:.0f}px;height:0.7em;background:{BAR_COLOUR}"></div>'
            cells = [html.escape(name), f"{value:.2f}", f'<div style="width:100px">{filled}</div>']
            cells += [f"{self.places[name]:.0f} %"] if self.places else []
            cells += [html.escape(self.sentence(name))] if self.effects else []
            lines.append("".join(f'<td style="text-align:left">{cell}</td>' for cell in cells))
        title = html.escape(f"{Path(self.source).name}, predicted by {self.system}")
        header = "".join(f'<th style="text-align:left">{html.escape(cell)}</th>' for cell in head)
        rows = "".join(f"<tr>{line}</tr>" for line in lines)
        return (
            f"<table><caption>{title}</caption><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>"
        )


def explain(
    recogniser: Recogniser,
    source: str | Path | NDArray[np.float32],
    hop_seconds: float = HOP_SECONDS,
    background: Background | None = None,
) -> Explanation:
    """Predict a recording of any length and explain the prediction.

    Args:
        recogniser: The model.
        source: A file, or a waveform (samples,), as `Recogniser.predict` takes it.
        hop_seconds: Distance between the windows of the curve.
        background: Predictions of the training clips; default those kept in the run folder, if any.

    Raises:
        AudioError: The recording cannot be used.
        ConfigError: The hop is not above 0.
    """
    is_path = isinstance(source, str | Path)
    waveform = read_waveform(source, recogniser.inputs.sample_rate)
    profile = recogniser.predict(waveform)
    if background is None and recogniser.path is not None:
        background = Background.read(recogniser.path.parent, recogniser)
    places = None
    if background is not None:
        percents = background.place(list(profile.emotions.values())).tolist()
        places = dict(zip(recogniser.emotions, percents, strict=True))
    return Explanation(
        source=str(source) if is_path else "waveform",
        system=recogniser.system,
        emotions=profile.emotions,
        places=places,
        concepts=profile.concepts,
        **_effects(recogniser, profile.concepts, background),
        curve=_curve(recogniser, waveform, hop_seconds),
        training_clips=0 if background is None else len(background.clips),
        scale=drawn_scale(recogniser.scale),
    )


def drawn_scale(scale: tuple[float, float] | None) -> tuple[float, float]:
    """The scale on which predictions are drawn: the model's own, 0 to 1 for the study's."""
    return (0.0, 1.0) if scale in (None, Soundtracks.label_scale) else scale


def effects(head: Head, concepts: ArrayLike, centre: ArrayLike) -> tuple[Values, Values]:
    """A prediction as a sum over concepts.

    Args:
        head: A head with a bottleneck.
        concepts: (concepts,), their values.
        centre: (concepts,), the values from which effects are counted.

    Returns:
        weight x (value - centre), (emotions, concepts), and the prediction at the centre, (emotions,): the effects of
        an emotion and its prediction at the centre add up to its prediction.
    """
    distance = np.asarray(concepts, np.float64) - np.asarray(centre, np.float64)
    return head.to_emotions[0] * distance, head.emotions(centre)


def identity(network: Network) -> str:
    """Sixteen hexadecimal digits of the weights, to recognise results that were computed with other weights."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(to_array(tensor).tobytes())
    return digest.hexdigest()[:16]


def check_hop(hop_seconds: float) -> None:
    """Raise `ConfigError` for a distance between windows that is out of range."""
    if not SHORTEST_HOP <= hop_seconds <= LONGEST_HOP:
        raise ConfigError(
            f"`hop_seconds` must be {SHORTEST_HOP:g} to {LONGEST_HOP:g}, got {hop_seconds:g}. "
            f"The default is {HOP_SECONDS:g}."
        )


def curve_starts(
    steps: int, hop_seconds: float, window: int = EXCERPT_FRAMES, steps_per_second: float = FRAMES_PER_SECOND
) -> list[int]:
    """First steps of windows every ``hop_seconds``, and of the last one that fits. Raises `ConfigError`.

    >>> curve_starts(400, 1.0)
    [0, 31, 63, 87]
    """
    check_hop(hop_seconds)
    last = max(0, steps - window)
    regular = np.rint(np.arange(0, last, hop_seconds * steps_per_second)).astype(int)
    return sorted({0, last, *map(int, regular[regular < last])})


def _effects(
    recogniser: Recogniser, concepts: Mapping[str, float] | None, background: Background | None
) -> dict[str, Any]:
    """The fields of an `Explanation` that describe the bottleneck."""
    if concepts is None or not isinstance(recogniser.network, BackboneNetwork):
        return dict.fromkeys(("centre", "baseline", "effects"))  # no linear head, no sum over concepts
    units = recogniser.concepts
    centre = np.zeros(len(units)) if background is None else background.concepts.mean(axis=0)
    each, baseline = effects(linear_head(recogniser.network), list(concepts.values()), centre)
    return {
        "centre": dict(zip(units, centre.tolist(), strict=True)),
        "baseline": dict(zip(recogniser.emotions, baseline.tolist(), strict=True)),
        "effects": {
            emotion: dict(zip(units, row.tolist(), strict=True))
            for emotion, row in zip(recogniser.emotions, each, strict=True)
        },
    }


def _curve(recogniser: Recogniser, waveform: NDArray[np.float32], hop_seconds: float) -> Curve:
    """Windows are cut a batch at a time: memory does not grow with the length of the recording."""
    inputs = recogniser.inputs
    steps, rate = inputs.steps(waveform), inputs.steps_per_second
    starts = curve_starts(len(steps), hop_seconds, inputs.window, rate)
    batches = (starts[first : first + WINDOW_BATCH] for first in range(0, len(starts), WINDOW_BATCH))
    windows = (torch.from_numpy(inputs.windows(steps, batch)) for batch in batches)
    emotions, concepts = (values.T for values in _predict(recogniser, windows))
    seconds = (np.asarray(starts) + min(len(steps), inputs.window) / 2) / rate
    return Curve(
        tuple(seconds.tolist()),
        {name: tuple(row.tolist()) for name, row in zip(recogniser.emotions, emotions, strict=True)},
        {name: tuple(row.tolist()) for name, row in zip(recogniser.concepts, concepts, strict=True)}
        if len(concepts)
        else None,
    )


def _predict(recogniser: Recogniser, batches: Iterable[Tensor]) -> tuple[Values, Values]:
    """Emotions (n, emotions) and concepts (n, concepts), (n, 0) without a bottleneck."""
    emotions, concepts = [], []
    with torch.no_grad():
        for batch in batches:
            prediction = recogniser(batch)
            emotions.append(as_doubles(prediction.emotions))
            concepts.append(
                np.empty((len(batch), 0)) if prediction.concepts is None else as_doubles(prediction.concepts)
            )
    return np.concatenate(emotions), np.concatenate(concepts)


def _columns(recogniser: Recogniser) -> list[str]:
    """Names of predictions in a table; an emotion and a concept may share a word."""
    return [
        *(f"emotion_{name}" for name in recogniser.emotions),
        *(f"concept_{name}" for name in recogniser.concepts),
    ]
