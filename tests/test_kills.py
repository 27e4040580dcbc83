"""kill -9 at twenty moments, fourteen of them inside the writing of files: nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import write_labelled

SCRIPT = Path(__file__).with_name("killable.py")
# each row is one training, killed at these moments and then run to its end
CHAINS = [
    [("step", 1), ("write", 1), ("write", 2), ("rename", 9)],
    [("step", 3), ("flush", 6), ("rename", 5), ("step", 2)],
    [("write", 3), ("write", 4), ("rename", 6), ("flush", 7)],
    [("rename", 1), ("rename", 3), ("step", 4), ("write", 5)],
    [("flush", 2), ("step", 5), ("rename", 7), ("step", 1)],
]


def run(data: Path, out: Path, phase: str, count: int) -> int:
    command = [sys.executable, SCRIPT, data, out, phase, str(count)]
    return subprocess.run(command, check=False, capture_output=True).returncode


def files_of(out: Path) -> dict[str, str]:
    facts = json.loads((out / "run.json").read_text())
    assert facts["status"] == "finished"
    hashes: dict[str, str] = facts["files"]
    return hashes


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    data = write_labelled(tmp_path / "film", {"film": 16}, size=32)
    assert run(data, tmp_path / "whole", "never", 0) == 0
    wanted = files_of(tmp_path / "whole")
    for number, chain in enumerate(CHAINS):
        out = tmp_path / f"killed-{number}"
        for phase, count in chain:
            assert run(data, out, phase, count) == -signal.SIGKILL, (number, phase, count)
        assert run(data, out, "never", 0) == 0
        assert files_of(out) == wanted, chain
        left = {p.name for p in out.iterdir()} - {p.name for p in (tmp_path / "whole").iterdir()}
        assert not left, "nothing half-written remains"
