"""The main job on real input: train on the bundled clip, score it, segment its video.

The clip is fifty frames (two beats) of one engineered heart tissue on two posts; its licence and
source stand in samples/demo. Frames of one film are near copies of each other, so the score below
says that everything works, not that the network knows other tissues.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "samples" / "demo"
VIDEO = ROOT / "samples" / "demo.mp4"


def ehtseg(*words: str | Path) -> None:
    """Run one command of ehtseg as a user would type it, and show it."""
    print(f"\n$ ehtseg {' '.join(str(word) for word in words)}", flush=True)
    subprocess.run([sys.executable, "-m", "ehtseg", *map(str, words)], check=True)


def main(out: Path = ROOT / "demo", *more: str) -> None:
    started = time.perf_counter()
    run = out / "run"
    ehtseg("check", DATA)
    ehtseg(
        "train", DATA, "--net", "efficientnet_lite0", "--split", "blocks", "--epochs", "6",
        "--out", run, *more,
    )  # fmt: skip
    ehtseg("evaluate", run, DATA, "--split", "test", "--out", out / "scores")
    ehtseg("segment", VIDEO, "--model", run, "--out", out / "segmented")
    print(f"\nDone in {time.perf_counter() - started:.0f} s. Look at:")
    for path in (
        run / "history.png",
        out / "scores" / "report.html",
        out / "segmented" / "demo" / "overlay.mp4",
        out / "segmented" / "demo" / "figure.png",
    ):
        print(f"  {path}")


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:2]), *sys.argv[2:])
