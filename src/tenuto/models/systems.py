"""Networks by name: their base class, their registry, and how they are built and frozen for attacks."""

from __future__ import annotations

import abc
import copy
from collections.abc import Callable
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from tenuto.config import SYSTEMS, RunConfig
from tenuto.errors import ConfigError, did_you_mean
from tenuto.models.heads import Prediction
from tenuto.registry import Registry

CONCEPTS_WITHOUT_RATINGS = 7
"""Units of a bottleneck where the data set has no concepts."""


class Network(nn.Module, abc.ABC):
    """Base class of all networks. A subclass lives in one file and registers itself with `register_network`.

    It is built with the number of emotions, the number of concepts (units of its bottleneck, if it has one) and a
    factor on its width.

    Attributes:
        name: The name it is registered under, or that of its entry point.
        has_concepts: Whether it predicts concepts, and emotions from these alone.
        has_gradient: Whether its predictions have a gradient with respect to its inputs.

    Shape:
        - input: (clips, 1, 313, 149), normalised
        - output: `Prediction`

    Example:
        >>> sum(p.numel() for p in build("A2E").parameters())
        3937864
    """

    name: str = ""
    has_concepts: ClassVar[bool] = False
    has_gradient: bool = True

    def __init__(self, emotions: int, concepts: int, width: float) -> None:
        super().__init__()

    @abc.abstractmethod
    def forward(self, excerpts: Tensor) -> Prediction:
        """Predict emotions (and concepts) of normalised excerpts."""

    def simplify(self) -> None:
        """Make this frozen copy faster without changing its predictions, in place. The base class does nothing."""


NETWORKS: Registry[type[Network]] = Registry("network", "tenuto.networks", type)
"""All networks by name."""

N = TypeVar("N", bound=Network)


def register_network(name: str) -> Callable[[type[N]], type[N]]:
    """Return a decorator that makes a subclass of `Network` known under ``name``. Raises `ConfigError` if taken."""

    def register(network: type[N]) -> type[N]:
        NETWORKS.register(name)(network)
        network.name = name
        return network

    return register


def build(
    system: str, emotions: int = 8, concepts: int = CONCEPTS_WITHOUT_RATINGS, width: float = 1.0
) -> Network:
    """Build a network with random weights.

    Args:
        system: A system (A2E, A2B2E, A2M2E, aA2E, aA2B2E) or a network (a2e, a2m2e, or a registered one).
        emotions: Number of emotions.
        concepts: Number of units of the bottleneck, if the network has one.
        width: Factor on the number of channels.

    Raises:
        ConfigError: No such system or network.
    """
    if system not in SYSTEMS and system not in NETWORKS:
        raise ConfigError(f"Unknown network '{system}'. {did_you_mean(system, (*SYSTEMS, *NETWORKS))}")
    name = SYSTEMS[system].network if system in SYSTEMS else system
    network = NETWORKS[name](emotions, concepts, width)
    network.name = name
    return network


def check_network(config: RunConfig) -> None:
    """Refuse a run whose network is unknown or cannot learn what is weighed. Raises `ConfigError`."""
    weight, bottleneck = config.train.task_loss_weight, config.train.bottleneck
    has_concepts = NETWORKS[config.model.network].has_concepts
    if weight != 1.0 and not has_concepts:
        others = " or ".join(name for name in NETWORKS if NETWORKS[name].has_concepts)
        setting, fix = (
            (f"bottleneck {bottleneck}", "Leave it out")
            if bottleneck
            else (f"task_loss_weight {weight:g}", "Set it to 1")
        )
        raise ConfigError(
            f"{setting} needs the network {others}: {config.model.network} has no concepts to learn. {fix} or choose "
            "that network."
        )


def for_attack(network: N) -> N:
    """Return a copy for inference: evaluation mode, no weight gradients, as fast as the network can be made.

    It predicts what the network predicts in evaluation mode, up to rounding.
    """
    frozen = copy.deepcopy(network).eval().requires_grad_(False)
    frozen.simplify()
    return frozen
