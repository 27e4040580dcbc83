"""The history of a training: one row an epoch, and its picture."""

from __future__ import annotations

import csv
from pathlib import Path

from ehtseg.records import written_whole


def write_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Write history.csv: epoch, steps, lr, loss, val_dice ..., as the loop recorded them."""
    with written_whole(folder / "history.csv") as beside, open(beside, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]) if history else ["epoch"])
        writer.writeheader()
        writer.writerows(history)


def draw_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Draw history.png: training loss, and Dice and IoU on the validation frames, by epoch."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    loss, scores = figure.subplots(1, 2)
    loss.plot(epochs, [row["loss"] for row in history], color="#0072b2")
    loss.set(title="Training loss", xlabel="epoch", yscale="log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter(NullFormatter())
    for key, label, colour in (("val_dice", "Dice", "#0072b2"), ("val_iou", "IoU", "#d55e00")):
        scores.plot(epochs, [row[key] for row in history], color=colour, label=label)
    scores.set(title="Validation frames, threshold 0.5", xlabel="epoch", ylim=(0, 1.02))
    scores.legend(frameon=False, loc="lower right")
    for axes in (loss, scores):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    with written_whole(folder / "history.png") as beside:
        figure.savefig(beside, dpi=120, format="png")
