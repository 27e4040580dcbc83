"""Options that several commands share, and how they become one recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ehtseg.recipe import Recipe

Videos = Annotated[list[str], typer.Argument(help="Videos, TIFF stacks, image folders, globs.")]
Folders = Annotated[list[Path], typer.Argument(help="Folders with images/ and masks/.")]
Recording = Annotated[
    str | None, typer.Option(help="Name of the recording, where no meta.json tells it.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where the results go.")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="Decisions in a YAML file.")]
Profile = Annotated[str, typer.Option(help="Decisions to start from: modern or paper.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Any decision: --set fit.lr=0.001 (repeatable).")
]
Net = Annotated[
    str | None,
    typer.Option(
        help="unet, resnet50, vgg16, inception_resnet_v2, efficientnet_lite0, timm:NAME; "
        "of others: unetpp_ds, unext, nnunet, transunet, dstransunet, mednca, unetpp:ENCODER, "
        "smp:NETWORK/ENCODER."
    ),
]
Weights = Annotated[str | None, typer.Option(help="Encoder weights: a safetensors file.")]
Transfer = Annotated[
    str | None, typer.Option(help="Encoder stages that take ImageNet weights: 0 to all, or names.")
]
Freeze = Annotated[str | None, typer.Option(help="Encoder stages that stay fixed: 0 to all.")]
Model = Annotated[
    Path | None, typer.Option("--model", "-m", help="A run folder; else the shipped model.")
]
RawMasks = Annotated[
    bool, typer.Option("--raw-masks", help="Masks as the network gives them: nothing filled.")
]
Fps = Annotated[float | None, typer.Option(help="Frames a second; overrules what the file says.")]
Scale = Annotated[
    float | None,
    typer.Option("--um-per-px", help="Micrometres a pixel; overrules what the file says."),
]

Events = Annotated[
    list[str] | None, typer.Option("--event", help='"00:12:30 isoprenaline 1 uM" (repeatable).')
]
Manifest = Annotated[
    Path | None,
    typer.Option(help="CSV: file, well, drug, dose, unit; where needed time, pacing, start."),
]
Join = Annotated[
    bool, typer.Option("--join", help="One recording of all files (or of a well's), by their time.")
]
Posts = Annotated[
    str | None,
    typer.Option(help='The two posts: their masks, or "x,y,w,h;x,y,w,h" in the first frame.'),
]
PostGeometry = Annotated[
    Path | None,
    typer.Option(help="YAML: size, modulus, stiffness of a post, each with its SD: gives force."),
]


def named_places(texts: list[str] | None) -> dict[str, Path]:
    """Places by name, each written NAME=PLACE; without a name the last part of it.

    Raises: UserError for the same name twice.

    >>> named_places(["cellpose=masks/cp", "shipped"])
    {'cellpose': PosixPath('masks/cp'), 'shipped': PosixPath('shipped')}
    """
    from ehtseg.records import UserError

    found: dict[str, Path] = {}
    for text in texts or []:
        name, sign, place = text.partition("=")
        path = Path(place if sign else name)
        name = name if sign else path.name
        if not name or name in found:
            raise UserError("a name of its own for each", f"{text!r}", "Write NAME=PLACE.")
        found[name] = path
    return found


def decided_recipe(
    profile: str, file: Path | None, options: dict[str, dict[str, Any]], settings: list[str] | None
) -> Recipe:
    """One recipe: the profile, then the file, then the options, then --set."""
    from ehtseg.recipe import make_recipe, profile_decisions, read_recipe, setting

    layers = [profile_decisions(profile), read_recipe(file) if file else {}]
    layers += [{section: given(values)} for section, values in options.items()]
    return make_recipe(*layers, *(setting(text) for text in settings or []))


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The options that the user gave."""
    return {key: value for key, value in values.items() if value is not None}
