"""What smoothing of probabilities over time (segment.steady) does to beats and their kinetics.

    python benchmarks/steady_bias.py [--trains 40] [--fps 20 30 60] [--film FOLDER]

Area is a sum of probabilities, so averaging probabilities averages the trace: analytic twitch
trains (tests/twitches.py, 2 % noise, 20 beats) are averaged with the weights of seeing/steady.py.
With --film, the masks of a labelled recording are averaged, and beats are found in both areas.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import correlate1d

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from ehtseg.measuring.beats import BeatFinding, find_beats
from ehtseg.measuring.kinetics import table_of_beats
from ehtseg.measuring.shapes import measure_frame
from ehtseg.reading.dataset import Dataset, open_dataset
from ehtseg.records import Array, Frame
from ehtseg.seeing.steady import steadied, weights
from twitches import errors, random_train

REACHES = (0, 1, 2, 3)
SHOWN = ("amplitude_pct", "t50_ms", "ttp10_ms", "upstroke_ms", "cd50_ms", "rt50_ms", "rmssd_ms")


def of_trains(trains: int, fps: float, reach: int) -> str:
    """One row: mean over trains of measured minus true, and beats missed and found too often."""
    found = []
    for seed in range(10_000, 10_000 + trains):
        train = random_train(seed, fps, n_beats=20)
        steady = replace(train, x=correlate1d(train.x, weights(reach), mode="nearest"))
        beats = np.array([beat.t50_s for beat in find_beats(steady.time_s, steady.x).accepted])
        nearest = np.abs(beats[:, None] - train.t50_s).argmin(axis=1) if len(beats) else []
        shift_ms = 1000 * np.median(beats - train.t50_s[nearest]) if len(beats) else np.nan
        found.append({**errors(steady), "t50_ms": float(shift_ms)})
    means = [f"{np.nanmean([row[name] for row in found]):+.1f}" for name in SHOWN]
    counts = [f"{sum(row[name] for row in found):.0f}" for name in ("missed", "extra")]
    return f"| {fps:g} | {2 * reach + 1} | " + " | ".join([*means, "/".join(counts)]) + " |"


def areas(dataset: Dataset, reach: int) -> Array:
    """Area of the tissue in every frame, of masks averaged over time, px."""

    def seen() -> Iterator[tuple[Frame, Array]]:
        for i in range(len(dataset)):
            image, mask = dataset.read(i)
            yield Frame(i, None, image), mask.astype(np.float32)

    frames = (pair for pair in seen())
    stream = steadied(frames, reach) if reach else frames
    return np.array([measure_frame(mask).area_px for _, mask in stream])


def of_film(folder: Path) -> None:
    """Beats in the area of the true masks, and what averaging these changes."""
    dataset = open_dataset([folder])
    fps = next(iter(dataset.fps.values()), 30.0)
    first: BeatFinding | None = None
    for reach in REACHES:
        area = areas(dataset, reach)
        finding = find_beats(np.arange(len(area)) / fps, area.max() - area)
        first = first or finding
        beats, before = finding.accepted, first.accepted
        table = table_of_beats(finding.time_s, finding.x, beats)
        said = {key: np.nanmedian([row[key] for row in table]) for key in ("cd50_ms", "rt50_ms")}
        same = len(beats) == len(before)
        moved = [1000 * (b.t50_s - a.t50_s) for a, b in zip(before, beats, strict=False)]
        size = np.median([b.amplitude for b in beats]) / np.median([b.amplitude for b in before])
        print(
            f"{folder.name}, {2 * reach + 1} frames: {len(beats)} beats; t50 moves by "
            f"{np.median(moved):+.1f} ms (at most {np.max(np.abs(moved)):.1f})"
            f"{'' if same else ', not all found'}; "
            f"amplitude x {size:.3f}; CD50 {said['cd50_ms']:.0f} ms, RT50 {said['rt50_ms']:.0f} ms"
        )


def main() -> None:
    """Print one row a frame rate and reach."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trains", type=int, default=40)
    parser.add_argument("--fps", type=float, nargs="+", default=[20, 30, 60])
    parser.add_argument("--film", type=Path)
    given = parser.parse_args()
    print("| fps | frames | " + " | ".join([*SHOWN, "missed/extra"]) + " |")
    print("|" + "---|" * (len(SHOWN) + 3))
    for fps in given.fps:
        for reach in REACHES:
            print(of_trains(given.trains, fps, reach), flush=True)
    if given.film:
        of_film(given.film)


if __name__ == "__main__":
    main()
