"""The options of `tenuto attack` that describe a single attack."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenuto.errors import ConfigError
from tenuto.store.location import locate_run

if TYPE_CHECKING:
    from tenuto.api import Run
    from tenuto.attacks import Protocol

attack_option = functools.partial(typer.Option, rich_help_panel="A single attack")
region_option = functools.partial(
    typer.Option, rich_help_panel="Region and transformations of a single attack"
)


@dataclasses.dataclass(frozen=True)
class SingleAttack:
    """The options of a single attack."""

    family: Annotated[
        str | None,
        attack_option(
            "--attack",
            help="APGD, PGD, FGSM, DDN, Minimal, Imperceptible, Square, Noise, Transfer, Described, or "
            "FILE.py:FUNCTION of your own.",
        ),
    ] = None
    norm: Annotated[
        str | None,
        attack_option(
            help="linf, l2 or none; of the waveform: snr, amplitude or masked.",
            show_default="snr with --db, else linf",
        ),
    ] = None
    epsilon: Annotated[
        float | None, attack_option(help="Size of the budget, in std; of amplitude: full scale is 1.")
    ] = None
    db: Annotated[float | None, attack_option(help="Size of the budget in dB, for snr and masked.")] = None
    aim: Annotated[
        str | None,
        attack_option(
            "--objective",
            help="squared-error, absolute-error, correlation, huber, happy+, happy+alone, happy=0.8,sad=0.1, "
            "each-emotion, concepts-move, emotions-move, concept:modality+.",
            show_default="squared-error",
        ),
    ] = None
    from_clean: Annotated[
        bool, attack_option("--from-clean", help="Measure errors from the clean prediction.")
    ] = False
    clipped: Annotated[
        tuple[float, float] | None,
        attack_option(metavar="LOW HIGH", help="Clip predictions to this scale first."),
    ] = None
    setting: Annotated[
        list[str] | None, attack_option(metavar="NAME=VALUE", help="steps=100, restarts=5, goal=0.2 ...")
    ] = None
    source: Annotated[Path | None, attack_option(help="Run whose network Transfer attacks.")] = None
    seconds: Annotated[
        tuple[float, float] | None,
        region_option(
            metavar="FROM TO", help="Perturb these seconds of the excerpt only.", show_default="all"
        ),
    ] = None
    bands: Annotated[
        tuple[float, float] | None,
        region_option(metavar="LOW HIGH", help="Perturb these frequencies only, in Hz.", show_default="all"),
    ] = None
    robust_to: Annotated[
        str | None,
        region_option(
            metavar="NAMES",
            help="Average over random changes of the sound: gain, shift, noise, low-pass, room, mp3, comma-separated.",
            show_default="none",
        ),
    ] = None
    draws: Annotated[
        int | None,
        region_option(
            min=1,
            help="Random draws per step; without --robust-to for a model that is random itself.",
            show_default="8 with --robust-to",
        ),
    ] = None

    def check(self, has_protocol: bool) -> None:
        """Raise `ConfigError` for options that contradict each other."""
        given = [one.name for one in dataclasses.fields(self) if getattr(self, one.name) != one.default]
        if self.family is None and given:
            options = [f"--{'objective' if name == 'aim' else name.replace('_', '-')}" for name in given]
            verb = "needs" if len(options) == 1 else "need"
            raise ConfigError(f"{' and '.join(options)} {verb} --attack, the name of a single attack.")
        if self.family is not None and has_protocol:
            raise ConfigError("--attack is a single attack: leave out --protocol and its settings.")

    def protocol(self, run: Run, inputs: str | None, precision: str | None, trust: bool) -> Protocol:
        """The attack on a run, on these inputs. Raises `ConfigError`, and `TrustError` for code of the user's own."""
        from tenuto import api
        from tenuto.api.single_attacks import single_attack
        from tenuto.attacks import parse_objective
        from tenuto.evaluation.runs import Sibling

        word = self.aim or ("squared-error" if self.from_clean or self.clipped else None)
        model, goal = run.recogniser, None
        if word is not None:
            goal = parse_objective(
                word, model.emotions, from_clean=self.from_clean, scale=self.clipped, concepts=model.concepts
            )
        settings = self.settings(precision)
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

    def settings(self, precision: str | None) -> dict[str, object]:
        """The settings in ``--setting``, the region and the transformations, by their names. Raises `ConfigError`."""
        from tenuto.attacks import Region, Transformations

        settings: dict[str, object] = {} if precision is None else {"precision": precision}
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
