"""Run folders, engines and the one function from frames to probabilities."""

from __future__ import annotations

import hashlib
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit

from ehtseg.doors import recordings
from ehtseg.nets.build import build
from ehtseg.recipe import FitRecipe, Recipe, SegmentRecipe, make_recipe, setting, write_recipe
from ehtseg.records import Array, UserError
from ehtseg.seeing.engines import TorchEngine, choose_precision, cpu_bf16, memory_watched, option
from ehtseg.seeing.machine import machine_facts, resolve
from ehtseg.seeing.predict import as_batch, certainty, enlarge, predict, probability
from ehtseg.seeing.run_folder import (
    RunFolder,
    open_run,
    read_tensors,
    sha256_of,
    write_facts,
    write_tensors,
)
from ehtseg.seeing.ways import choose_way, ways_here

SMALL: dict[str, dict[str, Any]] = {"net": {"name": "unet", "width": 4, "depth": 2}}


class Brightness(torch.nn.Module):
    """Logit = 8 (mean over channels - 0.5): a network whose answer is known."""

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return 8 * (images_BCHW.mean(1, keepdim=True) - 0.5)


def recorded(sizes: list[tuple[int, ...]]) -> Any:
    """An engine that notes the shape of every batch."""
    inner = TorchEngine(Brightness(), "fp32")

    def engine(images_BCHW: Array) -> Array:
        sizes.append(images_BCHW.shape)
        return inner(images_BCHW)

    return engine


# --- frames to probabilities ------------------------------------------------------------------


def test_the_probability_of_a_pixel_is_the_logistic_function_of_its_logit() -> None:
    image = np.random.default_rng(0).integers(0, 256, (33, 47), np.uint8)
    (found,) = predict(TorchEngine(Brightness(), "fp32"), [image], None)
    assert found.dtype == np.float32
    assert np.allclose(found, expit(8 * (image / 255 - 0.5)), atol=1e-6)


def test_logits_are_enlarged_not_probabilities_or_masks() -> None:
    """Between a pixel of logit -4 and one of +4 stand logits, not steps: the truth by hand."""
    small = np.zeros((2, 2), np.float32)
    small[:, 0], small[:, 1] = -4, 4
    assert np.allclose(enlarge(small, (2, 4))[0], [-4, -2, 2, 4])
    image = np.kron(np.array([[0, 255]], np.uint8), np.ones((64, 32), np.uint8))
    (found,) = predict(TorchEngine(Brightness(), "fp32"), [image], 8)
    inside = found[30, 29:35]  # from the centre of one small pixel to that of the next: 8 px
    assert np.allclose(np.log(inside / (1 - inside)), np.linspace(-2.5, 2.5, 6), atol=1e-4)


def test_frames_of_any_size_and_kind_come_back_in_their_own_size_and_order() -> None:
    rng = np.random.default_rng(1)
    shapes = [(31, 45), (31, 45), (31, 45, 3), (200, 97), (200, 97), (1, 1), (31, 45)]
    images = [rng.integers(0, 256, shape, np.uint8) for shape in shapes]
    sizes: list[tuple[int, ...]] = []
    found = predict(recorded(sizes), images, 64)
    assert [p.shape for p in found] == [shape[:2] for shape in shapes]
    alone = [predict(recorded([]), [image], 64)[0] for image in images]
    assert all(np.array_equal(a, b) for a, b in zip(found, alone, strict=True))
    assert sizes == [(2, 1, 31, 45), (1, 3, 31, 45), (2, 1, 92, 45), (1, 1, 1, 1), (1, 1, 31, 45)]


def test_grey_and_the_same_grey_as_rgb_give_the_same() -> None:
    grey = np.random.default_rng(2).integers(0, 256, (40, 30), np.uint8)
    engine = TorchEngine(build(make_recipe(SMALL).net, seed=3), "fp32")
    one, three = (predict(engine, [g], None)[0] for g in (grey, np.dstack([grey] * 3)))
    assert np.allclose(one, three, atol=1e-6)


def test_a_network_that_answers_nan_is_not_taken_for_an_empty_picture() -> None:
    def engine(images_BCHW: Array) -> Array:
        return np.full(images_BCHW[:, 0].shape, np.nan, np.float32)

    with pytest.raises(UserError, match=r"NaN.*--precision fp32") as error:
        predict(engine, [np.zeros((4, 4), np.uint8)], None)
    assert "analyse --set segment.precision=fp32" in error.value.cure
    with pytest.raises(UserError, match=r"--set segment\.engine=torch"):
        predict(lambda images_BCHW: images_BCHW, [np.zeros((4, 4), np.uint8)], None)


@pytest.mark.parametrize("name", ["engine", "precision"])
def test_every_command_has_the_option_that_a_cure_names(name: str) -> None:
    """What `option` says of segment and of analyse is what these commands take."""
    of_segment, of_analyse = option(name, "fp32" if name == "precision" else "torch").split(", ")
    assert of_segment.startswith(f"segment --{name} ")
    assert name in inspect.signature(recordings.segment).parameters
    _, _, decision = of_analyse.partition("--set ")
    assert "settings" in inspect.signature(recordings.analyse).parameters
    assert getattr(make_recipe(setting(decision)).segment, name) in ("fp32", "torch")


def test_a_batch_is_scaled_to_one() -> None:
    batch = as_batch([np.array([[0, 51, 255]], np.uint8)])
    assert batch.dtype == np.float32
    assert np.array_equal(batch[0, 0, 0], np.float32([0, 0.2, 1]))
    rgb = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(as_batch([rgb, rgb])[1, 2], rgb[..., 2] / np.float32(255))


@settings(max_examples=50)
@given(arrays(np.float32, (5,), elements=st.floats(-1e4, 1e4, width=32)))
def test_the_logistic_function_agrees_with_scipy_and_never_overflows(logits: Array) -> None:
    found = probability(logits)
    assert found.dtype == np.float32
    assert np.allclose(found, expit(logits.astype(float)), atol=1e-6)


def test_certainty_is_the_share_of_what_may_be_tissue_that_is_sure() -> None:
    found = np.zeros((10, 10), np.float32)
    assert certainty(found) == 1.0
    found[:4] = 0.95
    assert certainty(found) == 1.0
    found[4:8] = 0.5
    assert certainty(found) == 0.5
    found[:4] = 0.85
    assert certainty(found) == 0.0


# --- engines ----------------------------------------------------------------------------------


def test_an_engine_switches_dropout_off_and_keeps_no_gradients() -> None:
    net = torch.nn.Sequential(Brightness(), torch.nn.Dropout(0.5)).train()
    engine = TorchEngine(net, "fp32")
    images = np.ones((2, 1, 8, 8), np.float32)
    assert np.array_equal(engine(images), np.full((2, 8, 8), 4, np.float32))


def test_bf16_stays_near_fp32_and_answers_in_float32() -> None:
    net = build(make_recipe(SMALL).net, seed=0)
    images = np.random.default_rng(3).random((2, 1, 48, 40), np.float32)
    exact, rough = TorchEngine(net, "fp32")(images), TorchEngine(net, "bf16")(images)
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("name", ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"])
@pytest.mark.parametrize(
    ("limit", "found"),
    [  # names of oneDNN's developer guide, "CPU Dispatcher Control"
        ("SSE41", None),
        ("AVX", None),
        ("AVX2", None),
        ("avx2_vnni_2", None),
        ("AVX512_CORE", None),
        ("AVX512_CORE_VNNI", None),
        ("AVX512_CORE_BF16", "AVX512-BF16"),
        ("AVX512_CORE_FP16", "AVX512-BF16"),
        ("AVX10_1_512", "AVX512-BF16"),
        ("AVX512_CORE_AMX", "AMX"),
        ("AVX10_1_512_AMX_FP16", "AMX"),
        ("default", "AMX"),
        ("ALL", "AMX"),
    ],
)
def test_a_limit_on_the_instructions_is_obeyed(
    name: str, limit: str, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setenv(name, limit)
    assert cpu_bf16() == found
    assert choose_precision("cpu").value == ("bf16" if found else "fp32")


def test_without_bf16_instructions_no_way_is_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    held = {"holds": True}
    verdicts = {f"{engine} bf16": held for engine in ("openvino", "torch")}
    facts = {"guard": {"ways": {**verdicts, "openvino fp32": held}}}
    way, _ = choose_way(facts, SegmentRecipe(), "cpu")
    assert {each.precision for each in ways_here("cpu")} == {way.precision} == {"fp32"}
    assert resolve(FitRecipe())["precision"] == "fp32"


def test_out_of_memory_says_what_to_lower_and_other_errors_stay() -> None:
    words = r"out of memory.*a smaller --batch"
    with pytest.raises(UserError, match=words), memory_watched("a smaller --batch"):
        torch.empty(2**60)
    with pytest.raises(UserError, match=words), memory_watched("a smaller --batch"):
        np.empty(2**60, np.uint8)
    with pytest.raises(RuntimeError, match="shapes"), memory_watched("a smaller --batch"):
        torch.ones(2, 3) @ torch.ones(2, 3)


# --- run folders ------------------------------------------------------------------------------


def make_run(path: Path, **facts: Any) -> RunFolder:
    """A run folder of a small U-Net that was never trained."""
    recipe = make_recipe(SMALL)
    net = build(recipe.net, seed=1)
    write_recipe(recipe, path / "recipe.yaml")
    write_tensors(net.state_dict(), {"epoch": 1}, path / "last.safetensors")
    files = {"last.safetensors": sha256_of(path / "last.safetensors")}
    known = {"status": "finished", "card": net.card, "threshold": 0.4, "files": files}
    write_facts(path, {**known, **facts})
    return open_run(path)


def test_a_run_folder_gives_back_its_network(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    assert (run.threshold, run.finished) == (0.4, True)
    assert run.weights_file == tmp_path / "a" / "last.safetensors"
    net, again = build(run.recipe.net, seed=1), run.net()
    assert not again.training
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_safetensors_carry_one_key_and_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    tensors = {name: torch.arange(6.0).reshape(2, 3).T for name in ("b", "a", "c")}
    note = {"z": 1, "a": [1, 2]}
    for name in ("one", "two"):
        write_tensors(tensors, note, tmp_path / name)
    whole = (tmp_path / "one").read_bytes()
    assert whole == (tmp_path / "two").read_bytes()
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    assert header["__metadata__"] == {"ehtseg": json.dumps(note, sort_keys=True)}
    back, told = read_tensors(tmp_path / "one")
    assert told == note
    assert torch.equal(back["a"], tensors["a"])


def test_another_file_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    other = build(run.recipe.net, seed=2)
    write_tensors(other.state_dict(), {"epoch": 1}, run.weights_file)
    with pytest.raises(UserError, match=r"another file as last\.safetensors"):
        run.net()


def test_weights_of_another_architecture_are_counted_and_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", status="training")
    wider: Recipe = make_recipe(SMALL, {"net": {"width": 8}})
    write_tensors(build(wider.net, seed=0).state_dict(), {}, run.weights_file)
    with pytest.raises(UserError, match=r"another architecture: \d+ tensors do not fit"):
        run.net()


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"w": [1.0]}))


def _torch_pickle(path: Path) -> None:
    torch.save({"w": torch.ones(2)}, path)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    path.write_bytes(b"\xff" * 64)


def _foreign(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_pickle, "a pickle"), (_torch_pickle, "a pickle"), (_cut, "damaged"),
        (_flip, "damaged"), (_foreign, "without the note"), (Path.unlink, "no such file"),
        (lambda path: path.write_bytes(b""), "damaged"),
    ],
)  # fmt: skip
def test_weights_that_are_not_ours_are_refused(tmp_path: Path, harm: Any, said: str) -> None:
    run = make_run(tmp_path / "a")
    harm(run.weights_file)
    with pytest.raises(UserError, match=said) as caught:
        run.net()
    assert str(run.weights_file) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "something else"), ("[]", "something else"), ("{}", "card"),
        ('{"card": 3, "status": "finished"}', "other types"),
        ('{"card": {}, "status": 1}', "other types"),
    ],
)  # fmt: skip
def test_a_foreign_run_folder_is_refused(tmp_path: Path, text: str, said: str) -> None:
    make_run(tmp_path / "a")
    (tmp_path / "a" / "run.json").write_text(text)
    with pytest.raises(UserError, match=said):
        open_run(tmp_path / "a")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        open_run(tmp_path / "missing")
    with pytest.raises(UserError, match=r"a folder without run\.json"):
        open_run(tmp_path)
    (tmp_path / "model.pt").touch()
    with pytest.raises(UserError, match="got a file"):
        open_run(tmp_path / "model.pt")


def test_missing_weights_are_named_before_any_work(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    run.weights_file.unlink()
    with pytest.raises(UserError, match=r"no such file.*Copy the run folder again"):
        _ = run.words
    begun = RunFolder(run.path, run.recipe, {**run.facts, "status": "training"})
    with pytest.raises(UserError, match=r"ehtseg train.*continues"):
        _ = begun.words


def test_everybody_may_read_the_weights_that_may_read_the_other_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    assert run.weights_file.stat().st_mode == (run.path / "recipe.yaml").stat().st_mode


def test_a_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"heart")
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"heart").hexdigest()


@pytest.mark.parametrize(("has", "ends"), [(True, " and AMX"), (False, "")])
def test_a_processor_with_amx_is_another_machine(
    has: bool, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has)
    widest = torch.backends.cpu.get_cpu_capability()
    assert machine_facts()["instructions"] == f"{widest}{ends}"
