"""The table of ImageNet encoders, and the card that tells one network from another.

An encoder takes normalised images and gives feature maps, finest first. A stage is what has to be
computed for one map and for none of the finer ones; transfer and freezing count stages from the
finest. Sources: timm, and the Keras applications whose weights circulate.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import timm
from torch import nn

from ehtseg.recipe import FROM_SCRATCH
from ehtseg.records import UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
RANDOM = "random initialisation"
FORMS = ("unetpp:ENCODER", "timm:NAME", "smp:NETWORK/ENCODER")  # of names with a part to fill in


@dataclass(frozen=True, slots=True)
class Card:
    """All that is needed to rebuild a network without its ImageNet file, and where it came from.

    `mean` and `std` are those of RGB in [0, 1]. `transferred` names the stages or layers that took
    ImageNet weights.
    """

    arch: str
    variant: str
    bn_eps: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str = RANDOM
    licence: str = ""
    weights_sha256: str | None = None
    transferred: tuple[str, ...] = ()
    divided_by: float = 1.0  # see weights.rescaled

    @staticmethod
    def of(entries: dict[str, Any]) -> Card:
        """The card written by `as_dict`, also after a trip through JSON."""
        fixed: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in entries.items()
        }
        return Card(**fixed)

    def as_dict(self) -> dict[str, Any]:
        """The card as JSON holds it."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one family of weights files is read: its stages, and what each variant changes."""

    arch: str  # timm's name
    stages: tuple[str, ...]  # empty: stage1, stage2, ...
    variants: dict[str, Callable[[nn.Module], None]]
    default: str  # the variant that is built without a weights file
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    head: tuple[str, ...] = ()  # starts of names that other libraries give to the classifier
    rescale: str | None = None  # first kernel, if the network is convolutions, ReLU and max only


UNPADDED = (
    "conv2d_1a.conv",
    "conv2d_2a.conv",
    "conv2d_4a.conv",
    "maxpool_3a",
    "maxpool_5a",
    "mixed_6a.branch0.conv",
    "mixed_6a.branch1.2.conv",
    "mixed_6a.branch2",
    "mixed_7a.branch0.1.conv",
    "mixed_7a.branch1.1.conv",
    "mixed_7a.branch2.2.conv",
    "mixed_7a.branch3",
)


def as_it_is(_body: nn.Module) -> None:
    """The variant that timm builds."""


def stride_first(body: nn.Module) -> None:
    """ResNet v1 (Keras, He et al.): stride 2 on the first 1x1 convolution, not on the 3x3.

    A stage whose stride was made a dilation (DeepLab in smp) has none to move.
    Source: torchvision and timm, which build v1.5.
    """
    for name in ("layer2", "layer3", "layer4"):
        if hasattr(body, name):
            block = getattr(body, name)[0]
            block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)


def padded_same(body: nn.Module) -> None:
    """Inception-ResNet-v2 with padding 1 on each of the twelve unpadded 3x3 layers.

    Features become H/2 ... H/32 exactly, so that skips register; weights are untouched. Without
    this they are 125/60/29/14/6 at 256 pixels.
    """
    present = dict(body.named_modules())
    for name in UNPADDED:
        if name in present:
            layer: Any = present[name]
            layer.padding = 1 if isinstance(layer, nn.MaxPool2d) else (1, 1)


ENCODERS: dict[str, Architecture] = {
    "resnet50": Architecture(
        "resnet50",
        ("stem", "layer1", "layer2", "layer3", "layer4"),
        {"keras_v1": stride_first, "torchvision_v1.5": as_it_is, "timm": as_it_is},
        default="torchvision_v1.5",
    ),
    "vgg16": Architecture(
        "vgg16",
        ("block1", "block2", "block3", "block4", "block5", "pool5"),
        {"keras": as_it_is, "torchvision": as_it_is, "timm": as_it_is},
        default="torchvision",
        head=("classifier.",),
        rescale="features.0.weight",
    ),
    "inception_resnet_v2": Architecture(
        "inception_resnet_v2",
        ("stage1", "stage2", "stage3", "stage4", "stage5"),
        {"keras": padded_same, "timm": padded_same},
        default="timm",
        mean=HALF,
        std=HALF,
    ),
    "efficientnet_lite0": Architecture(
        "tf_efficientnet_lite0",
        ("stage1", "stage2", "stage3", "stage4", "stage5"),
        {"timm": as_it_is},
        default="timm",
        mean=HALF,
        std=HALF,
    ),
}


@cache
def architecture(name: str) -> Architecture:
    """The entry of the table for `name`, or one read from timm for `timm:NAME`.

    Raises: UserError with the nearest names.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    arch = name.removeprefix("timm:")
    if name in FROM_SCRATCH:  # as in unetpp:unet
        raise UserError(
            f"an ImageNet encoder ({', '.join(ENCODERS)}, timm:NAME)",
            f"{name}, which is a whole network",
            "Choose one of these, or --net without what stands before the colon.",
        )
    if name == arch or not timm.is_model(arch):
        known = [f"timm:{m}" for m in timm.list_models()] if name != arch else list(ENCODERS)
        raise unknown("network", name, [*known, *FROM_SCRATCH, *FORMS])
    for entry in ENCODERS.values():
        if entry.arch == arch:
            return entry
    settings: Any = timm.get_pretrained_cfg(arch)
    return Architecture(arch, (), {"timm": as_it_is}, "timm", settings.mean, settings.std)


def unknown(what: str, got: str, known: list[str]) -> UserError:
    """The error for a name that nobody has, with the nearest right ones (all, if they are few)."""
    near = difflib.get_close_matches(got, known, n=3, cutoff=0.4)
    near = near or (known if len(known) < 8 else known[:3])
    return UserError(f"a known {what}", got, f"The nearest are {', '.join(near)}.")
