"""Networks of segmentation_models.pytorch as opponents: `smp:Unet/resnet50`.

The network is smp's own, built without its weights; an encoder that is also one of ours takes our
weights file, in the variant that the file states. Needs the extra `smp`.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import timm
from torch import nn

from ehtseg.nets.encoders import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    RANDOM,
    Card,
    architecture,
    unknown,
)
from ehtseg.nets.initialise import initialise
from ehtseg.nets.transfer import rescaled
from ehtseg.nets.weights import WeightsFile
from ehtseg.nets.weights_file import flat, read_tensors
from ehtseg.recipe import SMP_ENCODERS, NetRecipe
from ehtseg.records import UserError

SMP = "smp:"
PACKAGE = "segmentation_models_pytorch"
MULTIPLE = 32  # its encoders halve five times, and some decoders take nothing else


@dataclass(frozen=True, slots=True)
class SmpName:
    """A network of smp by its name, and its encoder by smp's and by our name (None: not ours)."""

    network: str
    encoder: str

    @property
    def ours(self) -> str | None:
        """The encoder as `--net` names it here."""
        return SMP_ENCODERS.get(self.encoder)

    @staticmethod
    def of(name: str) -> SmpName:
        """Read `smp:NETWORK/ENCODER`.

        Raises: UserError where the form is another.

        >>> SmpName.of("smp:Unet/resnet50")
        SmpName(network='Unet', encoder='resnet50')
        """
        network, slash, encoder = name.removeprefix(SMP).partition("/")
        if not (name.startswith(SMP) and network and slash and encoder):
            raise UserError("smp:NETWORK/ENCODER", name, "Write for example: smp:Unet/resnet50")
        return SmpName(network, encoder)


def smp_body(recipe: NetRecipe, seed: int) -> nn.Module:
    """smp's network of a recipe: images_B3HW (normalised, multiples of 32) -> logits_B1HW, random.

    Raises: UserError where smp is missing, does not know the names, or cannot do what is asked.
    """
    _check(recipe)
    name, smp = SmpName.of(recipe.name), _smp()
    networks = {kind.__name__: kind for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()}
    if name.network not in networks:
        raise unknown("network of smp", name.network, list(networks))
    of_timm = name.encoder.startswith("tu-") and timm.is_model(name.encoder.removeprefix("tu-"))
    if not of_timm and name.encoder not in smp.encoders.get_encoder_names():
        raise unknown("encoder of smp", name.encoder, list(smp.encoders.get_encoder_names()))
    try:
        body: nn.Module = networks[name.network](name.encoder, encoder_weights=None, in_channels=3)
    except (ValueError, NotImplementedError) as error:  # its word for two that do not go together
        raise UserError(
            f"an encoder that smp builds {name.network} on",
            f"{name.encoder} (smp: {' '.join(str(error).split())})",
            "Choose another one, for example resnet50, or tu-resnet50 for DPT.",
        ) from error
    initialise(body, recipe.init, seed)
    return body


def smp_scratch_card(name: str) -> Card:
    """The card of a network of smp that has seen no weights file."""
    return Card(name, "smp", None, IMAGENET_MEAN, IMAGENET_STD)


def smp_card(recipe: NetRecipe, file: WeightsFile) -> Card:
    """The card of a network of smp with the variant and the normalisation of a weights file."""
    card = replace(file.card, arch=recipe.name)
    if not takes_file(recipe):  # the file decides the variant only
        return replace(card, source=RANDOM, licence="", weights_sha256=None)
    return replace(card, transferred=("encoder",))


def takes_file(recipe: NetRecipe) -> bool:
    """Whether the encoder takes the weights of a file, and not only its variant."""
    return recipe.control is None and recipe.transfer not in (0, ())


def as_card_says(body: Any, card: Card) -> None:
    """Change the encoder, in place, to the variant of a card."""
    ours = SmpName.of(card.arch).ours
    if ours is None or card.variant == "smp":
        return
    architecture(ours).variants[card.variant](body.encoder)
    for module in body.encoder.modules():
        if isinstance(module, nn.BatchNorm2d) and card.bn_eps is not None:
            module.eps = card.bn_eps


def fill_smp(body: Any, card: Card, file: WeightsFile) -> Card:
    """Load the encoder's weights, in place; the card with what was changed in them."""
    entry = architecture(SmpName.of(card.arch).ours or "")
    tensors = read_tensors(file.path, entry)
    if entry.rescale:
        card, tensors = rescaled(card, tensors, entry.rescale)
    own = {flat(name): name for name in body.encoder.state_dict()}
    body.encoder.load_state_dict({own[flat(n)]: t for n, t in tensors.items()}, strict=False)
    return card


def _check(recipe: NetRecipe) -> None:
    if recipe.freeze != 0 or recipe.transfer not in ("all", 0, ()) or recipe.control == "permuted":
        raise UserError(
            "transfer 0 or all, no freezing and no permuted control with a network of smp",
            f"transfer {recipe.transfer}, freeze {recipe.freeze}, control {recipe.control}",
            "Leave them out, or choose a network of this package: --net resnet50.",
        )
    if recipe.dropout:
        raise UserError(
            "net.dropout 0 with a network of smp, which is built without dropout",
            f"{recipe.dropout}",
            "Leave net.dropout out.",
        )
    if recipe.weights is not None and SmpName.of(recipe.name).ours is None:
        raise UserError(
            f"an encoder whose weights files are known here ({', '.join(SMP_ENCODERS)})",
            recipe.name,
            "Leave --weights out: this encoder starts from random weights.",
        )


def _smp() -> Any:
    if find_spec(PACKAGE) is None:
        raise UserError(
            "the package segmentation_models_pytorch for a network named smp:...",
            "an installation without it",
            "Run: pip install 'ehtseg[smp]'",
        )
    with warnings.catch_warnings():  # of its own dependencies
        warnings.simplefilter("ignore")
        return import_module(PACKAGE)
