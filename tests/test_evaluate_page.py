"""The page of an evaluation: its numbers are those of the tables, its pictures the worst frames."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehtseg.jobs.evaluate import WORST, Extremes, document_of, evaluate
from ehtseg.learning.score_sheets import Evaluation
from ehtseg.reading.dataset import open_dataset
from ehtseg.reporting.document import Picture, Points, Table
from ehtseg.reporting.outlines import LARGEST_PX
from ehtseg.reporting.study_figures import in_style
from ehtseg.seeing.run_folder import RunFolder
from test_evaluate import folder as folder
from test_evaluate import run as run
from test_reporting import Page

SIDE = 64


def noted(scores: list[tuple[str, float]], side: int = SIDE) -> Extremes:
    """What is kept of frames of these recordings with these Dice, in order."""
    seen, image = Extremes(), np.zeros((side, side), np.uint8)
    for k, (recording, dice) in enumerate(scores):
        row = {"image": f"{k}.png", "recording": recording, "dice": dice, "hd95_px": 1.0}
        seen.note(row, image, image > 0, image.astype(np.float32))
    return seen


def names(seen: Extremes) -> list[str]:
    return [each.title.split(".png")[0] for each in seen.pictures()]


def test_the_worst_frames_of_one_film_by_rising_dice_and_the_best_one_last() -> None:
    dice = [0.9, 0.2, 0.8, 0.99, 0.1, 0.5, 0.3, 0.95, 0.7, 0.6, 0.4]
    assert names(noted([("a", d) for d in dice])) == ["4", "1", "6", "10", "5", "9", "8", "3"]
    few = noted([("a", 0.5), ("a", 0.4)])
    assert names(few) == ["1", "0"], "each frame once"


def test_no_film_fills_the_page_with_its_near_copies() -> None:
    scores = [("bad", 0.1 + 0.001 * k) for k in range(50)]
    scores += [("fair", 0.6 + 0.001 * k) for k in range(50)] + [("good", 0.95)]
    shown = names(noted(scores))
    assert len(shown) == WORST
    assert {"0", "50", "100"} <= set(shown), "the worst one of each recording"


@pytest.mark.parametrize("order", [1, -1])
def test_of_many_recordings_the_worst_ones_are_kept_at_constant_size(order: int) -> None:
    scores = [(f"r{k}", k / 100) for k in range(100)][::order]
    seen = noted(scores)
    assert sum(map(len, seen.worst.values())) == WORST
    worst = [dict(scores)[f"r{k}"] for k in range(WORST)]
    assert [kept[0][0] for kept in seen.worst.values()] == worst
    large = noted([("a", 0.5)], side=3 * LARGEST_PX).pictures()[0]
    assert large.picture.shape == large.truth.shape == (LARGEST_PX, LARGEST_PX)


def test_the_page_says_what_the_tables_hold(run: RunFolder, folder: Path, tmp_path: Path) -> None:
    found = evaluate(run, open_dataset([folder]), "test", tmp_path / "scores")
    text = (tmp_path / "scores" / "report.html").read_text(encoding="utf-8")
    assert Page(text).open == []
    assert not re.search(r'(src|href)="(?!data:|#)', text), "it needs no other file"
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    for model in summary["models"].values():
        assert f"{model['per_image']['dice']:.4f}" in text
        assert f"{model['pooled']['dice']:.4f}" in text
    for warning in found.warnings:
        assert warning in text
    assert f"Scores of {run.recipe.net.name}" in text
    assert summary["models"]["net"]["worst"]["image"] in text
    again = evaluate(run, open_dataset([folder]), "test")
    assert again.summary == found.summary, "the page changes no score"


def made_up(recordings: dict[str, list[float]], baseline: float) -> Evaluation:
    """An evaluation with these Dice of the network, by recording."""

    def row(model: str, recording: str, image: int, dice: float) -> dict[str, Any]:
        return {"model": model, "image": f"{image}.png", "recording": recording, "dice": dice}

    net = [row("net", r, k, d) for r, each in recordings.items() for k, d in enumerate(each)]
    other = [row("mean_mask", r["recording"], 0, baseline) for r in net]
    means = [
        {
            "model": model,
            "recording": r,
            "dice": float(np.mean(each)) if model == "net" else baseline,
        }
        for model in ("net", "mean_mask")
        for r, each in recordings.items()
    ]
    dice = float(np.mean([r["dice"] for r in net]))
    scores = {"iou": dice / 2, "hd95_px": np.nan, "dice_at_chosen": dice}
    models = {
        name: {
            "per_image": {"dice": value, **scores}, "pooled": {"dice": value},
            "worst": {"image": "0.png", "dice": 0.5},
        }
        for name, value in (("net", dice), ("mean_mask", baseline))
    }  # fmt: skip
    summary = {
        "images": len(net), "recordings": len(recordings), "threshold_chosen": 0.5,
        "models": models, "warnings": ["Beware."], "empty_rule": "Empty.",
    }  # fmt: skip
    curve = [{"threshold": t, "dice": 1 - abs(t - 0.5)} for t in (0.1, 0.5, 0.9)]
    bins = [{"predicted": p, "observed": p} for p in (0.1, 0.9)]
    tables = {
        "scores.csv": net, "baselines.csv": other, "recordings.csv": means,
        "curve.csv": curve, "reliability.csv": bins,
    }  # fmt: skip
    return Evaluation("all", summary, tables)


def points(found: Evaluation) -> str:
    with in_style():
        document = document_of(found, "x", noted([("a", 0.5)]))
    (first,) = document.sections[0].blocks
    assert isinstance(first, Points)
    return " ".join(first.sentences)


def test_intervals_are_over_recordings_and_one_has_none() -> None:
    films = {"a": [0.9] * 40, "b": [0.8] * 4, "c": [0.85] * 4}
    said = points(made_up(films, 0.8))
    assert "0.8500 (95 % interval 0.7258 to 0.9742) in the mean of the recordings" in said
    assert "mean training mask, Dice 0.8000" in said
    assert "+0.0500 (95 % interval -0.0742 to 0.1742)" in said
    one = points(made_up({"a": [0.9] * 5}, 0.95))
    assert "interval" not in one
    assert "One recording: nothing is told of others." in one
    assert "-0.0500" in one


@pytest.mark.parametrize("count", [2, 40])
def test_many_recordings_are_not_drawn_apart(count: int) -> None:
    found = made_up({f"<b>$x_{{${k}": [0.9, 0.8] for k in range(count)}, 0.5)
    with in_style():
        document = document_of(found, "x", noted([("a", 0.5)]))
        spread = next(p for p in document.each(Picture) if p.name == "frames")
        spread.figure.canvas.draw()
    labels = [text.get_text() for text in spread.figure.axes[0].get_yticklabels()]
    assert len(labels) == (2 * count if count < 12 else 2)
    assert "the network" in labels[0]
    (table,) = document.each(Table)
    assert [line.tone for line in table.lines] == ["", "opponent"]
