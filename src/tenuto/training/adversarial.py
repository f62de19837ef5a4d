"""The adversarial step: after a normal update, one more on the same clips under attack."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from tenuto.attacks import ReleasedAttack
from tenuto.attacks.checks import listed
from tenuto.config import AdversarialConfig
from tenuto.data.base import Index
from tenuto.data.batches import Batch
from tenuto.data.splits import Split
from tenuto.devices import Precision, computing_in
from tenuto.errors import ConfigError
from tenuto.metrics import is_constant
from tenuto.models.systems import Network, for_attack


def is_attacked(config: AdversarialConfig, epoch: int) -> bool:
    """Whether clips are attacked in this epoch (counted from 1); in the study epochs 5, 10, 15, ..."""
    return epoch % config.every == 0


def check_attack(config: AdversarialConfig | None, index: Index, split: Split) -> None:
    """Refuse, before training, clips that the attack of adversarial training cannot attack.

    Args:
        config: When and how clips are attacked; None for no adversarial training.
        index: The ratings.
        split: The parts, of which the training clips are attacked.

    Raises:
        ConfigError: Fewer than three emotions, or a clip with equal labels, under the measure ``corr``.
    """
    if config is None:
        return
    if reason := _attack(config).refusal(len(index.emotions)):
        raise ConfigError(f"train.adversarial: {reason}")
    in_training = np.isin(index.clips, split.train)
    equal = in_training & is_constant(index.labels.T)
    if config.measure == "corr" and equal.any():
        raise ConfigError(
            f"train.adversarial: all labels of {listed(index.clips, equal)} are equal, and a correlation across equal "
            "labels is not defined: use measure='mse', or leave such clips out."
        )


def perturb(
    network: Network, batch: Batch, config: AdversarialConfig, precision: Precision = "float32"
) -> Tensor:
    """Return the batch's inputs plus the *stored* perturbation of a short released attack against the labels.

    The attack runs on a frozen copy in evaluation mode, without dropout and batch statistics of training.
    """
    attack = _attack(config)
    with computing_in(precision, batch.inputs.device.type):
        result = attack(
            for_attack(network), batch.inputs, batch.labels, names=batch.clips, batch_size=len(batch)
        )
    return batch.inputs + result.stored_perturbation


def _attack(config: AdversarialConfig) -> ReleasedAttack:
    return ReleasedAttack(**config.model_dump(exclude={"every"}))
