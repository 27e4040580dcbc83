"""The same verbs from Python: train a small U-Net, score it, look at the probabilities.

Run it with:  .venv/bin/python examples/02_from_python.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ehtseg

ROOT = Path(__file__).resolve().parents[1]


def main(out: Path, epochs: int = 10) -> float:
    dataset = ehtseg.open_dataset([ROOT / "samples" / "demo"])
    recipe = ehtseg.make_recipe(
        {
            "data": {"split": "blocks", "size": 64, "augment": "flips"},
            "net": {"name": "unet", "width": 8, "depth": 3, "norm": "batch"},
            "fit": {"epochs": epochs, "images_per_epoch": 40, "lr": 0.005},
        }
    )
    run = ehtseg.train(dataset, recipe, out / "run", tell=print)
    evaluation = ehtseg.evaluate(run, dataset, "test")
    dice: float = evaluation.summary["models"]["net"]["per_image"]["dice"]
    print(f"mean Dice on the last block of the film: {dice:.3f}")

    video = ehtseg.open_video(ROOT / "samples" / "demo.mp4")
    print(f"{video.path.name}: {video.width} x {video.height} px, {video.fps:g} frames a second")
    return dice


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()))
