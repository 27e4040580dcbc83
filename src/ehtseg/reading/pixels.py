"""One still image on disk as the values that are stored in it, and those as 8-bit pictures."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageFile

from ehtseg.records import Array, Scaling, UserError

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg"})
IMAGE_SUFFIXES = TIFF_SUFFIXES | LOSSY_SUFFIXES | {".png", ".bmp"}

EIGHT_BIT = Scaling(0.0, 255.0, "8-bit as it is")

# what Pillow, tifffile and imagecodecs raise on damaged files
DAMAGED = (
    OSError, ValueError, TypeError, SyntaxError, RuntimeError, struct.error, EOFError,
    LookupError, ArithmeticError, MemoryError, AssertionError,
)  # fmt: skip
# EXIF's number: whether rows and columns change places, then which way each of the two runs
_TURNS = {
    2: (False, 1, -1), 3: (False, -1, -1), 4: (False, -1, 1),
    5: (True, 1, 1), 6: (True, 1, -1), 7: (True, -1, -1), 8: (True, -1, 1),
}  # fmt: skip
_NOT_RGB = {5: "CMYK", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32845: "LogLuv"}  # photometric
_STORED_AS_READ = frozenset({"1", "L", "RGB", "RGBA", "I", "F", "I;16", "I;16B", "I;16L"})


def read_pixels(path: Path) -> Array:
    """The values stored in one image: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, any depth.

    A colour table of a PNG or BMP is applied (and the picture is grey where all its colours are);
    that of a TIFF is not: there the stored numbers are intensities or labels. A picture is turned
    as its EXIF says, which is how viewers and cameras show it.

    Raises: UserError for a missing, damaged or foreign file, and for a stack of several images.
    """
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            return _one_plane(path)
        with Image.open(path) as picture:
            return _turned(_stored(path, picture), _turn(picture))
    except (*DAMAGED, Image.DecompressionBombError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "a file that is not"
        reason = "one that may not be read" if isinstance(error, PermissionError) else reason
        raise UserError(
            f"a readable image ({', '.join(sorted(IMAGE_SUFFIXES))})",
            f"{reason}: {path}",
            "Copy it again, or export it again as PNG or TIFF.",
        ) from error


def to_uint8(values: Array, scaling: Scaling) -> Array:
    """Stored values (H, W[, 3 or 4]) as uint8 (H, W) or (H, W, 3); transparency is dropped."""
    values = without_alpha(values)
    if values.dtype == np.uint8 and scaling == EIGHT_BIT:
        return values
    if values.dtype == bool:
        return values.astype(np.uint8) * np.uint8(255)
    share = (values.astype(np.float64) - scaling.low) / (scaling.high - scaling.low)
    return np.rint(np.clip(share, 0.0, 1.0) * 255.0).astype(np.uint8)


def without_alpha(values: Array) -> Array:
    """Grey (H, W) as it is, colours as (H, W, 3)."""
    return values[..., :3] if values.ndim == 3 else values


def check_colours(path: Path, file: tifffile.TiffFile) -> None:
    """Raises: UserError for the colours of a printer (CMYK) and others that are not RGB."""
    page = file.pages.first
    if page.photometric in _NOT_RGB and page.samplesperpixel > 1:
        raise UserError(
            "grey or RGB images",
            f"{_NOT_RGB[page.photometric]} colours in {path}",
            "Save it as RGB or grey (in Fiji: Image › Type), best from the microscope's own file.",
        )


def shown_inverted(path: Path) -> bool:
    """Whether a viewer shows the file's lower values brighter than its higher ones.

    That is how ImageJ's inverting lookup tables arrive here: what looks white is stored as 0.
    (tifffile marks every bool array so and stores True as 1: that is no inversion.)
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            is_bool = page.bitspersample == 1 and page.software.startswith("tifffile")
            return page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and not is_bool
    if path.suffix.lower() not in IMAGE_SUFFIXES:  # a video of masks
        return False
    with Image.open(path) as picture:
        if picture.mode != "P":
            return False
        used = np.unique(np.asarray(picture))
        brightness = _colour_table(picture)[used].sum(axis=1, dtype=int)
    return bool(brightness[0] > brightness[-1])


def is_turned(path: Path) -> bool:
    """Whether the EXIF of an image says that it is shown otherwise than it is stored."""
    if path.suffix.lower() in TIFF_SUFFIXES:
        return False
    with Image.open(path) as picture:
        return _turn(picture) in _TURNS


def _turn(picture: Image.Image) -> int:
    with suppress(*DAMAGED):  # EXIF that cannot be read says nothing
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return 1


def _turned(values: Array, turn: int) -> Array:
    if turn not in _TURNS:
        return values
    changed, down, right = _TURNS[turn]
    upright = values.swapaxes(0, 1) if changed else values
    return np.ascontiguousarray(upright[::down, ::right])


def _stored(path: Path, picture: ImageFile.ImageFile) -> Array:
    deep = picture.format == "PNG" and ";16" in str([tile[3] for tile in picture.tile])
    if deep and picture.mode in ("LA", "RGB", "RGBA"):  # Pillow would drop the lower byte
        values = np.asarray(imagecodecs.png_decode(path.read_bytes()))
        return values[..., [0, 0, 0, 1]] if values.shape[2] == 2 else values
    if picture.mode in ("P", "PA", "LA", "La", "RGBa"):
        clear = picture.mode != "P" or "transparency" in picture.info
        colours = np.asarray(picture.convert("RGBA" if clear else "RGB"))
        is_grey = not clear and (colours == colours[..., :1]).all()
        return colours[..., 0] if is_grey else colours
    if picture.mode not in _STORED_AS_READ:
        return np.asarray(picture.convert("RGB"))
    values = np.asarray(picture)
    return values.astype(values.dtype.newbyteorder("="))


def _colour_table(picture: Image.Image) -> Array:
    table = np.zeros((256, 3), np.uint8)
    stored = np.asarray(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    table[: len(stored)] = stored
    return table


def _one_plane(path: Path) -> Array:
    with tifffile.TiffFile(path) as file:
        check_colours(path, file)
        series, pages = file.series[0], file.pages
        is_alone = len(pages) == 1 and not series.is_truncated  # whatever stack it came out of
        axes = pages.first.axes if is_alone else series.axes
        values = np.asarray((pages.first if is_alone else series).asarray())
    if not values.size:
        raise ValueError("no pixels")
    single = tuple(i for i, n in enumerate(values.shape) if n == 1 and axes[i] not in "YX")
    values = values.squeeze(single)
    axes = "".join(axis for i, axis in enumerate(axes) if i not in single)
    if axes == "SYX":
        values, axes = np.moveaxis(values, 0, -1), "YXS"
    if axes == "YX" or (axes == "YXS" and values.shape[2] in (3, 4)):
        return values
    raise UserError(
        "one image, grey or RGB, in each file",
        f"{path} with the shape {values.shape} ({axes})",
        "Save the images of a stack as single files "
        "(in Fiji: File › Save As › Image Sequence), one channel or RGB.",
    )
