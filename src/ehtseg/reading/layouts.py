"""Labelled frames as other programs lay them out: names with an ending, folders of other names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from ehtseg.reading.pixels import IMAGE_SUFFIXES

Found = TypeVar("Found")

OF_MASKS = re.compile(r"mask|label|annot|truth|seg|(^|[^a-z])gt([^a-z]|$)", re.IGNORECASE)


def by_image(images: Collection[str], masks: Mapping[str, Found]) -> dict[str, Found]:
    """Masks under the names of their images, where one ending tells all of them apart.

    The ending may be of the masks (`a_mask`, Cellpose's `a_cp_masks`) or of the images (nnU-Net's
    `a_0000`). A number that only goes on, such as 1 and 10, is another number and no ending.
    Where names do not fit so without exception, the masks stay as they are.

    >>> by_image(["a", "b"], {"a_mask": 1, "b_mask": 2})
    {'a': 1, 'b': 2}
    >>> by_image(["a_0000", "b_0000"], {"a": 1, "b": 2})
    {'a_0000': 1, 'b_0000': 2}
    >>> by_image(["1", "2"], {"10": 1, "20": 2})
    {'10': 1, '20': 2}
    """
    wanted = set(images)
    if wanted == set(masks) or len(wanted) != len(masks):
        return dict(masks)
    for ending in _endings(wanted, masks):
        if {image + ending for image in wanted} == set(masks):
            return {image: masks[image + ending] for image in wanted}
    for ending in _endings(masks, wanted):
        if {mask + ending for mask in masks} == wanted:
            return {mask + ending: found for mask, found in masks.items()}
    return dict(masks)


def way_in(folder: Path) -> str:
    """Commands that give a folder of images and masks our names; nothing where it is not clear."""
    names = {path: _images_in(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    filled = [path for path, files in names.items() if files]
    masks = [path for path in filled if OF_MASKS.search(path.name)]
    images = [path for path in filled if path not in masks]
    if len(masks) == len(images) == 1:
        return _moves((images[0], folder / "images"), (masks[0], folder / "masks"))
    stems = sorted(_images_in(folder))
    ends = {ending for ending in _endings(stems, stems) if OF_MASKS.search(ending)}
    for ending in sorted(ends):
        ours = {stem.removesuffix(ending) for stem in stems if stem.endswith(ending)}
        if ours == {stem for stem in stems if not stem.endswith(ending)}:
            place = shlex.quote(str(folder))
            return (
                f"mkdir {place}/images {place}/masks && mv {place}/*{shlex.quote(ending)}.* "
                f"{place}/masks && mv {place}/*.* {place}/images"
            )
    return ""


def _endings(short: Collection[str], long: Collection[str]) -> Iterator[str]:
    """How names go on from the first of the short ones, as far as that can be an ending."""
    first = min(short, default="")
    for name in sorted(long):
        ending = name.removeprefix(first)
        if first and len(ending) < len(name) and ending and not ending[0].isdecimal():
            yield ending


def _images_in(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}


def _moves(*moves: tuple[Path, Path]) -> str:
    return " && ".join(
        shlex.join(["mv", str(one), str(other)]) for one, other in moves if one != other
    )
