"""The 2D network of nnU-Net v2 and the planner that sizes it to the image.

Sources: Isensee et al., nnU-Net, Nature Methods 2021; version 2 of its planner.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALLEST_PX = 4  # edge of the coarsest map
REFERENCE_VALUES, REFERENCE_BATCH = 85e6, 12  # what fits the memory that the planner assumes
LARGEST_SHARE = 0.05  # of the data set in one batch
FLAT = 1e-6  # standard deviation up to which an image counts as of one value: far below 1/255


@dataclass(frozen=True, slots=True)
class NnUNetPlan:
    """Channels of each stage, finest first, and the classes of a softmax (1: a sigmoid)."""

    channels: tuple[int, ...]
    channels_in: int = 3
    classes: int = 2

    @staticmethod
    def of_size(edge_px: int) -> NnUNetPlan:
        """As many halvings as keep the edge at 4 pixels or more; channels double up to 512.

        >>> NnUNetPlan.of_size(256).channels
        (32, 64, 128, 256, 512, 512, 512)
        """
        n_halvings = max(1, (edge_px // SMALLEST_PX).bit_length() - 1)
        return NnUNetPlan(tuple(min(512, 32 << stage) for stage in range(n_halvings + 1)))

    def feature_values(self, edge_px: int) -> int:
        """Values in all feature maps of one image: the planner's measure of memory."""
        areas = [(edge_px >> stage) ** 2 for stage in range(len(self.channels))]
        down = sum(2 * width * area for width, area in zip(self.channels, areas, strict=True))
        finer = zip(self.channels[:-1], areas[:-1], strict=True)
        return down + sum((3 * width + self.classes) * area for width, area in finer)

    def batch(self, edge_px: int, n_images: int) -> int:
        """Images in a batch: what fits in memory, at most 5 % of the data set, at least 2.

        >>> NnUNetPlan.of_size(256).batch(256, n_images=10_000)
        49
        """
        fits = round(REFERENCE_VALUES / self.feature_values(edge_px) * REFERENCE_BATCH)
        return max(2, min(fits, round(LARGEST_SHARE * n_images)))


class NnUNet(nn.Module):
    """images_B3HW in [0, 1] (multiples of `multiple`) -> logits_B1HW; in training, of every scale.

    Each image is brought to mean 0 and standard deviation 1 inside (padding included). The two
    classes of the softmax become one logit, z1 - z0: its sigmoid is the softmax, its binary
    cross-entropy the softmax's, and the count of weights stays as published. In training the
    logits of coarser scales are enlarged to the image (the original shrinks the mask instead),
    finest first, weighted 1, 1/2, 1/4, ... and 0 for the coarsest.
    """

    def __init__(self, plan: NnUNetPlan) -> None:
        super().__init__()
        widths = plan.channels
        self.multiple = 2 ** (len(widths) - 1)
        self.down = nn.ModuleList(
            _stage(above, here, stride=2 if level else 1)
            for level, (above, here) in enumerate(
                zip((plan.channels_in, *widths), widths, strict=False)
            )
        )
        steps = list(zip(widths[::-1], widths[-2::-1], strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, here, 2, 2) for below, here in steps)
        self.merge = nn.ModuleList(_stage(2 * here, here) for _, here in steps)
        self.heads = nn.ModuleList(nn.Conv2d(here, plan.classes, 1) for _, here in steps)
        raw = [0.5**scale for scale in range(len(steps) - 1)] or [1.0]
        raw += [0.0] * (len(steps) - len(raw))
        self.output_weights = tuple(weight / sum(raw) for weight in raw)

    def forward(self, images_B3HW: Tensor) -> Tensor | tuple[Tensor, ...]:
        height, width = images_B3HW.shape[-2:]
        features, skips = self._whole(images_B3HW), []
        for down in self.down:
            features = down(features)
            skips.append(features)
        features, outputs = skips.pop(), []
        for up, merge, head in zip(self.up, self.merge, self.heads, strict=True):
            features = merge(torch.cat([up(features), skips.pop()], dim=1))
            if self.training or not skips:
                outputs.append(one_logit(head(features)))
        size = features.shape[-2:]
        logits = tuple(functional.interpolate(o, size)[..., :height, :width] for o in outputs)
        return logits[::-1] if self.training else logits[-1]

    def _whole(self, images_B3HW: Tensor) -> Tensor:
        """Standardised images, of a size at which the coarsest map has more than one pixel.

        An image of one value is 0 everywhere: what rounding leaves of it would be amplified.
        """
        std_B311, mean_B311 = torch.std_mean(images_B3HW, (-2, -1), correction=0, keepdim=True)
        images = (images_B3HW - mean_B311) / std_B311.clamp_min(FLAT) * (std_B311 > FLAT)
        height, width = images.shape[-2:]  # no branch on them: an exported graph takes any size
        more = self.multiple * ((height == self.multiple) * (width == self.multiple))
        return functional.pad(images, (0, more, 0, more), mode="replicate")


def one_logit(scores_BKHW: Tensor) -> Tensor:
    """The logit of the foreground, from the scores of two classes or from one."""
    if scores_BKHW.shape[1] == 1:
        return scores_BKHW
    return scores_BKHW[:, 1:] - scores_BKHW[:, :1]


def _stage(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """Twice [3x3 convolution, instance norm, leaky ReLU]; the first convolution may stride."""
    layers: list[nn.Module] = []
    for channels, step in ((channels_in, stride), (channels_out, 1)):
        layers += [
            nn.Conv2d(channels, channels_out, 3, step, padding=1),
            nn.InstanceNorm2d(channels_out, affine=True),
            nn.LeakyReLU(0.01, inplace=True),
        ]
    return nn.Sequential(*layers)
