"""One recording to be analysed: its files, and what the user says of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ehtseg.jobs.places import absolute, describe_source, is_same
from ehtseg.jobs.sight import Seen, Sight
from ehtseg.measuring.events import Event
from ehtseg.measuring.force import Post
from ehtseg.reading.joined import Joined, join_videos
from ehtseg.reading.stamps import Stamp
from ehtseg.reading.video import Video, open_video
from ehtseg.records import Array


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What the user says of recordings, or of one of them; a fact has no default."""

    fps: float | None = None
    um_per_px: float | None = None
    events: tuple[Event, ...] = ()
    marks: tuple[tuple[Path, Event], ...] = ()  # events at a time in one of the files
    manifest: Path | None = None  # which file is which well, drug and dose
    join: bool = False  # the files are one recording, or with a manifest those of a well
    stamps: tuple[Stamp | None, ...] = ()  # when each of several files began
    posts: str | None = None  # masks or two boxes: see `jobs/posts.py`
    post: Post | None = None  # size and stiffness of the posts

    @property
    def settings(self) -> dict[str, Any]:
        """All that the results of one recording depend on, as its record holds it."""
        return {
            "fps_given": self.fps,
            "um_per_px_given": self.um_per_px,
            "events": [f"{event.time_s:g} {event.label}" for event in self.events],
            "marks": [f"{file.name} {one.time_s:g} {one.label}" for file, one in self.marks],
            "starts": [stamp and stamp.at.isoformat() for stamp in self.stamps],
            "posts": self.posts,
            "post": None if self.post is None else asdict(self.post),
        }

    def events_in(self, video: Video | Joined) -> tuple[Event, ...]:
        """All events in order of the recording's time; what holds from its start on is none."""
        starts_s = {video.path: 0.0}
        if isinstance(video, Joined):
            starts_s = {p.path: at for p, at in zip(video.parts, video.starts_s, strict=True)}
        moved = [replace(e, time_s=e.time_s + starts_s[file]) for file, e in self.marks]
        inside = [event for event in moved if event.time_s > 0]
        return tuple(sorted((*self.events, *inside), key=lambda event: event.time_s))


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What is analysed as one: a file, or several that are joined in order of time."""

    files: tuple[Path, ...]
    facts: Facts
    name: str = ""  # of several files together
    pacing_bpm: float | None = None  # goes before the recipe's

    @property
    def place(self) -> Path:
        """What its folder is named after: the file, or the name beside the first file."""
        return self.files[0] if len(self.files) == 1 else self.files[0].parent / self.name

    def open(self) -> Video | Joined:
        """The recording as a stream of frames. Raises: UserError as `open_video`, `join_videos`."""
        facts = self.facts
        if len(self.files) == 1:
            return open_video(self.files[0], facts.fps, facts.um_per_px)
        return join_videos(self.files, facts.fps, facts.um_per_px, facts.stamps)

    def describe(self) -> dict[str, Any]:
        """What a record holds of the files. Raises: UserError where one cannot be read."""
        if len(self.files) == 1:
            return describe_source(self.files[0])
        files = [describe_source(file) for file in self.files]
        return {"path": str(absolute(self.place)), "files": files}

    def is_described(self, source: dict[str, Any]) -> bool:
        """Whether these are the very files that a record describes; joined ones by path too.

        Their paths tell a manifest's lines when each began.
        """
        files = source.get("files", [source])
        paths = [one["path"] for one in files]
        if len(self.files) > 1 and paths != [str(absolute(file)) for file in self.files]:
            return False
        return len(files) == len(self.files) and all(
            is_same({"source": one}, file) for one, file in zip(files, self.files, strict=True)
        )


def look_at(sight: Sight, video: Video | Joined) -> Seen:
    """A recording with the masks of its frames, file by file where several are joined."""
    if isinstance(video, Video):
        return sight.look_at(video)
    seen = {part.path: sight.look_at(part) for part in video.parts}
    return Seen(
        lambda behind: video.in_turn(lambda part: seen[part.path].pairs(behind)),
        "; ".join(dict.fromkeys(one.words for one in seen.values())),
        tuple(path for one in seen.values() for path in one.paths),
        any(one.one_mask for one in seen.values()),
        lambda: list(dict.fromkeys(note for one in seen.values() for note in one.notes())),
        lambda: _in_turn([one.columns() for one in seen.values()]),
    )


def _in_turn(columns: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([one[name] for one in columns]) for name in columns[0]}


def about(video: Video | Joined) -> dict[str, Any]:
    """What a report holds of a recording: where it is, its size, rate and scale, and who says so.

    Of joined files also their paths (`files`) and when each begins (`starts_s`).
    """
    known = ("height", "width", "fps", "fps_source", "um_per_px", "um_per_px_source")
    said: dict[str, Any] = {key: getattr(video, key) for key in known}
    if isinstance(video, Video):
        return {"path": str(video.path), **said}
    words = " + ".join([str(video.path), *(part.path.name for part in video.parts[1:])])
    files = [str(absolute(part.path)) for part in video.parts]
    return {"path": words, **said, "files": files, "starts_s": list(video.starts_s)}
