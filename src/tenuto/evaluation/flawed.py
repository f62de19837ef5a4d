"""Defences that look robust and are not: a test bench for attacks, protocols and the audit.

Every defence is a small network with one flaw, which hides its gradient or makes it misleading. Without the flaw it is
`PlainNetwork`, so perturbations made on that are an adaptive attack, which shows what the defence is worth. The flaws
are those of Buckman et al., "Thermometer Encoding" (2018), Xiao et al., "Enhancing Adversarial Defense by
k-Winners-Take-All" (2020), Papernot et al., "Distillation as a Defense" (2016), Athalye et al., "Obfuscated Gradients
Give a False Sense of Security" (2018), and Carlini et al., "On Evaluating Adversarial Robustness" (2019), for
continuous outputs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tenuto.attacks import (
    APGD,
    DDN,
    PGD,
    AbsoluteError,
    Attack,
    Linf,
    Noise,
    Protocol,
    Square,
    Transformations,
    left_as_found,
    protocol,
)
from tenuto.errors import AttackError, RandomModelWarning
from tenuto.evaluation.audit.examination import examine
from tenuto.evaluation.audit.findings import Verdict
from tenuto.evaluation.audit.subject import Subject

BUDGET = Linf(0.1)
SHAPE = (1, 12, 10)
"""Of an input: channel, frames, bands; 120 entries."""

HIDDEN, OUTPUTS = 48, 3
BENCH_CLIPS = 6
CLEAN_ERROR = 0.05
"""Clean error of every emotion: labels are the clean predictions and this."""

EVALUATIONS = 16
"""Evaluations over which the error of a random model is averaged."""

BROKEN = 0.9
"""Share of the largest error known that an attack must find to have broken a defence."""

OBJECTIVE = AbsoluteError()
SHOWN_ATTACKS: dict[str, Attack] = {
    "PGD": PGD(BUDGET, objective=OBJECTIVE),
    "APGD": APGD(BUDGET, objective=OBJECTIVE, steps=30),
    "APGD, mean of 8 draws": APGD(
        BUDGET, objective=OBJECTIVE, steps=30, transformations=Transformations(draws=8)
    ),
    "DDN": DDN(BUDGET, objective=OBJECTIVE, steps=30),
    "Square": Square(BUDGET, objective=OBJECTIVE, queries=80),
    "Noise": Noise(BUDGET, objective=OBJECTIVE, kind="sign"),
}
"""Attacks that the table shows alone."""


class PlainNetwork(nn.Module):
    """One hidden layer, from inputs (n, 1, 12, 10) to three emotions (n, 3) from 0 to 1, with no flaw."""

    about = "no defence"

    def __init__(self) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(7)
        self.first, self.second = nn.Linear(int(np.prod(SHAPE)), HIDDEN), nn.Linear(HIDDEN, OUTPUTS)
        with torch.no_grad():
            for layer in (self.first, self.second):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=chance) / layer.in_features**0.5)
                layer.bias.zero_()

    def forward(self, inputs: Tensor) -> Tensor:
        """The emotions (n, 3)."""
        features = self.activate(self.first(self.preprocess(inputs).flatten(1)))
        return self.postprocess(torch.sigmoid(self.second(features)))

    def preprocess(self, inputs: Tensor) -> Tensor:
        """What the first layer gets, (n, 1, 12, 10)."""
        return inputs

    def activate(self, features: Tensor) -> Tensor:
        """What the second layer gets, (n, 48)."""
        return features.relu()

    def postprocess(self, emotions: Tensor) -> Tensor:
        """What is returned, (n, 3)."""
        return emotions


class SaturatedOutput(PlainNetwork):
    about = "a steep tanh at the end: its slope is 0 in float32"

    def postprocess(self, emotions: Tensor) -> Tensor:
        return 0.5 + 0.3 * torch.tanh(100 * (emotions - 0.5))


class RoundedOutput(PlainNetwork):
    about = "predictions are rounded to tenths"

    def postprocess(self, emotions: Tensor) -> Tensor:
        return (10 * emotions).round() / 10


class KWinners(PlainNetwork):
    about = "all but 6 of 48 features are 0"

    def activate(self, features: Tensor) -> Tensor:
        least = features.topk(6, dim=1).values[:, -1:]
        return 2 * torch.where(features >= least, features, 0.0)


class Thermometer(PlainNetwork):
    about = "every entry becomes 60 bits"

    def preprocess(self, inputs: Tensor) -> Tensor:
        levels = torch.linspace(-3, 3, 61, device=inputs.device)[:-1]
        return (inputs[..., None] > levels).to(inputs).sum(dim=-1) * 0.1 - 3


class Codec(PlainNetwork):
    about = "the spectrum over bands is quantised outside of autograd"

    def preprocess(self, inputs: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(inputs.detach())
        step = 0.25
        coded = torch.complex((spectrum.real / step).round(), (spectrum.imag / step).round()) * step
        decoded: Tensor = torch.fft.irfft(coded, n=inputs.shape[-1])
        return decoded


class RandomInput(PlainNetwork):
    about = "inputs are shifted in time and scaled at random"

    def preprocess(self, inputs: Tensor) -> Tensor:
        gain = 0.7 + 0.6 * torch.rand(len(inputs), 1, 1, 1, device=inputs.device)
        return gain * inputs.roll(int(torch.randint(-1, 2, ())), dims=-2)


class DetachedBranch(PlainNetwork):
    about = "40 of 48 features are detached from the gradient"

    def activate(self, features: Tensor) -> Tensor:
        visible = features.relu()
        return torch.cat([visible[:, :40].detach(), visible[:, 40:]], dim=1)


class DistilledHead(PlainNetwork):
    about = "a softmax over ten bins of the rating, with the logits of a distilled model times 100"

    def postprocess(self, emotions: Tensor) -> Tensor:
        bins = torch.linspace(0, 1, 11, device=emotions.device).to(emotions)
        logits = -200 * (emotions[..., None] - bins).square()
        rating: Tensor = torch.softmax(100 * logits, dim=-1) @ bins
        return rating


class NoisyInference(PlainNetwork):
    about = "noise is added to the features at inference"

    def activate(self, features: Tensor) -> Tensor:
        return features.relu() + 0.5 * torch.randn_like(features)


class ExplodingFeatures(PlainNetwork):
    about = "features pass a ninth root, whose slope at 0 is infinite, and its inverse"

    def activate(self, features: Tensor) -> Tensor:
        visible = features * (features > 0)
        return (visible ** (1 / 9)) ** 9


class VanishingFeatures(PlainNetwork):
    about = "features are a steep tanh: most slopes are 0 in float32"

    def activate(self, features: Tensor) -> Tensor:
        return torch.tanh(100 * features)


DEFENCES: dict[str, type[PlainNetwork]] = {
    "saturated output": SaturatedOutput,
    "rounded output": RoundedOutput,
    "k-winners-take-all": KWinners,
    "thermometer code": Thermometer,
    "codec in front": Codec,
    "random input": RandomInput,
    "detached branch": DetachedBranch,
    "distilled head": DistilledHead,
    "noise at inference": NoisyInference,
    "exploding features": ExplodingFeatures,
    "vanishing features": VanishingFeatures,
}
"""Defences by name."""


def clips() -> Tensor:
    """The inputs on which defences are attacked, (6, 1, 12, 10)."""
    return torch.randn(BENCH_CLIPS, *SHAPE, generator=torch.Generator().manual_seed(3))


@dataclasses.dataclass(frozen=True)
class Bench:
    """One defence with its clips, and everything that is measured on it.

    Attributes:
        model: The defended model.
        inputs: (n, 1, 12, 10).
        labels: (n, 3), the clean predictions and `CLEAN_ERROR`.
    """

    model: nn.Module
    inputs: Tensor
    labels: Tensor

    @classmethod
    def of(cls, model: nn.Module) -> Bench:
        """The bench of a model; of a random one labels are a mean prediction."""
        inputs = clips()
        with torch.no_grad(), left_as_found(model), _seeded():
            mean = torch.stack([model(inputs).float() for _ in range(EVALUATIONS)]).mean(dim=0)
        return cls(model, inputs, mean + CLEAN_ERROR)

    def error(self, points: Tensor) -> Tensor:
        """Mean absolute error (n,) at points (n, ...), averaged over `EVALUATIONS` evaluations."""
        with torch.no_grad(), left_as_found(self.model), _seeded():
            errors = [(self.model(points) - self.labels).abs().mean(dim=1) for _ in range(EVALUATIONS)]
        return torch.stack(errors).mean(dim=0)

    def by(self, attacks: Sequence[Attack], source: nn.Module | None = None) -> Tensor | None:
        """The largest error (n,) at what attacks on the model, or on another one, return; None where none can run."""
        errors = []
        for attack in attacks:
            try:
                with warnings.catch_warnings(), _seeded():
                    warnings.simplefilter("ignore", RandomModelWarning)
                    result = attack(self.model if source is None else source, self.inputs, self.labels)
            except AttackError:  # there is no gradient, or one that is not finite
                continue
            errors.append(self.error(result.adversarial))
        return torch.stack(errors).amax(dim=0) if errors else None

    def flags(self) -> list[str]:
        """Checks of the audit that do not pass."""
        subject = Subject(self.model, self.inputs, self.labels, self.labels.mean(dim=0), budget=BUDGET)
        with _seeded():
            findings = examine(subject)
        return [one.check for one in findings if one.verdict in (Verdict.FAIL, Verdict.WARN)]


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Let random models draw the same numbers every time, and leave the caller's generator alone."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield


def members(published: Protocol) -> list[Attack]:
    """The attacks of a protocol at `BUDGET` alone."""
    at_budget = dataclasses.replace(published, budgets=(BUDGET,))
    return [attack for member in at_budget.members(OUTPUTS) for attack in member]


def table(
    attacks: Mapping[str, Attack] | None = None,
    defences: Mapping[str, Callable[[], nn.Module]] | None = None,
    published: str = "standard-1",
) -> pd.DataFrame:
    """What attacks find on defences, and what the audit says of them.

    Args:
        attacks: Attacks that are shown alone, by name; default: `SHOWN_ATTACKS`. Name your own to test it.
        defences: From names to what makes a model; default: `DEFENCES`.
        published: A protocol, run at `BUDGET`.

    Returns:
        A line per defence: mean absolute errors of each attack alone (NaN where it cannot run), of the protocol, and of
        the ``adaptive`` attack, the protocol on `PlainNetwork` tried on the defence; whether the protocol breaks it
        (``broken``: it finds `BROKEN` of the largest error); and ``audit``, the checks that do not pass.
    """
    chosen = DEFENCES if defences is None else defences
    with _seeded():  # new layers draw weights
        return pd.DataFrame([_line(name, make, attacks, published) for name, make in chosen.items()])


def _line(
    name: str, make: Callable[[], nn.Module], attacks: Mapping[str, Attack] | None, published: str
) -> dict[str, Any]:
    """One line of the table."""
    bench, whole = Bench.of(make()), members(protocol(published))
    alone = {title: [attack] for title, attack in (SHOWN_ATTACKS if attacks is None else attacks).items()}
    errors = {"clean": bench.error(bench.inputs)}
    for title, own in (alone | {published: whole}).items():
        error = bench.by(own)
        errors[title] = torch.full((BENCH_CLIPS,), torch.nan) if error is None else error
    adaptive = bench.by(whole, PlainNetwork())
    assert adaptive is not None
    errors["adaptive"] = adaptive
    means = {title: float(error.mean()) for title, error in errors.items()}
    largest = float(torch.stack([*errors.values()]).nan_to_num(0).amax(dim=0).mean())
    about = {"defence": name, "about": getattr(make, "about", "")}
    is_broken = means[published] >= BROKEN * largest
    return about | means | {"broken": is_broken, "audit": ", ".join(bench.flags())}
