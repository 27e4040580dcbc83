"""A network as a table: each layer, where its weights come from, whether it stays fixed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ehtseg.nets.build import Net, build, encoder_name, scratch_card, wanted_file
from ehtseg.nets.encoders import architecture
from ehtseg.nets.features import Encoder
from ehtseg.nets.rival_weights import card_of_parts, find_parts, names_in_body, takes_weights
from ehtseg.nets.smp_net import SMP, smp_card
from ehtseg.nets.transfer import select
from ehtseg.nets.weights import WeightsFile
from ehtseg.nets.weights_file import expected_shapes, flat
from ehtseg.recipe import FROM_SCRATCH, NetRecipe
from ehtseg.records import UserError

PROBE_PX = 256  # a size that every network here takes without padding


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer with weights. `stride` is in image pixels per feature; None: size not from it."""

    part: str  # the encoder's stage, or a part of the network
    name: str
    kind: str
    channels: int
    stride: int
    parameters: int
    weights: str  # "ImageNet", "ImageNet, permuted", or the rule by which they are drawn
    fixed: bool  # no parameter of it is trained
    mode: str  # in training: "training", or "inference" if it is held there


@dataclass(frozen=True, slots=True)
class Description:
    """All layers, from the image to the logits, and what holds for the whole."""

    layers: tuple[Layer, ...]
    parameters: int
    trainable: int
    notes: tuple[str, ...]

    def parts(self) -> dict[str, tuple[Layer, ...]]:
        """The layers by part, in order."""
        names = dict.fromkeys(layer.part for layer in self.layers)
        return {name: tuple(x for x in self.layers if x.part == name) for name in names}


def describe(recipe: NetRecipe) -> Description:
    """The network of a recipe as a table. Downloads nothing and needs no weights at hand.

    Raises: UserError as `build`, but for weights that are not at hand, which a note tells.

    >>> describe(NetRecipe(name="unet")).parameters
    1941105
    """
    card, notes = _card(recipe)
    drawn = recipe.model_copy(update={"padding": "same"})  # no layer is another; strides are even
    net = build(drawn, card=card).to("meta").train()  # shapes and flags are all that counts here
    return Description(
        layers=tuple(_layers(net, recipe)),
        parameters=sum(p.numel() for p in net.parameters()),
        trainable=sum(p.numel() for p in net.parameters() if p.requires_grad),
        notes=notes,
    )


def _card(recipe: NetRecipe) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The card that `build` would find, without downloading; notes on where weights come from."""
    none = (f"No ImageNet weights: everything is drawn ({recipe.init}).",)
    if recipe.name in FROM_SCRATCH and not takes_weights(recipe):
        return None, none
    try:
        files = _files(recipe)
    except UserError as error:
        if recipe.weights is not None and not recipe.weights.startswith("hub:"):
            raise
        card = None if recipe.name in FROM_SCRATCH else scratch_card(recipe.name).as_dict()
        return card, (f"The ImageNet weights are not at hand yet. {error}",)
    if not files:
        return scratch_card(recipe.name).as_dict(), none
    taken = recipe.control != "random" and recipe.transfer not in (0, ())
    said = "ImageNet weights" if taken else "No ImageNet weights, but the variant of"
    notes = tuple(f"{said}: {file}, variant {file.card.variant}." for file in files)
    if takes_weights(recipe):
        return card_of_parts(recipe, files).as_dict(), notes
    if recipe.name.startswith(SMP):
        return smp_card(recipe, files[0]).as_dict(), notes
    return files[0].card.as_dict(), notes


def _files(recipe: NetRecipe) -> tuple[WeightsFile, ...]:
    """The weights files that the recipe asks for, as far as they are on this machine."""
    if takes_weights(recipe):
        return find_parts(recipe, download=False)
    file = wanted_file(recipe, download=False)
    return (file,) if file else ()


def _filled(net: Net, recipe: NetRecipe) -> set[str]:
    """The flat names of the tensors of a body, without our own encoder, that take ImageNet's."""
    if takes_weights(recipe):
        return names_in_body(recipe)
    if not (recipe.name.startswith(SMP) and net.card["transferred"]):
        return set()
    inside: Any = net.body.encoder
    there = {flat(n) for n in expected_shapes(architecture(encoder_name(recipe.name)).arch)[0]}
    return {flat(f"encoder.{name}") for name in inside.state_dict() if flat(name) in there}


def _layers(net: Net, recipe: NetRecipe) -> Iterator[Layer]:
    encoder = getattr(net.body, "encoder", None)
    names, chosen, filled = dict[str, str](), set[str](), _filled(net, recipe)
    if isinstance(encoder, Encoder):
        names = {flat(name): name for name in expected_shapes(net.card["arch"])[0]}
        chosen = select(encoder, net.card["arch"], recipe.transfer)[1]
        chosen = set() if recipe.control == "random" else chosen
    modules = dict(net.body.named_modules())
    for name, (channels, stride) in _output_shapes(net.body).items():
        module, inside = modules[name], name.removeprefix("encoder.body.")
        own = dict(module.named_parameters(recurse=False))
        tensor = f"{inside}.{next(iter(own))}"
        tensor = names.get(flat(tensor), tensor) if inside != name else tensor
        taken = tensor in chosen or flat(f"{name}.{next(iter(own))}") in filled
        yield Layer(
            part=name.split(".")[0] if inside == name else _stage(encoder, inside, own),
            name=tensor.rpartition(".")[0],
            kind=_kind(module),
            channels=channels,
            stride=stride,
            parameters=sum(p.numel() for p in own.values()),
            weights=_imagenets(recipe) if taken else _drawn(module, recipe.init),
            fixed=not any(p.requires_grad for p in own.values()),
            mode="training" if module.training else "inference",
        )


def _stage(encoder: Any, inside: str, own: dict[str, Any]) -> str:
    stage: str = encoder.maps[encoder.stage_of[f"{inside}.{next(iter(own))}"]].stage
    return stage


def _kind(module: nn.Module) -> str:
    size = getattr(module, "kernel_size", None)
    edges = f" {'x'.join(map(str, size))}" if isinstance(size, tuple) else ""
    return type(module).__name__ + edges


def _imagenets(recipe: NetRecipe) -> str:
    return "ImageNet, permuted" if recipe.control == "permuted" else "ImageNet"


def _drawn(module: nn.Module, rule: str) -> str:
    kernel = isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
    return f"random ({rule})" if kernel else "start values"


def _output_shapes(body: nn.Module) -> dict[str, tuple[int, int]]:
    """Channels and stride of what each layer with weights gives, in the order of computation."""
    shapes: dict[str, tuple[int, int]] = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                _, stride_before = next(reversed(shapes.values()), (0, 1))
                shapes.setdefault(name, _channels_and_stride(output, stride_before))

        return hook

    owners = {n: m for n, m in body.named_modules() if [*m.parameters(recurse=False)]}
    handles = [module.register_forward_hook(note(name)) for name, module in owners.items()]
    with torch.no_grad():
        body(torch.empty(1, 3, PROBE_PX, PROBE_PX, device="meta"))
    for handle in handles:
        handle.remove()
    return shapes


def _channels_and_stride(output: Tensor, stride_before: int) -> tuple[int, int]:
    """Of a map, or of tokens (B, N, C); tokens of windows have the stride of the map before."""
    if output.ndim == 4:
        channels_last = output.shape[1] == output.shape[2] != output.shape[3]
        return output.shape[3 if channels_last else 1], PROBE_PX // output.shape[2]
    stride = PROBE_PX // math.isqrt(output.shape[1])
    return output.shape[-1], stride if stride.bit_count() == 1 else stride_before
