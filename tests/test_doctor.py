"""The doctor: what it says of versions, choices and weights, and which cure it gives."""

from __future__ import annotations

import shutil
from importlib import metadata
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from conftest import Cli
from ehtseg.doors import show
from ehtseg.doors.show import console
from ehtseg.jobs import doctor as room
from ehtseg.jobs.doctor import doctor
from ehtseg.nets.weights import BUNDLED

BUNDLED_FILE = BUNDLED / "tf_efficientnet_lite0_in1k.safetensors"


def found(weights: Path | None = None) -> dict[str, str]:
    return {finding.what: finding.found for finding in doctor(weights)}


def test_versions_that_do_not_belong_together_have_a_cure() -> None:
    needs = ["numpy", "torch==2.15.0", "pillow (>=5)"]
    assert not room._match("2.15.0+cpu", "0.29.2", needs).cure
    ill = room._match("2.14.0", "0.29.2", needs)
    assert "torchvision 0.29.2 was built for torch 2.15.0" in ill.found
    assert ill.cure == "Run: pip install torch==2.15.0 torchvision==0.29.2"


def test_without_torch_the_rest_is_still_told(ehtseg: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "torchvision":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(room.metadata, "version", version)
    code, out, _ = ehtseg("doctor")
    assert code == 2
    assert "torchvision is missing. Run: pip install torch torchvision" in out
    assert "free disk here" in out
    assert "processor" not in out


def test_every_choice_is_told_with_its_reason() -> None:
    told = found()
    for what in ("device", "precision", "memory format", "engine", "threads", "batch"):
        assert told[what].endswith(")"), what
    assert told["memory format"].startswith("channels_last")


def test_weights_are_looked_for_in_a_file_a_folder_and_where_they_always_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EHTSEG_WEIGHTS", raising=False)
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    told = found(tmp_path)
    assert "bundled with the package" in told["weights of efficientnet_lite0"]
    assert told["--weights"] == f"nothing for these networks at {tmp_path}"
    own = shutil.copy(BUNDLED_FILE, tmp_path / "own.safetensors")
    for given in (tmp_path, Path(own)):
        told = found(given)
        assert told["weights of efficientnet_lite0"].startswith(str(own))
        assert "--weights" not in told


def test_missing_weights_are_no_illness_and_their_cure_is_told_once(
    ehtseg: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("EHTSEG_WEIGHTS", raising=False)
    monkeypatch.setenv("EHTSEG_CACHE", str(tmp_path))
    code, out, _ = ehtseg("doctor")
    assert code == 0
    assert out.count("--transfer 0 starts from random weights") == 1
    code, out, _ = ehtseg("doctor", "--weights", tmp_path / "absent.safetensors")
    assert code == 2
    assert "absent.safetensors. Give a safetensors file" in out


def test_a_table_in_a_file_has_whole_rows_and_no_blanks_at_their_ends(ehtseg: Cli) -> None:
    assert not console.is_terminal
    _, out, _ = ehtseg("doctor", "--weights", BUNDLED_FILE)
    lines = out.splitlines()
    assert all(line == line.rstrip() for line in lines)
    (row,) = (line for line in lines if line.startswith("weights of efficientnet_lite0"))
    assert row.endswith("Apache-2.0)")


def test_a_narrow_terminal_cuts_nothing_off(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = StringIO()
    narrow = Console(file=drawn, width=40, force_terminal=True, highlight=False)
    monkeypatch.setattr(show, "console", narrow)
    path = "/a/path/without/any/blank/that/is/longer/than/forty/characters.safetensors"
    show.table("", ("what", "found"), [("weights", path)])
    said = "".join(line.removeprefix("weights").strip() for line in drawn.getvalue().splitlines())
    assert said.endswith(path)
