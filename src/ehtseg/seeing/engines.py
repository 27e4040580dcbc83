"""What runs a network over a batch. An engine is a callable: images in, logits out, all numpy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch

from ehtseg.records import Array, UserError

Precision = Literal["fp32", "bf16", "fp16"]
Engine = Callable[[Array], Array]  # images_BCHW float32 in [0, 1] -> logits_BHW float32

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Choice:
    """One automatic decision and its reason, as `ehtseg doctor` prints it."""

    value: str
    why: str


def choose_device() -> Choice:
    """cuda, mps or cpu: the fastest that is there."""
    if torch.cuda.is_available():
        return Choice("cuda", torch.cuda.get_device_name())
    if torch.backends.mps.is_available():
        return Choice("mps", "an Apple GPU")
    return Choice("cpu", "no GPU was found")


def choose_precision(device: str) -> Choice:
    """bf16 where the processor multiplies in bf16, fp16 on Apple GPUs, else fp32."""
    if device == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice("bf16", "the GPU multiplies in bf16")
        return Choice("fp32", "the GPU has no bf16")
    if device == "mps":
        return Choice("fp32", "half precision on Apple GPUs is opt-in (--precision fp16)")
    found = cpu_bf16()
    if found:
        return Choice("bf16", f"the processor has {found}")
    return Choice("fp32", "the processor has neither AMX nor AVX512-BF16; bf16 would be slower")


def cpu_bf16() -> str | None:
    """Which bf16 instructions the processor has and oneDNN may use, or None."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    allowed = os_isa_limit()
    if torch.cpu._is_amx_tile_supported() and allowed in ("", "DEFAULT", "ALL"):
        return "AMX"
    if torch.cpu._is_avx512_bf16_supported() and not allowed.startswith(("AVX2", "SSE")):
        return "AVX512-BF16"
    return None


def os_isa_limit() -> str:
    """The limit that the user set on oneDNN's instructions (ONEDNN_MAX_CPU_ISA), or ''."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()


def flush_denormals() -> None:
    """Let tiny numbers be zero, before the first parallel operation: they slow convolutions."""
    torch.set_flush_denormal(True)


@contextmanager
def memory_watched(lower: str) -> Iterator[None]:
    """Turn "out of memory", in the words of Python, torch or OpenCV, into what to lower.

    Raises: UserError naming `lower`.
    """
    try:
        yield
    except (MemoryError, RuntimeError, cv2.error) as error:
        said = str(error).lower()
        words = ("out of memory", "allocate memory", "insufficient memory")
        if isinstance(error, MemoryError) or any(word in said for word in words):
            raise UserError("enough memory", "out of memory", f"Choose {lower}.") from error
        raise


class TorchEngine:
    """A network run by torch: autocast to the given precision, channels_last on CPU and CUDA."""

    name = "torch"

    def __init__(self, net: torch.nn.Module, precision: Precision, device: str = "cpu") -> None:
        self.precision, self.device = precision, device
        self.net = net.to(device).eval()
        if device != "mps":
            self.net = self.net.to(memory_format=torch.channels_last)

    def __call__(self, images_BCHW: Array) -> Array:
        """Logits (B, H, W) of images (B, C, H, W) in [0, 1]."""
        images = torch.from_numpy(np.ascontiguousarray(images_BCHW)).to(self.device)
        half = self.precision != "fp32"
        with (
            torch.inference_mode(),
            torch.autocast(self.device, _DTYPES[self.precision], enabled=half),
        ):
            logits_B1HW = self.net(images.contiguous(memory_format=torch.channels_last))
        result: Array = logits_B1HW[:, 0].float().cpu().numpy()
        return result
