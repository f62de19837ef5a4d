"""Test-time intervention: correct concepts, recompute emotions, and measure how much of an attack's damage is undone.

P. W. Koh et al., "Concept Bottleneck Models", ICML 2020 (test-time intervention); correcting the concept with the
largest error first is an order from S. Shin et al., "A Closer Look at the Intervention Procedure of Concept
Bottleneck Models", ICML 2023. Everything behind the features is linear and is computed here in float64.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from tenuto import metrics
from tenuto.attacks.checks import is_number
from tenuto.devices import repeatable
from tenuto.display import Displayed, Element
from tenuto.errors import CheckpointError, ConfigError, ScaleWarning, did_you_mean
from tenuto.evaluation.attacked_clips import Attacked, Clips
from tenuto.evaluation.linear_head import Head, head_gain, linear_head
from tenuto.evaluation.records import Origin, origin_of
from tenuto.evaluation.runs import OpenedRun
from tenuto.models.checkpoint import FREE_UNIT
from tenuto.models.recogniser import Recogniser

Values = NDArray[np.float64]

MOST_CHOICES = 500
"""Up to so many choices of k concepts all are tried (seven concepts have at most 35); above, so many are drawn."""

CLEAN: dict[str, Any] = {"protocol": "", "attack": "", "norm": "", "epsilon": math.nan}
"""The columns of the attack in rows of clean clips."""


@dataclasses.dataclass(frozen=True, repr=False)
class Intervention(Displayed):
    """What correcting concepts does to a run.

    Attributes:
        rows: A row per inputs (clean, or under an attack), target and number k of corrected concepts, with the columns
            `INTERVENTION_COLUMNS`. ``concept`` is the one corrected in this step, ``mae`` the error of the emotions
            after it; ``mean_mae``, ``lowest_mae`` and ``highest_mae`` are over every choice of k concepts, or over 500
            random ones (the extremes also over this one) where there are more; ``repaired`` is the share of the error
            added by the attack that is gone; ``checkpoint`` and ``versions`` are as in an attack's rows. Empty for a
            system without bottleneck.
        clean_mae: Error of the emotions on clean clips, nothing corrected.
        gain: `head_gain` of the network.
        attacks: Per attack its error and how far features and emotions move, see `movement`.
        orders: Per inputs and target the concepts in the order they are corrected, and what that order follows.
    """

    rows: pd.DataFrame
    clean_mae: float
    gain: dict[str, Any]
    attacks: list[dict[str, Any]]
    orders: list[dict[str, Any]]

    def _elements(self) -> list[Element]:
        sentence = f"error of the emotions on clean clips, nothing corrected: {self.clean_mae:.4f}"
        columns = ["protocol", "epsilon", "inputs", "target", "k", "concept", "mae", "mean_mae", "repaired"]
        return [sentence] if self.rows.empty else [sentence, self.rows[columns].reset_index(drop=True)]


@dataclasses.dataclass(frozen=True, repr=False)
class Change(Displayed):
    """Emotions before and after concepts are set.

    Attributes:
        source: A recording, or the clips whose mean this is.
        set: Concept -> its new value.
        before: Emotion -> prediction.
        after: The same after the concepts were set.
    """

    source: str
    set: dict[str, float]
    before: dict[str, float]
    after: dict[str, float]

    @classmethod
    def of(
        cls,
        source: str,
        emotions: Sequence[str],
        values: Mapping[str, float],
        before: ArrayLike,
        after: ArrayLike,
    ) -> Change:
        """From emotions (emotions,) before and after."""
        old, new = (dict(zip(emotions, np.asarray(one).tolist(), strict=True)) for one in (before, after))
        return cls(source, dict(values), old, new)

    @property
    def table(self) -> pd.DataFrame:
        """A line per emotion: ``before``, ``after``, ``change``."""
        table = pd.DataFrame({"before": self.before, "after": self.after})
        return table.assign(change=table["after"] - table["before"])

    def _elements(self) -> list[Element]:
        values = ", ".join(f"{name} {value:.3g}" for name, value in self.set.items())
        return [f"{self.source}, set: {values}", self.table]


ATTACK_KEYS = ("protocol", "attack", "norm", "epsilon", "inputs", "target")
INTERVENTION_COLUMNS = (
    *("run", "system", "seed", *ATTACK_KEYS, "k", "concept"),
    *("mae", "mean_mae", "lowest_mae", "highest_mae", "repaired"),
    *("checkpoint", "versions"),
)


@repeatable
def intervene(run: OpenedRun, protocol: str | None = None) -> Intervention:
    """Correct 0 to all concepts of the test clips, clean and attacked, and measure the error of the emotions.

    Concepts are set to their annotations where the bottleneck learned what the data set rates. Under attack they are
    also set back to the clean clip's own values, which serves free units (A2B2E) just as well.

    Args:
        run: The model and its clips.
        protocol: Whose saved perturbations are used, by the name of the file in ``attacks``; default all.

    Raises:
        ConfigError: No such file.
        CheckpointError: The clips were attacked with other weights.
        DataError: A clip has no perturbation.
    """
    test = Clips(run, "test")
    names = run.files.perturbed_protocols() if protocol is None else [protocol]
    attacked = [attacked_clips for name in names for attacked_clips in test.attacked(name)]
    clean = metrics.mae(test.labels, test.head(test.features))
    attacks = [
        attacked_clips.about | movement(test.head, test.features, attacked_clips.features, test.labels)
        for attacked_clips in attacked
    ]
    orders, tables, origin = [], [], origin_of(run)
    for order, table in _corrections(test, attacked):
        orders.append(order)
        tables.append(_finish(table, order, run, clean, origin))
    rows = (
        pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(INTERVENTION_COLUMNS))
    )
    return Intervention(rows, clean, head_gain(run.recogniser.network), attacks, orders)


def set_concepts(run: OpenedRun, values: Mapping[str, float]) -> tuple[Values, Values]:
    """Emotions of the clean test clips before and after concepts are set, (clips, emotions) each.

    Raises:
        ConfigError: No such concept, or a value that is not finite.
        CheckpointError: The system has no concepts.
    """
    test = Clips(run, "test")
    concepts = test.head.concepts(test.features)
    after = follow(test.head, run.recogniser.concepts, concepts, values, _lowest(run.model))
    return test.head.emotions(concepts), after


def set_concepts_of_recording(
    recogniser: Recogniser, source: str | Path, values: Mapping[str, float]
) -> Change:
    """Emotions of one recording before and after concepts are set.

    Raises:
        AudioError: The recording cannot be used.
        ConfigError: No such concept, or a value that is not finite.
        CheckpointError: The system has no concepts.
    """
    profile = recogniser.predict(source)
    concepts = list((profile.concepts or {}).values())
    after = follow(
        linear_head(recogniser.network), recogniser.concepts, concepts, values, _lowest(recogniser)
    )
    return Change.of(str(source), recogniser.emotions, values, list(profile.emotions.values()), after)


def _lowest(recogniser: Recogniser) -> float:
    """The lower end of the scale of the concepts: ratings may be negative, then those of emotions are too."""
    return min(0.0, recogniser.scale[0]) if recogniser.scale else 0.0


def follow(
    head: Head, names: tuple[str, ...], concepts: ArrayLike, values: Mapping[str, float], lowest: float = 0.0
) -> Values:
    """Emotions (..., emotions) where some of the concepts (..., concepts) are set to given values.

    The scale of the concepts is from ``lowest`` to 1, by which the highest rating is divided.

    Raises:
        ConfigError: No such concept, or a value that is not finite.
        CheckpointError: The system has no concepts.

    Warns:
        ScaleWarning: A value outside the scale of the concepts.
    """
    if head.to_concepts is None:
        raise CheckpointError("the network has no bottleneck, so no concept can be set; choose an A2M2E run.")
    values_after = np.array(concepts, np.float64)
    for name, value in values.items():
        if name not in names:
            raise ConfigError(f"concept {name!r} is unknown. {did_you_mean(name, names)}")
        if not is_number(value):
            raise ConfigError(f"concept {name} is set to {value!r}; it must be a finite number.")
        if not name.startswith(FREE_UNIT) and not lowest <= value <= 1:
            warnings.warn(
                f"concept {name} is set to {value:g}, outside its scale of {lowest:g} to 1. The emotions "
                "mean little.",
                ScaleWarning,
                stacklevel=3,
            )
        values_after[..., names.index(name)] = value
    return head.emotions(values_after)


def correct(
    head: Head, predicted: ArrayLike, target: ArrayLike, labels: ArrayLike, order: tuple[int, ...]
) -> pd.DataFrame:
    """Error of the emotions after k = 0, 1, ... concepts were set to their target.

    Args:
        head: A head with a bottleneck.
        predicted: Predicted concepts, (clips, concepts).
        target: Values the concepts are set to, (clips, concepts).
        labels: (clips, emotions).
        order: Columns of the concepts, first corrected first.

    Returns:
        A row per k: ``k``, ``mae``, and ``mean_mae``, ``lowest_mae``, ``highest_mae`` over the choices of k concepts;
        the mean is that of random orders.
    """
    before, after = np.asarray(predicted, np.float64), np.asarray(target, np.float64)

    def error(chosen: tuple[int, ...]) -> float:
        mixed = before.copy()
        mixed[:, list(chosen)] = after[:, list(chosen)]
        return metrics.mae(labels, head.emotions(mixed))

    table = []
    for k in range(len(order) + 1):
        own, others = error(order[:k]), [error(choice) for choice in choices(len(order), k)]
        table.append(
            {
                "k": k,
                "mae": own,
                "mean_mae": math.fsum(others) / len(others),
                "lowest_mae": min(own, *others),
                "highest_mae": max(own, *others),
            }
        )
    return pd.DataFrame(table)


def choices(count: int, k: int) -> list[tuple[int, ...]]:
    """All choices of k out of ``count`` columns; where there are more than 500, as many drawn with a fixed seed.

    >>> choices(3, 2)
    [(0, 1), (0, 2), (1, 2)]
    """
    if math.comb(count, k) <= MOST_CHOICES:
        return list(itertools.combinations(range(count), k))
    generator = np.random.default_rng(k)
    return [tuple(map(int, generator.permutation(count)[:k])) for _ in range(MOST_CHOICES)]


def movement(head: Head, clean: Values, attacked: Values, labels: Values) -> dict[str, float]:
    """Measure how far an attack moves features and emotions, and how far clean clips are from their mean.

    A model whose emotions move little may be robust (its features move little) or insensitive (its head passes on
    little of any change); these numbers distinguish the two.

    Args:
        head: The linear head.
        clean: (clips, features).
        attacked: (clips, features).
        labels: (clips, emotions).

    Returns:
        ``mae``: error under attack; ``damage``: error added by the attack; ``feature_change`` and
        ``emotion_change``: mean Euclidean change per clip; ``gain``: emotion per feature change, mean over clips;
        ``seen``: mean share of a feature change's squared length in the directions to which the head responds;
        ``clip_feature_spread``, ``clip_emotion_spread``, ``clip_gain``: the same for clean clips against their mean.
    """
    before, after = head(clean), head(attacked)
    features, spread = metrics.distances(clean, attacked)
    emotions, emotion_spread = metrics.distances(before, after)
    visible = np.linalg.norm((attacked - clean) @ _visible(head).T, axis=1)
    return {
        "mae": metrics.mae(labels, after),
        "damage": metrics.mae(labels, after) - metrics.mae(labels, before),
        "feature_change": float(features.mean()),
        "emotion_change": float(emotions.mean()),
        "gain": _mean_ratio(emotions, features),
        "seen": _mean_ratio(visible**2, features**2),
        "clip_feature_spread": float(spread.mean()),
        "clip_emotion_spread": float(emotion_spread.mean()),
        "clip_gain": _mean_ratio(emotion_spread, spread),
    }


def _corrections(test: Clips, attacked: list[Attacked]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """Order and errors of every correction: clean clips first, then every attack; annotations before clean values."""
    if test.head.to_concepts is None:
        return
    validation, names = Clips(test.run, "validation"), test.run.recogniser.concepts
    truth, clean = test.annotations(), test.head.concepts(test.features)
    for attacked_clips in (None, *attacked):
        concepts = clean if attacked_clips is None else test.head.concepts(attacked_clips.features)
        for target, values in (("annotation", truth), ("clean", None if attacked_clips is None else clean)):
            if values is None:
                continue
            size, by = _error_on(validation, target, attacked_clips)
            order = tuple(int(column) for column in np.argsort(-size, kind="stable"))
            about = {
                **(attacked_clips.about if attacked_clips else CLEAN),
                "inputs": "attacked" if attacked_clips else "clean",
                "target": target,
                "by": by,
                "concepts": [names[column] for column in order],
            }
            yield about, correct(test.head, concepts, values, test.labels, order)


def _error_on(validation: Clips, target: str, attacked_clips: Attacked | None) -> tuple[Values, str]:
    """Error of each concept on validation clips, (concepts,), and the name of that error.

    Towards annotations: mean absolute error. Towards clean values, where free units have no common scale: mean
    absolute change of the emotions through the unit, of validation clips under the same attack where they were
    attacked, else from one validation clip to another.
    """
    head = validation.head
    concepts, truth = head.concepts(validation.features), validation.annotations()
    if target == "annotation" and truth is not None:
        return np.abs(concepts - truth).mean(axis=0), "mean absolute error on clean validation clips"
    reach = np.abs(head.to_emotions[0]).mean(axis=0)
    protocol = None if attacked_clips is None else attacked_clips.about["protocol"]
    if attacked_clips is not None and protocol in validation.run.files.perturbed_protocols("validation"):
        for other in filter(attacked_clips.same, validation.attacked(protocol)):
            size = np.abs(head.concepts(other.features) - concepts).mean(axis=0) * reach
            return size, "change of the emotions through the unit, attacked validation clips"
    spread = np.abs(concepts - concepts.mean(axis=0)).mean(axis=0)
    return spread * reach, "change of the emotions through the unit, from validation clip to validation clip"


def _finish(
    table: pd.DataFrame, about: Mapping[str, Any], run: OpenedRun, clean_mae: float, origin: Origin
) -> pd.DataFrame:
    """The errors of one correction as rows of an `Intervention`."""
    rows = table.assign(
        **{key: about[key] for key in ATTACK_KEYS},
        run=run.name,
        system=run.config.system,
        seed=run.config.train.seed,
        **origin,
    )
    rows["concept"] = ["", *about["concepts"]]
    damage = rows["mae"].iloc[0] - clean_mae
    counts = about["inputs"] == "attacked" and damage > 0
    rows["repaired"] = (rows["mae"].iloc[0] - rows["mae"]) / damage if counts else math.nan
    return rows[list(INTERVENTION_COLUMNS)]


def _visible(head: Head) -> Values:
    """Orthonormal directions of the features to which the emotions respond, (rank, features)."""
    _, values, directions = np.linalg.svd(head.composed, full_matrices=False)
    return np.asarray(directions[values > values[0] * 1e-10])


def _mean_ratio(above: Values, below: Values) -> float:
    """Mean of ratios over the clips that have one; NaN where none has."""
    usable = below > 0
    return float((above[usable] / below[usable]).mean()) if usable.any() else math.nan
