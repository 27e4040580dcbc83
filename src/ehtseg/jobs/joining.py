"""Which files are one recording, and what a manifest says of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ehtseg.jobs.naming import fitting
from ehtseg.jobs.places import absolute
from ehtseg.jobs.recording import Facts, Recording
from ehtseg.measuring.events import Event
from ehtseg.measuring.manifest import Treatment, meant, read_manifest
from ehtseg.records import UserError

Lines = Sequence[tuple[Treatment, Path]]  # lines of a manifest, each with the file it means


def lines_of(manifest: Path, sources: Sequence[Path], out: Path | None = None) -> Lines:
    """The lines of a manifest with the recordings that they mean.

    Raises: UserError that names every line which cannot be read or means none of `sources`, and
    for a manifest in `out`, where results might take its place.
    """
    if out is not None and absolute(manifest).parent == absolute(out):
        got = f"{manifest}, where a table of the same name is written"
        raise UserError("a manifest outside --out", got, "Put it beside the recordings.")
    paths = {str(absolute(source)): source for source in sources}
    lines = read_manifest(manifest, list(paths))
    return [(line, paths[meant(line.file, list(paths))[0]]) for line in lines]


def recordings_of(sources: Sequence[Path], facts: Facts, lines: Lines = ()) -> list[Recording]:
    """What is analysed as one, in the order of `sources`.

    Without a manifest each file, or with `facts.join` all together. With one, the files of a well
    are joined where `facts.join` says so or the manifest says of each when it began; every line
    that does not hold from a recording's start on is an event in it.

    Raises: UserError for joining a single file.
    """
    join = facts.join
    if join and len(sources) < 2:
        raise UserError("several files to --join", f"{len(sources)}", "Name all of them.")
    if not lines:
        if not join:
            return [Recording((source,), facts) for source in sources]
        name = fitting(f"{sources[0].stem}_to_{sources[-1].stem}")
        return [Recording(tuple(sources), facts, name)]
    groups: list[list[Path]] = []
    for source in sources:
        if not any(source in group for group in groups):
            groups.append(_together(source, lines, join))
    return [_recording(group, facts, lines) for group in groups]


def _together(source: Path, lines: Lines, join: bool) -> list[Path]:
    """The files that are one recording with this one."""
    wells = {file: line.well for line, file in lines}
    if source not in wells:
        return [source]
    own = [(line, file) for line, file in lines if line.well == wells[source]]
    files = list(dict.fromkeys(file for _, file in own))
    begun = {file for line, file in own if line.stamp}
    return files if join or len(begun) == len(files) else [source]


def _recording(files: Sequence[Path], facts: Facts, lines: Lines) -> Recording:
    own = [(line, file) for line, file in lines if file in files]
    marks = tuple((file, _event(line)) for line, file in own)
    stamps = [next((li.stamp for li, f in own if f == file and li.stamp), None) for file in files]
    pacing = {line.pacing_bpm for line, _ in own}
    return Recording(
        tuple(files),
        replace(facts, marks=marks, stamps=tuple(stamps) if len(files) > 1 else ()),
        re.sub(r"[\\/:]", "_", own[0][0].well) if own else "",
        pacing.pop() if len(pacing) == 1 else None,
    )


def _event(line: Treatment) -> Event:
    """A line as an event; that nothing is given any more is a wash."""
    drug = line.drug or "wash"
    return Event(line.time_s, line.label, drug, line.dose or None, line.unit)
