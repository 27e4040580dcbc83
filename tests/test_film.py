"""The overlay movie: every frame once, in its time, with its mask, and the trace in step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from ehtseg.jobs.analyse import analyse
from ehtseg.jobs.film import film_size, picture, write_film
from ehtseg.jobs.recording import Facts
from ehtseg.records import Frame
from ehtseg.reporting.strip import BLUE, GREY, VERMILION, Strip, make_strip
from heartbeats import beating, phases, write_recording
from test_reporting import report

__all__ = ["report"]  # the fixture


def shown(path: Path) -> tuple[list[np.ndarray], list[float]]:
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
    return [f.to_ndarray(format="rgb24") for f in frames], [float(f.time or 0) for f in frames]


def near(picture: np.ndarray, colour: tuple[int, int, int], reach: int = 40) -> np.ndarray:
    return (abs(picture.astype(int) - colour) < reach).all(-1)


def test_a_movie_of_every_frame_with_its_trace(tmp_path: Path) -> None:
    frames, masks = beating(phases(48))
    source = write_recording(tmp_path, "film", frames, masks)
    (result,) = analyse([source], tmp_path / "out", masks=tmp_path / "masks", facts=Facts(fps=20))
    assert result.folder is not None
    pictures, times_s = shown(result.folder / "overlay.mp4")
    assert times_s == pytest.approx(np.arange(48) / 20, abs=1e-4)
    assert pictures[0].shape == (288 + 112, 512, 3)
    outline = near(pictures[0][:288], VERMILION, 60)
    rows, columns = np.nonzero(outline)
    assert rows.min() == pytest.approx(4 * 20, abs=6), "the strip's upper edge, four times as large"
    assert columns.min() == pytest.approx(4 * 18, abs=10)
    assert not near(pictures[10][288:], VERMILION, 60).any()


def test_the_mark_of_a_beat_passes_the_middle_at_its_peak(report, tmp_path) -> None:  # type: ignore[no-untyped-def]
    strip = make_strip(report, 400, 100)
    beat = report.finding.accepted[3]
    for late_s in (0.0, 0.3, -0.3):
        blue = near(strip.at(beat.peak_s + late_s)[:80], BLUE)
        expected = 200 - late_s * 400 / strip.span_s
        columns = np.flatnonzero(blue.any(0))
        assert np.abs(columns - expected).min() <= 1
    assert near(strip.at(beat.peak_s)[:, 200:201], GREY, 5).any()


def test_the_strip_shows_only_what_is_near(report) -> None:  # type: ignore[no-untyped-def]
    strip = make_strip(report, 400, 100)
    empty = strip.at(-100.0)
    assert not near(empty, BLUE).any()
    assert strip.at(2.0).shape == empty.shape == (100, 400, 3)
    assert np.array_equal(strip.at(2.0), strip.at(2.0))


def test_rejected_candidates_have_a_mark_of_their_own() -> None:
    time_s = np.arange(100) / 20
    marks = np.array([[0.9, 1.0, 0.8, 1.0], [np.nan, 3.0, 0.1, 0.0]])
    strip = Strip(300, 100, 4.0, time_s, np.sin(time_s), marks, (-1, 1), "trace", "s", 1.0)
    first, second = strip.at(1.0), strip.at(3.0)
    assert near(first[:, 140:160], BLUE).any()
    assert near(second[:, 140:160], VERMILION).any()
    assert not near(first[:, 140:160], VERMILION).any()


def test_a_beat_has_the_number_of_its_row_in_the_table() -> None:
    marks = np.array([[0.4, 0.5, 0.1, 0.0], [0.9, 1.0, 0.8, 1.0], [1.9, 2.0, 0.8, 1.0]])
    time_s = np.arange(100) / 20
    strip = Strip(300, 100, 4.0, time_s, np.sin(time_s), marks, (-1, 1), "trace", "s", 1.0)
    assert [strip._beat(now_s) for now_s in (0.6, 1.0, 2.5)] == ["", ", beat 1", ", beat 2"]


def test_a_strip_without_a_trace_has_no_scale(report) -> None:  # type: ignore[no-untyped-def]
    nothing = make_strip(replace(report, choice=None, finding=None), 400, 100).at(0.0)
    assert (nothing[30:, :100] == 255).all()


def test_without_a_trace_the_movie_is_made_all_the_same(report, tmp_path) -> None:  # type: ignore[no-untyped-def]
    recording = report.recording | {"height": 72, "width": 128, "fps": None, "n_frames": 3}
    none = replace(report, choice=None, finding=None, recording=recording)
    image = np.full((72, 128), 90, np.uint8)
    pairs = ((Frame(k, None, image), image > 200) for k in range(3))
    write_film(none, pairs, tmp_path / "a.mp4")
    pictures, _ = shown(tmp_path / "a.mp4")
    assert len(pictures) == 3


@pytest.mark.parametrize("size", [(64, 48), (479, 31), (512, 513), (2048, 1500), (99, 400)])
def test_frames_keep_their_shape_at_a_size_that_can_be_seen(size: tuple[int, int]) -> None:
    width, height = film_size(*size)
    assert width % 2 == height % 2 == 0
    assert 470 <= width <= 961
    assert width / height == pytest.approx(size[0] / size[1], rel=0.08)
    image = np.zeros(size[::-1], np.uint8)
    assert picture(image, image > 0, (width, height)).shape == (height, width, 3)
