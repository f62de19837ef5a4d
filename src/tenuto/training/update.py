"""One update of a network in training, as every method of training makes it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from tenuto.attacks.base import Range
from tenuto.data.batches import Batch
from tenuto.devices import Precision, allowing_tf32, computing_in
from tenuto.models.heads import Prediction
from tenuto.models.sound import SoundNetwork
from tenuto.models.systems import Network, for_attack
from tenuto.training.averaging import Average


@dataclass
class Trainee:
    """A network in training.

    Attributes:
        network: Takes normalised excerpts (clips, 1, 313, 149); in training mode.
        optimizer: Of its weights.
        loss: The loss of the run, (prediction, batch) to a scalar: w * emotion MSE + (1 - w) * concept MSE.
        precision: Of updates and attacks.
        average: Follows the weights, where the run averages them.
        sound: The network behind the front end, where batches hold waveforms (clips, 221 843).
        valid_range: Lowest and highest value of an input; None where nothing is known.
    """

    network: Network
    optimizer: torch.optim.Optimizer
    loss: Callable[[Prediction, Batch], Tensor]
    precision: Precision = "float32"
    average: Average | None = None
    sound: SoundNetwork | None = None
    valid_range: Range | None = None
    _seen: list[Tensor] = field(default_factory=list)

    def predict(self, inputs: Tensor) -> Prediction:
        """The prediction for inputs of a batch in training mode, with dropout and the statistics of the batch."""
        excerpts = inputs if self.sound is None else self.sound.excerpts(inputs)
        if self.average is not None:
            self._seen.append(excerpts.detach())
        prediction: Prediction = self.network(excerpts)
        return prediction

    def step(self, loss: Callable[[], Tensor]) -> Tensor:
        """Make one update that lowers what ``loss`` returns, and return its value. Adam and its moments are float32."""
        self.optimizer.zero_grad(set_to_none=True)
        with allowing_tf32(self.precision == "tf32"):
            # One block per update: autocast caches lowered weights until its block ends, even after an optimiser step.
            with self.computing():
                value = loss()
            value.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.average is not None:
            with self.computing():
                self.average.update(self.network, self._seen)
            self._seen.clear()
        return value.detach()

    def learn(self, inputs: Tensor, batch: Batch) -> Tensor:
        """Make one update on inputs in place of those of a batch, and return its loss."""
        return self.step(lambda: self.loss(self.predict(inputs), batch))

    def frozen(self) -> Network:
        """A copy for attacks: evaluation mode, no gradients of weights. It takes the inputs of a batch."""
        return for_attack(self.network if self.sound is None else self.sound)

    def computing(self) -> AbstractContextManager[Any]:
        """Inside, networks compute in the precision of the run."""
        return computing_in(self.precision, next(self.network.parameters()).device.type)
