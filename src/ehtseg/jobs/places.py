"""Which recording goes into which folder, and whether what stands there still holds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from ehtseg.jobs.naming import told_apart
from ehtseg.reading.containers import FORMATS
from ehtseg.reading.folders import image_files, with_suffix
from ehtseg.records import UserError
from ehtseg.seeing.run_folder import sha256_of

RECORD = "record.json"
WRITER = "ehtseg segment"
ANALYST = "ehtseg analyse"
OF_ALL = {  # what `analyse` writes about all recordings of an --out
    "summary.csv", "index.html", "treatments.csv", "plate.csv", "doses.csv", "hill.csv",
    "similarity.csv",
    *(f"{figure}.{kind}" for figure in ("plate", "similarity", "doses") for kind in ("svg", "png")),
}  # fmt: skip


def output_folders(sources: Sequence[Path], out: Path, writer: str = WRITER) -> list[Path]:
    """A folder in `out` for each recording: the one it had before, or a new one of its name.

    Where recordings share a name, their suffixes or the folders above them are added until they
    differ. A folder that is not ours, such as a source, is never given away; of a folder and its
    copies the one of the recording's name counts.

    Raises: UserError where `out` cannot be a folder.
    """
    _make_folder(out)
    before: dict[str, list[str]] = {}
    for found, record in results_in(out, writer):
        before.setdefault(record["source"]["path"], []).append(found.name)
    taken = {name.name.casefold() for name in out.iterdir()}
    folders = []
    for source, names in zip(sources, told_apart(map(absolute, sources)), strict=True):
        usual, own = next(names), before.get(str(absolute(source)), [])
        free = (name for name in chain([usual], names) if name.casefold() not in taken)
        name = (usual if usual in own else own[0]) if own else next(free)
        taken.add(name.casefold())
        folders.append(out / name)
    return folders


def results_in(out: Path, writer: str) -> list[tuple[Path, dict[str, Any]]]:
    """Folders of results in `out` with their records, by name; hidden ones are left-overs."""
    folders = sorted(path for path in out.iterdir() if not path.name.startswith("."))
    found = ((folder, read_record(folder, writer)) for folder in folders)
    return [(folder, record) for folder, record in found if record is not None]


def read_record(folder: Path, writer: str = WRITER) -> dict[str, Any] | None:
    """The record that an earlier run left in a folder; None where there is none of this writer."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(record, dict) and record.get("written_by") == writer
    return record if ours else None


def is_result(path: Path) -> bool:
    """Whether a path is a result of ours, lies in a folder of results, or is such an --out."""
    places = (path, path.parent)
    of_one = any(read_record(place, who) for place in places for who in (WRITER, ANALYST))
    if path.is_dir():
        return of_one or _holds_only_results(path)
    return of_one or (path.name in OF_ALL and path.is_file() and _holds_results(path.parent))


def _holds_only_results(folder: Path) -> bool:
    """Whether results stand in a folder, and no pictures but those that we drew (PNG and SVG)."""
    pictures = [*with_suffix(folder, FORMATS), *image_files(folder)]
    drawn = all(path.with_suffix(".svg").is_file() for path in pictures)
    return drawn and _holds_results(folder)


def _holds_results(folder: Path) -> bool:
    return any(results_in(folder, who) for who in (WRITER, ANALYST))


def describe_source(source: Path) -> dict[str, Any]:
    """Path, size, date of change and SHA-256 of a recording; for a folder, of its images.

    Raises: UserError where it cannot be read.
    """
    with _readable(source):
        return {**_stamp(source), "sha256": _hash(source)}


def is_same(record: dict[str, Any], source: Path) -> bool:
    """Whether a recording is the one that a record describes: by size and date, else by content.

    Raises: UserError where it cannot be read.
    """
    described = record["source"]
    with _readable(source):
        if all(described[key] == value for key, value in _stamp(source).items()):
            return True
        return bool(described["sha256"] == _hash(source))


def absolute(path: Path) -> Path:
    """The path from the root; links stay as they are, because a user knows the name of a link."""
    return Path(os.path.abspath(path))


@contextmanager
def gone_if_empty(out: Path) -> Iterator[None]:
    """Take away a new folder in which nothing came to stand."""
    is_new = not out.exists()
    try:
        yield
    finally:
        if is_new:
            with suppress(OSError):  # it stays where anything stands in it
                out.rmdir()


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"to be able to make the folder {out}",
            f"“{error.strerror}”",
            "Choose another --out.",
        ) from error


@contextmanager
def _readable(source: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cure = "Check its permissions, or copy it again."
        raise UserError(f"to read {source}", f"“{error.strerror}”", cure) from error


def _files(source: Path) -> list[Path]:
    return image_files(source) if source.is_dir() else [source]


def _stamp(source: Path) -> dict[str, Any]:
    stats = [file.stat() for file in _files(source)]
    return {
        "path": str(absolute(source)),
        "size_bytes": sum(stat.st_size for stat in stats),
        "modified_ns": max((stat.st_mtime_ns for stat in stats), default=0),
    }


def _hash(source: Path) -> str:
    if not source.is_dir():
        return sha256_of(source)
    digest = hashlib.sha256()
    for file in _files(source):
        digest.update(f"{file.name}\0{sha256_of(file)}\n".encode())
    return digest.hexdigest()
