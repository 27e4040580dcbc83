"""When a recording began, as its file says; a date of copying is none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import av
from av.error import FFmpegError
from tifffile import TiffFile

from ehtseg.reading.containers import ANY_TEXT, FORMATS, url_of
from ehtseg.reading.folders import read_sidecar
from ehtseg.reading.pixels import DAMAGED, TIFF_SUFFIXES
from ehtseg.reading.raw import allowed
from ehtseg.reading.stacks import ome_of
from ehtseg.records import UserError

WHOLE_S = 1.0  # a stamp without fractions of a second is true to this


@dataclass(frozen=True, slots=True)
class Stamp:
    """When the first frame of a recording was taken, and who says so."""

    at: datetime  # UTC where the file gives a zone, else its own clock
    source: str
    dated: bool = True  # else `at` is a time of day, its date an arbitrary one

    @property
    def true_to_s(self) -> float:
        """How far the stamp may be off by its own digits."""
        return WHOLE_S if self.at.microsecond == 0 else 1e-3


def stamp_of(path: Path) -> Stamp | None:
    """The start of a recording from its header, or from `start` in a folder's meta.json.

    MP4, MOV and MKV: creation_time; OME-TIFF: AcquisitionDate; TIFF: the tag DateTime.
    """
    suffix = path.suffix.lower()
    with allowed(path):
        if path.is_dir():
            return _of_folder(path)
    if suffix in FORMATS:
        return _of_container(path)
    return _of_tiff(path) if suffix in TIFF_SUFFIXES else None


def read_stamp(text: str, source: str) -> Stamp | None:
    """A date with a time of day, ISO 8601 or as TIFF writes it; None for anything else.

    >>> read_stamp("2026:11:20 09:30:00", "the TIFF's DateTime").at.isoformat()
    '2026-11-20T09:30:00'
    >>> read_stamp("2026-11-20T09:30:00.5+01:00", "meta.json").at.isoformat()
    '2026-11-20T08:30:00.500000'
    """
    date, _, clock = text.strip().replace("T", " ", 1).partition(" ")
    try:
        at = datetime.fromisoformat(f"{date.replace(':', '-')} {clock}") if clock else None
    except ValueError:
        return None
    if at is None:
        return None
    return Stamp(at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at, source)


def _of_container(path: Path) -> Stamp | None:
    try:
        with av.open(url_of(path), metadata_errors=ANY_TEXT) as container:
            said = [container.metadata, *(stream.metadata for stream in container.streams)]
    except FFmpegError:
        return None
    times = [one["creation_time"] for one in said if one.get("creation_time")]
    return read_stamp(times[0], "the container's creation_time") if times else None


def _of_tiff(path: Path) -> Stamp | None:
    try:
        with TiffFile(path) as file:
            ome, tag = ome_of(file), file.pages.first.tags.valueof("DateTime")
    except DAMAGED:
        return None
    if ome is not None:
        dates = [one.text for one in ome.iter() if one.tag.endswith("Date")]
        found = read_stamp(dates[0] or "", "the OME-XML's AcquisitionDate") if dates else None
        if found:
            return found
    return read_stamp(str(tag), "the TIFF's DateTime") if tag else None


def _of_folder(folder: Path) -> Stamp | None:
    sidecar = read_sidecar(folder)
    if sidecar is None or sidecar.start is None:
        return None
    found = read_stamp(sidecar.start, "the file meta.json")
    if found is None:
        raise UserError(
            f"start in {sidecar.path} as a date with a time of day",
            f"{sidecar.start!r}",
            "Write for example 2026-11-20 09:30:00.",
        )
    return found
