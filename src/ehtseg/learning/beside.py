"""What is scored beside a network on the same frames: other networks, masks made elsewhere.

Masks may be those of another program or of a second person. They have the names of their images,
or one ending more (layouts.py), and stand in a folder; of several labelled folders each has a
folder of its name there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ehtseg.learning.baselines import BASELINES
from ehtseg.learning.score_sheets import NET
from ehtseg.learning.seen import SEEN, START, name_warnings, sets_of
from ehtseg.reading.dataset import Dataset
from ehtseg.reading.folders import with_suffix
from ehtseg.reading.layouts import named_as
from ehtseg.reading.mask_stream import understood
from ehtseg.reading.pairs import some, stem_of
from ehtseg.reading.pixels import IMAGE_SUFFIXES, read_pixels
from ehtseg.records import Array, UserError
from ehtseg.seeing.engines import TorchEngine, choose_device
from ehtseg.seeing.predict import predict
from ehtseg.seeing.run_folder import RunFolder
from ehtseg.seeing.shipped import SHIPPED, chosen_run

Guess = Callable[[int, Array], Array]  # of frame i and its image: mask or probability (H, W)


def guesses(
    places: Mapping[str, Path], dataset: Dataset, indices: Sequence[int]
) -> tuple[dict[str, Guess], list[str]]:
    """Who else looks at these frames, by name, and what has to be known of them.

    A place is a run folder, "shipped", or a folder of masks.

    Raises: UserError for a name that means something else here, and where a mask is missing.
    """
    found: dict[str, Guess] = {}
    notes: list[str] = []
    for name, place in places.items():
        if name in (NET, *BASELINES):
            taken = ", ".join((NET, *BASELINES))
            raise UserError(
                f"a name other than {taken}", f"{name!r}", f"Write another one: NAME={place}"
            )
        if str(place) == SHIPPED or (place / "run.json").is_file():
            run = chosen_run(place)
            found[name] = of_network(run, dataset)
            notes += _known_to(run, name, dataset, indices)
        else:
            found[name] = of_masks(place, dataset, indices)
    return found, notes


def _known_to(run: RunFolder, name: str, dataset: Dataset, indices: Sequence[int]) -> list[str]:
    """What another network knows of these frames, in sentences."""
    sets = sets_of(run, dataset)
    known = sum(sets[i] in (*SEEN, START) for i in indices)
    frames = [dataset.frames[i] for i in indices]
    told = [
        f"{name} has had {known} of these {len(indices)} frames in its own training or validation: "
        "its scores show memory, not skill."
    ]
    return [*told * bool(known), *name_warnings(run, frames, [sets[i] for i in indices], name)]


def of_network(run: RunFolder, dataset: Dataset) -> Guess:
    """Probabilities of another network, as it would give them where it is evaluated itself."""
    engine = TorchEngine(run.net(), run.facts["resolved"]["precision"], choose_device().value)
    size = run.recipe.data.size
    return lambda _, image: predict(engine, [image], size)[0]


def of_masks(place: Path, dataset: Dataset, indices: Sequence[int]) -> Guess:
    """Masks in a folder, each read when its frame comes.

    Raises: UserError where some of these frames have none.
    """
    files: dict[int, Path] = {}
    for folder in dataset.folders:
        here = [i for i in indices if dataset.frames[i].image.parents[1] == folder]
        if not here:
            continue
        stems = {stem_of(dataset.frames[i].image.name): i for i in here}
        source = _folder_of(place, folder, alone=len(dataset.folders) == 1)
        there = {stem_of(path.name): path for path in with_suffix(source, IMAGE_SUFFIXES)}
        named = named_as(stems, there)
        lost = [dataset.frames[i].image.name for stem, i in stems.items() if stem not in named]
        if lost:
            raise UserError(
                f"in {source} a mask for each of the {len(here)} scored frames of {folder}",
                f"none for {some(lost)}",
                "Give masks the names of their images (one ending more, such as _mask, is read).",
            )
        files |= {stems[stem]: path for stem, path in named.items()}
    return lambda i, image: _read(files[i], image)


def _folder_of(place: Path, folder: Path, alone: bool) -> Path:
    own = [place / folder.name / "masks", place / folder.name]
    for path in [*own, *([place / "masks", place] if alone else [])]:
        if path.is_dir() and with_suffix(path, IMAGE_SUFFIXES):
            return path
    raise UserError(
        f"a run folder, or masks of {folder} in {place}",
        "no images there" if place.is_dir() else "no such folder",
        f"Give a folder with an image for each mask{'' if alone else f', here {own[1]}'}.",
    )


def _read(path: Path, image: Array) -> Array:
    mask = understood(read_pixels(path), path)
    if mask.shape != image.shape[:2]:
        height, width = image.shape[:2]
        raise UserError(
            f"a mask of {width} x {height} px, as its image, at {path}",
            f"{mask.shape[1]} x {mask.shape[0]} px",
            "Make the masks at the size of the images.",
        )
    return mask
