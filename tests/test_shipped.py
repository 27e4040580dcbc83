"""The shipped model, how it is made and named, and what films that are not as they should be give.

The films stand here twice: with a network whose answer is known (dark is tissue), for what the
program itself has to do, and with the shipped model where this checkout holds it.
"""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from typer.testing import CliRunner

from conftest import shared, write_labelled
from ehtseg.doors.cli import app
from ehtseg.doors.show import show_analysed
from ehtseg.jobs.analyse import AnalyseResult, analyse
from ehtseg.jobs.frames import pick_frames
from ehtseg.jobs.segment import segment
from ehtseg.learning.evaluate import evaluate
from ehtseg.learning.train import train
from ehtseg.reading.dataset import open_dataset
from ehtseg.reading.splits import MEMBERS
from ehtseg.recipe import SegmentRecipe, make_recipe
from ehtseg.records import Array, UserError
from ehtseg.seeing import shipped
from ehtseg.seeing.run_folder import RunFolder, open_run, read_tensors, sha256_of, write_tensors
from recordings import write_video

ROOT = Path(__file__).resolve().parents[1]
Labelled = tuple[Array, Array]  # an image and its mask
TINY = make_recipe(
    {
        "data": {"split": "blocks", "guard_frames": 0, "size": 48, "augment": "flips"},
        "net": {"name": "unet", "width": 4, "depth": 2, "norm": "batch"},
        "fit": {"epochs": 1, "images_per_epoch": 24, "lr": 5e-3, "precision": "fp32"},
        "segment": {"precision": "fp32"},
    }
)


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ship", ROOT / "scripts" / "ship.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("data") / "film"
    dataset = open_dataset([write_labelled(folder, {"film": 16}, size=64)])
    return train(dataset, TINY, tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def made(trained: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    out = tmp_path_factory.mktemp("package") / "shipped"
    return out, script().ship(trained, "tiny-1", "| film | Dice |", out)


@pytest.fixture
def installed(made: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shipped, "FOLDER", made[0])
    return made[0]


# --- making it --------------------------------------------------------------------------------


def test_it_is_a_run_folder_in_half_precision_that_answers_nearly_alike(
    trained: RunFolder, made: tuple[Path, list[str]]
) -> None:
    folder, said = made
    assert {p.name for p in folder.iterdir()} == {
        "recipe.yaml", "run.json", "last.safetensors", "card.md",
    }  # fmt: skip
    tensors, _ = read_tensors(folder / "last.safetensors")
    kinds = {t.dtype for t in tensors.values() if t.ndim > 1}
    assert kinds == {torch.float16}
    image = torch.rand(1, 1, 48, 48)
    with torch.inference_mode():
        full, half = (torch.sigmoid(run.net()(image)) for run in (trained, open_run(folder)))
    assert 0 < float((full - half).abs().max()) < 0.01
    assert open_run(folder).threshold == trained.threshold
    assert "Half against full precision on" in said[0]


def test_no_place_of_the_machine_is_shipped(made: tuple[Path, list[str]]) -> None:
    folder = made[0]
    told = "".join((folder / n).read_text() for n in ("recipe.yaml", "run.json", "card.md"))
    assert str(folder.parents[1]) not in told
    assert "/tmp" not in told
    assert json.loads((folder / "run.json").read_text())["data"] == ["film"]
    assert script().without_places(["a of /b/c/d.png, https://e.f/g", {"h": "i/j"}]) == [
        "a of d.png, https://e.f/g",
        {"h": "i/j"},
    ]


def test_the_card_says_what_has_to_be_known(
    trained: RunFolder, made: tuple[Path, list[str]]
) -> None:
    card = (made[0] / "card.md").read_text()
    for word in ("Research use only", "posts included", "tiny-1", "| film | Dice |", "Licen"):
        assert word in card or word.lower() in card.lower()
    assert "does not say when a film is of another kind" in card
    assert "above 0.26 is called unfamiliar" in script().doubted({"doubt_limit": 0.26})
    assert sha256_of(trained.weights_file) in card
    assert sha256_of(made[0] / "last.safetensors") in card


def test_an_unfinished_training_does_not_ship(trained: RunFolder, tmp_path: Path) -> None:
    begun = RunFolder(trained.path, trained.recipe, {**trained.facts, "status": "training"})
    with pytest.raises(UserError, match="finished training"):
        script().ship(begun, "x", "", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- using it ---------------------------------------------------------------------------------


def test_without_it_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "none")
    with pytest.raises(UserError, match=r"--model .*--masks.* release"):
        shipped.shipped_run()


def test_damaged_weights_are_not_used(installed: Path, tmp_path: Path) -> None:
    tensors, note = read_tensors(installed / "last.safetensors")
    original = (installed / "last.safetensors").read_bytes()
    name = next(iter(tensors))
    write_tensors({**tensors, name: tensors[name] + 1}, note, installed / "last.safetensors")
    try:
        with pytest.raises(UserError, match="another file"):
            shipped.shipped_run().net()
    finally:
        (installed / "last.safetensors").write_bytes(original)


def test_segment_uses_it_by_default_and_names_it_everywhere(
    installed: Path, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "film.mkv", [strip(200, 60)] * 3)
    result = CliRunner().invoke(app, ["segment", str(video), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    folder = tmp_path / "out" / "film"
    record = json.loads((folder / "record.json").read_text())
    assert record["model"]["name"] == "tiny-1"
    assert record["settings"]["weights_sha256"] == sha256_of(installed / "last.safetensors")
    assert "model tiny-1" in Image.open(folder / "figure.png").text["Software"]
    assert "the shipped model tiny-1" in " ".join(result.output.split())


def test_analyse_uses_it_by_default_and_the_page_names_it(installed: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mkv", [strip(200, 60)] * 4)
    (result,) = analyse([video], tmp_path / "out", recipe=TINY)
    assert result.status == "done", result.reason
    assert result.folder
    page = (result.folder / "report.html").read_text()
    assert "the shipped model tiny-1" in page
    with pytest.raises(UserError, match="both"):
        analyse([video], tmp_path / "out", run=shipped.shipped_run(), masks=video)


def test_smoothed_masks_are_named_in_the_report(installed: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mkv", [strip(200, 60)] * 4)
    steady = make_recipe(TINY.model_dump(), {"segment": {"steady": 1, "clean": False}})
    (result,) = analyse([video], tmp_path / "out", recipe=steady)
    assert result.record
    assert result.folder
    assert any("averaged over 3 frames" in note for note in result.record["notes"])
    page = (result.folder / "report.html").read_text()
    assert "smoothed over 3 frames" in page
    assert "raw masks" in page


def test_what_is_noted_of_a_recording_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    summary = {"verdict": "beating", "beats": 3}
    record = {"summary": summary, "notes": ["Unfamiliar picture: in most of 3 frames ..."]}
    record |= {"can_be_concluded": ["3 contractions."], "cannot_be_concluded": []}
    assert show_analysed([AnalyseResult(Path("a"), "done", Path("b"), record=record)], Path()) == 0
    assert "Unfamiliar picture: in most of 3 frames" in capsys.readouterr().out


# --- films that are not as they should be, with a network whose answer is known ------------------


class DarkRun(RunFolder):
    """A run whose network takes for tissue what is darker than half."""

    def net(self, recipe: object = None) -> Any:
        class Dark(torch.nn.Module):
            def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
                return 40 * (0.5 - images_BCHW.mean(1, keepdim=True))

        return Dark()


@pytest.fixture
def dark(tmp_path: Path) -> RunFolder:
    (tmp_path / "dark").mkdir()
    write_tensors({"mark": torch.zeros(1)}, {}, tmp_path / "dark" / "last.safetensors")
    files = {"last.safetensors": sha256_of(tmp_path / "dark" / "last.safetensors")}
    facts = {"status": "finished", "card": {}, "threshold": 0.5, "files": files}
    return DarkRun(tmp_path / "dark", make_recipe({"segment": {"precision": "fp32"}}), facts)


def strip(ground: int, tissue: int, shape: tuple[int, int] = (60, 80)) -> Array:
    """A strip in the middle of a picture."""
    image = np.full(shape, ground, np.uint8)
    height, width = shape
    image[height // 3 : 2 * height // 3, width // 6 : 5 * width // 6] = tissue
    return image


def seen(video: Path, run: RunFolder, out: Path, **choices: Any) -> tuple[Array, list[Any], str]:
    """Masks, rows and notes of a recording."""
    recipe = SegmentRecipe(precision="fp32", batch=1, **choices)
    (result,) = segment([video], run, out, recipe)
    assert result.status == "done", result.reason
    assert result.folder
    with open(result.folder / "frames.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    masks = np.atleast_3d(tifffile.imread(result.folder / "masks.tif") > 0)
    return masks, rows, " ".join(result.notes)


def test_a_film_without_tissue_has_empty_masks_and_says_so(dark: RunFolder, tmp_path: Path) -> None:
    video = write_video(tmp_path / "empty.mkv", [strip(200, 190)] * 3)
    masks, rows, notes = seen(video, dark, tmp_path / "out")
    assert not masks.any()
    assert [row["tissues"] for row in rows] == ["0"] * 3
    assert "No tissue was found in 3 of 3 frames" in notes


def test_two_tissues_are_both_kept_and_flagged(dark: RunFolder, tmp_path: Path) -> None:
    image = np.full((60, 80), 200, np.uint8)
    image[5:20, 10:70] = image[35:55, 10:70] = 60
    masks, rows, notes = seen(
        write_video(tmp_path / "two.mkv", [image] * 2), dark, tmp_path / "out"
    )
    assert (masks == (image < 128)).all()
    assert [row["tissues"] for row in rows] == ["2", "2"]
    assert "Several tissues of similar size stand side by side in 2 of 2 frames" in notes


@pytest.mark.parametrize("what", ["filling", "leaving", "inverted"])
def test_tissue_at_the_border_is_flagged(dark: RunFolder, tmp_path: Path, what: str) -> None:
    leaving = np.roll(strip(200, 60), 30, axis=1)
    leaving[:, :20] = 200
    image = {"filling": strip(60, 70), "leaving": leaving, "inverted": strip(60, 200)}[what]
    masks, rows, notes = seen(write_video(tmp_path / "x.mkv", [image] * 2), dark, tmp_path / "out")
    assert {row["border"] for row in rows} == {
        "right" if what == "leaving" else "left right top bottom"
    }
    if what == "inverted":  # the ground is taken for a ring; its hole stays open, and this is said
        assert "holes larger than a fifth" in notes
        assert (masks[0] == (image < 128)).all()


@pytest.mark.parametrize("kind", ["colour", "narrow"])
def test_colour_and_a_narrow_range_of_16_bits_change_nothing(
    dark: RunFolder, tmp_path: Path, kind: str
) -> None:
    image, video = strip(200, 60), tmp_path / "x.tif"
    if kind == "colour":
        tinted = np.stack([image, image // 2 + 60, image // 3 + 40], axis=2).astype(np.uint8)
        tifffile.imwrite(video, np.stack([tinted] * 2), photometric="rgb")
    else:
        tifffile.imwrite(video, np.stack([1000 + image.astype(np.uint16) // 4] * 2))
    masks, rows, _ = seen(video, dark, tmp_path / "out")
    assert (masks == (image < 128)).all()
    assert [row["parts"] for row in rows] == ["1", "1"]


@pytest.mark.slow
def test_twelve_million_pixels_are_segmented(dark: RunFolder, tmp_path: Path) -> None:
    image = strip(200, 60, (3000, 4000))
    image[1500:1520, 2000:2020] = 200
    video = tmp_path / "large.tif"
    tifffile.imwrite(video, image[None], photometric="minisblack")
    masks, rows, _ = seen(video, dark, tmp_path / "out")
    assert abs(int(masks.sum()) - int((strip(200, 60, (3000, 4000)) < 128).sum())) < 20_000
    assert rows[0]["tissues"] == "1"


def test_holes_are_filled_unless_raw_masks_are_asked_for(dark: RunFolder, tmp_path: Path) -> None:
    image = strip(200, 60)
    image[28:32, 38:42] = 200
    video = write_video(tmp_path / "x.mkv", [image] * 2)
    masks, rows, notes = seen(video, dark, tmp_path / "clean")
    assert (masks == (strip(200, 60) < 128)).all()
    assert [row["filled_px"] for row in rows] == ["16", "16"]
    assert "Holes in the tissue were filled in 2 of 2 frames (at most 16 px in one)" in notes
    masks, rows, notes = seen(video, dark, tmp_path / "raw", clean=False)
    assert (masks == (image < 128)).all()
    assert [row["filled_px"] for row in rows] == ["0", "0"]


# --- what else asks a network ------------------------------------------------------------------


def test_frames_to_label_are_the_ones_that_a_network_is_unsure_about(
    dark: RunFolder, tmp_path: Path
) -> None:
    images = []
    for n in range(12):
        image = np.full((60, 80), 200, np.uint8)
        image[20:40, 6 + 2 * n : 30 + 4 * n] = 118 if n in (3, 8) else 60  # 118 is hardly dark
        images.append(image)
    video = write_video(tmp_path / "film.mkv", images)
    picks = pick_frames([video], 2, tmp_path / "out", run=dark)
    assert [frame.frame for frame in picks.frames] == [3, 8]
    assert [f.frame for f in pick_frames([video], 2, tmp_path / "b").frames] != [3, 8]


def test_evaluate_scores_raw_masks_unless_clean_ones_are_asked_for(
    dark: RunFolder, tmp_path: Path
) -> None:
    folder = tmp_path / "labelled"
    for name, image in (("images", strip(200, 60)), ("masks", 255 - strip(255, 0))):
        (folder / name).mkdir(parents=True)
        image = image.copy()
        if name == "images":
            image[28:32, 38:42] = 200
        Image.fromarray(image).save(folder / name / "0.png")
    facts = {"resolved": {"precision": "fp32"}, "data": ["nowhere"]}
    facts |= {"split": {**{m: [] for m in MEMBERS}, "train": ["x 0 x 0"], "warnings": []}}
    facts |= {"data_sha256": "", "split_sha256": ""}
    run = DarkRun(dark.path, dark.recipe, {**dark.facts, **facts})
    dices = []
    for cleaned in (False, True):
        found = evaluate(run, open_dataset([folder]), "all", cleaned=cleaned)
        dices.append(found.summary["models"]["net"]["per_image"]["dice_at_chosen"])
        assert any("cleaned" in warning for warning in found.warnings) == cleaned
    assert dices[0] < dices[1] == 1


# --- the same with the shipped model, where it is here --------------------------------------------


def model() -> RunFolder:
    try:
        return shipped.shipped_run()
    except UserError:
        pytest.skip("the shipped model is not in this checkout (scripts/ship.py makes it)")


def real(name: str) -> Labelled:
    """The first frame of a real recording, and its mask."""
    folder = shared(f"data/{name}")
    file = sorted((folder / "images").iterdir())[0]
    return np.array(Image.open(file)), np.array(Image.open(folder / "masks" / file.name)) > 0


def emptied(image: Array, mask: Array) -> Labelled:
    """The chip alone: the tissue is painted over from its surroundings."""
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((15, 15), np.uint8))
    return cv2.inpaint(image, wide, 3, cv2.INPAINT_TELEA), np.zeros_like(mask)


def middle(image: Array, mask: Array) -> Labelled:
    """The inside of the tissue, which then fills the picture."""
    y, x = (int(along.mean()) for along in np.nonzero(mask))
    height, width = (side // 14 for side in mask.shape)
    box = slice(y - height, y + height), slice(x - width, x + width)
    return image[box], mask[box]


KINDS: dict[str, Callable[[Array, Array], Labelled]] = {
    "as it is": lambda i, m: (i, m),
    "no tissue": emptied,
    "two below each other": lambda i, m: (np.concatenate([i, i]), np.concatenate([m, m])),
    "two side by side": lambda i, m: (np.concatenate([i, i], 1), np.concatenate([m, m], 1)),
    "filling": middle,
    "leaving at the side": lambda i, m: (i[:, len(i) * 2 // 5 :], m[:, len(i) * 2 // 5 :]),
    "leaving at the top": lambda i, m: (i[len(i) // 2 :], m[len(i) // 2 :]),
    "inverted": lambda i, m: (255 - i, m),
    "colour": lambda i, m: (np.stack([i, i // 4 * 3, i // 2], 2), m),
    "16 bit, narrow": lambda i, m: (1000 + i.astype(np.uint16) // 8, m),
    "large": lambda i, m: (cv2.resize(i, (4000, 3000)), cv2.resize(m * 1.0, (4000, 3000)) > 0.5),
}
CASES = [(film, kind) for film in ("eht_d1t3", "eht_mbpt", "eht_ohw") for kind in KINDS]
CASES = [case for case in CASES if case[1] != "large" or case[0] == "eht_d1t3"]
FLAGS = ("Unfamiliar picture", "No tissue was found", "Several tissues")
HARMLESS = ("as it is", "inverted", "16 bit, narrow", "large")


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """All cases through the command, without a word about the model; and what it said."""
    model()
    folder = tmp_path_factory.mktemp("strange")
    for film, kind in CASES:
        image, _ = KINDS[kind](*real(film))
        colours = "rgb" if image.ndim == 3 else "minisblack"
        tifffile.imwrite(folder / f"{film} {kind}.tif", image[None], photometric=colours)
    films = [str(folder / f"{film} {kind}.tif") for film, kind in CASES]
    result = CliRunner().invoke(app, ["segment", *films, "--out", str(folder / "out")])
    assert result.exit_code == 0, result.output
    return folder / "out", result.output


@pytest.mark.slow
@pytest.mark.parametrize(("film", "kind"), CASES, ids=" ".join)
def test_the_shipped_model_is_right_or_says_that_it_may_not_be(
    strange: tuple[Path, str], film: str, kind: str
) -> None:
    folder = strange[0] / f"{film} {kind}"
    _, truth = KINDS[kind](*real(film))
    found = np.squeeze(tifffile.imread(folder / "masks.tif")) > 0
    overlap = 2 * np.sum(found & truth) / max(1, np.sum(found) + np.sum(truth))
    notes = json.loads((folder / "record.json").read_text())["notes"]
    flags = [note for note in notes if any(word in note for word in FLAGS)]
    assert all(flag in strange[1] for flag in flags), "a flag that nobody sees is none"
    assert overlap > 0.9 or flags, f"Dice {overlap:.3f} and nothing said"
    if kind in HARMLESS:
        assert overlap > 0.9
        assert not flags
