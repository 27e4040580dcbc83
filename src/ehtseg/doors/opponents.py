"""Commands around the real nnU-Net v2: export for it, run and score it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ehtseg.doors.options import Folders, Recording

Others = Annotated[
    list[Path] | None, typer.Option("--test", help="A folder that is only tested (repeatable).")
]


def export_nnunet(
    folders: Folders,
    out: Annotated[Path, typer.Option("--out", "-o", help="nnU-Net's folder nnUNet_raw.")],
    test: Others = None,
    name: Annotated[str, typer.Option(help="Of the dataset.")] = "Dataset501_ehtseg",
    size: Annotated[int | None, typer.Option(help="Shrink to about this size in pixels.")] = None,
    split: Annotated[str, typer.Option(help="recording, blocks or random.")] = "recording",
    guard_frames: Annotated[int, typer.Option(help="Left out beside held-out frames.")] = 10,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    recording: Recording = None,
) -> None:
    """Write labelled frames as nnU-Net v2's raw dataset, our split as splits_final.json."""
    from ehtseg.doors.show import bar, say
    from ehtseg.jobs.nnunet_export import export_nnunet as export
    from ehtseg.reading.dataset import open_dataset
    from ehtseg.reading.splits import split_dataset
    from ehtseg.recipe import make_recipe

    data = {"split": split, "guard_frames": guard_frames}
    dataset = open_dataset(folders, recording=recording)
    others = [open_dataset([folder]) for folder in test or []]
    divided = split_dataset(dataset, make_recipe({"data": data}).data, seed)
    for line in (*divided.report, *divided.warnings):
        say(line)
    with bar("frames") as tick:
        folder = export(dataset, divided, out, others=others, size=size, name=name, progress=tick)
    say(f"nnU-Net's raw dataset is {folder}, the split {folder / 'splits_final.json'}.")
    places = shlex.join(map(str, [folder, *folders]))
    say(f"Next: ehtseg nnunet {places} --venv VENV --out OUT")


def nnunet(
    raw: Annotated[Path, typer.Argument(help="The dataset folder of export-nnunet.")],
    folders: Folders,
    out: Annotated[Path, typer.Option("--out", "-o", help="For nnU-Net's files and our scores.")],
    venv: Annotated[Path, typer.Option(help="Virtual environment with nnunetv2.")],
    trainer: Annotated[str, typer.Option(help="nnU-Net's trainer class.")] = "nnUNetTrainer",
    steps: Annotated[int | None, typer.Option(help="Steps an epoch; nnU-Net's: 250.")] = None,
    device: Annotated[str | None, typer.Option(help="cuda, cpu or mps.")] = None,
    mirror: Annotated[bool, typer.Option(help="Average over mirrored frames.")] = True,
) -> None:
    """Run the real nnU-Net v2 on an exported dataset and score it with our scores."""
    from ehtseg.doors.show import say, show_evaluation
    from ehtseg.jobs.nnunet import Settings, run_nnunet, score_nnunet
    from ehtseg.reading.dataset import open_dataset
    from ehtseg.seeing.engines import choose_device

    settings = Settings(venv, trainer, steps, device or choose_device().value, mirror)
    predictions = run_nnunet(raw, out, settings, tell=say)
    show_evaluation(score_nnunet(raw, predictions, open_dataset(folders), out / "scores"))
    say(f"The scores stand in {out / 'scores'}.")


def prices(
    study: Annotated[str, typer.Argument(help="A study such as rivals, or its file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of its results.")],
    scale: Annotated[str, typer.Option(help="smoke, cpu or paper.")] = "cpu",
) -> None:
    """Measure what each network of a study costs: weights, arithmetic, rates, memory."""
    from ehtseg.doors.show import bar, say, show_prices
    from ehtseg.study.prices import PRICES, measured_prices, write_prices
    from ehtseg.study.written import find_study

    found, chosen = [], find_study(study)
    with bar("networks") as tick:
        for price in measured_prices(chosen, scale):
            found.append(price)
            write_prices(found, out)
            tick(len(found), len(chosen.rows))
    show_prices(found)
    say(f"The prices stand in {out / PRICES}; the report of {out} shows them beside the scores.")
