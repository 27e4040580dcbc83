"""Masks found in several ways, and how far the numbers of a recording depend on them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ehtseg.jobs import again
from ehtseg.jobs.analyse import AnalyseResult, analyse
from ehtseg.jobs.recording import Facts
from ehtseg.recipe import make_recipe
from ehtseg.records import Array
from ehtseg.seeing.engines import TorchEngine
from ehtseg.seeing.run_folder import RunFolder
from ehtseg.seeing.variants import mirrored, moved, of_one_network, shifted
from heartbeats import beating, phases, write_recording
from test_segment import Dark, DarkRun, dark_run


class Sloping(torch.nn.Module):
    """Takes more for tissue at the right of the picture than at the left."""

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        slope = torch.linspace(-0.1, 0.1, images_BCHW.shape[-1])
        return 40 * (0.5 + slope - images_BCHW.mean(1, keepdim=True))


class SlopingRun(RunFolder):
    def net(self) -> torch.nn.Module:
        return Sloping()


def rows(path: Path) -> dict[str, dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        return {row["parameter"]: row for row in csv.DictReader(file)}


def image() -> Array:
    rng = np.random.default_rng(1)
    return rng.integers(0, 255, (30, 44), np.uint8)


def test_a_network_that_minds_no_place_finds_the_same_in_every_way() -> None:
    ways = of_one_network(TorchEngine(Dark(), "fp32"), None, 0.5)
    found = [way.way([image()])[0] for way in ways]
    assert len(ways) == 5
    for other in found[1:]:
        np.testing.assert_allclose(other[2:-2, 2:-2], found[0][2:-2, 2:-2], atol=1e-6)


def test_a_network_that_minds_the_place_is_found_out() -> None:
    ways = of_one_network(TorchEngine(Sloping(), "fp32"), None, 0.5)
    found = {way.name: way.way([np.full((30, 44), 127, np.uint8)])[0] for way in ways}
    np.testing.assert_allclose(
        found["mirrored left to right"], found["as it is"][:, ::-1], atol=1e-4
    )
    np.testing.assert_allclose(found["mirrored top to bottom"], found["as it is"], atol=1e-6)
    assert (found["moved down right"] > found["as it is"] + 1e-3)[2:-2, 2:-2].all()


@pytest.mark.parametrize("step", [0, 3, -3])
def test_a_shift_and_its_opposite_are_the_picture_but_at_the_edge(step: int) -> None:
    picture = image()
    back = shifted(shifted(picture, step), -step)
    assert np.array_equal(back[3:-3, 3:-3], picture[3:-3, 3:-3])
    assert back.shape == picture.shape


def test_mirrored_and_moved_frames_may_differ_in_size() -> None:
    pictures = [image(), image()[:20], np.repeat(image()[..., None], 3, 2)]

    def way(images: Any) -> list[Array]:
        return [np.asarray(one if one.ndim == 2 else one[..., 0], np.float32) for one in images]

    for found in (mirrored(way, pictures, 0), mirrored(way, pictures, 1)):
        assert [one.shape for one in found] == [(30, 44), (20, 44), (30, 44)]
        assert np.array_equal(found[2], pictures[0])
    assert [one.shape for one in moved(way, pictures, 0.1)] == [(30, 44), (20, 44), (30, 44)]


def analysed(tmp_path: Path, run: RunFolder, **measure: Any) -> AnalyseResult:
    if not (tmp_path / "film.tif").exists():
        write_recording(tmp_path, "film", *beating(phases(130)))
    recipe = make_recipe({"measure": {"movie": False, "uncertainty_frames": 60, **measure}})
    told = {"run": run, "recipe": recipe, "facts": Facts(fps=20)}
    (result,) = analyse([tmp_path / "film.tif"], tmp_path / "out", **told)
    assert result.record is not None, result.reason
    return result


@pytest.mark.slow
def test_doubt_about_masks_stands_beside_the_spread_of_beats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sure = analysed(tmp_path, dark_run(tmp_path / "run"))
    numbers = rows(tmp_path / "out" / "film" / "kinetics.csv")
    amplitude = numbers[next(name for name in numbers if name.startswith("amplitude"))]
    assert float(amplitude["sd_masks"]) < 0.05 * float(amplitude["median"])
    assert float(numbers["cd50_ms"]["sd_masks"]) < 15
    assert numbers["sdnn_s"]["sd_masks"] == "", "a sample of beats has no rhythm"
    assert any("found in 5 ways" in note for note in (sure.record or {})["notes"])
    assert (sure.record or {})["summary"]["cd50_ms_sd_masks"] >= 0

    def never(*_: Any) -> None:
        raise AssertionError("seen again")

    monkeypatch.setattr(again, "_read", never)
    (tmp_path / "out" / "film" / "beats_edit.csv").write_text("action,time_s\nremove,2.6\n")
    analysed(tmp_path, dark_run(tmp_path / "run"))
    assert rows(tmp_path / "out" / "film" / "kinetics.csv")["cd50_ms"]["sd_masks"] != ""


def test_without_doubt_asked_for_the_column_is_empty(tmp_path: Path) -> None:
    result = analysed(tmp_path, dark_run(tmp_path / "run"), uncertainty="none")
    numbers = rows(tmp_path / "out" / "film" / "kinetics.csv")
    assert {row["sd_masks"] for row in numbers.values()} == {""}
    assert not any("sd_masks" in note for note in (result.record or {})["notes"])


def test_all_frames_and_other_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = dark_run(tmp_path / "run"), dark_run(tmp_path / "other", 1.0)
    facts = {**other.facts, "threshold": 0.6}
    runs = {str(other.path): SlopingRun(other.path, other.recipe, facts)}
    monkeypatch.setattr(again, "open_run", lambda path: runs[str(path)])
    result = analysed(tmp_path, own, uncertainty="complete", other_runs=[str(other.path)])
    note = next(note for note in (result.record or {})["notes"] if "sd_masks" in note)
    assert "found in 2 ways (the network itself" in note
    assert "in 130 frames" in note
    numbers = rows(tmp_path / "out" / "film" / "kinetics.csv")
    assert float(numbers["sdnn_s"]["sd_masks"]) >= 0
    assert isinstance(own, DarkRun)
