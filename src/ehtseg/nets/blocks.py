"""The bricks that every U-Net here is laid with: two convolutions, and one step up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Norm = Literal["none", "batch", "instance"]
Up = Literal["transpose", "up_conv", "bilinear", "nearest"]


@dataclass(frozen=True, slots=True)
class ConvStyle:
    """How every 3x3 convolution of a network is made."""

    norm: Norm = "none"
    padding: int = 1
    bias: bool = True
    bn_eps: float = 1e-5
    bn_momentum: float = 0.1
    dropout: float = 0.0  # after each activation


def norm_layer(channels: int, style: ConvStyle) -> list[nn.Module]:
    """No layer, or the one normalisation layer that follows a convolution."""
    make: dict[Norm, Callable[[int], nn.Module]] = {
        "batch": partial(nn.BatchNorm2d, eps=style.bn_eps, momentum=style.bn_momentum),
        "instance": partial(nn.InstanceNorm2d, affine=True),
    }
    return [make[style.norm](channels)] if style.norm in make else []


def double_conv(channels_in: int, channels_out: int, style: ConvStyle) -> nn.Sequential:
    """Twice [3x3 convolution, normalisation, ReLU, dropout]."""
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        conv = nn.Conv2d(channels, channels_out, 3, padding=style.padding, bias=style.bias)
        layers += [conv, *norm_layer(channels_out, style), nn.ReLU(inplace=True)]
        layers += [nn.Dropout(style.dropout)] if style.dropout else []
    return nn.Sequential(*layers)


def step_up(channels_in: int, channels_out: int, up: Up) -> nn.Module:
    """Twice the height and width; `channels_out` channels where `up` has weights.

    transpose: a 2x2 transposed convolution; up_conv: nearest neighbour, then a 2x2 convolution
    padded right and below, so that the size stays exactly twice; bilinear and nearest: no weights,
    the channels stay `channels_in`.
    """
    if up == "transpose":
        return nn.ConvTranspose2d(channels_in, channels_out, 2, stride=2)
    if up == "up_conv":
        return nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(channels_in, channels_out, 2),
        )
    return nn.Upsample(scale_factor=2, mode=up)


def channels_after_up(channels_in: int, channels_out: int, up: Up) -> int:
    """How many channels `step_up` hands on."""
    return channels_out if up in ("transpose", "up_conv") else channels_in


def crop_like(features_BCHW: Tensor, height: int, width: int) -> Tensor:
    """The central height x width part (the whole, where the sizes already agree)."""
    top = (features_BCHW.shape[-2] - height) // 2
    left = (features_BCHW.shape[-1] - width) // 2
    return features_BCHW[..., top : top + height, left : left + width]


def join(skip_BCHW: Tensor, below_BCHW: Tensor) -> Tensor:
    """What comes from below, and beside it the skip, cropped at its centre to the same size."""
    height, width = below_BCHW.shape[-2:]
    return torch.cat([below_BCHW, crop_like(skip_BCHW, height, width)], dim=1)


def pad_below_right(images_BCHW: Tensor, multiple: int) -> Tensor:
    """Edge pixels repeated below and right until height and width are multiples of `multiple`.

    Repeating works at every size, also where the image is smaller than the padding, and adds no
    mirrored second tissue; below and right only, so that the sampling grid of a strided encoder
    keeps its phase.
    """
    height, width = images_BCHW.shape[-2:]  # no branch on them: an exported graph takes any size
    below, right = -height % multiple, -width % multiple
    return functional.pad(images_BCHW, (0, right, 0, below), mode="replicate")


def mirror(images_BCHW: Tensor, margin: int) -> Tensor:
    """The image with `margin` mirrored pixels on each side, at any size of image."""
    for axis in (-2, -1):
        size = images_BCHW.shape[axis]
        period = 2 * (size - 1) + (size == 1)
        index = torch.arange(-margin, size + margin, device=images_BCHW.device).abs() % period
        images_BCHW = images_BCHW.index_select(axis, torch.minimum(index, period - index))
    return images_BCHW
