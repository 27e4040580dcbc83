"""The run folder: everything that answers, next year, which code, data and decisions made it.

recipe.yaml          every decision, defaults spelled out
run.json             what was resolved and found: versions, machine, hashes, split, threshold
last.safetensors     weights after the last epoch
best.safetensors     weights of the epoch with the best validation Dice
history.csv, .png    one row an epoch, and its picture
resume.safetensors   state of an unfinished training; gone when it has finished
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ehtseg.nets.build import Net, build
from ehtseg.recipe import NetRecipe, Recipe, make_recipe, read_recipe
from ehtseg.records import UserError, written_whole

NOTE_KEY = "ehtseg"  # the one metadata key of our safetensors: several would be written unsorted


@dataclass(frozen=True)
class RunFolder:
    """One trained network on disk: where it stands, how it was made, what was found."""

    path: Path
    recipe: Recipe
    facts: dict[str, Any]  # run.json

    @property
    def threshold(self) -> float:
        """Probability above which a pixel is tissue, chosen on the validation frames."""
        return float(self.facts.get("threshold", 0.5))

    @property
    def finished(self) -> bool:
        """Whether training came to its end."""
        return self.facts.get("status") == "finished"

    @property
    def weights_file(self) -> Path:
        """The checkpoint that segments and is scored: the recipe's choice."""
        return self.path / f"{self.recipe.fit.checkpoint}.safetensors"

    @property
    def name(self) -> str:
        """What outputs call it: the name it was given when it was made to ship, or its folder's."""
        return str(self.facts.get("name", self.path.name))

    @property
    def words(self) -> str:
        """The network in words, for whoever reads a result."""
        kind = "the shipped model" if "name" in self.facts else "the network"
        return f"{kind} {self.name} (weights {self.weights_sha256[:16]})"

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the weights that segment and are scored.

        Raises: UserError where there are none, or others than run.json tells.
        """
        path = self.weights_file
        if not path.is_file():
            cure = "Copy the run folder again, or train it again."
            if not self.finished:
                cure = "Give the command `ehtseg train` again: it continues."
            raise UserError(f"network weights written by ehtseg at {path}", "no such file", cure)
        found, wanted = sha256_of(path), self.facts.get("files", {}).get(path.name)
        if self.finished and wanted != found:
            raise UserError(
                f"the weights that {self.path}/run.json describes",
                f"another file as {path.name}",
                "Copy the run folder again from where it was trained.",
            )
        return found

    def net(self, recipe: NetRecipe | None = None) -> Net:
        """The trained network, in evaluation mode; with `recipe`, frozen as that one says.

        Raises: UserError where the weights are missing, damaged or of another architecture.
        """
        tensors, _ = read_tensors(self.weights_file)
        _ = self.weights_sha256  # refuses other weights than those of run.json
        net = build(recipe or self.recipe.net, seed=self.recipe.fit.seed, card=self.facts["card"])
        fit_tensors(net, tensors, self.weights_file)
        net.eval()
        return net


def open_run(path: Path) -> RunFolder:
    """Open a run folder.

    Raises: UserError for a folder that is missing, foreign or damaged.
    """
    facts = read_facts(path)
    return RunFolder(path, make_recipe(read_recipe(path / "recipe.yaml")), facts)


def read_facts(path: Path) -> dict[str, Any]:
    """What run.json says.

    Raises: UserError for a folder that is missing, foreign or damaged.
    """
    cure = "Give the folder that `ehtseg train --out` made."
    if not (path / "run.json").is_file():
        found = "no such folder" if not path.exists() else "a folder without run.json"
        found = "a file" if path.is_file() else found
        raise UserError(f"a run folder at {path}", found, cure)
    expected = f"the record of a training in {path}/run.json"
    try:
        facts = json.loads((path / "run.json").read_text(encoding="utf-8"))
        card, status = facts["card"], facts["status"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(expected, f"something else ({error!r})", cure) from error
    if not isinstance(card, dict) or not isinstance(status, str):
        raise UserError(expected, "other types", cure)
    return dict(facts)


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Write run.json (sorted keys, one place)."""
    with written_whole(path / "run.json") as beside:
        beside.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def write_tensors(tensors: dict[str, torch.Tensor], note: dict[str, Any], path: Path) -> None:
    """Write tensors as safetensors with one metadata key of sorted JSON and no time stamp."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as beside:
        try:
            beside.touch()
            mode = beside.stat().st_mode  # safetensors would let nobody else read the file
            save_file(whole, beside, metadata={NOTE_KEY: json.dumps(note, sort_keys=True)})
            beside.chmod(mode)
        except SafetensorError as error:  # its word for a full disk
            raise OSError(str(error)) from error


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and note of a file of ours.

    Raises: UserError where the file is missing, damaged, a pickle, or not ours.
    """
    expected = f"network weights written by ehtseg at {path}"
    cure = "Copy the run folder again, or train it again."
    if not path.is_file():
        raise UserError(expected, "no such file", cure)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(expected, _what_it_is(path, error), cure) from error
    if NOTE_KEY not in metadata:
        raise UserError(expected, "safetensors without the note of ehtseg", cure)
    return tensors, json.loads(metadata[NOTE_KEY])


def fit_tensors(net: torch.nn.Module, tensors: dict[str, torch.Tensor], source: Path) -> None:
    """Load tensors into a network; every name and shape has to fit.

    Raises: UserError that counts and names what does not fit.
    """
    own = net.state_dict()
    wrong = [k for k in own if k not in tensors or tensors[k].shape != own[k].shape]
    wrong += [k for k in tensors if k not in own]
    if wrong:
        raise UserError(
            f"weights of the recipe's network in {source}",
            f"another architecture: {len(wrong)} tensors do not fit, {wrong[0]} first",
            "Use the recipe.yaml and the weights of one and the same run.",
        )
    net.load_state_dict(tensors)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _what_it_is(path: Path, error: Exception) -> str:
    with open(path, "rb") as file:
        start = file.read(2)
    if start == b"PK" or start[:1] == b"\x80":
        return "a pickle, which may run any code when it is opened"
    return f"a damaged or foreign file ({error})"
