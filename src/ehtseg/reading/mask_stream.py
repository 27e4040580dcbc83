"""Masks of a whole recording, of any origin, as a stream beside its frames.

A TIFF stack (our own masks.tif, labels, probabilities), a folder of images painted by hand or by
another program, or a video of masks. One single mask stands for all frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ehtseg.reading.containers import FORMATS, open_container
from ehtseg.reading.folders import image_files, open_folder, with_suffix
from ehtseg.reading.masks import explain_values
from ehtseg.reading.pairs import some, stem_of
from ehtseg.reading.pixels import IMAGE_SUFFIXES, TIFF_SUFFIXES, read_pixels
from ehtseg.reading.raw import EarlyEndError, Raw, allowed
from ehtseg.reading.stacks import open_stack
from ehtseg.reading.video import Video
from ehtseg.records import Array, Frame, UserError


@dataclass(frozen=True, slots=True, eq=False)
class MaskStream:
    """Masks in the order of the frames."""

    path: Path
    height: int
    width: int
    n_masks: int
    _raw: Raw | None  # None: one image for all frames

    @property
    def is_single(self) -> bool:
        """Whether one mask stands for all frames: motion can be measured in it, no outline."""
        return self.n_masks == 1

    def masks(self) -> Iterator[Array]:
        """Each mask, bool (H, W), or probabilities, float32 (H, W); a single one again and again.

        Raises: UserError for values that can mean several things, and for a damaged file.
        """
        if self._raw is None:
            yield from itertools.repeat(understood(read_pixels(self.path), self.path))
            return
        files = image_files(self.path) if self.path.is_dir() else []
        try:
            for raw in self._raw.read(None):
                mask = (
                    understood(raw.values, files[raw.index])
                    if files
                    else _page(raw.values, self.path, raw.index)
                )
                yield from itertools.repeat(mask) if self.is_single else [mask]
        except EarlyEndError as end:
            cure = "Make the masks again."
            raise UserError(f"readable masks in {self.path}", str(end), cure) from end


def understood(values: Array, path: Path) -> Array:
    """Probabilities, float32 (H, W), where the values are fractions; else a mask, bool (H, W).

    Raises: UserError for values that can mean several things.
    """
    if values.dtype.kind == "f" and values.ndim == 2 and 0 <= values.min() <= values.max() <= 1:
        is_soft = bool(((values > 0) & (values < 1)).any())
        return values.astype(np.float32) if is_soft else values > 0
    return explain_values(values, path).mask


def _page(values: Array, path: Path, index: int) -> Array:
    """`understood` of one page of a stack or frame of a video.

    Raises: UserError whose cure leaves the file alone: the one for an image would write it anew
    as a single page.
    """
    try:
        return understood(values, path)
    except UserError as fault:
        cure = (
            "Decide what is tissue, and save the masks as a TIFF stack or a folder of PNGs with "
            "0 and 255 (in Fiji: Image › Adjust › Threshold)."
        )
        raise UserError(fault.expected, f"{fault.got}, mask {index} from 0", cure) from fault


def open_masks(path: Path) -> MaskStream:
    """The masks in a TIFF stack, a folder of images, a video, or one image.

    Raises: UserError for anything else.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        with allowed(path):
            raw = open_folder(path)
    elif suffix in TIFF_SUFFIXES:
        raw = open_stack(path)
    elif suffix in FORMATS:
        raw = open_container(path)
    elif suffix in IMAGE_SUFFIXES:
        height, width = read_pixels(path).shape[:2]
        return MaskStream(path, height, width, 1, None)
    else:
        cure = "Give a TIFF stack, a folder of images (PNG, TIFF), a video of masks, or one image."
        raise UserError("masks", f"the unknown suffix “{path.suffix}”: {path}", cure)
    return MaskStream(path, raw.height, raw.width, raw.n_frames, raw)


def name_of(source: Path) -> str:
    """What the masks of a recording are called."""
    return source.resolve().name if source.is_dir() else source.stem


def masks_of(source: Path, place: Path, alone: bool = True, name: str = "") -> Path:
    """Where at or below `place` the masks of a recording stand.

    What is called as the recording (`name`, else `name_of`) comes first; what has no name of its
    own (masks.tif, masks/, or the images of the folder itself) and a file of another name count
    only where the recording is `alone`.

    Raises: UserError where nothing fits.
    """
    name = name or name_of(source)
    own = [place / name / "masks.tif", place / name / "masks", place / name]
    own += [place / f"{name}{suffix}" for suffix in sorted(TIFF_SUFFIXES)]
    nameless = [place, place / "masks.tif", place / "masks"]
    if place.is_file() and (alone or place.stem == name):
        return place
    if place.is_file():
        raise UserError(
            f"masks named as {source.name}, where there are several recordings",
            f"one file for all of them, {place}",
            f"Give --masks a folder that holds a TIFF or a folder of masks named as each, here "
            f"{name}.tif or {name}/.",
        )
    for path in own + nameless if alone else own:
        if path.is_file() or (path.is_dir() and with_suffix(path, IMAGE_SUFFIXES)):
            return path
    raise UserError(
        f"the masks of {source.name} in {place}",
        "none" if place.exists() else "no such file or folder",
        f"Name a TIFF stack or a folder of masks, or put them into {place / name}.",
    )


def paired(video: Video, masks: MaskStream) -> Iterator[tuple[Frame, Array]]:
    """Every frame with its mask: as many masks as frames, or one mask for all of them.

    Raises: UserError where their sizes or numbers differ, too many masks included, or where images
    and masks share some of their names but not all: nobody knows which belong together. Told at
    once, or, where an index promised as many, after the last frame.
    """
    if (masks.height, masks.width) != (video.height, video.width):
        raise UserError(
            f"masks of {video.width} x {video.height} px, as the frames of {video.path}",
            f"{masks.width} x {masks.height} px in {masks.path}",
            "Make the masks at the size of the recording.",
        )
    if not masks.is_single and video.n_frames != masks.n_masks:
        for _ in video.frames():  # an index may be wrong: what can be decoded counts
            pass
        if video.n_frames != masks.n_masks:
            raise _unequal(video, masks, video.n_frames or 0, masks.n_masks)
    if not masks.is_single and video.path.is_dir() and masks.path.is_dir():
        _check_names(video.path, masks.path)
    return _pairs(video, masks)


def _check_names(frames: Path, masks: Path) -> None:
    """Raises: UserError where some names are the same and others are not: paired by order, 2.png
    would get the mask of 3.png. Names that have nothing in common are paired by order."""
    images, painted = ([stem_of(p.name) for p in image_files(each)] for each in (frames, masks))
    alone, spare = (
        [name for name in these if name not in those]
        for these, those in ((images, set(painted)), (painted, set(images)))
    )
    if alone and len(alone) < len(images):
        raise UserError(
            f"masks in {masks} under the names of the frames in {frames}",
            f"{len(images) - len(alone)} of the same names, but no mask of {some(alone)}, and no "
            f"frame of {some(spare)}",
            "Give every mask the name of its frame. (Masks of which none is named as a frame are "
            "paired in the order of their names.)",
        )


def _pairs(video: Video, masks: MaskStream) -> Iterator[tuple[Frame, Array]]:
    """Every frame with its mask; an index that promised more of either is found out here."""
    stream, count = masks.masks(), 0
    for count, frame in enumerate(video.frames(), 1):
        mask = next(stream, None)
        if mask is None:
            raise _unequal(video, masks, video.n_frames or count, count - 1)
        yield frame, mask
    if not masks.is_single and next(stream, None) is not None:
        raise _unequal(video, masks, count, masks.n_masks)


def _unequal(video: Video, masks: MaskStream, frames: int, found: int) -> UserError:
    return UserError(
        f"one mask for each frame of {video.path} ({frames} frames)",
        f"{found} masks in {masks.path}",
        "Which mask belongs to which frame is unknown, so that no trace of the outline can be "
        "drawn. Make the masks from this very file; or give one mask alone: motion, and with it "
        "beats and times, can be measured inside it.",
    )
