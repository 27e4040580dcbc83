"""ImageNet encoders: a table you can read, and the contract that each of them keeps.

Contract: `Encoder(images_B3HW)` gives feature maps, finest first, at the reductions (pixels per
feature) of `Encoder.maps`; height and width are multiples of the coarsest reduction. A stage is
what has to be computed for one map and for none of the finer ones; transfer and freezing count
stages from the finest.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor, nn

from ehtseg.records import UserError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PROBE_PX = 128  # small enough to be instant, large enough for every stage


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
    source: str = "random initialisation"
    licence: str = ""
    weights_sha256: str | None = None
    transferred: tuple[str, ...] = ()
    divided_by: float = 1.0  # see weights.rescaled

    @staticmethod
    def of(entries: dict[str, Any]) -> Card:
        """The card written by `as_dict`, also after a trip through JSON."""
        fixed = {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}
        return Card(**fixed)

    def as_dict(self) -> dict[str, Any]:
        """The card as JSON holds it."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """One output of an encoder, and the stage that computes it."""

    stage: str
    channels: int
    reduction: int


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one family of weights files is read: its stages, and what each variant changes."""

    arch: str  # timm's name
    stages: tuple[str, ...]
    variants: dict[str, Callable[[nn.Module], None]]
    default: str  # the variant that is built without a weights file
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    head: tuple[str, ...] = ()  # starts of names that other libraries give to the classifier
    rescale: str | None = None  # first kernel, if the network is convolutions, ReLU and max only


def as_it_is(_body: nn.Module) -> None:
    """The variant that timm builds."""


def stride_first(body: nn.Module) -> None:
    """ResNet v1 (Keras, He et al.): stride 2 on the first 1x1 convolution, not on the 3x3.

    Source: nets.md, section 1.3; torchvision and timm build v1.5.
    """
    for name in ("layer2", "layer3", "layer4"):
        if hasattr(body, name):
            block = getattr(body, name)[0]
            block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)


def padded_same(body: nn.Module) -> None:
    """Inception-ResNet-v2 with padding 1 on each of the twelve unpadded 3x3 layers.

    Features become H/2 ... H/32 exactly, so that skips register; weights are untouched. Without
    this they are 125/60/29/14/6 at 256 pixels. Source: nets.md, section 1.2, way 3.
    """
    unpadded = (
        "conv2d_1a.conv conv2d_2a.conv conv2d_4a.conv maxpool_3a maxpool_5a "
        "mixed_6a.branch0.conv mixed_6a.branch1.2.conv mixed_6a.branch2 "
        "mixed_7a.branch0.1.conv mixed_7a.branch1.1.conv mixed_7a.branch2.2.conv mixed_7a.branch3"
    ).split()
    present = dict(body.named_modules())
    for name in unpadded:
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
        ("stem", "conv2d_4a", "repeat", "repeat_1", "conv2d_7b"),
        {"keras": padded_same, "timm": padded_same},
        default="timm",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
    "efficientnet_lite0": Architecture(
        "tf_efficientnet_lite0",
        ("blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6"),
        {"timm": as_it_is},
        default="timm",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    ),
}


def architecture(name: str) -> Architecture:
    """The entry of the table for `name`, or one read from timm for `timm:NAME`.

    Raises: UserError with the nearest names, or where timm's model offers no feature pyramid.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    arch = name.removeprefix("timm:")
    if name == arch or arch not in timm.list_models():
        known = [f"timm:{m}" for m in timm.list_models()] if name != arch else list(ENCODERS)
        raise unknown("network", name, [*known, "unet", "timm:NAME"])
    for entry in ENCODERS.values():
        if entry.arch == arch:
            return entry
    settings = timm.get_pretrained_cfg(arch)
    stages = tuple(m for m, *_ in pyramid(arch))
    return Architecture(arch, stages, {"timm": as_it_is}, "timm", settings.mean, settings.std)


def unknown(what: str, got: str, known: list[str]) -> UserError:
    """The error for a name that nobody has, with the nearest right ones (all, if they are few)."""
    near = difflib.get_close_matches(got, known, n=3, cutoff=0.4)
    near = near or (known if len(known) < 8 else known[:3])
    return UserError(f"a known {what}", got, f"The nearest are {', '.join(near)}.")


@cache
def pyramid(arch: str) -> tuple[tuple[str, int, int], ...]:
    """Module, channels and reduction of each feature map that timm offers, finest first.

    Raises: UserError where there is no pyramid of maps that halve step by step.
    """
    try:
        with torch.device("meta"):
            body = timm.create_model(arch, features_only=True, pretrained=False)
        info = body.feature_info
        rows = tuple(zip(info.module_name(), info.channels(), info.reduction(), strict=True))
        steps = [row[2] for row in rows]
    except (RuntimeError, AttributeError) as error:
        raise _no_pyramid(arch, str(error)) from error
    if any(b != 2 * a for a, b in zip(steps, steps[1:], strict=False)):
        raise _no_pyramid(arch, f"maps at 1/{', 1/'.join(map(str, steps))} of the image")
    return rows


def _no_pyramid(arch: str, got: str) -> UserError:
    return UserError(
        "an encoder with feature maps that halve step by step, at any image size",
        f"{arch}: {' '.join(got.split())}",
        "Choose a convolutional encoder, for example timm:regnetx_002 or timm:convnext_atto.",
    )


class Encoder(nn.Module):
    """images_B3HW, normalised -> feature maps, finest first.

    `coarsest` leaves out everything beyond that reduction. Frozen modules stay in inference mode
    through `.train()`, whoever calls it.
    """

    def __init__(self, entry: Architecture, card: Card, coarsest: int = 32) -> None:
        super().__init__()
        rows = [row for row in pyramid(entry.arch) if row[2] <= coarsest]
        indices = tuple(range(len(rows)))
        self.body = timm.create_model(
            entry.arch, features_only=True, pretrained=False, out_indices=indices
        )
        entry.variants[card.variant](self.body)
        for module in self.body.modules():
            if card.bn_eps is not None and isinstance(module, nn.BatchNorm2d):
                module.eps = card.bn_eps
        named = zip(entry.stages, rows, strict=False)
        self.maps = tuple(FeatureMap(stage, row[1], row[2]) for stage, row in named)
        self.stage_of, self._channels_last = _probe(self.body, self.maps)
        self.stages = tuple(
            each.stage for i, each in enumerate(self.maps) if i in self.stage_of.values()
        )
        self._held: list[nn.Module] = []

    @property
    def bn_eps(self) -> float | None:
        """Epsilon of the batch normalisation; None where there is none."""
        found = (m.eps for m in self.body.modules() if isinstance(m, nn.BatchNorm2d))
        return next(found, None)

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.body(images_B3HW)
        return [m.permute(0, 3, 1, 2) for m in maps] if self._channels_last else maps

    def stage_parameters(self, stages: int) -> Iterator[tuple[str, nn.Parameter]]:
        """Names (within `body`) and parameters of the first `stages` stages."""
        for name, parameter in self.body.named_parameters():
            if self.stage_of[name] < stages:
                yield name, parameter

    def hold(self, modules: list[nn.Module]) -> None:
        """Keep these modules in inference mode from now on."""
        self._held = modules
        self.train(self.training)

    def train(self, mode: bool = True) -> Encoder:
        """As `nn.Module.train`, but held modules stay in inference mode."""
        super().train(mode)
        for module in self._held:
            module.training = False
        return self


def _probe(body: nn.Module, maps: tuple[FeatureMap, ...]) -> tuple[dict[str, int], bool]:
    """The stage of every parameter: the finest map that depends on it, asked of autograd.

    Runs on a copy without data (the meta device), so it costs nothing. Also says whether the maps
    come with their channels last.
    """
    ghost = copy.deepcopy(body).to("meta").eval()
    names, parameters = zip(*ghost.named_parameters(), strict=True)
    try:
        outputs = ghost(torch.empty(1, 3, PROBE_PX, PROBE_PX, device="meta"))
    except (RuntimeError, AssertionError) as error:
        raise _no_pyramid(type(body).__name__, str(error)) from error
    stage_of: dict[str, int] = {}
    for stage, output in enumerate(outputs):
        wanted = torch.autograd.grad(output.sum(), parameters, allow_unused=True, retain_graph=True)
        for name, gradient in zip(names, wanted, strict=True):
            if gradient is not None:
                stage_of.setdefault(name, stage)
    return _all_tensors(ghost, stage_of), _channels_last(outputs, maps)


def _all_tensors(body: nn.Module, stage_of: dict[str, int]) -> dict[str, int]:
    """`stage_of` with what autograd cannot see (buffers, unused parameters) beside its neighbour."""
    stage, complete = 0, {}
    for name in [*body.state_dict(), *(n for n, _ in body.named_parameters())]:
        stage = stage_of.get(name, stage)
        complete.setdefault(name, stage)
    return complete


def _channels_last(outputs: list[Tensor], maps: tuple[FeatureMap, ...]) -> bool:
    for output, each in zip(outputs, maps, strict=True):
        side = PROBE_PX // each.reduction
        if tuple(output.shape) == (1, side, side, each.channels) != (1, each.channels, side, side):
            return True
        if tuple(output.shape) != (1, each.channels, side, side):
            raise _no_pyramid(each.stage, f"a map of shape {tuple(output.shape)[1:]}")
    return False
