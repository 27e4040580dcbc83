"""Errors that were read in other laboratories' programs, each as a test that this one has not got.

Where a test stands beside the code that it concerns, ELSEWHERE names it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ehtseg.jobs.conclude import conclude
from ehtseg.measuring.flow import measure_flow
from ehtseg.measuring.levels import swing
from ehtseg.measuring.reference import composite
from ehtseg.measuring.shapes import measure_frame, tissue_axis
from ehtseg.measuring.traces import as_traces
from ehtseg.recipe import MeasureRecipe
from ehtseg.reporting.report import Clock
from heartbeats import beating, phases

ELSEWHERE = {
    "BeatProfiler: RMSSD without differences": "rmssd_is_of_successive_differences",
    "BeatProfiler: speeds of other beats": "velocities_stay_with_their_beat_when_one_is_rejected",
    "EHT-scope: one modulus": "the_modulus_that_the_user_sets_is_the_one_that_is_used",
    "EHT-scope: radius": "a_radius_taken_for_a_diameter_makes_16_times_the_force",
    "EHT-scope: 11 frames": "a_window_in_frames_would_change_its_meaning_with_the_frame_rate",
    "EHT-scope: mean of rates": "the_rate_of_an_irregular_heart_is_not_the_mean_of_its_rates",
    "ring code: half the cut-off": "no_low_pass_at_half_the_frequency_it_claims",
    "MUSCLEMOTION: levels": "time_to_peak_means_from_10_percent_whatever_else_is_asked_for",
    "MUSCLEMOTION: whole frames": "crossings_lie_between_frames",
    "PillarTrack: shifted velocity": "a_velocity_is_as_long_as_its_time_axis_and_not_shifted",
    "peak widths": "widths_are_not_taken_from_the_base_of_a_prominence",
    "times of peaks": "a_regular_train_is_not_made_irregular_by_timing_beats_at_their_peak_frame",
}


def test_every_test_that_is_named_stands_elsewhere() -> None:
    sources = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in ELSEWHERE.values() if f"def test_{name}(" not in sources] == []


def bar(height: int, width: int) -> np.ndarray:
    mask = np.zeros((120, 120), bool)
    mask[60 - height // 2 : 60 + height // 2, 60 - width // 2 : 60 + width // 2] = True
    return mask


def test_an_area_in_mm2_is_not_in_um2() -> None:
    """BeatProfiler. A millimetre square at 10 um a pixel: 100 x 100 px."""
    area_px = float(measure_frame(bar(100, 100)).area_px)
    told = as_traces(np.zeros(1), {"area_px": np.full(1, area_px)}, um_per_px=10.0)
    assert told.columns["area_mm2"].tolist() == [1.0]


def test_the_scale_of_the_user_is_used_and_used_once() -> None:
    """BeatProfiler, vmeasur. Every number of kinetics.csv: lengths scale, shares do not."""
    um_per_px = 1.1
    shape, rng = phases(160), np.random.default_rng(8)
    columns = {"extent_px": 80 - 4 * shape + rng.normal(0, 0.02, 160)}
    plain, scaled = (
        conclude(as_traces(np.arange(160) / 20, columns, scale), Clock(True, 20), MeasureRecipe())
        for scale in (None, um_per_px)
    )
    compared = zip(plain.parameters, scaled.parameters, strict=True)
    for one, other in compared:
        factor = um_per_px if "_px" in one["parameter"] else 1.0
        assert other["parameter"] == one["parameter"].replace("_px", "_um")
        assert other["median"] == pytest.approx(factor * one["median"], rel=1e-6, nan_ok=True)
    assert {"amplitude_um", "vmax_contraction_um_s"} <= {r["parameter"] for r in scaled.parameters}


def test_the_width_of_a_level_tissue_divides_by_nothing() -> None:
    """BeatProfiler."""
    lying, standing = measure_frame(bar(20, 80)), measure_frame(bar(80, 20))
    assert lying.mid_width_px == pytest.approx(20, abs=0.01)
    assert standing.mid_width_px == pytest.approx(20, abs=0.01)
    assert tissue_axis(bar(20, 80)).direction == pytest.approx((1, 0), abs=1e-6)


def test_the_major_axis_is_the_longer_one() -> None:
    """Ring code."""
    for mask in (bar(20, 80), bar(80, 20)):
        found = measure_frame(mask)
        assert found.major_axis_px == pytest.approx(80 * 2 / 3**0.5, rel=0.01)
        assert found.minor_axis_px == pytest.approx(20 * 2 / 3**0.5, rel=0.01)


def test_the_relaxed_picture_is_of_all_its_frames_and_not_of_the_last() -> None:
    """BeatProfiler."""
    rng = np.random.default_rng(4)
    relaxed = rng.integers(60, 200, (40, 60)).astype(np.uint8)
    pictures = [
        np.clip(relaxed + rng.normal(0, 6, relaxed.shape), 0, 255).astype("u1") for _ in range(9)
    ]
    spoilt = [*pictures[:-1], np.zeros_like(relaxed)]
    off = np.abs(composite(spoilt).astype(float) - relaxed)
    assert off.mean() < 0.6 * np.abs(pictures[0].astype(float) - relaxed).mean()


def test_five_per_cent_are_a_share_of_the_frames_and_not_a_power() -> None:
    """EchoNet. Of 1,000 frames 40 outliers on either side do not count."""
    values = np.concatenate([np.linspace(0, 1, 920), np.full(40, 50.0), np.full(40, -50.0)])
    assert round(len(values) ** 0.05) == 1
    assert swing(values) < 1


def test_the_amplitude_does_not_depend_on_the_field_of_view() -> None:
    """MUSCLEMOTION."""
    frames, soft = beating(phases(50))
    wide = np.pad(frames, ((0, 0), (60, 60), (80, 80)), mode="reflect")
    masks = np.pad(soft >= 0.5, ((0, 0), (60, 60), (80, 80)))
    found = [
        swing(np.array([frame.contraction_px for frame in measure_flow(zip(*pair, strict=True))]))
        for pair in ((frames, soft >= 0.5), (wide, masks))
    ]
    assert found[1] == pytest.approx(found[0], rel=0.05)
