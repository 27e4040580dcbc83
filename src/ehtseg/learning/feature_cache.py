"""A frozen encoder looks at each picture once: its feature maps are kept on disk, memory-mapped.

One file a picture, named by the hash of exactly what the encoder sees (shape, frame, working size,
normalisation, padding), in a folder named by the hash of the encoder, its kind and its weights, and
by the precision.
So nothing can be taken for anything else, and a cache serves every later training with the same
encoder. Beyond the limit the folders that were used longest ago go; then nothing more is kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ehtseg.nets.features import Encoder
from ehtseg.nets.hub import cache_folder
from ehtseg.recipe import Recipe

REPEATING = ("none", "flips")  # augmentations under which the same picture comes again
Maps = list[Tensor]  # feature maps (B, C, h, w), finest first


class FeatureCache:
    """Feature maps of pictures, from disk where they are there.

    Takes the place of an encoder's own forward pass: see `Encoder.recall`.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        self.bytes = make_room(folder, limit_bytes)
        self.looked_up = self.computed = 0

    def __call__(self, images_B3HW: Tensor, compute: Callable[[Tensor], Maps]) -> Maps:
        """The maps of a batch; only pictures that are new go through `compute`."""
        names = [_name_of(image) for image in images_B3HW]
        kept = {name: maps for name in names if (maps := self._read(name)) is not None}
        new = [i for i, name in enumerate(names) if name not in kept]
        if new:
            alone = len(new) == 1 < len(names)  # then oneDNN would take another kernel: 1e-6 off
            with torch.no_grad():
                some = images_B3HW[new * 2 if alone else new]
                computed = compute(some.contiguous(memory_format=torch.channels_last))
            for row, i in enumerate(new):
                kept[names[i]] = [each[row].permute(1, 2, 0).contiguous() for each in computed]
                self._write(names[i], kept[names[i]])
        self.looked_up += len(names) - len(new)
        self.computed += len(new)
        here = images_B3HW.device  # maps from disk come to the processor
        batches = zip(*([each.to(here) for each in kept[name]] for name in names), strict=True)
        return [torch.stack(maps_hwC).permute(0, 3, 1, 2) for maps_hwC in batches]

    def _read(self, name: str) -> Maps | None:
        """The maps (h, w, C) of one picture, memory-mapped; None where they are not there."""
        try:
            with safe_open(self._file(name), framework="pt") as file:
                return [file.get_tensor(key) for key in sorted(file.keys(), key=int)]
        except (OSError, SafetensorError):  # not there, or cut short by a crash
            return None

    def _write(self, name: str, maps_hwC: Maps) -> None:
        size = sum(each.nbytes for each in maps_hwC)
        if self.bytes + size > self.limit_bytes:
            return
        beside = self.folder / f".{name}.{os.getpid()}"
        with suppress(OSError, SafetensorError):  # a full disk: go on without
            save_file({str(i): each for i, each in enumerate(maps_hwC)}, beside)
            os.replace(beside, self._file(name))
            self.bytes += size
        beside.unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


@contextmanager
def features_kept(net: nn.Module, recipe: Recipe, precision: str) -> Iterator[FeatureCache | None]:
    """Within the block a wholly frozen encoder is asked once a picture; None where it cannot be.

    The trained decoder is the same as without: maps are kept at the precision they have.
    """
    encoder = next((part for part in net.modules() if isinstance(part, Encoder)), None)
    limit_bytes = round(recipe.fit.feature_cache_gb * 1e9)
    if encoder is None or not limit_bytes or not is_constant(encoder, recipe):
        yield None
        return
    folder = cache_folder() / "features" / f"{hash_of(encoder)}-{precision}"
    encoder.recall = FeatureCache(folder, limit_bytes)
    try:
        yield encoder.recall
    finally:
        encoder.recall = None


def is_constant(encoder: Encoder, recipe: Recipe) -> bool:
    """Whether a picture always gives the same maps, and comes again."""
    learns = any(parameter.requires_grad for parameter in encoder.parameters())
    held = recipe.net.freeze_mode == "inference"
    return held and not learns and recipe.data.augment in REPEATING


def hash_of(encoder: Encoder) -> str:
    """Hash of an encoder: its kind, and the names and values of all its tensors."""
    digest = hashlib.blake2b(encoder.kind.encode(), digest_size=16)
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def make_room(folder: Path, limit_bytes: int) -> int:
    """Delete the caches beside `folder` that were used longest ago, until all fit.

    Other trainings may fill or delete caches meanwhile. Returns the bytes that all caches hold.
    """
    others = sorted(
        (other for other in folder.parent.iterdir() if other.is_dir() and other != folder),
        key=_used_at,
    )
    sizes = {each: _size(each) for each in (*others, folder)}
    for other in others:
        if sum(sizes.values()) < limit_bytes // 2:  # leave room for what is to come
            break
        shutil.rmtree(other, ignore_errors=True)
        del sizes[other]
    return sum(sizes.values())


def _used_at(folder: Path) -> float:
    with suppress(FileNotFoundError):
        return folder.stat().st_mtime
    return 0.0


def _size(folder: Path) -> int:
    size = 0
    with suppress(FileNotFoundError):  # of the folder
        for file in folder.iterdir():
            with suppress(FileNotFoundError):  # of a file that had another name a moment ago
                size += file.stat().st_size
    return size


def _name_of(image: Tensor) -> str:
    digest = hashlib.blake2b(str(tuple(image.shape)).encode(), digest_size=16)
    digest.update(_bytes(image))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
