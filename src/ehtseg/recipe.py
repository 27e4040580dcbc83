"""Every decision in one frozen, typed recipe; YAML in and out. Defaults are written here, once."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ehtseg.records import UserError, written_whole

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # torch takes 64 bits: the other half counts steps

# networks without an ImageNet encoder, by the names that `net.name` gives them
FROM_SCRATCH = (
    "unet", "unetpp", "unetpp_ds", "unetpp_bn", "unetpp_bn_ds", "unext", "unext_s",
    "nnunet", "nnunet_512", "transunet", "dstransunet", "mednca", "mednca_16",
)  # fmt: skip
SMP_ENCODERS = {  # smp's names of the encoders whose weights files we read, and ours
    "resnet50": "resnet50",
    "vgg16": "vgg16",
    "inceptionresnetv2": "inception_resnet_v2",
    "tu-tf_efficientnet_lite0": "efficientnet_lite0",
}
MOST_TO_ADAPT = 20  # labelled frames that `ehtseg adapt` takes; with more there is enough to train


class _Decisions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class DataRecipe(_Decisions):
    """How labelled frames are split, sized and varied."""

    split: Literal["recording", "blocks", "random"] = "recording"
    shares: tuple[Share, Share, Share] = (0.72, 0.12, 0.16)  # train, validation, test
    counts: tuple[Count, Count, Count] | None = None  # exact numbers; only for split: random
    guard_frames: Count = 10  # training frames this near to a held-out frame are left out
    split_seed: Count | None = None  # draws the sets; None: fit.seed, so that each seed has its own
    n_train: Positive | None = None  # of the training frames, drawn by fit.seed; None: all of them
    size: Positive | None = 256  # the network sees frames of about size x size pixels
    augment: Literal["none", "flips", "weak", "strong", "scenes"] = "scenes"
    window: Annotated[float, Field(gt=0, le=1)] = 0.75  # of the working size; strong and scenes
    balance: Literal["frames", "recordings"] = "frames"  # what is drawn equally often


def _stages(value: Any) -> Any:
    """Stages as a command line writes them: "3", "all", or layer names with commas."""
    if not isinstance(value, str) or value == "all":
        return value
    try:
        return int(value)
    except ValueError:
        return tuple(value.replace(" ", "").split(","))


class NetRecipe(_Decisions):
    """Which network, what is transferred into it, and what stays fixed.

    `transfer` is the number of encoder stages, from the first on, that take ImageNet weights
    (0 to "all"), or the names of layers; `freeze` is the number of stages that stay fixed, also
    beyond `transfer`. How they stay fixed is `freeze_mode`: "inference" fixes weights and keeps
    batch norm, dropout and drop-path in inference mode; "weights_only" lets batch-norm statistics
    drift; "all_but_norm" trains the batch norms.

    `control` is for experiments: the network is the one that ImageNet weights would make (variant,
    normalisation, stages), but the transferred stages take these weights "permuted" within each
    tensor, or stay "random".
    """

    name: str = "resnet50"
    profile: Literal["modern", "paper"] = "modern"
    transfer: Annotated[Count | Literal["all"] | tuple[str, ...], BeforeValidator(_stages)] = "all"
    freeze: Annotated[Count | Literal["all"], BeforeValidator(_stages)] = 0
    freeze_mode: Literal["inference", "weights_only", "all_but_norm"] = "inference"
    control: Literal["permuted", "random"] | None = None
    weights: str | None = None  # a safetensors file (comma between several); else the search
    # order of nets/weights.py; transunet and dstransunet take ImageNet weights only by this name
    init: Literal["xavier", "he"] = "xavier"  # of everything that is not transferred
    width: Positive = 16  # plain U-Net: channels of the first level
    depth: Positive = 4  # plain U-Net: number of halvings
    norm: Literal["none", "batch", "instance"] = "none"  # plain U-Net
    up: Literal["transpose", "up_conv", "bilinear"] = "transpose"  # plain U-Net
    padding: Literal["same", "valid"] = "same"  # plain U-Net
    dropout: Share = 0.0
    mirrored: bool = False  # answers with the mean logits over the image and its three mirrors

    @property
    def from_scratch(self) -> bool:
        """Whether no encoder takes ImageNet weights: none is there, wanted, or known here."""
        network, _, encoder = self.name.partition("/")
        unknown = network.startswith("smp:") and encoder not in SMP_ENCODERS
        return unknown or self.name in FROM_SCRATCH or self.transfer in (0, ())


class FitRecipe(_Decisions):
    """How the network is trained."""

    start: str | None = None  # a run folder, or "shipped", whose weights training starts from
    loss: str = "bce+dice"
    focal_alpha: Share = 0.8
    focal_gamma: Annotated[float, Field(ge=0)] = 2.0
    smooth_px: Annotated[float, Field(gt=0)] = 1.0  # added to both sides of every overlap fraction
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: Annotated[float, Field(gt=0)] = 5e-4
    schedule: Literal["one_cycle", "cosine", "poly", "exponential", "constant"] = "one_cycle"
    lr_end: Annotated[float, Field(ge=0)] = 0.0  # cosine only: the lowest rate
    half_waves: Positive = 1  # cosine only: 1 falls once; 5 falls, rises, falls, rises, falls
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 0.9999  # exponential only: factor a step
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    momentum: Share = 0.9  # sgd only
    nesterov: bool = True  # sgd only, where it has momentum
    betas: tuple[Beta, Beta] = (0.9, 0.999)  # adam and adamw only
    epochs: Positive | None = None  # None: 20 with a transferred encoder, 40 from scratch
    images_per_epoch: Positive | None = None  # None: one pass, but at least 160 draws
    batch: Positive = 8
    accumulate: Positive = 1
    clip_norm: Annotated[float, Field(gt=0)] | None = 1.0
    clip_value: Annotated[float, Field(gt=0)] | None = None  # of each gradient; before clip_norm
    stop_epoch: Positive | None = None  # ends after it, if sooner; the schedule is of all epochs
    early_stop_epochs: Positive | None = None
    checkpoint: Literal["last", "best"] = "last"  # which one segments and is scored
    seed: Seed = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: Positive | None = None  # None: what the machine has
    workers: Count | None = None  # None: chosen from the machine; never changes a result
    # disk for the features of a wholly frozen encoder, without augmentation or with flips; 0: none
    feature_cache_gb: Annotated[float, Field(ge=0)] = 8.0


class SegmentRecipe(_Decisions):
    """How a trained network is run over frames."""

    # auto: the fastest engine and precision that passed the guard at the end of the training
    engine: Literal["auto", "torch", "openvino", "onnx"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = "auto"  # int8: after an export
    batch: Positive | None = None  # None: 4 on a CPU, 16 on a GPU
    threshold: Share | None = None  # None: the one chosen on validation, from the run folder
    clean: bool = True  # small holes filled, specks and small other things dropped; both recorded
    steady: Count = 0  # probabilities are averaged over so many frames on either side


class MeasureRecipe(_Decisions):
    """How behaviour is measured from masks and motion."""

    max_bpm: Annotated[float, Field(gt=0)] = 360.0  # no second beat sooner than at this rate
    flow: bool = True  # optical flow inside the mask; most of the time where masks are given
    trace: str | None = None  # beats are read from it where it has values; None: the clearest
    pacing_bpm: Annotated[float, Field(gt=0)] | None = None  # a fact: None where nobody paces
    movie: bool = True  # overlay.mp4; it costs a second pass that decodes, draws and encodes
    uncertainty: Literal["none", "sample", "complete"] = "sample"  # masks found in several ways
    uncertainty_frames: Positive = 180  # of a sample: in stretches spread over the recording
    other_runs: tuple[str, ...] = ()  # run folders, which then are the ways; else flips, shifts


class Recipe(_Decisions):
    """The whole recipe.

    >>> Recipe().net.name
    'resnet50'
    """

    data: DataRecipe = DataRecipe()
    net: NetRecipe = NetRecipe()
    fit: FitRecipe = FitRecipe()
    segment: SegmentRecipe = SegmentRecipe()
    measure: MeasureRecipe = MeasureRecipe()

    @property
    def epochs(self) -> int:
        """Number of epochs: the given one, else 20 with a transferred encoder and 40 without."""
        return self.fit.epochs or (40 if self.net.from_scratch else 20)

    @property
    def sha256(self) -> str:
        """Hash of every decision, independent of the order of keys."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


PROFILES: dict[str, dict[str, Any]] = {
    # ends well every time: measured in docs/log.md
    "modern": {},
    # what the paper states or most plausibly did: docs/protocol.md, 1
    "paper": {
        "data": {"augment": "none", "split": "random"},
        "net": {"profile": "paper"},
        "fit": {
            "loss": "focal_scalar",
            "optimizer": "adam",
            "lr": 1e-3,
            "schedule": "constant",
            "weight_decay": 0.0,
            "clip_norm": None,
        },
    },
}


def read_recipe(path: Path) -> dict[str, Any]:
    """The decisions written in a YAML file, as nested dicts (checked later, by `make_recipe`).

    Raises: UserError for a missing file, broken YAML, or YAML that is not a mapping.
    """
    sections = ", ".join(Recipe.model_fields)
    return read_mapping(path, f"recipe of sections ({sections})", "fit: {epochs: 20}")


def read_mapping(path: Path, what: str, example: str) -> dict[str, Any]:
    """What a YAML file says, as nested dicts; `what` it should be is named in errors.

    Raises: UserError for a missing file, broken YAML, or YAML that is not a mapping.
    """
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).replace('"<unicode string>", ', "").split())
        kind = what.split()[0]
        raise UserError(f"a readable YAML {kind} at {path}", reason, "Correct the file.") from error
    if not isinstance(read, dict):
        cure = f"Write for example:  {example}"
        raise UserError(f"a {what} in {path}", f"a {type(read).__name__}", cure)
    return read


def profile_decisions(name: str) -> dict[str, Any]:
    """The decisions of a named profile.

    Raises: UserError for a name that is none.
    """
    if name not in PROFILES:
        raise UserError(f"a profile ({', '.join(PROFILES)})", f"{name!r}", "Choose one of these.")
    return PROFILES[name]


def setting(text: str, sections: Collection[str] = ()) -> dict[str, Any]:
    """One decision written as section.key=value, with the value in YAML.

    Raises: UserError where it is not written so, or its section is none of `sections` (if any).

    >>> setting("fit.lr=0.001")
    {'fit': {'lr': 0.001}}
    """
    where, sign, value = text.partition("=")
    section, dot, key = where.strip().partition(".")
    if not (sign and dot):
        raise UserError("a decision as section.key=value", f"{text!r}", "Write: fit.lr=0.001")
    if sections and section in Recipe.model_fields and section not in sections:
        used = " and ".join(f"{name}.*" for name in sections)
        raise UserError(f"a decision that is used here ({used})", f"{text!r}", "Leave it out.")
    try:
        return {section: {key: yaml.safe_load(value)}}
    except yaml.YAMLError as error:
        cure = "Correct its brackets or quotes, as in: --set data.counts=[9,1,2]"
        raise UserError(f"a value in YAML after {where}=", f"{value!r}", cure) from error


def make_recipe(*layers: dict[str, Any]) -> Recipe:
    """One recipe from layers of decisions; a later layer wins.

    Raises: UserError that names every unknown key with the nearest right ones, and every value
    that does not fit with what is allowed.

    >>> make_recipe({"fit": {"epochs": 5}}, {"net": {"name": "unet"}}).epochs
    5
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for section, decisions in layer.items():
            before = merged.get(section, {})
            if not isinstance(before, dict):
                continue  # what is no section stays, and is told
            decisions = {} if decisions is None else decisions  # a section left empty
            merged[section] = {**before, **decisions} if isinstance(decisions, dict) else decisions
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        said = "; ".join(dict.fromkeys(say_error(e) for e in error.errors()))
        raise UserError(
            "a recipe of known keys and possible values", said, "Correct these keys."
        ) from error


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write the whole recipe as YAML, with every default spelled out."""
    with written_whole(path) as beside:
        beside.write_text(
            yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8"
        )


def say_error(error: Any, model: type[BaseModel] = Recipe) -> str:
    """One thing that pydantic found wrong, with the nearest right keys."""
    # beyond two names the location tells which of several types did not fit
    named = [part for i, part in enumerate(error["loc"]) if i < 2 or isinstance(part, int)]
    where = ".".join(map(str, named))
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['input']!r} ({error['msg'].replace('a valid tuple', 'a list')})"
    known = _keys_of(error["loc"][:-1], model)
    near = difflib.get_close_matches(str(error["loc"][-1]), known, n=3, cutoff=0.5) or known
    section = "".join(f"{part}." for part in error["loc"][:-1])
    return f"unknown key {where} (nearest: {', '.join(section + key for key in near)})"


def _keys_of(section: tuple[Any, ...], model: Any) -> list[str]:
    for name in section:
        model = model.model_fields[name].annotation
    return list(model.model_fields)
