"""What every room's tests share: where the real data stand, and small made-up ones."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ehtseg.doors import cli

Cli = Callable[..., tuple[int, str, str]]  # words -> exit code, output, errors
SHARED = Path(__file__).resolve().parents[2] / "shared"
SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "demo"


@pytest.fixture(autouse=True)
def denormals_as_usual() -> None:
    """Training flushes denormals for the whole process; every test begins with them."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def ehtseg(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command line as a shell runs it, in this process."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ehtseg", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def shared(path: str) -> Path:
    """A file or folder of the real data beside the project; skips, with the reason, without it."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"needs ../shared/{path}, which is not on this machine")
    return found


def tissue_frame(size: int, phase: float, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """A dark strip on a light ground whose width follows `phase` in [0, 1], and its mask."""
    y, x = np.mgrid[0:size, 0:size] / size
    mask = (abs(y - 0.5) < 0.14 + 0.06 * phase) & (abs(x - 0.5) < 0.4 - 0.05 * phase)
    noise = rng.normal(0, 6, (size, size))
    image = np.clip(np.where(mask, 80, 190) + 20 * np.sin(9 * x) + noise, 0, 255)
    return image.astype(np.uint8), mask


def write_labelled(folder: Path, recordings: dict[str, int], size: int = 64) -> Path:
    """A labelled folder of made-up recordings (name: number of frames), with its meta.json."""
    rng = np.random.default_rng(7)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    frames = []
    for name, count in recordings.items():
        for index in range(count):
            file = f"{name}_{index:04d}.png"
            image, mask = tissue_frame(size, 0.5 + 0.5 * np.sin(index), rng)
            Image.fromarray(image).save(folder / "images" / file)
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / file)
            frames.append({"file": file, "movie": name, "frame": index})
    (folder / "meta.json").write_text(json.dumps({"fps": 30, "frames": frames}))
    return folder
