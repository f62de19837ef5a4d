"""Rows of the result of an attack on any model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tenuto.errors import ConfigError, DataError, counted
from tenuto.store.budgets import NORMS
from tenuto.store.rows import validate_rows, write_rows

if TYPE_CHECKING:
    from tenuto.attacks import Attack, AttackResult

INPUTS_UNIT = "units of the inputs"
"""The unit of rows whose writer does not name one."""


def rows_of_result(
    result: AttackResult,
    *,
    attack: Attack | str,
    labels: ArrayLike,
    clips: Sequence[str] | None = None,
    emotions: Sequence[str] | None = None,
    concepts: Sequence[str] = (),
    system: str = "model",
    seed: int = 0,
    run: str | None = None,
    split: str = "test",
    protocol: str | None = None,
    unit: str = INPUTS_UNIT,
    scale: tuple[float, float] | None = None,
    objective: str | None = None,
    norm: str | None = None,
    epsilon: float | None = None,
    out: str | Path | None = None,
) -> pd.DataFrame:
    """Turn the result of an attack into rows, one per clip.

    Args:
        result: What an attack returned, on any model.
        attack: The attack, or its name where it is none of Tenuto's; then give ``norm`` too.
        labels: (n, emotions), or (n,) for one emotion.
        clips: n names, each once; default: their places.
        emotions: Names of the outputs; default: ``output_1``, ``output_2``, ...
        concepts: Names of the concepts, where the result has predictions of them.
        system: What tables call the model.
        seed: Of its training, where there are several trainings of one model.
        run: Name of this training; default: system and seed.
        split: ``test``, ``validation`` or ``train``; curves and statistics use test clips.
        protocol: Name of the set of attacks this one belongs to; default: the name of the attack.
        unit: What epsilon is measured in. Curves and statistics compare rows of one unit only.
        scale: Lowest and highest possible label; default: not recorded.
        objective: What an attack that is given by its name increases.
        norm: Its norm: one of `tenuto.store.budgets.NORMS`, or ``none`` without a budget.
        epsilon: Its budget; default: none.
        out: CSV file to write; default: none.

    Raises:
        ConfigError: Names that do not fit the result, or settings of an attack that has its own.
        DataError: Values that rows cannot have, see `validate_rows`.
    """
    clean = array(result.clean_prediction)
    count, outputs = clean.shape
    label = np.asarray(labels if isinstance(labels, list | tuple) else array(labels), np.float64)
    label = label[:, None] if label.ndim == 1 else label
    if label.shape != clean.shape:
        raise ConfigError(
            f"`labels` has shape {label.shape}; the result has predictions of shape {clean.shape}."
        )
    names = tuple(emotions) if emotions is not None else tuple(f"output_{n + 1}" for n in range(outputs))
    clip_names = [f"{n:03d}" for n in range(count)] if clips is None else [str(clip) for clip in clips]
    for parameter, entries, expected in (("emotions", names, outputs), ("clips", clip_names, count)):
        if len(entries) != expected or len(set(entries)) != expected:
            raise ConfigError(f"`{parameter}` must be {expected} different names, got {', '.join(entries)}.")
    units = result.clean_concepts
    if concepts and (units is None or units.shape[1] != len(concepts)):
        predicted = "none" if units is None else units.shape[1]
        raise ConfigError(
            f"`concepts` names {counted(len(concepts), 'concept')}; the result has {predicted}."
        )
    if isinstance(attack, str):
        if norm not in (*NORMS, "none"):
            allowed = f"{', '.join(NORMS)} or none"
            raise ConfigError(f"`norm` of the attack {attack} must be {allowed}, got {norm!r}.")
        fields: dict[str, Any] = {"attack": attack, "objective": objective or "unknown", "norm": norm}
        fields |= {
            "epsilon": math.nan if epsilon is None else epsilon,
            "settings": attack,
            "uses_label": None,
        }
    elif objective is not None or norm is not None or epsilon is not None:
        raise ConfigError("`objective`, `norm` and `epsilon` are those of the attack. Leave them out.")
    else:
        fields = attack_columns(attack, names, concepts)
    low, high = scale or (math.nan, math.nan)
    table = {
        "run": run or f"{system}-{seed}",
        "system": system,
        "seed": seed,
        "clip": clip_names,
        "split": split,
        "protocol": protocol or str(fields["attack"]),
        "unit": unit,
        "scale_low": low,
        "scale_high": high,
        **result_columns(fields, result, names, label),
        **value_columns("clean", concepts, result.clean_concepts),
        **value_columns("adversarial", concepts, result.adversarial_concepts),
    }
    try:
        rows = validate_rows(pd.DataFrame(table))
    except ValueError as error:  # columns of different lengths
        raise DataError(f"the result does not have one value per clip ({error}).") from error
    if out is not None:
        write_rows(out, rows)
    return rows


def attack_columns(attack: Attack, emotions: Sequence[str], concepts: Sequence[str] = ()) -> dict[str, Any]:
    """What an attack is called in the rows: family, objective, norm, epsilon, and all its settings."""
    return {
        "attack": attack.title,
        "objective": attack.objective_title(tuple(emotions), tuple(concepts)),
        "norm": attack.norm,
        "epsilon": attack.epsilon if math.isfinite(attack.epsilon) else math.nan,
        "settings": repr(attack),
        "uses_label": attack.uses_label,
    }


def result_columns(
    fields: dict[str, Any], result: AttackResult, emotions: Sequence[str], labels: Any
) -> dict[str, Any]:
    """Attack, effort, norms and predictions of every clip. Norms and prediction are of the same perturbation.

    Args:
        named: As `attack_columns` returns it.
        result: The result of the attack.
        emotions: Names of the outputs.
        labels: (n, emotions).
    """
    later = ("settings", "uses_label")
    perturbation = array(result.perturbation).astype(np.float64)
    delta = perturbation.reshape(len(perturbation), -1)
    return {
        **{name: value for name, value in fields.items() if name not in later},
        "iterations": array(result.iterations),
        "forward_passes": array(result.forward_passes),
        "gradient_passes": array(result.gradient_passes),
        "l2": np.linalg.norm(delta, axis=1),
        "linf": np.abs(delta).max(axis=1),
        "converged": array(result.converged),
        **{name: fields[name] for name in later},
        "loss": array(result.loss),
        **{column: array(values) for column, values in result.extra_columns().items()},
        **value_columns("label", emotions, labels),
        **value_columns("clean", emotions, result.clean_prediction),
        **value_columns("adversarial", emotions, result.adversarial_prediction),
    }


def value_columns(kind: str, names: Sequence[str], values: Any) -> dict[str, Any]:
    """The columns of one kind of values (clips, names), one per name; none without values."""
    if values is None:
        return {}
    matrix = array(values)
    return {f"{kind}_{name}": matrix[:, column] for column, name in enumerate(names)}


def array(values: Any) -> Any:
    """The values of a tensor or an array as a NumPy array."""
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
