"""One recording to be analysed: its files, and what the user says of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ehtseg.jobs.places import absolute, describe_source, is_same
from ehtseg.jobs.sight import Seen, Sight
from ehtseg.measuring.events import Event
from ehtseg.measuring.force import Post
from ehtseg.reading.joined import Joined, join_videos
from ehtseg.reading.stamps import Stamp
from ehtseg.reading.video import Video, open_video


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What the user says of a recording; a fact has no default."""

    fps: float | None = None
    um_per_px: float | None = None
    events: tuple[Event, ...] = ()
    posts: str | None = None  # masks or two boxes: see `jobs/posts.py`
    post: Post | None = None  # size and stiffness of the posts

    @property
    def settings(self) -> dict[str, Any]:
        """All of it as a record holds it."""
        return {
            "fps_given": self.fps,
            "um_per_px_given": self.um_per_px,
            "events": [f"{event.time_s:g} {event.label}" for event in self.events],
            "posts": self.posts,
            "post": None if self.post is None else asdict(self.post),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What is analysed as one: a file, or several that are joined in order of time."""

    files: tuple[Path, ...]
    facts: Facts
    name: str = ""  # of several files together
    stamps: tuple[Stamp | None, ...] = ()  # when each began, where the user says so
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
        return join_videos(self.files, facts.fps, facts.um_per_px, self.stamps)

    def describe(self) -> dict[str, Any]:
        """What a record holds of the files. Raises: UserError where one cannot be read."""
        if len(self.files) == 1:
            return describe_source(self.files[0])
        files = [describe_source(file) for file in self.files]
        return {"path": str(absolute(self.place)), "files": files}

    def is_described(self, source: dict[str, Any]) -> bool:
        """Whether these are the very files that a record describes."""
        files = source.get("files", [source])
        return len(files) == len(self.files) and all(
            is_same({"source": one}, file) for one, file in zip(files, self.files, strict=True)
        )


def look_at(sight: Sight, video: Video | Joined) -> Seen:
    """A recording with the masks of its frames, file by file where several are joined."""
    if isinstance(video, Video):
        return sight.look_at(video)
    seen = {part.path: sight.look_at(part) for part in video.parts}
    return Seen(
        video.in_turn(lambda part: seen[part.path].pairs),
        "; ".join(dict.fromkeys(one.words for one in seen.values())),
        tuple(path for one in seen.values() for path in one.paths),
        any(one.one_mask for one in seen.values()),
    )


def path_of(video: Video | Joined) -> str:
    """Where a recording is, in words: the file, or the first file and the names of the others."""
    if isinstance(video, Video):
        return str(video.path)
    return " + ".join([str(video.path), *(part.path.name for part in video.parts[1:])])
