"""Which tensors of an encoder take ImageNet weights, and how many stages are meant."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ehtseg.nets.encoders import IMAGENET_STD, RANDOM, Card, architecture, unknown
from ehtseg.nets.features import Encoder
from ehtseg.nets.weights import WeightsFile
from ehtseg.nets.weights_file import expected_shapes, flat, read_tensors
from ehtseg.records import UserError

Stages = int | Literal["all"]
Wanted = Stages | tuple[str, ...]


def fill(
    encoder: Encoder,
    name: str,
    file: WeightsFile,
    wanted: Wanted,
    control: Literal["permuted", "random"] | None = None,
) -> Card:
    """Load the tensors that are transferred, in place; the file's card with their names.

    A control loads them permuted within each tensor (same statistics, no features), or not at all.

    Raises: UserError for stages and layers that do not exist, and for a file that does not fit.
    """
    entry, card = architecture(name), file.card
    tensors = read_tensors(file.path, entry)
    if entry.rescale:
        card, tensors = rescaled(card, tensors, entry.rescale)
    names, chosen = select(encoder, entry.arch, wanted)
    own = {flat(name): name for name in encoder.body.state_dict()}
    loaded = {own[flat(name)]: tensor for name, tensor in tensors.items() if name in chosen}
    if control == "permuted":
        loaded = {each: permuted(tensor, each) for each, tensor in loaded.items()}
        card = replace(card, source=f"{card.source}, permuted within each tensor")
    if control != "random":
        encoder.body.load_state_dict(loaded, strict=False)
    if not names or control == "random":  # the file decided the variant only
        return replace(card, source=RANDOM, licence="", weights_sha256=None)
    return replace(card, transferred=names)


def permuted(tensor: Tensor, name: str) -> Tensor:
    """The values of a tensor in another order, which its name decides."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].view_as(tensor)


def select(encoder: Encoder, arch: str, wanted: Wanted) -> tuple[tuple[str, ...], set[str]]:
    """Names of the stages or layers that are wanted, and all tensors in them by timm's names.

    A layer takes everything below it: "layer2" holds "layer2.0.conv1".

    Raises: UserError for a layer that does not exist, with the nearest ones.
    """
    stage_of_flat = {flat(name): index for name, index in encoder.stage_of.items()}
    tensors = [name for name in expected_shapes(arch)[0] if flat(name) in stage_of_flat]
    stage_of = {name: stage_of_flat[flat(name)] for name in tensors}
    if not isinstance(wanted, tuple):
        count = count_stages(encoder, "transfer", wanted)
        return encoder.stages[:count], {n for n, stage in stage_of.items() if stage < count}
    layers = {name[:i] for name in tensors for i, letter in enumerate(name) if letter == "."}
    chosen: set[str] = set()
    for name in wanted:
        if name in layers:
            chosen |= {n for n in tensors if n.startswith(f"{name}.")}
        elif name in encoder.stages:
            chosen |= {n for n, i in stage_of.items() if encoder.maps[i].stage == name}
        else:
            raise unknown(f"layer of {arch}", name, sorted({*layers, *encoder.stages}))
    return wanted, chosen


def count_stages(encoder: Encoder, what: str, wanted: Stages) -> int:
    """How many encoder stages are meant.

    Raises: UserError where the encoder has fewer.
    """
    there = len(encoder.stages)
    if wanted == "all":
        return there
    if wanted > there:
        raise UserError(
            f"{what} between 0 and {there}, the encoder's stages ({', '.join(encoder.stages)})",
            str(wanted),
            "Give a smaller number, or all.",
        )
    return wanted


def rescaled(card: Card, tensors: dict[str, Tensor], first: str) -> tuple[Card, dict[str, Tensor]]:
    """The same function divided by one constant, for inputs with the usual ImageNet std.

    For a network of convolutions, ReLU and max-pooling only (VGG): the first kernel and all
    biases are divided, which divides every activation. Files with std 1/255 have activations in
    the thousands, which suit no decoder.
    """
    ratio = torch.tensor(IMAGENET_STD) / torch.tensor(card.std)
    factor = float(ratio.mean())
    changed = {n: t / factor if n.endswith("bias") else t for n, t in tensors.items()}
    changed[first] = tensors[first] * (ratio / factor).view(1, 3, 1, 1)
    return replace(card, std=IMAGENET_STD, divided_by=factor), changed
