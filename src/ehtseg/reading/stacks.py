"""TIFF stacks and OME-TIFF by tifffile, read one frame at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from tifffile import PHOTOMETRIC, TiffFile, TiffPageSeries

from ehtseg.reading.calibration import (
    S_PER,
    UM_PER,
    Claim,
    imagej_rates,
    told_number,
    told_ratio,
    unit_factor,
)
from ehtseg.reading.pixels import DAMAGED, check_colours
from ehtseg.reading.raw import EarlyEndError, Raw, RawFrame, check_depth, check_size
from ehtseg.records import Array, UserError

LARGEST_PIXEL_UM = 20.0  # coarser than this, a resolution per inch or cm is meant for a printer

_PRINTED = {2: "inch", 3: "cm"}  # values of the tag ResolutionUnit
_Said = tuple[tuple[Claim, ...], tuple[Claim, ...], tuple[str, ...]]  # fps, um/px, notes


def open_stack(path: Path) -> Raw:
    """A TIFF whose pages are the frames, or whose one frame axis (T, or Z or C alone) is.

    Raises: UserError for a file that is no TIFF, has two frame axes, or several image series.
    """
    with _opened(path) as (file, warnings):
        check_colours(path, file)
        series = _checked_series(path, file)
        n_frames = _n_frames(file)
        first = _first(path, file)
        ome = ome_of(file)
        fps, um_per_px, notes = _from_tags(file) if ome is None else _from_ome(ome)
        times_s, doubt = (None, ()) if ome is None else _rising(_delta_t_s(ome, n_frames))
        notes = (*_axis_note(series), *table_note(file), *warnings, *notes, *doubt)
        if ome is None and file.is_ome:
            notes += ("The OME-XML is broken or in another file: it tells no rate and no size.",)
    return Raw(
        path,
        first.shape[0],
        first.shape[1],
        deep=first.dtype not in (np.uint8, np.bool_),
        n_frames=n_frames,
        read=partial(_read, path, first, times_s),
        times_s=times_s,
        fps=fps,
        um_per_px=um_per_px,
        notes=notes,
    )


def count_frames(path: Path) -> int:
    """How many frames a TIFF holds; 0 where it cannot be read."""
    try:
        with _opened(path) as (file, _):
            return _n_frames(file)
    except UserError:
        return 0


def files_of(path: Path) -> frozenset[Path]:
    """The files that hold the frames of a TIFF: several where it is spread over them."""
    try:
        with _opened(path) as (file, _):
            places = _places(file)
            pages = [file.series[0][int(k)] for k in (() if places is None else places)]
            return frozenset(Path(page.parent.filehandle.path).resolve() for page in pages if page)
    except UserError:
        return frozenset()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[TiffFile, list[str]]]:
    """The open file with its chain of pages walked, and what tifffile complained of meanwhile."""
    said: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: said.append(  # type: ignore[method-assign]
        f"The file may be damaged or cut off; tifffile says: {record.getMessage()}."
    )
    log = logging.getLogger("tifffile")
    propagate, log.propagate = log.propagate, False
    log.addHandler(listener)
    with ExitStack() as opened:
        try:
            file = opened.enter_context(TiffFile(path))
            _n_frames(file)
        except DAMAGED as error:
            raise _unreadable(path, str(error)) from error
        finally:
            log.removeHandler(listener)
            log.propagate = propagate
        yield file, said


def _n_frames(file: TiffFile) -> int:
    series = file.series[0]
    if series.is_truncated:
        return int(np.prod(series.shape) // np.prod(series.keyframe.shape))
    if _is_one_block(file):
        return int((file.imagej_metadata or {})["images"])
    places = _places(file)
    return len(file.pages if places is None else places)


def _places(file: TiffFile) -> Array | None:
    """Which pages of its series are a file's frames (T,); None where all are in the file itself.

    Others may be beside it: of an OME-TIFF, and of Micro-Manager above 4 GB or with positions.
    """
    series = file.series[0]
    places = np.arange(len(series))
    is_spread = series.kind in ("mmstack", "ndtiff") and len(series) > len(file.pages)
    if series.kind != "mmstack" or not is_spread:
        return places if series.kind == "ome" or is_spread else None
    axes, shape = series.get_axes(False), series.get_shape(False)
    own = np.unique((file.micromanager_metadata or {})["IndexMap"][:, 3])
    if len(own) == 1 < shape[axes.index("R")]:
        places = places.reshape(shape[:4]).take(own, axes.index("R"))
    return places.ravel()


def _is_one_block(file: TiffFile) -> bool:
    """Whether the frames lie one after the other, with a directory for the first one alone.

    So ImageJ writes stacks above 4 GB; of others the end, with the other directories, is cut off.
    An image out of a stack may promise the stack, but has no room for a second frame.
    """
    page, promised = file.pages.first, (file.imagej_metadata or {}).get("images", 1)
    is_cut = len(file.pages) == 1 < promised and bool(page.is_contiguous)
    has_room = is_cut and page.dataoffsets[0] + 2 * page.nbytes <= file.filehandle.size
    return bool(file.series[0].is_truncated) or has_room


def _checked_series(path: Path, file: TiffFile) -> TiffPageSeries:
    series = file.series[0]
    places = _places(file)
    one = "YXSR" if places is not None and len(places) < len(series) else "YXS"
    long = {a: n for a, n in zip(series.axes, series.shape, strict=True) if n > 1 and a not in one}
    if len(long) > 1:
        raise UserError(
            f"one axis of frames in {path}",
            f"{len(long)}: " + ", ".join(f"{axis} = {n}" for axis, n in long.items()),
            "Save one channel and one slice alone (in Fiji: Image › Duplicate).",
        )
    if series.kind == "ome" and len(file.series) > 1:
        raise UserError(
            f"one recording in {path}",
            f"{len(file.series)} image series",
            "Save each series (position) as a file of its own.",
        )
    return series


def _read(
    path: Path, first: Array, times_s: Array | None, only: frozenset[int] | None
) -> Iterator[RawFrame]:
    with _opened(path) as (file, _):
        for index in range(_n_frames(file)) if only is None else sorted(only):
            values = _values(path, file, index)
            place = f"frame {index} of {path}"
            check_size(place, values.shape[:2], *first.shape[:2])
            check_depth(place, values, first)
            yield RawFrame(index, None if times_s is None else float(times_s[index]), values)


def _values(path: Path, file: TiffFile, index: int) -> Array:
    """Frame `index` as stored, (H, W) or (H, W, 3 or 4)."""
    series = file.series[0]
    try:
        if _is_one_block(file):
            values, axes = _cut_out(path, series, index), series.keyframe.axes
        else:
            places = _places(file)
            page = file.pages[index] if places is None else series[int(places[index])]
            if page is None:
                raise EarlyEndError(f"frame {index} is in another file, which is missing")
            values, axes = _pixels(page), series.keyframe.axes
    except DAMAGED as error:
        raise EarlyEndError(f"frame {index}: {error}") from error
    if axes == "SYX":
        values, axes = np.moveaxis(values, 0, -1), "YXS"
    is_picture = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
    if axes not in ("YX", "YXS") or not is_picture or values.dtype.kind not in "uifb":
        raise UserError(
            f"grey or RGB frames of real numbers in {path}",
            f"{axes} {values.shape} of {values.dtype}",
            "Save the recording as 8 or 16 bit grey or as RGB.",
        )
    return np.asarray(values)


def _pixels(page: Any) -> Array:
    """A page as stored; it may be in another file of an OME-TIFF, which tifffile has closed."""
    handle = page.parent.filehandle
    if not handle.closed:
        return np.asarray(page.asarray())
    handle.open()
    with handle:
        return np.asarray(page.asarray())


def _cut_out(path: Path, series: TiffPageSeries, index: int) -> Array:
    """One frame of a single contiguous block: see `_is_one_block`."""
    page = series.keyframe
    count = int(np.prod(page.shape))
    dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    offset = page.dataoffsets[0] + index * count * dtype.itemsize
    return np.fromfile(path, dtype, count, offset=offset).reshape(page.shape)


def _first(path: Path, file: TiffFile) -> Array:
    try:
        return _values(path, file, 0)
    except EarlyEndError as damage:
        raise _unreadable(path, str(damage)) from damage


def ome_of(file: TiffFile) -> ElementTree.Element | None:
    """The OME-XML of a file; None where it is broken or says that it stands in another one."""
    with suppress(ElementTree.ParseError):
        ome = ElementTree.fromstring(file.ome_metadata or "")
        return ome if _found(ome, "Pixels") else None
    return None


def _from_ome(ome: ElementTree.Element) -> _Said:
    pixels = _found(ome, "Pixels")[0].attrib
    rates, sizes = [], []
    second = unit_factor(S_PER, pixels.get("TimeIncrementUnit", "s"))
    increment = told_number(pixels.get("TimeIncrement"))
    if second and increment > 0:
        rates.append(Claim(1 / (increment * second), "the OME-XML's TimeIncrement"))
    for axis in "XY":
        um = unit_factor(UM_PER, pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        size = told_number(pixels.get(f"PhysicalSize{axis}"))
        if um and size > 0:
            sizes.append(Claim(size * um, f"the OME-XML's PhysicalSize{axis}"))
    return tuple(rates), tuple(sizes), ()


def _delta_t_s(ome: ElementTree.Element, n_frames: int) -> Array | None:
    """The time of each frame after the first (T,), where the OME-XML gives it for each."""
    times: dict[tuple[int, int], float] = {}
    for plane in _found(ome, "Plane"):
        second = unit_factor(S_PER, plane.get("DeltaTUnit", "s"))
        if second and "DeltaT" in plane.attrib and plane.get("TheC", "0") == "0":
            place = int(plane.get("TheT", 0)), int(plane.get("TheZ", 0))
            times[place] = float(plane.attrib["DeltaT"]) * second
    if len(times) != n_frames or n_frames < 2:
        return None
    stamps = np.array([times[place] for place in sorted(times)])
    return np.asarray(stamps - stamps[0])


def _rising(times_s: Array | None) -> tuple[Array | None, tuple[str, ...]]:
    """Time stamps of which most come after the one before; else none, with a note."""
    if times_s is None or np.median(np.diff(times_s)) > 0:
        return times_s, ()
    note = "Most of the OME-XML's time stamps (DeltaT) repeat the one before: they are not used."
    return None, (note,)


def _found(ome: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [element for element in ome.iter() if element.tag.rsplit("}")[-1] == name]


def _from_tags(file: TiffFile) -> _Said:
    imagej: dict[str, Any] = file.imagej_metadata or {}
    tags = file.pages.first.tags
    unit = imagej.get("unit") or _PRINTED.get(tags.valueof("ResolutionUnit", 1))
    um = unit_factor(UM_PER, unit)
    sizes, notes = [], []
    for axis in "XY":
        per_unit = told_ratio(tags.valueof(f"{axis}Resolution"))
        if um and per_unit > 0:
            sizes.append(Claim(um / per_unit, f"the TIFF's {axis}Resolution per {unit}"))
    if unit in _PRINTED.values() and any(size.value > LARGEST_PIXEL_UM for size in sizes):
        notes.append(
            f"The TIFF's resolution ({25400 / sizes[0].value:.4g} dpi) is one for printing: "
            "no pixel size was taken from it."
        )
        sizes = []
    rates, rate_notes = imagej_rates(imagej)
    return rates, tuple(sizes), (*notes, *rate_notes)


def _axis_note(series: TiffPageSeries) -> tuple[str, ...]:
    for axis, n in zip(series.axes, series.shape, strict=True):
        if n > 1 and (name := {"Z": "slices", "C": "channels"}.get(axis)):
            return (f"The file calls its {n} frames {name} ({axis}); they are read as time.",)
    return ()


def table_note(file: TiffFile) -> tuple[str, ...]:
    """A sentence where a viewer shows other values than are stored."""
    for table in (PHOTOMETRIC.PALETTE, PHOTOMETRIC.MINISWHITE):
        if file.pages.first.photometric == table:  # of a damaged file it may be anything
            return (f"The file's colour table ({table.name}) is not applied: values as stored.",)
    return ()


def _unreadable(path: Path, reason: str) -> UserError:
    return UserError(
        "a TIFF stack that can be read",
        f"{path}, perhaps damaged, cut off or of another kind ({reason})",
        "Copy the file again, or save it again as TIFF (in Fiji: File › Save As › Tiff).",
    )
