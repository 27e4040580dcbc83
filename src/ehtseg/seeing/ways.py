"""Ways to run a network: which engine at which precision, the fastest that the guard let pass.

The guard (learning/guard.py) compares each way with `REFERENCE` at the end of a training and leaves
its verdicts in run.json. A way without a good verdict is never taken by itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ehtseg.recipe import SegmentRecipe
from ehtseg.records import UserError
from ehtseg.seeing.engines import (
    EXTRA,
    Choice,
    NamedEngine,
    OnnxEngine,
    OpenVinoEngine,
    Precision,
    TorchEngine,
    choose_precision,
    installed,
    option,
)
from ehtseg.seeing.graphs import onnx_graph, openvino_graph
from ehtseg.seeing.machine import processor_name
from ehtseg.seeing.run_folder import RunFolder, sha256_of

PRECISIONS = {
    "torch": ("fp32", "bf16", "fp16"),
    "openvino": ("fp32", "bf16", "int8"),
    "onnx": ("fp32",),
}
GRAPH_FILES = {"onnx": "net.onnx", "openvino": "net.xml", "openvino_int8": "net.xml"}


@dataclass(frozen=True, slots=True)
class Way:
    """An engine at a precision.

    >>> str(Way("torch", "bf16"))
    'torch bf16'
    """

    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


REFERENCE = Way("torch", "fp32")
INT8 = Way("openvino", "int8")


def ways_here(device: str) -> list[Way]:
    """What this machine can take, the fastest first; the last is `REFERENCE`.

    OpenVINO runs the same precision 1.2 to 1.4 times as fast as torch (docs/log.md).
    """
    precisions = dict.fromkeys([choose_precision(device).value, "fp32"])
    return [Way(engine, precision) for precision in precisions for engine in _engines(device)]


def choose_way(facts: Mapping[str, Any], choices: SegmentRecipe, device: str) -> tuple[Way, str]:
    """The way of a run, and why: the fastest that the guard let pass, of those the user allows.

    What the user asks for by name is taken even where the guard has not passed it.
    """
    int8 = "openvino_int8" in facts.get("exports", {}) and INT8.engine in _engines(device)
    for way in [INT8] * int8 + ways_here(device):
        allowed = choices.engine in ("auto", way.engine)
        allowed &= choices.precision in ("auto", way.precision)
        if allowed and way == REFERENCE:
            return way, f"nothing faster has passed the guard{_elsewhere(facts)}"
        if allowed and held(facts, way):
            return way, f"the fastest that passed the guard{_elsewhere(facts)}"
    way = _asked_for(choices)
    said = "it passed the guard" if held(facts, way) else "the guard has not passed it"
    return way, f"asked for; {said}"


def _elsewhere(facts: Mapping[str, Any]) -> str:
    """The processor of the training, whose end the guard ran at, where it is not this one."""
    here = processor_name()
    there = facts.get("machine", {}).get("processor", here)
    return "" if there == here else f" (on {there})"


def _asked_for(choices: SegmentRecipe) -> Way:
    precision = "fp32" if choices.precision == "auto" else choices.precision
    if choices.engine == "auto":
        return INT8 if precision == INT8.precision else Way("torch", precision)
    return Way(choices.engine, precision)


def _engines(device: str) -> list[str]:
    """The engines that may be chosen by themselves, the faster first."""
    return ["openvino", "torch"] if device == "cpu" and installed("openvino") else ["torch"]


def held(facts: Mapping[str, Any], way: Way) -> bool:
    """Whether the run folder holds a good verdict of the guard on this way."""
    verdict = facts.get("guard", {}).get("ways", {}).get(str(way), {})
    return bool(verdict.get("holds", False))


def start(way: Way, run: RunFolder, device: str) -> NamedEngine:
    """The engine of a way, ready to run the run's network; from its export where there is one.

    Raises: UserError where a package or the export is missing, or the network is no graph.
    """
    if way.precision not in PRECISIONS[way.engine]:
        raise UserError(
            f"a precision of the engine {way.engine} ({', '.join(PRECISIONS[way.engine])})",
            way.precision,
            f"Choose one of these, or an engine that has it: {option('engine', 'auto')}.",
        )
    if way.engine == "torch":
        return TorchEngine(run.net(), cast(Precision, way.precision), device)
    name = "openvino_int8" if way == INT8 else way.engine
    model: Path | bytes | None = exported(run, name)
    if model is None and way == INT8:
        raise UserError(
            f"an 8-bit export in {run.path}",
            "none",
            f"Run: {_command(run)} --format openvino --int8 --frames VIDEO",
        )
    if model is None:
        model = (openvino_graph if way.engine == "openvino" else onnx_graph)(run.net())
    return start_graph(way, model)


def start_graph(way: Way, model: bytes | Path) -> NamedEngine:
    """The engine of a way that runs a graph."""
    if way.engine == "onnx":
        return OnnxEngine(model)
    return OpenVinoEngine(model, way.precision)


def exported(run: RunFolder, name: str) -> Path | None:
    """The graph file of an earlier `ehtseg export`, if it is there.

    Raises: UserError where the files are no longer those that were exported, or the weights of
    the run no longer those that they were exported from.
    """
    told = run.facts.get("exports", {}).get(name)
    if told is None:
        return None
    if told["weights_sha256"] != run.weights_sha256:
        raise UserError(
            f"the weights of {run.path} that its exports were made from",
            f"another file as {run.weights_file.name}",
            f"Copy the run folder again, or run `{_command(run)}` again.",
        )
    folder = run.path / "exports" / name
    for file, sha256 in told["files"].items():
        if not (folder / file).is_file() or sha256_of(folder / file) != sha256:
            raise UserError(
                f"the export that {run.path}/run.json describes",
                f"no such file as {folder / file}, or another one",
                f"Run `{_command(run)}` again.",
            )
    return folder / GRAPH_FILES[name]


def _command(run: RunFolder) -> str:
    return f"ehtseg export {shlex.quote(str(run.path))}"


def engine_choice(device: str) -> Choice:
    """Which engine is offered on this machine, and why, for `ehtseg doctor`."""
    first = ways_here(device)[0]
    if device != "cpu":
        return Choice("torch", "it runs the GPU")
    if first.engine == "openvino":
        return Choice("openvino", "where the guard of the run passes it; else torch")
    return Choice("torch", f"OpenVINO would be 1.2 to 1.4 times as fast: {EXTRA}")
