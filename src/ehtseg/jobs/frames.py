"""Pick frames worth labelling: spread over the motion, so that no painting is done twice."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from ehtseg.jobs.naming import unique_names
from ehtseg.reading.finding import find_videos
from ehtseg.reading.video import Progress, Video, open_video
from ehtseg.records import Array, Frame, UserError, written_whole
from ehtseg.seeing.outputs import folder_written_whole

if TYPE_CHECKING:
    from ehtseg.seeing.run_folder import RunFolder

THUMBNAIL = 16  # frames are compared at 16 x 16 px: motion of a pixel shows, noise averages out
STILLEST = 10  # percent of successive frames that are taken for standing still
SAME = 1.25  # frames nearer than this many such still steps are near-duplicates


@dataclass(frozen=True, slots=True)
class PickedFrame:
    """One frame that was written: its file in `images/`, and where it comes from."""

    file: str
    movie: str
    frame: int
    time_s: float | None


@dataclass(frozen=True, slots=True)
class Picks:
    """The frames that were written, and what there is to say about the recordings."""

    folder: Path
    frames: tuple[PickedFrame, ...]
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.frames)


def pick_frames(
    videos: Sequence[str | Path],
    n: int,
    out: Path,
    fps: float | None = None,
    um_per_px: float | None = None,
    progress: Progress | None = None,
    run: RunFolder | None = None,
) -> Picks:
    """Write n frames of these videos to `out/images`, an empty `out/masks` and a `meta.json`.

    Each video is streamed twice: once to compare its frames, once to write the picked ones at
    their own size. With a trained network (`run`), which sees four times as many candidates in a
    third pass, these are the ones that it is least sure about. Once a mask of the same name is
    painted for each, `out` is a labelled folder. Fewer than n frames come where the rest are
    near-duplicates; the notes say so.

    Raises: UserError for unreadable videos, for n below the number of videos, and for an `out`
    that holds anything.
    """
    paths, out = find_videos(videos), Path(out).absolute()
    _check(n, len(paths), out)
    opened = [open_video(path, fps, um_per_px, progress) for path in paths]
    total = (3 if run else 2) * sum(video.n_frames or 0 for video in opened)
    tick = _counter(total, progress)
    ranked = [_ranked(video, n, run, tick) for video in opened]
    shares = share_out(n, [len(ranking) for ranking in ranked])
    if not any(shares):
        cure = "Look at the recordings in a viewer, and record them again."
        raise UserError("frames with something to see", "only frames of one value each", cure)
    names = unique_names(paths)
    with folder_written_whole(out) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        picked: list[PickedFrame] = []
        for video, name, ranking, share in zip(opened, names, ranked, shares, strict=True):
            wanted = frozenset(ranking[:share])
            picked += _written(folder / "images", name, wanted, _ticking(video, tick))
        _write_meta(folder / "meta.json", out.name, dict(zip(names, opened, strict=True)), picked)
    if progress:
        progress(total, total)
    return Picks(out, tuple(picked), _notes(n, names, opened, picked))


def _ranked(video: Video, n: int, run: RunFolder | None, tick: Callable[[], None]) -> list[int]:
    """Frames worth labelling, the best first."""
    if run is None:
        return farthest_first(thumbnails(_ticking(video, tick)), n)
    from ehtseg.jobs.doubt import SPARE, by_doubt  # torch only where a network is asked

    candidates = farthest_first(thumbnails(_ticking(video, tick)), SPARE * n)
    return by_doubt(run, _ticking(video, tick), candidates)


def thumbnails(frames: Iterator[Frame]) -> Array:
    """Frames (T, H, W[, 3]) as small pictures (T, P) of mean 0 and deviation 1, float32.

    So a change of brightness or contrast as a whole does not count as motion. A frame of one
    value becomes NaN.
    """
    rows = []
    for frame in frames:
        image = frame.image
        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        shape = THUMBNAIL, THUMBNAIL
        small = cv2.resize(grey.astype(np.float32), shape, interpolation=cv2.INTER_AREA).ravel()
        spread = small.std() if grey.min() < grey.max() else np.float32(np.nan)
        rows.append((small - small.mean()) / spread)
    return np.stack(rows)


def farthest_first(thumbnails_TP: Array, n: int) -> list[int]:
    """Up to n frames, each the farthest from all before it; the first is the most usual one.

    So the extremes of the motion come first and the steps between them later. It ends early
    where the farthest frame is a near-duplicate: no farther than SAME times the distance of
    successive frames when the tissue stands still. NaN rows are never picked.

    Source: Gonzalez, Theoretical Computer Science 38:293-306, 1985 (greedy k-centre).

    >>> farthest_first(np.array([[0.0], [0.0], [9.0], [5.0], [0.0]]), 3)
    [0, 2, 3]
    """
    points = thumbnails_TP
    usable = np.isfinite(points).all(axis=1)
    if not usable.any():
        return []
    steps = np.linalg.norm(np.diff(points[usable], axis=0), axis=1)
    same = SAME * float(np.percentile(steps, STILLEST)) if len(steps) else 0.0
    usual = np.median(points[usable], axis=0)
    next_one = int(np.nanargmin(np.linalg.norm(points - usual, axis=1)))
    nearest = np.where(usable, np.inf, -np.inf)
    picked: list[int] = []
    while len(picked) < n:
        picked.append(next_one)
        distances = np.linalg.norm(points - points[next_one], axis=1)
        nearest = np.where(usable, np.minimum(nearest, distances), -np.inf)
        next_one = int(np.argmax(nearest))
        if nearest[next_one] <= same:
            break
    return picked


def share_out(n: int, available: Sequence[int]) -> list[int]:
    """n shared evenly over videos that have so many distinct frames; what one lacks, others get.

    >>> share_out(10, [100, 2, 100])
    [4, 2, 4]
    """
    shares = [0] * len(available)
    while sum(shares) < min(n, sum(available)):
        open_ones = [i for i, share in enumerate(shares) if share < available[i]]
        shares[min(open_ones, key=lambda i: shares[i])] += 1
    return shares


def _check(n: int, n_videos: int, out: Path) -> None:
    if n < n_videos:
        raise UserError(
            f"at least one frame for each of {n_videos} video(s)",
            f"--n {n}",
            "Ask for more frames.",
        )
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError("a new or empty folder for --out", f"a file: {out}", "Choose another.")
    inside = sorted(path.name for path in out.iterdir())
    if inside:
        masks = len(list(out.glob("masks/*")))
        raise UserError(
            "a new or empty folder for --out",
            f"{out}, which holds {', '.join(inside[:4])} with {masks} files in masks/",
            "Choose another --out; train takes several folders at once.",
        )


def _written(
    folder: Path, name: str, wanted: frozenset[int], frames: Iterator[Frame]
) -> Iterator[PickedFrame]:
    for frame in frames if wanted else ():
        if frame.index in wanted:
            file = f"{name}_{frame.index:06d}.png"
            Image.fromarray(frame.image).save(folder / file)
            yield PickedFrame(file, name, frame.index, frame.time_s)
        if frame.index == max(wanted):
            return


def _write_meta(
    path: Path, dataset: str, movies: dict[str, Video], picked: list[PickedFrame]
) -> None:
    meta = {
        "dataset": dataset,
        "what": "frames picked for labelling, spread over the motion",
        "fps": _common([video.fps for video in movies.values()]),
        "um_per_px": _common([video.um_per_px for video in movies.values()]),
        "recordings": {name: _described(video) for name, video in movies.items()},
        "frames": [asdict(frame) for frame in picked],
    }
    with written_whole(path) as beside:
        beside.write_text(json.dumps(meta, indent=1, ensure_ascii=False), encoding="utf-8")


def _described(video: Video) -> dict[str, Any]:
    return {
        "source": str(video.path),
        "n_frames": video.n_frames,
        "height": video.height,
        "width": video.width,
        "fps": video.fps,
        "fps_source": video.fps_source,
        "um_per_px": video.um_per_px,
        "um_per_px_source": video.um_per_px_source,
        "scaling": asdict(video.scaling),
        "notes": list(video.notes),
    }


def _common(values: list[float | None]) -> float | None:
    """The one value of all recordings, else None: a fact that differs has no common value."""
    return values[0] if len(set(values)) == 1 else None


def _counter(total: int, progress: Progress | None) -> Callable[[], None]:
    done = itertools.count(1)
    return lambda: progress(min(next(done), total), total) if progress else None


def _ticking(video: Video, tick: Callable[[], None]) -> Iterator[Frame]:
    for frame in video.frames():
        yield frame
        tick()


def _notes(
    n: int, names: list[str], videos: Sequence[Video], picked: list[PickedFrame]
) -> tuple[str, ...]:
    notes = [
        f"{name}: {note}" for name, video in zip(names, videos, strict=True) for note in video.notes
    ]
    if len(picked) < n:
        notes.append(
            f"{len(picked)} frames were picked instead of {n}: all others are near-duplicates "
            "of these, or of one value."
        )
    return tuple(notes)
