"""From a recipe to a network: pictures in, logits of the same size out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ehtseg.nets.blocks import crop_like, mirror, pad_below_right
from ehtseg.nets.encoders import Architecture, Card, Encoder, architecture, unknown
from ehtseg.nets.freeze import freeze
from ehtseg.nets.initialise import initialise
from ehtseg.nets.transfer import DECODERS, TransferUNet
from ehtseg.nets.unet import UNet, UNetPlan, valid_margin
from ehtseg.nets.weights import (
    EncoderFile,
    expected_shapes,
    find_encoder_file,
    flat,
    read_card,
    read_tensors,
    rescaled,
)
from ehtseg.recipe import NetRecipe
from ehtseg.records import UserError


class Net(nn.Module):
    """images_BCHW in [0, 1] (C = 1 or 3, any height and width) -> logits_B1HW of the same size.

    Grey is repeated to three channels, so that ImageNet kernels keep their meaning; then come the
    normalisation of `card`, padding to what `body` needs, `body`, and cropping. `margin` pixels
    are mirrored around the image for a body that answers for the centre only (valid padding).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, card: Card, multiple: int, margin: int = 0) -> None:
        super().__init__()
        self.body, self.multiple, self.margin = body, multiple, margin
        self.card: dict[str, Any] = card.as_dict()
        for name, values in (("mean", card.mean), ("std", card.std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        height, width = images_BCHW.shape[-2:]
        images_B3HW = images_BCHW.expand(-1, 3, -1, -1)
        mean, std = self.mean.to(images_B3HW.dtype), self.std.to(images_B3HW.dtype)
        padded = pad_below_right((images_B3HW - mean) / std, self.multiple)
        inside = mirror(padded, self.margin) if self.margin else padded
        logits = crop_like(self.body(inside), *padded.shape[-2:])
        return logits[..., :height, :width]


def build(recipe: NetRecipe, seed: int = 0, card: dict[str, Any] | None = None) -> Net:
    """The network of a recipe, initialised; torch's global generator is left as it was.

    With `card` (of an earlier `Net.card`) the same network is built without its ImageNet file, for
    weights that are loaded afterwards.

    Raises: UserError for unknown names, stages that do not exist, and weights that are missing or
    do not fit.

    >>> net = build(NetRecipe(name="unet", width=4))
    >>> net(torch.rand(1, 1, 50, 70)).shape
    torch.Size([1, 1, 50, 70])
    """
    known = None if card is None else Card.of(card)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if recipe.name == "unet":
            return _plain(recipe, seed, known)
        return _transfer(recipe, seed, known)


def trainable_parameters(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that an optimiser may move."""
    return [p for p in net.parameters() if p.requires_grad]


def _plain(recipe: NetRecipe, seed: int, card: Card | None) -> Net:
    if recipe.transfer not in ("all", 0, ()) or recipe.freeze != 0:
        raise UserError(
            "no transfer and no freezing with --net unet, which has no ImageNet encoder",
            f"transfer {recipe.transfer}, freeze {recipe.freeze}",
            "Leave both out, or choose --net resnet50.",
        )
    plan = replace(
        UNetPlan.of_width(recipe.width, recipe.depth),
        padding=recipe.padding,
        norm=recipe.norm,
        up=recipe.up,
        dropout=recipe.dropout,
    )
    body = UNet(plan)
    initialise(body, recipe.init, seed)
    half = (0.0, 1.0) if recipe.profile == "paper" else (0.5, 0.5)  # the paper divides by 255 only
    card = card or Card("unet", recipe.profile, None, (half[0],) * 3, (half[1],) * 3)
    # valid convolutions fit at -4 modulo `multiple`, two pixels beyond what they take themselves
    margin = valid_margin(recipe.depth) + 2 if recipe.padding == "valid" else 0
    return Net(body, card, body.multiple, margin)


def _transfer(recipe: NetRecipe, seed: int, card: Card | None) -> Net:
    entry = architecture(recipe.name)
    file = None if card else weights_file(recipe, entry)
    card = card or (read_card(file, entry) if file else scratch_card(entry))
    plan = DECODERS[recipe.profile]
    encoder = Encoder(entry, card, plan.coarsest)
    body = TransferUNet(encoder, plan, recipe.dropout)
    initialise(body, recipe.init, seed)
    if file:
        card = _fill(encoder, file, entry, card, recipe.transfer)
    freeze(encoder, count_stages(encoder, "freeze", recipe.freeze), recipe.freeze_mode)
    return Net(body, replace(card, bn_eps=encoder.bn_eps), body.multiple)


def scratch_card(entry: Architecture) -> Card:
    """The card of an encoder that has seen no weights file."""
    return Card(entry.arch, entry.default, None, entry.mean, entry.std)


def weights_file(
    recipe: NetRecipe, entry: Architecture, download: bool = True
) -> EncoderFile | None:
    """The file that the recipe asks for; None where nothing is transferred and none is named.

    A file that is named with `transfer` 0 still decides the variant, so that a random control is
    the same network as the transferred one.
    """
    if recipe.transfer in (0, ()) and recipe.weights is None:
        return None
    return find_encoder_file(entry, recipe.weights, download)


def count_stages(encoder: Encoder, what: str, wanted: int | Literal["all"]) -> int:
    """How many encoder stages are meant.

    Raises: UserError where there are fewer.
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


def _fill(
    encoder: Encoder,
    file: EncoderFile,
    entry: Architecture,
    card: Card,
    transfer: int | str | tuple[str, ...],
) -> Card:
    """Load what is transferred, and write it on the card."""
    tensors = read_tensors(file, entry)
    if entry.rescale:
        card, tensors = rescaled(card, tensors, entry.rescale)
    names, wanted = transferred(encoder, entry.arch, transfer)
    own = {flat(name): name for name in encoder.body.state_dict()}
    chosen = {own[flat(name)]: tensors[name] for name in tensors if name in wanted}
    encoder.body.load_state_dict(chosen, strict=False)
    return replace(card, transferred=names)


def transferred(
    encoder: Encoder, arch: str, transfer: int | str | tuple[str, ...]
) -> tuple[tuple[str, ...], set[str]]:
    """The stages or layers that take ImageNet weights, and all their tensors by timm's names.

    Raises: UserError for layers that do not exist, with the nearest ones.
    """
    flat_stage = {flat(name): stage for name, stage in encoder.stage_of.items()}
    there = [name for name in expected_shapes(arch)[0] if flat(name) in flat_stage]
    stage_of = {name: encoder.maps[flat_stage[flat(name)]].stage for name in there}
    if not isinstance(transfer, tuple):
        count = count_stages(encoder, "transfer", transfer)
        stages = encoder.stages[:count]
        return stages, {name for name in there if stage_of[name] in stages}
    layers = {name[:i] for name in there for i, c in enumerate(name) if c == "."}
    wanted: set[str] = set()
    for layer in transfer:
        if layer not in layers and layer not in encoder.stages:
            raise unknown(f"layer of {arch}", layer, sorted({*layers, *encoder.stages}))
        wanted |= {n for n in there if n.startswith(f"{layer}.") or stage_of[n] == layer}
    return transfer, wanted
