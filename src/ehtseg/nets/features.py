"""An encoder as a module: feature maps out, every tensor counted to a stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import timm
import torch
from torch import Tensor, nn

from ehtseg.nets.encoders import Card, architecture
from ehtseg.records import UserError

PROBE_PX = 128  # small enough to be instant, large enough for every stage


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """One output of an encoder: the stage that computes it, channels, pixels per feature."""

    stage: str
    channels: int
    reduction: int


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of an encoder without any weights.

    `stage_of` gives the index of the stage of every tensor; `channels_last` says whether the maps
    come as (B, H, W, C).
    """

    maps: tuple[FeatureMap, ...]
    stage_of: dict[str, int]
    channels_last: bool


class Encoder(nn.Module):
    """images_B3HW, normalised -> feature maps, finest first.

    Height and width must be multiples of the coarsest reduction. Everything beyond `coarsest` is
    left out. Held modules stay in inference mode through `.train()`, whoever calls it. Kernels
    and normalisation hold no values yet: `initialise` gives them.
    """

    def __init__(self, name: str, card: Card, coarsest: int = 32, bn_momentum: float = 0.1) -> None:
        super().__init__()
        found = survey(name, card.variant, coarsest)
        self.maps, self.stage_of = found.maps, found.stage_of
        self.stages = tuple(
            each.stage for i, each in enumerate(found.maps) if i in found.stage_of.values()
        )
        self.recall: Callable[[Tensor, Callable[[Tensor], list[Tensor]]], list[Tensor]] | None
        self.recall = None  # asked in place of a forward pass: learning/feature_cache.py
        self._channels_last = found.channels_last
        self._held: list[nn.Module] = []
        self.body = _with_memory(name, card.variant, coarsest)
        for module in self.body.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = bn_momentum
                module.eps = module.eps if card.bn_eps is None else card.bn_eps
        self._made_as = f"{architecture(name).arch}, {card.variant}, to 1/{coarsest}"

    @property
    def kind(self) -> str:
        """All that decides its maps but for its tensors."""
        versions = f"torch {torch.__version__}, timm {timm.__version__}"
        return f"{self._made_as}, batch norm {self.bn_eps}, {versions}"

    @property
    def bn_eps(self) -> float | None:
        """Epsilon of the batch normalisation; None where there is none."""
        found = (m.eps for m in self.body.modules() if isinstance(m, nn.BatchNorm2d))
        return next(found, None)

    def forward(self, images_B3HW: Tensor) -> list[Tensor]:
        return self.recall(images_B3HW, self._look) if self.recall else self._look(images_B3HW)

    def _look(self, images_B3HW: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.body(images_B3HW)
        return [m.permute(0, 3, 1, 2) for m in maps] if self._channels_last else maps

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


@cache
def survey(name: str, variant: str, coarsest: int) -> Survey:
    """Measure an encoder on a copy without data (torch's meta device), which costs next to nothing.

    The stage of a parameter is the finest map that depends on it, asked of autograd: true for any
    architecture, whatever its modules are called.

    Raises: UserError where the maps do not halve step by step at any image size.
    """
    try:
        with torch.device("meta"):
            body = _timm_body(name, variant, coarsest).eval()
            maps = _maps(name, body)
            outputs = body(torch.empty(1, 3, PROBE_PX, PROBE_PX))
    except (RuntimeError, AssertionError, AttributeError) as error:
        raise _no_pyramid(name, str(error)) from error
    remaining, stage_of = dict(body.named_parameters()), dict[str, int]()
    for stage, output in enumerate(outputs):
        if not (remaining and output.requires_grad):
            continue
        gradients = torch.autograd.grad(
            output.sum(), list(remaining.values()), allow_unused=True, retain_graph=True
        )
        reached = [n for n, g in zip(remaining, gradients, strict=True) if g is not None]
        stage_of |= dict.fromkeys(reached, stage)
        remaining = {n: p for n, p in remaining.items() if n not in stage_of}
    return Survey(maps, _of_all_tensors(body, stage_of), _is_channels_last(name, outputs, maps))


def _timm_body(name: str, variant: str, coarsest: int) -> Any:
    """timm's feature extractor in the given variant, cut beyond `coarsest`."""
    entry = architecture(name)
    offered = _offered(entry.arch)
    wanted = tuple(index for index, reduction in offered if reduction <= coarsest)
    body = timm.create_model(entry.arch, features_only=True, pretrained=False, out_indices=wanted)
    entry.variants[variant](body)
    return body


@cache
def _offered(arch: str) -> tuple[tuple[int, int], ...]:
    """timm's index and the reduction of each map that it offers by default."""
    with torch.device("meta"):
        body: Any = timm.create_model(arch, features_only=True, pretrained=False)
    return tuple(zip(body.feature_info.out_indices, body.feature_info.reduction(), strict=True))


def _maps(name: str, body: Any) -> tuple[FeatureMap, ...]:
    info = body.feature_info
    count = len(info.channels())
    stages = architecture(name).stages[:count] or [f"stage{i}" for i in range(1, count + 1)]
    rows = zip(stages, info.channels(), info.reduction(), strict=True)
    maps = tuple(FeatureMap(*row) for row in rows)
    if not maps or any(b.reduction != 2 * a.reduction for a, b in pairwise(maps)):
        found = ", ".join(f"1/{each.reduction}" for each in maps)
        raise _no_pyramid(name, f"maps at {found} of the image")
    return maps


def _is_channels_last(name: str, outputs: list[Tensor], maps: tuple[FeatureMap, ...]) -> bool:
    sides = [(PROBE_PX // each.reduction,) * 2 for each in maps]
    first = [(1, each.channels, *side) for each, side in zip(maps, sides, strict=True)]
    last = [(1, *side, each.channels) for each, side in zip(maps, sides, strict=True)]
    shapes = [tuple(output.shape) for output in outputs]
    if shapes not in (first, last):
        raise _no_pyramid(name, f"maps of shapes {shapes} for {PROBE_PX} x {PROBE_PX} pixels")
    return shapes == last


def _of_all_tensors(body: nn.Module, stage_of: dict[str, int]) -> dict[str, int]:
    """`stage_of`, with each buffer and unused parameter counted to the tensor before it."""
    stage, complete = 0, dict[str, int]()
    for tensor in body.state_dict():
        stage = stage_of.get(tensor, stage)
        complete[tensor] = stage
    return complete


def _with_memory(name: str, variant: str, coarsest: int) -> nn.Module:
    """The body on the CPU, without timm's slow drawing of weights where `initialise` draws all."""
    with torch.device("meta"):
        body: nn.Module = _timm_body(name, variant, coarsest)
    if all(_is_drawn(module) for module in body.modules()):
        return body.to_empty(device="cpu")
    whole: nn.Module = _timm_body(name, variant, coarsest)
    return whole


def _is_drawn(module: nn.Module) -> bool:
    """Whether `initialise` gives all of a module's own tensors their values.

    A subclass may hold more than its kind: timm's standardised convolutions have a gain.
    """
    own = {
        *(name for name, _ in module.named_parameters(recurse=False)),
        *(name for name, _ in module.named_buffers(recurse=False)),
    }
    if isinstance(module, nn.BatchNorm2d):
        own -= {"running_mean", "running_var", "num_batches_tracked"}
    is_known = isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d)
    return not own or (is_known and own <= {"weight", "bias"})


def _no_pyramid(name: str, got: str) -> UserError:
    return UserError(
        "an encoder with feature maps that halve step by step, at any image size",
        f"{name}: {' '.join(got.split())}",
        "Choose a convolutional encoder, for example timm:regnetx_002 or timm:convnext_atto.",
    )
