"""A weights file: safetensors that state what they are, checked before they are used.

One metadata entry, `encoder`, holds JSON with arch, variant, bn_eps, mean and std (of RGB in
[0, 1]). Without them the same tensors can be loaded into a network that computes something else.
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ehtseg.nets.encoders import Architecture, Card, unknown
from ehtseg.nets.hub import HubFile, sha256_of
from ehtseg.records import UserError, written_whole

FACTS = ("arch", "variant", "bn_eps", "mean", "std")
PICKLE_ENDINGS = (".pth", ".pt", ".pkl", ".pickle", ".bin", ".ckpt")
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def write_weights_file(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write tensors, named as in timm, with what is known of them, as this package reads them.

    `facts` are arch, variant, bn_eps (None without batch norm), mean, std, and should name source
    and licence. There is one metadata entry, because several are written in random order.
    """
    with written_whole(path) as beside:
        metadata = {"encoder": json.dumps(facts, sort_keys=True)}
        save_file({name: t.contiguous() for name, t in tensors.items()}, beside, metadata)


def read_facts(path: Path) -> dict[str, Any]:
    """What the file says of itself; empty where it is silent.

    Raises: UserError where it is no safetensors file.
    """
    with _opened(path) as file:
        text = (file.metadata() or {}).get("encoder", "{}")
    try:
        facts = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return facts if isinstance(facts, dict) else {}


def read_card(path: Path, entry: Architecture, pin: HubFile | None = None) -> Card:
    """The card of a file; a hub file that is silent has what timm states of it.

    Raises: UserError where it is silent, of another architecture or variant, or inconsistent.
    """
    facts = read_facts(path) or (_facts_of_pin(pin) if pin else {})
    missing = [fact for fact in FACTS if fact not in facts]
    if missing:
        raise UserError(
            f"a weights file that states its {', '.join(FACTS)} ({path})",
            f"metadata `encoder` without {', '.join(missing)}" if facts else "no such metadata",
            "The same tensors mean different things in different variants of a network; write what"
            " is known of them with ehtseg.nets.weights_file.write_weights_file.",
        )
    if facts["arch"] != entry.arch:
        raise UserError(
            f"weights of {entry.arch} in {path}",
            f"weights of {facts['arch']}",
            "Choose the --net of the file, or another file.",
        )
    variant = str(facts["variant"]).replace(":", " ").split(" ")[0]
    if variant not in entry.variants:
        raise unknown(f"variant of {entry.arch} in {path}", variant, list(entry.variants))
    return _checked_card(path, facts, variant, pin)


def _checked_card(path: Path, facts: dict[str, Any], variant: str, pin: HubFile | None) -> Card:
    try:
        eps = None if facts["bn_eps"] is None else float(facts["bn_eps"])
        mean, std = (tuple(float(value) for value in facts[key]) for key in ("mean", "std"))
        fits = len(mean) == len(std) == 3 and min(std) > 0 and (eps is None or eps > 0)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        said = {key: facts[key] for key in ("bn_eps", "mean", "std")}
        raise UserError(
            f"three means, three positive std, and bn_eps positive or null in {path}",
            json.dumps(said),
            "Correct the metadata with ehtseg.nets.weights_file.write_weights_file.",
        )
    return Card(
        arch=facts["arch"],
        variant=variant,
        bn_eps=eps,
        mean=mean,
        std=std,
        source=str(facts.get("source", "not stated")),
        licence=str(facts.get("licence", "not stated")),
        weights_sha256=pin.sha256 if pin else sha256_of(path),
    )


def read_tensors(path: Path, entry: Architecture) -> dict[str, Tensor]:
    """Every tensor of the encoder by timm's names, float32 (counters as they are).

    Raises: UserError where names are missing or foreign, or a shape is another.
    """
    expected, head = expected_shapes(entry.arch)
    return read_named(path, entry.arch, expected, (*head, *entry.head))


def read_named(
    path: Path, arch: str, expected: dict[str, tuple[int, ...]], spare: tuple[str, ...]
) -> dict[str, Tensor]:
    """The expected tensors of a file, by name and shape; `spare` starts names that may be there.

    Raises: UserError where names are missing or foreign, or a shape is another.
    """
    with _opened(path) as file:
        names = set(file.keys())
        tensors = {name: file.get_tensor(name) for name in sorted(names & set(expected))}
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    problems = {
        "missing": sorted(set(expected) - names - counters),
        "unknown": sorted(n for n in names - set(expected) if not n.startswith(spare)),
        "of another shape": [
            f"{name} {tuple(tensor.shape)}, not {expected[name]}"
            for name, tensor in tensors.items()
            if tuple(tensor.shape) != expected[name]
        ],
    }
    if any(problems.values()):
        found = (f"{len(n)} {what} ({', '.join(n[:3])})" for what, n in problems.items() if n)
        raise UserError(
            f"the {len(expected)} tensors of {arch} in {path}",
            f"{len(names)} tensors: {'; '.join(found)}",
            "Choose a file of this architecture.",
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
    """The form in which a tensor has one name in timm's whole model and in its feature extractor.

    >>> flat("features.0.weight") == flat("features_0.weight")
    True
    """
    return name.removeprefix("model.").replace(".", "_")


def _facts_of_pin(pin: HubFile) -> dict[str, Any]:
    """What timm states of a file in its own part of the hub."""
    owner, name = pin.repository.split("/")
    settings: Any = timm.get_pretrained_cfg(name) if owner == "timm" and "." in name else None
    if settings is None:
        return {}
    return {
        "arch": pin.arch,
        "variant": "timm",
        "bn_eps": None,  # as timm builds the architecture
        "mean": settings.mean,
        "std": settings.std,
        "source": f"{pin.repository}@{pin.revision}",
        "licence": settings.license or "not stated",
    }


def _opened(path: Path) -> AbstractContextManager[Any]:
    with path.open("rb") as file:
        start = file.read(4)
    if path.suffix.lower() in PICKLE_ENDINGS or start.startswith(PICKLE_STARTS):
        raise UserError(
            f"a safetensors file at {path}",
            "a pickle, which can run code when it is opened",
            "Convert it where you trust it, with ehtseg.nets.weights_file.write_weights_file.",
        )
    try:
        opened: AbstractContextManager[Any] = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"a whole safetensors file at {path}",
            f"one that cannot be read ({error})",
            "Copy or download it again.",
        ) from error
    return opened
