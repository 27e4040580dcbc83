"""The command line: parse, call, print. Heavy imports stand inside the commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ehtseg.records import UserError

app = typer.Typer(
    name="ehtseg",
    help="Segment beating engineered heart tissue in video. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
)

Videos = Annotated[list[str], typer.Argument(help="Videos, TIFF stacks, image folders, globs.")]
Folders = Annotated[list[Path], typer.Argument(help="Folders with images/ and masks/.")]
Recording = Annotated[
    str | None, typer.Option(help="Name of the recording, where no meta.json tells it.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Where the results go.")]
RecipeFile = Annotated[Path | None, typer.Option("--recipe", help="Decisions in a YAML file.")]
Profile = Annotated[str, typer.Option(help="Decisions to start from: modern or paper.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Any decision: --set fit.lr=0.001 (repeatable).")
]
Net = Annotated[
    str | None,
    typer.Option(
        help="unet, resnet50, vgg16, inception_resnet_v2, efficientnet_lite0 or timm:NAME."
    ),
]
Weights = Annotated[str | None, typer.Option(help="Encoder weights: a safetensors file.")]
Transfer = Annotated[
    str | None, typer.Option(help="Encoder stages that take ImageNet weights: 0 to all, or names.")
]
Freeze = Annotated[str | None, typer.Option(help="Encoder stages that stay fixed: 0 to all.")]
Fps = Annotated[float | None, typer.Option(help="Frames a second, where the file does not say.")]
Scale = Annotated[float | None, typer.Option("--um-per-px", help="Micrometres a pixel.")]


@app.command()
def frames(
    videos: Videos,
    out: Out,
    n: Annotated[int, typer.Option(help="How many frames, over all videos.")] = 50,
    fps: Fps = None,
    um_per_px: Scale = None,
) -> None:
    """Pick frames worth labelling: spread over the motion, not over time alone."""
    from ehtseg.doors.show import bar, say
    from ehtseg.jobs.frames import pick_frames
    from ehtseg.reading.video import find_videos

    with bar("frames") as tick:
        sources = find_videos(videos)
        picked = pick_frames(sources, n, out, fps=fps, um_per_px=um_per_px, progress=tick)
    for note in picked.notes:
        say(note)
    say(f"{len(picked)} frames stand in {out / 'images'}.")
    say(f"Paint a mask of the same name for each into {out / 'masks'}, then: ehtseg check {out}")


@app.command()
def check(folders: Folders, recording: Recording = None) -> None:
    """Say what is in labelled folders, how it will be read, and every problem with its cure."""
    from ehtseg.doors.show import say
    from ehtseg.jobs.check import check as check_folders

    report = check_folders(folders, recording)
    for line in report.lines:
        say(line)
    for number, problem in enumerate(report.problems, 1):
        say(f"Problem {number}: {problem}", style="red")
    if not report.ok:
        raise typer.Exit(2)


@app.command()
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

    decided = _recipe(
        profile,
        recipe,
        {"net": {"name": net, "weights": weights, "transfer": transfer, "freeze": freeze}},
        settings,
    )
    show_network(describe_net(decided.net))


@app.command()
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
    augment: Annotated[str | None, typer.Option(help="strong, flips or none.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything that is random.")] = None,
    recording: Recording = None,
    profile: Profile = "modern",
    recipe: RecipeFile = None,
    settings: Settings = None,
) -> None:
    """Train a network on labelled folders. The same command continues an interrupted training."""
    from ehtseg.doors.show import bar, say
    from ehtseg.learning.train import train as train_net
    from ehtseg.reading.dataset import open_dataset

    decided = _recipe(
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
    say(f"The run folder is {run.path}; threshold {run.threshold:.2f}, chosen on validation.")
    say(f"Next: ehtseg evaluate {run.path} {folders[0]}   or   ehtseg segment VIDEO -m {run.path}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    folders: Folders,
    split: Annotated[str, typer.Option(help="test, validation, train or all.")] = "test",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="For scores.csv ...")] = None,
    recording: Recording = None,
) -> None:
    """Score a trained network on labelled frames, with the trivial baselines beside it."""
    from ehtseg.doors.show import bar, show_evaluation
    from ehtseg.learning.evaluate import evaluate as evaluate_run
    from ehtseg.reading.dataset import open_dataset
    from ehtseg.seeing.run_folder import open_run

    opened, dataset = open_run(run), open_dataset(folders, recording=recording)
    with bar("frames") as tick:
        evaluation = evaluate_run(opened, dataset, split, out, progress=tick)
    show_evaluation(evaluation)


@app.command()
def segment(
    videos: Videos,
    model: Annotated[Path, typer.Option("--model", "-m", help="A run folder.")],
    out: Out,
    threshold: Annotated[float | None, typer.Option(help="Else the run's own.")] = None,
    batch: Annotated[int | None, typer.Option(help="Frames at a time.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.")] = None,
    fps: Fps = None,
    um_per_px: Scale = None,
) -> None:
    """Segment videos: masks, overlay, cut-out, a figure, a table of frames."""
    from ehtseg.doors.show import bar, show_segmented
    from ehtseg.jobs.segment import segment as segment_videos
    from ehtseg.recipe import make_recipe
    from ehtseg.seeing.run_folder import open_run

    run = open_run(model)
    given = {"threshold": threshold, "batch": batch, "precision": precision}
    decided = make_recipe(run.recipe.model_dump(), {"segment": _given(given)})
    with bar("frames") as tick:
        results = segment_videos(
            videos, run, out, decided.segment, fps=fps, um_per_px=um_per_px, progress=tick
        )
    if show_segmented(results):
        raise typer.Exit(2)


@app.command()
def analyse(
    videos: Videos,
    out: Out,
    model: Annotated[Path | None, typer.Option("--model", "-m", help="A run folder.")] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Instead of a model: a TIFF stack or a folder of masks.")
    ] = None,
    fps: Fps = None,
    um_per_px: Scale = None,
    event: Annotated[
        list[str] | None, typer.Option(help='"00:12:30 isoprenaline 1 uM" (repeatable).')
    ] = None,
    recipe: RecipeFile = None,
    settings: Settings = None,
) -> None:
    """Find and measure beats: traces, kinetics, flags, a page for each recording."""
    from ehtseg.doors.show import bar, show_analysed
    from ehtseg.jobs.analyse import analyse as analyse_videos
    from ehtseg.jobs.analysis import Facts
    from ehtseg.measuring.events import read_event
    from ehtseg.seeing.run_folder import open_run

    run = open_run(model) if model else None
    decided = _recipe("modern", recipe, run.recipe.model_dump() if run else {}, settings)
    facts = Facts(fps, um_per_px, tuple(read_event(text) for text in event or []))
    with bar("frames") as tick:
        results = analyse_videos(
            videos, out, run=run, masks=masks, recipe=decided, facts=facts, progress=tick
        )
    if show_analysed(results, out):
        raise typer.Exit(2)


@app.command()
def doctor(weights: Annotated[Path | None, typer.Option(help="Look there too.")] = None) -> None:
    """Say what this machine has: versions, precision, GPU, encoder weights; with cures."""
    from ehtseg.doors.show import show_findings
    from ehtseg.jobs.doctor import doctor as examine

    if show_findings(examine(weights)):
        raise typer.Exit(2)


@app.callback(invoke_without_command=True)
def version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Segment beating engineered heart tissue in video. Research use only."""
    if version:
        from importlib import metadata

        typer.echo(metadata.version("ehtseg"))
        raise typer.Exit


def main() -> None:
    """Run the command line; what a user can mend is one paragraph and exit code 2."""
    try:
        app()
    except UserError as error:
        typer.echo(f"ehtseg: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("Interrupted. What is complete is kept; the same command continues.", err=True)
        sys.exit(130)


def _recipe(
    profile: str, file: Path | None, options: dict[str, dict[str, Any]], settings: list[str] | None
) -> Any:
    """One recipe: the profile, then the file, then the options, then --set."""
    from ehtseg.recipe import make_recipe, profile_decisions, read_recipe, setting

    layers = [profile_decisions(profile), read_recipe(file) if file else {}]
    layers += [{section: _given(values)} for section, values in options.items()]
    return make_recipe(*layers, *(setting(text) for text in settings or []))


def _given(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
