"""Freezing the first stages of an encoder, in the three meanings that the word has.

inference      weights fixed; batch norm, dropout and drop-path as at inference, also in training
weights_only   weights fixed; batch-norm statistics drift with the data, dropout stays active
all_but_norm   as weights_only, and scale and shift of the normalisation are trained
Source: docs/protocol.md, 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from torch import nn

from ehtseg.nets.features import Encoder

Mode = Literal["inference", "weights_only", "all_but_norm"]
NORMS = (nn.modules.batchnorm._BatchNorm, nn.InstanceNorm2d, nn.GroupNorm, nn.LayerNorm)


def freeze(encoder: Encoder, stages: int, mode: Mode) -> None:
    """Fix the first `stages` stages of the encoder, in place."""
    kept = _norm_parameters(encoder.body) if mode == "all_but_norm" else set()
    for name, parameter in encoder.body.named_parameters():
        parameter.requires_grad = encoder.stage_of[name] >= stages or name in kept
    encoder.hold(modules_within(encoder, stages) if mode == "inference" else [])


def modules_within(encoder: Encoder, stages: int) -> list[nn.Module]:
    """All modules of which every part belongs to the first `stages` stages."""
    parts = list(_parts(encoder))
    return [
        module
        for name, module in encoder.body.named_modules()
        if all(stage < stages for part, stage in parts if _is_within(part, name))
    ]


def _parts(encoder: Encoder) -> Iterator[tuple[str, int]]:
    """Every module that is a leaf or has tensors of its own, with its stage.

    One without tensors (activation, pooling, drop-path) has the stage of the one before it.
    """
    stage = 0
    for name, module in encoder.body.named_modules():
        own = [
            encoder.stage_of[f"{name}.{tensor}".lstrip(".")]
            for tensor, _ in module.named_parameters(recurse=False)
        ]
        stage = max(own, default=stage)
        if own or not list(module.children()):
            yield name, stage


def _is_within(part: str, name: str) -> bool:
    return not name or part == name or part.startswith(f"{name}.")


def _norm_parameters(body: nn.Module) -> set[str]:
    return {
        f"{name}.{tensor}"
        for name, module in body.named_modules()
        if isinstance(module, NORMS)
        for tensor, _ in module.named_parameters(recurse=False)
    }
