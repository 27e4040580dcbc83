"""What is timed: one function a kind of work, ours beside what a user would run instead."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
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
from ehtseg.reading.dataset import Dataset, open_dataset
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
STEPS, BATCH = 3, 4  # of one look at training; one step at more than 256 x 256
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
    """Optimiser steps on labelled frames of size x size, without augmentation."""
    net, words = network(name, transfer, freeze)
    count = BATCH * (STEPS if size <= 256 else 1)  # images of one look
    recipe = make_recipe(
        {"net": {"name": name, "freeze": freeze}, "data": {"augment": "none", "size": size}},
        {"fit": {"batch": BATCH, "images_per_epoch": count, "loss": "bce", "epochs": 99}},
        {"fit": {"schedule": "constant", "clip_norm": None}},  # as in the other loop
    )
    with tempfile.TemporaryDirectory() as place:
        dataset = open_dataset([labelled(Path(place), size, count)])
        smp = smp_training(net, dataset, size, tuned=False)
        tuned = smp_training(net, dataset, size, tuned=True)
        flops = None if freeze else step_flops(net, size)
        ours = Training(dataset, all_train(dataset), recipe, resolve(recipe.fit), net)
        epochs = iter(range(99))
        looks = {
            "ours": lambda: ours.epoch(next(epochs), lambda _done, _total: None)["loss"],
            "smp": lambda: float(np.mean(list(islice(smp, count // BATCH)))),
            "smp tuned": lambda: float(np.mean(list(islice(tuned, count // BATCH)))),
        }
        losses: dict[str, float] = {}

        def look(label: str) -> float:
            losses[label] = looks[label]()
            return count

        precision = ours.resolved["precision"]
        with features_kept(net, recipe, precision):
            contestants = {label: partial(look, label) for label in looks}
            peak = None if flops is None else (flops, precision)
            row = race("images/s", contestants, repeats, peak=peak)
    ends = ", ".join(f"{label} {loss:.3f}" for label, loss in losses.items())
    return replace(row, note=f"{precision}; {words}; losses at the end: {ends}")


def smp_training(net: Net, dataset: Dataset, size: int, tuned: bool) -> Iterator[float]:
    """The losses of smp's training loop; what is frozen in `net` is frozen there."""
    copy = twin(net)
    learns = any(weights.requires_grad for weights in net.body.encoder.parameters())
    copy.encoder.requires_grad_(learns)
    pairs = [(frame.image, frame.mask) for frame in dataset.frames]
    return training_steps(copy, pairs, size, BATCH, tuned)


def labelled(folder: Path, size: int, count: int) -> Path:
    """A folder of the bundled frames and masks at size x size."""
    for name, how in (("images", cv2.INTER_AREA), ("masks", cv2.INTER_NEAREST)):
        (folder / name).mkdir()
        for file in sorted((DEMO / name).glob("*.png"))[:count]:
            resized = cv2.resize(_grey(file), (size, size), interpolation=how)
            cv2.imwrite(str(folder / name / file.name), resized)
    return folder


def film(name: str, size: int, count: int, repeats: int) -> Row:
    """A film of size x size to all outputs against a film to an overlay.

    Of ours the time after the first batch counts: the opponent's network has been built before.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run, video = untrained_run(folder / "run", name, size), clip(folder, size, count)
        model, counter = twin(run.net()), iter(range(99))

        def ours() -> tuple[float, float]:
            ticks: list[float] = []
            out = folder / f"out{next(counter)}"
            progress = lambda _done, _total: ticks.append(time.perf_counter())  # noqa: E731
            segment([video], run, out, SegmentRecipe(batch=4), progress=progress)
            return count - 4, ticks[-1] - ticks[3]

        def theirs(tuned: bool) -> Callable[[], float]:
            return lambda: video_script(model, video, size, folder / "theirs.mp4", tuned)

        note = "ours: masks, two movies, table; smp: one movie"
        contestants = {"ours": ours, "smp": theirs(False), "smp tuned": theirs(True)}
        return race("frames/s", contestants, repeats, f"{count} frames; {note}")


def longer_film(name: str, size: int, count: int, repeats: int) -> Row:
    """Frames a second of a film of `count` frames against those of a quarter, starts included."""
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


def peak_memory(name: str, size: int, count: int, _repeats: int) -> Row:
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
    return [cv2.resize(_grey(p), (size, size)) for p in paths]


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
    scale = net.mean.flatten().numpy(), net.std.flatten().numpy()
    wanted = plain_loop(model, 4, tuned=False, scale=scale)(pictures)
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


def _grey(file: Path) -> np.ndarray:
    return np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))


def _seconds(work: Callable[[], object]) -> float:
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
