"""What an hour of film costs: CPU a frame and peak memory of `ehtseg analyse`, network left out.

    python benchmarks/hour.py [--frames 3000] [--movie] [--profile] [--keep FOLDER]
    python benchmarks/hour.py --frames 108000     (the hour itself)

A film of 512 x 512 px at 30 frames/s is made from the frames of ../shared/data/synth_fea (a real
texture moved by a finite-element simulation; test material, nothing is trained) or, without them,
from a made-up texture; fresh noise in each frame. Masks are given, as a network would have left
them. The film is read, measured and reported by the same code as for a user. CPU is that of the
process over all its threads, without the making of the film; an hour is 108,000 frames, so that
`--frames 108000` is the hour itself (about 0.5 GB of disk, among temporary files or in --keep).
The target is 30 minutes on two cores and 1.5 GB.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

FPS, HOUR, SIZE = 30, 108_000, 512
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "synth_fea" / "images"
NOISES = 16  # fields of noise that take turns: drawing one a frame would cost more than the rest


def source_frames() -> list[np.ndarray]:
    """One beat cycle, uint8 (H, W)."""
    files = sorted(SHARED.glob("*.png"))
    if files:
        return [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in files]
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) - SIZE / 2
    cycle = []
    for phase in np.clip(np.sin(np.linspace(0, 2 * np.pi, 25, endpoint=False)), 0, 1):
        along = x / (1 - 0.05 * phase)
        texture = 60 * np.sin(0.3 * along + 0.2 * y) * np.cos(0.25 * y - 0.1 * along)
        inside = (abs(along) < 160) & (abs(y) < 70)
        cycle.append(np.where(inside, 120 + texture, 20).astype(np.uint8))
    return cycle


def film(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames, uint8 (H, W), each with its mask, bool."""
    cycle = source_frames()
    masks = [cv2.morphologyEx(im, cv2.MORPH_CLOSE, np.ones((15, 15))) > 40 for im in cycle]
    draw = np.random.default_rng(0)
    noises = [draw.normal(0, 4, cycle[0].shape).astype(np.int16) for _ in range(NOISES)]
    for k in range(count):
        noisy = cv2.add(cycle[k % len(cycle)], noises[k * 7 % NOISES], dtype=cv2.CV_8U)
        yield noisy, masks[k % len(cycle)]


def write_film(folder: Path, count: int) -> None:
    """film.mkv and its masks, film.tif."""
    from ehtseg.seeing.outputs import mask_stack

    first, mask = next(film(1))
    with (
        av.open(str(folder / "film.mkv"), "w") as container,
        mask_stack(folder / "film.tif", mask.shape, count, FPS, None) as write,
    ):
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *first.shape, "yuv420p"
        stream.time_base = Fraction(1, FPS)
        for image, inside in film(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
            write(inside)
        container.mux(stream.encode(None))


def analyse_film(folder: Path, movie: bool) -> None:
    """The job as the command line calls it."""
    from ehtseg.jobs.analyse import analyse
    from ehtseg.recipe import make_recipe

    recipe = make_recipe({"measure": {"movie": movie, "uncertainty": "none"}})
    (result,) = analyse(
        [folder / "film.mkv"], folder / "out", masks=folder / "film.tif", recipe=recipe
    )
    summary = (result.record or {"summary": result.reason})["summary"]
    print(f"{summary['verdict']}, {summary['beats']} beats, read from {summary['trace']}")


def cpu_s() -> float:
    """CPU seconds of this process so far, user and system, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(folder: Path, count: int, movie: bool, profiled: bool) -> None:
    """Print what the analysis of the film in `folder` took."""
    import ehtseg.jobs.analyse  # noqa: F401, so that loading libraries is not counted

    profile = cProfile.Profile()
    started, before = time.perf_counter(), cpu_s()
    if profiled:
        profile.enable()
    analyse_film(folder, movie)
    profile.disable()
    cpu, wall = cpu_s() - before, time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{count} frames: {1000 * cpu / count:.2f} ms CPU a frame, {1000 * wall / count:.2f} wall"
    )
    how = "" if count == HOUR else " (extrapolated)"
    print(f"an hour of {HOUR} frames: {cpu / count * HOUR / 60:.1f} min CPU{how}")
    print(f"peak memory {peak_mb:.0f} MB")
    if profiled:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def main() -> None:
    """Make the film in a process of its own, so that its memory does not count; then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--movie", action="store_true", help="with overlay.mp4")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--keep", type=Path, help="a folder for the film, used again if there")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:
        write_film(given.make, given.frames)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.keep or Path(temporary)) / f"{given.frames}_frames"
        shutil.rmtree(folder / "out", ignore_errors=True)  # else nothing would be left to do
        if not folder.exists():
            part = folder.with_name(f"{folder.name}_part")  # of a making that was cut off
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            words = ["--make", str(part), "--frames", str(given.frames)]
            subprocess.run([sys.executable, __file__, *words], check=True)
            part.rename(folder)
        measure(folder, given.frames, given.movie, given.profile)


if __name__ == "__main__":
    main()
