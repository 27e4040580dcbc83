"""How the command line shows things: sentences, progress bars, tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from ehtseg.jobs.analyse import AnalyseResult
    from ehtseg.jobs.doctor import Finding
    from ehtseg.jobs.export import Exported
    from ehtseg.jobs.segment import SegmentResult
    from ehtseg.learning.score_sheets import Evaluation
    from ehtseg.nets.describe import Description
    from ehtseg.study.prices import Price
    from ehtseg.study.results import Results
    from ehtseg.study.run import Work

WIDTH_OF_FILES = 1000  # characters: rows of a table stay whole where no terminal is narrower

console = Console(highlight=False, soft_wrap=True)
if not console.is_terminal:
    console = Console(highlight=False, soft_wrap=True, width=WIDTH_OF_FILES)


def say(text: str, style: str = "") -> None:
    """Print one sentence; square brackets are text, not markup."""
    console.print(text, style=style or None, markup=False)


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar with the time left; yields what to call with (done, total)."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; numbers stand right, floats with four digits."""
    shown = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    first = rows[0] if rows else [""] * len(columns)
    for name, value in zip(columns, first, strict=True):
        justify: Literal["left", "right"] = "right" if isinstance(value, int | float) else "left"
        shown.add_column(name, justify=justify, overflow="fold")  # nothing is cut off
    for row in rows:
        shown.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row))
    if console.is_terminal:
        console.print(shown)
        return
    with console.capture() as drawn:
        console.print(shown)
    for line in drawn.get().splitlines():
        say(line.rstrip())


def show_findings(findings: Sequence[Finding]) -> int:
    """Print what the doctor found; returns how many findings need a cure of what is installed."""
    table("", ("", "found"), [(f.what, f.found) for f in findings])
    wanted = [f for f in findings if f.cure and f.what.startswith("weights")]
    for cure in dict.fromkeys(finding.cure for finding in wanted):
        of = ", ".join(finding.what for finding in wanted if finding.cure == cure)
        say(f"{of}: none at hand. {cure}")
    ill = [f for f in findings if f.cure and f not in wanted]
    for finding in ill:
        say(f"{finding.what}: {finding.found}. {finding.cure}", style="red")
    return len(ill)


def show_network(network: Description) -> None:
    """Print a network layer by layer, and what it amounts to."""
    rows = [
        (
            layer.part,
            layer.name,
            layer.kind,
            layer.channels,
            layer.stride,
            layer.parameters,
            layer.weights,
            "fixed" if layer.fixed else "trained",
            layer.mode,
        )
        for layer in network.layers
    ]
    columns = ("part", "layer", "kind", "channels", "stride", "parameters")
    table("", (*columns, "weights", "state", "mode"), rows)
    say(f"{network.parameters:,} parameters, {network.trainable:,} of them trained.")
    for note in network.notes:
        say(note)


def show_evaluation(evaluation: Evaluation) -> None:
    """Print the scores of the network and of the trivial baselines, by recording and together."""
    keys = ("dice", "iou", "hd95_px", "nsd_2px")
    rows = [
        (row["model"], row["recording"], row["images"], *(float(row[key]) for key in keys))
        for row in evaluation.tables["recordings.csv"]
    ]
    columns = ("model", "recording", "images", "Dice", "IoU", "HD95 px", "NSD 2 px")
    table("Means over the images of each recording, threshold 0.5", columns, rows)
    models = evaluation.summary["models"]
    worst = models["net"]["worst"]
    chosen = evaluation.summary["threshold_chosen"]
    at_chosen = models["net"]["per_image"]["dice_at_chosen"]
    say(f"Worst image of the network: {worst['image']}, Dice {worst['dice']:.4f}.")
    say(f"Dice at the threshold of the run ({chosen:g}): {at_chosen:.4f}.")
    say(evaluation.summary["empty_rule"])
    for warning in evaluation.warnings:
        say(f"Note: {warning}", style="yellow")


def show_export(result: Exported) -> bool:
    """Print how far a graph's masks are from torch's; returns whether it was kept."""
    columns = ("engine", "Dice change", "outline px", "pixels flipped", "probability", "guard")
    rows = [
        (
            str(way),
            f"{verdict.dice_change:.5f}",
            f"{verdict.outline_px:.3f}",
            f"{verdict.flipped_share:.3%}",
            f"{verdict.probability_change:.4f}",
            "holds" if verdict.holds else "does not hold",
        )
        for way, verdict in result.verdicts.items()
    ]
    title = f"Distance from torch fp32, {result.frames} (means; probability: the largest change)"
    table(title, columns, rows)
    say("Limits: Dice change 0.002, outline 0.5 px, 0.5 % of the pixels.")
    if result.file is None:
        say("Not kept: its masks are too far from those of torch in fp32.", style="red")
        say("The run is as it was: segment takes what it took before.")
        return False
    say(f"Written: {result.file}")
    return True


def show_segmented(results: Sequence[SegmentResult]) -> int:
    """Print what became of each recording; returns how many failed."""
    for result in results:
        if result.status == "done":
            rate = result.n_frames / max(result.seconds, 1e-9)
            counted = f"{result.n_frames} frames, {rate:.1f} a second"
            say(f"{result.source}: {counted}, in {result.folder}")
        elif result.status == "unchanged":
            say(f"{result.source}: complete and unchanged in {result.folder}, skipped")
        for note in result.notes:
            say(f"  {note}", "yellow" if note.startswith("Unfamiliar") else "")
    failed = [result for result in results if result.status == "failed"]
    for result in failed:
        say(f"{result.source}: failed. {result.reason}", style="red")
    return len(failed)


def show_analysed(results: Sequence[AnalyseResult], out: Path) -> int:
    """Print what each recording allows to conclude and what not; returns how many failed."""
    for result in results:
        if result.record is None or result.folder is None:
            say(f"{result.source}: failed. {result.reason}", style="red")
            continue
        summary = result.record["summary"]
        kept = " (complete and unchanged, skipped)" if result.status == "unchanged" else ""
        counted = f"{summary['verdict']}, {summary['beats']} beats"
        say(f"{result.source}: {counted}; see {result.folder / 'report.html'}{kept}")
        for note in result.record["notes"]:
            say(f"  {note}", "yellow" if note.startswith("Unfamiliar") else "")
        for sentence in result.record["can_be_concluded"]:
            say(f"  {sentence}")
        for sentence in result.record["cannot_be_concluded"]:
            say(f"  Not: {sentence}", style="yellow")
    if (out / "index.html").is_file():
        say(f"All recordings of {out}: {out / 'index.html'} and {out / 'summary.csv'}.")
    return sum(result.status == "failed" for result in results)


def show_studies() -> None:
    """Print the named studies: what they ask, and what they cost."""
    from ehtseg.study.designs import STUDIES

    rows = [(study.name, study.question, study.cost) for study in STUDIES.values()]
    table("Named studies, at the scale cpu on two cores", ("study", "question", "cost"), rows)
    say("One of your own is a YAML file: examples/03_own_study.yaml. --plan shows runs and hours.")


def show_plan(work: Work, seconds: Mapping[str, float], workers: int, total_s: float) -> None:
    """Print what is left of a study, row by row, and how long it will take."""
    order, left = work.order, work.left
    rows = []
    for name in dict.fromkeys(entry.row for entry in work.entries):
        entries = [entry for entry in work.entries if entry.row == name]
        to_do = [entry for entry in entries if entry in left]
        known = [seconds[entry.key] for entry in to_do if entry.key in seconds]
        about = lasting(sum(known) / len(known)) if known else ""
        steps = "" if name == "baselines" else str(entries[0].run.steps)
        skipped = next((entry.skipped for entry in entries if entry.skipped), "")
        rows.append((name, len(entries), len(to_do), steps, about, skipped))
    columns = ("row", "runs", "to do", "steps each", "time each", "")
    table(f"{order.study.name} at the scale {order.scale}: {order.study.question}", columns, rows)
    for name in work.facts["random_instead"]:
        say(f"No ImageNet weights of {name} were found: it starts from random ones.", "yellow")
    for name, count in work.lent.items():
        say(f"{count} runs will come from {name}: the same trainings on the same data.")
    asked = {entry.key for entry in work.entries if order.asks_for(entry)}
    counted = f"{len(left)} of {len(asked)} tasks are left"
    if order.rows:
        counted += f" in the rows with {' or '.join(order.rows)}"
    if seconds:
        counted += f"; about {lasting(total_s)} with {workers} worker processes"
    say(f"{counted}.")


def show_study(results: Results) -> int:
    """Print mean Dice by row and place; returns how many runs failed."""
    import numpy as np

    places = list(dict.fromkeys(results.images["place"]))
    rows = []
    for name, model in _in_order(results):
        own = (results.images["row"] == name) & (results.images["model"] == model)
        runs = len(np.unique(results.images["key"][own]))
        dice = [
            float(np.mean(results.images["dice"][own & (results.images["place"] == place)]))
            for place in places
        ]
        rows.append((name if model == "net" else model, runs, *dice))
    if rows:
        table("Dice at threshold 0.5, mean over images and runs", ("row", "runs", *places), rows)
    unfinished = [i for i, status in enumerate(results.runs["status"]) if status != "done"]
    for i in unfinished:
        label = f"{results.runs['row'][i]}, seed {results.runs['seed'][i]:.0f}"
        say(f"{label}: {results.runs['status'][i]}. {results.runs['reason'][i]}", "yellow")
    return int((results.runs["status"] == "failed").sum())


def _in_order(results: Results) -> list[tuple[str, str]]:
    """Rows with their models, as the design has them; the baselines last."""
    from ehtseg.study.plan import design_row

    there = dict.fromkeys(zip(results.images["row"], results.images["model"], strict=True))
    place = {row: i for i, row in enumerate(results.facts["rows"])}
    return sorted(there, key=lambda each: place.get(design_row(each[0]), len(place)))


def lasting(seconds: float) -> str:
    """A length of time in words.

    >>> lasting(42), lasting(600), lasting(9000)
    ('42 s', '10 min', '2 h 30 min')
    """
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def show_prices(prices: Sequence[Price]) -> None:
    """Print what each network of a study costs."""
    columns = (
        "row", "weights", "parameters", "GMAC", "trained/s", "segmented/s", "peak MB, training",
    )  # fmt: skip
    rows = [
        (
            price.row,
            price.weights,
            price.parameters,
            *(f"{value:.3g}" for value in (price.gmacs, price.train_images_per_s)),
            *(f"{value:.3g}" for value in (price.segment_frames_per_s, price.peak_train_mb)),
        )
        for price in prices
    ]
    table("Images of one working size; rates of this machine as it was", columns, rows)
