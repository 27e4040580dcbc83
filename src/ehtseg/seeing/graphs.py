"""A network as an ONNX graph, which other programs run; its 8-bit twin, fitted to given frames.

The graph takes images_B3HW, float32 in [0, 1], of any number, height and width, and gives
logits_B1HW: normalisation, padding and cropping are inside.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ehtseg.nets.build import Net
from ehtseg.nets.dstransunet import DSTransUNet
from ehtseg.nets.mednca import MedNCA
from ehtseg.nets.nnunet import NnUNet
from ehtseg.records import Array, UserError
from ehtseg.seeing.engines import (
    Engine,
    OnnxEngine,
    OpenVinoEngine,
    as_rgb,
    graph_faults,
    installed,
    needed,
    openvino_core,
)

OPSET = 18
TRACED = (2, 3, 97, 81)  # batch, channels, height, width
PROBES = ((1, 3, 64, 64), (2, 3, 130, 75))  # the graph has to be right at other sizes too
TOLERANCE = 2e-3  # of the largest logit, in fp32

NO_GRAPH: dict[type, str] = {
    MedNCA: "draws random numbers while it runs",
    DSTransUNet: "cuts its windows by the size of each image",
}


NO_OPENVINO: dict[type, str] = {  # ONNX Runtime runs them
    NnUNet: "miscounts its padded maps on processors with AMX, up to a crash of the process",
}


def openvino_graph(net: Net) -> bytes:
    """The network as an ONNX graph that OpenVINO is given.

    Raises: UserError as `onnx_graph`, and for a network that OpenVINO is known to fail on.
    """
    if reason := NO_OPENVINO.get(type(net.body)):
        raise no_graph(net, f"a network for which OpenVINO {reason}")
    return onnx_graph(net)


def onnx_graph(net: Net) -> bytes:
    """The network as an ONNX graph, checked against the network at sizes that it was not made at.

    It is traced, in about a second; torch.export with free sizes takes minutes (decisions.md, 18).

    Raises: UserError for a network that is no fixed graph, and where the extra `fast` is missing.
    """
    if reason := NO_GRAPH.get(type(net.body)):
        raise no_graph(net, f"a network that {reason}")
    needed("onnx")
    whole = copy.deepcopy(net).cpu().eval()
    written: Any = io.BytesIO()
    words = io.StringIO()  # the exporter prints what it cannot write
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(words), torch.no_grad():
            warnings.simplefilter("ignore")  # of tracing itself; the check below says if it failed
            torch.onnx.export(
                whole,
                (torch.rand(TRACED),),
                written,
                dynamo=False,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["logits"],
                dynamic_axes={name: {0: "n", 2: "h", 3: "w"} for name in ("images", "logits")},
            )
    except (RuntimeError, TypeError, ValueError) as error:
        raise no_graph(net, str(error).splitlines()[0]) from error
    graph: bytes = written.getvalue()
    try:
        runs = OnnxEngine(graph) if installed("onnxruntime") else OpenVinoEngine(graph, "fp32")
        check_graph(runs, whole)
    except graph_faults() as error:
        raise no_graph(net, str(error).splitlines()[0]) from error
    return graph


def check_graph(engine: Engine, net: Net) -> None:
    """Compare a graph with its network on random images of other sizes.

    Raises: UserError where they differ.
    """
    rng = np.random.default_rng(0)
    for shape in PROBES:
        images_BCHW = rng.random(shape, np.float32)
        with torch.inference_mode():
            wanted_BHW = net(torch.from_numpy(images_BCHW))[:, 0].numpy()
        found_BHW = engine(images_BCHW)
        if found_BHW.shape != wanted_BHW.shape:
            raise no_graph(net, f"a graph that answers {found_BHW.shape} to {shape}")
        apart = np.abs(found_BHW - wanted_BHW).max() / np.abs(wanted_BHW).max()
        if not apart <= TOLERANCE:
            raise no_graph(net, f"a graph that is {apart:.1%} off at {shape[2]} x {shape[3]}")


def no_graph(net: Net, got: str) -> UserError:
    """The clear word for a network that does not become a graph."""
    return UserError(
        f"a network that can be written as one graph for images of any size ({net.card['arch']})",
        got,
        "Use the torch engine, which runs every network.",
    )


def quantised(graph: bytes, batches: Sequence[Array]) -> Any:
    """The graph with 8-bit weights and activations (an OpenVINO model), by NNCF.

    `batches` are float32 (1, C, H, W) in [0, 1]: what activations usually reach is learned from
    those that have the shape of the first. The sizes are fixed for that time, because NNCF learns
    wrong ranges where they are free (docs/log.md).

    Raises: UserError where the extra `fast` is missing.
    """
    core = openvino_core()
    os.environ.setdefault("NNCF_CI", "1")  # without it, NNCF reports its use over the network
    for talkative in ("torch.utils.cpp_extension", "nncf"):  # no GPU, progress
        logging.getLogger(talkative).setLevel(logging.ERROR)
    nncf = needed("nncf")
    model = core.read_model(graph)
    alike = [as_rgb(batch) for batch in batches if batch.shape[2:] == batches[0].shape[2:]]
    model.reshape(list(alike[0].shape))
    with contextlib.redirect_stdout(io.StringIO()):
        small = nncf.quantize(
            model,
            nncf.Dataset(alike),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(alike),
        )
    small.reshape([-1, 3, -1, -1])
    return small


def save_openvino(model: Any, path: Path) -> None:
    """Write an OpenVINO model as `path` (.xml) and its weights beside it (.bin), uncompressed."""
    needed("openvino").save_model(model, path, compress_to_fp16=False)


def read_openvino(graph: bytes) -> Any:
    """An ONNX graph as an OpenVINO model."""
    return openvino_core().read_model(graph)
