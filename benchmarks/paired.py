"""Timings side by side: every contestant once in each repeat, so that a busy hour hits them all.

A row is one line of the table. Each is kept as a line of JSON as soon as it is measured; rows of
one name and one machine, measured on several occasions, make the table.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import torch

SIDE = 2048  # of the matrices that show the peak
Done = float | tuple[float, float]  # work done, and in how many seconds if not all of them


@dataclass(frozen=True)
class Row:
    """What was measured: work done per second by each contestant, medians of the repeats.

    `ratios` are medians of the ratios within each repeat: ours against each other contestant.
    `peak_share` is that of ours: floating-point operations a second, as a share of those of one
    large matrix product at the same precision in the same repeats.
    """

    unit: str
    rates: dict[str, float]
    ratios: dict[str, float] = field(default_factory=dict)
    peak_share: float | None = None
    note: str = ""


def race(
    unit: str,
    contestants: Mapping[str, Callable[[], Done]],
    repeats: int,
    note: str = "",
    peak: tuple[float, str] | None = None,
) -> Row:
    """Run all contestants in turn, `repeats` times after a warm-up; the first one is ours.

    Each does its work and returns how much that was (frames, steps times batch, ...), and in how
    many seconds where a part of the time does not count. `peak`: floating-point operations of ours
    per unit of work, and the precision.
    """
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    ours, *others = contestants
    shares = []
    for contestant in contestants.values():
        contestant()
    for _ in range(repeats):
        for name, contestant in contestants.items():
            started = time.perf_counter()
            done = contestant()
            elapsed = time.perf_counter() - started
            rates[name].append(done[0] / done[1] if isinstance(done, tuple) else done / elapsed)
        if peak:
            shares.append(rates[ours][-1] * peak[0] / gemm_peak(peak[1]))
    ratios = {
        name: median(a / b for a, b in zip(rates[ours], rates[name], strict=True))
        for name in others
    }
    medians = {name: median(found) for name, found in rates.items()}
    return Row(unit, medians, ratios, median(shares) if shares else None, note)


def gemm_peak(precision: str) -> float:
    """Operations a second of a product of two large matrices, the best of five (two a multiply)."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left, right = (torch.randn(SIDE, SIDE).to(kind) for _ in range(2))
    left @ right
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(seconds)


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


@dataclass(frozen=True)
class Measured:
    """A row with its name and the occasion on which it was measured."""

    occasion: str
    name: str
    machine: dict[str, Any]
    seconds: float  # that measuring it took
    row: Row


def remember(file: Path, measured: Measured) -> None:
    """Add a row to a file of JSON lines."""
    with open(file, "a", encoding="utf-8") as opened:
        opened.write(json.dumps(asdict(measured)) + "\n")


def remembered(file: Path, processor: str, threads: int) -> list[Measured]:
    """The rows that were measured on this machine so far."""
    if not file.is_file():
        return []
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows = [Measured(**{**line, "row": Row(**line["row"])}) for line in lines]
    here = (processor, threads)
    return [row for row in rows if (row.machine["processor"], row.machine["threads"]) == here]


def table(names: list[str], known: list[Measured]) -> str:
    """The rows as Markdown, rates of the last occasion and ratios of all.

    A ratio is printed when it was measured on two occasions.
    """
    lines = [
        "| work | ours | against | ratio, by occasion | share of peak | note |",
        "|---" * 6 + "|",
    ]
    for name in names:
        found = list({each.occasion: each.row for each in known if each.name == name}.values())
        if found:
            lines += _lines(name, found)
    return "\n".join(lines)


def _lines(name: str, found: list[Row]) -> list[str]:
    last = found[-1]
    ours, *others = last.rates
    lines = []
    for other in others or [""]:
        ratios = [row.ratios[other] for row in found if other in row.ratios]
        cells = [
            f"{name} ({last.unit})",
            f"{last.rates[ours]:.3g}",
            f"{other}: {last.rates[other]:.3g}" if other else "",
            ", ".join(f"{ratio:.2f}" for ratio in ratios) if len(ratios) > 1 else "",
            "" if last.peak_share is None else f"{last.peak_share:.0%}",
            last.note,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"
