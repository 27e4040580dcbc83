"""UNeXt: convolutions at fine levels, shifted perceptrons at coarse ones, very few weights.

Source: Valanarasu and Patel, UNeXt, MICCAI 2022, and its published code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

REACH_PX = 2  # channels are shifted by -2, -1, 0, 1 and 2 pixels


@dataclass(frozen=True, slots=True)
class UNeXtPlan:
    """Channels of the three convolutional and of the two token levels, finest first.

    These are the widths that were measured; the paper's text lists others, with more weights.
    """

    convolved: tuple[int, int, int] = (16, 32, 128)
    tokens: tuple[int, int] = (160, 256)


SMALL = UNeXtPlan((8, 16, 32), (64, 128))


class UNeXt(nn.Module):
    """images_B3HW (multiples of 32) -> logits_B1HW; skips are added, not concatenated."""

    multiple = 32

    def __init__(self, plan: UNeXtPlan) -> None:
        super().__init__()
        widths = (*plan.convolved, *plan.tokens)
        self.down = nn.ModuleList()
        for level, (above, here) in enumerate(zip((3, *widths), widths, strict=False)):
            make = _convolve if level < len(plan.convolved) else _tokenise
            self.down.append(make(above, here))
        steps = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(_rise(below, here) for below, here in steps)
        self.refine = nn.ModuleList(
            _mix(here) if step < len(plan.tokens) else nn.Identity()
            for step, (_, here) in enumerate(steps)
        )
        self.last = nn.Conv2d(widths[0], widths[0], 3, padding=1)
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        features, skips = images_B3HW, []
        for down in self.down:
            features = down(features)
            skips.append(features)
        features = skips.pop()
        for up, refine in zip(self.up, self.refine, strict=True):
            features = refine(functional.relu(_twice(up(features))) + skips.pop())
        logits: Tensor = self.head(functional.relu(_twice(self.last(features))))
        return logits


class ShiftedBlock(nn.Module):
    """features_BCHW + a perceptron that sees neighbours along the height, then along the width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = LayerNorm2d(channels, eps=1e-5)
        self.along_height = nn.Conv2d(channels, channels, 1)
        self.around = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.along_width = nn.Conv2d(channels, channels, 1)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        hidden = self.along_height(shift(self.norm(features_BCHW), axis=-2))
        hidden = functional.gelu(self.around(hidden))
        mixed: Tensor = features_BCHW + self.along_width(shift(hidden, axis=-1))
        return mixed


def shift(features_BCHW: Tensor, axis: int) -> Tensor:
    """Five groups of channels, moved by -2 ... 2 pixels along `axis`; zeros enter at the edge.

    >>> shift(torch.arange(1.0, 4).expand(1, 5, 1, 3), axis=-1)[0, :, 0].tolist()[0]
    [3.0, 0.0, 0.0]
    """
    size = features_BCHW.shape[axis]
    margins = (REACH_PX, REACH_PX, 0, 0) if axis == -1 else (0, 0, REACH_PX, REACH_PX)
    padded = functional.pad(features_BCHW, margins)
    groups = padded.chunk(2 * REACH_PX + 1, dim=1)
    moved = [group.narrow(axis, 2 * REACH_PX - i, size) for i, group in enumerate(groups)]
    return torch.cat(moved, dim=1)


def _convolve(above: int, here: int) -> nn.Module:
    conv = nn.Conv2d(above, here, 3, padding=1)
    return nn.Sequential(conv, nn.BatchNorm2d(here), nn.MaxPool2d(2), nn.ReLU(inplace=True))


def _tokenise(above: int, here: int) -> nn.Module:
    """Half the size by overlapping patches, then one shifted block."""
    patches = nn.Conv2d(above, here, 3, stride=2, padding=1)
    return nn.Sequential(patches, LayerNorm2d(here, eps=1e-5), *_mix(here))


def _mix(channels: int) -> nn.Sequential:
    return nn.Sequential(ShiftedBlock(channels), LayerNorm2d(channels, eps=1e-5))


def _rise(below: int, here: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(below, here, 3, padding=1), nn.BatchNorm2d(here))


def _twice(features_BCHW: Tensor) -> Tensor:
    return functional.interpolate(features_BCHW, scale_factor=2, mode="bilinear")
