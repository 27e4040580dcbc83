"""One mask file as background and tissue, with a sentence on how it was read.

What a pixel value means is taken from the file only where it can mean one thing. Everything else
is refused with the values found, their shares, and the command that makes them clear.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ehtseg.reading.pixels import LOSSY_SUFFIXES, TIFF_SUFFIXES, read_pixels, shown_inverted
from ehtseg.records import Array, UserError

IGNORED = 255  # in a label (0 background, 1 tissue): a pixel that does not count
EDGE_PX = 2  # an anti-aliased outline is this near to pure background and to pure tissue
BLOCK_PX = 8  # JPEG rings inside blocks of 8 x 8 pixels
FLAT = 8  # JPEG moves a flat area by at most this much, also at low quality
NAMED_VALUES = 6  # values listed in an error
SCALES = (255, 65535)  # highest value of a mask of 8 or 16 bits, also in a deeper file


@dataclass(frozen=True, slots=True, eq=False)
class MaskReading:
    """A mask, bool (H, W), and how its file was understood."""

    mask: Array
    how: str


def read_mask(path: Path) -> Array:
    """The mask in a file, bool (H, W); True is tissue.

    Raises: UserError as `explain_mask`.
    """
    return explain_mask(path).mask


def explain_mask(path: Path) -> MaskReading:
    """The mask in a file and how it was understood.

    Understood are {0, 1}, {0, 255}, 0 and any other single value, 1 bit, a colour table, one
    colour on black, one colour (not black) on transparency, label images (TIFF, or deeper than 8
    bits; every label above 0 is tissue), anti-aliased outlines and JPEG (both cut at half).

    Raises: UserError for a file that cannot be read and for values that can mean several things.
    """
    return explain_values(read_pixels(path), path)


def explain_values(pixels: Array, path: Path) -> MaskReading:
    """The same for values that were read already: one page of the stack at `path`, or its image.

    Raises: UserError as `explain_mask`.
    """
    grey, origin = _one_channel(pixels)
    if grey is None:
        raise _ambiguous(path, pixels, origin)
    is_jpeg = path.suffix.lower() in LOSSY_SUFFIXES
    values = _as_integers(_snapped(grey) if is_jpeg else grey)
    found = _two_values(values) or _labels(path, values)
    found = found or (None if is_jpeg else _soft_outline(values)) or _ringing(values, is_jpeg)
    if found is None:
        raise _ambiguous(path, pixels, "")
    if 0 < found.mask.mean() < 1 and shown_inverted(path):
        raise _inverted(path)
    return MaskReading(found.mask, origin + found.how)


def _one_channel(pixels: Array) -> tuple[Array | None, str]:
    """Grey values (H, W) that say how much of the one colour a pixel has, and how that was seen;
    None where there are several colours, or transparency can mean several things, and why."""
    if pixels.ndim == 2:
        return pixels, ""
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    if alpha.size and (alpha.min() == 0 or alpha.min() < alpha.max()):
        return _opacity(colours, alpha[..., 0])
    if (colours == colours[..., :1]).all():
        return colours[..., 0], ""
    flat = colours.reshape(-1, 3).astype(np.float64)
    colour = flat[flat.sum(axis=1).argmax()]
    amount = flat @ colour / (colour @ colour)
    if np.abs(flat - amount[:, None] * colour).max() > 1:
        return None, ""
    grey = np.rint(amount * 255).astype(np.uint8).reshape(colours.shape[:2])
    return grey, f"colour {tuple(colour.astype(int).tolist())} on black; "


def _opacity(colours: Array, alpha: Array) -> tuple[Array | None, str]:
    """The same of a picture that is transparent somewhere: what is opaque is tissue.

    Not so where black is opaque: it is painted tissue, or a layer from which tissue was erased.
    """
    if alpha.max() == 0:
        hidden = (colours != colours[0, 0]).any()
        return (None, ", wholly transparent") if hidden else (alpha, "wholly transparent; ")
    opaque = colours[alpha > alpha.max() / 2].astype(int)
    if np.ptp(opaque, axis=0).max() > FLAT:
        return None, ", partly transparent"
    if opaque.max() <= FLAT:
        return None, ", where either black is tissue or what was erased from it"
    return alpha, "one colour on transparency; "


def _snapped(grey: Array) -> Array:
    """Flat areas of a lossy file back at 0 and 255."""
    return np.where(grey <= FLAT, 0, np.where(grey >= 255 - FLAT, 255, grey)).astype(grey.dtype)


def _as_integers(grey: Array) -> Array:
    """Floating point values as integers where they are whole numbers."""
    if grey.dtype.kind == "f" and np.isfinite(grey).all() and (grey == np.rint(grey)).all():
        return grey.astype(np.int64)
    return grey


def _two_values(values: Array) -> MaskReading | None:
    found = np.unique(values).tolist()
    if values.dtype == bool:
        return MaskReading(values, "1 bit: 1 = tissue")
    if found == [0]:
        return MaskReading(values > 0, "empty: every pixel 0")
    if found in ([1], [255], [_full_scale(values)]):
        return MaskReading(values > 0, f"tissue everywhere: every pixel {found[0]}")
    if len(found) != 2 or found[0] != 0 or not found[1] > 0:
        return None
    odd = "" if found[1] in (1, 255) else " (the only other value)"
    return MaskReading(values > 0, f"0 = background, {found[1]:g} = tissue{odd}")


def _labels(path: Path, values: Array) -> MaskReading | None:
    """A label image: areas of constant whole numbers, in a format in which tools write labels."""
    deep = values.dtype.itemsize > 1
    if values.dtype.kind not in "iu" or not (deep or path.suffix.lower() in TIFF_SUFFIXES):
        return None
    found = np.unique(values)
    gaps = found[-1] > 2 * len(found)  # 0, 128, 255 are grey levels; labels are counted up
    if found[0] != 0 or found[-1] == _full_scale(values) or (gaps and not deep):
        return None
    if found[-1] in SCALES and _soft_outline(values):  # a mask that was saved deeper than it is
        return None
    changes = (values[1:] != values[:-1]).mean() + (values[:, 1:] != values[:, :-1]).mean()
    if changes > 0.5 or _is_slope(values):
        return None
    return MaskReading(values > 0, "label image: every label above 0 = tissue")


def _is_slope(values: Array) -> bool:
    """Whether most values fill no square of 2 x 2 px: those of a probability or a wide blur do not.

    Labels have areas.
    """
    corner = values[:-1, :-1]
    right, below, across = values[:-1, 1:], values[1:, :-1], values[1:, 1:]
    areas = np.unique(corner[(corner == right) & (corner == below) & (corner == across)])
    return 2 * len(areas) < len(np.unique(values))


def _soft_outline(values: Array) -> MaskReading | None:
    """Values between 0 and the highest that lie only beside the outline, and are few."""
    found = np.unique(values)
    top = found[-1]
    if found[0] != 0 or (values.dtype.kind != "f" and top < 64):
        return None
    background, tissue = values == 0, values == top
    between = ~(background | tissue)
    reach = 1 if len(found) == 3 else EDGE_PX
    apart = between & ~(_widened(background, reach) & _widened(tissue, reach))
    if apart.any() or between.sum() > min(background.sum(), tissue.sum()):
        return None
    how = f"anti-aliased: values between 0 and {top:g} only beside the outline, cut at half"
    return MaskReading(values >= top / 2, how)


def _ringing(values: Array, is_jpeg: bool) -> MaskReading | None:
    """One value for background and one for tissue, others only within a JPEG block of the outline.

    Resampling that overshoots (Lanczos) looks the same.
    """
    mask = values >= 128
    if values.dtype != np.uint8 or not mask.any() or mask.all():
        return None
    outline = _widened(mask, 1) & _widened(~mask, 1)
    far = ~_widened(outline, BLOCK_PX)
    levels = [np.unique(values[far & side]).tolist() for side in (~mask, mask)]
    flat = (values <= FLAT) | (values >= 255 - FLAT)
    middle = (values >= 64) & (values < 192)
    if (far & ~flat).any() or (middle & ~_widened(outline, EDGE_PX)).any():
        return None
    if max(map(len, levels)) > 1 or np.count_nonzero(~flat) > min(
        flat[mask].sum(), flat[~mask].sum()
    ):
        return None
    counts = np.bincount(values.ravel(), minlength=256)
    counts[[0, 255, *levels[0], *levels[1]]] = 0
    if not is_jpeg and counts.max() > counts.sum() / 3:  # a label of its own, not ringing
        return None
    kind = "JPEG" if is_jpeg else "JPEG or resampled"
    how = f"{kind}: values near 0 and 255, others only beside the outline, cut at half"
    return MaskReading(mask, how)


def _widened(area: Array, reach_px: int) -> Array:
    kernel = np.ones((2 * reach_px + 1, 2 * reach_px + 1), np.uint8)
    return cv2.dilate(area.astype(np.uint8), kernel) > 0


def _full_scale(values: Array) -> int:
    return int(np.iinfo(values.dtype).max) if values.dtype.kind in "iu" else 1


def _ambiguous(path: Path, pixels: Array, why: str) -> UserError:
    colours = pixels.reshape(-1, 1 if pixels.ndim == 2 else pixels.shape[2])
    found, counts = _distinct(colours)
    listed = sorted(np.argsort(-counts, kind="stable")[:NAMED_VALUES])
    named = ", ".join(f"{_name(found[i])} ({counts[i] / counts.sum():.1%})" for i in listed)
    more = len(found) - len(listed)
    tissue, is_grey = _name(found[-1]), colours.shape[1] == 1
    if colours.shape[1] == 4 and not np.ptp(found[:, :3], axis=0).any():
        chosen = 'np.array(Image.open(p).convert("RGBA"))[..., 3] >= 128'
        tissue = "what is opaque (with < instead of >=: what is transparent)"
    elif not is_grey:
        chosen = f'(np.array(Image.open(p).convert("RGB")) == {_name(found[-1, :3])}).all(-1)'
    elif more:
        chosen = f"{_opened(path, pixels)} >= {found[-1, 0] / 2:g}"
        tissue = "values of at least half of the highest"
    else:
        chosen = f"{_opened(path, pixels)} == {tissue}"
    return UserError(
        "a mask of two values, background and tissue",
        f"{named}{f' and {more} more' if more else ''} in {path}{why}",
        f"Decide what is tissue, keep a copy of {path.parent}, and write 0 and 255, "
        f"here with {tissue} as tissue:  {_command(path, chosen)}",
    )


def _distinct(colours: Array) -> tuple[Array, Array]:
    """The different rows of (N, C), in ascending order, and how often each is there."""
    codes = np.zeros(len(colours), np.int64)
    for channel in colours.T:
        values, code = np.unique(channel, return_inverse=True)
        codes = codes * len(values) + code
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return colours[first], counts


def _inverted(path: Path) -> UserError:
    shown = 'np.array(Image.open(p).convert("L")) >= 128'
    return UserError(
        "a mask that looks as its values are",
        f"0 shown as white in {path} (an inverting lookup table)",
        f"Decide what is tissue, keep a copy of {path.parent}, and write 0 and 255, "
        f"here with what a viewer shows white as tissue:  {_command(path, shown)}",
    )


def _name(value: Array) -> str:
    parts = [f"{part:g}" for part in value.tolist()]
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def _opened(path: Path, pixels: Array) -> str:
    as_stored = pixels.dtype.itemsize > 1 or path.suffix.lower() in TIFF_SUFFIXES
    return "np.array(Image.open(p))" if as_stored else 'np.array(Image.open(p).convert("L"))'


def _command(path: Path, chosen: str) -> str:
    """A shell command that makes every mask of the folder 0 and 255."""
    folder = json.dumps(str(path.parent), ensure_ascii=False)
    code = (
        "import pathlib, numpy as np; from PIL import Image; "
        f"[Image.fromarray(np.uint8(255) * ({chosen})).save(p) "
        f'for p in sorted(pathlib.Path({folder}).glob("*{path.suffix}"))]'
    )
    return f"python -c {shlex.quote(code)}"
