"""Networks trained without one recording, and their table: the two scripts, end to end."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from conftest import write_labelled
from ehtseg.records import UserError
from ehtseg.seeing.run_folder import RunFolder, open_run

ROOT = Path(__file__).resolve().parents[1]
TINY = {
    "data": {"split": "blocks", "shares": [0.95, 0.05, 0.0], "guard_frames": 1, "size": 48}
    | {"augment": "flips", "balance": "recordings"},
    "net": {"name": "unet", "width": 4, "depth": 2, "norm": "batch"},
    "fit": {"epochs": 2, "images_per_epoch": 16, "lr": 5e-3, "precision": "fp32", "threads": 1},
    "segment": {"precision": "fp32"},
}


@pytest.fixture(scope="module")
def scripts() -> tuple[ModuleType, ModuleType]:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import build_shipped
        import left_out
    finally:
        sys.path.pop(0)
    return build_shipped, left_out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands in for the films and the stills."""
    folder = tmp_path_factory.mktemp("data")
    for film in ("eht_d1t3", "eht_mbpt", "eht_ohw"):
        write_labelled(folder / film, {film: 24})
    write_labelled(folder / "eht_fibrotug_stills", dict.fromkeys("abc", 1))
    for path in (folder / "eht_fibrotug_stills").glob("*/*.png"):
        path.rename(path.with_name(path.name.replace("_0000", "")))
    meta = folder / "eht_fibrotug_stills" / "meta.json"
    meta.write_text(meta.read_text().replace("_0000", ""))
    return folder


@pytest.fixture(scope="module")
def run(
    data: Path, scripts: tuple[ModuleType, ModuleType], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A network that never saw eht_ohw."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scripts[0], "RECIPE", folder / "tiny.yaml")
        words = ["--data", data, "--out", folder / "lo-ohw", "--leave-out", "eht_ohw"]
        for _ in range(2):  # the second continues, and finds nothing to do
            patch.setattr(sys, "argv", ["build_shipped.py", *map(str, words)])
            scripts[0].main()
    return folder / "lo-ohw"


def table(out: Path) -> list[dict[str, str]]:
    with open(out.with_suffix(".csv"), newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_what_the_network_never_saw(
    run: Path, data: Path, scripts: tuple[ModuleType, ModuleType], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "docs" / "left_out"
    words = [run, tmp_path / "none", "--data", data, "--out", out, "--work", tmp_path / "work"]
    monkeypatch.setattr(sys, "argv", ["left_out.py", *map(str, words)])
    scripts[1].main()
    said = capsys.readouterr()
    assert "none: skipped" in said.err
    (row,) = table(out)
    assert (row["recording"], row["left_out"], row["net"]) == ("eht_ohw", "eht_ohw", "unet")
    assert (row["frames"], row["steps"], row["side_px"]) == ("24", "4", "64")
    assert 0 <= float(row["dice_worst"]) <= float(row["dice"]) <= 1
    assert float(row["jitter_reference_px"]) > 0
    assert int(row["beats_reference"]) >= 0
    text = out.with_suffix(".md").read_text()
    assert "| eht_ohw | unet | 4 | 24 |" in text
    assert "Not trained yet: vgg16 without eht_d1t3, eht_mbpt, eht_ohw" in text
    assert "six recordings" in text.lower()
    scripts[1].main()
    assert "are there already" in capsys.readouterr().out
    assert table(out) == [row]


def test_a_run_that_saw_all_or_has_not_finished_has_no_row(
    run: Path, data: Path, scripts: tuple[ModuleType, ModuleType]
) -> None:
    opened, script = open_run(run), scripts[1]
    folders = {name: data / name for name in ("eht_d1t3", "eht_ohw")}
    assert script.never_seen(opened, folders) == ["eht_ohw"]
    with pytest.raises(UserError, match="left out"):
        script.never_seen(opened, {"eht_d1t3": data / "eht_d1t3"})
    begun = RunFolder(run, opened.recipe, {**opened.facts, "status": "training"})
    with pytest.raises(UserError, match="not finished"):
        script.never_seen(begun, folders)
