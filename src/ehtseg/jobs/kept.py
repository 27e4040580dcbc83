"""What one pass leaves of a recording, kept on disk: part by part while it runs, whole after it.

A run that was interrupted goes on after its last part; a later run of the same recording, masks and
settings needs no pass at all (an edit of the beats changes conclusions only).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, get_origin, get_type_hints

import numpy as np

from ehtseg.measuring.reference import Reference
from ehtseg.measuring.shapes import Axis
from ehtseg.measuring.traces import Traces, as_traces
from ehtseg.reading.mask_stream import open_masks
from ehtseg.records import Array, written_whole
from ehtseg.seeing.outputs import mask_stack

MADE_OF = "made_of.json"
NOMINAL_FPS = 30.0  # at which windows in seconds are read where nobody knows the frame rate
TIME = "time_s"

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """What is left of the frames that were watched: a part of a recording, or all of it.

    `columns` (T,) are named as the fields of FrameShape, Look and FlowFrame, with `time_s` (NaN
    where nobody knows it) before them. All else is as it was after the last of these frames.
    """

    columns: dict[str, Array]
    axis: Axis | None  # fixed for the recording, from the first masks
    reference: Reference | None  # of the flow
    shown: int  # the frame of the picture
    image: Array  # that frame, and its mask
    mask: Array
    notes: tuple[str, ...] = ()  # what a full pass shows of a file

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.columns[TIME])

    @property
    def is_timed(self) -> bool:
        """Whether every frame has its time, most of them later than the frame before."""
        time_s = self.columns[TIME]
        return bool(np.isfinite(time_s).all()) and not self.stands_still

    @property
    def stands_still(self) -> bool:
        """Whether most time stamps repeat the one before: they are not used then."""
        steps_s = np.diff(self.columns[TIME])
        return len(steps_s) > 0 and bool(np.median(steps_s) <= 0)

    def traces(self, um_per_px: float | None) -> Traces:
        """The columns over time; without a frame rate, time is frame number / `NOMINAL_FPS`."""
        counted = np.arange(self.n_frames) / NOMINAL_FPS
        time_s = self.columns[TIME] if self.is_timed else counted
        rest = {name: values for name, values in self.columns.items() if name != TIME}
        return as_traces(time_s, rest, um_per_px)


class Parts:
    """The parts of one recording in a folder, in order; those made of anything else are deleted.

    `made_of` is all that a part depends on, as JSON can hold it.
    """

    def __init__(self, folder: Path, made_of: dict[str, Any]) -> None:
        self.folder = folder
        if read_json(folder / MADE_OF) != made_of:
            shutil.rmtree(folder, ignore_errors=True)
        self.made_of = made_of
        self.parts = [load(path) for path in sorted(folder.glob("*.npz"))]

    def add(self, part: Watched, masks: Sequence[Array] = ()) -> None:
        """Keep one more part and, where they stand nowhere else, its masks, bool (H, W)."""
        if not self.parts:
            write_json(self.made_of, self.folder / MADE_OF)
        path = self.folder / f"{len(self.parts):06d}.npz"
        if masks:
            with (
                written_whole(path.with_suffix(".tif")) as beside,
                mask_stack(beside, masks[0].shape, len(masks), None, None) as write,
            ):
                for mask in masks:
                    write(mask)
        save(part, path)
        self.parts.append(part)

    @property
    def n_frames(self) -> int:
        """Frames in all parts."""
        return sum(part.n_frames for part in self.parts)

    def masks(self) -> Iterator[Array]:
        """The masks that were kept, in order, bool (H, W)."""
        for number, part in enumerate(self.parts):
            stack = open_masks(self.folder / f"{number:06d}.tif")
            yield from islice(stack.masks(), part.n_frames)

    def remove(self) -> None:
        """Nothing is left."""
        shutil.rmtree(self.folder, ignore_errors=True)


def joined(parts: Sequence[Watched], notes: tuple[str, ...] = ()) -> Watched:
    """Parts that follow each other as one."""
    last = parts[-1]
    columns = {name: np.concatenate([p.columns[name] for p in parts]) for name in last.columns}
    picture = last.shown, last.image, last.mask
    return Watched(columns, last.axis, last.reference, *picture, notes)


def save(watched: Watched, path: Path) -> None:
    """Write it whole or not at all: a part that is there is complete."""
    content = {f"columns.{name}": values for name, values in watched.columns.items()}
    for name in ("axis", "reference"):
        content |= taken_apart(name, getattr(watched, name))
    for name in ("shown", "image", "mask", "notes"):
        content[name] = np.asarray(getattr(watched, name))
    with written_whole(path) as beside:
        np.savez_compressed(beside, allow_pickle=False, **content)


def load(path: Path) -> Watched:
    """What `save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        content = dict(file)
    names = [name for name in content if name.startswith("columns.")]
    return Watched(
        {name.removeprefix("columns."): content[name] for name in names},
        put_together(Axis, "axis", content),
        put_together(Reference, "reference", content),
        int(content["shown"]),
        content["image"],
        content["mask"],
        tuple(str(note) for note in content["notes"]),
    )


def times_seen(path: Path, name: str) -> Array:
    """The times (s) of the frames in which column `name` has a value, in what `save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        time_s = file[f"columns.{TIME}"]
        return np.asarray(time_s[np.isfinite(file[f"columns.{name}"])])


def taken_apart(name: str, value: Any) -> dict[str, Array]:
    """A record of numbers, arrays and such records as arrays by dotted name; nothing for None."""
    if value is None:
        return {}
    if not is_dataclass(value):
        return {name: np.asarray(value)}
    inner = [taken_apart(f"{name}.{f.name}", getattr(value, f.name)) for f in fields(value)]
    return {key: array for one in inner for key, array in one.items()}


def put_together(kind: type[Record], name: str, content: Mapping[str, Array]) -> Record | None:
    """The record that `taken_apart` took apart; None where it was None."""
    if not any(key.startswith(f"{name}.") for key in content):
        return None
    found: dict[str, Any] = {}
    for key, hint in get_type_hints(kind).items():
        dotted = f"{name}.{key}"
        if is_dataclass(hint):
            found[key] = put_together(hint, dotted, content)  # type: ignore[arg-type]
        elif get_origin(hint) is tuple:
            found[key] = tuple(content[dotted].tolist())
        else:
            found[key] = content[dotted] if content[dotted].ndim else content[dotted].item()
    return kind(**found)


def write_json(content: Any, path: Path) -> None:
    """Write it whole or not at all."""
    with written_whole(path) as beside:
        beside.write_text(json.dumps(content), encoding="utf-8")


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where there is none that can be read."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None
