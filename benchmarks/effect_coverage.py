"""How often the 95 % interval of a drug effect holds the truth, on simulated beats.

    python benchmarks/effect_coverage.py [RUNS]

Beats are a first-order process of lag-1 correlation rho (slow wander) under independent noise of
single beats, whose share in the variance is given. Two stretches of so many beats, as many between
them; the change is drawn anew each time. The half width is in SD of the beats.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy.signal import lfilter

from ehtseg.measuring.comparison import levels, log_ratio

CASES = (
    (0, 0), (0.3, 0), (0.6, 0), (0.8, 0), (0.9, 0),
    (0.8, 0.5), (0.9, 0.5), (0.95, 0.5), (0.95, 0.8),
)  # fmt: skip
LENGTHS = (20, 40, 60, 100, 300)


def beats(count: int, rho: float, noise: float, draw: np.random.Generator) -> np.ndarray:
    """Values of `count` consecutive beats, variance 1."""
    white = draw.normal(0, 1, count + 300)
    wander = np.sqrt(1 - rho**2) * lfilter([1.0], [1.0, -rho], white)[300:]
    return np.sqrt(1 - noise) * wander + np.sqrt(noise) * draw.normal(0, 1, count)


def coverage(n: int, rho: float, noise: float, runs: int) -> tuple[float, float]:
    """Share of the intervals that hold the change, in %, and their median half width."""
    draw = np.random.default_rng([20_000, n])
    held, widths = 0, []
    for _ in range(runs):
        values, change = beats(3 * n, rho, noise, draw), draw.uniform(-5, 5)
        found = log_ratio(*levels([values[:n], values[2 * n :] + change]))
        held += found.low <= change <= found.high
        widths.append((found.high - found.low) / 2)
    return 100 * held / runs, float(np.median(widths))


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print("| rho | noise of single beats |", " | ".join(f"{n} beats" for n in LENGTHS), "|")
    print("|" + "---|" * (2 + len(LENGTHS)))
    for rho, noise in CASES:
        found = [coverage(n, rho, noise, runs) for n in LENGTHS]
        told = " | ".join(f"{held:.1f} ({half:.2f})" for held, half in found)
        print(f"| {rho} | {noise:.0%} | {told} |", flush=True)
