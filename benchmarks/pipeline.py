"""How near `ehtseg segment` comes to the rate of its own network.

    python benchmarks/pipeline.py [--model RUN ...] [--film FILM] [--precision bf16] [--stages]

All outputs on, at the film's own size. Network alone: the same engine over the same frames, already
read, shrunk and put in batches. Both take turns, `--repeats` times; shares are medians within the
repeats. Two shares are told: of the film as a whole (opening it, the looks at its doubt and the
figure included) and of its frames after the first `WARM`. CPU is that of the process over all its
threads; what is below 100 % busy was spent waiting. `--stages` tells what each step takes alone.
Without --film, the 200 frames of ../shared/data/eht_d1t3 or the bundled clip, made larger.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from paired import machine

from ehtseg.jobs.results import Means, frame_row
from ehtseg.jobs.segment import decide_means, segment
from ehtseg.reading.geometry import to_working_size
from ehtseg.reading.video import open_video
from ehtseg.recipe import SegmentRecipe
from ehtseg.records import Frame
from ehtseg.seeing import render
from ehtseg.seeing.clean import clean
from ehtseg.seeing.engines import flush_denormals
from ehtseg.seeing.outputs import mask_stack, movie
from ehtseg.seeing.predict import as_batch, enlarge, probability
from ehtseg.seeing.run_folder import RunFolder
from ehtseg.seeing.shipped import chosen_run

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "eht_d1t3" / "images"
FPS, SIZE, WARM = 30.0, 512, 40  # WARM: buffers fill, and most looks at doubt are behind


@dataclass(frozen=True)
class Lap:
    """Frames a second, and CPU."""

    rate: float
    cpu_ms: float  # a frame
    busy: float  # share of all cores
    steady_rate: float = 0.0  # after the first frames


def timed(work: Callable[[], Any], count: int) -> Lap:
    """What `work` on so many frames took."""
    started, before = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - started, time.process_time() - before
    return Lap(count / wall, 1000 * cpu / count, cpu / wall / len(os.sched_getaffinity(0)))


def network_lap(means: Means, frames: Sequence[Frame]) -> Lap:
    """The engine by itself."""
    small = [to_working_size(frame.image, means.settings["size_px"]) for frame in frames]
    batches = [as_batch(small[i : i + means.batch]) for i in range(0, len(small), means.batch)]
    return timed(lambda: [means.engine(batch) for batch in batches], len(small))


def pipeline_lap(run: RunFolder, film: Path, choices: SegmentRecipe, count: int) -> Lap:
    """The whole command, into a folder that is thrown away."""
    ticks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:

        def work() -> None:
            progress = lambda _done, _total: ticks.append(time.perf_counter())  # noqa: E731
            (result,) = segment([film], run, folder, choices, fps=FPS, progress=progress)
            assert result.status == "done", result.reason

        lap = timed(work, count)
    first = min(WARM, count // 2)
    return Lap(lap.rate, lap.cpu_ms, lap.busy, (count - first) / (ticks[-1] - ticks[first - 1]))


def shares(model: str | None, film: Path, choices: SegmentRecipe, repeats: int) -> list[str]:
    """The rows of the table for one network."""
    run = chosen_run(model)
    means = decide_means(run, choices, FPS, None)
    frames = list(open_video(film, FPS).frames())
    network_lap(means, frames[: 4 * means.batch])  # warm-up
    pairs = [
        (network_lap(means, frames), pipeline_lap(run, film, choices, len(frames)))
        for _ in range(repeats)
    ]
    alone, whole = (
        sorted(laps, key=lambda lap: lap.rate)[repeats // 2] for laps in zip(*pairs, strict=True)
    )
    steady = median(lap.steady_rate for _, lap in pairs)
    way = f"{run.recipe.net.name}, {means.engine.name} {means.engine.precision}"
    return [
        f"{way}, network at {means.settings['size_px']}, batch {means.batch}",
        f"  network alone   {alone.rate:6.1f} frames/s   {alone.cpu_ms:6.1f} ms CPU a frame   "
        f"{alone.busy:4.0%} busy",
        f"  whole film      {whole.rate:6.1f} frames/s   {whole.cpu_ms:6.1f} ms CPU a frame   "
        f"{whole.busy:4.0%} busy   share {median(p.rate / n.rate for n, p in pairs):.0%}",
        f"  after {WARM} frames {steady:6.1f} frames/s   "
        f"{'':38s}share {median(p.steady_rate / n.rate for n, p in pairs):.0%}",
    ]


def stages(film: Path, choices: SegmentRecipe, model: str | None, count: int = 40) -> list[str]:
    """CPU of each step by itself, one after the other (ms a frame)."""
    means = decide_means(chosen_run(model), choices, FPS, None)
    size, level, batch = means.settings["size_px"], means.settings["threshold"], means.batch
    told = []

    def step(name: str, work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        made = [work(item) for item in items[:batch]]  # warm-up
        lap = timed(lambda: made.extend(work(item) for item in items[batch:]), count - batch)
        told.append(f"  {name:12s} {lap.cpu_ms:6.2f} ms")
        return made

    coming = open_video(film, FPS).frames()
    frames = step("read", lambda _: next(coming), range(count))
    images = [frame.image for frame in frames]
    small = step("shrink", lambda image: to_working_size(image, size), images)
    logits = step("network", lambda image: means.engine(as_batch([image]))[0], small)
    large = step("enlarge", lambda one: enlarge(one, images[0].shape[:2]), logits)
    found = step("probability", probability, large)
    cleaned = step("clean", lambda one: clean(one, level), found)
    masks = step("threshold", lambda one: one.probability >= level, cleaned)
    step("table", lambda k: frame_row(frames[k], cleaned[k], level, None), range(count))
    drawn = step("overlay", lambda k: render.overlay(images[k], masks[k]), range(count))
    cut = step("cut-out", lambda k: render.cutout(images[k], masks[k]), range(count))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as files:
        shape, place = masks[0].shape, Path(folder)
        step(
            "masks.tif",
            files.enter_context(mask_stack(place / "m.tif", shape, count, FPS, None)),
            masks,
        )
        for name, pictures in (("overlay.mp4", drawn), ("cutout.mp4", cut)):
            write = files.enter_context(movie(place / name, shape, FPS))
            step(name, partial(_unstamped, write), pictures)
    return told


def _unstamped(write: Callable[[Any, float | None], None], picture: Any) -> None:
    write(picture, None)


def bundled_film(folder: Path, count: int = 200) -> Path:
    """The bundled clip at 512 x 512, again and again, as a video."""
    images = [frame.image for frame in open_video(ROOT / "samples" / "demo.mp4").frames()]
    path = folder / "film.mp4"
    with movie(path, (SIZE, SIZE), FPS) as write:
        for k in range(count):
            grey = cv2.resize(np.asarray(images[k % len(images)]), (SIZE, SIZE))
            write(render.as_rgb(grey), None)
    return path


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["shipped"], help="run folders")
    parser.add_argument("--film", type=Path)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--stages", action="store_true")
    asked = parser.parse_args()
    flush_denormals()
    print("; ".join(f"{key} {value}" for key, value in machine().items()), flush=True)
    choices = SegmentRecipe(engine=asked.engine, precision=asked.precision)
    with tempfile.TemporaryDirectory() as folder:
        film = asked.film or (REAL if REAL.is_dir() else bundled_film(Path(folder)))
        for model in asked.model:
            print("\n".join(shares(model, film, choices, asked.repeats)), flush=True)
            if asked.stages:
                print("\n".join(stages(film, choices, model)), flush=True)


if __name__ == "__main__":
    main()
