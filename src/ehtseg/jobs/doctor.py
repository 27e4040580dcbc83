"""What this machine has and what ehtseg makes of it: a row a fact, with its cure."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ehtseg.records import UserError


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `ehtseg doctor`: `cure` is empty where nothing has to be done."""

    what: str
    found: str
    cure: str = ""


def doctor(weights: Path | None = None) -> list[Finding]:
    """Versions, torch and torchvision match, precision, threads, GPU, encoder weights, disk.

    It reports instead of raising: it has to work where the rest does not.
    """
    matched = torch_matches_torchvision()
    findings = [*_versions(), matched]
    if not matched.cure:
        findings += [*_machine(), *_weights(weights)]
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    cure = "Free some space: a training needs about 1 GB." if free < 2 else ""
    return [*findings, Finding("free disk here", f"{free:.0f} GB", cure)]


def torch_matches_torchvision() -> Finding:
    """Whether the installed torchvision was built for the installed torch, by its own word."""
    what = "torch and torchvision"
    try:
        torch, vision = metadata.version("torch"), metadata.version("torchvision")
        needs = metadata.requires("torchvision") or []
    except metadata.PackageNotFoundError as error:
        return Finding(what, f"{error.name} is missing", "Run: pip install torch torchvision")
    return _match(torch, vision, needs)


def _match(torch: str, vision: str, needs: list[str]) -> Finding:
    wanted = [m[1] for n in needs if (m := re.match(r"torch\s*\(?==\s*([\w.]+)", n))]
    if wanted and torch.split("+")[0] != wanted[0]:
        return Finding(
            "torch and torchvision",
            f"torch {torch}, but torchvision {vision} was built for torch {wanted[0]}",
            f"Run: pip install torch=={wanted[0]} torchvision=={vision}",
        )
    return Finding("torch and torchvision", f"{torch} and {vision} belong together")


def _versions() -> list[Finding]:
    names = ("ehtseg", "timm", "safetensors", "av", "opencv-python-headless", "tifffile")
    rows = []
    for name in names:
        try:
            rows.append(Finding(name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            rows.append(Finding(name, "missing", f"Run: pip install {name}"))
    return rows


def _machine() -> list[Finding]:
    from ehtseg.seeing.engines import (
        choose_batch,
        choose_device,
        choose_memory_format,
        choose_precision,
        choose_threads,
    )
    from ehtseg.seeing.machine import instructions, processor_name
    from ehtseg.seeing.ways import engine_choice

    device = choose_device()
    choices = {
        "precision": choose_precision(device.value),
        "memory format": choose_memory_format(device.value),
        "engine": engine_choice(device.value),
        "threads": choose_threads(),
        "batch": choose_batch(device.value),
    }
    return [
        Finding("processor", f"{processor_name()}, {os.cpu_count()} cores"),
        Finding("instructions", instructions()),
        Finding("device", f"{device.value} ({device.why})"),
        *(Finding(what, f"{made.value} ({made.why})") for what, made in choices.items()),
    ]


def _weights(weights: Path | None) -> list[Finding]:
    from ehtseg.nets.encoders import ENCODERS

    if weights is None:
        return [_weights_of(name, [None]) for name in ENCODERS]
    files = sorted(weights.glob("*.safetensors")) if weights.is_dir() else [weights]
    rows = [_weights_of(name, [*files, None]) for name in ENCODERS]
    if not any(str(file) in row.found for file in files for row in rows):
        found = f"nothing for these networks at {weights}"
        cure = "Give a safetensors file, or a folder that holds some; what is wrong with a file:"
        rows.append(
            Finding("--weights", found, f"{cure}  ehtseg describe --net NAME --weights FILE")
        )
    return rows


def _weights_of(name: str, roads: Sequence[Path | None]) -> Finding:
    """Weights of an encoder by the first road that leads to some; None is the usual search."""
    from ehtseg.nets.weights import find_weights

    what, cure = f"weights of {name}", ""
    for road in roads:
        try:
            return Finding(what, str(find_weights(name, road)))
        except UserError as error:
            cure = error.cure
    return Finding(what, "none at hand", cure)
