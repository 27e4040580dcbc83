"""The model that ships with the package: an ordinary run folder inside it."""

from __future__ import annotations

from pathlib import Path

from ehtseg.records import UserError
from ehtseg.seeing.run_folder import RunFolder, open_run

SHIPPED = "shipped"  # what a command line calls it
FOLDER = Path(__file__).resolve().parents[1] / "shipped"


def shipped_run() -> RunFolder:
    """The shipped model; its weights are checked against their hash when they are loaded.

    Raises: UserError where this installation holds none.
    """
    if not (FOLDER / "run.json").is_file():
        raise UserError(
            "the shipped model in this installation of ehtseg",
            f"none at {FOLDER}",
            "Give a run folder with --model (or, to analyse, masks with --masks); or install a "
            "release of ehtseg, which holds one.",
        )
    return open_run(FOLDER)


def chosen_run(model: RunFolder | Path | str | None) -> RunFolder:
    """The run folder that is meant: the shipped model for None or "shipped".

    Raises: UserError where it cannot be used.
    """
    if isinstance(model, RunFolder):
        return model
    return shipped_run() if model is None or str(model) == SHIPPED else open_run(Path(model))
