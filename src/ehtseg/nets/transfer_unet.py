"""The transfer U-Net: an ImageNet encoder, and a decoder of our own in one of two profiles.

Sources: Ronneberger et al., U-Net, 2015; docs/protocol.md, 1 (what the paper leaves open).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ehtseg.nets.blocks import ConvStyle, Up, channels_after_up, double_conv, join, step_up
from ehtseg.nets.features import Encoder


@dataclass(frozen=True, slots=True)
class DecoderPlan:
    """A decoder: its channels from coarse to fine, and how it steps up."""

    channels: tuple[int, ...]
    up: Up
    style: ConvStyle
    head_px: int  # edge of the last convolution
    coarsest: int  # where the encoder is cut
    image_skip: bool  # the image itself is the skip at full resolution, if the encoder has none


DECODERS: dict[str, DecoderPlan] = {
    "modern": DecoderPlan(
        (256, 128, 64, 32, 16), "nearest", ConvStyle("batch", bias=False), 3, 32, image_skip=False
    ),
    # batch norm as Keras has it by default: momentum .99, epsilon 1e-3
    "paper": DecoderPlan(
        (512, 256, 128, 64),
        "transpose",
        ConvStyle("batch", bn_eps=1e-3, bn_momentum=0.01),
        1,
        16,
        image_skip=True,
    ),
}


class TransferUNet(nn.Module):
    """images_B3HW (normalised, multiples of `multiple`) -> logits_B1HW.

    Each step doubles the size, puts the skip of that size beside (where there is one) and
    convolves twice. An encoder whose last map is only pooled (VGG) gets two convolutions of that
    width at the bottom. Dropout acts at the end of the contracting path.
    """

    def __init__(self, encoder: Encoder, plan: DecoderPlan, dropout: float = 0.0) -> None:
        super().__init__()
        *finer, bottom = encoder.maps
        self.encoder = encoder
        self.multiple = bottom.reduction
        self.image_skip = plan.image_skip and finer[0].reduction > 1
        only_pooled = bottom.stage not in encoder.stages
        self.center = (
            double_conv(bottom.channels, bottom.channels, plan.style)
            if only_pooled
            else nn.Identity()
        )
        self.dropout = nn.Dropout(dropout)
        skips = {each.reduction: each.channels for each in finer}
        if self.image_skip:
            skips[1] = 3
        n_steps = bottom.reduction.bit_length() - 1
        self.decoder = nn.ModuleList()
        width = bottom.channels
        for step, channels in enumerate(plan.channels[-n_steps:], start=1):
            skip = skips.get(bottom.reduction >> step, 0)
            self.decoder.append(DecoderStep(width, skip, channels, plan))
            width = channels
        self.head = nn.Conv2d(width, 1, plan.head_px, padding=plan.head_px // 2)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        *finer, features = self.encoder(images_B3HW)
        if self.image_skip:
            finer = [images_B3HW, *finer]
        features = self.dropout(self.center(features))
        for step in self.decoder:
            features = step(features, finer)
        logits: Tensor = self.head(features)
        return logits


class DecoderStep(nn.Module):
    """One step up: twice the size, the skip of that size beside, two convolutions."""

    def __init__(self, below: int, skip: int, here: int, plan: DecoderPlan) -> None:
        super().__init__()
        self.has_skip = skip > 0
        self.up = step_up(below, here, plan.up)
        self.merge = double_conv(channels_after_up(below, here, plan.up) + skip, here, plan.style)

    def forward(self, below_BCHW: Tensor, skips: list[Tensor]) -> Tensor:
        """Takes the skip that it uses from the end of `skips`."""
        features = self.up(below_BCHW)
        features = join(skips.pop(), features) if self.has_skip else features
        merged: Tensor = self.merge(features)
        return merged
