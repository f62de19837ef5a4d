"""The published protocols: one word to cite, every setting fixed. Another setting is another version."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from tenuto.attacks.apgd import APGD
from tenuto.attacks.base import Attack
from tenuto.attacks.budgets import L2, SNR, Linf
from tenuto.attacks.ddn import DDN
from tenuto.attacks.masked import Masked
from tenuto.attacks.noise import Noise
from tenuto.attacks.objectives import AbsoluteError, Correlation, EachEmotion, SquaredError
from tenuto.attacks.protocols import Protocol
from tenuto.attacks.registry import PROTOCOLS, setting_names
from tenuto.attacks.smc2025.described import Described
from tenuto.attacks.smc2025.released import ReleasedAttack
from tenuto.attacks.square import Square
from tenuto.errors import ConfigError, did_you_mean

STANDARD_BUDGETS = tuple(Linf(epsilon) for epsilon in (0.01, 0.02, 0.05, 0.1, 0.2))
"""Budgets of standard-1, in standard deviations of the normalised log spectrogram."""

LARGEST_STANDARD = STANDARD_BUDGETS[-1]

EUCLIDEAN = tuple(L2(epsilon) for epsilon in (1.0, 5.0, 20.0))
"""Further budgets of thorough-1; L2(20) changes each of 313 x 149 entries by 0.093."""

HEARING = (*(SNR(db) for db in (60, 50, 40, 30, 20)), *(Masked(db) for db in (-6, 0, 6)))
"""Budgets of sound-1: signal-to-noise ratios of the waveform and ratios of noise to the masking threshold."""

LOUDEST = (SNR(20), Masked(6))


def _noises(draws: int) -> tuple[Noise, ...]:
    """The noises of the protocols of spectrograms."""
    kinds: tuple[Literal["uniform", "gaussian", "sign"], ...] = ("uniform", "gaussian", "sign")
    return tuple(Noise(LARGEST_STANDARD, objective=AbsoluteError(), kind=kind, draws=draws) for kind in kinds)


for _published in (
    Protocol(
        name="paper-2025-released",
        version=1,
        description="The attack of the SMC 2025 study as its released code performs it; no budget.",
        attacks=(ReleasedAttack(),),
    ),
    Protocol(
        name="paper-2025-described",
        version=1,
        description="The same attack as the study's settings describe it: L-infinity 0.001, clipped after every "
        "step, and the prediction at the stored perturbation.",
        attacks=(Described(),),
    ),
    Protocol(
        name="standard-1",
        version=1,
        description="The worst of gradient ascent on three errors and on each emotion up and down, of random "
        "search and of noise, over five L-infinity budgets.",
        attacks=(
            APGD(LARGEST_STANDARD, objective=SquaredError(), steps=30),
            APGD(LARGEST_STANDARD, objective=AbsoluteError(), steps=20),
            APGD(LARGEST_STANDARD, objective=Correlation(), steps=20),
            APGD(LARGEST_STANDARD, objective=EachEmotion(), steps=6),
            Square(LARGEST_STANDARD, objective=AbsoluteError(), queries=80),
            *_noises(draws=8),
        ),
        budgets=STANDARD_BUDGETS,
        silence=True,
        most_emotions=11,
    ),
    Protocol(
        name="standard-2",
        version=2,
        description="standard-1 with longer ascents of its first member from three starts, and with ascents on a "
        "sphere.",
        attacks=(
            APGD(LARGEST_STANDARD, objective=SquaredError(), steps=50, restarts=3),
            APGD(LARGEST_STANDARD, objective=AbsoluteError(), steps=20),
            APGD(LARGEST_STANDARD, objective=Correlation(), steps=20),
            APGD(LARGEST_STANDARD, objective=EachEmotion(), steps=5),
            DDN(LARGEST_STANDARD, objective=AbsoluteError(), steps=50),
            Square(LARGEST_STANDARD, objective=AbsoluteError(), queries=80),
            *_noises(draws=8),
        ),
        budgets=STANDARD_BUDGETS,
        silence=True,
        most_emotions=11,
    ),
    Protocol(
        name="thorough-1",
        version=1,
        description="A check of standard-1: its members with five times the passes, in longer ascents from several "
        "starts, ascents on a sphere, and the same families in L2.",
        attacks=(
            APGD(LARGEST_STANDARD, objective=SquaredError(), steps=50, restarts=3),
            APGD(LARGEST_STANDARD, objective=AbsoluteError(), steps=50, restarts=2),
            APGD(LARGEST_STANDARD, objective=Correlation(), steps=50, restarts=2),
            APGD(LARGEST_STANDARD, objective=EachEmotion(), steps=30),
            DDN(LARGEST_STANDARD, objective=SquaredError(), steps=60),
            DDN(LARGEST_STANDARD, objective=AbsoluteError(), steps=60),
            Square(LARGEST_STANDARD, objective=AbsoluteError(), queries=400),
            *_noises(draws=40),
            APGD(EUCLIDEAN[-1], objective=SquaredError(), steps=60),
            APGD(EUCLIDEAN[-1], objective=AbsoluteError(), steps=60),
            DDN(EUCLIDEAN[-1], objective=SquaredError(), steps=60),
            Square(EUCLIDEAN[-1], objective=AbsoluteError(), queries=200),
        ),
        budgets=(*STANDARD_BUDGETS, *EUCLIDEAN),
        silence=True,
        most_emotions=11,
    ),
    Protocol(
        name="sound-1",
        version=1,
        description="The worst of gradient ascent on two errors and on each emotion up and down, and of white, pink "
        "and masked noise, on the waveform, over five signal-to-noise ratios and three noise-to-mask ratios.",
        attacks=(
            *(APGD(budget, objective=SquaredError(), steps=25) for budget in LOUDEST),
            *(APGD(budget, objective=AbsoluteError(), steps=10) for budget in LOUDEST),
            *(APGD(budget, objective=EachEmotion(), steps=3) for budget in LOUDEST),
            *(
                Noise(budget, objective=AbsoluteError(), kind=kind, draws=8)
                for kind in ("white", "pink", "masked")
                for budget in LOUDEST
            ),
        ),
        budgets=HEARING,
        silence=True,
        most_emotions=14,
    ),
):
    PROTOCOLS.register(_published.name)(_published)


def protocol(name: str, **settings: Any) -> Protocol:
    """Look up a published protocol by its name.

    Args:
        name: One of `PROTOCOLS`.
        settings: Changes for a reduced run, such as ``iterations=100``, to every attack that has the setting.
            The printed form shows those that deviate from the published value. A protocol with budgets takes
            ``precision`` alone.

    Raises:
        ConfigError: Unknown name or setting, or a value out of range.

    >>> protocol("paper-2025-released", iterations=100)
    protocol('paper-2025-released', iterations=100)
    """
    published: Protocol = PROTOCOLS[name]
    if published.budgets and (fixed := [setting for setting in settings if setting != "precision"]):
        raise ConfigError(
            f"Protocol {published.name} has no parameters: leave out {', '.join(f'`{name}`' for name in fixed)}."
        )
    valid_settings = {setting for attack in published.attacks for setting in setting_names(attack)}
    for setting in settings:
        if setting not in valid_settings:
            hint = did_you_mean(setting, sorted(valid_settings))
            raise ConfigError(f"Protocol {published.name} has no setting '{setting}'. {hint}")
    attacks: list[Attack] = []
    changes: dict[str, Any] = {}
    members: tuple[Any, ...] = published.attacks
    for attack in members:
        own = setting_names(attack).intersection(settings)
        new = {setting: settings[setting] for setting in own if getattr(attack, setting) != settings[setting]}
        changes.update(new)
        attacks.append(dataclasses.replace(attack, **new))
    return dataclasses.replace(published, attacks=tuple(attacks), changes=tuple(sorted(changes.items())))
