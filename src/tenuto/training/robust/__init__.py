"""Methods that train a network to be robust; docs/robust-training.md has their equations, costs and sources."""

from tenuto.training.robust.base import (
    METHODS as METHODS,
    Attacking,
    Ball,
    Method,
    build,
    check,
    complete_settings,
)
from tenuto.training.robust.fast import FastTraining
from tenuto.training.robust.free import FreeTraining
from tenuto.training.robust.noise import GaussianNoise
from tenuto.training.robust.pgd import PGDTraining
from tenuto.training.robust.trades import TradesTraining

__all__ = [
    "METHODS",
    "Attacking",
    "Ball",
    "FastTraining",
    "FreeTraining",
    "GaussianNoise",
    "Method",
    "PGDTraining",
    "TradesTraining",
    "build",
    "check",
    "complete_settings",
]
