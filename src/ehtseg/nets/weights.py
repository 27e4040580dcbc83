"""Where ImageNet weights are looked for: four roads, the first that leads to a file is taken.

(1) --weights FILE, or hub:OWNER/NAME@REVISION#SHA256; (2) the folder EHTSEG_WEIGHTS; (3) the file
bundled with the package; (4) the model hub, pinned to a revision and a hash (`hub.PINS`). A file
of the first two roads that says nothing of itself is known where it is, to the byte, a pinned one.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ehtseg.nets.encoders import Architecture, Card, architecture
from ehtseg.nets.hub import PINS, HubFile, fetch, fetched, pin_of
from ehtseg.nets.weights_file import read_card, read_facts
from ehtseg.records import UserError

BUNDLED = Path(__file__).parents[1] / "weights"
FOLDER = "EHTSEG_WEIGHTS"


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A weights file, the road by which it was found, and what it says of itself."""

    path: Path
    road: str
    card: Card

    def __str__(self) -> str:
        return f"{self.path} ({self.road}; {self.card.source}, {self.card.licence})"


def find_weights(
    name: str, weights: str | Path | None = None, download: bool = False
) -> WeightsFile:
    """The weights file of the encoder `name`, its card read and checked.

    Without `download`, a hub file counts only if it is on this machine already.

    Raises: UserError where a given file is missing; where none of the roads leads to a file
    (naming all four); where the file is not what the encoder needs.

    >>> find_weights("efficientnet_lite0", BUNDLED / "tf_efficientnet_lite0_in1k.safetensors").road
    '--weights'
    """
    entry = architecture(name)
    path, road, pin = _road(entry, None if weights is None else str(weights), download)
    if pin is None and not read_facts(path):
        pin = pin_of(path)
    return WeightsFile(path, road, read_card(path, entry, pin))


def _road(
    entry: Architecture, weights: str | None, download: bool
) -> tuple[Path, str, HubFile | None]:
    if weights is not None:
        return _given(weights, download)
    folder = os.environ.get(FOLDER)
    if folder and (found := _in_folder(Path(folder).expanduser(), entry.arch)):
        return found, f"{FOLDER}={folder}", None
    if found := _in_folder(BUNDLED, entry.arch):
        return found, "bundled with the package", None
    try:
        return _from_hub(PINS.get(entry.arch), download)
    except UserError as error:
        raise _no_road(entry.arch, folder, error.got) from error


def _given(weights: str, download: bool) -> tuple[Path, str, HubFile | None]:
    if weights.startswith("hub:"):
        return _from_hub(HubFile.of(weights), download)
    path = Path(weights).expanduser()
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        cure = f"Correct --weights, or leave it out and set {FOLDER} to a folder of weights files."
        raise UserError(f"a weights file at {path}", got, cure)
    return path, "--weights", None


def _in_folder(folder: Path, arch: str) -> Path | None:
    """The first file, by name, that says it is of this architecture; else one named after it;
    else the one that is pinned for it, whatever its name."""
    files = [path for path in sorted(folder.glob("*.safetensors")) if path.is_file()]
    saying = [path for path in files if _said_arch(path) == arch]
    silent = [path for path in files if _said_arch(path) is None]
    named = [path for path in silent if re.match(rf"{re.escape(arch)}([._-]|$)", path.stem)]
    pinned = (path for path in silent if arch in PINS and pin_of(path) == PINS[arch])
    return next(chain(saying, named, pinned), None)


def _said_arch(path: Path) -> str | None:
    try:
        arch: str | None = read_facts(path).get("arch")
    except UserError:
        return None
    return arch


def _from_hub(pin: HubFile | None, download: bool) -> tuple[Path, str, HubFile | None]:
    if pin is None:
        raise UserError("a pinned hub file", "no revision of it is pinned", "Give one yourself.")
    return (fetch(pin) if download else fetched(pin)), pin.url, pin


def _no_road(arch: str, folder: str | None, hub: str) -> UserError:
    held = f"is {folder}, which holds no file of {arch}" if folder else "is not set"
    return UserError(
        f"ImageNet weights of {arch} by one of four roads",
        f"none: (1) --weights was not given; (2) {FOLDER} {held}; (3) the package bundles"
        f" efficientnet_lite0 only; (4) model hub: {hub}",
        "Give --weights FILE.safetensors or --weights hub:OWNER/NAME@REVISION#SHA256, or put the"
        f" file into a folder and set {FOLDER} to it, or take --net efficientnet_lite0, or connect"
        " to the network; --transfer 0 starts from random weights.",
    )
