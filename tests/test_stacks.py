"""TIFF stacks, OME-TIFF and folders of images as recordings."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

import ehtseg.reading.finding as finding_room
from conftest import shared
from ehtseg.jobs.segment import find_sources
from ehtseg.reading.dataset import survey
from ehtseg.reading.finding import find_videos
from ehtseg.reading.mask_stream import open_masks
from ehtseg.reading.pixels import read_pixels
from ehtseg.reading.stamps import stamp_of
from ehtseg.reading.video import Video, open_video
from ehtseg.records import UserError
from recordings import cut_off, number_of, numbered, write_micromanager, write_ndtiff

STACK = np.stack(numbered(12))
DEEP = STACK.astype(np.uint16) * 200 + 1000


def numbers(video: Video) -> list[int]:
    return [number_of(frame.image) for frame in video.frames()]


def write_pages(path: Path, stack: np.ndarray) -> None:
    """One page a frame, each written for itself, as a loop in a script does."""
    with tifffile.TiffWriter(path) as file:
        for frame in stack:
            file.write(frame)


def write_folder(folder: Path, frames: list[np.ndarray], suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"f{index}{suffix}")
    return folder


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"metadata": None},
        {"compression": "zlib"},
        {"bigtiff": True, "byteorder": ">"},
        {"truncate": True},  # one page directory for all frames, as ImageJ above 4 GB
        {"truncate": True, "byteorder": ">"},
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"ome": True, "metadata": {"axes": "TYX"}},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "stack", [STACK, DEEP, DEEP.astype(np.float32)], ids=lambda s: s.dtype.name
)
def test_every_kind_of_stack_gives_all_frames(
    tmp_path: Path, stack: np.ndarray, options: dict[str, Any]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stack, **options)
    video = open_video(tmp_path / "a.tif")
    images = np.stack([frame.image for frame in video.frames()])
    truth = stack.astype(float)
    if stack.dtype != np.uint8:
        low, high = np.percentile(stack, [0.5, 99.5])
        truth = np.rint(np.clip((truth - low) / (high - low), 0, 1) * 255)
        assert (video.scaling.low, video.scaling.high) == (low, high)
    np.testing.assert_array_equal(images, truth)
    assert (video.n_frames, video.height, video.width) == STACK.shape
    assert (video.fps, video.um_per_px, video.notes) == (None, None, ())
    assert next(video.frames()).time_s is None


def test_pages_written_one_by_one_are_one_recording(tmp_path: Path) -> None:
    write_pages(tmp_path / "a.tif", STACK)
    assert numbers(open_video(tmp_path / "a.tif")) == list(range(12))


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_stacks_are_rgb(tmp_path: Path, planar: str) -> None:
    rgb = np.stack([STACK, STACK // 2, STACK // 4], axis=-1)
    stored = np.moveaxis(rgb, -1, 1) if planar == "separate" else rgb
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    images = [frame.image for frame in open_video(tmp_path / "a.tif").frames()]
    np.testing.assert_array_equal(np.stack(images), rgb)


def test_ome_gives_rate_size_and_the_time_of_each_frame(tmp_path: Path) -> None:
    delta_ms = [100.0, 150, 200, 250, 300, 350, 450, 500, 550, 600, 650, 700]
    metadata = {
        "axes": "TYX",
        "PhysicalSizeX": 650.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 0.65,
        "PhysicalSizeYUnit": "µm",
        "TimeIncrement": 50.0,
        "TimeIncrementUnit": "ms",
        "Plane": {"DeltaT": delta_ms, "DeltaTUnit": ["ms"] * 12},
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=metadata)
    video = open_video(tmp_path / "a.ome.tif")
    assert (video.fps, video.um_per_px) == (pytest.approx(20), pytest.approx(0.65))
    times = [frame.time_s for frame in video.frames()]
    assert times == pytest.approx([(t - 100) / 1000 for t in delta_ms])
    assert "1 gap of about 1 frame" in video.notes[0]
    assert len(video.notes) == 1


def test_ome_that_contradicts_itself_is_told(tmp_path: Path) -> None:
    metadata = {
        "axes": "TYX",
        "PhysicalSizeX": 0.65,
        "PhysicalSizeY": 0.7,
        "TimeIncrement": 0.1,
        "Plane": {"DeltaT": [0.05 * i for i in range(12)]},
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=metadata)
    video = open_video(tmp_path / "a.ome.tif")
    told = " ".join(video.notes)
    assert "20 fps by the time stamps of 12 frames, 10 by the OME-XML's TimeIncrement" in told
    assert "0.65 um/px by the OME-XML's PhysicalSizeX, 0.7 by the OME-XML's PhysicalSizeY" in told


@pytest.mark.parametrize("delta_s", [[0.0] * 12, [i // 8 for i in range(12)]])
def test_time_stamps_that_stand_still_are_not_used(tmp_path: Path, delta_s: list[float]) -> None:
    metadata = {"axes": "TYX", "Plane": {"DeltaT": delta_s}}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, STACK, metadata={**metadata, "TimeIncrement": 0.05})
    video = open_video(path)
    assert [frame.time_s for frame in video.frames()] == pytest.approx(np.arange(12) / 20)
    assert (video.fps, len(video.notes)) == (pytest.approx(20), 1)
    assert "DeltaT) repeat the one before: they are not used" in video.notes[0]
    tifffile.imwrite(path, STACK, metadata=metadata)
    assert {frame.time_s for frame in open_video(path).frames()} == {None}, "no rate, no times"


def test_imagej_gives_rate_and_size(tmp_path: Path) -> None:
    metadata = {"axes": "TYX", "unit": "micron", "finterval": 0.05, "fps": 7.0}
    tifffile.imwrite(
        tmp_path / "a.tif", STACK, imagej=True, resolution=(0.25, 0.25), metadata=metadata
    )
    video = open_video(tmp_path / "a.tif")
    assert (video.fps, video.um_per_px) == (pytest.approx(20), pytest.approx(4))
    assert [frame.time_s for frame in video.frames()] == pytest.approx([i / 20 for i in range(12)])
    assert video.notes == ()


def test_imagejs_speed_of_showing_is_used_with_a_warning(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "TYX", "fps": 7.0})
    video = open_video(tmp_path / "a.tif")
    assert video.fps == 7
    assert "may be a speed of showing" in video.notes[0]


@pytest.mark.parametrize(
    ("resolution", "unit", "um_per_px"),
    [(72, "inch", None), (300, "inch", None), (2500, "centimeter", 4.0), (2500, "none", None)],
)
def test_a_resolution_for_printing_is_no_pixel_size(
    tmp_path: Path, resolution: int, unit: str, um_per_px: float | None
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", STACK, resolution=(resolution, resolution), resolutionunit=unit
    )
    video = open_video(tmp_path / "a.tif")
    assert video.um_per_px == (um_per_px and pytest.approx(um_per_px))
    assert bool(video.notes) == (unit == "inch")


def test_two_axes_of_frames_are_refused_and_another_name_is_told(tmp_path: Path) -> None:
    two = np.stack([STACK, STACK], axis=1)
    tifffile.imwrite(tmp_path / "two.tif", two, imagej=True, metadata={"axes": "TCYX"})
    with pytest.raises(UserError, match="2: T = 12, C = 2"):
        open_video(tmp_path / "two.tif")
    tifffile.imwrite(tmp_path / "z.tif", STACK, imagej=True, metadata={"axes": "ZYX"})
    assert "12 frames slices (Z)" in open_video(tmp_path / "z.tif").notes[0]


def test_several_image_series_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        file.write(STACK, metadata={"axes": "TYX"})
        file.write(STACK, metadata={"axes": "TYX"})
    with pytest.raises(UserError, match="2 image series"):
        open_video(tmp_path / "a.ome.tif")


def test_a_stack_whose_size_changes_is_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for _ in range(10):
            file.write(STACK[0], metadata=None)
        file.write(STACK[0, :20], metadata=None)
    frames = open_video(tmp_path / "a.tif").frames()
    with pytest.raises(UserError, match=r"64 x 20 px in frame 10 of .*a\.tif"):
        list(frames)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, 11])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, value: float, where: int) -> None:
    stack = STACK.astype(np.float32)
    stack[where, 3, 4] = value
    tifffile.imwrite(tmp_path / "a.tif", stack)
    with pytest.raises(UserError, match=f"1 pixels that are NaN or infinite in frame {where}"):
        list(open_video(tmp_path / "a.tif").frames())


def test_a_cut_off_stack_is_read_up_to_there_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", DEEP, compression="zlib", metadata=None)
    video = open_video(cut_off(tmp_path / "a.tif", 0.5))
    assert 0 < len(list(video.frames())) < 12
    assert any("damaged or cut off" in note for note in video.notes)
    tifffile.imwrite(tmp_path / "b.tif", STACK, truncate=True)
    video = open_video(cut_off(tmp_path / "b.tif", 0.5))
    assert numbers(video) == [0, 1, 2, 3, 4, 5][: video.n_frames]
    assert any("damaged after" in note for note in video.notes)
    tifffile.imwrite(tmp_path / "c.tif", STACK, imagej=True, metadata={"axes": "TYX"})
    video = open_video(cut_off(tmp_path / "c.tif", 0.5))  # its page directories are at the end
    assert numbers(video) == [0, 1, 2, 3, 4, 5][: video.n_frames]
    assert any("damaged after" in note for note in video.notes)
    assert not caplog.records, "what tifffile complains of is told in notes alone"


def test_a_tiff_without_a_readable_frame_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.tif").write_bytes(b"II*\0\0\0\0\0")
    tifffile.imwrite(tmp_path / "c.tif", STACK.astype(np.complex64))
    for name, said in [("none.tif", "TIFF stack that can be read"), ("c.tif", "complex64")]:
        with pytest.raises(UserError, match="Expected") as refused:
            open_video(tmp_path / name)
        assert said in str(refused.value)


def write_unlike(path: Path, frames: list[np.ndarray], **options: Any) -> Path:
    with tifffile.TiffWriter(path) as file:
        for frame in frames:
            file.write(frame, contiguous=False, photometric="minisblack", **options)
    return path


def test_frames_of_another_depth_or_beside_transparency_are_refused(tmp_path: Path) -> None:
    deeper = write_unlike(tmp_path / "deeper.tif", [*STACK[:3], *DEEP[3:]])
    with pytest.raises(UserError, match=r"one depth \(uint8.*uint16 in frame 3 of .*deeper\.tif"):
        list(open_video(deeper).frames())
    for samples in (2, 5):
        many = [np.repeat(frame[..., None], samples, axis=2) for frame in STACK]
        path = write_unlike(tmp_path / f"{samples}.tif", many, planarconfig="contig")
        with pytest.raises(UserError, match=rf"grey or RGB frames.*\(48, 64, {samples}\)"):
            open_video(path)


BINARY_ONLY = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'
    '<BinaryOnly MetadataFile="x.companion.ome" UUID="urn:uuid:2"/></OME>'
)


@pytest.mark.parametrize("ome", [BINARY_ONLY, '<OME><Image Name="a & b"><Pixels/></Image></OME>'])
def test_ome_that_is_broken_or_elsewhere_leaves_the_frames(tmp_path: Path, ome: str) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, STACK, description=ome, metadata=None, datetime="2026:11:20 09:30:00")
    video = open_video(path)
    assert numbers(video) == list(range(12))
    assert "broken or in another file" in " ".join(video.notes)
    stamp = stamp_of(path)
    assert stamp is not None
    assert stamp.source == "the TIFF's DateTime"


def test_ome_numbers_in_another_spelling_are_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "TYX", "TimeIncrement": 0.04, "PhysicalSizeX": 0.65}
    tifffile.imwrite(path, STACK, ome=True, metadata=metadata)
    path.write_bytes(path.read_bytes().replace(b'="0.65"', b'="0,65"'))
    assert (open_video(path).fps, open_video(path).um_per_px) == (25, None)


@pytest.mark.parametrize("place", [14, 38, 62])  # in the first page's directory
def test_a_directory_that_is_damaged_is_no_bug(tmp_path: Path, place: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[:2], compression="zlib", metadata=None)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[place] = 0
    (tmp_path / "a.tif").write_bytes(data)
    with suppress(UserError):
        list(open_video(tmp_path / "a.tif").frames())
    assert stamp_of(tmp_path / "a.tif") is None


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg"])
def test_a_folder_is_read_in_natural_order(tmp_path: Path, suffix: str) -> None:
    folder = write_folder(tmp_path / "rec", numbered(12), suffix)
    (folder / "notes.txt").write_text("x")
    (folder / "._f0.png").write_text("left by macOS")
    video = open_video(folder)
    assert numbers(video) == list(range(12))
    assert (video.fps, video.um_per_px, video.n_frames) == (None, None, 12)
    assert [frame.time_s for frame in open_video(folder, fps=4).frames()][:3] == [0, 0.25, 0.5]


def test_deep_and_coloured_images_of_a_folder(tmp_path: Path) -> None:
    deep = write_folder(tmp_path / "deep", [frame.astype(np.uint16) * 200 for frame in STACK])
    assert open_video(deep).scaling.high == pytest.approx(np.percentile(STACK, 99.5) * 200)
    rgb = np.stack([STACK[3], STACK[3] // 2, STACK[3]], axis=-1)
    video = open_video(write_folder(tmp_path / "rgb", [STACK[0], rgb]))
    first, second = (frame.image for frame in video.frames())
    np.testing.assert_array_equal(first, np.repeat(STACK[0][..., None], 3, axis=2))
    np.testing.assert_array_equal(second, rgb)


@pytest.mark.parametrize("space", ["separated", "cielab"])
def test_colours_that_are_not_rgb_are_refused(tmp_path: Path, space: str) -> None:
    """Of CMYK cyan, magenta and yellow were read as red, green and blue: the picture inverted."""
    for name, frames in (("stack", 5), ("frames/0", 1)):
        path = tmp_path / f"{name}.tif"
        path.parent.mkdir(exist_ok=True)
        samples = 4 if space == "separated" else 3
        values = np.full((frames, 40, 50, samples), 90, np.uint8)
        tifffile.imwrite(path, values, photometric=space, planarconfig="contig")
        with pytest.raises(UserError, match=r"RGB.*(CMYK|CIELAB) colours in .*RGB or grey"):
            open_video(path if frames > 1 else path.parent)


def named(folder: Path, names: list[str]) -> list[int]:
    """The order in which frames of these names are read, by their place in the list."""
    for k, name in enumerate(names):
        Image.fromarray(np.full((40, 50), k, np.uint8)).save(folder / f"{name}.png")
    return [int(frame.image[0, 0]) for frame in open_video(folder).frames()]


@pytest.mark.parametrize(
    "names",
    [[f"t_{k / s:g}s" for k in range(20)] for s in (4, 10)]
    + [["0.05", "0.3", "0.45", "0.9", "1", "1.15", "1.2"]],
)
def test_decimals_of_several_lengths_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(UserError, match=r"names tell their order.*digits after the point"):
        named(tmp_path, names)


@pytest.mark.parametrize(
    "names",
    [
        [f"t_{k / 4:.2f}s" for k in range(20)],
        [f"t_{k / 10:.1f}s" for k in range(30)],
        [f"film1.{k}" for k in range(1, 31)],
        [f"pos{p}.{k}" for p in (1, 2) for k in range(1, 13)],
        [f"2026.11.{k}" for k in (1, 9, 10, 25)],
        [f"a{k}" for k in (1, 2, 11)],
    ],
)
def test_names_of_a_clear_order_are_read_in_it(tmp_path: Path, names: list[str]) -> None:
    assert named(tmp_path, names) == list(range(len(names)))


def test_a_folder_of_unlike_images_is_refused_by_file_name(tmp_path: Path) -> None:
    mixed = write_folder(tmp_path / "size", [*numbered(10), STACK[0, :20]])
    with pytest.raises(UserError, match=r"64 x 20 px in .*f10\.png"):
        list(open_video(mixed).frames())
    mixed = write_folder(tmp_path / "depth", [*numbered(10), STACK[0].astype(np.uint16)])
    with pytest.raises(UserError, match=r"uint16 in .*f10\.png"):
        list(open_video(mixed).frames())
    damaged = write_folder(tmp_path / "cut", numbered(3))
    (damaged / "f1.png").write_bytes((damaged / "f1.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"f1\.png"):
        list(open_video(damaged).frames())


def test_images_of_which_nobody_knows_what_is_meant_are_refused(tmp_path: Path) -> None:
    twice = write_folder(write_folder(tmp_path / "twice", numbered(3)), numbered(3), ".jpg")
    with pytest.raises(UserError, match=r"one image of each name.*f0\.jpg, f0\.png"):
        open_video(twice)
    write_folder(tmp_path / "both" / "images", numbered(3))
    (tmp_path / "both" / "images" / "f0.png").rename(tmp_path / "both" / "preview.png")
    with pytest.raises(UserError, match="images in both, 1 and 2"):
        open_video(tmp_path / "both")


def test_a_link_that_leads_nowhere_is_a_frame_that_is_missing(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "linked", numbered(3))
    (folder / "f1.png").unlink()
    (folder / "f1.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"no such file: .*f1\.png"):
        list(open_video(folder).frames())


def test_what_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("images", "masks"):
        write_folder(tmp_path / name, numbered(3))

    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", denied)
    for reads in (find_videos, survey):
        with pytest.raises(UserError, match=r"allowed to read .*“Permission denied”"):
            reads([tmp_path])
    with pytest.raises(UserError, match="allowed to read"):
        open_masks(tmp_path)
    monkeypatch.setattr(Image, "open", denied)
    with pytest.raises(UserError, match=r"one that may not be read: .*f0\.png"):
        read_pixels(tmp_path / "images" / "f0.png")


def test_numbers_that_names_leave_out_are_told(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "gaps", numbered(12))
    assert open_video(folder).notes == ()
    for number in (4, 5):
        (folder / f"f{number}.png").unlink()
    assert "leave out 2 (the first after f3.png)" in open_video(folder).notes[0]
    for number in (1, 3, 7, 9, 11):  # a choice of frames is no loss
        (folder / f"f{number}.png").unlink()
    assert open_video(folder).notes == ()


def test_several_recordings_in_one_folder_are_told(tmp_path: Path) -> None:
    for well in ("A1", "B1"):
        for path in write_folder(tmp_path / "plate", numbered(4)).glob("f*.png"):
            path.rename(path.with_name(f"{well}_{path.name[1:]}"))
    assert "begin again (first at B1_0.png)" in open_video(tmp_path / "plate").notes[0]


@pytest.mark.parametrize("kind", ["palette", "miniswhite"])
def test_a_colour_table_that_is_not_applied_is_told_of_images_too(
    tmp_path: Path, kind: str
) -> None:
    table = np.arange(768).reshape(3, 256).astype(np.uint16) if kind == "palette" else None
    for index, frame in enumerate(numbered(3)):
        tifffile.imwrite(tmp_path / f"f{index}.tif", frame, photometric=kind, colormap=table)
    assert f"colour table ({kind.upper()}) is not applied" in open_video(tmp_path).notes[0]


def test_digits_that_are_no_decimals_are_letters(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "5²1", numbered(12))
    assert numbers(open_video(folder)) == list(range(12))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_images_out_of_a_stack_that_still_promise_it_are_images(
    tmp_path: Path, compression: str | None
) -> None:
    """As tiffsplit leaves them."""
    promise = "ImageJ=1.54f\nimages=12\nframes=12\n"
    for index, frame in enumerate(STACK):
        tifffile.imwrite(
            tmp_path / f"f{index}.tif",
            frame,
            description=promise,
            metadata=None,
            compression=compression,
        )
    assert find_videos([tmp_path]) == [tmp_path]
    assert numbers(open_video(tmp_path)) == list(range(12))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="none"):
        open_video(tmp_path)


def test_meta_json_gives_rate_size_and_times(tmp_path: Path) -> None:
    write_folder(tmp_path / "images", numbered(3))
    rows = [{"file": f"f{i}.png", "movie": "m", "frame": 10 * i} for i in range(3)]
    meta = {"fps": 20, "um_per_px": 0.5, "frames": rows}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    for folder in (tmp_path, tmp_path / "images"):
        video = open_video(folder)
        assert (video.fps, video.um_per_px, video.fps_source) == (20, 0.5, "the file meta.json")
        assert [frame.time_s for frame in video.frames()] == [0, 0.5, 1.0]
        assert "not all frames of the recording in order (numbers 0 to 20)" in video.notes[0]
    video = open_video(tmp_path, um_per_px=2)
    assert any("2 um/px by the user, 0.5 by the file meta.json" in note for note in video.notes)


@pytest.mark.parametrize("name", ["images/f{}.png", "f{}.jpg", "f{}"])
def test_meta_json_names_files_by_their_stem(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path / "images", numbered(3))
    rows = [{"file": name.format(k), "time_s": 0.5 * k} for k in range(3)]
    (tmp_path / "meta.json").write_text(json.dumps({"frames": rows}))
    assert open_video(tmp_path).fps == 2


def test_meta_json_is_found_from_inside_and_with_a_byte_order_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "images", numbered(3))
    (tmp_path / "meta.json").write_text('{"fps": 20}', encoding="utf-8-sig")
    monkeypatch.chdir(tmp_path / "images")
    assert open_video(".").fps == 20


def test_meta_json_of_several_recordings_gives_no_common_time(tmp_path: Path) -> None:
    write_folder(tmp_path, numbered(3))
    rows = [{"file": f"f{i}.png", "movie": f"m{i}", "time_s": 1.0} for i in range(3)]
    (tmp_path / "meta.json").write_text(json.dumps({"fps": None, "frames": rows}))
    video = open_video(tmp_path)
    assert next(video.frames()).time_s is None
    assert "names 3 recordings" in video.notes[0]


@pytest.mark.parametrize("text", ['{"fps": "30 Hz"}', '{"fps": -1}', "[1]", "{", '{"frames": 3}'])
def test_a_broken_meta_json_is_refused(tmp_path: Path, text: str) -> None:
    write_folder(tmp_path, numbered(2))
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(UserError, match=r"meta\.json"):
        open_video(tmp_path)


def test_a_folder_of_stacks_is_its_stacks_and_one_of_single_tiffs_is_one(tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    for name in ("b.tif", "a.tif"):
        tifffile.imwrite(tmp_path / "stacks" / name, STACK)
    assert [path.name for path in find_videos([tmp_path / "stacks"])] == ["a.tif", "b.tif"]
    single = write_folder(tmp_path / "single", numbered(3), ".tif")
    assert find_videos([single]) == [single]


def test_a_folder_of_stacks_stays_one_whichever_of_them_is_broken(tmp_path: Path) -> None:
    for name in ("b.tif", "c.tif"):
        tifffile.imwrite(tmp_path / name, STACK)
    (tmp_path / "a.tif").touch()
    assert [path.name for path in find_videos([tmp_path])] == ["a.tif", "b.tif", "c.tif"]


def test_of_a_folder_of_images_two_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(9):
        tifffile.imwrite(tmp_path / f"frame_{index}.tif", np.zeros((8, 8), np.uint8))
    opened: list[str] = []
    count = finding_room.count_frames
    monkeypatch.setattr(
        finding_room, "count_frames", lambda path: opened.append(path.name) or count(path)
    )
    assert find_videos([tmp_path]) == [tmp_path]
    assert opened == ["frame_0.tif", "frame_8.tif"]


def test_a_single_image_beside_stacks_is_asked_about(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a_snapshot.tif", STACK[0])
    tifffile.imwrite(tmp_path / "b.tif", STACK)
    with pytest.raises(UserError, match="either videos or the images"):
        find_videos([tmp_path])


def write_spread_ome(folder: Path, frames: list[np.ndarray], a_file: int) -> list[Path]:
    """One OME-TIFF in several files with `a_file` frames each, as microscopes write large ones."""
    height, width = frames[0].shape
    planes = "".join(
        f'<TiffData FirstT="{k}" IFD="{k % a_file}" PlaneCount="1">'
        f'<UUID FileName="part_{k // a_file}.ome.tif">urn:uuid:{k // a_file}</UUID></TiffData>'
        for k in range(len(frames))
    )
    files = [folder / f"part_{number}.ome.tif" for number in range(len(frames) // a_file)]
    for number, path in enumerate(files):
        ome = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{number}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            f'DimensionOrder="XYZCT" Type="uint8" SizeX="{width}" SizeY="{height}" SizeZ="1" '
            f'SizeC="1" SizeT="{len(frames)}"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
            f"{planes}</Pixels></Image></OME>"
        )
        with tifffile.TiffWriter(path) as file:
            for frame in frames[number * a_file : (number + 1) * a_file]:
                file.write(frame, contiguous=False, metadata=None, description=ome)
                ome = ""  # it stands in the first directory
    return files


@pytest.mark.parametrize("a_file", [1, 4])
def test_an_ome_tiff_in_several_files_is_one_recording(tmp_path: Path, a_file: int) -> None:
    files = write_spread_ome(tmp_path, numbered(8), a_file)
    assert find_videos([tmp_path]) == files[:1]
    assert find_videos(files[::-1]) == files[-1:]
    assert find_sources([str(file) for file in files]) == (files[:1], [])
    for file in files:  # each of them leads to all frames
        assert numbers(open_video(file)) == list(range(8))


def test_each_position_of_micro_manager_is_one_recording_in_however_many_files(
    tmp_path: Path,
) -> None:
    """It begins a new file at 4 GB, and every file knows of all positions."""
    files = [
        write_micromanager(tmp_path / f"plate_MMStack_Pos{k}{part}.ome.tif", there, first, 9, k, 2)
        for k, frames in enumerate([numbered(9), numbered(9)[::-1]])
        for part, first, there in [("", 0, frames[:5]), ("_1", 5, frames[5:])]
    ]
    assert find_videos([tmp_path]) == files[::2]
    for file, forwards in zip(files, [True, True, False, False], strict=True):
        assert numbers(open_video(file)) == sorted(range(9), reverse=not forwards)
    files[1].unlink()
    video = open_video(files[0])
    assert numbers(video) == list(range(5))
    assert "frame 5 is in another file, which is missing" in " ".join(video.notes)


def test_an_ndtiff_of_micro_manager_in_several_files_is_one_recording(tmp_path: Path) -> None:
    frames = numbered(9)
    first = write_ndtiff(tmp_path / "a_NDTiffStack.tif", frames[:5], 0)
    second = write_ndtiff(tmp_path / "a_NDTiffStack_1.tif", frames[5:], 5)
    assert find_videos([tmp_path]) == [first]
    for file in (first, second):
        assert numbers(open_video(file)) == list(range(9))


@pytest.mark.parametrize("name", ["eht_mbpt", "eht_ohw", "synth_fea", "demo_d1t3_256"])
def test_real_recordings_open_with_the_facts_of_their_meta_json(name: str) -> None:
    folder = shared(f"data/{name}")
    meta = json.loads((folder / "meta.json").read_text())
    video = open_video(folder)
    assert (video.fps, video.um_per_px) == (meta["fps"], meta["um_per_px"])
    assert video.n_frames == len(meta["frames"])
    assert video.is_grey
