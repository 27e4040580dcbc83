"""Commands around recordings: segment, analyse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehtseg.doors.options import (
    Events,
    Fps,
    Join,
    Manifest,
    Model,
    Out,
    PostGeometry,
    Posts,
    RawMasks,
    RecipeFile,
    Scale,
    Settings,
    Videos,
    given,
)


def segment(
    videos: Videos,
    out: Out,
    model: Model = None,
    threshold: Annotated[float | None, typer.Option(help="Else the run's own.")] = None,
    batch: Annotated[int | None, typer.Option(help="Frames at a time.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16, fp16 or int8.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, torch, openvino or onnx.")] = None,
    raw_masks: RawMasks = False,
    steady: Annotated[
        int | None,
        typer.Option(
            help="Average over so many frames on either side; else 0. Beats are found as before; "
            "amplitudes in the outline fall (1: by 10 % at 30 frames a second)."
        ),
    ] = None,
    fps: Fps = None,
    um_per_px: Scale = None,
) -> None:
    """Segment videos: masks, overlay, cut-out, a figure, a table of frames."""
    from ehtseg.doors.show import bar, say, show_segmented
    from ehtseg.jobs.segment import segment as segment_videos
    from ehtseg.recipe import make_recipe
    from ehtseg.seeing.shipped import chosen_run

    run = chosen_run(model)
    say(f"Segmenting with {run.words}.")
    choices = {"threshold": threshold, "batch": batch, "precision": precision, "steady": steady}
    choices["engine"] = engine
    choices["clean"] = False if raw_masks else None
    decided = make_recipe(run.recipe.model_dump(), {"segment": given(choices)})
    with bar("frames") as tick:
        results = segment_videos(
            videos, run, out, decided.segment, fps=fps, um_per_px=um_per_px, progress=tick
        )
    if show_segmented(results):
        raise typer.Exit(2)


def analyse(
    videos: Videos,
    out: Out,
    model: Model = None,
    masks: Annotated[
        Path | None, typer.Option(help="Instead of a model: a TIFF stack or a folder of masks.")
    ] = None,
    fps: Fps = None,
    um_per_px: Scale = None,
    event: Events = None,
    manifest: Manifest = None,
    join: Join = False,
    posts: Posts = None,
    post_geometry: PostGeometry = None,
    raw_masks: RawMasks = False,
    recipe: RecipeFile = None,
    settings: Settings = None,
) -> None:
    """Find and measure beats: traces, kinetics, flags, a page for each recording."""
    from ehtseg.doors.show import bar, say, show_analysed
    from ehtseg.jobs.analyse import analyse as analyse_videos
    from ehtseg.jobs.recording import Facts
    from ehtseg.measuring.events import read_event
    from ehtseg.measuring.force import read_post
    from ehtseg.recipe import make_recipe, read_recipe, setting
    from ehtseg.records import UserError
    from ehtseg.seeing.shipped import chosen_run

    if raw_masks and masks:
        cure = "Leave --raw-masks out: given masks are taken as they are."
        raise UserError("--raw-masks with a model", "--masks", cure)
    run = chosen_run(model) if model or not masks else None
    if run:
        say(f"Segmenting with {run.words}.")
    decided = make_recipe(
        run.recipe.model_dump() if run else {},
        read_recipe(recipe) if recipe else {},
        {"segment": {"clean": False}} if raw_masks else {},
        *(setting(text, ("segment", "measure")) for text in settings or []),
    )
    facts = Facts(
        fps,
        um_per_px,
        tuple(read_event(text) for text in event or []),
        manifest=manifest,
        join=join,
        posts=posts,
        post=read_post(post_geometry) if post_geometry else None,
    )
    with bar("frames") as tick:
        results = analyse_videos(
            videos, out, run=run, masks=masks, recipe=decided, facts=facts, progress=tick
        )
    if show_analysed(results, out):
        raise typer.Exit(2)
