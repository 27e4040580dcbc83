"""The scripts whose figures stand in the project: what they compute is what they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from ehtseg.study.intervals import interval
from ehtseg.study.published import BATCHES_IN_EQUAL_TIME
from ehtseg.study.task import Task

ROOT = Path(__file__).parents[1]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_last_way_that_is_simulated_is_that_of_the_package() -> None:
    simulated = script("simulate_intervals")
    for shift in (0.2, 0.4, 0.6, 0.8, 1.0, 1.2):
        table = np.random.default_rng(7).normal(size=(6, 3)) + shift
        held = simulated.coverage(table[None])[-1]
        assert held == (0 in interval(table))
    assert simulated.coverage((table + 9)[None])[-1] == 0, "some hold the truth and some do not"
    assert simulated.coverage((table - table.mean())[None])[-1] == 1


def test_batches_in_equal_time_follow_from_the_times_of_steps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    timed = script("equal_time")
    seen: list[str] = []

    def measured(task: Task) -> SimpleNamespace:
        network = task.entry.row.rsplit(", ", 2)[0]
        seen.append(network)
        return SimpleNamespace(step=0.1 if network == timed.OURS else 0.4)

    monkeypatch.setattr(timed, "measure", measured)
    timed.main(["--data", str(tmp_path)])
    printed = dict(
        line.strip().rstrip(",").split(": ")
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("    ")
    )
    counts = {name.strip('"'): int(count) for name, count in printed.items()}
    assert list(counts) == seen
    assert counts.keys() == BATCHES_IN_EQUAL_TIME.keys(), "every network, and once"
    ours = counts.pop(timed.OURS)
    assert all(count == round(ours / 4) for count in counts.values())
