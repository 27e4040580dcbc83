"""DS-TransUNet: two Swin encoders with patches of 4 and 8 pixels, fused level by level.

The encoders are timm's. Source: Lin et al., DS-TransUNet, IEEE TIM 2022.
Written from the description: the authors' code has no licence and was not looked at. Known
difference: the auxiliary heads have no ReLU before their logits, with which they could never vote
for the background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn
from torch.nn import functional

WIDTHS_L = (128, 256, 512, 1024)  # Swin-B, patches of 4 pixels: maps at 1/4 ... 1/32
WIDTHS_S = (96, 192, 384, 768)  # Swin-T, patches of 8 pixels: maps at 1/8 ... 1/64
WINDOW = 7


class DSTransUNet(nn.Module):
    """images_B3HW (ImageNet mean and std, multiples of 64) -> logits_B1HW.

    In training also the logits of the coarsest map and of the way up at 1/4, weighted 0.6, 0.2
    and 0.2. `drop_path` is the largest rate in the Swin-B branch (published: 0.5); the Swin-T
    branch and the way up take two fifths of it. 224 pixels are padded to 256: at 224 the deepest
    levels of the two branches do not meet.
    """

    multiple = 64
    output_weights = (0.6, 0.2, 0.2)

    def __init__(self, drop_path: float = 0.0) -> None:
        super().__init__()
        less = 0.4 * drop_path
        self.branch_l = SwinBranch("swin_base_patch4_window7_224", WIDTHS_L, 4, drop_path)
        self.branch_s = SwinBranch("swin_tiny_patch4_window7_224", WIDTHS_S, 8, less)
        self.fuse = nn.ModuleList(
            Fusion(width_l, width_s) for width_l, width_s in zip(WIDTHS_L, WIDTHS_S, strict=True)
        )
        self.up = nn.ModuleList(
            SwinUp(width, n_heads, less)
            for width, n_heads in zip(WIDTHS_L[:0:-1], (8, 4, 2), strict=True)
        )
        self.stem_whole = nn.Conv2d(3, 32, 1)
        self.stem_half = nn.Sequential(nn.MaxPool2d(2), _conv(32, 64), _conv(64, 64))
        self.last = nn.ModuleList([ConvUp(128, 64), ConvUp(64, 32)])
        self.head = nn.Conv2d(32, 1, 1)
        self.side_heads = nn.ModuleList([nn.Conv2d(1024, 1, 1), nn.Conv2d(128, 1, 1)])

    def forward(self, images_B3HW: Tensor) -> Tensor | tuple[Tensor, ...]:
        maps_l, maps_s = self.branch_l(images_B3HW), self.branch_s(images_B3HW)
        fused = [fuse(*maps) for fuse, *maps in zip(self.fuse, maps_l, maps_s, strict=True)]
        features = bottom = fused.pop()
        for up in self.up:
            features = up(features, fused.pop())
        quarter, whole = features, self.stem_whole(images_B3HW)
        for last, skip in zip(self.last, (self.stem_half(whole), whole), strict=True):
            features = last(features, skip)
        logits: Tensor = self.head(features)
        if not self.training:
            return logits
        sides = zip(self.side_heads, (bottom, quarter), strict=True)
        size = logits.shape[-2:]
        return logits, *(functional.interpolate(head(each), size) for head, each in sides)


class SwinBranch(nn.Module):
    """images_B3HW -> four normalised maps_BCHW, finest first."""

    def __init__(self, name: str, widths: tuple[int, ...], patch_px: int, drop_path: float) -> None:
        super().__init__()
        self.body: Any = timm.create_model(
            name,
            pretrained=False,
            features_only=True,
            patch_size=patch_px,
            drop_path_rate=drop_path,
            always_partition=True,  # else timm shrinks the window, and its table, on small maps
            strict_img_size=False,
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        maps_BHWC = self.body(images_B3HW)
        pairs = zip(self.norms, maps_BHWC, strict=True)
        return [norm(each).permute(0, 3, 1, 2) for norm, each in pairs]


@dataclass(frozen=True, slots=True)
class Attention:
    """Sizes of the one transformer layer of a branch in the fusion."""

    heads: int
    head_width: int
    hidden: int


ATTENTION_L, ATTENTION_S = Attention(1, 64, 256), Attention(3, 32, 128)


class Fusion(nn.Module):
    """map_L_BCHW and map_S_BCHW of half its size -> one map like map_L.

    Each branch sends the mean of its tokens to the other one, where all tokens look at it and at
    each other; then the maps are laid beside each other and convolved twice.
    """

    def __init__(self, width_l: int, width_s: int) -> None:
        super().__init__()
        self.to_s, self.to_l = Message(width_l, width_s), Message(width_s, width_l)
        self.look_l = TransformerLayer(width_l, ATTENTION_L)
        self.look_s = TransformerLayer(width_s, ATTENTION_S)
        self.merge = nn.Sequential(_conv(width_l + width_s, width_l), _conv(width_l, width_l))

    def forward(self, map_l_BCHW: Tensor, map_s_BCHW: Tensor) -> Tensor:
        tokens_l, tokens_s = _tokens(map_l_BCHW), _tokens(map_s_BCHW)
        seen_l = self.look_l(torch.cat([self.to_l(tokens_s), tokens_l], dim=1))[:, 1:]
        seen_s = self.look_s(torch.cat([self.to_s(tokens_l), tokens_s], dim=1))[:, 1:]
        map_l = seen_l.transpose(1, 2).reshape(map_l_BCHW.shape)
        map_s = seen_s.transpose(1, 2).reshape(map_s_BCHW.shape)
        map_s = functional.interpolate(map_s, scale_factor=2, mode="nearest")
        merged: Tensor = self.merge(torch.cat([map_l, map_s], dim=1))
        return merged


class Message(nn.Module):
    """tokens_BNC of one branch -> one token_B1C of the other branch's width."""

    def __init__(self, width_from: int, width_to: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width_from)
        self.translate = nn.Linear(width_from, width_to)

    def forward(self, tokens_BNC: Tensor) -> Tensor:
        token: Tensor = self.translate(self.norm(tokens_BNC).mean(dim=1, keepdim=True))
        return token


class TransformerLayer(nn.Module):
    """tokens_BNC -> tokens_BNC: attention over all tokens, then a perceptron, each on a norm."""

    def __init__(self, width: int, sizes: Attention) -> None:
        super().__init__()
        inner = sizes.heads * sizes.head_width
        self.n_heads = sizes.heads
        self.norm_a, self.norm_b = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, sizes.hidden), nn.GELU(), nn.Linear(sizes.hidden, width)
        )

    def forward(self, tokens_BNC: Tensor) -> Tensor:
        parts = self.query_key_value(self.norm_a(tokens_BNC)).chunk(3, dim=-1)
        query, key, value = (p.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for p in parts)
        # never holds the N x N weights, which would be gigabytes at 512 pixels
        seen = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens_BNC + self.out(seen.transpose(1, 2).flatten(-2))
        mixed: Tensor = tokens + self.perceptron(self.norm_b(tokens))
        return mixed


class SwinUp(nn.Module):
    """One step of the way up: half the channels, two Swin blocks, the skip beside."""

    def __init__(self, below: int, n_heads: int, drop_path: float) -> None:
        super().__init__()
        here, quarter = below // 2, below // 4
        self.rise = _rise(below, here)
        self.blocks = nn.Sequential(
            *(_swin_block(here, n_heads, shift, rate) for shift, rate in ((0, 0.0), (3, drop_path)))
        )
        self.narrow = nn.Sequential(nn.Conv2d(here, quarter, 1), nn.ReLU(inplace=True))
        self.narrow_skip = nn.Sequential(nn.Conv2d(here, quarter, 1), nn.ReLU(inplace=True))
        self.merge = nn.Sequential(nn.Conv2d(here, here, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, below_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        features = self.blocks(self.rise(below_BCHW).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        both = torch.cat([self.narrow_skip(skip_BCHW), self.narrow(features)], dim=1)
        merged: Tensor = self.merge(both)
        return merged


class ConvUp(nn.Module):
    """One step of the way up without attention, for the two finest scales."""

    def __init__(self, below: int, here: int) -> None:
        super().__init__()
        self.rise = _rise(below, here)
        self.merge = nn.Sequential(nn.Conv2d(2 * here, here, 3, padding=1), nn.ReLU(inplace=True))

    def forward(self, below_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        merged: Tensor = self.merge(torch.cat([skip_BCHW, self.rise(below_BCHW)], dim=1))
        return merged


def _swin_block(width: int, n_heads: int, shift: int, drop_path: float) -> nn.Module:
    block: nn.Module = SwinTransformerBlock(
        width,
        input_resolution=(WINDOW, WINDOW),  # not used: the mask follows the map
        num_heads=n_heads,
        window_size=WINDOW,
        shift_size=shift,
        always_partition=True,
        dynamic_mask=True,
        drop_path=drop_path,
    )
    return block


def _rise(below: int, here: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), _conv(below, here))


def _conv(channels_in: int, channels_out: int) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    return nn.Sequential(conv, nn.GroupNorm(32, channels_out), nn.ReLU(inplace=True))


def _tokens(map_BCHW: Tensor) -> Tensor:
    return map_BCHW.flatten(2).transpose(1, 2)
