"""How far an attack can move an attribution while the prediction stays, and whether an attribution finds an attack.

`Explained` returns the shares of all entries as the concepts of a `Prediction`, so every attack of `tenuto.attacks`
with the objective `ConceptsMove` moves the attribution and keeps the emotions. Shares are scaled to a mean square of 1,
since their pattern is to change, not their size.

Shares consist of gradients, and their gradient is zero almost everywhere in a network of ReLU. The search therefore
runs with softplus in their place (A.-K. Dombrowski et al., "Explanations can be manipulated and geometry is
to blame", NeurIPS 2019), and what is reported is measured with the network itself. The attack follows A. Ghorbani et
al., "Interpretation of Neural Networks Is Fragile", AAAI 2019; it is a lower bound of what is possible.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from tenuto.attacks import APGD, Budget, ConceptsMove, OneEmotion, Region
from tenuto.attacks.axes import Axes
from tenuto.attacks.base import Range
from tenuto.attacks.search import room
from tenuto.errors import ConfigError
from tenuto.evaluation.attribution import (
    SEGMENTS,
    AttributionChange,
    Grid,
    attribute,
    localisation,
    plane,
    similarity,
)
from tenuto.models.heads import Prediction

IN_PLACE = (torch.relu_, nn.functional.relu_, Tensor.relu_)
RELU = (torch.relu, nn.functional.relu, Tensor.relu, *IN_PLACE)

SHARPNESS = 30.0
"""Softplus with this factor stands for ReLU: it differs from it by at most ln(2) / 30."""

KEEP = 50.0
"""Weight of the emotions in the search: unrelated shares gain 1.4, which a change of all emotions by .17 costs."""

DEFAULT_STEPS = 30


class Explained(nn.Module):
    """A network whose concepts are the shares of all entries in one emotion: input times gradient.

    Args:
        network: Inputs (n, ...) to `Prediction`.
        output: Column of the emotion.

    Shape:
        - input: (n, ...)
        - output: emotions (n, emotions) and concepts (n, entries), of mean square 1
    """

    def __init__(self, network: nn.Module, output: int) -> None:
        super().__init__()
        self.network, self.output = network, output

    def forward(self, inputs: Tensor) -> Prediction:
        """Predict and explain."""
        differentiable = torch.is_grad_enabled() and inputs.requires_grad
        # The fast kernels of attention have no second derivative.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
            point = inputs if differentiable else inputs.detach().requires_grad_()
            emotions = self.network(point).emotions
            (gradient,) = torch.autograd.grad(
                emotions[:, self.output].sum(), point, create_graph=differentiable
            )
            shares = (point * gradient).flatten(1)
        shares = shares / shares.square().mean(dim=1, keepdim=True).clamp_min(1e-24).sqrt()
        return (
            Prediction(emotions, shares) if differentiable else Prediction(emotions.detach(), shares.detach())
        )


class Softened(nn.Module):
    """A network with softplus in place of every ReLU, module or function, so that its gradient has a gradient."""

    def __init__(self, network: nn.Module, sharpness: float = SHARPNESS) -> None:
        super().__init__()
        self.network, self.sharpness = network, sharpness

    def forward(self, inputs: Tensor) -> Any:
        with _SoftplusForRelu(self.sharpness):
            return self.network(inputs)


class _SoftplusForRelu(TorchFunctionMode):
    """Inside, torch computes softplus wherever ReLU is called; TorchScript code is not changed."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function not in RELU:
            return function(*args, **kwargs)
        values = args[0] if args else kwargs["input"]
        is_in_place = function in IN_PLACE or kwargs.get("inplace") or (len(args) > 1 and args[1])
        if not is_in_place:
            return nn.functional.softplus(values, beta=self.sharpness)
        return values.copy_(nn.functional.softplus(values.clone(), beta=self.sharpness))


def move_attribution(
    model: nn.Module,
    example: Tensor,
    output: int,
    budget: Budget,
    *,
    method: str = "integrated-gradients",
    segments: Grid = SEGMENTS,
    steps: int = DEFAULT_STEPS,
    keep: float = KEEP,
    seed: int = 0,
    axes: Axes | None = None,
    valid_range: Range | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> AttributionChange:
    """Attack the attribution of one prediction, and compare with random noise of the same size.

    Args:
        model: The network, frozen, in evaluation mode.
        example: (...), one input.
        output: Column of the emotion.
        budget: How large the perturbation may be, such as ``Linf(0.05)``.
        method: With which the result is measured; the search uses input times gradient.
        segments: Of occlusion.
        steps: Of the search.
        keep: Weight of the mean squared change of the emotions in the search.
        seed: Of the search and the noise.
        axes: What the axes of the input mean.
        valid_range: Lowest and highest value that the attack may give an entry; None where nothing is known.
        progress: Called with 1 after every step.
    """
    inputs = example[None]
    attack = APGD(budget, objective=ConceptsMove(keep=keep), steps=steps, seed=seed)
    explained = Explained(Softened(model), output)
    with torch.no_grad():
        clean = model(inputs.clone()).emotions
    result = attack(explained, inputs, clean, axes=axes, valid_range=valid_range, progress=progress)
    noise = _noise_like(result.perturbation, inputs, budget.at_rate_of(axes), valid_range, seed)
    before, after, noisy = (
        attribute(model, one[0], output, method, segments)
        for one in (inputs, result.adversarial, inputs + noise)
    )
    with torch.no_grad():
        movement, shaken = (
            (model(one).emotions - clean)[0] for one in (result.adversarial.clone(), inputs + noise)
        )
    return AttributionChange(
        budget,
        similarity(before, after),
        similarity(before, noisy),
        float(movement[output]),
        float(movement.abs().max()),
        float(shaken[output]),
        after,
    )


def _noise_like(
    perturbation: Tensor, inputs: Tensor, budget: Budget, valid_range: Range | None, seed: int
) -> Tensor:
    """The entries of a perturbation in random order with random signs: noise of its size.

    Where the size is more than a norm of the entries, as under `Masked`, the noise is scaled to it. An entry that would
    leave the valid range has the other sign, or is shortened.
    """
    generator = np.random.default_rng(seed)
    flat = perturbation.detach().cpu().flatten().numpy()
    shuffle = generator.permutation(flat) * generator.choice([-1.0, 1.0], flat.size).astype(flat.dtype)
    noise = torch.from_numpy(shuffle).reshape(perturbation.shape).to(perturbation)
    around = budget.around(inputs, ("",))
    noise_size, size = around.size(noise), around.size(perturbation)
    if not torch.allclose(noise_size, size):
        noise = noise * (size / noise_size).to(noise)
    if (limits := room(inputs, valid_range)) is not None:
        noise = torch.where((noise < limits[0]) | (noise > limits[1]), -noise, noise).clamp(*limits)
    return noise


def entries_of(region: Region, example: Tensor, axes: Axes | None) -> NDArray[np.bool_]:
    """Which entries of one example belong to a region, (steps, bands).

    Raises:
        AttackError: The axes are not known.
        ConfigError: The region is not in the input, or is the whole of it.
    """
    box, inside = region.of(example[None], axes).box, np.zeros(plane(example).shape, bool)
    has_bands = inside.shape[1] > 1
    inside[box if has_bands else (box[1], slice(None))] = True
    if inside.all():
        raise ConfigError(
            f"{region!r} is the whole input, in which an attribution cannot find it. "
            f"{'Choose a smaller one.' if has_bands else 'Choose seconds: the shares of a waveform have no frequency.'}"
        )
    return inside


def find_region(
    model: nn.Module,
    example: Tensor,
    output: int,
    budget: Budget,
    region: Region,
    axes: Axes | None,
    *,
    method: str = "integrated-gradients",
    segments: Grid = SEGMENTS,
    steps: int = DEFAULT_STEPS,
    seed: int = 0,
    valid_range: Range | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, float]:
    """Attack one emotion in a part of the input alone, and measure whether the attribution finds that part.

    Args:
        model: The network, frozen, in evaluation mode.
        example: (...), one input.
        output: Column of the emotion, which is raised.
        budget: How large the perturbation may be.
        region: Seconds and frequencies that may change.
        axes: What the axes of the input mean.
        method: Of the attribution.
        segments: Of occlusion.
        steps: Of the attack.
        seed: Of the attack.
        valid_range: As in `move_attribution`.
        progress: Called with 1 after every step.

    Returns:
        ``change``: of the emotion by the attack; `tenuto.evaluation.attribution.localisation` of the attribution of the
        attacked input, and, as ``clean_auc``, the ``auc`` of the clean input, which knows of no attack.

    Raises:
        AttackError, ConfigError: As `entries_of`.
    """
    inputs, inside = example[None], entries_of(region, example, axes)
    with torch.no_grad():
        clean = model(inputs.clone()).emotions
    attack = APGD(budget, objective=OneEmotion(output), steps=steps, seed=seed, region=region)
    result = attack(model, inputs, clean, axes=axes, valid_range=valid_range, progress=progress)
    shares = {
        name: attribute(model, one[0], output, method, segments)
        for name, one in (("clean", inputs), ("attacked", result.adversarial))
    }
    change = float((result.adversarial_prediction - result.clean_prediction)[0, output])
    return {
        "change": change,
        **localisation(shares["attacked"], inside),
        "clean_auc": localisation(shares["clean"], inside)["auc"],
    }
