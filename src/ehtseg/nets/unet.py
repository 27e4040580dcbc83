"""The plain U-Net family: one class for the original and its descendants.

Source: Ronneberger, Fischer and Brox, U-Net, MICCAI 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ehtseg.nets.blocks import ConvStyle, Norm, Up, channels_after_up, double_conv, join, step_up


@dataclass(frozen=True, slots=True)
class UNetPlan:
    """What tells the members of the family apart.

    `channels` are those of each level, finest first; `conv_bias` None means: a bias where no
    normalisation follows. `head_channels` adds a 3x3 convolution before the last 1x1 one.

    >>> UNetPlan.of_width(16, depth=4).channels
    (16, 32, 64, 128, 256)
    """

    channels: tuple[int, ...] = (64, 128, 256, 512, 1024)
    channels_in: int = 3
    channels_out: int = 1
    padding: Literal["same", "valid"] = "same"
    norm: Norm = "none"
    up: Up = "transpose"
    dropout: float = 0.0
    conv_bias: bool | None = None
    head_channels: int | None = None

    @staticmethod
    def of_width(width: int, depth: int) -> UNetPlan:
        """The usual plan: `width` channels at full resolution, doubled at each of `depth` steps."""
        return UNetPlan(channels=tuple(width << level for level in range(depth + 1)))

    @property
    def style(self) -> ConvStyle:
        """How the 3x3 convolutions are made."""
        bias = self.norm == "none" if self.conv_bias is None else self.conv_bias
        return ConvStyle(self.norm, padding=int(self.padding == "same"), bias=bias)


class UNet(nn.Module):
    """images_BCHW -> logits_BKHW; with valid padding the logits cover the centre only.

    Height and width must be such that every halving is even: multiples of 2**depth with same
    padding (`multiple`); 572 -> 388 is the original with valid padding. Dropout acts at the end
    of the contracting path.
    """

    def __init__(self, plan: UNetPlan) -> None:
        super().__init__()
        self.plan = plan
        self.multiple = 2 ** (len(plan.channels) - 1)
        sizes = (plan.channels_in, *plan.channels)
        self.down = nn.ModuleList(
            double_conv(a, b, plan.style) for a, b in zip(sizes, plan.channels, strict=False)
        )
        self.halve = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(plan.dropout)
        steps = list(zip(plan.channels[::-1], plan.channels[-2::-1], strict=False))
        self.up = nn.ModuleList(step_up(below, here, plan.up) for below, here in steps)
        self.merge = nn.ModuleList(
            double_conv(here + channels_after_up(below, here, plan.up), here, plan.style)
            for below, here in steps
        )
        self.head = _head(plan)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        features, skips = images_BCHW, []
        for level, convs in enumerate(self.down):
            features = convs(self.halve(features) if level else features)
            skips.append(features)
        features = self.dropout(skips.pop())
        for up, merge in zip(self.up, self.merge, strict=True):
            features = merge(join(skips.pop(), up(features)))
        logits: Tensor = self.head(features)
        return logits


def valid_margin(depth: int) -> int:
    """Pixels that valid padding takes from each side of an input that fits.

    A pair of 3x3 convolutions takes 2 pixels of its level from each side: 2 * (2**level) at every
    level once on the way down and, except at the bottom, once on the way up.

    >>> valid_margin(4) * 2 == 572 - 388
    True
    """
    down, up = sum(1 << level for level in range(depth + 1)), sum(1 << i for i in range(depth))
    return 2 * (down + up)


def _head(plan: UNetPlan) -> nn.Sequential:
    width, layers = plan.channels[0], list[nn.Module]()
    if plan.head_channels:
        layers = [nn.Conv2d(width, plan.head_channels, 3, padding=1), nn.ReLU(inplace=True)]
        width = plan.head_channels
    return nn.Sequential(*layers, nn.Conv2d(width, plan.channels_out, 1))
