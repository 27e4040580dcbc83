"""Which mask belongs to which image of a folder, and which frame of which recording they are.

A folder holds `images/` and `masks/` with the same file names (suffixes may differ, and one ending
that all masks or all images have besides, such as `_mask`). It may hold `ignore/`, masks of what
neither trains nor counts, and a `meta.json`. Of that, these keys are read, all others passed over:

    {"fps": 30,                      frames per second, of all recordings named here; or null
     "recording": "a",               of all frames that name none themselves
     "independent": true,            every image that names none is a recording of its own
     "frames": [{"file": "0.png",    of images/
                 "recording": "a",   or "movie"
                 "frame": 0,         number of the frame in its recording
                 "time_s": 0.0}]}    where the recording has true time stamps
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from ehtseg.reading.layouts import by_image, way_in
from ehtseg.reading.pixels import IMAGE_SUFFIXES
from ehtseg.records import UserError

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Name = Annotated[
    str | None, Field(validation_alias=AliasChoices("recording", "movie"), min_length=1)
]


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """One frame of a recording, with the file of its image and that of its mask."""

    image: Path
    mask: Path
    recording: str
    frame: int  # number in the recording, from 0
    time_s: float | None
    ignore: Path | None = None  # what of it does not count
    image_sha256: str = ""  # of the file; filled in once the file has been read
    mask_sha256: str = ""  # and of what does not count

    @property
    def name(self) -> str:
        """The frame by its names, wherever its folder stands."""
        return f"{self.recording} {self.frame} {self.image.name}"

    @property
    def key(self) -> str:
        """The frame by its names and the content of its files."""
        content = hashlib.sha256(f"{self.image_sha256}{self.mask_sha256}".encode()).hexdigest()
        return f"{self.name} {content[:16]}"


@dataclass(frozen=True, slots=True)
class Pairs:
    """What a folder holds: the labelled frames, and what is wrong or worth saying."""

    frames: tuple[LabelledFrame, ...]
    fps: float | None
    problems: tuple[UserError, ...]
    notes: tuple[str, ...]


class _Entry(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)
    file: str
    recording: _Name = None
    frame: Annotated[int, Field(ge=0)] | None = None
    time_s: Seconds | None = None
    source_id: str | None = None  # an image with its own source and no recording stands alone


class _Meta(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)
    fps: Rate | None = None
    recording: _Name = None
    independent: bool = False
    frames: tuple[_Entry, ...] = ()


def find_pairs(folder: Path, recording: str | None, assumed: str) -> Pairs:
    """The labelled frames of a folder, in natural order of their file names.

    A frame belongs to the recording that meta.json names; else, in a folder of independent
    images, to one of its own, whose name begins with `assumed`, that of the folder; else to
    `recording`, or to one that is called `assumed`.
    Nothing is raised: what is wrong stands in `problems`, and the frames are what is left.
    """
    absent = _absent(folder)
    if absent:
        return Pairs((), None, (absent,), ())
    problems: list[UserError] = []
    meta = _read_meta(folder / "meta.json", problems)
    entries = {stem_of(entry.file): entry for entry in meta.frames}
    images = _by_stem(folder / "images", problems)
    found = _by_stem(folder / "masks", problems)
    masks = by_image(images, found)
    ignored = _by_stem(folder / "ignore", problems) if (folder / "ignore").is_dir() else {}
    problems += _unpaired(folder, images, masks) + _unlisted(folder, images, entries)
    problems += _without_image(folder, images, ignored)
    frames = []
    seen: Counter[str] = Counter()
    for stem in (stem for stem in images if stem in masks):
        entry = entries.get(stem, _Entry(file=stem))
        name = _recording_of(entry, meta, assumed) or recording or assumed
        number = seen[name] if entry.frame is None else entry.frame
        time_s = number / meta.fps if entry.time_s is None and meta.fps else entry.time_s
        frames.append(
            LabelledFrame(images[stem], masks[stem], name, number, time_s, ignored.get(stem))
        )
        seen[name] += 1
    own = [entries.get(stem_of(frame.image.name)) for frame in frames]
    notes = _notes(folder, meta, own, None if recording else assumed)
    if frames and masks.keys() != found.keys():
        names = f"{frames[0].mask.name} is the mask of {frames[0].image.name}"
        notes.append(f"Names in {folder} differ by one ending: {names}, and so on.")
    return Pairs(tuple(frames), meta.fps, tuple(problems), tuple(notes))


def natural(name: str) -> list[tuple[int, str]]:
    """Sorting key that puts frame 2 before frame 10.

    >>> sorted(["10.png", "2.png"], key=natural)
    ['2.png', '10.png']
    """
    return [
        (int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)
    ]


def stem_of(name: str) -> str:
    """A file's name without folder and suffix, its accents in one spelling (macOS has another)."""
    return unicodedata.normalize("NFC", Path(name).stem)


def check_name(path: Path) -> None:
    """A name in another encoding, as out of an old archive, stands in no table and on no page.

    Raises: UserError for such a name.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors="replace")
        cure = "Rename it (mv, or convmv for many files)."
        raise UserError("a name in UTF-8", f"one in another encoding: {shown}", cure) from error


def some(names: Iterable[str], most: int = 3) -> str:
    """The first few names and the number of the others.

    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    listed = list(names)
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + rest


def _recording_of(entry: _Entry, meta: _Meta, folder: str) -> str | None:
    """The recording that meta.json names; of an image that stands alone, by its `folder`."""
    if entry.recording or meta.recording:
        return entry.recording or meta.recording
    alone = meta.independent or entry.source_id
    return f"{folder}/{Path(entry.file).stem}" if alone else None


def _absent(folder: Path) -> UserError | None:
    cure = f"Put the frames into {folder}/images and their masks into {folder}/masks."
    if not folder.is_dir():
        found = "a file" if folder.exists() else "no such folder"
        return UserError(f"a folder of labelled frames at {folder}", found, cure)
    lacking = [name for name in ("images", "masks") if not (folder / name).is_dir()]
    if not lacking:
        return None
    inside = sorted(path.parent for path in folder.glob("*/images"))
    if inside:
        cure = f"Give the folders inside it:  {shlex.join(map(str, inside[:6]))}"
    elif folder.name in ("images", "masks") and _absent(folder.parent) is None:
        cure = f"Give the folder that holds both:  {shlex.quote(str(folder.parent))}"
    elif way := way_in(folder):
        cure = f"If this is what they are:  {way}"
    return UserError(f"{folder}/images and {folder}/masks", f"no {' and no '.join(lacking)}", cure)


def _read_meta(path: Path, problems: list[UserError]) -> _Meta:
    if not path.exists():
        return _Meta()
    try:
        return _Meta.model_validate(json.loads(path.read_text(encoding="utf-8-sig")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where or 'the whole'} = {str(first['input'])[:60]!r} ({first['msg']})"
    except (OSError, ValueError) as error:
        reason = str(error)
    cure = "Correct it, or take it away and name the recording with --recording."
    problems.append(UserError(f"a meta.json as docs/formats.md describes at {path}", reason, cure))
    return _Meta()


def _by_stem(folder: Path, problems: list[UserError]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    double = []
    for path in sorted(folder.iterdir(), key=lambda path: natural(path.name)):
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            try:
                check_name(path)
            except UserError as fault:
                problems.append(fault)
                continue
            double += [path.name] if stem_of(path.name) in files else []
            files.setdefault(stem_of(path.name), path)
    if double:
        problems.append(
            UserError(
                f"one file of each name in {folder}",
                f"the same name with two suffixes: {some(double)}",
                "Move the second ones elsewhere.",
            )
        )
    return files


def _unpaired(folder: Path, images: dict[str, Path], masks: dict[str, Path]) -> list[UserError]:
    if not images:
        expected = f"images ({', '.join(sorted(IMAGE_SUFFIXES))}) in {folder}/images"
        return [UserError(expected, "zero frames", "Put the labelled frames there.")]
    problems = []
    for these, those, of in ((images, masks, "image"), (masks, images, "mask")):
        alone = [path.name for stem, path in these.items() if stem not in those]
        other = "mask" if of == "image" else "image"
        if alone:
            problems.append(
                UserError(
                    f"{of}s and {other}s of the same names in {folder}",
                    f"{len(alone)} {of}(s) without {other}: {some(alone)}",
                    f"Add the {other}s under the names of their {of}s, or take the {of}s away "
                    "(a frame without tissue needs a mask that is 0 everywhere).",
                )
            )
    return problems


def _without_image(
    folder: Path, images: dict[str, Path], ignored: dict[str, Path]
) -> list[UserError]:
    alone = [path.name for stem, path in ignored.items() if stem not in images]
    if not alone:
        return []
    expected = f"images for all that {folder}/ignore holds"
    return [UserError(expected, f"{len(alone)} without one: {some(alone)}", "Take these away.")]


def _unlisted(folder: Path, images: dict[str, Path], entries: dict[str, _Entry]) -> list[UserError]:
    problems = []
    lost = [entry.file for stem, entry in entries.items() if stem not in images]
    strays = [path.name for stem, path in images.items() if entries and stem not in entries]
    expected = f"the same frames in {folder}/meta.json and {folder}/images"
    if lost:
        got = f"{len(lost)} named file(s) that are missing: {some(lost)}"
        problems.append(UserError(expected, got, "Add the files or take their entries away."))
    if strays:
        got = f"{len(strays)} image(s) without an entry: {some(strays)}"
        problems.append(UserError(expected, got, "Add an entry with file, recording and frame."))
    return problems


def _notes(
    folder: Path, meta: _Meta, entries: Sequence[_Entry | None], assumed: str | None
) -> list[str]:
    """What was assumed about a folder's recordings (None: nothing) and frame numbers."""
    unnamed = sum(_recording_of(e or _Entry(file="-"), meta, "") is None for e in entries)
    alone = sum(bool(e and not e.recording and e.source_id) for e in entries)
    unnumbered = sum(e is None or e.frame is None for e in entries) - alone
    notes = []
    if alone and not meta.recording:
        notes.append(
            f"{alone} images of {folder} name a source of their own and no recording: each counts "
            "as an independent recording."
        )
    if unnamed and assumed:
        notes.append(
            f"Nothing names the recording of {unnamed} frames of {folder}: they are assumed to be "
            f"one, “{assumed}”. Name it in meta.json or with --recording."
        )
    if unnumbered > 0:
        notes.append(
            f"{unnumbered} frames of {folder} have no number in meta.json: they are numbered in "
            "the order of their names, so distances in time are counted in labelled frames."
        )
    return notes
