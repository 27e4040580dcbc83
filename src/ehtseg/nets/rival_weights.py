"""ImageNet weights of the rivals that have an encoder of timm inside: TransUNet, DS-TransUNet.

They are taken only where `net.weights` names them: one file for each encoder, a comma between.
Sources: the two papers and timm, whose names of tensors they follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from ehtseg.nets.encoders import Card, architecture
from ehtseg.nets.hub import HubFile
from ehtseg.nets.weights import WeightsFile, find_weights
from ehtseg.nets.weights_file import flat, read_facts, read_named
from ehtseg.recipe import NetRecipe
from ehtseg.records import UserError

POSITIONS = "pos_embed"  # timm's name: one row a place of the grid, after that of the class token


@dataclass(frozen=True, slots=True)
class Part:
    """One encoder of timm inside a rival.

    `archs` are timm's names of what fits, `place` is where the encoder's tensors stand in the
    body, `renamed` gives starts of timm's names that are called otherwise there, `left_out` names
    tensors that do not fit, and `spare` starts of names of the file that nothing needs.
    """

    archs: tuple[str, ...]
    place: str = ""
    renamed: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()
    spare: tuple[str, ...] = ("head.",)

    @property
    def unread(self) -> tuple[str, ...]:
        """Starts of the names in a file that the body does not take."""
        return (*self.spare, *self.left_out)

    def name_in_body(self, name: str) -> str:
        """The flat name, in the body, of a tensor of the file."""
        for start, ours in self.renamed:
            if name.startswith(start):
                name = ours + name.removeprefix(start)
        return flat(self.place + name)


PARTS: dict[str, tuple[Part, ...]] = {
    "transunet": (
        Part(
            ("vit_base_r50_s16_224", "vit_base_r50_s16_384"),
            renamed=(
                ("patch_embed.backbone.", ""),
                ("patch_embed.proj.", "embed."),
                (POSITIONS, "position.embedding_1CHW"),
            ),
            left_out=("cls_token",),
            spare=("head.", "pre_logits."),
        ),
    ),
    "dstransunet": (
        Part(("swin_base_patch4_window7_224",), "branch_l.body.", spare=("head.", "norm.")),
        Part(  # its patches are of 8 pixels, those of the file of 4: that kernel stays random
            ("swin_tiny_patch4_window7_224",),
            "branch_s.body.",
            left_out=("patch_embed.proj.weight",),
            spare=("head.", "norm."),
        ),
    ),
}


def takes_weights(recipe: NetRecipe) -> bool:
    """Whether the recipe asks for ImageNet weights in a rival."""
    wanted = recipe.transfer not in (0, ()) and recipe.control is None
    return recipe.name in PARTS and recipe.weights is not None and wanted


def find_parts(recipe: NetRecipe, download: bool) -> tuple[WeightsFile, ...]:
    """The weights file of each encoder, in the order of `PARTS`.

    Raises: UserError where a file is missing, silent, or of an encoder that is not inside.
    """
    parts = PARTS[recipe.name]
    given = [text.strip() for text in (recipe.weights or "").split(",")]
    files = [_find(text, parts, download) for text in given]
    of_part = [[file for file in files if file.card.arch in part.archs] for part in parts]
    if any(len(found) != 1 for found in of_part):
        raise UserError(
            f"one weights file of each of {', '.join(' or '.join(p.archs) for p in parts)}",
            ", ".join(file.card.arch for file in files),
            "Name each once in --weights, with a comma between.",
        )
    return tuple(found for (found,) in of_part)


def card_of_parts(recipe: NetRecipe, files: Sequence[WeightsFile]) -> Card:
    """The card of a rival whose encoders took these files.

    Raises: UserError where the files expect differently normalised images.
    """
    first, cards = files[0].card, [file.card for file in files]
    if any((card.mean, card.std) != (first.mean, first.std) for card in cards):
        raise UserError(
            "weights files with the same mean and std",
            "; ".join(f"{card.arch}: {card.mean}, {card.std}" for card in cards),
            "Choose files that were trained on equally normalised images.",
        )
    return Card(
        recipe.name,
        "published",
        None,
        first.mean,
        first.std,
        source="; ".join(card.source for card in cards),
        licence="; ".join(dict.fromkeys(card.licence for card in cards)),
        weights_sha256=" ".join(str(card.weights_sha256) for card in cards),
        transferred=tuple(card.arch for card in cards),
    )


def fill_parts(body: nn.Module, recipe: NetRecipe, files: Sequence[WeightsFile]) -> None:
    """Load the encoders, in place.

    Raises: UserError for a file with missing or foreign tensors.
    """
    own = {flat(name): name for name in body.state_dict()}
    loaded: dict[str, Tensor] = {}
    for part, file in zip(PARTS[recipe.name], files, strict=True):
        arch = file.card.arch
        tensors = read_named(file.path, arch, _shapes(part, arch), part.unread)
        loaded |= {own[part.name_in_body(name)]: tensor for name, tensor in tensors.items()}
    for name, tensor in loaded.items():
        if name.startswith("position."):
            loaded[name] = _as_grid(tensor, body.state_dict()[name].shape[-1])
    body.load_state_dict(loaded, strict=False)


def names_in_body(recipe: NetRecipe) -> set[str]:
    """The flat names of all tensors of the body that weights files fill."""
    return {
        part.name_in_body(name)
        for part in PARTS[recipe.name]
        for name in _shapes(part, part.archs[0])
    }


def _find(text: str, parts: Sequence[Part], download: bool) -> WeightsFile:
    """A file or hub file, read as what it says it is."""
    archs = [arch for part in parts for arch in part.archs]
    hub = text.startswith("hub:")
    stated = HubFile.of(text).arch if hub else _stated(text)
    return find_weights(f"timm:{stated if stated in archs else archs[0]}", text, download)


def _stated(text: str) -> Any:
    path = Path(text).expanduser()
    return read_facts(path).get("arch") if path.is_file() else None


def _shapes(part: Part, arch: str) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor that the body takes from a file, by timm's names."""
    with torch.device("meta"):
        whole = timm.create_model(architecture(f"timm:{arch}").arch, pretrained=False).state_dict()
    return {
        name: tuple(tensor.shape)
        for name, tensor in whole.items()
        if not name.startswith(part.unread)
    }


def _as_grid(positions_1NC: Tensor, edge: int) -> Tensor:
    """Position embeddings without the class token's, as a map, stretched to edge x edge."""
    rows_1NC = positions_1NC[:, 1:]
    side = round(rows_1NC.shape[1] ** 0.5)
    grid_1CHW = rows_1NC.transpose(1, 2).reshape(1, -1, side, side)
    return functional.interpolate(grid_1CHW, (edge, edge), mode="bilinear", align_corners=True)
