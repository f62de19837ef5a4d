"""The options of `tenuto attack` that describe a single attack."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tenuto.errors import ConfigError

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
        float | None,
        attack_option(help="Size of the budget: of a spectrogram in std, of a waveform full scale is 1."),
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
        names = [one.name for one in dataclasses.fields(self) if getattr(self, one.name) != one.default]
        if self.family is None and names:
            options = [f"--{'objective' if name == 'aim' else name.replace('_', '-')}" for name in names]
            verb = "needs" if len(options) == 1 else "need"
            raise ConfigError(f"{' and '.join(options)} {verb} --attack, the name of a single attack.")
        if self.family is not None and has_protocol:
            raise ConfigError("--attack is a single attack: leave out --protocol and its settings.")

    def protocol(self, run: Run, precision: str | None, trust: bool) -> Protocol:
        """The attack on a run. Raises `ConfigError`, and `TrustError` for code of the user's own."""
        from tenuto.api.single_attacks import attack_on_run

        settings = self.settings(precision)
        if self.source is not None:
            settings["source"] = self.source
        return attack_on_run(
            run,
            str(self.family),
            objective=self.aim,
            epsilon=self.epsilon,
            db=self.db,
            norm=self.norm,
            from_clean=self.from_clean,
            scale=self.clipped,
            trust=trust,
            **settings,
        )

    def settings(self, precision: str | None) -> dict[str, Any]:
        """The settings in ``--setting``, the region and the transformations, by their names. Raises `ConfigError`."""
        from tenuto.attacks import Region, Transformations

        settings: dict[str, Any] = {} if precision is None else {"precision": precision}
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
