"""Engines beside torch: the same logits at every size, and which way a run is taken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ehtseg.learning.guard import guard
from ehtseg.nets.build import build
from ehtseg.recipe import NetRecipe, SegmentRecipe
from ehtseg.records import Array, UserError
from ehtseg.seeing import engines, ways
from ehtseg.seeing.engines import (
    OnnxEngine,
    OpenVinoEngine,
    TorchEngine,
    as_rgb,
    graph_faults,
    needed,
)
from ehtseg.seeing.graphs import (
    NO_OPENVINO,
    check_graph,
    onnx_graph,
    openvino_graph,
    quantised,
    save_openvino,
)
from ehtseg.seeing.machine import processor_name
from ehtseg.seeing.ways import REFERENCE, Way, choose_way, held, start, ways_here
from test_nets import MEMBERS as NETS
from test_rivals import MEMBERS as RIVALS
from test_seeing import make_run

for package in ("openvino", "onnx", "onnxruntime", "nncf"):
    pytest.importorskip(package, reason="needs the extra `fast`", exc_type=ImportError)

TINY = NetRecipe(name="unet", width=2, depth=1)
SHAPES = ((1, 1, 50, 75), (3, 1, 1, 40), (2, 3, 33, 64))  # grey and colour, any size


AFTER_OPENVINO = """
import gc, signal, sys
from pathlib import Path
from ehtseg.seeing.engines import OpenVinoEngine
engines = [OpenVinoEngine(Path(sys.argv[1]), "fp32") for _ in range(2)]
while engines:
    engines.pop(0)
    gc.collect()
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it may be ignored
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("in order")
"""


def test_ctrl_c_after_openvino_is_no_segmentation_fault(tmp_path: Path) -> None:
    graph = tmp_path / "net.onnx"
    graph.write_bytes(onnx_graph(build(TINY, seed=0).eval()))
    command = [sys.executable, "-c", AFTER_OPENVINO, str(graph)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "in order"), done.stderr


def pictures(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(4).random(shape, np.float32)


# --- graphs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recipe", [TINY, NetRecipe(name="unet", width=2, depth=1, padding="valid")]
)
def test_every_engine_gives_the_logits_of_torch_at_any_size(recipe: NetRecipe) -> None:
    net = build(recipe, seed=5).eval()
    graph = onnx_graph(net)
    torch_engine = TorchEngine(net, "fp32")
    for engine in (OnnxEngine(graph), OpenVinoEngine(graph, "fp32")):
        for shape in SHAPES:
            expected = torch_engine(pictures(shape))
            found = engine(pictures(shape))
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_an_answer_is_not_overwritten_by_the_next_one() -> None:
    engine = OpenVinoEngine(onnx_graph(build(TINY, seed=5)), "fp32")
    first = engine(pictures((1, 1, 32, 32)))
    kept = first.copy()
    engine(1 - pictures((1, 1, 32, 32)))
    assert np.array_equal(first, kept)


@pytest.mark.slow
@pytest.mark.parametrize("member", [*NETS, *RIVALS], ids=lambda m: m.name)
def test_every_network_becomes_a_graph_or_says_why_not(member: Any) -> None:
    net = build(member.recipe, seed=3).eval()
    # the last one's instance norms over a few pixels make rounding of untrained weights large
    if member.recipe.name in ("mednca", "mednca_16", "dstransunet", "nnunet_512"):
        with pytest.raises(UserError, match="Use the torch engine"):
            onnx_graph(net)
        return
    graph = onnx_graph(net)  # checked by ONNX Runtime at two sizes that it was not traced at
    if type(net.body) not in NO_OPENVINO:
        check_graph(OpenVinoEngine(graph, "fp32"), net)


def test_a_mirrored_network_becomes_a_graph() -> None:
    net = build(TINY.model_copy(update={"mirrored": True}), seed=5).eval()
    assert net.mirrored
    graph = onnx_graph(net)
    picture = pictures((1, 1, 40, 48))
    expected = TorchEngine(net, "fp32")(picture)
    np.testing.assert_allclose(OnnxEngine(graph)(picture), expected, rtol=1e-3, atol=1e-4)


def test_a_graph_that_no_runtime_takes_is_a_fault_of_theirs() -> None:
    with pytest.raises(graph_faults()):
        OnnxEngine(b"no graph")


def test_a_network_that_draws_numbers_is_refused_at_once() -> None:
    with pytest.raises(UserError, match="draws random numbers while it runs"):
        onnx_graph(build(NetRecipe(name="mednca_16")))


def test_nnunet_is_a_graph_for_onnx_runtime_and_none_for_openvino() -> None:
    net = build(NetRecipe(name="nnunet"), seed=0)
    with pytest.raises(UserError, match="OpenVINO miscounts its padded maps"):
        openvino_graph(net)
    assert guard(net, [], 32, 0.5)["no_graph"]


class Fixed(torch.nn.Module):
    """A body whose graph would hold for one size only."""

    def forward(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        side = float(images_B3HW.shape[-1])
        return images_B3HW[:, :1] + side


def test_a_graph_that_holds_for_one_size_only_is_noticed() -> None:
    net = build(TINY, seed=0)
    net.body = Fixed()
    with pytest.raises(UserError, match=r"a graph that is \d.*% off at 64 x 64"):
        onnx_graph(net)


def test_eight_bits_stay_near_and_are_really_eight(tmp_path: Path) -> None:
    net = build(NetRecipe(name="unet", width=4, depth=1, norm="batch"), seed=2).eval()
    graph = onnx_graph(net)
    shape = (1, 1, 32, 32)
    model = quantised(graph, [pictures(shape)] * 4)
    assert sum(op.get_type_name() == "FakeQuantize" for op in model.get_ops()) > 0
    save_openvino(model, tmp_path / "net.xml")
    exact = TorchEngine(net, "fp32")(pictures(shape))
    found = OpenVinoEngine(tmp_path / "net.xml", "int8")(pictures(shape))
    spread = np.ptp(exact)
    assert 1e-6 * spread < np.abs(found - exact).max() < 0.2 * spread


def test_grey_becomes_three_channels() -> None:
    images = pictures((2, 1, 3, 5))
    assert np.array_equal(as_rgb(images)[:, 2], images[:, 0])
    assert as_rgb(images).flags.c_contiguous


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(UserError, match=r"pip install 'ehtseg\[fast\]'"):
        needed("no_such_package_at_all")


# --- ways -------------------------------------------------------------------------------------


@pytest.fixture
def amx(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that multiplies in bf16."""
    monkeypatch.setattr(engines, "cpu_bf16", lambda: "AMX")


def verdicts(**holds: bool) -> dict[str, Any]:
    found = {name.replace("_", " "): {"holds": value} for name, value in holds.items()}
    return {"guard": {"ways": found}}


@pytest.mark.usefixtures("amx")
def test_the_fastest_way_comes_first_and_the_reference_last() -> None:
    assert [str(way) for way in ways_here("cpu")] == [
        "openvino bf16", "torch bf16", "openvino fp32", "torch fp32",
    ]  # fmt: skip


@pytest.mark.usefixtures("amx")
@pytest.mark.parametrize(
    ("facts", "choices", "expected"),
    [
        ({}, {}, "torch fp32"),  # the guard never ran
        (verdicts(openvino_bf16=True, torch_bf16=True), {}, "openvino bf16"),
        (verdicts(openvino_bf16=False, torch_bf16=True), {}, "torch bf16"),
        (verdicts(torch_bf16=False, openvino_fp32=True), {}, "openvino fp32"),
        (verdicts(openvino_bf16=True), {"engine": "torch"}, "torch fp32"),
        (verdicts(openvino_bf16=True), {"precision": "fp32"}, "torch fp32"),
        ({}, {"precision": "bf16"}, "torch bf16"),  # asked for: taken, guard or not
        ({}, {"precision": "bf16", "engine": "openvino"}, "openvino bf16"),
        ({}, {"engine": "openvino"}, "openvino fp32"),
        ({}, {"engine": "onnx"}, "onnx fp32"),
        ({}, {"precision": "int8"}, "openvino int8"),
        ({}, {"precision": "fp16"}, "torch fp16"),
        (
            {**verdicts(openvino_int8=True), "exports": {"openvino_int8": {}}},
            {},
            "openvino int8",
        ),
        (
            {**verdicts(openvino_int8=False), "exports": {"openvino_int8": {}}},
            {},
            "torch fp32",
        ),
    ],
)
def test_a_run_is_taken_the_fastest_way_that_the_guard_let_pass(
    facts: dict[str, Any], choices: dict[str, Any], expected: str
) -> None:
    way, _ = choose_way(facts, SegmentRecipe.model_validate(choices), "cpu")
    assert str(way) == expected


@pytest.mark.usefixtures("amx")
def test_why_a_way_is_taken_says_no_more_than_is_known() -> None:
    here = {**verdicts(torch_bf16=True, onnx_fp32=True), "machine": {"processor": processor_name()}}
    there = {**here, "machine": {"processor": "another"}}

    def why(facts: dict[str, Any], **choices: Any) -> str:
        return choose_way(facts, SegmentRecipe.model_validate(choices), "cpu")[1]

    passed, nothing = "the fastest that passed the guard", "nothing faster has passed the guard"
    assert why(here, precision="bf16") == passed
    assert why(there, precision="bf16") == f"{passed} (on another)"
    assert why(here, precision="fp32") == nothing
    assert why(there, precision="fp32") == f"{nothing} (on another)"
    assert why(here, engine="onnx") == "asked for; it passed the guard"
    assert why({}, engine="onnx") == "asked for; the guard has not passed it"


def test_without_the_extra_everything_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ways, "installed", lambda _: False)
    assert {way.engine for way in ways_here("cpu")} == {"torch"}
    assert "ehtseg[fast]" in ways.engine_choice("cpu").why
    assert ways_here("cuda")[-1] == REFERENCE


def test_a_verdict_counts_only_for_its_own_way() -> None:
    facts = verdicts(torch_bf16=True)
    assert held(facts, Way("torch", "bf16"))
    assert not held(facts, Way("openvino", "bf16"))


def test_an_engine_starts_from_the_run_folder(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    images = pictures((1, 1, 40, 48))
    expected = start(REFERENCE, run, "cpu")(images)
    engine = start(Way("onnx", "fp32"), run, "cpu")
    assert (engine.name, engine.precision, engine.device) == ("onnx", "fp32", "cpu")
    np.testing.assert_allclose(engine(images), expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(UserError, match="--int8"):
        start(Way("openvino", "int8"), run, "cpu")


@pytest.mark.parametrize(
    "way", [Way("openvino", "fp16"), Way("onnx", "bf16"), Way("torch", "int8")]
)
def test_an_engine_refuses_a_precision_that_it_has_not(tmp_path: Path, way: Way) -> None:
    with pytest.raises(UserError, match=f"the engine {way.engine} .*{way.precision}"):
        start(way, make_run(tmp_path / "run"), "cpu")
