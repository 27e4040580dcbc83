"""Masks beside their frames: as many as there are frames, or one for all; else a reason."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from ehtseg.jobs.analyse import analyse
from ehtseg.reading.mask_stream import open_masks, paired
from ehtseg.reading.video import open_video
from ehtseg.records import UserError
from heartbeats import beating, phases, write_recording
from recordings import number_of, numbered, write_video
from test_analyse import QUIET


def recording(folder: Path, frames: int, masks: int) -> tuple[Path, Path]:
    """A film of numbered frames and a stack of masks, mask n with n + 1 rows of tissue."""
    tall = np.arange(48)[None, :, None] <= np.arange(masks)[:, None, None]
    shape = np.broadcast_to(tall, (masks, 48, 64))
    film = write_recording(folder, "film", np.stack(numbered(frames)), shape)
    return film, folder / "masks" / "film.tif"


def test_each_frame_comes_with_its_own_mask(tmp_path: Path) -> None:
    film, masks = recording(tmp_path, 9, 9)
    pairs = list(paired(open_video(film), open_masks(masks)))
    assert [number_of(frame.image) for frame, _ in pairs] == list(range(9))
    assert [int(mask.any(1).sum()) for _, mask in pairs] == list(range(1, 10))


def test_one_mask_stands_for_every_frame(tmp_path: Path) -> None:
    film, masks = recording(tmp_path, 9, 1)
    assert len(list(paired(open_video(film), open_masks(masks)))) == 9


@pytest.mark.parametrize("masks", [2, 8, 10, 40])
def test_another_number_of_masks_is_refused_before_the_first_frame(
    tmp_path: Path, masks: int
) -> None:
    film, place = recording(tmp_path, 9, masks)
    with pytest.raises(UserError, match=rf"9 frames.*{masks} masks.*one mask alone"):
        paired(open_video(film), open_masks(place))


def folders(folder: Path, frames: range, masks: range, name: str = "f_{}.png") -> tuple[Path, Path]:
    """Numbered frames f_0.png, f_1.png ... and masks whose numbers stand in their tissue."""
    images, painted = folder / "film", folder / "painted"
    images.mkdir(parents=True)
    painted.mkdir()
    for n, image in zip(frames, numbered(len(frames)), strict=True):
        Image.fromarray(image).save(images / f"f_{n}.png")
    for n in masks:
        tall = np.arange(48)[:, None] <= np.full(64, n)
        Image.fromarray((255 * tall).astype(np.uint8)).save(painted / name.format(n))
    return images, painted


@pytest.mark.parametrize("masks", [range(1, 13), range(3, 15)])
def test_masks_of_shifted_names_are_not_paired_by_order(tmp_path: Path, masks: range) -> None:
    film, place = folders(tmp_path, range(12), masks)
    with pytest.raises(UserError, match=r"of the same names, but no mask of f_0.*frame of f_12"):
        paired(open_video(film), open_masks(place))


@pytest.mark.parametrize("name", ["f_{}.png", "mask-{:03d}.tif"])
def test_the_same_names_or_others_throughout_are_paired(tmp_path: Path, name: str) -> None:
    film, place = folders(tmp_path, range(12), range(12), name)
    pairs = list(paired(open_video(film), open_masks(place)))
    assert [int(mask.any(1).sum()) for _, mask in pairs] == list(range(1, 13))


def test_what_an_index_promises_does_not_count(tmp_path: Path) -> None:
    film, masks = recording(tmp_path, 9, 7)
    video = open_video(film)
    video.n_frames = 7  # the index is wrong: nine frames come
    with pytest.raises(UserError, match=r"7 masks"):
        list(paired(video, open_masks(masks)))
    surplus = replace(open_masks(masks), n_masks=9)  # and here that of the masks
    with pytest.raises(UserError, match=r"9 frames.*7 masks"):
        list(paired(open_video(film), surplus))
    video = open_video(recording(tmp_path / "more", 9, 12)[0])
    more = replace(open_masks(tmp_path / "more" / "masks" / "film.tif"), n_masks=9)
    with pytest.raises(UserError, match="9 frames"):
        list(paired(video, more))


def test_a_wrong_index_of_the_film_is_no_reason_to_refuse(tmp_path: Path) -> None:
    film, masks = recording(tmp_path, 9, 9)
    video = open_video(film)
    video.n_frames = 11
    assert len(list(paired(video, open_masks(masks)))) == 9


def test_a_video_of_masks_counts_as_masks(tmp_path: Path) -> None:
    film, _ = recording(tmp_path, 5, 5)
    hard = [np.full((48, 64), 255 * (k % 2), np.uint8) for k in range(5)]
    masks = write_video(tmp_path / "masks.avi", hard)
    found = [bool(mask.all()) for _, mask in paired(open_video(film), open_masks(masks))]
    assert found == [False, True, False, True, False]


@pytest.mark.parametrize("tissue", [1, 255])
@pytest.mark.parametrize("name", ["masks.mkv", "masks.avi"])
def test_a_video_of_masks_is_read_frame_by_frame(tmp_path: Path, name: str, tissue: int) -> None:
    drawn = [np.zeros((48, 64), np.uint8) for _ in range(4)]
    for k, mask in enumerate(drawn):
        mask[10:30, 5 : 20 + 5 * k] = tissue
    masks = open_masks(write_video(tmp_path / name, drawn))
    for mask, wanted in zip(masks.masks(), drawn, strict=True):
        np.testing.assert_array_equal(mask, wanted > 0)


def test_a_stack_of_unclear_masks_is_refused_without_a_command_that_would_ruin_it(
    tmp_path: Path,
) -> None:
    grey = np.stack([np.zeros((48, 64), np.uint8), *numbered(3)[1:]])
    tifffile.imwrite(tmp_path / "grey.tif", grey, photometric="minisblack")
    with pytest.raises(UserError, match=r"two values.*grey\.tif, mask 1 from 0") as refused:
        list(open_masks(tmp_path / "grey.tif").masks())
    assert "python -c" not in str(refused.value)


def test_recordings_of_one_name_never_share_their_masks(tmp_path: Path) -> None:
    frames, masks = beating(phases(30))
    sources = [write_recording(tmp_path / day, "film", frames, masks) for day in ("mon", "tue")]
    place = tmp_path / "masks"
    place.mkdir()
    shutil.copy(tmp_path / "mon" / "masks" / "film.tif", place / "film.tif")
    results = analyse(sources, tmp_path / "out", masks=place, recipe=QUIET)
    assert [one.status for one in results] == ["failed", "failed"]
    assert "mon_film" in results[0].reason
    for day in ("mon", "tue"):  # as `segment` calls their folders
        (place / f"{day}_film").mkdir()
        shutil.copy(place / "film.tif", place / f"{day}_film" / "masks.tif")
    results = analyse(sources, tmp_path / "out", masks=place, recipe=QUIET)
    assert [one.status for one in results] == ["done", "done"]
