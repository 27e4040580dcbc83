"""What the method itself adds to kinetics: bias on analytic twitch trains, by frame rate.

    python benchmarks/kinetics_bias.py [--trains 200] [--fps 20 30 50 100] [--first-seed 10000]

Every train has 60 beats at one random rate (0.5 to 3 Hz), random phase and shape and 2 % noise
(tests/twitches.py). Bias is the median over a train's beats minus the formula's value; the table
shows its mean over trains and, in brackets, the range that holds 90 % of them. Seeds below 1000
were used while the method was written, so they say nothing here.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from twitches import errors, random_train


def row(name: str, values: np.ndarray) -> str:
    """One cell group: mean and 5 to 95 % range, or the total for counts."""
    if name in ("missed", "extra"):
        return f"{np.sum(values):.0f}"
    low, high = np.percentile(values, [5, 95])
    return f"{np.mean(values):+.1f} ({low:+.1f} to {high:+.1f})"


def main() -> None:
    """Print the table, one column a frame rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trains", type=int, default=200)
    parser.add_argument("--beats", type=int, default=60)
    parser.add_argument("--noise", type=float, default=0.02)
    parser.add_argument("--fps", type=float, nargs="+", default=[20, 30, 50, 100])
    parser.add_argument("--first-seed", type=int, default=10000)
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.trains)
    measured = {
        fps: [errors(random_train(seed, fps, given.beats, given.noise)) for seed in seeds]
        for fps in given.fps
    }
    print(f"{given.trains} trains of {given.beats} beats, {given.noise:.0%} noise, "
          f"seeds from {given.first_seed}\n")  # fmt: skip
    print("| bias | " + " | ".join(f"{fps:g} fps" for fps in given.fps) + " |")
    print("|---|" + "---|" * len(given.fps))
    for name in measured[given.fps[0]][0]:
        cells = [row(name, np.array([e[name] for e in measured[fps]])) for fps in given.fps]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
