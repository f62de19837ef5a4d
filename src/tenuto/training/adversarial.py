"""The adversarial step: after a normal update, one more on the same clips under attack."""

from __future__ import annotations

from torch import Tensor

from tenuto.attacks import ReleasedAttack
from tenuto.config import AdversarialConfig
from tenuto.data.batches import Batch
from tenuto.devices import Precision, computing_in
from tenuto.models.systems import Network, for_attack


def is_attacked(config: AdversarialConfig | None, epoch: int) -> bool:
    """Whether clips are attacked in this epoch (counted from 1); in the study epochs 5, 10, 15, ..."""
    return config is not None and epoch % config.every == 0


def perturbed(
    network: Network, batch: Batch, config: AdversarialConfig, precision: Precision = "float32"
) -> Tensor:
    """Return the batch's inputs plus the *stored* perturbation of a short released attack against the labels.

    The attack runs on a frozen copy in evaluation mode, without dropout and batch statistics of training.
    """
    attack = ReleasedAttack(
        measure=config.measure,
        optimizer=config.optimizer,
        step_size=config.step_size,
        iterations=config.iterations,
    )
    with computing_in(precision, batch.inputs.device.type):
        result = attack(
            for_attack(network), batch.inputs, batch.labels, names=batch.clips, batch_size=len(batch)
        )
    return batch.inputs + result.stored_perturbation
