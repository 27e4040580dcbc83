"""Make the model that ships with the package, src/ehtseg/shipped/, from a finished run folder.

    python scripts/ship.py RUN --name eht-lite0-1 --scores docs/shipped.md --doubt-limit 0.26

Convolutions are stored in half precision, which halves the file; norms and biases stay as they are.
Places on this machine become plain names. What half precision changes is printed, on the validation
frames of the run where its data are still there, and written into the card with everything else.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ehtseg.learning.evaluate import sets_of
from ehtseg.learning.guard import guard, shown, spread
from ehtseg.learning.scores import mean_at, score_images
from ehtseg.learning.training import pairs
from ehtseg.reading.dataset import Dataset, open_dataset
from ehtseg.recipe import Recipe, make_recipe, write_recipe
from ehtseg.records import UserError
from ehtseg.seeing.engines import TorchEngine
from ehtseg.seeing.outputs import folder_written_whole
from ehtseg.seeing.run_folder import (
    RunFolder,
    open_run,
    read_tensors,
    sha256_of,
    write_facts,
    write_tensors,
)
from ehtseg.seeing.shipped import FOLDER

MOST_BYTES = 25_000_000
COMPARED = 24  # validation frames
WEIGHTS = "last.safetensors"


def ship(
    run: RunFolder, name: str, scores: str, out: Path, doubt: float | None = None
) -> list[str]:
    """Write the folder to ship; returns what is to be said.

    Above the `doubt` a recording is called unfamiliar (seeing/familiar.py); None: never.

    Raises: UserError for a training that has not finished, or weights that are too large.
    """
    if not run.finished:
        raise UserError("a finished training", f"{run.path}, which is not", "Let it finish.")
    run.net()  # checks the weights against run.json
    tensors, note = read_tensors(run.weights_file)
    facts = without_places(run.facts)
    facts["name"] = name
    if doubt is not None:
        facts["doubt_limit"] = doubt
    facts["shipped_from"] = {
        "weights_sha256": sha256_of(run.weights_file),
        "recipe_sha256": run.recipe.sha256,
    }
    with folder_written_whole(out) as beside:
        write_tensors(
            {key: halved(tensor) for key, tensor in tensors.items()}, note, beside / WEIGHTS
        )
        facts["files"] = {WEIGHTS: sha256_of(beside / WEIGHTS)}
        write_recipe(portable(run.recipe), beside / "recipe.yaml")
        write_facts(beside, facts)
        frames = validation_frames(run)
        said = [*compared(run, open_run(beside), frames), size_of(beside / WEIGHTS)]
        if frames is not None:
            judging = shown(frames[0], spread(frames[1]))
            net, size = open_run(beside).net(), run.recipe.data.size
            facts["guard"] = guard(net, judging, size, run.threshold)
            write_facts(beside, facts)
        (beside / "card.md").write_text(card(run, facts, said, scores), encoding="utf-8")
    return said


def halved(tensor: torch.Tensor) -> torch.Tensor:
    """Kernels in half precision; vectors, counts, and what would overflow as they are."""
    if tensor.ndim < 2 or not tensor.is_floating_point() or float(tensor.abs().max()) > 6e4:
        return tensor
    return tensor.half()


def portable(recipe: Recipe) -> Recipe:
    """The recipe without places on this machine; what it decides is the same."""
    decisions = without_places(recipe.model_dump(mode="json"))
    return make_recipe(decisions, {"fit": {"checkpoint": "last"}})


def without_places(value: Any) -> Any:
    """The same nested values with every absolute path cut down to its last name."""
    if isinstance(value, dict):
        return {key: without_places(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_places(inner) for inner in value]
    if isinstance(value, str):
        return re.sub(r"(?<![\w.:/])/(?:[\w.+-]+/)+([\w.+-]+)", r"\1", value)
    return value


def validation_frames(run: RunFolder) -> tuple[Dataset, list[int]] | None:
    """The data of the run and which of its frames validate; None where they are not here."""
    folders = [Path(folder) for folder in run.facts["data"]]
    if not all(folder.is_dir() for folder in folders):
        return None
    dataset = open_dataset(folders)
    indices = [i for i, name in enumerate(sets_of(run, dataset)) if name == "validation"]
    indices = indices[:: max(1, len(indices) // COMPARED)][:COMPARED]
    return (dataset, indices) if indices else None


def compared(
    run: RunFolder, shipped: RunFolder, frames: tuple[Dataset, list[int]] | None
) -> list[str]:
    """What half precision changes on validation frames, where these are still there."""
    if frames is None:
        return ["Not compared with full precision: the validation frames are not here."]
    dataset, indices = frames
    both = []
    for one in (run, shipped):
        engine = TorchEngine(one.net(), "fp32")
        both.append(list(pairs(engine, dataset, indices, run.recipe.data.size)))
    differences = [float(np.abs(a[0] - b[0]).max()) for a, b in zip(*both, strict=True)]
    moved = [int(np.sum((a[0] >= 0.5) != (b[0] >= 0.5))) for a, b in zip(*both, strict=True)]
    dices = [mean_at(score_images(iter(one), [0.5]), 0.5) for one in both]
    return [
        f"Half against full precision on {len(indices)} validation frames: probabilities differ "
        f"by at most {max(differences):.4f}, masks by at most {max(moved)} pixels; "
        f"Dice {dices[1]:.5f} against {dices[0]:.5f}."
    ]


def size_of(weights: Path) -> str:
    """The size of the weights, which has to stay below `MOST_BYTES`."""
    size = weights.stat().st_size
    if size > MOST_BYTES:
        raise UserError(
            f"weights of at most {MOST_BYTES / 1e6:g} MB",
            f"{size / 1e6:.1f} MB",
            "Ship a smaller network.",
        )
    return f"Weights: {size / 1e6:.1f} MB."


def card(run: RunFolder, facts: dict[str, Any], said: list[str], scores: str) -> str:
    """The model card in Markdown."""
    recipe = run.recipe
    validation = ", ".join(
        f"{key} {'unknown' if value is None else format(value, '.4f')}"
        for key, value in facts["validation"].items()
    )
    return f"""# {facts["name"]}: the model that ships with ehtseg

Finds engineered heart tissue in transmitted-light video. **Research use only**: not for diagnosis.

- Network: U-Net on the encoder {recipe.net.name}, {recipe.data.size} px working size, threshold
  {facts["threshold"]:g}; {" ".join(said)}
- Convention: tissue is everything inside the outer outline of the tissue, round posts included;
  bars that hold a tissue (the stills) were neither tissue nor background in training.
- Made by: recipe {facts["shipped_from"]["recipe_sha256"]} (recipe.yaml), weights in full precision
  {facts["shipped_from"]["weights_sha256"]}, here {facts["files"][WEIGHTS]}.
- Encoder weights: {facts["card"].get("source")}, {facts["card"].get("licence")}.

## Data and licences
{data_of(run)}

Every frame of one recording shows the same tissue: so many recordings, so many tissues.

## Scores
On the validation frames of its own recordings ({validation}), which says little about other films.

{scores or "Scores on recordings that it was not trained on: see the README and docs/log.md."}

## Limits
Few recordings of few laboratories; no tissue expert reviewed their masks. {doubted(facts)}
Look at the overlay, and adapt the network with five labelled frames (`ehtseg frames`,
`ehtseg adapt`).
"""


def doubted(facts: dict[str, Any]) -> str:
    """What the network knows about its own doubt, in words."""
    limit = facts.get("doubt_limit")
    if limit is None:
        return "It does not say when a film is of another kind."
    return (
        f"A film whose frames raise a doubt above {limit:g} is called unfamiliar; one can be wrong "
        "without that, and right with it: the rates stand above."
    )


def data_of(run: RunFolder) -> str:
    """One line a folder of training data: name, source, licence."""
    lines = []
    for folder in map(Path, run.facts["data"]):
        meta = folder / "meta.json"
        told = json.loads(meta.read_text(encoding="utf-8")) if meta.is_file() else {}
        frames = (str(one.get("source")) for one in told.get("frames", []) if one.get("source"))
        sources = told.get("source") or ", ".join(dict.fromkeys(frames))
        known = (told.get("recording") or told.get("what"), sources, told.get("licence"))
        lines.append(f"- {folder.name}: " + "; ".join(str(one) for one in known if one))
    return "\n".join(lines)


def main() -> None:
    """Parse, ship, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--scores", type=Path, help="what was measured, in Markdown, for the card")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--doubt-limit", type=float, help="of an unfamiliar recording")
    given = parser.parse_args()
    scores = given.scores.read_text(encoding="utf-8") if given.scores else ""
    try:
        for line in ship(open_run(given.run), given.name, scores, given.out, given.doubt_limit):
            print(line)
    except UserError as error:
        sys.exit(f"ship: {error}")
    print(f"Written: {given.out}")


if __name__ == "__main__":
    main()
