"""ImageNet weights: the four roads to a file, and what the file must say before it is used.

The roads, in this order: --weights FILE; the folder EHTSEG_WEIGHTS; the file bundled with the
package; the model hub, pinned to a revision and a hash. A weights file is safetensors with one
metadata entry, `encoder`: JSON with arch, variant, bn_eps, mean and std (of RGB in [0, 1]).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ehtseg.nets.encoders import IMAGENET_STD, Architecture, Card, unknown
from ehtseg.nets.hub import PINS, HubFile, fetch, fetched, sha256_of
from ehtseg.records import UserError, written_whole

BUNDLED = Path(__file__).parents[1] / "weights"
FOLDER = "EHTSEG_WEIGHTS"
PICKLE_ENDINGS = (".pth", ".pt", ".pkl", ".pickle", ".bin", ".ckpt", ".h5")
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
FACTS = ("arch", "variant", "bn_eps", "mean", "std")


@dataclass(frozen=True, slots=True)
class EncoderFile:
    """A weights file, the road by which it was found, and its pin where it is from the hub."""

    path: Path
    road: str
    pin: HubFile | None = None


def find_encoder_file(
    entry: Architecture, weights: str | None, download: bool = True
) -> EncoderFile:
    """The weights file of an encoder: the first of the four roads that leads to one.

    Raises: UserError where a given file is missing, or, naming all four roads, where none leads
    to a file (without `download`, a hub file counts only if it is on this machine already).
    """
    if weights is not None:
        return _given(weights, download)
    folder = os.environ.get(FOLDER)
    if folder and (found := _in_folder(Path(folder), entry.arch)):
        return EncoderFile(found, f"{FOLDER}={folder}")
    if found := _in_folder(BUNDLED, entry.arch):
        return EncoderFile(found, "bundled with the package")
    pin = PINS.get(entry.arch)
    try:
        return _from_hub(pin, download)
    except UserError as error:
        raise _no_road(entry.arch, folder, error) from error


def _given(weights: str, download: bool) -> EncoderFile:
    if weights.startswith("hub:"):
        return _from_hub(HubFile.of(weights), download)
    path = Path(weights).expanduser()
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        raise UserError(
            f"a weights file at {path}", got, "Correct --weights, or leave it out to search."
        )
    return EncoderFile(path, "--weights")


def _in_folder(folder: Path, arch: str) -> Path | None:
    """The first file, by name, that says it is of this architecture or is named after it."""
    for path in sorted(folder.glob("*.safetensors")):
        said = _facts_or_none(path)
        if said == arch or (said is None and path.stem.split(".")[0] == arch):
            return path
    return None


def _facts_or_none(path: Path) -> str | None:
    try:
        said: str | None = _facts(path).get("arch")
    except UserError:
        return None
    return said


def _from_hub(pin: HubFile | None, download: bool) -> EncoderFile:
    if pin is None:
        raise UserError("a pinned hub file", "no pin for it", "Give hub:NAME@REVISION#SHA256.")
    path = fetch(pin) if download else fetched(pin)
    return EncoderFile(path, pin.url, pin)


def _no_road(arch: str, folder: str | None, hub: UserError) -> UserError:
    return UserError(
        f"ImageNet weights of {arch} by one of four roads",
        f"none: (1) --weights was not given; (2) {FOLDER} "
        + (f"is {folder}, which holds no file of {arch}" if folder else "is not set")
        + "; (3) the package bundles efficientnet_lite0 only; "
        + f"(4) the model hub: {hub.got}",
        f"Give --weights FILE.safetensors or hub:OWNER/NAME@REVISION#SHA256, put the file into a"
        f" folder and set {FOLDER} to it, take --net efficientnet_lite0, or connect to the network;"
        " --transfer 0 starts from random weights.",
    )


def read_card(file: EncoderFile, entry: Architecture) -> Card:
    """What the file says of itself, checked against the architecture.

    Raises: UserError where it is no safetensors file, silent, of another architecture, or of a
    variant that nobody has taught us to build.
    """
    facts = _facts(file.path) or (_facts_of_pin(file.pin) if file.pin else {})
    missing = [fact for fact in FACTS if fact not in facts]
    if missing:
        got = "no `encoder` metadata" if not facts else f"one without {', '.join(missing)}"
        raise UserError(
            f"a weights file that states {', '.join(FACTS)} ({file.path})",
            got,
            "The same tensors mean different things in different variants; write what is known of"
            " them with ehtseg.nets.weights.write_encoder_file.",
        )
    if facts["arch"] != entry.arch:
        raise UserError(
            f"weights of {entry.arch} in {file.path}",
            f"weights of {facts['arch']}",
            f"Choose --net {facts['arch']} or another file.",
        )
    variant = str(facts["variant"]).replace(":", " ").split(" ")[0]
    if variant not in entry.variants:
        raise unknown(f"variant of {entry.arch} in {file.path}", variant, list(entry.variants))
    return _checked_card(facts, variant, file)


def _checked_card(facts: dict[str, Any], variant: str, file: EncoderFile) -> Card:
    try:
        eps = None if facts["bn_eps"] is None else float(facts["bn_eps"])
        mean, std = (tuple(float(v) for v in facts[key]) for key in ("mean", "std"))
        fits = len(mean) == len(std) == 3 and min(std) > 0 and (eps is None or eps > 0)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        said = {key: facts[key] for key in ("bn_eps", "mean", "std")}
        raise UserError(
            f"bn_eps > 0 or null, three means, three positive std in {file.path}",
            json.dumps(said),
            "Correct the metadata.",
        )
    return Card(
        facts["arch"],
        variant,
        eps,
        mean,
        std,
        source=f"{facts.get('source', 'not stated')} ({file.road})",
        licence=str(facts.get("licence", "not stated")),
        weights_sha256=sha256_of(file.path),
    )


def _facts(path: Path) -> dict[str, Any]:
    """The `encoder` metadata of a safetensors file; empty where there is none."""
    with _opened(path) as file:
        text = (file.metadata() or {}).get("encoder", "{}")
    try:
        facts = json.loads(text)
    except json.JSONDecodeError:
        facts = {}
    return facts if isinstance(facts, dict) else {}


def _facts_of_pin(pin: HubFile) -> dict[str, Any]:
    """What timm states of its own hub file."""
    if not pin.repository.startswith("timm/"):
        return {}
    settings = timm.get_pretrained_cfg(
        pin.repository.removeprefix("timm/"), allow_unregistered=False
    )
    return {
        "arch": pin.arch,
        "variant": "timm",
        "bn_eps": None,  # the architecture's own
        "mean": settings.mean,
        "std": settings.std,
        "source": f"{pin.repository}@{pin.revision}",
        "licence": settings.license or "not stated",
    }


def _opened(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(4)
    if path.suffix.lower() in PICKLE_ENDINGS or start.startswith(PICKLE_STARTS):
        raise UserError(
            f"a safetensors file at {path}",
            "a pickle or another format that can run code when it is opened",
            "Convert it where you trust it, with ehtseg.nets.weights.write_encoder_file.",
        )
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"a safetensors file at {path}",
            f"one that cannot be read ({error})",
            "Copy or download it again.",
        ) from error


def read_tensors(file: EncoderFile, entry: Architecture) -> dict[str, Tensor]:
    """Every tensor that the encoder needs, float32 (counters as they are), by timm's names.

    Raises: UserError where keys are missing or foreign, or a shape is another.
    """
    expected, head = expected_shapes(entry.arch)
    with _opened(file.path) as opened:
        names = set(opened.keys())
        counters = {name for name in expected if name.endswith("num_batches_tracked")}
        missing = sorted(set(expected) - counters - names)
        foreign = sorted(n for n in names - set(expected) if not n.startswith((*head, *entry.head)))
        tensors = {name: opened.get_tensor(name) for name in sorted(names & set(expected))}
    other = [
        f"{name} {tuple(t.shape)} instead of {expected[name]}"
        for name, t in tensors.items()
        if tuple(t.shape) != expected[name]
    ]
    if missing or foreign or other:
        said = (("missing", missing), ("not of this network", foreign), ("of another shape", other))
        raise UserError(
            f"the tensors of {entry.arch} in {file.path}",
            "; ".join(f"{len(n)} {what} ({', '.join(n[:3])}, ...)" for what, n in said if n),
            "The file does not fit; choose another one.",
        )
    return {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}


@cache
def expected_shapes(arch: str) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...]]:
    """Shape of every tensor of the encoder by timm's names, and the names of the classifier's."""
    with torch.device("meta"):
        whole = timm.create_model(arch, pretrained=False).state_dict()
        features = timm.create_model(arch, features_only=True, pretrained=False).state_dict()
    kept = {flat(name) for name in features}
    shapes = {name: tuple(t.shape) for name, t in whole.items() if flat(name) in kept}
    return shapes, tuple(name for name in whole if flat(name) not in kept)


def flat(name: str) -> str:
    """The form in which a tensor has the same name in timm's whole model and its feature body.

    >>> flat("features.0.weight") == flat("features_0.weight")
    True
    """
    return name.removeprefix("model.").replace(".", "_")


def rescaled(card: Card, tensors: dict[str, Tensor], first: str) -> tuple[Card, dict[str, Tensor]]:
    """The same function divided by one constant, for inputs with the usual ImageNet std.

    For a network of convolutions, ReLU and max-pooling only (VGG): the first kernel and all
    biases are divided, which divides every activation. Files with std 1/255 have activations in
    the thousands, which suit no decoder. Source: weights/README.md, trap 2.
    """
    ratio = torch.tensor(IMAGENET_STD) / torch.tensor(card.std)
    factor = float(ratio.mean())
    changed = {n: t / factor if n.endswith("bias") else t for n, t in tensors.items()}
    changed[first] = tensors[first] * (ratio / factor).view(1, 3, 1, 1)
    return replace(card, std=IMAGENET_STD, divided_by=factor), changed


def write_encoder_file(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write a weights file that this package accepts.

    `facts` are arch, variant, bn_eps (None where there is no batch norm), mean and std of RGB in
    [0, 1], and should name source and licence. One metadata entry only, so that the same tensors
    give the same bytes.
    """
    with written_whole(path) as beside:
        metadata = {"encoder": json.dumps(facts, sort_keys=True)}
        save_file({n: t.contiguous() for n, t in tensors.items()}, beside, metadata)
