"""What runs a network over a batch. An engine is a callable: images in, logits out, all numpy.

torch runs every network at every precision. OpenVINO (bf16, fp32, int8) and ONNX Runtime (fp32)
run its graph (graphs.py) on the processor; they come with the extra `fast`. Which one is taken:
ways.py.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import torch

from ehtseg.records import Array, UserError

Precision = Literal["fp32", "bf16", "fp16"]
Engine = Callable[[Array], Array]  # images_BCHW float32 in [0, 1] -> logits_BHW float32

EXTRA = "pip install 'ehtseg[fast]'"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class NamedEngine(Protocol):
    """An engine that says what it is."""

    name: str
    precision: str
    device: str

    def __call__(self, images_BCHW: Array, /) -> Array:
        """Logits (B, H, W) of images (B, C, H, W) in [0, 1]."""


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


def choose_memory_format(device: str) -> Choice:
    """channels_last, except on Apple GPUs."""
    if device == "mps":
        return Choice("contiguous", "channels_last was never tried on an Apple GPU")
    return Choice("channels_last", "convolutions are faster so")


def choose_threads() -> Choice:
    """As many threads as torch takes: the user's number, else one a core."""
    why = "one a core" if "OMP_NUM_THREADS" not in os.environ else "OMP_NUM_THREADS says so"
    return Choice(str(torch.get_num_threads()), why)


def choose_batch(device: str) -> Choice:
    """Frames at a time where a recording is segmented: a GPU wants more of them."""
    if device == "cpu":
        return Choice("4", "frames at a time in segment; --batch sets another number")
    return Choice("16", "frames at a time in segment, for a GPU; --batch sets another number")


def cpu_bf16() -> str | None:
    """Which bf16 instructions the processor has and oneDNN may use, or None."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    limit = onednn_isa_limit()
    amx_allowed = limit in ("", "DEFAULT", "ALL") or "AMX" in limit
    if torch.cpu._is_amx_tile_supported() and amx_allowed:
        return "AMX"
    bf16_allowed = amx_allowed or limit.endswith(("BF16", "FP16")) or limit.startswith("AVX10")
    if torch.cpu._is_avx512_bf16_supported() and bf16_allowed:
        return "AVX512-BF16"
    return None


def onednn_isa_limit() -> str:
    """The limit that the user set on oneDNN's instructions, by either of its names, or ''."""
    names = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
    return next((os.environ[name].upper() for name in names if os.environ.get(name)), "")


def flush_denormals() -> None:
    """Let tiny numbers be zero, before the first parallel operation: they slow convolutions."""
    torch.set_flush_denormal(True)


def option(name: str, value: str) -> str:
    """How a user asks for this in the commands that run a network.

    >>> option("engine", "torch")
    'segment --engine torch, analyse --set segment.engine=torch'
    """
    return f"segment --{name} {value}, analyse --set segment.{name}={value}"


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

    def __init__(self, net: torch.nn.Module, precision: Precision, device: str = "cpu") -> None:
        self.name, self.precision, self.device = "torch", str(precision), device
        self.net = net.to(device).eval()
        if choose_memory_format(device).value == "channels_last":
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


@functools.cache
def openvino_core() -> Any:
    """OpenVINO's runtime, one for the whole process, with its processor plugin loaded.

    With AMX each gives its thread a stack for signals. When the older of two goes first, the
    younger one leaves the thread with a stack that is gone, and Ctrl-C is a segmentation fault.

    Raises: UserError where OpenVINO is missing.
    """
    core = needed("openvino").Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")
    return core


class OpenVinoEngine:
    """A graph run by OpenVINO on the processor, with as many threads as torch would take.

    `model` is an ONNX graph in memory, or a file (.onnx or .xml). `precision` is that of the
    arithmetic; a graph with 8-bit weights ("int8") computes the rest as the processor does best.

    Raises: UserError where OpenVINO is missing.
    """

    def __init__(self, model: bytes | Path, precision: str) -> None:
        core = openvino_core()
        self.name, self.precision, self.device = "openvino", precision, "cpu"
        hints = {"fp32": "f32", "bf16": "bf16", "int8": "bf16" if cpu_bf16() else "f32"}
        self._run: Any = core.compile_model(
            core.read_model(model),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": hints[precision],
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
                "CPU_DENORMALS_OPTIMIZATION": True,
            },
        )

    def __call__(self, images_BCHW: Array) -> Array:
        """Logits (B, H, W) of images (B, C, H, W) in [0, 1]."""
        logits_B1HW: Array = self._run(as_rgb(images_BCHW))[0]
        return logits_B1HW[:, 0]


def graph_faults() -> tuple[type[Exception], ...]:
    """What the runtimes that are installed raise for a graph that they cannot run."""
    faults: tuple[type[Exception], ...] = (RuntimeError,)
    if installed("onnxruntime"):
        state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
        names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
        faults += tuple(getattr(state, name) for name in names)
    return faults


class OnnxEngine:
    """A graph run by ONNX Runtime on the processor, in fp32.

    Raises: UserError where ONNX Runtime is missing.
    """

    def __init__(self, model: bytes | Path) -> None:
        runtime = needed("onnxruntime")
        self.name, self.precision, self.device = "onnx", "fp32", "cpu"
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        source = model if isinstance(model, bytes) else str(model)
        self._session: Any = runtime.InferenceSession(
            source, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images_BCHW: Array) -> Array:
        """Logits (B, H, W) of images (B, C, H, W) in [0, 1]."""
        (entry,) = self._session.get_inputs()
        logits_B1HW: Array = self._session.run(None, {entry.name: as_rgb(images_BCHW)})[0]
        return logits_B1HW[:, 0]


def as_rgb(images_BCHW: Array) -> Array:
    """Grey images as three equal channels: what a graph takes, float32 (B, 3, H, W)."""
    batch, _, height, width = images_BCHW.shape
    return np.ascontiguousarray(np.broadcast_to(images_BCHW, (batch, 3, height, width)))


def installed(package: str) -> bool:
    """Whether a package of the extra `fast` is there; it is not imported."""
    return importlib.util.find_spec(package) is not None


def needed(package: str) -> Any:
    """A package of the extra `fast`.

    Raises: UserError where it is missing.
    """
    if not installed(package):
        raise UserError(f"the package {package}", "none installed", f"Run: {EXTRA}")
    return importlib.import_module(package)
