"""What is timed: one function a kind of work, ours beside what a user would run instead."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from opponent import plain_loop, training_steps, twin, video_script
from paired import Row, race
from torch.utils.flop_counter import FlopCounterMode

from ehtseg.jobs.segment import segment
from ehtseg.learning.feature_cache import features_kept
from ehtseg.learning.training import Training
from ehtseg.nets.build import Net, build
from ehtseg.reading.dataset import open_dataset
from ehtseg.reading.splits import all_train
from ehtseg.reading.video import open_video
from ehtseg.recipe import NetRecipe, SegmentRecipe, make_recipe, write_recipe
from ehtseg.records import UserError
from ehtseg.seeing.engines import NamedEngine, OpenVinoEngine, TorchEngine
from ehtseg.seeing.graphs import onnx_graph, quantised, save_openvino
from ehtseg.seeing.machine import resolve
from ehtseg.seeing.outputs import movie
from ehtseg.seeing.predict import as_batch, predict
from ehtseg.seeing.render import as_rgb
from ehtseg.seeing.run_folder import RunFolder, open_run, sha256_of, write_facts, write_tensors
from ehtseg.seeing.ways import INT8, Way, start_graph, ways_here

ROOT = Path(__file__).resolve().parents[1]
DEMO, CLIP = ROOT / "samples" / "demo", ROOT / "samples" / "demo.mp4"
N_FRAMES = 8  # of one look; a multiple of every batch
STEPS, BATCH = 3, 4  # of one look at training
FPS = 30.0
Stages = int | Literal["all"]


def segmenting(name: str, size: int, repeats: int, int8: bool = False) -> Row:
    """Frames to probabilities against frames to logits, at a network size of size x size."""
    net, words = network(name)
    model, pictures = twin(net), frames(size)
    way = INT8 if int8 else ways_here("cpu")[0]
    engine = engine_of(way, net, pictures)

    def ours() -> float:
        for start in range(0, len(pictures), 4):
            predict(engine, pictures[start : start + 4], None)
        return len(pictures)

    contestants = {"ours": ours, "smp": best_loop(net, pictures, tuned=False)}
    contestants["smp tuned"] = best_loop(net, pictures, tuned=True)
    note = f"{way}; {words}; outputs {apart(net, model, pictures):.0e} apart in fp32"
    peak = None if int8 else (forward_flops(net, size), way.precision)
    return race("frames/s", contestants, repeats, note, peak)


def training(
    name: str, size: int, repeats: int, transfer: Stages = "all", freeze: Stages = 0
) -> Row:
    """Optimiser steps on the bundled frames without augmentation."""
    net, words = network(name, transfer, freeze)
    dataset = open_dataset([DEMO])
    recipe = make_recipe(
        {"net": {"name": name, "freeze": freeze}, "data": {"augment": "none", "size": size}},
        {"fit": {"batch": BATCH, "images_per_epoch": STEPS * BATCH, "loss": "bce", "epochs": 99}},
    )
    flops = None if freeze else step_flops(net, size)
    contestants = {
        label: smp_steps(net, size, freeze, label == "smp tuned") for label in ("smp", "smp tuned")
    }
    split = all_train(dataset)  # as many frames as steps take: the warm-up sees each one
    split = replace(split, train=split.train[: STEPS * BATCH])
    ours = Training(dataset, split, recipe, resolve(recipe.fit), net)
    epochs = iter(range(99))
    losses: list[float] = []

    def step_ours() -> float:
        losses.append(ours.epoch(next(epochs), lambda _done, _total: None)["loss"])
        return STEPS * BATCH

    precision = ours.resolved["precision"]
    with features_kept(net, recipe, precision):
        row = race(
            "images/s",
            {"ours": step_ours, **{label: side.run for label, side in contestants.items()}},
            repeats,
            peak=None if flops is None else (flops, precision),
        )
    ends = ", ".join(f"{label} {side.loss:.3f}" for label, side in contestants.items())
    return replace(
        row, note=f"{precision}; {words}; loss at the end: ours {losses[-1]:.3f}, {ends}"
    )


class smp_steps:  # noqa: N801, a function that remembers its loss
    """smp's training loop, `STEPS` steps a look; frames of the bundled clip."""

    def __init__(self, net: Net, size: int, freeze: Stages, tuned: bool) -> None:
        copy = twin(net)
        copy.encoder.requires_grad_(not freeze)
        pairs = [(f.image, f.mask) for f in open_dataset([DEMO]).frames[: STEPS * BATCH]]
        self.steps: Iterator[float] = training_steps(copy, pairs, size, BATCH, tuned)
        self.loss = float("nan")  # mean of the last look

    def run(self) -> float:
        """One look."""
        self.loss = float(np.mean(list(islice(self.steps, STEPS))))
        return STEPS * BATCH


def film(name: str, size: int, count: int, repeats: int) -> Row:
    """A film of size x size to all outputs against a film to an overlay; programs have started."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run, video = untrained_run(folder / "run", name, size), clip(folder, size, count)
        model, counter = twin(run.net()), iter(range(99))

        def ours() -> float:
            (result,) = segment([video], run, folder / f"out{next(counter)}", SegmentRecipe())
            return result.n_frames

        def theirs(tuned: bool) -> Callable[[], float]:
            return lambda: video_script(model, video, size, folder / "theirs.mp4", tuned)

        note = "ours: masks, two movies, table, figure, and the start of its engine; smp: one movie"
        contestants = {"ours": ours, "smp": theirs(False), "smp tuned": theirs(True)}
        return race("frames/s", contestants, repeats, f"{count} frames; {note}")


def longer_film(name: str, size: int, count: int, repeats: int) -> Row:
    """Frames a second of a film of `count` frames against those of a quarter of it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run, counter = untrained_run(folder / "run", name, size), iter(range(99))

        def of(count: int) -> Callable[[], float]:
            (folder / str(count)).mkdir()
            video = clip(folder / str(count), size, count)

            def work() -> float:
                (result,) = segment([video], run, folder / f"out{next(counter)}", SegmentRecipe())
                return result.n_frames

            return work

        films = {f"{n} frames": of(n) for n in (count, count // 4)}
        return race("frames/s", films, repeats)


def start_up(repeats: int) -> Row:
    """`ehtseg --help` against the import of smp, each in a process of its own."""

    def start(*words: str) -> Callable[[], float]:
        def work() -> float:
            subprocess.run([sys.executable, *words], check=True, capture_output=True)
            return 1

        return work

    contestants = {
        "ours": start("-m", "ehtseg", "--help"),
        "import of smp": start("-c", "import segmentation_models_pytorch"),
    }
    row = race("starts/s", contestants, repeats)
    return replace(row, note=f"{1 / row.rates['ours']:.2f} s for ehtseg --help")


def peak_memory(name: str, size: int, count: int) -> Row:
    """Peak resident memory (MB) of a film in a process of its own; smaller is better."""
    found = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        untrained_run(folder / "run", name, size)
        for side, n in (("ours", count), ("ours", count // 4), ("smp", count // 4)):
            video = clip(folder, size, n)
            words = ["--memory-of", side, str(folder / "run"), str(video), str(size)]
            command = [sys.executable, str(Path(__file__).with_name("speed.py")), *words]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            found[f"{side}, {n} frames"] = float(answer.stdout.split()[-1])
    ours, *others = found
    return Row("MB", found, {other: found[ours] / found[other] for other in others}, None, "a film")


def memory_of(side: str, run: Path, video: Path, size: int) -> float:
    """Segment a film in this process; returns its peak memory in MB."""
    opened = open_run(run)
    with tempfile.TemporaryDirectory() as folder:
        if side == "ours":
            segment([video], opened, Path(folder) / "out", SegmentRecipe())
        else:
            video_script(twin(opened.net()), video, size, Path(folder) / "out.mp4", False)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def network(name: str, transfer: Stages = "all", freeze: Stages = 0) -> tuple[Net, str]:
    """A network with ImageNet weights, or with random ones where there are none."""
    try:
        recipe = NetRecipe(name=name, transfer=transfer, freeze=freeze)
        words = "ImageNet weights" if transfer else "random weights"
        return build(recipe, seed=0).eval(), words
    except UserError:
        net = build(NetRecipe(name=name, transfer=0, freeze=freeze), seed=0).eval()
        return net, "random weights (no ImageNet weights at hand)"


def frames(size: int, count: int = N_FRAMES) -> list[np.ndarray]:
    """Real frames, enlarged or shrunk to size x size."""
    paths = sorted((DEMO / "images").glob("*.png"))[:count]
    return [cv2.resize(cv2.imread(str(p), cv2.IMREAD_GRAYSCALE), (size, size)) for p in paths]


def clip(folder: Path, size: int, count: int) -> Path:
    """The bundled clip at size x size, again and again, as a video of `count` frames."""
    images = [np.asarray(frame.image) for frame in open_video(CLIP).frames()]
    path = folder / f"film{count}.mp4"
    with movie(path, (size, size), FPS) as write:
        for k in range(count):
            write(as_rgb(cv2.resize(images[k % len(images)], (size, size))), None)
    return path


def engine_of(way: Way, net: Net, pictures: list[np.ndarray]) -> NamedEngine:
    """What runs the network in this way; 8 bits are fitted to the pictures."""
    if way.engine == "torch":
        return TorchEngine(net, "bf16" if way.precision == "bf16" else "fp32")
    graph = onnx_graph(net)
    if way != INT8:
        return start_graph(way, graph)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "net.xml"
        save_openvino(quantised(graph, [as_batch([picture]) for picture in pictures]), file)
        return OpenVinoEngine(file, INT8.precision)


def best_loop(net: Net, pictures: list[np.ndarray], tuned: bool) -> Callable[[], float]:
    """smp's loop at its best batch of 1, 4 and 8."""
    loops = [plain_loop(twin(net), batch, tuned) for batch in (1, 4, 8)]
    best = min(loops, key=lambda loop: _seconds(lambda: loop(pictures)))

    def run() -> float:
        best(pictures)
        return len(pictures)

    return run


def apart(net: Net, model: torch.nn.Module, pictures: list[np.ndarray]) -> float:
    """Largest difference of a logit in fp32, as a share of the largest logit."""
    wanted = plain_loop(model, 4, tuned=False)(pictures)
    exact = TorchEngine(net, "fp32")
    found = np.concatenate([exact(as_batch(pictures[i : i + 4])) for i in (0, 4)])
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def forward_flops(net: Net, size: int) -> float:
    """Floating-point operations of one image through the network."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.rand(1, 3, size, size))
    return float(counter.get_total_flops())


def step_flops(net: Net, size: int) -> float:
    """Floating-point operations of one image forwards and backwards."""
    with FlopCounterMode(display=False) as counter:
        net(torch.rand(1, 3, size, size)).sum().backward()
    net.zero_grad()
    return float(counter.get_total_flops())


def untrained_run(folder: Path, name: str, size: int) -> RunFolder:
    """A run folder of an untrained network whose every way counts as guarded."""
    recipe = make_recipe({"net": {"name": name, "transfer": 0}, "data": {"size": size}})
    net = build(recipe.net, seed=0)
    write_recipe(recipe, folder / "recipe.yaml")
    write_tensors(net.state_dict(), {"epoch": 0}, folder / "last.safetensors")
    files = {"last.safetensors": sha256_of(folder / "last.safetensors")}
    ways: dict[str, Any] = {str(way): {"holds": True} for way in ways_here("cpu")}
    facts = {"status": "finished", "card": net.card, "threshold": 0.5, "files": files}
    write_facts(folder, {**facts, "guard": {"ways": ways}})
    return open_run(folder)


def _seconds(work: Callable[[], object]) -> float:
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
