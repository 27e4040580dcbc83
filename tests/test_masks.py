"""Every kind of mask file that has one meaning gives the drawn mask; the others are refused."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, ImageOps

from conftest import shared
from ehtseg.reading.masks import explain_mask, read_mask
from ehtseg.reading.pixels import EIGHT_BIT, is_turned, read_pixels, to_uint8
from ehtseg.records import Scaling, UserError

Y, X = np.mgrid[0:80, 0:96]
TISSUE = ((X - 45) ** 2 / 900 + (Y - 38) ** 2 / 400) < 1


def png(path: Path, values: np.ndarray, mode: str | None = None, **options: object) -> Path:
    Image.fromarray(values).save(path, **options)
    with Image.open(path) as picture:
        assert mode in (None, picture.mode), "the case is not what it is meant to be"
    return path


def tiff(path: Path, values: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(path, values, **options)
    return path


def palette_png(path: Path, colours: list[tuple[int, int, int]], indices: np.ndarray) -> Path:
    picture = Image.new("P", indices.shape[::-1])
    picture.putdata(indices.ravel().tolist())
    picture.putpalette([part for colour in colours for part in colour])
    picture.save(path)
    with Image.open(path) as stored:
        assert stored.mode == "P"
    return path


def rgba(tissue: tuple[int, ...], background: tuple[int, ...]) -> np.ndarray:
    return np.where(TISSUE[..., None], tissue, background).astype(np.uint8)


def instances() -> np.ndarray:
    return np.where(TISSUE, 1 + X // 30, 0)


VIRIDIS = [(0, 0, 0), (68, 1, 84), (253, 231, 36)]
READABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "0 and 1": (lambda d: png(d / "m.png", TISSUE.astype(np.uint8)), "1 = tissue"),
    "0 and 255": (lambda d: png(d / "m.png", TISSUE * np.uint8(255)), "255 = tissue"),
    "0 and 200": (lambda d: png(d / "m.png", TISSUE * np.uint8(200)), "200 = tissue (the only"),
    "bmp": (lambda d: png(d / "m.bmp", TISSUE * np.uint8(255)), "255 = tissue"),
    "1 bit PNG": (lambda d: png(d / "m.png", TISSUE, "1"), "1 bit"),
    "1 bit TIFF": (lambda d: tiff(d / "m.tif", TISSUE), "1 bit"),
    "16 bit PNG": (lambda d: png(d / "m.png", TISSUE * np.uint16(65535)), "65535 = tissue"),
    "palette": (
        lambda d: palette_png(d / "m.png", [(0, 0, 0), (128, 0, 0)], TISSUE),
        "colour (128",
    ),
    "grey palette": (
        lambda d: palette_png(d / "m.png", [(i, i, i) for i in range(256)], TISSUE * 255),
        "255 = tissue",
    ),
    "RGB white": (lambda d: png(d / "m.png", rgba((255,) * 3, (0,) * 3), "RGB"), "255 = tissue"),
    "RGB red": (lambda d: png(d / "m.png", rgba((255, 0, 0), (0, 0, 0))), "colour (255, 0, 0)"),
    "RGBA opaque": (
        lambda d: png(d / "m.png", rgba((0, 255, 0, 255), (0, 0, 0, 255)), "RGBA"),
        "colour (0, 255, 0)",
    ),
    "RGBA clear": (
        lambda d: png(d / "m.png", rgba((0, 90, 0, 255), (0, 0, 0, 0)), "RGBA"),
        "transparency",
    ),
    "RGBA half clear": (
        lambda d: png(d / "m.png", rgba((255, 0, 0, 128), (255, 255, 255, 0))),
        "128 = tissue",
    ),
    "RGB TIFF": (
        lambda d: tiff(d / "m.tif", rgba((0, 0, 255), (0, 0, 0)), photometric="rgb"),
        "colour (0, 0, 255)",
    ),
    "planar RGB TIFF": (
        lambda d: tiff(
            d / "m.tif",
            rgba((0, 0, 255), (0, 0, 0)).transpose(2, 0, 1),
            photometric="rgb",
            planarconfig="separate",
        ),
        "colour (0, 0, 255)",
    ),
    "labels 8 bit TIFF": (lambda d: tiff(d / "m.tif", instances().astype(np.uint8)), "label image"),
    "labels 32 bit TIFF": (
        lambda d: tiff(d / "m.tif", (instances() * 701).astype(np.int32), compression="zlib"),
        "label image",
    ),
    "labels float TIFF": (
        lambda d: tiff(d / "m.tiff", instances().astype(np.float32)),
        "label image",
    ),
    "labels 16 bit PNG": (lambda d: png(d / "m.png", instances().astype(np.uint16)), "label image"),
    "JPEG": (lambda d: png(d / "m.jpg", TISSUE * np.uint8(255), quality=75), "JPEG"),
    "JPEG RGB": (lambda d: png(d / "m.JPG", rgba((255,) * 3, (0,) * 3), quality=60), "JPEG"),
    "JPEG saved as PNG": (lambda d: jpeg_as_png(d), "JPEG"),
}


def jpeg_as_png(folder: Path) -> Path:
    lossy = png(folder / "m.jpg", TISSUE * np.uint8(255), quality=70)
    return png(folder / "m.png", read_pixels(lossy))


@pytest.mark.parametrize("kind", READABLE)
def test_a_mask_of_one_meaning_is_read_and_explained(kind: str, tmp_path: Path) -> None:
    write, said = READABLE[kind]
    reading = explain_mask(write(tmp_path))
    assert reading.mask.dtype == bool
    np.testing.assert_array_equal(reading.mask, TISSUE)
    assert said in reading.how


@pytest.mark.parametrize("values", [0, 1, 255])
def test_one_value_everywhere(values: int, tmp_path: Path) -> None:
    reading = explain_mask(png(tmp_path / "m.png", np.full((9, 7), values, np.uint8)))
    assert reading.mask.shape == (9, 7)
    assert reading.mask.all() == reading.mask.any() == (values > 0)
    assert ("empty" in reading.how) == (values == 0)


@pytest.mark.parametrize("hidden", [0, 77, 255])
def test_full_transparency_is_no_tissue(hidden: int, tmp_path: Path) -> None:
    clear = np.full((9, 7, 4), (hidden, hidden, hidden, 0), np.uint8)
    reading = explain_mask(png(tmp_path / "m.png", clear, "RGBA"))
    assert not reading.mask.any()
    assert reading.how.startswith("wholly transparent; empty")


def test_flat_areas_that_jpeg_moved_are_flat(tmp_path: Path) -> None:
    reading = explain_mask(png(tmp_path / "m.jpg", np.full((32, 32), 4, np.uint8), quality=95))
    assert "empty" in reading.how


@pytest.mark.parametrize("way", ["BOX", "BILINEAR", "BICUBIC", "LANCZOS"])
@pytest.mark.parametrize("factor", [0.5, 0.7, 1.5, 3.0])
def test_anti_aliased_outlines_are_cut_at_half(way: str, factor: float, tmp_path: Path) -> None:
    size = round(96 * factor), round(80 * factor)
    soft = Image.fromarray(TISSUE * np.uint8(255)).resize(size, Image.Resampling[way])
    reading = explain_mask(png(tmp_path / "m.png", np.asarray(soft)))
    np.testing.assert_array_equal(reading.mask, np.asarray(soft) >= 128)


def test_an_anti_aliased_outline_is_said(tmp_path: Path) -> None:
    smooth = cv2.ellipse(np.zeros((80, 96), np.uint8), (45, 38), (30, 20), 0, 0, 360, 255, -1, 16)
    assert 0 < np.isin(smooth, [0, 255], invert=True).mean() < 0.1
    reading = explain_mask(png(tmp_path / "m.png", smooth))
    assert "anti-aliased" in reading.how
    assert "half" in reading.how
    coloured = np.dstack([smooth, smooth // 2, smooth * 0])
    reading = explain_mask(png(tmp_path / "c.png", coloured))
    assert "colour (255, 127, 0) on black; anti-aliased" in reading.how


@pytest.mark.parametrize("depth", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("top", [255, 65535])
def test_a_soft_outline_in_a_deeper_file_is_cut_at_half(
    depth: type, top: int, tmp_path: Path
) -> None:
    smooth = cv2.ellipse(np.zeros((80, 96), np.uint8), (45, 38), (30, 20), 0, 0, 360, 255, -1, 16)
    reading = explain_mask(tiff(tmp_path / "m.tif", (smooth * (top / 255)).astype(depth)))
    assert "anti-aliased" in reading.how
    np.testing.assert_array_equal(reading.mask, smooth >= 128)


@pytest.mark.parametrize("depth", [np.uint16, np.float32])
def test_labels_up_to_255_stay_labels(depth: type, tmp_path: Path) -> None:
    cells = (Y // 5 * 24 + X // 5 + 1).clip(0, 255) * TISSUE
    touching = np.where(TISSUE, np.where(X > 45, 255, 1), 0)
    for labels in (cells, touching):
        assert labels.max() == 255
        reading = explain_mask(tiff(tmp_path / "m.tif", labels.astype(depth)))
        assert "label image" in reading.how
        np.testing.assert_array_equal(reading.mask, TISSUE)


@pytest.mark.parametrize("top", [100, 254, 1000, 60000])
def test_probabilities_up_to_any_number_are_no_labels(top: int, tmp_path: Path) -> None:
    """As labels, every pixel above 0 would be tissue: half as much again as there is."""
    bar = np.zeros((512, 512), np.float32)
    bar[200:312, 60:450] = top
    depth = np.uint8 if top < 255 else np.uint16
    soft = np.rint(cv2.GaussianBlur(bar, (0, 0), 8)).astype(depth)
    with pytest.raises(UserError, match=rf"at least half of the highest as tissue.*>= {top / 2:g}"):
        read_mask(tiff(tmp_path / "m.tif", soft))


def three_areas(middle: int) -> np.ndarray:
    return np.where(TISSUE, np.where(X > 45, 255, middle), 0).astype(np.uint8)


def void_ring() -> np.ndarray:
    """A thin object of label 1 with a border of 255, which other tools mean as "ignore"."""
    thin = np.uint8(cv2.erode(TISSUE.astype(np.uint8), np.ones((29, 29))))
    return np.where(thin, 1, 255 * cv2.dilate(thin, np.ones((11, 11)))).astype(np.uint8)


def ramp(half_width_px: float) -> np.ndarray:
    """An outline that takes many pixels from 0 to 255."""
    return np.clip(127.5 + 127.5 * (45.2 - X) / half_width_px, 0, 255).astype(np.uint8)


def speckle() -> np.ndarray:
    """A photograph in which 0 and 255 are near everywhere."""
    values = overlay()[..., 1] % 200 + np.uint8(30)
    values[::2, ::2] = 0
    values[1::2, 1::2] = 255
    values[::4, ::4] = 7
    return values


def overlay() -> np.ndarray:
    photo = np.random.default_rng(0).integers(0, 256, (80, 96, 3), dtype=np.uint8)
    return np.where(TISSUE[..., None], (255, 0, 0), photo).astype(np.uint8)


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "three areas": (lambda d: png(d / "m.png", three_areas(128)), "128 ("),
    "three areas, TIFF": (lambda d: tiff(d / "m.tif", three_areas(128)), "128 ("),
    "three areas, dark": (lambda d: png(d / "m.png", three_areas(50)), "50 ("),
    "wide ring": (
        lambda d: png(
            d / "m.png", cv2.erode(TISSUE * np.uint8(127), np.ones((5, 5))) + TISSUE * np.uint8(128)
        ),
        "128 (",
    ),
    "void label": (lambda d: png(d / "m.png", void_ring()), "1 ("),
    "small labels in an 8 bit PNG": (
        lambda d: png(d / "m.png", instances().astype(np.uint8)),
        "2 (",
    ),
    "no zero": (lambda d: png(d / "m.png", np.where(TISSUE, 2, 1).astype(np.uint8)), "1 ("),
    "one odd value": (lambda d: png(d / "m.png", np.full((8, 8), 77, np.uint8)), "77 (100.0%)"),
    "two colours": (lambda d: png(d / "m.png", rgba((255, 0, 0), (0, 0, 255))), "(0, 0, 255) ("),
    "three colours": (
        lambda d: palette_png(d / "m.png", VIRIDIS, np.where(TISSUE, 1 + (X > 45), 0)),
        "(253, 231, 36) (",
    ),
    "overlay on a photograph": (lambda d: png(d / "m.png", overlay()), "more"),
    "half clear on opaque": (
        lambda d: png(d / "m.png", rgba((255, 0, 0, 255), (0, 0, 0, 200))),
        "partly transparent",
    ),
    "black on transparency": (
        lambda d: png(d / "m.png", rgba((0, 0, 0, 0), (0, 0, 0, 255))),
        "either black is tissue or what was erased",
    ),
    "drawn under full transparency": (
        lambda d: png(d / "m.png", rgba((255, 255, 255, 0), (0, 0, 0, 0))),
        "wholly transparent",
    ),
    "photograph in 16 bits": (
        lambda d: tiff(d / "m.tif", overlay()[..., 0] * np.uint16(200)),
        "more",
    ),
    "grey levels in an 8 bit TIFF": (
        lambda d: tiff(d / "m.tif", np.minimum(three_areas(100), 200)),
        "100 (",
    ),
    "faint texture": (
        lambda d: png(d / "m.png", np.maximum(overlay()[..., 0] % 9, TISSUE * np.uint8(255))),
        "more",
    ),
    "wide ramp": (lambda d: png(d / "m.png", ramp(half_width_px=9)), "more"),
    "speckle": (lambda d: png(d / "m.png", speckle()), "more"),
    "noise": (lambda d: png(d / "m.png", overlay()[..., 0]), "more"),
    "soft probabilities": (
        lambda d: tiff(d / "m.tif", np.float32(1 / (1 + np.exp((X - 45) / 9)))),
        "more",
    ),
    "NaN": (lambda d: tiff(d / "m.tif", np.where(TISSUE, np.nan, 0).astype(np.float32)), "nan ("),
    "inverting lookup table": (
        lambda d: palette_png(d / "m.png", [(255 - i,) * 3 for i in range(256)], TISSUE * 255),
        "0 shown as white",
    ),
    "inverting TIFF": (
        lambda d: tiff(d / "m.tif", TISSUE * np.uint8(255), photometric="miniswhite"),
        "0 shown as white",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mask_of_several_meanings_is_refused(kind: str, tmp_path: Path) -> None:
    write, said = REFUSED[kind]
    path = write(tmp_path)
    with pytest.raises(UserError) as caught:
        read_mask(path)
    assert said in caught.value.got
    assert path.name in caught.value.got
    assert "python -c" in caught.value.cure
    assert "\n" not in str(caught.value)


def test_the_shares_of_the_values_are_told(tmp_path: Path) -> None:
    values = np.repeat(np.array([0, 128, 255], np.uint8), [50, 30, 20])[:, None].repeat(10, axis=1)
    with pytest.raises(UserError) as caught:
        read_mask(png(tmp_path / "m.png", values))
    assert caught.value.got.startswith("0 (50.0%), 128 (30.0%), 255 (20.0%) in ")


CURED = {
    "black on transparency": ~TISSUE,
    "drawn under full transparency": TISSUE,
    "three areas": TISSUE & (X > 45),
    "three areas, TIFF": TISSUE & (X > 45),
    "two colours": TISSUE,
    "inverting lookup table": ~TISSUE,
}


@pytest.mark.parametrize("kind", CURED)
def test_the_command_in_the_error_cures_the_mask(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    path = REFUSED[kind][0](folder)
    with pytest.raises(UserError) as caught:
        read_mask(path)
    command = caught.value.cure[caught.value.cure.index("python -c") :]
    seen = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, shell=True, check=True, env={**os.environ, "PATH": seen})
    np.testing.assert_array_equal(read_mask(path), CURED[kind])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text"])
def test_a_damaged_file_is_named(suffix: str, damage: str, tmp_path: Path) -> None:
    path = tmp_path / f"m{suffix}"
    if damage != "missing":
        whole = (tiff if suffix == ".tif" else png)(path, TISSUE * np.uint8(255)).read_bytes()
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 3], "text": b"x" * 99}[damage])
    with pytest.raises(UserError, match=str(path)) as caught:
        read_mask(path)
    assert ("no such file" in caught.value.got) == (damage == "missing")


def test_a_stack_is_no_single_mask(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="stack"):
        read_mask(
            tiff(tmp_path / "m.tif", np.zeros((3, 20, 30), np.uint8), photometric="minisblack")
        )


def test_sixteen_bit_colours_keep_their_depth(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (20, 30, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "i.png"), values[..., ::-1])
    np.testing.assert_array_equal(read_pixels(tmp_path / "i.png"), values)
    tifffile.imwrite(tmp_path / "i.tif", values, photometric="rgb")
    np.testing.assert_array_equal(read_pixels(tmp_path / "i.tif"), values)


def test_sixteen_bits_beside_transparency_keep_their_depth(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (20, 30, 4), dtype=np.uint16)
    (tmp_path / "rgba.png").write_bytes(imagecodecs.png_encode(values))
    np.testing.assert_array_equal(read_pixels(tmp_path / "rgba.png"), values)
    (tmp_path / "la.png").write_bytes(imagecodecs.png_encode(values[..., 2:].copy()))
    np.testing.assert_array_equal(read_pixels(tmp_path / "la.png"), values[..., [2, 2, 2, 3]])
    labels = np.dstack([TISSUE, np.full(TISSUE.shape, 65535)]).astype(np.uint16)
    (tmp_path / "m.png").write_bytes(imagecodecs.png_encode(labels))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), TISSUE)


@pytest.mark.parametrize("kind", ["jpg", "bmp", "png"])
def test_a_size_with_the_digits_16_is_a_size(kind: str, tmp_path: Path) -> None:
    values = np.full((120, 160, 3), (10, 200, 90), np.uint8)
    stored = read_pixels(png(tmp_path / f"i.{kind}", values, "RGB"))
    assert stored.shape == values.shape
    np.testing.assert_allclose(stored, values, atol=3)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_picture_is_turned_as_viewers_turn_it(turn: int, depth: type, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    values = (np.arange(5 * 7 * 3).reshape(5, 7, 3) * (257 if depth is np.uint16 else 1)).astype(
        depth
    )
    path = tmp_path / "i.png"
    if depth is np.uint8:
        png(path, values, "RGB", exif=exif)
    else:
        path.write_bytes(with_exif(imagecodecs.png_encode(values), exif))
    found = read_pixels(path)
    with Image.open(path) as picture:
        shown = np.asarray(ImageOps.exif_transpose(picture))
    assert found.dtype == depth
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found // (257 if depth is np.uint16 else 1), shown)
    assert is_turned(path) == (turn > 1)


def with_exif(written: bytes, exif: Image.Exif) -> bytes:
    """A PNG with its EXIF, before its pixels."""
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\x00\x00")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return written[:33] + chunk + written[33:]


def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path) -> None:
    path = png(tmp_path / "i.jpg", TISSUE * np.uint8(255), exif=b"Exif\0\0" + b"?" * 20)
    assert not is_turned(path)
    np.testing.assert_array_equal(read_mask(path), TISSUE)


def test_scaling_is_the_documented_formula() -> None:
    values = np.array([[90, 100, 150], [250, 300, 400]], np.uint16)
    scaled = to_uint8(values, Scaling(100.0, 300.0, "hand-made"))
    np.testing.assert_array_equal(scaled, [[0, 0, 64], [191, 255, 255]])
    assert to_uint8(values.astype(np.uint8), EIGHT_BIT).tolist() == values.astype(np.uint8).tolist()
    assert to_uint8(np.array([[True, False]]), EIGHT_BIT).tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("folder", "step"), [("eht_d1t3", 20), ("eht_mbpt", 10), ("eht_ohw", 16), ("dsb2018", 60)]
)
def test_real_masks_survive_jpeg_and_are_read_as_they_are(
    folder: str, step: int, tmp_path: Path
) -> None:
    for path in sorted(shared(f"data/{folder}/masks").iterdir())[::step]:
        stored = np.asarray(Image.open(path)) > 127
        assert explain_mask(path).how == "0 = background, 255 = tissue"
        np.testing.assert_array_equal(read_mask(path), stored)
        lossy = png(tmp_path / "m.jpg", stored * np.uint8(255), quality=80)
        np.testing.assert_array_equal(read_mask(lossy), stored)


def test_real_post_masks_and_photographs_are_refused() -> None:
    with pytest.raises(UserError, match=r"0 \(.*128 \(.*255 \("):
        read_mask(shared("data/eht_d1t3/pillars/0000.png"))
    for folder in ("eht_d1t3", "eht_mbpt", "eht_ohw", "dsb2018"):
        path = min(shared(f"data/{folder}/images").iterdir())
        with pytest.raises(UserError, match=path.name):
            read_mask(path)
