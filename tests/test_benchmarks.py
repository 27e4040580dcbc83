"""The table of benchmarks: what is printed when, and how an occasion goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import paired
from paired import Measured, Row, gemm_peak, race, remember, remembered, table

HERE = {"processor": "P", "threads": 2}


def measured(occasion: str, ratio: float, machine: dict[str, object] = HERE) -> Measured:
    row = Row("frames/s", {"ours": 8.0, "smp": 2.0}, {"smp": ratio}, 0.5, "a note")
    return Measured(occasion, "frames", machine, 3.0, row)


def test_a_ratio_is_printed_after_two_occasions_of_the_same_machine(tmp_path: Path) -> None:
    file = tmp_path / "occasions.jsonl"
    remember(file, measured("one", 4.0))
    remember(file, measured("elsewhere", 9.0, {"processor": "Q", "threads": 2}))
    once = table(["frames", "film"], remembered(file, "P", 2))
    assert "| frames (frames/s) | 8 | smp: 2 |  | 50% | a note |" in once
    remember(file, measured("two", 4.26))
    twice = table(["frames", "film"], remembered(file, "P", 2))
    assert "| smp: 2 | 4.00, 4.26 |" in twice
    assert "film" not in twice
    remember(file, measured("two", 4.3))  # measured again: the later one counts
    assert "| 4.00, 4.30 |" in table(["frames"], remembered(file, "P", 2))


def test_ratios_are_medians_of_the_ratios_within_the_repeats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = iter([0, 1, 1, 3, 3, 4, 4, 8, 8, 16, 16, 24])  # start and end of each look
    monkeypatch.setattr(paired.time, "perf_counter", lambda: float(next(now_s)))
    row = race("things/s", {"ours": lambda: 2, "theirs": lambda: 2}, repeats=3)
    assert row.ratios == {"theirs": 2.0}  # of 2, 4 and 1
    assert row.rates == {"ours": 2.0, "theirs": 0.5}


def test_the_peak_counts_two_operations_a_multiplication(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = iter([0, 1, 1, 3, 3, 6, 6, 8, 8, 10])
    monkeypatch.setattr(paired.time, "perf_counter", lambda: float(next(now_s)))
    monkeypatch.setattr(paired, "SIDE", 10)
    assert gemm_peak("fp32") == 2000.0


def test_an_occasion_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="the opponent")
    import speed

    file = tmp_path / "occasions.jsonl"
    asked: list[str] = []

    def pretended(name: str, occasion: str, how: list[str]) -> Measured:
        asked.append(name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return Measured(occasion, name, speed.machine(), 60.0, Row("frames/s", {"ours": 1.0}))

    monkeypatch.setattr(speed, "in_own_process", pretended)
    names = [name for name in speed.all_rows() if name.startswith("frames")][:3]
    with pytest.raises(KeyboardInterrupt):
        speed.measure(names, "one", [], file)
    speed.measure(names, "one", [], file)
    assert asked == [names[0], names[1], names[1], names[2]]
    speed.measure(names, "two", [], file)
    assert asked[4:] == names
    assert "(3 min left" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("row", ["frames resnet50 128", "train frozen resnet50 256"])
def test_rows_can_be_measured(row: str) -> None:
    pytest.importorskip("segmentation_models_pytorch", reason="the opponent")
    import speed

    found = speed.in_own_process(row, "now", ["--repeats", "1", "--quick"])
    assert set(found.row.rates) == {"ours", "smp", "smp tuned"}
    assert all(rate > 0 for rate in found.row.rates.values())
