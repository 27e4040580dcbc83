"""The picture of `ehtseg check`: frames of every recording with the masks as they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from ehtseg.jobs.check import DRAWN, _evenly, check
from ehtseg.reading.dataset import survey
from ehtseg.records import UserError
from ehtseg.reporting.figures import BLUE, VERMILION
from ehtseg.reporting.outlines import outlined, outlines


def labelled(folder: Path, count: int = 3, ignore: bool = False) -> Path:
    """Dark frames with a square of tissue, and a part that does not count."""
    for name in ("images", "masks", *(["ignore"] if ignore else [])):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(count)
    for k in range(count):
        grey = rng.integers(20, 60, (60, 80), np.uint8)
        places = {"images": grey, "masks": np.zeros((60, 80), np.uint8)}
        places["masks"][20:40, 20:60] = 255
        if ignore:
            places["ignore"] = np.zeros((60, 80), np.uint8)
            places["ignore"][45:, :] = 255
        for name, values in places.items():
            Image.fromarray(values).save(folder / name / f"{k}.png")
    return folder


def near(picture: Path, colour: str) -> np.ndarray:
    """Where a picture has about this colour, (K, 2)."""
    values = np.asarray(Image.open(picture).convert("RGB"), float) / 255
    return np.argwhere(np.abs(values - to_rgb(colour)).max(2) < 0.1)


@pytest.mark.parametrize("ignore", [False, True])
def test_the_picture_shows_what_is_tissue_and_what_does_not_count(
    tmp_path: Path, ignore: bool
) -> None:
    folder, picture = labelled(tmp_path / "data", ignore=ignore), tmp_path / "labels.png"
    report = check([folder], picture=picture)
    assert report.ok
    assert f"Look at {picture}" in report.lines[-1]
    outline = near(picture, VERMILION)
    high, wide = np.ptp(outline[:, 0]), np.ptp(outline[:, 1])
    assert wide > 2 * high > 0, "three squares, twice as wide as high, beside each other"
    assert (len(near(picture, BLUE)) > 50) == ignore


def test_every_recording_is_in_it(tmp_path: Path) -> None:
    folders = [labelled(tmp_path / f"film{k}", count) for k, count in enumerate((40, 2, 9))]
    dataset = survey(folders).dataset
    chosen = _evenly(dataset)
    counts = {
        name: sum(i in chosen for i in indices) for name, indices in dataset.recordings.items()
    }
    assert list(counts.values()) == [DRAWN // 3, 2, 8]
    assert {dataset.frames[i].image.name for i in chosen[:8]} >= {"0.png", "39.png"}
    assert len(chosen) == len(set(chosen)) <= DRAWN


def test_another_suffix_is_refused_and_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "data")
    with pytest.raises(UserError, match=r"ends in \.png"):
        check([folder], picture=tmp_path / "labels.jpg")
    report = check([tmp_path / "nowhere"], picture=tmp_path / "labels.png")
    assert not report.ok
    assert "Look at" not in " ".join(report.lines)
    assert list(tmp_path.iterdir()) == [folder], "nothing half-written"


def test_every_file_is_read_once_for_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def counting(*given: object) -> object:
        seen.append(given)
        return survey(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("ehtseg.jobs.check.survey", counting)
    check([labelled(tmp_path / "data")], picture=tmp_path / "labels.png")
    assert len(seen) == 1


def test_masks_without_an_outline_are_drawn_without_one() -> None:
    blank = np.zeros((30, 40), bool)
    for mask in (blank, ~blank):
        figure = outlines([outlined("$a$", blank.astype(np.uint8), mask, blank)])
        figure.canvas.draw()
        (axes, *_) = figure.axes
        assert not axes.collections
        assert axes.get_title(loc="left") == "$a$"
