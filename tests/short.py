"""Short searches, no mixed models, no pictures, and music generated once, for tests of what surrounds them.

All of these have tests of their own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tenuto.analysis import statistics
from tenuto.attacks import PROTOCOLS
from tenuto.attacks.base import Attack
from tenuto.data import synthesis
from tenuto.evaluation.audit import examination, longer_search, remedies
from tenuto.files import write_bytes

FEW = {"steps": 2, "queries": 4, "draws": 1}


def _shortened(attack: Any) -> Attack:
    shortened: Attack = dataclasses.replace(
        attack, **{name: number for name, number in FEW.items() if hasattr(attack, name)}
    )
    return shortened


@contextlib.contextmanager
def few_steps() -> Iterator[None]:
    """`standard-1` takes a few steps at budgets of 0.05 and more, an audit is as brief, `stats` fits no model."""
    published = PROTOCOLS["standard-1"]
    attacks = tuple(map(_shortened, published.attacks))
    short = dataclasses.replace(published, attacks=attacks, budgets=published.budgets[-3:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROTOCOLS._parts, "standard-1", short)
        patch.setattr(statistics, "_fit", lambda sides, start: None)  # as one that does not converge
        patch.setattr(examination, "STAND_IN", _shortened(examination.STAND_IN))
        for name, number in (("STEPS", 2), ("UNBOUNDED_STEPS", 4), ("QUERIES", 4), ("DRAWS", 1)):
            patch.setattr(examination, name, number)
        for module in (longer_search, remedies):
            patch.setattr(module, "RESTARTS", 2)
        patch.setattr(remedies, "TIMES", (2,))
        yield


UNDRAWN = ("tenuto.reporting.figures.style._rendered", lambda *given, **options: b"")
"""Replaced so that figures are not rendered and files empty, for tests of words and tables next to them."""


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Inside, figures are made but not rendered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*UNDRAWN)
        yield


@contextlib.contextmanager
def rendered_once(factory: pytest.TempPathFactory) -> Iterator[None]:
    """Inside, a clip of generated music that any test of the session has rendered is taken from there."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "generated"
    folder.mkdir(exist_ok=True)
    encode = synthesis._encode

    def kept(path: Any, clip: Any, seed: int, seconds: float) -> bytes:
        file = folder / f"{clip.number}-{seed}-{seconds}.mp3"
        if not file.exists():
            write_bytes(file, encode(path, clip, seed, seconds))
        return file.read_bytes()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "_encode", kept)
        yield
