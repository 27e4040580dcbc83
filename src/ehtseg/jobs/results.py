"""What is written about one segmented recording, frame by frame, in constant memory.

masks.tif      one page a frame, 0 and 255
overlay.mp4    the frames with the outline of the mask; a gap between them lasts 1 s at most
cutout.mp4     the frames without their background, likewise
figure.png     one frame, its mask and its cut-out
frames.csv     one row a frame: `COLUMNS`
record.json    source, network, settings, machine, and what the files mean
"""

from __future__ import annotations

import csv
import json
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ehtseg.jobs.places import RECORD, WRITER, absolute, describe_source
from ehtseg.measuring.shapes import cut_out, touched_sides
from ehtseg.reading.video import Progress, Video, open_video
from ehtseg.records import Array, Frame, UserError
from ehtseg.seeing import render
from ehtseg.seeing.clean import Cleaned, Tidied, as_it_is, clean
from ehtseg.seeing.engines import NamedEngine
from ehtseg.seeing.familiar import NO_LIMIT, Doubts
from ehtseg.seeing.machine import machine_facts
from ehtseg.seeing.outputs import NOMINAL_FPS, folder_written_whole, mask_stack, movie, write_png
from ehtseg.seeing.predict import certainty
from ehtseg.seeing.run_folder import RunFolder
from ehtseg.seeing.steady import steadied
from ehtseg.seeing.stream import see
from ehtseg.seeing.variants import of_one_network

FILES = ("masks.tif", "overlay.mp4", "cutout.mp4", "figure.png", "frames.csv", RECORD)
COLUMNS = {
    "frame": "number of the frame in the recording, from 0",
    "time_s": "time of the frame; empty where the frame rate is unknown",
    "mask_px": "pixels in the mask, as masks.tif shows it",
    "area_px": "area of the tissue: sum of probabilities in and next to the mask, without specks",
    "area_mm2": "the same in mm²; this column is left out where the pixel size is unknown",
    "certainty": "pixels with a probability of at least 0.9, as a share of those with 0.1; "
    "1 where no pixel has 0.1",
    "border": "sides of the picture that the tissue touches",
    "parts": "separate pieces of tissue, without specks; 0 where no tissue was found",
    "tissues": "pieces near each other count as one tissue; more than one: of similar size, kept",
    "filled_px": "pixels of holes in the tissue that were filled",
    "dropped_px": "pixels of specks and small other things that were dropped",
    "open_px": "pixels of holes too large to be filled, as in a ring",
}


@dataclass(frozen=True, slots=True)
class Means:
    """What all recordings of one call are segmented with."""

    run: RunFolder
    engine: NamedEngine
    batch: int
    settings: dict[str, Any]  # all that the results depend on, besides the recording

    @property
    def stamp(self) -> str:
        """One line that every file carries, for the day it is found alone."""
        made = self.settings
        return (
            f"ehtseg {made['ehtseg']}; model {self.run.name}, "
            f"weights {made['weights_sha256'][:16]}; {made['engine']}, {made['precision']}, "
            f"{torch.get_num_threads()} threads; threshold {made['threshold']:g}"
        )

    def doubts(self) -> Doubts | None:
        """Who doubts a recording that is unlike the training; None where no limit is known."""
        limit = self.run.facts.get("doubt_limit")
        if limit is None:
            return None
        made = self.settings
        return Doubts(of_one_network(self.engine, made["size_px"], made["threshold"]), limit)

    def look(
        self, frames: Iterator[Frame], doubts: Doubts | None = None
    ) -> Generator[tuple[Frame, Cleaned], None, None]:
        """Every frame with its probabilities, steady and clean as the settings say."""
        made = self.settings
        noting = (doubts.note,) if doubts else ()
        seen = see(self.engine, frames, made["size_px"], self.batch, *noting)
        tidy = clean if made["clean"] else as_it_is
        with closing(steadied(seen, made["steady"]) if made["steady"] else seen) as steady:
            for frame, probability_HW in steady:
                yield frame, tidy(probability_HW, made["threshold"])


def write_results(means: Means, source: Path, folder: Path, progress: Progress) -> dict[str, Any]:
    """Segment one recording into `folder`, which appears when all of it is complete.

    Returns its record. Raises: UserError for a recording that cannot be read, a full disk, ...
    """
    settings = means.settings
    video = open_video(source, settings["fps_given"], settings["um_per_px_given"])
    described = describe_source(source)
    with folder_written_whole(folder) as beside:
        doubts = means.doubts()
        with closing(means.look(video.frames(), doubts)) as seen:
            tally = _write_frames(beside, video, means, seen, progress)
        _check_seen(video)
        tally.doubt = doubts.warning() if doubts else NO_LIMIT
        picture = render.figure(tally.image, tally.mask, video.um_per_px)
        write_png(beside / "figure.png", picture, render.DOTS_PER_INCH, means.stamp)
        record = {"written_by": WRITER, "source": described, **_record(means, video, tally)}
        text = json.dumps(record, indent=1, ensure_ascii=False)
        (beside / RECORD).write_text(text + "\n", encoding="utf-8")
    return record


def _check_seen(video: Video) -> None:
    """Refuse a recording in which there is nothing to see, after a full pass over it."""
    if video.n_flat == video.n_frames:
        raise UserError(
            f"frames with something to see in {video.path}",
            f"{video.n_flat} frames of one value each",
            "Look at the recording in a viewer, and record or export it again.",
        )


@dataclass(slots=True, eq=False)
class _Tally:
    """What is kept of a recording while its frames pass by."""

    n_frames: int = 0
    without_tissue: int = 0
    tidied: Tidied = field(default_factory=Tidied)
    doubt: str | None = None  # what there is to say on whether it is unlike the training
    shown: int = 0  # the frame of the figure: the last of number 1, 2, 4, 8, ... with tissue
    image: Array = field(default_factory=lambda: np.zeros((1, 1), np.uint8))
    mask: Array = field(default_factory=lambda: np.zeros((1, 1), bool))

    def add(self, frame: Frame, mask: Array) -> None:
        """Count a frame, and keep it for the figure where its turn has come."""
        self.n_frames += 1
        is_empty = not mask.any()
        self.without_tissue += is_empty
        turn = self.n_frames & (self.n_frames - 1) == 0
        if self.n_frames == 1 or (turn and not is_empty):
            self.shown, self.image, self.mask = frame.index, frame.image, mask


def _write_frames(
    folder: Path,
    video: Video,
    means: Means,
    seen: Iterable[tuple[Frame, Cleaned]],
    progress: Progress,
) -> _Tally:
    """Everything that is written frame by frame."""
    shape, fps, um_per_px = (video.height, video.width), video.fps, video.um_per_px
    stamp, threshold, tally = means.stamp, means.settings["threshold"], _Tally()
    stack = folder / "masks.tif"
    with (
        mask_stack(stack, shape, video.n_frames, fps, um_per_px, stamp) as add_mask,
        movie(folder / "overlay.mp4", shape, fps, stamp) as add_overlay,
        movie(folder / "cutout.mp4", shape, fps, stamp) as add_cutout,
        open(folder / "frames.csv", "w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, columns(um_per_px), lineterminator="\n")
        table.writeheader()
        for frame, cleaned in seen:
            mask = cleaned.probability >= threshold
            add_mask(mask)
            add_overlay(render.overlay(frame.image, mask), frame.time_s)
            add_cutout(render.cutout(frame.image, mask), frame.time_s)
            table.writerow(frame_row(frame, cleaned, threshold, um_per_px))
            tally.add(frame, mask)
            tally.tidied.add(cleaned)
            progress(tally.n_frames, video.n_frames)
    return tally


def columns(um_per_px: float | None) -> list[str]:
    """Names of the columns of frames.csv."""
    return [name for name in COLUMNS if um_per_px is not None or name != "area_mm2"]


def frame_row(
    frame: Frame, cleaned: Cleaned, threshold: float, um_per_px: float | None
) -> dict[str, Any]:
    """One row of frames.csv: see `COLUMNS`."""
    probability_HW = cleaned.probability
    piece = cut_out(probability_HW, threshold)
    area_px = float(piece.weights.sum(dtype=np.float64)) if piece else 0.0
    row = {
        "frame": frame.index,
        "time_s": None if frame.time_s is None else round(frame.time_s, 6),
        "mask_px": int(np.count_nonzero(probability_HW >= threshold)),
        "area_px": round(area_px, 2),
        "certainty": round(certainty(cleaned.raw), 4),
        "border": " ".join(touched_sides(piece, probability_HW.shape)) if piece else "",
        "parts": piece.parts if piece else 0,
        "tissues": cleaned.tissues,
        "filled_px": cleaned.filled_px,
        "dropped_px": cleaned.dropped_px,
        "open_px": cleaned.open_px,
    }
    if um_per_px is not None:
        row["area_mm2"] = float(f"{area_px * um_per_px**2 / 1e6:.7g}")
    return row


def _record(means: Means, video: Video, tally: _Tally) -> dict[str, Any]:
    """What made the results and what they mean: the body of record.json."""
    run = means.run
    known = ("height", "width", "fps", "fps_source", "um_per_px", "um_per_px_source", "is_grey")
    return {
        "settings": means.settings,
        "model": {
            "name": run.name,
            "run_folder": str(absolute(run.path)),
            "weights": run.weights_file.name,
            "net": run.recipe.net.name,
        },
        "recording": {
            **{name: getattr(video, name) for name in known},
            "n_frames": tally.n_frames,
            "frames_without_tissue": tally.without_tissue,
            "scaling": asdict(video.scaling),
        },
        "computed_with": {
            "device": means.engine.device,
            "threads": torch.get_num_threads(),
            "batch": means.batch,
            **machine_facts(),
        },
        "files": {"figure.png": {"frame": tally.shown}, "frames.csv": COLUMNS},
        "notes": [*video.notes, *_notes(run, video, tally), *steady_notes(means.settings)],
    }


def _notes(run: RunFolder, video: Video, tally: _Tally) -> Iterator[str]:
    if video.fps is None:
        yield (
            f"The frame rate is unknown: the movies play at {NOMINAL_FPS:g} frames a second, "
            "which says nothing about the recording."
        )
    if video.height % 2 or video.width % 2:
        yield "The movies are a pixel larger: their height and width have to be even."
    if tally.without_tissue:
        yield f"No tissue was found in {tally.without_tissue} of {tally.n_frames} frames."
    if tally.doubt:
        yield tally.doubt
    yield from tally.tidied.notes()
    if not run.finished:
        yield "The network's training had not finished."


def steady_notes(settings: dict[str, Any]) -> list[str]:
    """What has to be said where masks are smoothed over time."""
    if not settings["steady"]:
        return []
    return [
        f"Probabilities are averaged over {2 * settings['steady'] + 1} frames (segment.steady): "
        "contractions are smaller, and their slopes less steep, than in the recording. Where the "
        "trace is read from the outline, at 30 frames a second, 3 frames move beats by 2 to 4 ms, "
        "cost 10 % of the amplitude and add 13 ms to CD50; 7 frames 6 to 12 ms, 20 % and 30 ms "
        "(docs/log.md)."
    ]
