"""The options of `tenuto attack` that describe a single attack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tenuto.errors import ConfigError
from tenuto.store.location import locate_run

if TYPE_CHECKING:
    from tenuto.api import Run
    from tenuto.attacks import Protocol


class SingleAttack(NamedTuple):
    """The options of a single attack."""

    family: str | None
    norm: str | None
    epsilon: float | None
    db: float | None
    aim: str | None
    from_clean: bool
    clipped: tuple[float, float] | None
    setting: list[str] | None
    source: Path | None
    precision: str | None
    seconds: tuple[float, float] | None
    bands: tuple[float, float] | None
    robust_to: str | None
    draws: int | None

    def check(self, has_protocol: bool) -> None:
        """Raise `ConfigError` for options that contradict each other."""
        own = (
            *(self.norm, self.epsilon, self.db, self.aim, self.clipped, self.setting, self.source),
            *(self.seconds, self.bands, self.robust_to, self.draws),
        )
        if self.family is None and (self.from_clean or any(value is not None for value in own)):
            raise ConfigError(
                "--norm, --epsilon, --db, --objective, --from-clean, --clipped, --setting, --source, --seconds, "
                "--bands, --robust-to and --draws need --attack, the name of a single attack."
            )
        if self.family is not None and has_protocol:
            raise ConfigError("--attack is a single attack: leave out --protocol and its settings.")

    def protocol(self, run: Run, inputs: str | None, trust: bool) -> Protocol:
        """The attack on a run, on these inputs. Raises `ConfigError`, and `TrustError` for code of the user's own."""
        from tenuto import api
        from tenuto.api.single_attacks import single_attack
        from tenuto.attacks import parse_objective
        from tenuto.evaluation.runs import Sibling

        word = self.aim or ("squared-error" if self.from_clean or self.clipped else None)
        goal = (
            parse_objective(
                word,
                run.recogniser.emotions,
                from_clean=self.from_clean,
                scale=self.clipped,
                concepts=run.recogniser.concepts,
            )
            if word
            else None
        )
        settings = self.settings
        if self.source is not None:
            path = locate_run(self.source)
            attacked = run.in_sound() if self._is_of_waveforms(inputs) else run
            settings |= {"source": Sibling(attacked, api.load(path)), "name": path.name}
        return single_attack(
            str(self.family), self.norm, self.epsilon, goal, settings, db=self.db, trust=trust
        )

    def _is_of_waveforms(self, inputs: str | None) -> bool:
        """Whether waveforms are attacked."""
        from tenuto.attacks import BUDGETS
        from tenuto.attacks.parsing import norm_or_default

        norm = BUDGETS[norm_or_default(self.norm, self.db)]
        return inputs == "waveform" or bool(self.robust_to) or norm.needs_sound

    @property
    def settings(self) -> dict[str, object]:
        """The settings in ``--setting``, the region and the transformations, by their names. Raises `ConfigError`."""
        from tenuto.attacks import Region, Transformations

        settings: dict[str, object] = {} if self.precision is None else {"precision": self.precision}
        for text in self.setting or []:
            name, equals, value = text.partition("=")
            if not equals:
                raise ConfigError(f"--setting {text}: must be NAME=VALUE, such as steps=100.")
            settings[name.strip().replace("-", "_")] = value.strip()
        if self.seconds or self.bands:
            settings["region"] = Region(self.seconds, self.bands)
        if self.robust_to is not None or self.draws is not None:
            settings["transformations"] = Transformations.named(self.robust_to or "", self.draws)
        return settings
