"""The state of an unfinished training on disk: one file, so that there is one moment of truth.

`resume.safetensors` holds network, optimiser and all that the loop remembers. Everything else
(best, last, history) follows from it: `publish` writes it again after a kill at any moment.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ehtseg.learning.history import write_history
from ehtseg.records import UserError, written_whole
from ehtseg.seeing.run_folder import fit_tensors, read_tensors, write_tensors

RESUME = "resume.safetensors"
_NET, _OPTIMISER = "net.", "optimiser."


@dataclass
class Memory:
    """What the loop remembers from epoch to epoch."""

    epochs_done: int = 0
    best_epoch: int = 0
    best_dice: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)


def best_of_epoch(folder: Path, epoch: int) -> Path:
    """Where the weights of the best epoch wait until the state that names them is on disk."""
    return folder / f".best-of-epoch-{epoch}.safetensors"


def save_state(
    folder: Path, net: torch.nn.Module, optimiser: torch.optim.Optimizer, memory: Memory
) -> None:
    """End an epoch: the best weights first, then the state that names them, then what follows."""
    if memory.best_epoch == memory.epochs_done:
        best = best_of_epoch(folder, memory.best_epoch)
        write_tensors(net.state_dict(), {"epoch": memory.best_epoch}, best)
    tensors = {_NET + name: tensor for name, tensor in net.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            if value is not None:
                tensors[f"{_OPTIMISER}{index}.{key}"] = torch.as_tensor(value)
    write_tensors(tensors, asdict(memory), folder / RESUME)
    publish(folder, net, memory)


def load_state(
    folder: Path, net: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> Memory | None:
    """Continue where the last complete epoch ended; None where there is nothing to continue.

    Raises: UserError where the state is damaged or of another network.
    """
    path = folder / RESUME
    if not path.exists():
        return None
    tensors, note = read_tensors(path)
    fit_tensors(net, {k[len(_NET) :]: t for k, t in tensors.items() if k.startswith(_NET)}, path)
    states: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMISER):
            index, key = name[len(_OPTIMISER) :].split(".")
            states.setdefault(int(index), {})[key] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": states, "param_groups": groups})
    for weights, state in optimiser.state.items():  # fused optimisers pair values by their place
        for key, value in state.items():
            if value.shape == weights.shape:
                state[key] = torch.empty_like(weights).copy_(value)
    memory = Memory(**note)
    if not best_of_epoch(folder, memory.best_epoch).exists():
        raise UserError(
            f"the best weights so far (epoch {memory.best_epoch}) in {folder}",
            "no such file",
            "Train again into a new --out.",
        )
    publish(folder, net, memory)
    return memory


def publish(folder: Path, net: torch.nn.Module, memory: Memory) -> None:
    """Write what users read (best, last, history), and drop what is no longer named."""
    write_tensors(net.state_dict(), {"epoch": memory.epochs_done}, folder / "last.safetensors")
    best = best_of_epoch(folder, memory.best_epoch)
    with written_whole(folder / "best.safetensors") as beside:
        shutil.copyfile(best, beside)
    for other in folder.glob(best_of_epoch(folder, 0).name.replace("-0.", "-*.")):
        if other != best:
            other.unlink()
    write_history(folder, memory.history)


def drop_state(folder: Path) -> None:
    """Forget the state of a training that has finished."""
    for path in [folder / RESUME, *folder.glob(".best-of-epoch-*.safetensors")]:
        if path.exists():
            os.unlink(path)
