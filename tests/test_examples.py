"""The numbered examples run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_the_python_example_learns_something(tmp_path: Path) -> None:
    example = runpy.run_path(str(EXAMPLES / "02_from_python.py"))
    assert example["main"](tmp_path, epochs=6) > 0.6


@pytest.mark.slow
def test_the_demo_leaves_what_it_promises(tmp_path: Path) -> None:
    demo = runpy.run_path(str(EXAMPLES / "01_demo.py"))
    demo["main"](tmp_path, "--set", "fit.images_per_epoch=16", "--set", "data.size=128")
    for name in ("run/history.png", "scores/report.html", "segmented/demo/overlay.mp4"):
        assert (tmp_path / name).stat().st_size > 0
