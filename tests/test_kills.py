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


def start(data: Path, out: Path, phase: str, count: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, data, out, phase, str(count)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def run(data: Path, out: Path, phase: str, count: int) -> int:
    return start(data, out, phase, count).returncode


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
        print("kills:", ", ".join(f"{phase} {count}" for phase, count in chain))  # with pytest -s
        out = tmp_path / f"killed-{number}"
        for phase, count in chain:
            assert run(data, out, phase, count) == -signal.SIGKILL, (number, phase, count)
        assert run(data, out, "never", 0) == 0
        assert files_of(out) == wanted, chain
        print("  weights equal")
        left = {p.name for p in out.iterdir()} - {p.name for p in (tmp_path / "whole").iterdir()}
        assert not left, "nothing half-written remains"


@pytest.mark.slow
def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    data = write_labelled(tmp_path / "film", {"film": 16}, size=32)
    out = tmp_path / "run"
    stopped = start(data, out, "full", 12_000)  # run.json fits, the state of an epoch does not
    assert stopped.returncode == 1
    assert "Expected to be able to write" in stopped.stderr
    assert "Free some space" in stopped.stderr
    assert {p.name for p in out.iterdir()} <= {"recipe.yaml", "run.json"}, "half-written"
    assert run(data, out, "never", 0) == 0
    assert files_of(out)
