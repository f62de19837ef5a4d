"""Attributions of the clips of a run, and attacks on them."""

from __future__ import annotations

from typing import Any

import torch

from tenuto.api.progress import SILENT, Progress
from tenuto.attacks import Budget, Region
from tenuto.attacks.calling import as_doubles
from tenuto.devices import repeatable
from tenuto.errors import ConfigError, ModelError, did_you_mean
from tenuto.evaluation.attribution import (
    SEGMENTS,
    Attribution,
    Grid,
    attribute,
    check_method,
    plane,
    segment_slices,
    segment_table,
)
from tenuto.evaluation.attribution_attack import DEFAULT_STEPS, entries_of, find_region, move_attribution
from tenuto.evaluation.runs import OpenedRun
from tenuto.models.systems import for_attack


@repeatable
def attribute_clip(
    run: OpenedRun,
    clip: str,
    emotion: str | None = None,
    method: str = "integrated-gradients",
    budget: Budget | None = None,
    region: Region | None = None,
    segments: Grid = SEGMENTS,
    steps: int = DEFAULT_STEPS,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Attribution:
    """Attribute the prediction for a clip to parts of its input. Arguments and errors as in `Run.attribute`."""
    check_method(method)
    emotions, inputs = run.recogniser.emotions, run.recogniser.inputs
    if emotion is not None and emotion not in emotions:
        raise ConfigError(f"emotion {emotion!r} is unknown. {did_you_mean(emotion, emotions)}")
    if region is not None and budget is None:
        raise ConfigError(f"{region!r} is where an attack may change the clip: give its budget too.")
    if not run.recogniser.has_gradient and (method != "occlusion" or budget is not None):
        raise ConfigError(
            f"{run.name}: no gradient flows through this model. Use `method=occlusion` without a budget."
        )
    part = run.part(run.part_of(clip))
    example = part.inputs[part.clips.index(clip)]
    segment_slices(plane(example).shape, segments)  # both are refused before minutes of attacks
    inputs.check_region(region)
    if region is not None:
        entries_of(region, example, inputs.axes)
    model = for_attack(run.recogniser.network)
    try:
        with torch.no_grad():
            both = model(torch.stack([example, torch.zeros_like(example)])).emotions
    except ModelError as error:
        raise ModelError(
            f"{error} Its inputs were the clip and the baseline, which is 0 everywhere."
        ) from error
    output = int(both[0].argmax()) if emotion is None else emotions.index(emotion)
    values = attribute(model, example, output, method, segments)
    change = shares = None
    if budget is not None:
        settings: dict[str, Any] = {
            "method": method,
            "segments": segments,
            "steps": steps,
            "seed": seed,
            "axes": inputs.axes,
            "valid_range": inputs.valid_range,
        }
        with progress.bar("attack on the attribution", steps) as advance:
            change = move_attribution(model, example, output, budget, **settings, progress=advance)
        if region is not None:
            with progress.bar("attack on the region", steps) as advance:
                shares = find_region(model, example, output, budget, region, **settings, progress=advance)
    return Attribution(
        clip,
        run.name,
        emotions[output],
        method,
        float(both[0, output]),
        float(both[1, output]),
        as_doubles(plane(example)),
        values,
        segment_table(values, inputs.axes, segments),
        change,
        shares,
    )
