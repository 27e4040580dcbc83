"""Commands around labelled frames: which to label, what is in a folder, what a few can do."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ehtseg.doors.options import Folders, Fps, Model, Out, Recording, Scale, Videos


def frames(
    videos: Videos,
    out: Out,
    n: Annotated[int, typer.Option(help="Frames, over all videos; adapt takes 1 to 20.")] = 50,
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", help="A run folder, or: shipped. What it is unsure about."),
    ] = None,
    fps: Fps = None,
    um_per_px: Scale = None,
) -> None:
    """Pick frames worth labelling: spread over the motion; with a model, the doubtful ones."""
    from ehtseg.doors.show import bar, say
    from ehtseg.jobs.frames import pick_frames
    from ehtseg.reading.finding import find_videos

    run = None
    if model is not None:
        from ehtseg.seeing.shipped import chosen_run

        run = chosen_run(model)
    with bar("frames") as tick:
        sources = find_videos(videos)
        picked = pick_frames(sources, n, out, fps, um_per_px, tick, run)
    for note in picked.notes:
        say(note)
    say(f"{len(picked)} frames stand in {out / 'images'}.")
    then = f"ehtseg check {shlex.quote(str(out))}"
    say(f"Paint a mask of the same name for each into {out / 'masks'}, then: {then}")


def check(
    folders: Folders,
    recording: Recording = None,
    picture: Annotated[
        Path | None, typer.Option(help="A PNG to write: frames with their masks' outlines.")
    ] = None,
) -> None:
    """Say what is in labelled folders, how it will be read, and every problem with its cure."""
    from ehtseg.doors.show import say
    from ehtseg.jobs.check import check as check_folders

    report = check_folders(folders, recording, picture)
    for line in report.lines:
        say(line)
    for number, problem in enumerate(report.problems, 1):
        say(f"Problem {number}: {problem}", style="red")
    if not report.ok:
        raise typer.Exit(2)


def adapt(
    video: Annotated[Path, typer.Argument(help="One video, TIFF stack or image folder.")],
    labels: Annotated[
        list[Path],
        typer.Option(
            "--labels",
            help="A folder with images/ and masks/: 1 to 20 labelled frames of it (repeatable).",
        ),
    ],
    out: Out,
    model: Model = None,
) -> None:
    """Adapt the shipped model to one film by a few labelled frames of it, in minutes."""
    from ehtseg.doors.show import bar, say
    from ehtseg.jobs.adapt import adapt as adapt_run
    from ehtseg.jobs.adapt import told
    from ehtseg.reading.dataset import open_dataset

    for note in open_dataset(labels).notes:
        say(note)
    with bar("steps") as tick:
        adapted = adapt_run(video, labels, out, model, tick)
    for line in told(adapted):
        say(line)
    then = shlex.join(["ehtseg", "segment", str(video), "-m", str(out), "-o", "OUT"])
    say(f"The run folder is {out}. Next: {then}")
