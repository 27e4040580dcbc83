"""Mask stacks, movies, folders that appear whole, and the threads that feed them."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import tifffile
import torch

from ehtseg.records import Array, Frame, UserError
from ehtseg.seeing.outputs import (
    MOST_S,
    folder_written_whole,
    mask_stack,
    movie,
    needs_bigtiff,
    write_png,
)
from ehtseg.seeing.stream import ahead, see


def masks(count: int, shape: tuple[int, int] = (37, 53)) -> list[Array]:
    return [np.random.default_rng(n).random(shape) > 0.5 for n in range(count)]


# --- mask stacks ------------------------------------------------------------------------------


def test_a_mask_stack_comes_back_bit_by_bit_with_its_scale(tmp_path: Path) -> None:
    path, written = tmp_path / "masks.tif", masks(5)
    with mask_stack(path, (37, 53), 5, 20.0, 4.0, "net modèle µ") as add:
        for mask in written:
            add(mask)
    with tifffile.TiffFile(path) as file:
        assert (np.asarray(file.asarray()) == 255 * np.array(written)).all()
        assert len(file.pages) == 5
        assert file.pages.first.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert file.pages.first.tags["XResolution"].value == (2500, 1)  # per cm: 4 um/px
        assert file.pages.first.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
        assert file.imagej_metadata is not None
        assert file.imagej_metadata["finterval"] == 0.05
        assert file.pages.first.software == "net modèle µ"
        assert not file.is_bigtiff


def test_what_is_not_known_is_not_written(tmp_path: Path) -> None:
    with mask_stack(tmp_path / "masks.tif", (37, 53), None, None, None) as add:
        add(masks(1)[0])
    with tifffile.TiffFile(tmp_path / "masks.tif") as file:
        assert file.is_bigtiff  # the length was unknown
        assert file.imagej_metadata is not None
        assert set(file.imagej_metadata) == {"ImageJ"}
        assert file.pages.first.tags["XResolution"].value == (1, 1)  # tifffile's word for unknown


def test_random_masks_deflate_below_what_is_counted_on(tmp_path: Path) -> None:
    path, shape = tmp_path / "masks.tif", (512, 512)
    with mask_stack(path, shape, 3, None, None) as add:
        for mask in masks(3, shape):
            add(mask)
    assert path.stat().st_size < 3 * (512 * 512 / 4 + 1024)
    pages = 2**32 // (512 * 512 // 4 + 1024)
    assert not needs_bigtiff(shape, pages)
    assert needs_bigtiff(shape, pages + 1)


# --- movies -----------------------------------------------------------------------------------


def play(path: Path) -> tuple[list[float], list[Array]]:
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
    return [float(f.time or 0) for f in frames], [f.to_ndarray(format="rgb24") for f in frames]


def test_a_movie_can_be_written_below_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("A1:run").mkdir()
    with movie(Path("A1:run/a.mp4"), (8, 8), 10.0) as add:
        add(np.zeros((8, 8, 3), np.uint8), 0.0)
    assert len(play(tmp_path / "A1:run" / "a.mp4")[0]) == 1


@pytest.mark.parametrize("shape", [(48, 64), (37, 53), (1, 1), (2, 131)])
def test_a_movie_shows_the_pictures_also_of_odd_size(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    with movie(tmp_path / "a.mp4", shape, 10.0) as add:
        for n, colour in enumerate(colours):
            add(np.full((*shape, 3), colour, np.uint8), n / 10)
    times, pictures = play(tmp_path / "a.mp4")
    assert times == pytest.approx([0, 0.1, 0.2])
    for picture, colour in zip(pictures, colours, strict=True):
        assert picture.shape == (shape[0] + shape[0] % 2, shape[1] + shape[1] % 2, 3)
        assert np.abs(picture.astype(int) - colour).max() < 12


def test_a_movie_keeps_the_true_times_of_a_variable_rate(tmp_path: Path) -> None:
    taken = [5.0, 5.04, 5.2, 5.2, 5.9]  # two frames with one time stamp
    with movie(tmp_path / "a.mp4", (16, 16), 25.0, "modèle µ") as add:
        for time_s in taken:
            add(np.zeros((16, 16, 3), np.uint8), time_s)
    times, _ = play(tmp_path / "a.mp4")
    assert times == pytest.approx([0, 0.04, 0.2, 0.2, 0.9], abs=1e-4)
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert file.metadata["comment"] == "modèle µ"
        assert file.streams.video[0].codec_context.name == "h264"


@pytest.mark.parametrize(("fps", "gap_s", "shown_s"), [(25.0, 50_000, 1.0), (0.01, 150, 150)])
def test_a_movie_waits_no_hours_where_nothing_was_recorded(
    tmp_path: Path, fps: float, gap_s: float, shown_s: float
) -> None:
    with movie(tmp_path / "a.mp4", (16, 16), fps) as add:
        for time_s in (0.0, 0.04, 0.04 + gap_s, 0.08 + gap_s):
            add(np.zeros((16, 16, 3), np.uint8), time_s)
    times, _ = play(tmp_path / "a.mp4")
    assert times == pytest.approx([0, 0.04, 0.04 + shown_s, 0.08 + shown_s], abs=1e-4)


def test_a_picture_too_large_for_a_movie_is_said(tmp_path: Path) -> None:
    expected = r"at most 16384 px .*480 x 60000 px.*measure\.movie=false"
    with pytest.raises(UserError, match=expected), movie(tmp_path / "a.mp4", (60000, 480), 10.0):
        pass


def test_a_movie_of_one_frame_a_day(tmp_path: Path) -> None:
    day_s = 86400.0
    with movie(tmp_path / "a.mp4", (8, 8), 1 / day_s) as write:
        for k in range(3):
            write(np.zeros((8, 8, 3), np.uint8), k * day_s)
    with av.open(str(tmp_path / "a.mp4")) as file:
        times_s = [float(frame.time or 0) for frame in file.decode(video=0)]
    assert times_s == [0.0, MOST_S, 2 * MOST_S]


def test_a_movie_without_any_rate_plays_at_the_nominal_one(tmp_path: Path) -> None:
    with movie(tmp_path / "a.mp4", (16, 16), None) as add:
        for _ in range(3):
            add(np.zeros((16, 16, 3), np.uint8), None)
    assert play(tmp_path / "a.mp4")[0] == pytest.approx([0, 0.04, 0.08])


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with (
            movie(tmp_path / f"{name}.mp4", (32, 32), 30.0) as add,
            mask_stack(tmp_path / f"{name}.tif", (32, 32), 9, 30.0, 1.0) as keep,
        ):
            for n, mask in enumerate(masks(9, (32, 32))):
                add(np.dstack([np.uint8(200) * mask] * 3), n / 30)
                keep(mask)
        write_png(tmp_path / f"{name}.png", np.zeros((3, 3, 3), np.uint8), 300, "modèle 心")
    for suffix in (".mp4", ".tif", ".png"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


# --- folders that appear whole ----------------------------------------------------------------


def test_a_folder_appears_when_it_is_complete_and_replaces_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "a"
    for text in ("first", "second"):
        with folder_written_whole(folder) as beside:
            (beside / "a.txt").write_text(text)
            assert beside.name.startswith(".")
        assert (folder / "a.txt").read_text() == text
        assert [p.name for p in folder.parent.iterdir()] == ["a"]


def test_what_fails_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old.txt").write_text("old")
    (tmp_path / ".a.part").mkdir()  # left by a kill

    def begin_and_fail(error: type[BaseException]) -> None:
        with folder_written_whole(tmp_path / "a") as beside:
            (beside / "new.txt").write_text("new")
            raise error

    for error in (KeyboardInterrupt, ZeroDivisionError):
        with pytest.raises(error):
            begin_and_fail(error)
        left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
        assert left == ["a", "a/old.txt"]


def test_a_crash_between_the_two_renames_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    rename = Path.rename

    def full(self: Path, target: Path) -> Path:
        if self.name == ".a.part":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(UserError, match="No space"), folder_written_whole(tmp_path / "a"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    (tmp_path / "a").rename(tmp_path / ".a.old")  # as a kill would leave it
    with pytest.raises(UserError, match="No space"), folder_written_whole(tmp_path / "a"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="Not a directory"),
        folder_written_whole(tmp_path / "file" / "a"),
    ):
        pass


# --- threads ----------------------------------------------------------------------------------


def counted(n: int, made: list[int]) -> Generator[int, None, None]:
    try:
        for number in range(n):
            made.append(number)
            yield number
    finally:
        made.append(-1)


def test_ahead_keeps_the_order_and_runs_only_so_far_ahead() -> None:
    made: list[int] = []
    items = ahead(counted(50, made), depth=3)
    assert next(items) == 0
    time.sleep(0.05)
    assert len(made) <= 5
    assert list(items) == list(range(1, 50))
    assert made[-1] == -1


def test_ahead_stops_its_thread_when_the_caller_stops() -> None:
    made: list[int] = []
    before = threading.active_count()
    items = ahead(ahead(counted(1000, made)))
    assert [next(items), next(items)] == [0, 1]
    items.close()
    assert made[-1] == -1
    assert len(made) < 15
    assert threading.active_count() == before


def test_an_error_in_a_thread_arrives_after_what_came_before_it() -> None:
    def fails() -> Generator[int, None, None]:
        yield 1
        raise UserError("a", "b", "c")

    items = ahead(ahead(fails()))
    assert next(items) == 1
    with pytest.raises(UserError, match="Expected a, got b"):
        next(items)


def frames(count: int) -> Iterator[Frame]:
    for n in range(count):
        yield Frame(n, None, np.full((6, 8), n, np.uint8))


@pytest.mark.parametrize(("count", "batch"), [(0, 4), (1, 4), (8, 4), (9, 4), (5, 1)])
def test_every_frame_is_seen_once_in_order_whatever_the_batch(count: int, batch: int) -> None:
    sizes = []

    def engine(images_BCHW: Array) -> Array:
        sizes.append(len(images_BCHW))
        return 255 * images_BCHW[:, 0] - 4

    seen = list(see(engine, frames(count), None, batch))
    assert [frame.index for frame, _ in seen] == list(range(count))
    for frame, found in seen:
        assert found.shape == (6, 8)
        assert found[0, 0] == pytest.approx(1 / (1 + np.exp(4.0 - frame.index)), abs=1e-6)
    assert all(size <= batch for size in sizes)
    assert sum(sizes) == count


def test_denormals_are_flushed_in_the_thread_of_the_network() -> None:
    tiny: list[float] = []

    def engine(images_BCHW: Array) -> Array:
        tiny.append(float(torch.tensor(1e-39) * 0.5))
        return images_BCHW[:, 0]

    assert len(list(see(engine, frames(3), None, 2))) == 3
    assert tiny == [0.0, 0.0]


def test_decoding_the_network_and_the_caller_run_at_the_same_time() -> None:
    pause = 0.02

    def slow_frames() -> Iterator[Frame]:
        for frame in frames(12):
            time.sleep(pause)
            yield frame

    def slow_engine(images_BCHW: Array) -> Array:
        time.sleep(pause)
        return images_BCHW[:, 0]

    started = time.perf_counter()
    for _ in see(slow_engine, slow_frames(), None, 1):
        time.sleep(pause)
    assert time.perf_counter() - started < 0.75 * 3 * 12 * pause
