"""Commands around networks: describe, train, score, export."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from ehtseg.doors.options import (
    Folders,
    Freeze,
    Net,
    Out,
    Profile,
    RecipeFile,
    Recording,
    Settings,
    Transfer,
    Weights,
    decided_recipe,
    named_places,
)


def describe(
    net: Net = None,
    weights: Weights = None,
    transfer: Transfer = None,
    freeze: Freeze = None,
    profile: Profile = "modern",
    recipe: RecipeFile = None,
    settings: Settings = None,
) -> None:
    """Show a network as a table: each layer, where its weights come from, fixed or not."""
    from ehtseg.doors.show import show_network
    from ehtseg.nets.describe import describe as describe_net

    decided = decided_recipe(
        profile,
        recipe,
        {"net": {"name": net, "weights": weights, "transfer": transfer, "freeze": freeze}},
        settings,
    )
    show_network(describe_net(decided.net))


def train(
    folders: Folders,
    out: Out,
    net: Net = None,
    weights: Weights = None,
    transfer: Transfer = None,
    freeze: Freeze = None,
    loss: Annotated[str | None, typer.Option(help="Such as bce, dice, focal_scalar+dice.")] = None,
    epochs: Annotated[int | None, typer.Option(help="20 with transfer, 40 without.")] = None,
    batch: Annotated[int | None, typer.Option(help="Frames a step.")] = None,
    size: Annotated[int | None, typer.Option(help="Working size in pixels.")] = None,
    split: Annotated[str | None, typer.Option(help="recording, blocks or random.")] = None,
    augment: Annotated[str | None, typer.Option(help="scenes, strong, flips or none.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is random.")] = None,
    recording: Recording = None,
    profile: Profile = "modern",
    recipe: RecipeFile = None,
    settings: Settings = None,
) -> None:
    """Train a network on labelled folders. The same command continues an interrupted training."""
    from ehtseg.doors.show import bar, say
    from ehtseg.learning.train import threshold_source
    from ehtseg.learning.train import train as train_net
    from ehtseg.reading.dataset import open_dataset

    decided = decided_recipe(
        profile,
        recipe,
        {
            "data": {"size": size, "split": split, "augment": augment},
            "net": {"name": net, "weights": weights, "transfer": transfer, "freeze": freeze},
            "fit": {"loss": loss, "epochs": epochs, "batch": batch, "seed": seed},
        },
        settings,
    )
    dataset = open_dataset(folders, recording=recording)
    for note in dataset.notes:
        say(note)
    with bar("steps") as tick:
        run = train_net(dataset, decided, out, tell=say, tick=tick)
    threshold = f"threshold {run.threshold:.2f}, {threshold_source(run)}"
    say(f"The run folder is {run.path}; {threshold}.")
    score = shlex.join(["ehtseg", "evaluate", str(run.path), *map(str, folders)])
    use = shlex.join(["ehtseg", "segment", "VIDEO", "-m", str(run.path), "-o", "OUT"])
    say(f"Next: {score}   or   {use}")


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder, or: shipped.")],
    folders: Folders,
    split: Annotated[str, typer.Option(help="test, validation, train or all.")] = "test",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="For report.html, scores.csv ...")
    ] = None,
    recording: Recording = None,
    clean: Annotated[bool, typer.Option("--clean", help="Masks as segment cleans them.")] = False,
    beside: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PLACE: another run, or masks of any origin; repeatable."),
    ] = None,
) -> None:
    """Score a trained network on labelled frames, with the trivial baselines beside it."""
    from ehtseg.doors.show import bar, say, show_evaluation
    from ehtseg.jobs.evaluate import evaluate as evaluate_run
    from ehtseg.reading.dataset import open_dataset
    from ehtseg.seeing.shipped import chosen_run

    opened, dataset = chosen_run(run), open_dataset(folders, recording=recording)
    with bar("frames") as tick:
        evaluation = evaluate_run(
            opened, dataset, split, out, cleaned=clean, beside=named_places(beside), progress=tick
        )
    show_evaluation(evaluation)
    if out is not None:
        say(f"The page is {out / 'report.html'}; scores.csv and other tables lie beside it.")


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    format: Annotated[str, typer.Option(help="onnx or openvino.")] = "openvino",
    int8: Annotated[bool, typer.Option("--int8", help="8-bit, fitted to --frames.")] = False,
    frames: Annotated[
        list[str] | None,
        typer.Option(help="Recordings to compare on (repeatable); else validation frames."),
    ] = None,
) -> None:
    """Write a network as a graph for other programs and for speed, compared with torch."""
    from ehtseg.doors.show import show_export
    from ehtseg.jobs.export import export as export_run
    from ehtseg.records import UserError
    from ehtseg.seeing.run_folder import open_run

    if format not in ("onnx", "openvino"):
        raise UserError("--format onnx or openvino", repr(format), "Choose one of these.")
    kind: Literal["onnx", "openvino"] = "onnx" if format == "onnx" else "openvino"
    if not show_export(export_run(open_run(run), kind, int8=int8, videos=frames or [])):
        raise typer.Exit(2)
