#!/usr/bin/env python
"""What networks are worth on a recording that they were never trained on: one table for all.

    python scripts/left_out.py RUN... --data DATA [--out docs/left_out]

Each RUN is a folder that `scripts/build_shipped.py --leave-out NAME` made. Which recordings it
never saw is read from its run.json; these are scored, and analysed by the network and by the
reference masks. OUT.csv keeps every row and OUT.md shows them; a network that has its rows there is
not run again. Networks that are missing are named.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from build_shipped import FILMS, STILLS, stills_with_bars

from ehtseg.jobs.analyse import analyse
from ehtseg.jobs.evaluate import evaluate
from ehtseg.jobs.recording import Facts
from ehtseg.learning.surfaces import outline_jitter_px
from ehtseg.reading.dataset import open_dataset
from ehtseg.reading.mask_stream import open_masks
from ehtseg.recipe import make_recipe
from ehtseg.records import UserError, written_whole
from ehtseg.seeing.run_folder import RunFolder, open_run, sha256_of

NETS = ("efficientnet_lite0", "resnet50", "vgg16")  # the shipped encoder, and what is larger
TRACE = "contraction"  # by flow inside the mask: the same trace for every network
COLUMNS = {
    "recording": "never trained on",
    "net": "encoder",
    "steps": "steps",
    "frames": "frames",
    "dice": "Dice",
    "dice_worst": "worst frame",
    "iou": "IoU",
    "hd95_px": "HD95 px",
    "side_px": "picture px",
    "baseline": "best baseline",
    "jitter_px": "jitter px",
    "jitter_reference_px": "reference",
    "beats": "beats",
    "beats_reference": "reference",
    "interval_frames": "interval, frames",
    "interval_reference_frames": "reference",
}
KEPT = (*COLUMNS, "left_out", "seed", "threshold", "weights_sha256")  # the columns of the CSV
DIGITS = {"dice": 4, "dice_worst": 4, "hd95_px": 1, "jitter_px": 2, "jitter_reference_px": 2}
DIGITS |= {"interval_frames": 2, "interval_reference_frames": 2}
LEGEND = f"""Each network was trained on all other recordings by `recipes/shipped.yaml` and scored
at threshold 0.5 on every frame of the one left out, the stills outside their bars. Best baseline:
the highest Dice of the mean training mask, the nearest one, or a threshold. Jitter: mean second
difference of the outline's place over frames / sqrt 6, of the masks that `ehtseg analyse` keeps,
and of the reference masks. Beats and their median interval: `ehtseg analyse` with the network's
masks and with the reference masks, both read from the trace {TRACE}; the frame rate of eht_mbpt
is unknown, so that its interval in frames is all that can be said. Six recordings of four
laboratories, three of them single pictures, are few: no interval over recordings can be given, and
differences between two networks of one seed each cannot be told from chance. The EfficientNet-Lite0
networks are older: trained by `ehtseg train` with the same settings; those without eht_d1t3 and
without eht_ohw with an earlier outline of the stills' bars, the latter on 0.88 instead of 0.95 of
each film (docs/log.md)."""
Row = dict[str, Any]


def main() -> None:
    """Parse, score what has no rows yet, write both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs/left_out"), help="without suffix")
    parser.add_argument("--work", type=Path, default=Path("out/left_out"), help="for analyses")
    given = parser.parse_args()
    folders = {name: given.data / name for name in FILMS}
    folders[STILLS] = stills_with_bars(given.data, given.work)
    rows = read(given.out.with_suffix(".csv"))
    for path in given.runs:
        try:
            add(rows, path, folders, given.work)
        except UserError as error:
            print(f"{path}: skipped. {error}", file=sys.stderr)
        write(given.out, rows)
    print(write(given.out, rows))


def add(rows: list[Row], path: Path, folders: dict[str, Path], work: Path) -> None:
    """Add the rows of one run, unless they are there.

    Raises: UserError for a run that cannot be used or saw all recordings.
    """
    run = open_run(path)
    known = never_seen(run, folders)
    about = {
        "net": run.recipe.net.name,
        "steps": steps_of(run),
        "seed": run.recipe.fit.seed,
        "threshold": run.threshold,
        "weights_sha256": sha256_of(run.weights_file),
    }
    for name in known:
        kept = [row["left_out"] for row in rows if row["weights_sha256"] == about["weights_sha256"]]
        if name in kept:
            print(f"{path}: its rows of {name} are there already")
            continue
        print(f"{path}: {name} ...", flush=True)
        rows += [{**about, "left_out": name, **row} for row in scored(run, folders[name], work)]


def never_seen(run: RunFolder, folders: dict[str, Path]) -> list[str]:
    """The folders of which no recording trained the run or chose its threshold.

    Raises: UserError where the training has not finished, or where it saw all of them.
    """
    if not run.finished:
        raise UserError("a finished training", "one that has not finished", "Let it finish.")
    split = run.facts["split"]
    seen = {key.rsplit(" ", 3)[0] for part in ("train", "validation") for key in split[part]}
    found = [
        n for n, folder in folders.items() if not seen & set(open_dataset([folder]).recordings)
    ]
    if not found:
        cure = "Train with: scripts/build_shipped.py --leave-out NAME"
        raise UserError("a recording left out of the training", "none", cure)
    return found


def steps_of(run: RunFolder) -> int:
    """How many optimiser steps a run was trained."""
    with open(run.path / "history.csv", encoding="utf-8", newline="") as file:
        return int(list(csv.DictReader(file))[-1]["steps"])


def scored(run: RunFolder, folder: Path, work: Path) -> Iterator[Row]:
    """One row a recording of a folder."""
    dataset = open_dataset([folder])
    tables = evaluate(run, dataset, "all", work / run.path.name / "scores").tables
    for recording, indices in dataset.recordings.items():
        own = {r["model"]: r for r in tables["recordings.csv"] if r["recording"] == recording}
        images = [r["dice"] for r in tables["scores.csv"] if r["recording"] == recording]
        net, others = own.pop("net"), {row["dice"]: name for name, row in own.items()}
        best = max(others, default=math.nan)
        yield {
            "recording": recording,
            "frames": len(indices),
            **{name: net[name] for name in ("dice", "iou", "hd95_px")},
            "dice_worst": min(images),
            "side_px": max(dataset.read(indices[0])[0].shape[:2]),
            "baseline": f"{best:.3f} {others[best].replace('_', ' ')}" if others else "",
            **(behaviour(run, folder, dataset.fps.get(recording), work) if len(images) > 2 else {}),
        }


def behaviour(run: RunFolder, folder: Path, fps: float | None, work: Path) -> Row:
    """Jitter and beats of a film, by the network and by the reference masks."""
    measure = {"movie": False, "uncertainty": "none", "trace": TRACE}
    recipe = make_recipe(run.recipe.model_dump(), {"measure": measure})
    images, facts = [folder / "images"], Facts(fps=fps)
    net = analyse(images, work / run.path.name, run=run, recipe=recipe, facts=facts)[0]
    plain = make_recipe({"measure": measure})
    masks = folder / "masks"
    reference = analyse(images, work / "reference", masks=masks, recipe=plain, facts=facts)[0]
    if not (net.folder and net.record and reference.record):
        raise UserError("an analysis", net.reason or reference.reason, "See the reason.")
    row = {
        "jitter_px": outline_jitter_px(open_masks(net.folder / "masks.tif").masks()),
        "jitter_reference_px": outline_jitter_px(open_masks(masks).masks()),
    }
    for end, record in (("", net.record), ("_reference", reference.record)):
        row |= {f"beats{end}": record["summary"]["beats"]}
        row |= {f"interval{end}_frames": interval_frames(record["summary"], fps)}
    return row


def interval_frames(summary: Row, fps: float | None) -> float | None:
    """The median interval of the beats in frames; None below two beats.

    >>> interval_frames({"rr_s": 0.5}, 30.0), interval_frames({"rr_frames": 19.0}, None)
    (15.0, 19.0)
    """
    if fps is None:
        return summary.get("rr_frames")
    return None if summary.get("rr_s") is None else fps * summary["rr_s"]


def missing(rows: Sequence[Row]) -> list[str]:
    """A sentence for each encoder without some recording."""
    said = []
    for net in NETS:
        there = {row["left_out"] for row in rows if row["net"] == net}
        left = [name for name in (*FILMS, STILLS) if name not in there]
        if left:
            said.append(f"Not trained yet: {net} without {', '.join(left)}.")
    return said


def markdown(rows: Sequence[Row]) -> str:
    """The table, what is missing, and what the columns mean."""
    order = (*FILMS, STILLS)

    def place(row: Row) -> tuple[int, str, str]:
        return order.index(row["left_out"]), row["recording"], row["net"]

    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "|" + "---|" * len(COLUMNS)]
    for row in sorted(rows, key=place):
        lines.append("| " + " | ".join(cell(row, name) for name in COLUMNS) + " |")
    return "\n".join(["# One recording left out", "", *lines, "", *missing(rows), "", LEGEND, ""])


def cell(row: Row, name: str) -> str:
    """One cell of the table."""
    value = row.get(name)
    if value is None or value == "":
        return ""
    try:
        number = float(value)
    except ValueError:
        return str(value)
    return f"{number:g}" if number.is_integer() else f"{number:.{DIGITS.get(name, 3)}f}"


def read(path: Path) -> list[Row]:
    """The rows of an earlier call; none where there was none."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(out: Path, rows: Sequence[Row]) -> str:
    """Write OUT.csv and OUT.md; returns the latter."""
    csv_file = out.with_suffix(".csv")
    with written_whole(csv_file) as beside, open(beside, "w", newline="") as file:
        table = csv.DictWriter(file, KEPT, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    text = markdown(rows)
    with written_whole(out.with_suffix(".md")) as beside:
        beside.write_text(text, encoding="utf-8")
    return text


if __name__ == "__main__":
    main()
