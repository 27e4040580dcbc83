"""The study of the rivals, carried out at the smallest scale: every network, both recipes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import write_labelled
from ehtseg.study.crew import Crew
from ehtseg.study.designs import STUDIES
from ehtseg.study.levels import label
from ehtseg.study.plan import Study
from ehtseg.study.results import BASELINES, NET, Results, read_results, select
from ehtseg.study.rival_table import rival_table
from ehtseg.study.run import Order, look_at, run_study

LIGHT = ("UNeXt-S", "Med-NCA, 16 channels")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Small stand-ins for the recordings that the study names."""
    folder = tmp_path / "data"
    write_labelled(folder / "eht_d1t3", {"eht_d1t3": 25}, size=64)
    for name in ("eht_mbpt", "eht_ohw", "eht_fibrotug_stills"):
        write_labelled(folder / name, {name: 2}, size=64)
    return folder


def carried_out(study: Study, data: Path, out: Path) -> Results:
    work = look_at(Order(study, "smoke", data, out))
    run_study(work, Crew(min(2, os.cpu_count() or 1)))
    return read_results(out)


def check(study: Study, results: Results) -> None:
    """Every row is done and scored at every place."""
    runs = results.runs
    failed = {r for r, s in zip(runs["row"], runs["status"], strict=True) if s != "done"}
    assert not failed, [reason for reason in runs["reason"] if reason]
    rows = [str(row).removesuffix(" (random weights)") for row in runs["row"] if row != BASELINES]
    assert sorted(rows) == sorted(map(label, study.rows))
    scored = select(results.images, model=NET)
    assert set(scored["place"]) == {place.label for place in study.data.score}
    table = rival_table(results, {})
    assert len(table) == len(study.rows) * len(study.data.score)
    assert {row.weights for row in table if "common recipe" not in row.row} == {"random"}


@pytest.mark.slow
def test_the_lightest_rivals_run(data: Path, tmp_path: Path) -> None:
    rivals = STUDIES["rivals"]
    light = replace(rivals, rows=tuple(row for row in rivals.rows if row[0] in LIGHT), contrasts=())
    assert len(light.rows) == 4
    check(light, carried_out(light, data, tmp_path / "out"))


@pytest.mark.slow
def test_every_rival_runs_at_the_scale_smoke(data: Path, tmp_path: Path) -> None:
    check(STUDIES["rivals"], carried_out(STUDIES["rivals"], data, tmp_path / "out"))
