"""Names of recordings that share a folder of results: as short as tells them apart."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path

from ehtseg.reading.containers import FORMATS
from ehtseg.reading.pixels import TIFF_SUFFIXES

LONGEST_BYTES = 220  # of a name; file systems take 255, and hidden folders beside it need some


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for each recording: its file's, with the folders above it where two are the same.

    >>> unique_names([Path("/mon/a.avi"), Path("/tue/a.avi"), Path("/tue/b/images")])
    ['mon_a', 'tue_a', 'b']
    """
    return [next(names) for names in told_apart(path.resolve() for path in paths)]


def told_apart(paths: Iterable[Path]) -> Iterator[Iterator[str]]:
    """For each recording (path from the root) the names that no other of them could have.

    The shortest first, and without end.
    """
    ladders = [list(dict.fromkeys(_names(path))) for path in paths]
    times = Counter(name.casefold() for ladder in ladders for name in ladder)
    for ladder in ladders:
        own = [name for name in ladder if times[name.casefold()] == 1]
        yield chain(own, (f"{ladder[0]}_{number}" for number in count(2)))


def fitting(name: str) -> str:
    """A name that a file system takes: of a longer one the beginning and a hash.

    >>> fitting("a"), len(fitting(300 * "ä").encode()), fitting(300 * "a") == fitting(301 * "a")
    ('a', 209, False)
    """
    stored = name.encode()
    if len(stored) <= LONGEST_BYTES:
        return name
    return f"{stored[:200].decode(errors='ignore')}_{hashlib.sha256(stored).hexdigest()[:8]}"


def _names(path: Path) -> Iterator[str]:
    """A recording's name; with its suffix; with one folder above it, with two, ..."""
    return map(fitting, _full_names(path))


def _full_names(path: Path) -> Iterator[str]:
    if path.name == "images":
        path = path.parent
    is_file = path.suffix.lower() in (*FORMATS, *TIFF_SUFFIXES) and not path.is_dir()
    stem, suffix = (path.stem, path.suffix.strip(".")) if is_file else (path.name, "")
    yield stem
    if suffix:
        yield f"{stem}_{suffix}"
    above = path.parent.parts[1:]
    for depth in range(1, len(above) + 1):
        yield "_".join((*above[-depth:], stem))
