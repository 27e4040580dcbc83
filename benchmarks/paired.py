"""Timings side by side: every contestant once in each repeat, so that a busy hour hits them all."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import torch


@dataclass(frozen=True)
class Row:
    """One line of the table: work done per second by each contestant, medians of the repeats.

    `ratios` are medians of the ratios within each repeat: ours against each opponent.
    """

    what: str
    unit: str
    rates: dict[str, float]
    ratios: dict[str, float]
    note: str = ""


def race(
    what: str,
    unit: str,
    contestants: Mapping[str, Callable[[], float]],
    repeats: int,
    note: str = "",
) -> Row:
    """Run all contestants in turn, `repeats` times after a warm-up; the first one is ours.

    Each does its work and returns how much that was (frames, steps times batch, ...).
    """
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        contestant()
    for _ in range(repeats):
        for name, contestant in contestants.items():
            started = time.perf_counter()
            done = contestant()
            rates[name].append(done / (time.perf_counter() - started))
    ours, *others = contestants
    ratios = {
        name: median(a / b for a, b in zip(rates[ours], rates[name], strict=True))
        for name in others
    }
    return Row(what, unit, {name: median(found) for name, found in rates.items()}, ratios, note)


def machine() -> dict[str, Any]:
    """Processor, threads and versions: what a rate means nothing without."""
    packages = ("ehtseg", "torch", "segmentation-models-pytorch", "timm", "openvino", "onnxruntime")
    from ehtseg.seeing.engines import cpu_bf16
    from ehtseg.seeing.machine import processor_name

    return {
        "processor": processor_name(),
        "bf16": cpu_bf16() or "none",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
    }


def table(rows: list[Row], earlier: list[dict[str, Any]]) -> str:
    """The rows as Markdown; beside each ratio stand those of earlier occasions."""
    lines = ["| work | ours | opponent | ratio | earlier ratios | note |", "|" + "---|" * 6]
    for row in rows:
        ours, *others = row.rates
        for name in others or [""]:
            before = [found for found in (_earlier(row.what, name, o) for o in earlier) if found]
            cells = [
                f"{row.what} ({row.unit})",
                f"{row.rates[ours]:.3g}",
                f"{name}: {row.rates[name]:.3g}" if name else "",
                f"{row.ratios[name]:.2f}" if name else "",
                ", ".join(f"{ratio:.2f}" for ratio in before) if name else "",
                row.note,
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def remember(path: Path, rows: list[Row], facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Add this occasion to a file of JSON lines; returns the earlier ones of this processor."""
    before = []
    if path.is_file():
        before = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rates = {row.what: {"rates": row.rates, "ratios": row.ratios} for row in rows}
    entry = {"when": time.strftime("%Y-%m-%d %H:%M"), "machine": facts, "rows": rates}
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
    return [old for old in before if old["machine"]["processor"] == facts["processor"]]


def _earlier(what: str, opponent: str, occasion: dict[str, Any]) -> float | None:
    found = occasion["rows"].get(what, {}).get("ratios", {}).get(opponent)
    return None if found is None else float(found)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"
