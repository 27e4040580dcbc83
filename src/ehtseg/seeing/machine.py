"""What the machine has, and what is chosen from it: device, precision, threads, workers."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import torch

from ehtseg.recipe import FitRecipe
from ehtseg.seeing.engines import choose_device, choose_precision, onednn_isa_limit

PACKAGES = ("ehtseg", "torch", "torchvision", "timm", "numpy", "opencv-python-headless", "av")


def resolve(fit: FitRecipe) -> dict[str, Any]:
    """Every automatic choice of a training, made once, before the first step."""
    device = choose_device().value
    precision = choose_precision(device).value if fit.precision == "auto" else fit.precision
    workers = fit.workers
    if workers is None:
        workers = 1 if device == "cpu" else min(4, os.cpu_count() or 1)
    threads = fit.threads or torch.get_num_threads()
    return {"device": device, "precision": precision, "threads": threads, "workers": workers}


def machine_facts() -> dict[str, str]:
    """What equality to the bit depends on: package versions, processor, instruction set."""
    facts = {name: _version(name) for name in PACKAGES}
    return {
        **facts,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_name(),
        "instructions": instructions(),
        "onednn_isa_limit": onednn_isa_limit(),
    }


def instructions() -> str:
    """The widest instructions that torch uses here, and AMX where the processor has it."""
    widest = torch.backends.cpu.get_cpu_capability()
    return f"{widest} and AMX" if torch.cpu._is_amx_tile_supported() else widest


def processor_name() -> str:
    """The processor's name as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = (
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            )
            return next(names, platform.machine())
    except OSError:
        return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"
