"""The recordings that are meant by files, folders and globs."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path

from ehtseg.reading.containers import FORMATS
from ehtseg.reading.folders import image_files, natural_order, with_suffix
from ehtseg.reading.pairs import check_name
from ehtseg.reading.pixels import TIFF_SUFFIXES
from ehtseg.reading.raw import allowed
from ehtseg.reading.stacks import count_frames, files_of
from ehtseg.reading.video import SUPPORTED, check_kind
from ehtseg.records import UserError


def find_videos(paths: Sequence[str | Path]) -> list[Path]:
    """The recordings that are meant by files, folders and globs, each once, in natural order.

    A folder that holds images (or an `images/` with images) is one recording; a folder that
    holds videos or stacks stands for these. A glob passes over what is no recording.

    Raises: UserError for no match, an unknown kind of file, a folder that holds both, and one that
    may not be read.
    """
    if not paths:
        raise UserError("at least one video", "none", f"Name some: {SUPPORTED}.")
    found: dict[Path, Path] = {}
    for given in paths:
        with allowed(Path(given)):
            for path in _meant_by(given):
                files = image_files(path) if path.is_dir() else []
                for name in (path, *files):
                    check_name(name)
                place = files[0].parent if files else path
                found.setdefault(place.resolve(), path)
    return each_once(found.values())


def each_once(paths: Iterable[Path]) -> list[Path]:
    """Recordings without the further files of an OME-TIFF whose frames are spread over several."""
    kept: list[Path] = []
    held: set[Path] = set()
    for path in paths:
        if path.resolve() not in held:
            kept.append(path)
            held |= files_of(path) if path.suffix.lower() in TIFF_SUFFIXES else set()
    return kept


def _meant_by(path: str | Path) -> list[Path]:
    given = Path(path)
    if given.is_dir():
        return _in_folder(given)
    if given.exists() or not glob.has_magic(str(path)):
        check_kind(given)
        return [given]
    matches = natural_order(Path(match) for match in glob.glob(str(path), recursive=True))
    kept = [match for match in matches if image_files(match) or _is_file_of_frames(match)]
    if not kept:
        got = f"{len(matches)} other files" if matches else "no file"
        raise UserError(f"recordings that match {path}", got, f"Supported are {SUPPORTED}.")
    return kept


def _is_file_of_frames(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in (*FORMATS, *TIFF_SUFFIXES)


def _in_folder(folder: Path) -> list[Path]:
    tiffs = with_suffix(folder, TIFF_SUFFIXES)
    stacks, singles = _parted(tiffs)
    videos = natural_order([*with_suffix(folder, FORMATS), *stacks])
    known = set(tiffs)
    images = singles + [path for path in image_files(folder) if path not in known]
    if videos:  # pictures with an SVG beside them were drawn, by us or by others
        images = [path for path in images if not path.with_suffix(".svg").is_file()]
    if videos and images:
        raise UserError(
            f"either videos or the images of one recording in {folder}",
            f"{len(videos)} videos and {len(images)} images",
            f"Name what you mean, for example '{folder}/*{videos[0].suffix}'.",
        )
    if not videos and not images:
        expected = f"videos or images in the folder {folder}"
        raise UserError(expected, "none", f"Name a folder that holds some: {SUPPORTED}.")
    return videos or [folder]


def _parted(tiffs: list[Path]) -> tuple[list[Path], list[Path]]:
    """The stacks among the TIFFs of a folder, with broken ones beside them, and single images.

    A recording may be a hundred thousand images: the first and the last tell whether it is.
    """
    if all(count_frames(path) == 1 for path in (*tiffs[:1], *tiffs[-1:])):
        return [], tiffs
    counts = {path: count_frames(path) for path in each_once(tiffs)}
    if max(counts.values()) <= 1:
        return [], tiffs
    singles = [path for path, frames in counts.items() if frames == 1]
    return [path for path in counts if path not in singles], singles
