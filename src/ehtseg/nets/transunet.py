"""TransUNet: a ResNet-50 whose last map goes through a vision transformer before the way up.

The encoder is timm's `vit_base_r50_s16_224`. Source: Chen et al., TransUNet, 2021.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from ehtseg.nets.blocks import ConvStyle, double_conv

WIDTH = 768  # of the transformer
STRIDE_PX = 16  # edge of a token
SKIPS = (512, 256, 64, 0)  # channels, coarse to fine
DECODER = (256, 128, 64, 16)
STYLE = ConvStyle("batch", bias=False)


class TransUNet(nn.Module):
    """images_B3HW in [-1, 1] (multiples of 16) -> logits_B1HW.

    `edge_px` is the size for which there is one position embedding a token; at other sizes the
    grid is stretched, as the original does once, when weights are loaded. `dropout` acts on the
    embedded tokens and in the perceptrons of the transformer (published: 0.1).
    """

    multiple = STRIDE_PX

    def __init__(self, edge_px: int = 256, dropout: float = 0.0) -> None:
        super().__init__()
        vit = _hybrid(dropout)
        self.stem = vit.patch_embed.backbone.stem
        self.stages = vit.patch_embed.backbone.stages
        self.embed = vit.patch_embed.proj
        self.position = Position(WIDTH, edge_px // STRIDE_PX, dropout)
        self.blocks, self.norm = vit.blocks, vit.norm
        self.enter = nn.Sequential(
            nn.Conv2d(WIDTH, 512, 3, padding=1, bias=False), nn.BatchNorm2d(512), nn.ReLU(True)
        )
        below = (512, *DECODER)
        self.decoder = nn.ModuleList(
            double_conv(width + skip, here, STYLE)
            for width, skip, here in zip(below, SKIPS, DECODER, strict=False)
        )
        self.head = nn.Conv2d(DECODER[-1], 1, 3, padding=1)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        features = self.stem.norm(self.stem.conv(images_B3HW))
        skips = [features]
        features = self.stem.pool(features)
        for stage in self.stages:
            features = stage(features)
            skips.append(features)
        features = self.enter(self._transformed(skips.pop()))
        for merge in self.decoder:
            features = functional.interpolate(
                features, scale_factor=2, mode="bilinear", align_corners=True
            )
            features = merge(torch.cat([features, *skips[-1:]], dim=1))
            skips = skips[:-1]
        logits: Tensor = self.head(features)
        return logits

    def _transformed(self, features_BCHW: Tensor) -> Tensor:
        """Every place of the map becomes a token, sees all others, and returns to its place."""
        grid_BCHW = self.position(self.embed(features_BCHW))
        tokens_BNC = grid_BCHW.flatten(2).transpose(1, 2)
        tokens_BNC = self.norm(self.blocks(tokens_BNC))
        back: Tensor = tokens_BNC.transpose(1, 2).reshape(grid_BCHW.shape)
        return back


class Position(nn.Module):
    """Adds what was learned for each place of a square grid, stretched to the map at hand."""

    def __init__(self, channels: int, edge: int, dropout: float) -> None:
        super().__init__()
        self.embedding_1CHW = nn.Parameter(torch.empty(1, channels, edge, edge))
        nn.init.trunc_normal_(self.embedding_1CHW, std=0.02)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        place_1CHW = functional.interpolate(
            self.embedding_1CHW, features_BCHW.shape[-2:], mode="bilinear", align_corners=True
        )
        placed: Tensor = self.dropout(features_BCHW + place_1CHW)
        return placed


def _hybrid(dropout: float) -> Any:
    """timm's ResNet and transformer, without weights, class token and position embedding."""
    vit: Any = timm.create_model(
        "vit_base_r50_s16_224",
        pretrained=False,
        img_size=2 * STRIDE_PX,  # only probed; the network itself takes any size
        num_classes=0,
        class_token=False,
        global_pool="",
        pos_embed="none",
        proj_drop_rate=dropout,
    )
    for block in vit.blocks:
        block.attn.proj_drop.p = 0.0  # timm's rate is also that of attention; published: 0
    for module in vit.patch_embed.backbone.modules():
        if isinstance(module, nn.GroupNorm):
            module.reset_parameters()  # timm starts the last one of each block at zero
    return vit
