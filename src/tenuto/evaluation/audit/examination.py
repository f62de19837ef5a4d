"""What a model shows on a few clips: its gradients, its repeatability, and how strong attacks are on it.

The questions are those of Athalye et al., "Obfuscated Gradients Give a False Sense of Security" (2018), section 3.1,
and Carlini et al., "On Evaluating Adversarial Robustness" (2019), applied to regression: the error is the mean absolute
error over emotions.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tenuto.analysis.systems import RESOLUTION
from tenuto.attacks import (
    APGD,
    FGSM,
    PGD,
    AbsoluteError,
    Attack,
    Budget,
    Linf,
    Noise,
    Square,
    Transfer,
    Unbounded,
    left_as_found,
)
from tenuto.attacks.budgets import Euclidean
from tenuto.attacks.calling import Evaluator, as_doubles, input_gradient
from tenuto.data.excerpts import SPECTROGRAM_UNIT
from tenuto.errors import AttackError, ModelError, counted, one_line
from tenuto.evaluation.audit.findings import Finding, Verdict, judge, not_recorded
from tenuto.evaluation.audit.sources import Values
from tenuto.evaluation.audit.strength import weaker
from tenuto.evaluation.audit.subject import EPSILON, MODEL_BUDGET, Progress, Subject, mean_errors, predict

NO_GRADIENT = "the model has no gradient."

STEPS = 30
"""Gradient steps of the model checks, as many as standard-1 spends on its first objective."""

STAND_IN = APGD(budget=MODEL_BUDGET, objective=AbsoluteError(), steps=STEPS)
"""Iterative gradients of the model checks."""

STEP = 1e-8
"""Change of every entry for a finite difference, in standard deviations of the inputs: so small that few activations
cross a kink of ReLU or max-pooling, and so large that float64 resolves it."""

COARSE_STEPS = (1e-5, 1e-4, 1e-3)
"""The same for models that cast to float32 or less and do not resolve it; the one with the best agreement counts."""

UNRESOLVED = 1e-14
"""A change, in standard deviations, that moves a prediction in float64 and leaves one in float32 as it is."""

UNDECIDED = 0.2
"""Largest relative difference that rounding to bfloat16 inside a model causes with such steps."""

OFFSET = 1e-3
"""How far from the clip the comparison is made, in standard deviations: at digital silence max-pooling meets exact
ties, where no gradient exists."""

AGREEMENT = 0.01
"""Relative difference of a finite difference and autograd. Networks of this kind agree to better than 1e-4 in
float64; a surrogate gradient, or a random one, does not agree at all."""

ZERO_ENTRIES = 0.5
"""Share of exactly zero entries of a gradient above which most of the input cannot be attacked along it."""

SAME = 1e-6
"""Largest difference of two predictions of one input: rounding, where threads sum in another order."""

MIXED = 1e-2
"""Largest difference of the predictions of a clip in a batch and alone, relative to the largest prediction: rounding,
also in bfloat16, where another batch size is computed in another order."""

BOX = 0.1
"""Share of the budget in which the error is compared with that at the centre."""

POINTS = 10
"""Random points in this box."""

UNSTABLE = (0.05, 0.2)
"""Mean relative change of the error in the box above which it is a warning, and a failure. Networks of this kind change
by less than 0.01."""

UNBOUNDED_STEP = 0.5
"""Step of the attack without a budget, in epsilons of the model checks."""

UNBOUNDED_STEPS = 80

RISE = 0.1
"""Least rise of the error by the attack without a budget, as a share of the constant's error. An attack that moves
nothing would pass where the clean error exceeds that of the constant already."""

QUERIES = 80
DRAWS = 8


def default_budget(inputs: Tensor, unit: str) -> Linf:
    """The budget of the model checks: `EPSILON` standard deviations, of the inputs where they are not normalised."""
    if unit == SPECTROGRAM_UNIT:
        return Linf(EPSILON)
    return Linf(float(f"{EPSILON * max(float(inputs.std()), 1e-6):.2g}"))


def stand_in(subject: Subject) -> Attack:
    """The strongest attack of the model checks: iterative gradients, or random search where there are none."""
    if subject.has_gradient:
        return dataclasses.replace(STAND_IN, budget=subject.budget)
    return random_search(subject.budget)


def random_search(budget: Budget, tries: int = QUERIES, **settings: Any) -> Attack:
    """`Square`, or the best of as many draws of noise inside a budget that it cannot search; both have ``settings``."""
    objective = AbsoluteError()
    if isinstance(budget, Linf | Euclidean):
        return Square(budget=budget, objective=objective, queries=tries, **settings)
    return Noise(budget=budget, objective=objective, draws=tries, **settings)


def attacks(subject: Subject) -> dict[str, Attack]:
    """The attacks of the model checks by name; their iterations say how long they take."""
    budget, objective = subject.budget, AbsoluteError()
    attacks_by_name: dict[str, Attack] = {"search": random_search(budget)}
    for kind in ("uniform", "sign"):
        attacks_by_name[kind] = Noise(budget=budget, objective=objective, kind=kind, draws=DRAWS)
    reach = UNBOUNDED_STEP * UNBOUNDED_STEPS * budget.epsilon
    if not subject.has_gradient:
        return attacks_by_name | {"unbounded": random_search(budget.of(reach))}
    attacks_by_name |= {
        "gradients": stand_in(subject),
        "one step": FGSM(budget=budget, objective=objective),
        "unbounded": PGD(
            budget=Unbounded(),
            objective=objective,
            step_size=UNBOUNDED_STEP * budget.epsilon,
            steps=UNBOUNDED_STEPS,
        ),
    }
    if subject.sibling is not None:
        attacks_by_name["transfer"] = Transfer(
            budget=budget, objective=objective, steps=STEPS, source=subject.sibling
        )
    return attacks_by_name


def examine(subject: Subject, progress: Progress | None = None) -> list[Finding]:
    """All model checks on one model but `longer_search`.

    A model without a gradient is attacked by random search and noise; checks of gradients are then not recorded.

    Args:
        subject: The model and its clips.
        progress: Called with the number of clip-iterations done; their sum is clips times the attacks' iterations.
    """
    report = progress or (lambda done: None)
    if not subject.has_gradient:
        return _without_gradient(subject, report)
    with left_as_found(subject.model):
        first = [gradients(subject), repeatable(subject), unstable_predictions(subject)]
        if not np.isfinite(first[0].value or 0.0):
            reason = "there are no gradients, or none that are finite: no attack can be made."
            names = ("finite-differences", "iterative", "unbounded", "black-box", "transfer")
            return first + [not_recorded(name, reason) for name in names]
        first.append(_finite_differences(subject))
        clean = as_doubles(mean_errors(subject.model, subject.inputs, subject.labels))
    attempts = attacks(subject)
    # Every clip has room for a rise, also one whose clean error is large.
    enough = float(clean.max()) + 2 * subject.line
    attempts["unbounded"] = dataclasses.replace(attempts["unbounded"], stop_at=enough)  # type: ignore[type-var]
    errors = {name: subject.errors(attack, report) for name, attack in attempts.items()}
    findings = [
        weaker("iterative", errors["one step"], errors["gradients"]),
        _unbounded(subject, clean, errors["unbounded"]),
        weaker(
            "black-box",
            np.maximum.reduce([errors[name] for name in ("search", "uniform", "sign")]),
            errors["gradients"],
        ),
    ]
    if "transfer" in errors:
        findings.append(weaker("transfer", errors["transfer"], errors["gradients"]))
    else:
        findings.append(not_recorded("transfer", "no sibling: name a run of the same system in `siblings`."))
    return first + findings


def _without_gradient(subject: Subject, report: Progress) -> list[Finding]:
    """The checks that predictions suffice for; random search replaces iterative gradients."""
    with left_as_found(subject.model):
        repeated = [repeatable(subject), unstable_predictions(subject)]
        clean = as_doubles(mean_errors(subject.model, subject.inputs, subject.labels))
    errors = {name: subject.errors(attack, report) for name, attack in attacks(subject).items()}
    noise = np.maximum(errors["uniform"], errors["sign"])
    reached = _unbounded(subject, clean, errors["unbounded"])
    if reached.verdict is Verdict.FAIL:  # a short random search proves little
        reached = dataclasses.replace(reached, verdict=Verdict.WARN)
    return [
        *repeated,
        weaker("black-box", noise, errors["search"], "noise", "random search"),
        reached,
        *(
            not_recorded(name, NO_GRADIENT)
            for name in ("gradients", "finite-differences", "iterative", "transfer")
        ),
    ]


def gradients(subject: Subject) -> Finding:
    """Zero and not finite entries of the error's gradient; the value is the share of clips where all are zero."""
    try:
        gradient = _error_gradient(subject.model, subject.inputs, subject.labels)
    except AttackError as error:
        return judge("gradients", math.inf, 0.0, str(error), fail=True)
    flat = gradient.double().flatten(1)
    finite = torch.isfinite(flat).all(dim=1)
    nothing = finite & (flat.abs().amax(dim=1) == 0)
    zero = float((flat == 0).double().mean())
    bad = int((~finite).sum()), int(nothing.sum())
    value = math.inf if bad[0] else bad[1] / len(flat)
    return judge(
        "gradients",
        value,
        0.0,
        f"on {counted(len(flat), 'clip')} {counted(bad[0], 'gradient is', 'gradients are')} not finite and "
        f"{counted(bad[1], 'is', 'are')} zero; {zero:.1%} of all entries are exactly zero.",
        fail=any(bad),
        warn=zero > ZERO_ENTRIES,
    )


def _error_gradient(model: Any, inputs: Tensor, labels: Tensor) -> Tensor:
    """Gradient of each clip's mean absolute error. Raises `AttackError` where there is none."""
    point = inputs.detach().clone().requires_grad_()
    return input_gradient((predict(model, point, labels) - labels).abs().mean(dim=1), point)


def _finite_differences(subject: Subject) -> Finding:
    try:
        return finite_differences(subject)
    except (ModelError, RuntimeError) as error:  # an adopted model may be fixed to float32
        return not_recorded(
            "finite-differences", f"the model cannot be evaluated in float64 ({one_line(error, 200)})."
        )


def finite_differences(subject: Subject) -> Finding:
    """Central differences of the error along the gradient and along random signs, against autograd, in float64."""
    model, labels = subject.model, subject.labels.double()
    if isinstance(model, nn.Module):  # any other callable is evaluated as it is
        model = copy.deepcopy(model).double()
    chance = torch.Generator().manual_seed(0)
    offset = torch.rand(subject.inputs.shape, generator=chance, dtype=torch.float64) * 2 - 1
    inputs = subject.inputs.double() + OFFSET * subject.budget.epsilon / EPSILON * offset.to(
        subject.inputs.device
    )
    gradient = _error_gradient(model, inputs, labels)
    signs = torch.randint(0, 2, inputs.shape, generator=chance).to(inputs) * 2 - 1
    deviation = float(inputs.std().clamp_min(1e-6))

    def apart(step: float, least: float) -> float:
        """Largest relative difference with this step; ``least`` is the share of the gradient that is no zero."""
        sizes = []
        for direction in (gradient.sign(), signs):
            change = step * deviation * direction
            ahead, behind = (mean_errors(model, inputs + way * change, labels) for way in (1.0, -1.0))
            measured = (ahead - behind) / (2 * step * deviation)
            expected = (gradient * direction).flatten(1).sum(dim=1)
            # Along random signs the parts cancel; a small share of what they could sum to is no zero to divide by.
            scale = torch.maximum(measured.abs(), expected.abs())
            scale = torch.maximum(scale, least * gradient.abs().flatten(1).sum(dim=1))
            sizes.append(torch.where(measured == expected, 0.0, (measured - expected).abs() / scale))
        return float(torch.nan_to_num(torch.cat(sizes), nan=torch.inf).max())

    evaluator = Evaluator(model, may_be_random=True)
    evaluator(inputs, labels)
    if evaluator.dtype.itemsize < torch.float32.itemsize:
        return not_recorded(
            "finite-differences", f"the model returns {evaluator.dtype}, too coarse for differences."
        )
    largest, step = apart(STEP, 0.01), STEP
    if largest > AGREEMENT:
        unresolved = predict(model, inputs + UNRESOLVED * deviation * gradient.sign(), labels)
        if (unresolved == predict(model, inputs, labels)).all(dim=1).any():
            largest, step = min((apart(step, 0.1), step) for step in COARSE_STEPS)
            if AGREEMENT < largest <= UNDECIDED:
                return not_recorded(
                    "finite-differences",
                    f"the model does not compute in float64: differences with steps of {step:g} std deviate by "
                    f"{largest:.2g} from the gradient, which rounding can cause.",
                )
    return judge(
        "finite-differences",
        largest,
        AGREEMENT,
        f"autograd and finite differences of the error (steps of {step:g} std) differ by at most {largest:.2g}, "
        f"relatively, along the gradient and along random signs on {counted(len(inputs), 'clip')}.",
        fail=not largest <= AGREEMENT,
    )


def repeatable(subject: Subject) -> Finding:
    """The same inputs twice, and each without the others."""
    inputs, labels = subject.inputs, subject.labels
    with torch.no_grad():
        first, second = (predict(subject.model, inputs, labels) for _ in range(2))
        each = zip(torch.split(inputs, 1), torch.split(labels, 1), strict=True)
        alone = torch.cat([predict(subject.model, *one) for one in each])
    apart = float(torch.nan_to_num((first - second).abs(), nan=torch.inf).max())
    mixed = float((first - alone).abs().max() / first.abs().max().clamp_min(RESOLUTION))
    if apart <= SAME and mixed > MIXED:
        return judge(
            "repeatable",
            mixed,
            MIXED,
            f"the prediction of a clip depends on the other clips of its batch: it changes by {mixed:.2g}, relatively, "
            "where it is predicted alone.",
            fail=True,
        )
    return judge(
        "repeatable",
        apart,
        SAME,
        f"two predictions of the same {counted(len(first), 'input')} differ by at most {apart:.2g}.",
        fail=not apart <= SAME,
    )


def unstable_predictions(subject: Subject) -> Finding:
    """Compare the mean absolute error at the clips with that at random points close to them."""
    chance = torch.Generator().manual_seed(0)
    names = [str(number) for number in range(len(subject.inputs))]
    box = subject.budget.of(BOX * subject.budget.epsilon).around(subject.inputs, names)
    centre = mean_errors(subject.model, subject.inputs, subject.labels)
    change = torch.zeros_like(centre)
    for _ in range(POINTS):
        uniform = torch.rand(subject.inputs.shape, generator=chance).to(subject.inputs) * 2 - 1
        point = subject.inputs + box.scattered(uniform)
        change += (mean_errors(subject.model, point, subject.labels) - centre).abs() / POINTS
    value = float(change.mean()) / max(float(centre.mean()), RESOLUTION)
    return judge(
        "unstable-predictions",
        value,
        UNSTABLE[0],
        f"at {POINTS} random points within a tenth of the budget ({subject.budget.label()}) the error of "
        f"{counted(len(centre), 'clip')} differs by {value:.1%} from that at the centre, on average.",
        warn=value > UNSTABLE[0],
        fail=not value <= UNSTABLE[1],
    )


def _unbounded(subject: Subject, clean: Values, errors: Values) -> Finding:
    """Compare the mean of errors (clips,) with the constant's error, and their rise over the clean ones with `RISE`."""
    line, before, reached = subject.line, float(clean.mean()), float(errors.mean())
    limit = UNBOUNDED_STEP * UNBOUNDED_STEPS * subject.budget.epsilon
    attack = (
        "without a budget the attack"
        if subject.has_gradient
        else f"random search within {subject.budget.norm} {limit:g}"
    )
    value = min(reached / line, (reached - before) / (RISE * line))
    return judge(
        "unbounded",
        value,
        1.0,
        f"{attack} raises the MAE from {before:.3f} to {reached:.3f}; always predicting the mean training label gives "
        f"{line:.3f}.",
        fail=not value > 1,
    )
