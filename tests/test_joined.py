"""Several files as one recording: order, true times, gaps, and what is refused."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from ehtseg.reading.joined import join_videos
from ehtseg.reading.stamps import Stamp, read_stamp, stamp_of
from ehtseg.records import UserError
from recordings import write_video


def stack(path: Path, value: int, count: int = 10, at: str | None = None, size: int = 16) -> Path:
    """A TIFF stack of grey frames that begin at this value, with its DateTime."""
    frames = value + np.arange(count, dtype=np.uint8)[:, None, None] + np.zeros((size, size), "u1")
    when = datetime.fromisoformat(at) if at else None
    tifffile.imwrite(path, frames.astype(np.uint8), photometric="minisblack", datetime=when)
    return path


def test_files_follow_each_other_by_their_stamps_with_the_gap_between(tmp_path: Path) -> None:
    late = stack(tmp_path / "a.tif", 100, at="2026-11-20 09:30:30")
    early = stack(tmp_path / "b.tif", 50, at="2026-11-20 09:30:00")
    joined = join_videos([late, early], fps=10)
    frames = list(joined.frames())
    assert [frame.image[0, 0] for frame in frames] == [*range(50, 60), *range(100, 110)]
    assert [frame.index for frame in frames] == list(range(20))
    times_s = [frame.time_s for frame in frames]
    assert times_s == pytest.approx([*np.arange(10) / 10, *(30 + np.arange(10) / 10)])
    assert joined.n_frames == 20
    assert "a.tif follows b.tif after a gap of 29 s (the TIFF's DateTime)" in joined.notes[0]


def test_files_without_a_stamp_follow_as_given_and_that_is_said(tmp_path: Path) -> None:
    paths = [stack(tmp_path / "b.tif", 50), stack(tmp_path / "a.tif", 100)]
    joined = join_videos(paths, fps=10)
    assert joined.starts_s == (0.0, 1.0)
    assert "b.tif without a gap: assumed" in joined.notes[0]


def test_stamps_that_meet_within_their_digits_leave_no_gap(tmp_path: Path) -> None:
    first = stack(tmp_path / "a.tif", 50, at="2026-11-20 09:30:00")
    second = stack(tmp_path / "b.tif", 100, at="2026-11-20 09:30:02")
    joined = join_videos([first, second], fps=10)
    assert joined.starts_s == (0.0, 1.0)
    assert "at once" in joined.notes[0]


def test_a_time_of_day_and_a_date_have_no_order(tmp_path: Path) -> None:
    paths = [stack(tmp_path / "a.tif", 0, at="2026-11-20 23:50:00"), stack(tmp_path / "b.tif", 0)]
    at_night = Stamp(datetime(2000, 1, 1, 0, 20), "the manifest", dated=False)
    with pytest.raises(UserError, match=r"all have a date.*00:20:00 \(the manifest\) and 2026"):
        join_videos(paths, fps=10, stamps=[None, at_night])


def test_a_file_lasts_until_its_last_frame_though_frames_were_dropped(tmp_path: Path) -> None:
    kept = np.sort(np.random.default_rng(0).permutation(332)[:300])
    kept[[0, -1]] = 0, 331  # one in ten is missing; the last one at 11.03 s
    frames = [np.zeros((16, 16), np.uint8)] * len(kept)
    times_ms = [round(1000 * int(k) / 30) for k in kept]
    paths = [write_video(tmp_path / f"{name}.mkv", frames, times_ms=times_ms) for name in "ab"]
    joined = join_videos(paths)
    times_s = np.array([frame.time_s for frame in joined.frames()])
    assert np.all(np.diff(times_s) > 0), "no frame of the second file comes before its time"
    assert joined.starts_s[1] == pytest.approx(332 / 30, abs=0.002)
    assert join_videos(paths, fps=30).starts_s[1] == pytest.approx(10), "then times are counted"


def test_a_folder_lasts_until_the_time_of_its_last_image(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        rows = [{"file": f"{k}.png", "time_s": at} for k, at in enumerate((0.0, 0.1, 0.9))]
        (tmp_path / name / "meta.json").write_text(json.dumps({"fps": 10, "frames": rows}))
        for k in range(3):
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name / f"{k}.png")
    joined = join_videos([tmp_path / "a", tmp_path / "b"])
    assert joined.starts_s[1] == pytest.approx(1.0)


def test_files_that_overlap_are_refused(tmp_path: Path) -> None:
    first = stack(tmp_path / "a.tif", 50, count=100, at="2026-11-20 09:30:00")
    second = stack(tmp_path / "b.tif", 100, at="2026-11-20 09:30:05")
    with pytest.raises(UserError, match=r"begins 5 s before a.tif ends.*each by itself"):
        join_videos([first, second], fps=10)


def test_other_sizes_and_rates_are_refused(tmp_path: Path) -> None:
    first, wide = stack(tmp_path / "a.tif", 50), stack(tmp_path / "b.tif", 50, size=20)
    with pytest.raises(UserError, match=r"a.tif \(16 x 16 px\), got 20 x 20 px in b.tif"):
        join_videos([first, wide], fps=10)
    frames = [np.zeros((16, 16), np.uint8)] * 8
    slow = write_video(tmp_path / "slow.mkv", frames, times_ms=list(range(0, 800, 100)))
    fast = write_video(tmp_path / "fast.mkv", frames, times_ms=list(range(0, 400, 50)))
    with pytest.raises(UserError, match=r"10 frames/s.*got 20 frames/s in fast.mkv"):
        join_videos([slow, fast])


def test_what_holds_for_every_file_is_said_once(tmp_path: Path) -> None:
    grey = [np.full((16, 16), value, np.uint8) for value in (10, 20)]
    paths = [write_video(tmp_path / f"{name}.mkv", grey) for name in "abc"]
    joined = join_videos(paths)
    (said,) = (note for note in joined.notes if "playback" in note)
    assert said.startswith("The frame rate, 25 fps")


def test_without_a_rate_there_is_no_time(tmp_path: Path) -> None:
    joined = join_videos([stack(tmp_path / "a.tif", 50), stack(tmp_path / "b.tif", 100)])
    assert {frame.time_s for frame in joined.frames()} == {None}


def test_deep_files_share_one_scaling(tmp_path: Path) -> None:
    for name, value in (("a", 100), ("b", 1100)):
        frames = np.full((4, 16, 16), value, np.uint16)
        frames[:, 0] = value + 1000
        tifffile.imwrite(tmp_path / f"{name}.tif", frames, photometric="minisblack")
    joined = join_videos([tmp_path / "a.tif", tmp_path / "b.tif"], fps=10)
    dark, *_, bright = (int(frame.image[5, 5]) for frame in joined.frames())
    assert dark == 0
    assert bright == pytest.approx(127, abs=2), "half of the common range"


def test_files_of_different_depth_are_refused(tmp_path: Path) -> None:
    """One scaling for both would leave nothing of the 8 bits."""
    frames = np.full((4, 16, 16), 900, np.uint16)
    shallow = stack(tmp_path / "a.tif", 100)
    tifffile.imwrite(tmp_path / "b.tif", frames, photometric="minisblack")
    tifffile.imwrite(tmp_path / "c.tif", frames, truncate=True, byteorder=">", photometric=1)
    with pytest.raises(UserError, match=r"one depth \(uint8.*uint16 in .*b\.tif"):
        join_videos([shallow, tmp_path / "b.tif"], fps=10)
    assert len(join_videos([tmp_path / "b.tif", tmp_path / "c.tif"], fps=10).parts) == 2


def test_what_each_kind_of_file_says_of_its_start(tmp_path: Path) -> None:
    nine = datetime(2026, 11, 20, 9)
    folder = tmp_path / "film"
    folder.mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "0.png")
    (folder / "meta.json").write_text(json.dumps({"start": "2026-11-20 09:00:00"}))
    assert stamp_of(folder) == Stamp(nine, "the file meta.json")
    assert stamp_of(stack(tmp_path / "b.tif", 0, at="2026-11-20 09:00:00")) == Stamp(
        nine, "the TIFF's DateTime"
    )
    assert stamp_of(stack(tmp_path / "c.tif", 0)) is None
    assert stamp_of(write_video(tmp_path / "d.mkv", [np.zeros((16, 16), np.uint8)] * 3)) is None
    (folder / "meta.json").write_text(json.dumps({"start": "this morning"}))
    with pytest.raises(UserError, match="this morning"):
        stamp_of(folder)


def test_fractions_of_a_second_make_a_stamp_truer() -> None:
    whole, fine = read_stamp("2026-11-20 09:30:00", "x"), read_stamp("2026-11-20 09:30:00.25", "x")
    assert whole is not None
    assert fine is not None
    assert (whole.true_to_s, fine.true_to_s) == (1.0, 0.001)
    assert read_stamp("2026-11-20", "x") is None
