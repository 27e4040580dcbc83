"""A folder of images as one recording, with what a meta.json beside them says of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tifffile import TiffFile

from ehtseg.reading.calibration import Claim
from ehtseg.reading.pairs import natural, some, stem_of
from ehtseg.reading.pixels import IMAGE_SUFFIXES, TIFF_SUFFIXES, read_pixels
from ehtseg.reading.raw import Raw, RawFrame, check_depth, check_size
from ehtseg.reading.stacks import table_note
from ehtseg.records import Array, UserError


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a meta.json says: fps, um_per_px, when it began; of each file its recording and time."""

    path: Path
    fps: float | None
    um_per_px: float | None
    frames: dict[str, dict[str, Any]]  # by the file's name without folder and suffix
    start: str | None = None  # date and time of day of the first frame


def open_folder(folder: Path) -> Raw:
    """The images of a folder, or of its `images/`, in natural order of their names.

    Raises: UserError for no images, for images in both places or twice of one name, for names
    whose order is unclear, and for a meta.json that cannot be understood.
    """
    files = image_files(folder)
    _check_once(folder, files)
    _check_order(folder, files)
    if not files:
        raise UserError(
            f"images (PNG, TIFF, JPEG, BMP) in {folder} or in {folder / 'images'}",
            "none",
            "Name the folder that holds the frames, or a video file.",
        )
    first = read_pixels(files[0])
    sidecar = read_sidecar(folder)
    times_s = _times_s(sidecar, files)
    odd = _counted(files) if times_s is None else ()
    claim = "the file meta.json"
    return Raw(
        folder,
        first.shape[0],
        first.shape[1],
        deep=first.dtype not in (np.uint8, np.bool_),
        n_frames=len(files),
        read=partial(_read, files, first, times_s),
        times_s=None if sidecar and sidecar.fps else times_s,  # a rate is not told twice
        fps=(Claim(sidecar.fps, claim),) if sidecar and sidecar.fps else (),
        um_per_px=(Claim(sidecar.um_per_px, claim),) if sidecar and sidecar.um_per_px else (),
        notes=(*_notes(sidecar, files), *_table(files[0]), *odd),
    )


def _check_once(folder: Path, files: list[Path]) -> None:
    """Raises: UserError where nobody knows which images are meant, or frames are there twice."""
    inside = folder / "images"
    within = with_suffix(inside, IMAGE_SUFFIXES) if inside.is_dir() else []
    if within and files != within:
        raise UserError(
            f"the frames of a recording in {folder} or in {inside}",
            f"images in both, {len(files)} and {len(within)}",
            "Name the folder that is meant, or take the other images away.",
        )
    names = Counter(path.stem for path in files)
    twice = [path.name for path in files if names[path.stem] > 1]
    if twice:
        raise UserError(
            f"one image of each name in {folder}",
            f"the same name with two suffixes: {some(twice)}",
            "Move the second ones elsewhere.",
        )


def _check_order(folder: Path, files: list[Path]) -> None:
    """Raises: UserError for decimals of several lengths: is 0.25 after 0.5, as 25 is after 5?

    Where the digits after the point count through, as in 1.9, 1.10, they are numbers of frames.
    """
    found = [re.fullmatch(r"(\D*)(\d+)(?:\.(\d+))?(\D*)", path.stem) for path in files]
    parts = [match.groups("") for match in found if match]
    if len(parts) < len(files) or len({(before, after) for before, *_, after in parts}) > 1:
        return
    decimals = [float(f"{whole}.{digits or 0}") for _, whole, digits, _ in parts]
    counts = [int(digits or 0) for _, _, digits, _ in parts]
    wrong = [k for k, (one, two) in enumerate(pairwise(decimals)) if two < one]
    through = sum(two - one == 1 for one, two in pairwise(counts))
    counting = 2 * through > len(files) and all(digits for *_, digits, _ in parts)
    if wrong and len(set(decimals)) == len(decimals) and not counting:
        raise UserError(
            f"images in {folder} whose names tell their order",
            f"{files[wrong[0]].name} and {files[wrong[0] + 1].name}: by its decimals the second "
            "comes first, by its digits the first",
            "Write all numbers with as many digits after the point (0.50, 0.25).",
        )


def read_sidecar(folder: Path) -> Sidecar | None:
    """The meta.json of a folder of images, beside them or beside their `images/`, if any.

    Raises: UserError for broken JSON and for impossible values.
    """
    above = [real.parent for real in (folder.absolute(), folder.resolve()) if real.name == "images"]
    places = [path for place in (folder, *above) if (path := place / "meta.json").is_file()]
    if not places:
        return None
    path = places[0]
    try:
        meta = json.loads(path.read_text(encoding="utf-8-sig"))
        rows = [row for row in meta.get("frames", []) if "file" in row]
        start = str(meta["start"]) if meta.get("start") else None
        files = {stem_of(str(row["file"])): row for row in rows}
        return Sidecar(path, _number(meta, "fps"), _number(meta, "um_per_px"), files, start)
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"a meta.json with numbers (or null) for fps and um_per_px and a list frames, {path}",
            f"“{error}”",
            "Correct the file, or remove it and give --fps and --um-per-px yourself.",
        ) from error


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Paths by name, numbers in it by their value."""
    return sorted(paths, key=lambda path: natural(str(path)))


def image_files(folder: Path) -> list[Path]:
    """The images directly in a folder, else those in its `images/`, in natural order."""
    for place in (folder, folder / "images"):
        if place.is_dir() and (found := with_suffix(place, IMAGE_SUFFIXES)):
            return found
    return []


def with_suffix(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files directly in a folder that have one of these suffixes, in natural order."""
    known = frozenset(suffixes)
    return natural_order(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in known and not path.is_dir() and not path.name.startswith(".")
    )


def _read(
    files: list[Path], first: Array, times_s: Array | None, only: frozenset[int] | None
) -> Iterator[RawFrame]:
    for index, path in enumerate(files):
        if only is not None and index not in only:
            continue
        values = read_pixels(path)
        check_size(str(path), values.shape[:2], *first.shape[:2])
        check_depth(str(path), values, first)
        yield RawFrame(index, None if times_s is None else float(times_s[index]), values)


def _number(meta: dict[str, Any], key: str) -> float | None:
    value = meta.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < np.inf:
        raise ValueError(f"{key} is {value!r}")
    return float(value)


def _times_s(sidecar: Sidecar | None, files: list[Path]) -> Array | None:
    """Seconds after the first frame (T,), from the `time_s` of each file, or its `frame` / fps.

    Times of which most repeat the one before, such as whole seconds, are passed over.
    """
    if sidecar is None or len(_recordings(sidecar, files)) > 1:
        return None
    rows = [sidecar.frames.get(stem_of(path.name), {}) for path in files]
    for key, rate in (("time_s", 1.0), ("frame", sidecar.fps)):
        values = [row.get(key) for row in rows]
        if rate and all(isinstance(value, int | float) for value in values):
            times_s = np.array(values, float) / rate
            if len(times_s) < 2 or np.median(np.diff(times_s)) > 0:
                return np.asarray(times_s - times_s[0])
    return None


def _recordings(sidecar: Sidecar, files: list[Path]) -> list[str]:
    rows = [sidecar.frames.get(stem_of(path.name), {}) for path in files]
    names = (row.get("recording") or row.get("movie") for row in rows)
    return sorted({str(name) for name in names if name})


def _counted(files: list[Path]) -> tuple[str, ...]:
    """What is odd where the last number in the names counts frames, in sentences."""
    found = [re.findall(r"\d+", path.stem) for path in files]
    if not all(found):
        return ()
    steps = [int(after[-1]) - int(before[-1]) for before, after in pairwise(found)]
    gaps = [k for k, step in enumerate(steps) if step > 1]
    again = [k for k, step in enumerate(steps) if step < 1]
    notes = []
    if gaps:
        notes.append(
            f"The numbers in the names of these {len(files)} images leave out "
            f"{sum(steps[k] - 1 for k in gaps)} (the first after {files[gaps[0]].name}): if these "
            "are frames that are missing, times after them are too early."
        )
    if again:
        notes.append(
            f"The numbers in the names of these images begin again (first at "
            f"{files[again[0] + 1].name}): if they are several recordings, give each a folder."
        )
    return tuple(notes) if 2 * steps.count(1) > len(steps) else ()


def _table(path: Path) -> tuple[str, ...]:
    if path.suffix.lower() not in TIFF_SUFFIXES:
        return ()
    with TiffFile(path) as file:
        return table_note(file)


def _notes(sidecar: Sidecar | None, files: list[Path]) -> tuple[str, ...]:
    if sidecar is None:
        return ()
    recordings = _recordings(sidecar, files)
    if len(recordings) > 1:
        return (
            f"{sidecar.path} names {len(recordings)} recordings in this folder "
            f"({', '.join(recordings[:3])}, ...): the frames have no common time.",
        )
    numbers = [sidecar.frames.get(stem_of(path.name), {}).get("frame") for path in files]
    known = [number for number in numbers if isinstance(number, int)]
    if len(known) == len(files) and known != list(range(known[0], known[0] + len(files))):
        return (
            f"{sidecar.path} says that these {len(files)} images are not all frames of the "
            f"recording in order (numbers {known[0]} to {known[-1]}).",
        )
    return ()
