"""What the results of one recording are made from: frames that were watched once, and their masks.

The one pass is made only where no earlier run has left what it would find.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ehtseg.jobs.kept import MADE_OF, Parts, Watched, load, read_json, save, write_json
from ehtseg.jobs.posts import PostWatch
from ehtseg.jobs.recording import look_at
from ehtseg.jobs.sight import Behind, Seen, Sight
from ehtseg.jobs.watch import watch
from ehtseg.measuring.traces import columns_of
from ehtseg.reading.joined import Joined
from ehtseg.reading.mask_stream import open_masks
from ehtseg.reading.video import Progress, Video
from ehtseg.records import Array, Frame
from ehtseg.seeing.outputs import mask_stack

TRACES = "traces.npz"
STILL = "Most time stamps repeat the one before: they are not used. Give the rate with --fps."
MASKS = "masks.tif"  # those of a network; given ones stay where they are


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """One recording that was watched."""

    video: Video | Joined
    sight: Sight
    seen: Seen
    watched: Watched
    made_of: dict[str, Any]  # all that `watched` depends on
    before: Path | None  # the results of an earlier run that it comes from
    parts: Parts | None  # else those of this one

    def keep(self, folder: Path) -> None:
        """Write into a folder of results what a later run needs instead of a pass."""
        save(self.watched, folder / TRACES)
        write_json(self.made_of, folder / MADE_OF)
        if self.sight.draws and self.before:
            shutil.copy2(self.before / MASKS, folder / MASKS)
        elif self.sight.draws and self.parts:
            shape, video = (self.video.height, self.video.width), self.video
            known = self.watched.n_frames, video.fps, video.um_per_px
            with mask_stack(folder / MASKS, shape, *known) as write:
                for mask in self.parts.masks():
                    write(mask)

    def pairs(self, folder: Path) -> Generator[tuple[Frame, Array], None, None]:
        """Every frame with its mask, bool (H, W), a second time; `folder` is the one of `keep`."""
        if self.sight.draws:
            yield from zip(self.video.frames(), open_masks(folder / MASKS).masks(), strict=False)
            return
        for frame, found in look_at(self.sight, self.video).pairs(Behind()):
            yield frame, found if found.dtype == bool else found >= self.sight.threshold

    def forget(self) -> None:
        """Delete the parts, once results hold them."""
        if self.parts:
            self.parts.remove()


def gather(
    sight: Sight,
    video: Video | Joined,
    folder: Path,
    made_of: dict[str, Any],
    progress: Progress,
    posts: PostWatch | None = None,
) -> Material:
    """Watch a recording, or take what an earlier run of the same has left in `folder`.

    `made_of`, which JSON can hold, is all that it depends on; its `flow` says whether motion is
    followed. An interrupted run goes on where it was: its parts lie hidden beside `folder`.
    """
    made_of = json.loads(json.dumps(made_of))
    seen = look_at(sight, video)
    kept = (TRACES, MASKS) if sight.draws else (TRACES,)
    is_complete = all((folder / name).is_file() for name in kept)
    if is_complete and read_json(folder / MADE_OF) == made_of:
        return Material(video, sight, seen, load(folder / TRACES), made_of, folder, None)
    parts = Parts(folder.with_name(f".{folder.name}.parts"), made_of)
    pairs = seen.pairs(Behind(parts.n_frames))
    pairs = posts.passing(pairs) if posts else pairs
    how = {"with_flow": made_of["flow"], "keep_masks": sight.draws, "progress": progress}
    watched = watch(pairs, sight.threshold, video.n_frames, parts, **how)
    of_posts = columns_of(posts.frames) if posts else {}
    columns = {**watched.columns, **seen.columns(), **of_posts}
    still = (STILL,) if watched.stands_still else ()
    watched = replace(watched, columns=columns, notes=(*video.notes, *seen.notes(), *still))
    return Material(video, sight, seen, watched, made_of, None, parts)
