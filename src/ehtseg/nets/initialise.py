"""Random weights: a pure function of seed, tensor name and rule, whatever else was drawn before."""

from __future__ import annotations

import hashlib
import math
from typing import Literal

import torch
from torch import Tensor, nn

Rule = Literal["xavier", "he"]


def initialise(network: nn.Module, rule: Rule, seed: int) -> None:
    """Draw every kernel anew, in place; biases 0; normalisation as at the start of training.

    Each tensor has its own generator, seeded by (seed, name): a decoder is the same with any
    encoder weights, and torch's global generator is not touched. Other tensors (position
    embeddings, layer scales) stay as they are.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            _draw(module.weight, _fans(module), rule, generator_of(seed, name))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            module.reset_parameters()


def generator_of(seed: int, name: str) -> torch.Generator:
    """The generator that belongs to this seed and this name."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)


@torch.no_grad()
def _draw(weight: Tensor, fans: tuple[float, float], rule: Rule, source: torch.Generator) -> None:
    incoming, outgoing = fans
    if rule == "xavier":  # Glorot and Bengio 2010, uniform
        limit = math.sqrt(6 / (incoming + outgoing))
        weight.uniform_(-limit, limit, generator=source)
    else:  # He et al. 2015, normal
        weight.normal_(0, math.sqrt(2 / incoming), generator=source)


def _fans(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear) -> tuple[float, float]:
    """Connections into one output value, and out of one input value."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    area, step = math.prod(layer.kernel_size), math.prod(layer.stride)
    incoming, outgoing = layer.in_channels / layer.groups, layer.out_channels / layer.groups
    if isinstance(layer, nn.ConvTranspose2d):
        return incoming * area / step, outgoing * area
    return incoming * area, outgoing * area
