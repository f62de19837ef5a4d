"""Named, versioned bundles of attacks, and how they are run. `tenuto.attacks.published` has the published ones."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from tenuto.attacks.base import Attack, AttackResult, Progress, from_dict
from tenuto.attacks.bounded import BoundedAttack
from tenuto.attacks.budgets import Budget
from tenuto.attacks.calling import Model
from tenuto.attacks.registry import plain, to_dict
from tenuto.errors import ConfigError, counted


@dataclass(eq=False)
class WorstCase:
    """The attack result with the largest mean absolute error of every example, at one budget.

    Attributes:
        budget: The budget.
        error: (n,), the mean absolute error over emotions.
        adversarial: (n, ...), the inputs.
        adversarial_prediction: (n, emotions), the predictions there.
        attacks: The printed attack of every example.
    """

    budget: Budget
    error: Tensor
    adversarial: Tensor
    adversarial_prediction: Tensor
    attacks: list[str]

    def update(self, attack: Attack, result: AttackResult, error: Tensor) -> None:
        """Take over the examples in which another result has a larger error."""
        larger = error > self.error
        self.error[larger] = error[larger]
        self.adversarial[larger] = result.adversarial[larger]
        self.adversarial_prediction[larger] = result.adversarial_prediction[larger]
        for row in torch.nonzero(larger).flatten().tolist():
            self.attacks[row] = repr(attack)

    def __repr__(self) -> str:
        return f"WorstCase({self.budget!r}, mean absolute error {self.error.mean():.4g})"


@dataclass(eq=False)
class ProtocolResult:
    """The outcome of a protocol: the worst case of every example at every budget.

    Attributes:
        protocol: What was run.
        clean_prediction: (n, emotions).
        clean_error: (n,), the mean absolute error of the clean prediction.
        worst: `WorstCase` by epsilon, smallest first, infinite for attacks without a budget; by budget, such as
            ``SNR(40)``, where the attacks have budgets of several norms.
        notes: Sentences on what was left out, see `Protocol.omissions`.
    """

    protocol: Protocol
    clean_prediction: Tensor
    clean_error: Tensor
    worst: dict[float | Budget, WorstCase] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = [
            f"{self.protocol}: {counted(len(self.clean_error), 'example')}, mean absolute error (worst case)"
        ]
        lines.append(f"  {'clean':24} {self.clean_error.mean():.4f}")
        lines += [f"  {case.budget!r:24} {case.error.mean():.4f}" for case in self.worst.values()]
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True, repr=False)
class Protocol:
    """Attacks that are run one after the other on the same clips, and reported under one name.

    Attributes:
        name: What a paper would cite.
        version: Raised whenever a setting changes; an old version's numbers stay what they were.
        description: One sentence on what it does.
        attacks: The attacks, each with all its settings.
        changes: Settings that deviate from the published ones, as (setting, value).
        budgets: Budgets, of each norm in rising order: every attack is run at each one of its own norm, from its result
            at the one before. An attack of another norm keeps its own budget.
        silence: Whether perturbed inputs stay in the valid range: a log spectrogram not below silence, a waveform
            within full scale.
        most_emotions: How many emotions a model may have for the promised number of passes; None for any.
        domain: ``waveform`` where perturbations are added to the waveform, which follows from budgets of waveforms;
            None where they are added to what the model takes.

    Raises:
        ConfigError: Budgets of one norm that do not rise.
    """

    name: str
    version: int
    description: str
    attacks: tuple[Attack, ...]
    changes: tuple[tuple[str, Any], ...] = ()
    budgets: tuple[Budget, ...] = ()
    silence: bool = False
    most_emotions: int | None = None
    domain: Literal["waveform"] | None = None

    def __post_init__(self) -> None:
        for norm in self.norms:
            own = [budget for budget in self.budgets if budget.norm == norm]
            if any(one.epsilon >= other.epsilon for one, other in itertools.pairwise(own)):
                labels = ", ".join(budget.label() for budget in own)
                raise ConfigError(f"budgets of protocol {self.name} must rise in strength, got {labels}.")
        if self._for_waveforms():
            object.__setattr__(self, "domain", "waveform")

    def _for_waveforms(self) -> list[Budget | Attack]:
        """Budgets and attacks that are for waveforms only."""
        parts: tuple[Budget | Attack, ...] = (*self.budgets, *self.attacks)
        return [part for part in parts if part.needs_sound]

    @property
    def epsilons(self) -> tuple[float, ...]:
        """Sizes of the budgets."""
        return tuple(budget.epsilon for budget in self.budgets)

    @property
    def norms(self) -> tuple[str, ...]:
        """Norms of the budgets, each once."""
        return tuple(dict.fromkeys(budget.norm for budget in self.budgets))

    def in_domain(self, domain: str) -> Protocol:
        """The same protocol with perturbations of the ``waveform`` or the ``spectrogram``; the name shows a change.

        Raises:
            ConfigError: Another domain, or budgets of waveforms in the domain of spectrograms.
        """
        if domain not in ("waveform", "spectrogram"):
            raise ConfigError(f"The domain must be waveform or spectrogram, got {domain!r}.")
        if domain == (self.domain or "spectrogram"):
            return self
        changes = [change for change in self.changes if change[0] != "domain"]
        if domain == "waveform":
            changes = sorted([*changes, ("domain", domain)])
            return dataclasses.replace(self, domain="waveform", changes=tuple(changes))
        if parts := self._for_waveforms():
            raise ConfigError(f"{parts[0]!r} is for waveforms: leave out `inputs=spectrogram`.")
        return dataclasses.replace(self, domain=None, changes=tuple(changes))

    def at_sample_rate(self, sample_rate: int) -> Protocol:
        """The same protocol for waveforms of this sample rate in Hz, on which masking and noise depend."""
        budgets = tuple(budget.at_sample_rate(sample_rate) for budget in self.budgets)
        attacks = tuple(
            _replaced(attack, budget=attack.budget.at_sample_rate(sample_rate))
            if isinstance(attack, BoundedAttack)
            else attack
            for attack in self.attacks
        )
        return dataclasses.replace(self, budgets=budgets, attacks=attacks)

    def members(self, emotions: int, has_gradient: bool = True) -> tuple[tuple[Attack, ...], ...]:
        """What is run on a model with so many emotions: for every attack and objective one attack per budget,
        smallest budget first.

        Args:
            emotions: Number of emotions of the model.
            has_gradient: Whether the model has a gradient; attacks that need one are left out where it has none.

        Raises:
            ConfigError: More emotions than the protocol is defined for, or a model that none of its attacks can be
                used on.
        """
        if self.most_emotions is not None and emotions > self.most_emotions:
            raise ConfigError(
                f"Protocol {self.name} is defined for up to {counted(self.most_emotions, 'emotion')}, the model "
                f"has {emotions}: its passes would exceed what it promises. Use single attacks."
            )
        usable = [attack for attack in self.attacks if not _refusal(attack, emotions, has_gradient)]
        if not usable:
            raise ConfigError(f"Protocol {self}: {_refusal(self.attacks[0], emotions, has_gradient)}")
        return tuple(ladder for attack in usable for ladder in self._ladders(attack, emotions))

    def omissions(self, emotions: int, has_gradient: bool = True) -> tuple[str, ...]:
        """One sentence for each attack that is left out on a model with so few emotions, and one for all attacks that
        need a gradient where it has none."""
        refused = [(attack, attack.refusal(emotions)) for attack in self.attacks]
        left_out = () if has_gradient else [attack for attack in self.attacks if attack.needs_gradient]
        sentences = [
            f"{self.name} leaves out {attack.title} on {attack.objective_title()}. {reason}"
            for attack, reason in refused
            if reason and attack not in left_out
        ]
        if left_out:
            titles = ", ".join(dict.fromkeys(attack.title for attack in left_out))
            sentences.append(
                f"{self.name} leaves out {titles} ({counted(len(left_out), 'attack')}): {WITHOUT_GRADIENT}"
            )
        return tuple(sentences)

    def _ladders(self, attack: Attack, emotions: int) -> list[tuple[Attack, ...]]:
        objectives = attack.objective.each(emotions)
        single = (
            [attack] if len(objectives) == 1 else [_replaced(attack, objective=one) for one in objectives]
        )
        budgets = [budget for budget in self.budgets if budget.norm == attack.norm]
        if not budgets:
            return [(one,) for one in single]
        return [tuple(_replaced(one, budget=budget) for budget in budgets) for one in single]

    def iterations(self, emotions: int, has_gradient: bool = True) -> int:
        """Most iterations one clip can take, over all attacks and budgets."""
        return sum(attack.iterations for ladder in self.members(emotions, has_gradient) for attack in ladder)

    def __call__(
        self, model: Model, inputs: Tensor, targets: Tensor, *, progress: Progress | None = None, **call: Any
    ) -> ProtocolResult:
        """Run the whole protocol on a model.

        Args:
            model: As for an attack.
            inputs: (n, ...).
            targets: (n, emotions), or (n,) for one emotion.
            progress: Called with the number of example-iterations settled; their sum is n * `iterations`.
            call: Further arguments of the attacks, such as ``valid_range``, ``batch_size`` and ``output``. For log
                spectrograms give ``valid_range=(silence, inf)``.

        Raises:
            AttackError: As an attack.
            ConfigError: A model with more or fewer emotions than the protocol can be used with.
        """
        labels = targets[:, None] if targets.ndim == 1 else targets
        emotions = labels.shape[1]
        outcome: ProtocolResult | None = None
        members = self.members(emotions)
        norms = {attack.norm for member in members for attack in member}
        for member in members:
            for attack, result in climb(member, model, inputs, targets, progress=progress, **call):
                reference = labels.to(result.clean_prediction)
                if outcome is None:
                    clean_error = _error(result.clean_prediction, reference)
                    notes = self.omissions(emotions)
                    outcome = ProtocolResult(self, result.clean_prediction, clean_error, notes=notes)
                error = _error(result.adversarial_prediction, reference)
                key = attack.budget if len(norms) > 1 else attack.epsilon
                if key not in outcome.worst:
                    outcome.worst[key] = WorstCase(
                        attack.budget,
                        error.clone(),
                        result.adversarial.clone(),
                        result.adversarial_prediction.clone(),
                        [repr(attack)] * len(error),
                    )
                outcome.worst[key].update(attack, result, error)
        assert outcome is not None
        return outcome

    def __repr__(self) -> str:
        """The call that makes it: ``protocol('paper-2025-released', iterations=100)``."""
        changes = "".join(f", {setting}={value!r}" for setting, value in self.changes)
        return f"protocol({self.name!r}{changes})"

    def __str__(self) -> str:
        """The name for tables and file names, changes included: ``paper-2025-released+iterations=100``."""
        return "+".join([self.name, *(f"{setting}={value}" for setting, value in self.changes)])

    def to_dict(self) -> dict[str, Any]:
        """Describe the protocol with all its attacks for JSON."""
        settings = {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "attacks": [attack.to_dict() for attack in self.attacks],
            "changes": {setting: plain(setting, value) for setting, value in self.changes},
            "epsilons": list(self.epsilons),
            "silence": self.silence,
            "most_emotions": self.most_emotions,
        }
        if self.domain is None:
            return settings
        return settings | {"domain": self.domain, "budgets": [to_dict(budget) for budget in self.budgets]}

    def matches(self, description: Mapping[str, Any]) -> bool:
        """Whether a description by `to_dict` has the same attacks and budgets, whatever the sample rate.

        A description of attacks that are not installed cannot be compared; it matches.
        """
        try:
            attacks = [from_dict(one).to_dict() for one in description["attacks"]]
        except (ConfigError, LookupError, TypeError, AttributeError):
            return True
        own = self.to_dict()
        then = {**description, "attacks": attacks}
        return all(
            _without_rate(own.get(name)) == _without_rate(then.get(name))
            for name in ("attacks", "epsilons", "silence", "budgets")
        )


def _without_rate(value: Any) -> Any:
    """A description without the sample rate of budgets, which they take from the model."""
    if isinstance(value, Mapping):
        return {name: _without_rate(own) for name, own in value.items() if name != "sample_rate"}
    return [_without_rate(own) for own in value] if isinstance(value, list | tuple) else value


WITHOUT_GRADIENT = "the model has no gradient. Square, Noise and Transfer work without one."


def _refusal(attack: Attack, emotions: int, has_gradient: bool) -> str | None:
    """Why an attack cannot be used on such a model; None where it can."""
    if attack.needs_gradient and not has_gradient:
        return f"{attack.title} follows a gradient, but {WITHOUT_GRADIENT}"
    return attack.refusal(emotions)


def _error(prediction: Tensor, labels: Tensor) -> Tensor:
    return (prediction - labels).abs().mean(dim=1)


def climb(
    member: Sequence[Attack], model: Model, inputs: Tensor, targets: Tensor, **call: Any
) -> Iterator[tuple[Attack, AttackResult]]:
    """Run one member of a protocol: every attack starts from the result of the one before it.

    Args:
        member: One of `Protocol.members`.
        model: As for an attack.
        inputs: (n, ...).
        targets: (n, emotions).
        call: Further arguments of the attacks, such as ``batch_size``. A protocol with ``silence`` needs a
            ``valid_range`` whose lower end is the value of silence.
    """
    start = None
    for attack in member:
        result = attack(model, inputs, targets, start=start, **call)
        start = result.perturbation
        yield attack, result


def _replaced(attack: Any, **settings: Any) -> Attack:
    replacement: Attack = dataclasses.replace(attack, **settings)
    return replacement
