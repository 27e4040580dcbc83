"""Area change and thickening of beats against made-up sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ehtseg.jobs.conclude import Conclusion, conclude
from ehtseg.measuring.traces import as_traces
from ehtseg.recipe import MeasureRecipe
from ehtseg.records import Array
from ehtseg.reporting.report import Clock
from heartbeats import beating, phases
from test_analyse import one, rows
from twitches import regular_train

TRAIN = regular_train(1.07, 30, 20)
SHAPE = TRAIN.x / TRAIN.x.max()


def concluded(trace: str | None = None, **columns: Array) -> Conclusion:
    rng = np.random.default_rng(10_000)
    flow = {"contraction_px": 8 * SHAPE + rng.normal(0, 0.04, len(SHAPE))}
    traces = as_traces(TRAIN.time_s, flow | columns, 4.0)
    return conclude(traces, Clock(True, 30), MeasureRecipe(trace=trace))


def medians(said: Conclusion) -> dict[str, float]:
    return {row["parameter"]: row["median"] for row in said.parameters}


def test_area_and_width_of_beats_that_were_found_in_the_flow() -> None:
    """4 % less area, 3 % more width; both drift, and both have noise."""
    rng, n = np.random.default_rng(10_001), len(SHAPE)
    drift = np.linspace(1, 1.1, n)
    area = 5e4 * drift * (1 - 0.04 * SHAPE) + rng.normal(0, 60, n)
    width = 100 * drift * (1 + 0.03 * SHAPE) + rng.normal(0, 0.05, n)
    width[200:204] = np.nan
    said = concluded(area_px=area, mid_width_px=width)
    assert said.choice is not None
    assert said.choice.name == "contraction_um"
    found = medians(said)
    assert found["fac_pct"] == pytest.approx(4, abs=0.1)
    assert found["width_change_pct"] == pytest.approx(3, abs=0.1)
    row = next(row for row in said.parameters if row["parameter"] == "fac_pct")
    assert row["n"] == 20
    assert row["low95"] < 4 < row["high95"]
    assert 0.2 < row["resolution"] < 0.6  # 2.8 times noise of 0.12 %
    assert row["how"]
    beats = [beat["fac_pct"] for beat in said.beats if beat["accepted"]]
    assert np.nanmedian(beats) == pytest.approx(found["fac_pct"])


def test_a_size_that_does_not_follow_the_beats_gives_no_share() -> None:
    """Its largest change within a beat would be noise, or another movement."""
    rng, n = np.random.default_rng(10_002), len(SHAPE)
    noise = 5e4 + rng.normal(0, 500, n)
    thinner = 100 * (1 - 0.03 * SHAPE) + rng.normal(0, 0.05, n)
    found = medians(concluded(area_px=noise, mid_width_px=thinner))
    assert "amplitude_um" in found
    assert not {"fac_pct", "width_change_pct"} & found.keys()


def test_the_share_of_the_chosen_trace_stands_once() -> None:
    area = 5e4 * (1 - 0.04 * SHAPE) + np.random.default_rng(10_003).normal(0, 60, len(SHAPE))
    found = [row["parameter"] for row in concluded("area", area_px=area).parameters]
    assert found.count("fac_pct") == 1


def test_a_rejected_candidate_has_no_share(tmp_path: Path) -> None:
    """A strip that shortens by 8 % at one width loses 8 % of its area."""
    frames, masks = beating(phases(160))
    one(tmp_path, frames, masks)
    folder = tmp_path / "out" / "film"
    (folder / "beats_edit.csv").write_text("action,time_s\nremove,3.6\n")
    one(tmp_path, frames, masks)
    beats = rows(folder / "beats.csv")
    assert [beat["accepted"] for beat in beats].count("no") == 1
    for beat in beats:
        if beat["accepted"] == "yes":
            assert float(beat["fac_pct"]) == pytest.approx(8, abs=0.5)
