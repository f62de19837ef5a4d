"""3 x 3 convolutions with fewer multiplications, for training and for attacks on one thread of a processor with AVX2.

Source: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016 (Winograd's minimal
filtering), as NNPACK computes it, which PyTorch brings along; images too large for it NNPACK convolves by FFT.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tenuto.devices import convolves_by_nnpack

FEWEST_PAIRS = 2048
"""Input times output channels from which on transforming the images costs less than it saves."""


class Convolution(nn.Conv2d):
    """`torch.nn.Conv2d`, in training and in copies for attacks with fewer multiplications where that is quicker.

    This rounds some ten times more coarsely (1e-5 of the largest output instead of 1e-6), so predictions that are
    evaluated do without it. So do all others that it does not suit: float64, autocast, a GPU, few channels, other
    kernels, where it gains nothing (`tenuto.devices.convolves_by_nnpack`). It has no second derivative.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.turned: Tensor | None
        self.register_buffer("turned", None, persistent=False)

    def freeze(self) -> None:
        """The weights stay as they are from here on: compute the quick way in evaluation mode as well."""
        self.requires_grad_(False)
        if self._suited() and convolves_by_nnpack():
            self.turned = _turned(self.weight)
        else:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, input: Tensor) -> Tensor:
        """As `torch.nn.Conv2d.forward`."""
        wanted = self.turned is not None or (self.training and self._suited())
        # A frozen copy may have come from another process: asking for NNPACK is also what starts it in this one.
        if wanted and self._suits(input) and convolves_by_nnpack():
            output: Tensor = _Quick.apply(input, self.weight, self.bias, self.turned)  # type: ignore[no-untyped-call]
            return output
        return super().forward(input)

    def _suited(self) -> bool:
        return (
            self.kernel_size == (3, 3)
            and self.stride == self.padding == self.dilation == (1, 1)
            and self.groups == 1
            and self.in_channels * self.out_channels >= FEWEST_PAIRS
        )

    def _suits(self, images: Tensor) -> bool:
        return (
            images.device.type == "cpu"
            and images.dtype == self.weight.dtype == torch.float32
            and images.ndim == 4
            and images.numel() > 0
            and not torch.is_autocast_enabled("cpu")
        )


class _Quick(torch.autograd.Function):
    """(n, c, h, w) with weights (d, c, 3, 3) and bias (d,) to (n, d, h, w); zeros stand around the images."""

    @staticmethod
    def forward(images: Tensor, weight: Tensor, bias: Tensor | None, turned: Tensor | None) -> Tensor:
        return _convolve(images, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        images, weight, bias, turned = inputs
        learning = weight.requires_grad or (bias is not None and bias.requires_grad)
        ctx.save_for_backward(images if learning else None, weight, turned)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the images is a convolution again; that of the weights PyTorch computes as ever."""
        images, weight, turned = ctx.saved_tensors
        of_images, *of_weights, _ = ctx.needs_input_grad
        found: list[Tensor | None] = [None, None, None]
        if any(of_weights):
            ones, zeros, sizes, mask = [1, 1], [0, 0], [len(weight)], [False, *of_weights]
            found = list(
                torch.ops.aten.convolution_backward(
                    gradient, images, weight, sizes, ones, ones, ones, False, zeros, 1, mask
                )
            )
        if of_images:
            found[0] = _convolve(gradient, _turned(weight) if turned is None else turned, None)
        return (*found, None)


def _convolve(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch._nnpack_spatial_convolution(images, weight, bias, padding=1, stride=1)


def _turned(weight: Tensor) -> Tensor:
    """Weights (c, d, 3, 3) of the convolution that carries gradients back: rotated by half a turn."""
    return weight.detach().flip(2, 3).transpose(0, 1).contiguous()
