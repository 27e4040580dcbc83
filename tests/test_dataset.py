"""Folders of labelled frames: joined, matched, scaled, refused with every fault named."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from conftest import shared, write_labelled
from ehtseg.jobs.check import check
from ehtseg.reading.dataset import open_dataset, survey
from ehtseg.reading.finding import find_videos
from ehtseg.reading.layouts import by_image, way_in
from ehtseg.records import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five frames of recording a and three of b, with meta.json."""
    return write_labelled(tmp_path / "data", {"a": 5, "b": 3}, size=32)


def save(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(path)


def rewrite_meta(folder: Path, **changes: Any) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | changes))


def fault(folder: Path, **options: Any) -> str:
    """The one paragraph of the only fault."""
    with pytest.raises(UserError) as caught:
        open_dataset([folder], **options)
    assert "\n" not in str(caught.value)
    assert [str(problem) for problem in check([folder], **options).problems] == [str(caught.value)]
    return str(caught.value)


def test_a_folder_is_read_as_its_meta_says(folder: Path) -> None:
    dataset = open_dataset([folder])
    assert {name: len(found) for name, found in dataset.recordings.items()} == {"a": 5, "b": 3}
    assert [frame.frame for frame in dataset.frames] == [0, 1, 2, 3, 4, 0, 1, 2]
    assert dataset.frames[3].time_s == pytest.approx(0.1)
    assert dataset.fps == {"a": 30, "b": 30}
    image, mask = dataset.read(6)
    np.testing.assert_array_equal(image, np.asarray(Image.open(folder / "images/b_0001.png")))
    np.testing.assert_array_equal(mask, np.asarray(Image.open(folder / "masks/b_0001.png")) > 0)
    assert (image.dtype, mask.dtype) == (np.uint8, bool)


def test_masks_are_matched_by_stem_whatever_their_suffix(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        tifffile.imwrite(path.with_suffix(".tif"), np.asarray(Image.open(path)))
        path.unlink()
    (folder / "masks" / ".DS_Store").write_bytes(b"rubbish")
    assert {frame.mask.suffix for frame in open_dataset([folder]).frames} == {".tif"}


@pytest.mark.parametrize("ending", ["_mask", "_cp_masks", "-1", " Kopie"])
@pytest.mark.parametrize("of", ["masks", "images"])
def test_one_ending_of_all_names_is_read_and_said(of: str, ending: str, tmp_path: Path) -> None:
    folder = write_labelled(tmp_path / "x", {"a": 3})
    (folder / "meta.json").unlink()
    plain = open_dataset([folder])
    for path in sorted((folder / of).iterdir()):
        path.rename(path.with_name(f"{path.stem}{ending}{path.suffix}"))
    named = open_dataset([folder])
    pairs = [(frame.image_sha256, frame.mask_sha256) for frame in named.frames]
    assert pairs == [(frame.image_sha256, frame.mask_sha256) for frame in plain.frames]
    said = [note for note in named.notes if "one ending" in note]
    assert len(said) == 1
    assert f"is the mask of {named.frames[0].image.name}" in said[0]
    assert not any("one ending" in note for note in plain.notes)


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (("1", "2"), ("10", "20")),  # other numbers, no ending
        (("a", "b"), ("a_mask", "b_masks")),
        (("a", "b"), ("a_mask", "c_mask")),
        (("img1", "img2"), ("mask1", "mask2")),  # may be of another recording
        (("a", "b", "c"), ("a_mask", "b_mask")),
        (("a", "a_mask"), ("a_mask", "a_mask_mask_mask")),
    ],
)
def test_names_that_fit_in_part_are_not_paired(
    images: tuple[str, ...], masks: tuple[str, ...]
) -> None:
    there = dict.fromkeys(masks, Path())
    assert by_image(images, there) == there


LAYOUTS = {  # of images and masks, as other programs lay them out
    "nnU-Net": ("imagesTr/{}_0000.png", "labelsTr/{}.png"),
    "BiaPy": ("raw/{}.png", "label/{}.png"),
    "Cellpose": ("{}.png", "{}_cp_masks.png"),
    "a course": ("img/{}.png", "GT/{}.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_another_program_is_answered_with_commands_that_work(
    layout: str, tmp_path: Path
) -> None:
    ours = write_labelled(tmp_path / "ours", {"a": 3})
    (ours / "meta.json").unlink()
    theirs = tmp_path / "their data"
    for kind, form in zip(("images", "masks"), LAYOUTS[layout], strict=True):
        for path in (ours / kind).iterdir():
            place = theirs / form.format(path.stem)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    with pytest.raises(UserError) as error:
        open_dataset([theirs])
    _, _, command = str(error.value).partition("If this is what they are:  ")
    before = {path.relative_to(theirs): path.read_bytes() for path in theirs.rglob("*.png")}
    subprocess.run(command, shell=True, check=True)  # as its user would paste it
    assert all((theirs / name).read_bytes() == content for name, content in before.items())
    read = open_dataset([theirs]).frames
    assert [frame.image_sha256 for frame in read] == [
        frame.image_sha256 for frame in open_dataset([ours]).frames
    ]


def test_where_folders_may_mean_anything_no_command_is_proposed(tmp_path: Path) -> None:
    for name in ("day 1", "day 2", "masks_old", "labels"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").touch()
    assert way_in(tmp_path) == ""


def test_without_meta_one_recording_is_assumed_and_said(folder: Path) -> None:
    (folder / "meta.json").unlink()
    for old, new in (("b_0001.png", "b_9.png"), ("b_0002.png", "b_10.png")):
        (folder / "images" / old).rename(folder / "images" / new)
        (folder / "masks" / old).rename(folder / "masks" / new)
    dataset = open_dataset([folder])
    assert set(dataset.recordings) == {"data"}
    assert [frame.frame for frame in dataset.frames] == list(range(8))
    assert dataset.frames[-1].image.name == "b_10.png", "natural order"
    assert dataset.frames[0].time_s is None
    assert any("assumed" in note and "--recording" in note for note in dataset.notes)
    named = open_dataset([folder], recording="film 7")
    assert set(named.recordings) == {"film 7"}
    assert not any("assumed" in note for note in named.notes)


def test_two_folders_without_meta_are_two_recordings(tmp_path: Path) -> None:
    folders = [write_labelled(tmp_path / day / "data", {"x": 3}, 32) for day in ("mon", "tue")]
    for each in folders:
        (each / "meta.json").unlink()
    assert list(open_dataset(folders).recordings) == [str(each) for each in folders]
    with pytest.raises(UserError, match="for the recording x, got 2:"):
        open_dataset(folders, recording="x")
    assert len(open_dataset([folders[0], folders[0]])) == 3, "the same folder counts once"


def test_the_same_name_in_two_folders_is_one_recording_and_said(tmp_path: Path) -> None:
    folders = [write_labelled(tmp_path / name, {"a": 3}, 32) for name in ("one", "two")]
    dataset = open_dataset(folders)
    assert dataset.recordings == {"a": (0, 1, 2, 3, 4, 5)}
    assert any("in 2 folders" in note for note in dataset.notes)
    assert any("more than once" in note for note in dataset.notes)
    rewrite_meta(folders[1], fps=25)
    with pytest.raises(UserError, match="25 and 30 frames per second"):
        open_dataset(folders)


def test_independent_images_are_recordings_of_their_own(folder: Path) -> None:
    names = sorted(path.name for path in (folder / "images").iterdir())
    rewrite_meta(folder, frames=[{"file": name, "source_id": i} for i, name in enumerate(names)])
    dataset = open_dataset([folder])
    assert len(dataset.recordings) == 8
    assert any("independent recording" in note for note in dataset.notes)
    rewrite_meta(folder, frames=[], independent=True)
    assert open_dataset([folder]).recordings == dataset.recordings


def test_independent_images_of_two_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [write_labelled(tmp_path / day / "still", {"x": 2}, 32) for day in ("mon", "tue")]
    for each in folders:
        rewrite_meta(each, frames=[], independent=True)
    dataset = open_dataset(folders)
    assert list(dataset.recordings) == [f"{each}/x_000{i}" for each in folders for i in range(2)]
    assert not any("one recording" in note or "more than once" in note for note in dataset.notes)
    assert list(open_dataset(folders[:1]).recordings) == ["still/x_0000", "still/x_0001"]


def test_the_hash_follows_contents_names_and_numbers(folder: Path, tmp_path: Path) -> None:
    before = open_dataset([folder])
    expected = "".join(
        f"{f.recording}\t{f.frame}\t{hashlib.sha256(f.image.read_bytes()).hexdigest()}\t"
        f"{hashlib.sha256(f.mask.read_bytes()).hexdigest()}\n"
        for f in before.frames
    )
    assert before.sha256 == hashlib.sha256(expected.encode()).hexdigest()
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert open_dataset([tmp_path / "elsewhere"]).sha256 == before.sha256
    save(folder / "masks/a_0000.png", np.eye(32, dtype=np.uint8))
    assert open_dataset([folder]).sha256 != before.sha256


def test_deep_images_share_one_scaling_a_recording(folder: Path) -> None:
    rng = np.random.default_rng(1)
    raw = {}
    for path in sorted((folder / "images").glob("a_*.png")):
        raw[path.stem] = rng.integers(500, 4000, (32, 32), dtype=np.uint16)
        tifffile.imwrite(path.with_suffix(".tif"), raw[path.stem])
        path.unlink()
    meta = json.loads((folder / "meta.json").read_text())
    for entry in meta["frames"]:
        entry["file"] = entry["file"].replace("a_", "images/a_").replace(".png", ".tif")
    rewrite_meta(folder, frames=meta["frames"])
    dataset = open_dataset([folder])
    low, high = np.percentile(np.stack(list(raw.values())), [0.5, 99.5])
    scaling = dataset.scalings["a"]
    assert (scaling.low, scaling.high) == pytest.approx((low, high))
    expected = np.rint(np.clip((raw["a_0003"] - low) / (high - low), 0, 1) * 255)
    np.testing.assert_array_equal(dataset.read(3)[0], expected)
    assert dataset.scalings["b"].source == "8-bit as it is"
    assert any("deeper than 8 bits" in note for note in dataset.notes)


def test_colour_images_lose_only_their_alpha(folder: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (32, 32, 4), dtype=np.uint8)
    save(folder / "images/a_0000.png", colours)
    image, _ = open_dataset([folder]).read(0)
    np.testing.assert_array_equal(image, colours[..., :3])


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "palette", "16 bits"])
def test_grey_that_is_stored_as_colours_is_grey(kind: str, folder: Path) -> None:
    expected = [open_dataset([folder]).read(i)[0] for i in range(5)]
    for i, image in enumerate(expected):
        file = folder / f"images/a_{i:04d}.png"
        colours = np.repeat(image[..., None], 4 if kind == "RGBA" else 3, axis=2)
        if kind == "palette":
            Image.fromarray(image).convert("P").save(file)
        elif kind == "16 bits":
            file.write_bytes(imagecodecs.png_encode(colours.astype(np.uint16) * 257))
        else:
            save(file, colours)
    dataset = open_dataset([folder])
    assert dataset.coloured == frozenset()
    assert not any("colour" in note for note in dataset.notes)
    told = any("without colour" in line for line in check([folder]).lines)
    assert told == (kind != "palette")
    for i, image in enumerate(expected):
        found = dataset.read(i)[0]
        assert found.shape == image.shape
        assert kind == "16 bits" or np.array_equal(found, image)


def test_a_recording_is_grey_or_coloured_as_a_whole(folder: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    save(folder / "images/a_0004.png", colours)
    dataset = open_dataset([folder])
    assert dataset.coloured == {"a"}
    first = np.asarray(Image.open(folder / "images/a_0000.png"))
    np.testing.assert_array_equal(dataset.read(0)[0], np.repeat(first[..., None], 3, axis=2))
    np.testing.assert_array_equal(dataset.read(4)[0], colours)
    assert dataset.read(5)[0].ndim == 2
    (note,) = [note for note in dataset.notes if "colour" in note]
    assert note.startswith("1 of 2 recordings have colour (a): made-up scenes")
    assert "7 x uint8, grey" in "".join(check([folder]).lines)


def test_pictures_that_their_exif_turns_are_turned_and_said(folder: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    stored = np.arange(20 * 32, dtype=np.uint16).reshape(20, 32).clip(0, 255).astype(np.uint8)
    painted = np.zeros((32, 20), np.uint8)
    painted[4:9, 3:] = 255
    Image.fromarray(stored).save(folder / "images/a_0000.png", exif=exif)
    save(folder / "masks/a_0000.png", painted)
    dataset = open_dataset([folder])
    image, mask = dataset.read(0)
    np.testing.assert_array_equal(image, np.rot90(stored, -1))
    np.testing.assert_array_equal(mask, painted > 0)
    assert any("turned as their EXIF says" in n and "a_0000.png" in n for n in dataset.notes)
    save(folder / "masks/a_0000.png", painted.T)
    assert "turned by 90 degrees?" in fault(folder)
    assert "paint on the picture that viewers show" in fault(folder)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses such names")
def test_names_in_another_encoding_are_refused(folder: Path) -> None:
    odd = folder / "images" / os.fsdecode(b"M\xfcller.png")
    shutil.copy(next((folder / "images").iterdir()), odd)
    with pytest.raises(UserError, match=r"a name in UTF-8.*ller\.png"):
        open_dataset([folder])
    with pytest.raises(UserError, match=r"a name in UTF-8.*ller\.png"):
        find_videos([folder])


def test_accents_of_a_mac_are_the_same_accents(folder: Path) -> None:
    before = open_dataset([folder])
    for kind, spelling in (("images", "NFD"), ("masks", "NFC")):
        for path in list((folder / kind).iterdir()):
            name = unicodedata.normalize(spelling, f"Müller_{path.name}")  # type: ignore[arg-type]
            path.rename(path.with_name(name))
    (folder / "meta.json").unlink(missing_ok=True)
    assert len(open_dataset([folder])) == len(before)


def test_some_empty_masks_are_counted(folder: Path) -> None:
    save(folder / "masks/a_0001.png", np.zeros((32, 32), np.uint8))
    save(folder / "images/a_0001.png", np.full((32, 32), 9, np.uint8))
    notes = open_dataset([folder]).notes
    assert any("1 of 8 masks are empty: a_0001.png" in note for note in notes)
    assert any("same value everywhere: a_0001.png" in note for note in notes)


def drop(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def empty(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        save(path, np.zeros((32, 32), np.uint8))


def deepen(folder: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (32, 32), dtype=np.uint16)
    save(folder / "images/a_0002.png", values)


def not_a_number(folder: Path) -> None:
    values = np.ones((32, 32), np.float32)
    values[3, 4] = np.nan
    tifffile.imwrite(folder / "images/a_0001.tif", values)
    (folder / "images/a_0001.png").unlink()


def nothing_left(folder: Path) -> None:
    for path in [*(folder / "masks").iterdir(), *(folder / "images").iterdir()]:
        path.unlink()
    (folder / "meta.json").unlink()


FAULTS = {
    "no such folder": (shutil.rmtree, "no such folder"),
    "no images": (lambda d: shutil.rmtree(d / "images"), "got no images"),
    "no masks": (lambda d: shutil.rmtree(d / "masks"), "got no masks"),
    "zero frames": (nothing_left, "zero frames"),
    "image without mask": (
        lambda d: drop(d, "masks/a_0001.png", "masks/b_0000.png"),
        "2 image(s) without mask: a_0001.png, b_0000.png",
    ),
    "mask without image": (
        lambda d: save(d / "masks/c.png", np.zeros((32, 32), np.uint8)),
        "1 mask(s) without image: c.png",
    ),
    "two suffixes": (
        lambda d: shutil.copy(d / "images/a_0001.png", d / "images/a_0001.bmp"),
        "same name with two suffixes: a_0001.png",
    ),
    "other size": (
        lambda d: save(d / "masks/a_0001.png", np.zeros((32, 30), np.uint8)),
        "a_0001.png with 30 x 32 px",
    ),
    "turned": (
        lambda d: (
            save(d / "masks/a_0001.png", np.zeros((32, 30), np.uint8)),
            save(d / "images/a_0001.png", np.zeros((30, 32), np.uint8)),
        ),
        "turned by 90 degrees?",
    ),
    "all masks empty": (empty, "got 8 empty masks"),
    "0, 128 and 255": (
        lambda d: save(
            d / "masks/a_0003.png", np.uint8([[0, 128, 255]]).repeat(32, 0).repeat(11, 1)
        ),
        "masks/a_0003.png",
    ),
    "NaN": (not_a_number, "1 NaN or infinite values"),
    "constant image": (
        lambda d: save(d / "images/a_0001.png", np.full((32, 32), 9, np.uint8)),
        "the same value in every pixel",
    ),
    "damaged image": (lambda d: (d / "images/a_0001.png").write_bytes(b"\x89PNG"), "a_0001.png"),
    "two depths": (deepen, "uint16 and uint8"),
    "broken meta": (lambda d: (d / "meta.json").write_text("{"), "meta.json"),
    "meta is a list": (lambda d: (d / "meta.json").write_text("[]"), "meta.json"),
    "impossible rate": (lambda d: rewrite_meta(d, fps=0), "fps = '0'"),
    "impossible number": (
        lambda d: rewrite_meta(d, frames=[{"file": "a_0000.png", "frame": -1}]),
        "frames.0.frame = '-1'",
    ),
    "meta names a missing file": (
        lambda d: drop(d, "images/a_0004.png", "masks/a_0004.png"),
        "1 named file(s) that are missing: a_0004.png",
    ),
    "meta lacks a file": (
        lambda d: rewrite_meta(d, frames=json.loads((d / "meta.json").read_text())["frames"][:7]),
        "1 image(s) without an entry: b_0002.png",
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_one_paragraph_with_the_names(kind: str, folder: Path) -> None:
    spoil, said = FAULTS[kind]
    spoil(folder)
    alone = kind not in ("image without mask", "mask without image")
    paragraph = fault(folder)
    assert said in paragraph
    assert str(folder) in paragraph or not alone or kind == "two depths"


def test_the_inner_folders_are_proposed(folder: Path) -> None:
    assert f"Give the folders inside it:  {folder}" in fault(folder.parent)
    assert fault(folder / "masks").endswith(f"Give the folder that holds both:  {folder}")


def test_several_faults_are_told_up_to_three(folder: Path) -> None:
    for i in range(5):
        save(folder / f"masks/a_000{i}.png", np.uint8([[1, 2, 3]]).repeat(32, 0))
    (folder / "images/b_0000.png").write_bytes(b"")
    with pytest.raises(UserError, match="and 3 more faults") as caught:
        open_dataset([folder])
    assert f"ehtseg check {folder}" in caught.value.cure
    assert str(caught.value).count("Decide what is tissue") == 1, "a cure is said once"
    report = check([folder])
    assert len(report.problems) == 6
    assert not report.ok
    assert report.lines[0].startswith("2 labelled frames")
    assert len(survey([folder]).dataset) == 2


def test_check_tells_what_is_there(folder: Path) -> None:
    save(folder / "masks/a_0000.png", np.zeros((32, 32), np.uint8))
    save(folder / "masks/a_0001.png", np.ones((32, 32), np.uint8))
    report = check([folder])
    assert report.ok
    text = "\n".join(report.lines)
    for line in (
        "8 labelled frames",
        "a: 5 frames, 0 to 4, 30 frames/s",
        "8 x 32 x 32 px",
        "8 x uint8, grey",
        "6 masks read as: 0 = background, 255 = tissue.",
        "smallest 0.0%",
        "largest 100.0%",
        "empty masks: 1",
        "blocks: 3 for training, 2 for validation, 2 for test, 1 unused",
    ):
        assert line in text, line


@pytest.mark.parametrize(
    ("recordings", "adapts", "needs"),
    [
        ({"a": 5, "b": 3}, False, []),
        ({"film": 21}, False, ["blocks"]),
        ({"film": 20}, True, ["blocks"]),
        ({"film": 2}, True, []),
        ({"film": 1}, True, []),
    ],
)
def test_check_says_what_the_frames_are_good_for(
    recordings: dict[str, int], adapts: bool, needs: list[str], tmp_path: Path
) -> None:
    folder = write_labelled(tmp_path / "a film", recordings, 32)
    report = check([folder])
    assert report.ok
    said = f"ehtseg adapt VIDEO --labels '{folder}' --out runs/mine"
    assert any(line.endswith(said) for line in report.lines) == adapts
    needed = [line.split("--split ")[1] for line in report.lines if "`ehtseg train` needs" in line]
    assert [words.split()[0] for words in needed] == needs
    refused = [line for line in report.lines if "not possible. Expected" in line]
    for how in (line.split(":")[0].strip() for line in refused):
        assert not any(f"--split {how}" in line for line in report.lines), "advice that fails"


def test_a_command_that_is_proposed_can_be_pasted(tmp_path: Path) -> None:
    outer = tmp_path / "day 1"
    folder = write_labelled(outer / "a film", {"film": 3})
    assert f"Give the folders inside it:  '{folder}'" in fault(outer)
    assert fault(folder / "masks").endswith(f"Give the folder that holds both:  '{folder}'")
    for path in (folder / "masks").iterdir():
        save(path, np.uint8([[1, 2, 3]]).repeat(32, 0))
    with pytest.raises(UserError) as caught:
        open_dataset([folder])
    assert caught.value.cure.endswith(f"ehtseg check '{folder}'")


@pytest.mark.parametrize(
    ("name", "frames", "recordings"),
    [
        ("eht_d1t3", 200, {"eht_d1t3": 30.0}),
        ("eht_mbpt", 51, {"eht_mbpt": None}),
        ("eht_ohw", 32, {"eht_ohw": 18.168453228691558}),
        ("eht_fibrotug_stills", 3, dict.fromkeys(["fibrotug_a", "fibrotug_b", "fibrotug_c"])),
        ("demo_d1t3_256", 50, {"eht_d1t3": 30.0}),
    ],
)
def test_the_real_recordings_open(
    name: str, frames: int, recordings: dict[str, float | None]
) -> None:
    dataset = open_dataset([shared(f"data/{name}")])
    assert len(dataset) == frames
    assert set(dataset.recordings) == set(recordings)
    assert dataset.fps == {key: fps for key, fps in recordings.items() if fps}
    stored = dataset.frames[-1]
    assert stored.time_s == (stored.frame / 30 if dataset.fps.get("eht_d1t3") else stored.time_s)


def test_the_nuclei_are_664_independent_images() -> None:
    found = survey([shared("data/dsb2018")])
    assert not found.problems
    assert len(found.dataset) == len(found.dataset.recordings) == 664
    assert found.dataset.fps == {}
    colours = sum(len(look.shape) == 3 for look in found.looks)
    assert colours == 107, "as many colour images as the data's own README counts"
