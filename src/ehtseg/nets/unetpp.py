"""U-Net++: a triangle of nodes between the way down and up, plain or on an ImageNet encoder.

X(i, 0) is the way down at level i; X(i, j) sees all of its row to the left, and X(i + 1, j - 1)
at twice its size. Source: Zhou et al., UNet++, DLMIA 2018. Written from the
description: the authors' code is for non-commercial use only and was not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ehtseg.nets.blocks import ConvStyle, Up, channels_after_up, double_conv, step_up
from ehtseg.nets.features import Encoder
from ehtseg.nets.transfer_unet import DecoderPlan, DecoderStep


@dataclass(frozen=True, slots=True)
class UNetPPPlan:
    """The published network, without normalisation; batch norm and bilinear is the usual port.

    `dropout` acts after each ReLU (published: 0.5). With `deep_supervision` each node of the top
    row has a head of its own.
    """

    channels: tuple[int, ...] = (32, 64, 128, 256, 512)
    channels_in: int = 3
    norm: Literal["none", "batch"] = "none"
    up: Literal["transpose", "bilinear"] = "transpose"
    dropout: float = 0.0
    deep_supervision: bool = False

    @property
    def style(self) -> ConvStyle:
        """How the 3x3 convolutions are made: always with a bias."""
        return ConvStyle(self.norm, dropout=self.dropout)


class UNetPP(nn.Module):
    """images_BCHW (multiples of `multiple`) -> logits_B1HW.

    With deep supervision: in training the logits of all heads, the deepest node's first; else the
    mean of their probabilities, as logits (the "accurate" mode of the paper).
    """

    def __init__(self, plan: UNetPPPlan) -> None:
        super().__init__()
        widths = plan.channels
        self.multiple = 2 ** (len(widths) - 1)
        sizes = (plan.channels_in, *widths)
        self.down = nn.ModuleList(
            double_conv(above, here, plan.style) for above, here in zip(sizes, widths, strict=False)
        )
        self.halve = nn.MaxPool2d(2)
        rows = [[width] * (len(widths) - i) for i, width in enumerate(widths)]
        self.nest = Nest(rows, plan.up, plan.style)
        n_heads = len(widths) - 1 if plan.deep_supervision else 1
        self.heads = nn.ModuleList(nn.Conv2d(widths[0], 1, 1) for _ in range(n_heads))
        self.output_weights = (1 / n_heads,) * n_heads

    def forward(self, images_BCHW: Tensor) -> Tensor | tuple[Tensor, ...]:
        features, maps = images_BCHW, []
        for level, convs in enumerate(self.down):
            features = convs(self.halve(features) if level else features)
            maps.append(features)
        deepest_first = self.nest(maps)[::-1]
        pairs = zip(self.heads, deepest_first, strict=False)
        logits: tuple[Tensor, ...] = tuple(head(node) for head, node in pairs)
        if len(logits) == 1:
            return logits[0]
        return logits if self.training else logit_of_mean(logits)


class Nest(nn.Module):
    """The nodes X(i, j > 0): maps X(i, 0), finest first -> the top row X(0, 1), X(0, 2), ...

    `widths[i][j]` are the channels of X(i, j). Each node concatenates what rises from below and
    its row, the newest first, and convolves twice.
    """

    def __init__(self, widths: Sequence[Sequence[int]], up: Up, style: ConvStyle) -> None:
        super().__init__()
        self.up, self.merge = nn.ModuleDict(), nn.ModuleDict()
        for i, row in enumerate(widths):
            for j in range(1, len(row)):
                below = widths[i + 1][j - 1]
                risen = channels_after_up(below, row[j], up)
                self.up[f"{i}_{j}"] = _doubled(below, row[j], up)
                self.merge[f"{i}_{j}"] = double_conv(risen + sum(row[:j]), row[j], style)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        rows = [[each] for each in maps]
        for j in range(1, len(rows)):
            for i in range(len(rows) - j):
                risen = self.up[f"{i}_{j}"](rows[i + 1][j - 1])
                node = self.merge[f"{i}_{j}"](torch.cat([risen, *rows[i][::-1]], dim=1))
                rows[i].append(node)
        return rows[0][1:]


def _doubled(below: int, here: int, up: Up) -> nn.Module:
    if up == "bilinear":  # the port keeps the corners in place
        return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    return step_up(below, here, up)


def logit_of_mean(logits: Sequence[Tensor]) -> Tensor:
    """The logit of the mean of the probabilities that these logits stand for.

    >>> float(logit_of_mean([torch.tensor(2.0), torch.tensor(-2.0)]))
    0.0
    """
    votes = torch.stack(tuple(logits)).float()
    return logsigmoid(votes).logsumexp(0) - logsigmoid(-votes).logsumexp(0)


class TransferUNetPP(nn.Module):
    """images_B3HW (normalised, multiples of `multiple`) -> logits_B1HW, on an ImageNet encoder.

    The nest stands on the encoder's maps. The last node of a row is as wide as the decoder of the
    transfer U-Net ("modern", in both profiles), all others as the encoder's map; steps without a
    map follow to full resolution. On ResNets this is the graph of segmentation_models.pytorch,
    which drops the full-resolution map of VGG and adds a block below it; here neither is done.
    Dropout acts at the end of the contracting path.
    """

    def __init__(self, encoder: Encoder, plan: DecoderPlan, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.multiple = encoder.maps[-1].reduction
        self.dropout = nn.Dropout(dropout)
        n_rows = len(encoder.maps) - 1
        n_steps = self.multiple.bit_length() - 1
        decoder = plan.channels[-n_steps:]
        ends = (*decoder[:n_rows][::-1], encoder.maps[-1].channels)
        rows = [
            [each.channels] * (n_rows - i) + [end]
            for i, (each, end) in enumerate(zip(encoder.maps, ends, strict=True))
        ]
        self.nest = Nest(rows, plan.up, plan.style)
        steps = zip(decoder[n_rows - 1 :], decoder[n_rows:], strict=False)
        self.decoder = nn.ModuleList(DecoderStep(below, 0, here, plan) for below, here in steps)
        self.head = nn.Conv2d(decoder[-1], 1, plan.head_px, padding=plan.head_px // 2)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        *finer, bottom = self.encoder(images_B3HW)
        features = self.nest([*finer, self.dropout(bottom)])[-1]
        for step in self.decoder:
            features = step(features, [])
        logits: Tensor = self.head(features)
        return logits
