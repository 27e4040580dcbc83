"""What this machine has and what ehtseg makes of it: a row a fact, with its cure."""

from __future__ import annotations

import os
import re
import shutil
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
    import torch

    from ehtseg.seeing.engines import choose_device, choose_precision
    from ehtseg.seeing.machine import processor_name
    from ehtseg.seeing.ways import engine_choice

    device = choose_device()
    precision, engine = choose_precision(device.value), engine_choice(device.value)
    return [
        Finding("processor", f"{processor_name()}, {os.cpu_count()} cores"),
        Finding("instructions", torch.backends.cpu.get_cpu_capability()),
        Finding("device", f"{device.value} ({device.why})"),
        Finding("precision", f"{precision.value} ({precision.why})"),
        Finding("engine", f"{engine.value} ({engine.why})"),
        Finding("threads", str(torch.get_num_threads())),
    ]


def _weights(weights: Path | None) -> list[Finding]:
    from ehtseg.nets.encoders import ENCODERS
    from ehtseg.nets.weights import find_weights

    rows = []
    for name in ENCODERS:
        try:
            rows.append(Finding(f"weights of {name}", str(find_weights(name, weights))))
        except UserError as error:
            rows.append(Finding(f"weights of {name}", "none at hand", error.cure))
    return rows
