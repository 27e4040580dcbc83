"""Two convolutions whose gradients oneDNN computes slowly, and a faster way to the same numbers.

Measured on two cores with AMX (docs/log.md, 2026-11-27): the weight gradient of a 3x3 convolution
with many channels on a small map takes three to eight times as long as the same sums written as
one matrix product, and the gradient of a 2x2 transposed convolution two to four times as long as
that of the 1x1 convolution that it is. Layers and weights of a network stay as they are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

MOST_POSITIONS = 1024  # of all maps of a batch, up to which the product is the faster way
UNIT = [1, 1]  # stride, padding and dilation of a 3x3 convolution that keeps the size


def with_fast_gradients(net: nn.Module) -> nn.Module:
    """The same network, in place; its convolutions take the faster way where there is one."""
    for module in net.modules():
        if type(module) is nn.Conv2d and _keeps_size(module):
            module.__class__ = SizeKeepingConv
        elif type(module) is nn.ConvTranspose2d and _only_doubles(module):
            module.__class__ = DoublingConv
    return net


class SizeKeepingConv(nn.Conv2d):
    """A 3x3 convolution of stride 1; small maps in bf16 on a CPU get the product."""

    def forward(self, maps_BCHW: Tensor) -> Tensor:
        on_cpu = maps_BCHW.device.type == "cpu"
        kind = _working_type(maps_BCHW) if on_cpu else maps_BCHW.dtype
        few = maps_BCHW.numel() // maps_BCHW.shape[1] <= MOST_POSITIONS
        learns = torch.is_grad_enabled() and self.weight.requires_grad
        if not (on_cpu and few and learns and kind == torch.bfloat16):
            return super().forward(maps_BCHW)
        bias = None if self.bias is None else self.bias.to(kind)
        made: Tensor = _ByProduct.apply(maps_BCHW.to(kind), self.weight.to(kind), bias)
        return made


class DoublingConv(nn.ConvTranspose2d):
    """A 2x2 transposed convolution of stride 2: its pixels do not overlap, so it is a 1x1 one."""

    def forward(self, maps_BCHW: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not torch.is_grad_enabled() or maps_BCHW.device.type != "cpu":
            return super().forward(maps_BCHW, output_size)
        channels, bias = self.out_channels, self.bias
        kernel = self.weight.permute(2, 3, 1, 0).reshape(4 * channels, -1, 1, 1)
        pixels = functional.conv2d(maps_BCHW, kernel, None if bias is None else bias.repeat(4))
        batch, _, height, width = pixels.shape
        pixels_BHWyxC = pixels.permute(0, 2, 3, 1).reshape(batch, height, width, 2, 2, channels)
        rows = pixels_BHWyxC.transpose(2, 3).reshape(batch, 2 * height, 2 * width, channels)
        return rows.permute(0, 3, 1, 2)


class _ByProduct(torch.autograd.Function):
    """A 3x3 convolution; its weight gradient is the output's gradient times all 3x3 patches."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, maps: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(maps, weight)
        return functional.conv2d(maps, weight, bias, padding=1)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, pull: Tensor
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        maps, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        wanted = ctx.needs_input_grad  # type: ignore[attr-defined]
        to_maps, _, to_bias = torch.ops.aten.convolution_backward(
            pull, maps, weight, [len(weight)], UNIT, UNIT, UNIT, False, [0, 0], 1,
            [wanted[0], False, wanted[2]],
        )  # fmt: skip
        pull_PO = pull.permute(0, 2, 3, 1).reshape(-1, len(weight))
        to_weight = (pull_PO.t() @ patches(maps)).view(len(weight), 3, 3, -1)
        return to_maps, to_weight.permute(0, 3, 1, 2), to_bias


def patches(maps_BCHW: Tensor) -> Tensor:
    """All 3x3 patches around the pixels of maps, zeros outside: (B H W, 9 C), channels last."""
    batch, channels, height, width = maps_BCHW.shape
    padded = functional.pad(maps_BCHW.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()
    image, row, pixel, channel = padded.stride()
    windows = padded.as_strided(
        (batch, height, width, 3, 3, channels), (image, row, pixel, row, pixel, channel)
    )
    return windows.reshape(math.prod((batch, height, width)), 9 * channels)


def _working_type(maps: Tensor) -> torch.dtype:
    """What a convolution would compute in here."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else maps.dtype


def _keeps_size(conv: nn.Conv2d) -> bool:
    how = (conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    plain = conv.groups == 1 and conv.padding_mode == "zeros"
    return plain and how == ((3, 3), (1, 1), (1, 1), (1, 1))


def _only_doubles(conv: nn.ConvTranspose2d) -> bool:
    how = (conv.kernel_size, conv.stride, conv.padding, conv.output_padding, conv.dilation)
    return conv.groups == 1 and how == ((2, 2), (2, 2), (0, 0), (0, 0), (1, 1))
