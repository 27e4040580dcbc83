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
    named = named_as(images, masks) if len(set(images)) == len(masks) else {}
    return named if len(named) == len(masks) else dict(masks)


def named_as(images: Collection[str], masks: Mapping[str, Found]) -> dict[str, Found]:
    """The masks of these images, by image: of the same name, or with the ending that fits most.

    >>> named_as(["a"], {"a_mask": 1, "b_mask": 2})
    {'a': 1}
    """
    wanted = sorted(set(images))
    ways = [{image: image for image in wanted}]
    ways += [{image: image + end for image in wanted} for end in _endings(wanted, masks)]
    ways += [
        {image: image.removesuffix(end) for image in wanted if image.endswith(end)}
        for end in _endings(masks, wanted)
    ]
    found = [{image: masks[m] for image, m in way.items() if m in masks} for way in ways]
    return max(found, key=len)


def way_in(folder: Path) -> str:
    """Commands that lay a folder of images and masks out as ours, without a change to its files.

    Nothing where it is not clear which are which.
    """
    names = {path: _images_in(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    filled = [path for path, files in names.items() if files]
    masks = [path for path in filled if OF_MASKS.search(path.name)]
    images = [path for path in filled if path not in masks]
    if len(masks) == len(images) == 1:
        pairs = (images[0], folder / "images"), (masks[0], folder / "masks")
        links = (shlex.join(["ln", "-s", at.name, str(to)]) for at, to in pairs if at != to)
        return " && ".join(links)
    stems = sorted(_images_in(folder))
    ends = {ending for ending in _endings(stems, stems) if OF_MASKS.search(ending)}
    for ending in sorted(ends):
        ours = {stem.removesuffix(ending) for stem in stems if stem.endswith(ending)}
        if ours == {stem for stem in stems if not stem.endswith(ending)}:
            place = shlex.quote(str(folder))
            return (
                f"mkdir {place}/images {place}/masks && cp {place}/*.* {place}/images && "
                f"mv {place}/images/*{shlex.quote(ending)}.* {place}/masks"
            )
    return ""


def _endings(short: Collection[str], long: Collection[str]) -> Iterator[str]:
    """How names go on from the first of the short ones, as far as that can be an ending."""
    for first in sorted(short):
        found = {name.removeprefix(first) for name in long if name.startswith(first)} - {""}
        yield from sorted(ending for ending in found if not ending[0].isdecimal())
        if found:
            return


def _images_in(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES}
