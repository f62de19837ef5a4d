"""What `tenuto.certify` and `Run.certify` share: settings, rows of a run or of any model and inputs, and remarks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from tenuto.analysis.certificates import summary
from tenuto.api.progress import Progress
from tenuto.attacks.base import Examples
from tenuto.attacks.calling import Evaluator, left_as_found
from tenuto.data.batches import Batch
from tenuto.display import Displayed, Element
from tenuto.errors import AttackError, ConfigError, one_line
from tenuto.evaluation import certifying
from tenuto.evaluation.certificates import Smoothing, draws_needed
from tenuto.evaluation.certifying import Request
from tenuto.evaluation.runs import OpenedRun
from tenuto.models.recogniser import Recogniser
from tenuto.models.systems import for_attack

MOST_DRAWS = 100_000
"""Where a bound needs more, a larger sigma is the better advice."""


@dataclasses.dataclass(frozen=True, repr=False)
class Certificates(Displayed):
    """Proven bounds on the predictions of a smoothed model.

    Attributes:
        rows: A line per clip, sigma, radius and output: for every perturbation with an L2 norm up to ``radius``, the
            prediction of the smoothed model is between ``low`` and ``high``, with the confidence that was asked for.
            ``median`` is its prediction without one, ``clean`` that of the model without noise. Bounds are infinite
            (or the ends of the rating scale) where there were too few draws (``bounded`` is False). With an attack
            ``attacked`` is the smoothed prediction under it; the true value is between ``attacked_low`` and
            ``attacked_high`` with probability 0.9999.
        remarks: What limits the rows, a sentence each.
        files: Of a run: the file of rows of every sigma. Rows of other radii may be in it, too.
    """

    rows: pd.DataFrame
    remarks: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def summary(self) -> pd.DataFrame:
        """A line per sigma and radius, see `tenuto.analysis.certificates.summary`."""
        return summary(self.rows)

    def _elements(self) -> list[Element]:
        return [self.summary, *self.remarks]


def certify_run(run: OpenedRun, part: str, request: Request, progress: Progress) -> Certificates:
    """Certify clips of a run."""
    request.check(run.recogniser)
    if request.in_db and not run.recogniser.inputs.is_sound:
        raise ConfigError(
            "`snr_db` is for waveforms, not for `inputs=spectrogram`: leave one of the two out, or give `radius`."
        )
    count = len(run.material.split.part(part))
    count = count if request.clips is None else min(request.clips, count)
    with progress.bar("certify", request.total(count)) as advance:
        rows = certifying.certify(run, part, request, advance)
    files = tuple(
        certifying.rows_file(run, smoothing, part, request.attack_steps) for smoothing in request.smoothings
    )
    return Certificates(rows, _remarks(rows, request.smoothings), files)


def certify_inputs(
    model: Recogniser,
    inputs: Tensor,
    labels: Tensor | None,
    names: Sequence[str] | None,
    request: Request,
    progress: Progress,
) -> Certificates:
    """Certify a recogniser on inputs.

    Raises:
        AttackError: Inputs or labels that are no floating point batch, not finite, or that the model does not take, or
            inputs of 16 bits.
        ConfigError: Labels or names that do not fit the inputs, or dB for a model that takes no waveform.
    """
    if request.in_db and not model.inputs.is_sound:
        raise ConfigError(
            "`snr_db` is for waveforms, but this model takes a log spectrogram or features. Give `radius`, or certify "
            "model.in_sound()."
        )
    request.check(model)
    count, emotions = len(inputs), len(model.emotions)
    clip_names = tuple(map(str, range(count) if names is None else names))
    if len(clip_names) != count or len(set(clip_names)) < count:  # a name stands for the draws of its input
        raise ConfigError(f"names must be {count} different names, one for each of the inputs.")
    if isinstance(labels, Tensor) and labels.shape != (count, emotions):
        raise ConfigError(
            f"labels has shape {tuple(labels.shape)}, must be ({count}, {emotions}): inputs and emotions."
        )
    targets = torch.zeros(count, emotions) if labels is None else labels
    examples = Examples.checked(inputs.to(request.device), targets, clip_names)
    chosen = request.first(Batch(clip_names, examples.inputs, examples.targets, None))
    network = for_attack(model.network).to(request.device)
    _require_prediction(network, examples)
    if examples.inputs.dtype not in (torch.float32, torch.float64):
        raise AttackError(
            f"The inputs are {examples.inputs.dtype}, too coarse for the noise of a certificate: convert them and the "
            "model with .float()."
        )
    with progress.bar("certify", request.total(len(chosen))) as advance:
        tables = [
            certifying.certify_clips(
                network,
                chosen,
                model.emotions,
                smoothing,
                radii,
                scale=model.scale,
                rated=labels is not None,
                attack_steps=request.attack_steps,
                batch_size=request.batch_size,
                progress=advance,
            )
            for smoothing, radii in zip(request.smoothings, request.radii, strict=True)
        ]
    rows = pd.concat(tables, ignore_index=True)
    return Certificates(rows, _remarks(rows, request.smoothings))


def _require_prediction(network: nn.Module, examples: Examples) -> None:
    """Raise `AttackError` where the network cannot predict inputs of this type and shape."""
    first, like = examples.inputs[:1], examples.targets[:1]
    try:
        with left_as_found(network), torch.no_grad():
            Evaluator(network, may_be_random=True)(first, like)
    except (IndexError, RuntimeError, ValueError) as error:
        raise AttackError(
            f"The model cannot predict inputs of shape {tuple(examples.inputs.shape)} ({one_line(error, 200)}). Give a "
            "batch as the model takes it, such as (n, 1, 313, 149)."
        ) from error


def _remarks(rows: pd.DataFrame, smoothings: Sequence[Smoothing]) -> tuple[str, ...]:
    """A sentence for every sigma that has too few draws for one of its radii."""
    sentences, outputs, clips = [], rows["output"].nunique(), rows["clip"].nunique()
    for smoothing in smoothings:
        own = rows[rows["sigma"] == smoothing.sigma]
        needs = {
            radius: draws_needed(radius / smoothing.sigma, smoothing.risk(outputs, clips))
            for radius in sorted(own["radius"].unique())
        }
        if lacking := [radius for radius, count_needed in needs.items() if count_needed > smoothing.draws]:
            count_needed = needs[lacking[-1]]
            fix = f"{count_needed} draws" if count_needed <= MOST_DRAWS else "a larger sigma"
            at, which = (
                (f"a radius of {lacking[0]:.4g}", "which")
                if len(lacking) == 1
                else (f"radii of {lacking[0]:.4g} to {lacking[-1]:.4g}", "the largest of which")
            )
            sentences.append(
                f"sigma {smoothing.sigma:g}: {smoothing.draws} draws give no bound at {at}, {which} needs {fix}."
            )
    return tuple(sentences)
