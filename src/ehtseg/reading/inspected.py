"""One labelled frame read once: what it shows, or what is wrong with it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from ehtseg.reading.intensity import has_colour
from ehtseg.reading.masks import explain_mask, read_mask
from ehtseg.reading.pairs import LabelledFrame
from ehtseg.reading.pixels import is_turned, read_pixels, without_alpha
from ehtseg.records import Array, UserError


@dataclass(frozen=True, slots=True)
class Inspected:
    """What one labelled frame showed when it was read."""

    frame: LabelledFrame
    shape: tuple[int, ...]  # (H, W) or (H, W, C)
    dtype: str
    coloured: bool  # grey may be stored as colours too
    turned: bool  # its EXIF says that it is shown otherwise than it is stored
    flat: bool  # every pixel of the image has the same value
    how: str  # the mask file was understood
    share: float  # of the pixels that are tissue


def inspect(frame: LabelledFrame) -> Inspected | UserError:
    """Read one image and its mask; a fault comes back as what it would raise."""
    try:
        values, reading = read_pixels(frame.image), explain_mask(frame.mask)
        ignored = None if frame.ignore is None else read_mask(frame.ignore)
    except UserError as fault:
        return fault
    flat, turned = bool((values == values.flat[0]).all()), is_turned(frame.image)
    share = float(reading.mask.mean())
    fault_seen = _fault(frame, values, flat and share > 0) or _misfit(
        frame, values.shape[:2], reading.mask.shape, turned
    )
    if fault_seen:
        return fault_seen
    if ignored is not None and ignored.shape != reading.mask.shape:
        return UserError(
            f"{frame.ignore} at the size of its image, {reading.mask.shape[1]} px wide",
            f"{ignored.shape[1]} x {ignored.shape[0]} px",
            "Export it like the masks.",
        )
    truth = frame.mask.read_bytes() + (frame.ignore.read_bytes() if frame.ignore else b"")
    hashed = replace(
        frame,
        image_sha256=hashlib.sha256(frame.image.read_bytes()).hexdigest(),
        mask_sha256=hashlib.sha256(truth).hexdigest(),
    )
    return Inspected(
        hashed,
        values.shape,
        values.dtype.name,
        _is_coloured(values),
        turned,
        flat,
        reading.how,
        share,
    )


def _is_coloured(values: Array) -> bool:
    """Whether a picture has colour: as a video's frames are judged; deeper than 8 bits, any."""
    colours = without_alpha(values)
    if values.ndim == 2 or values.dtype == np.uint8:
        return has_colour(colours)
    return bool((colours != colours[..., :1]).any())


def _fault(frame: LabelledFrame, values: Array, blank: bool) -> UserError | None:
    cure = "Export the frame again, or take it and its mask away."
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        unknown = (~np.isfinite(values)).sum()
        got = f"{unknown} NaN or infinite values in {frame.image}"
        return UserError("images of finite numbers", got, cure)
    if blank:
        got = f"the same value in every pixel of {frame.image}"
        return UserError("images that show something where their mask says tissue", got, cure)
    return None


def _misfit(
    frame: LabelledFrame, image: tuple[int, ...], mask: tuple[int, ...], turned: bool
) -> UserError | None:
    """What is wrong with the size of a mask, from both shapes."""
    if image == mask:
        return None
    sizes = [f"{shape[1]} x {shape[0]}" for shape in (image, mask)]
    hint = " (turned by 90 degrees?)" if image == mask[::-1] else ""
    cure = "Export the masks at the size of the images, without cropping or turning."
    if turned:
        cure += " The image is read as its EXIF turns it: paint on the picture that viewers show."
    return UserError(
        "masks of the size of their images",
        f"{frame.image} with {sizes[0]} and {frame.mask} with {sizes[1]} px{hint}",
        cure,
    )
