"""From a recipe to a network: pictures in, logits of the same size out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from ehtseg.nets.blocks import crop_like, mirror, pad_below_right
from ehtseg.nets.dstransunet import DSTransUNet
from ehtseg.nets.encoders import HALF, IMAGENET_MEAN, IMAGENET_STD, Card, architecture
from ehtseg.nets.features import Encoder
from ehtseg.nets.freeze import freeze
from ehtseg.nets.initialise import initialise
from ehtseg.nets.mednca import MedNCA, MedNCAPlan
from ehtseg.nets.nnunet import NnUNet, NnUNetPlan
from ehtseg.nets.rival_weights import PARTS, card_of_parts, fill_parts, find_parts, takes_weights
from ehtseg.nets.smp_net import (
    MULTIPLE,
    SMP,
    SmpName,
    as_card_says,
    fill_smp,
    smp_body,
    smp_card,
    smp_scratch_card,
    takes_file,
)
from ehtseg.nets.transfer import count_stages, fill
from ehtseg.nets.transfer_unet import DECODERS, TransferUNet
from ehtseg.nets.transunet import TransUNet
from ehtseg.nets.unet import UNet, UNetPlan, valid_margin
from ehtseg.nets.unetpp import TransferUNetPP, UNetPP, UNetPPPlan
from ehtseg.nets.unext import SMALL, UNeXt, UNeXtPlan
from ehtseg.nets.weights import WeightsFile, find_weights
from ehtseg.recipe import FROM_SCRATCH, NetRecipe
from ehtseg.records import UserError

# mean and std of the plain U-Net's input; the paper most plausibly divides by 255 and no more
PLAIN_SCALE = {"modern": (0.5, 0.5), "paper": (0.0, 1.0)}
NESTED = "unetpp:"  # before the name of an encoder: U-Net++ on it
MIRRORS = ((-1,), (-2,), (-2, -1))  # axes that are turned round


@dataclass(frozen=True, slots=True)
class Rival:
    """A network of another paper: its body for a dropout rate, and mean and std of its input.

    `dropout` is the published rate (DS-TransUNet: of whole branches); None: it has no dropout, and
    the recipe must not ask for any. Weights are drawn by the recipe's rule, as everywhere.
    """

    body: Callable[[float], nn.Module]
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF
    dropout: float | None = None


_IMAGENET, _AS_IT_IS = (IMAGENET_MEAN, IMAGENET_STD), ((0.0,) * 3, (1.0,) * 3)
_PORT = UNetPPPlan(norm="batch", up="bilinear")

RIVALS: dict[str, Rival] = {
    "unetpp": Rival(lambda p: UNetPP(UNetPPPlan(dropout=p)), dropout=0.5),
    "unetpp_ds": Rival(lambda p: UNetPP(UNetPPPlan(dropout=p, deep_supervision=True)), dropout=0.5),
    "unetpp_bn": Rival(lambda _: UNetPP(_PORT), *_IMAGENET),
    "unetpp_bn_ds": Rival(lambda _: UNetPP(replace(_PORT, deep_supervision=True)), *_IMAGENET),
    "unext": Rival(lambda _: UNeXt(UNeXtPlan()), *_IMAGENET),
    "unext_s": Rival(lambda _: UNeXt(SMALL), *_IMAGENET),
    "nnunet": Rival(lambda _: NnUNet(NnUNetPlan.of_size(256)), *_AS_IT_IS),
    "nnunet_512": Rival(lambda _: NnUNet(NnUNetPlan.of_size(512)), *_AS_IT_IS),
    "transunet": Rival(lambda p: TransUNet(256, dropout=p), dropout=0.1),
    "dstransunet": Rival(lambda p: DSTransUNet(drop_path=p), *_IMAGENET, dropout=0.5),
    "mednca": Rival(lambda _: MedNCA(MedNCAPlan()), *_AS_IT_IS),
    "mednca_16": Rival(lambda _: MedNCA(MedNCAPlan(channels=16)), *_AS_IT_IS),
}


class Net(nn.Module):
    """images_BCHW in [0, 1] (C = 1 or 3, any height and width) -> logits_B1HW of the same size.

    Grey is repeated to three channels, so that ImageNet kernels keep their meaning; then come the
    normalisation of `card`, padding to what `body` needs, `body`, and cropping. `margin` pixels
    are mirrored around the image for a body that answers for the centre only (valid padding).
    A `mirrored` network in inference mode gives the mean logits over the image and its mirrors.
    In training a network with deep supervision gives the logits of all its outputs, the main one
    first; `output_weights` are their weights in the loss.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, card: Card, multiple: int, margin: int = 0) -> None:
        super().__init__()
        self.body, self.multiple, self.margin = body, multiple, margin
        self.mirrored = False
        self.card: dict[str, Any] = card.as_dict()
        self.output_weights: tuple[float, ...] = getattr(body, "output_weights", (1.0,))
        for name, values in (("mean", card.mean), ("std", card.std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)

    def forward(self, images_BCHW: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.training or not self.mirrored:
            return self._answer(images_BCHW)
        votes = [self._answer(images_BCHW)]
        votes += [self._answer(images_BCHW.flip(axes)).flip(axes) for axes in MIRRORS]  # type: ignore[union-attr]
        return torch.stack(votes).mean(0)  # type: ignore[arg-type]

    def _answer(self, images_BCHW: Tensor) -> Tensor | tuple[Tensor, ...]:
        height, width = images_BCHW.shape[-2:]
        images_B3HW = images_BCHW.expand(-1, 3, -1, -1)
        mean, std = self.mean.to(images_B3HW.dtype), self.std.to(images_B3HW.dtype)
        padded = pad_below_right((images_B3HW - mean) / std, self.multiple)
        inside = mirror(padded, self.margin) if self.margin else padded
        outputs = self.body(inside)

        def cropped(logits: Tensor) -> Tensor:
            return crop_like(logits, *padded.shape[-2:])[..., :height, :width]

        return tuple(map(cropped, outputs)) if isinstance(outputs, tuple) else cropped(outputs)


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
    known = None if card is None else _own_card(recipe, card)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # for what timm draws itself
        net = _maker(recipe)(recipe, seed, known)
    net.mirrored = recipe.mirrored
    return net


def _maker(recipe: NetRecipe) -> Callable[[NetRecipe, int, Card | None], Net]:
    """What builds the recipe's kind of network."""
    if recipe.name.startswith(SMP):
        return _smp
    if recipe.name not in FROM_SCRATCH:
        return _transfer
    _check_scratch(recipe)
    return _rival if recipe.name in RIVALS else _plain


def _own_card(recipe: NetRecipe, entries: dict[str, Any]) -> Card:
    """A card that was stored, if it is one of this network."""
    named = recipe.name in FROM_SCRATCH or recipe.name.startswith(SMP)
    arch = recipe.name if named else architecture(encoder_name(recipe.name)).arch
    if entries.get("arch") != arch or set(entries) != {field.name for field in fields(Card)}:
        raise UserError(
            f"the card of a network {arch}",
            f"{entries}",
            "The run folder is damaged or of another version; train again or use another one.",
        )
    return Card.of(entries)


def trainable_parameters(net: nn.Module) -> list[nn.Parameter]:
    """The parameters that an optimiser may move."""
    return [p for p in net.parameters() if p.requires_grad]


def _check_scratch(recipe: NetRecipe) -> None:
    """Refuse decisions that a network without an ImageNet encoder cannot follow."""
    permuted = recipe.control == "permuted"  # while "random" is what these networks are
    if recipe.transfer not in ("all", 0, ()) or recipe.freeze != 0 or permuted:
        raise UserError(
            f"no transfer, no control and no freezing with --net {recipe.name}, "
            "which has no ImageNet encoder",
            f"transfer {recipe.transfer}, freeze {recipe.freeze}, control {recipe.control}",
            "Leave them out, or choose --net resnet50.",
        )
    if recipe.weights is not None and recipe.name not in PARTS:
        raise UserError(
            f"no weights file with --net {recipe.name}, which takes none",
            recipe.weights,
            f"Leave --weights out, or choose resnet50 or {' or '.join(PARTS)}.",
        )
    if recipe.dropout and recipe.name in RIVALS and RIVALS[recipe.name].dropout is None:
        raise UserError(
            f"net.dropout 0 with --net {recipe.name}, which has no dropout",
            f"{recipe.dropout}",
            "Leave net.dropout out.",
        )


def _rival(recipe: NetRecipe, seed: int, card: Card | None) -> Net:
    rival = RIVALS[recipe.name]
    body: Any = rival.body(recipe.dropout)
    initialise(body, recipe.init, seed)
    if card is None and takes_weights(recipe):
        files = find_parts(recipe, download=True)
        fill_parts(body, recipe, files)
        card = card_of_parts(recipe, files)
    card = card or Card(recipe.name, "published", None, rival.mean, rival.std)
    return Net(body, card, body.multiple)


def _smp(recipe: NetRecipe, seed: int, card: Card | None) -> Net:
    body = smp_body(recipe, seed)
    file = None if card else wanted_file(recipe, download=True)
    if card is None:
        card = smp_card(recipe, file) if file else smp_scratch_card(recipe.name)
    as_card_says(body, card)
    if file and takes_file(recipe):
        card = fill_smp(body, card, file)
    return Net(body, card, MULTIPLE)


def _plain(recipe: NetRecipe, seed: int, card: Card | None) -> Net:
    plan = replace(
        UNetPlan.of_width(recipe.width, recipe.depth),
        padding=recipe.padding,
        norm=recipe.norm,
        up=recipe.up,
        dropout=recipe.dropout,
    )
    body = UNet(plan)
    initialise(body, recipe.init, seed)
    mean, std = PLAIN_SCALE[recipe.profile]
    card = card or Card("unet", recipe.profile, None, (mean,) * 3, (std,) * 3)
    # valid convolutions fit at -4 modulo `multiple`, two pixels beyond what they take themselves
    margin = valid_margin(recipe.depth) + 2 if recipe.padding == "valid" else 0
    return Net(body, card, body.multiple, margin)


def _transfer(recipe: NetRecipe, seed: int, card: Card | None) -> Net:
    nested, name = recipe.name.startswith(NESTED), encoder_name(recipe.name)
    plan = DECODERS["modern" if nested else recipe.profile]
    file = None if card else wanted_file(recipe, download=True)
    if recipe.control and recipe.transfer in (0, ()):
        raise UserError(
            f"stages to transfer with net.control {recipe.control}, which changes their weights",
            f"transfer {recipe.transfer}",
            "Leave net.transfer out, or net.control.",
        )
    if card is None:
        card = file.card if file else scratch_card(name)
    encoder = Encoder(name, card, plan.coarsest, plan.style.bn_momentum)
    body = (TransferUNetPP if nested else TransferUNet)(encoder, plan, recipe.dropout)
    initialise(body, recipe.init, seed)
    if file:
        card = fill(encoder, name, file, recipe.transfer, recipe.control)
    freeze(encoder, count_stages(encoder, "freeze", recipe.freeze), recipe.freeze_mode)
    return Net(body, replace(card, bn_eps=encoder.bn_eps), body.multiple)


def encoder_name(name: str) -> str:
    """The encoder of a network that has one: `unetpp:resnet50` has that of `resnet50`."""
    return SmpName.of(name).ours or "" if name.startswith(SMP) else name.removeprefix(NESTED)


def scratch_card(name: str) -> Card:
    """The card of an encoder that has seen no weights file."""
    if name.startswith(SMP):
        return smp_scratch_card(name)
    entry = architecture(encoder_name(name))
    return Card(entry.arch, entry.default, None, entry.mean, entry.std)


def wanted_file(recipe: NetRecipe, download: bool) -> WeightsFile | None:
    """The weights file that a recipe asks for; None where it transfers nothing and names none.

    A file that is named with `transfer` 0 still decides the variant, so that a random control is
    the same network as the transferred one.
    """
    if recipe.transfer in (0, ()) and recipe.weights is None:
        return None
    if not encoder_name(recipe.name):  # of smp alone: there is no file of it
        return None
    return find_weights(encoder_name(recipe.name), recipe.weights, download)
