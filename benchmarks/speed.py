"""ehtseg against what a user would run instead, as ratios in one run.

    make bench      or      python benchmarks/speed.py [--only frames train] [--nets resnet50]

The opponent is U-Net of segmentation_models.pytorch in a plain loop with equal weights (real
ImageNet weights in the encoder where they are at hand), at its best batch of 1, 4 and 8; "tuned" is
the same with bf16 and channels_last. Outputs are compared first: the note tells the largest
difference of a logit in fp32, as a share of the largest logit. Every occasion is added to
benchmarks/occasions.jsonl: a ratio counts when it was measured on two.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from opponent import plain_loop, training_steps, twin, video_script
from paired import Row, machine, race, remember, table

from ehtseg.jobs.segment import segment
from ehtseg.learning.feature_cache import features_kept
from ehtseg.learning.training import Training
from ehtseg.nets.build import Net, build
from ehtseg.reading.dataset import open_dataset
from ehtseg.reading.splits import all_train
from ehtseg.recipe import NetRecipe, Recipe, SegmentRecipe, make_recipe, write_recipe
from ehtseg.records import UserError
from ehtseg.seeing.engines import TorchEngine, flush_denormals
from ehtseg.seeing.graphs import onnx_graph
from ehtseg.seeing.machine import resolve
from ehtseg.seeing.predict import predict
from ehtseg.seeing.run_folder import open_run, sha256_of, write_facts, write_tensors
from ehtseg.seeing.ways import start_graph, ways_here

ROOT = Path(__file__).resolve().parents[1]
DEMO, VIDEO = ROOT / "samples" / "demo", ROOT / "samples" / "demo.mp4"
N_FRAMES = 8  # of one look; a multiple of every batch
STEPS, BATCH = 3, 4  # of one look at training


def network(name: str, freeze: int | str = 0) -> tuple[Net, str]:
    """A network with ImageNet weights, or with random ones where there are none."""
    try:
        return build(NetRecipe(name=name, freeze=freeze), seed=0).eval(), "ImageNet weights"
    except UserError:
        net = build(NetRecipe(name=name, transfer=0, freeze=freeze), seed=0).eval()
        return net, "random weights"


def frames(size: int, count: int = N_FRAMES) -> list[np.ndarray]:
    """Real frames, enlarged or shrunk to size x size."""
    paths = sorted((DEMO / "images").glob("*.png"))[:count]
    return [cv2.resize(cv2.imread(str(p), cv2.IMREAD_GRAYSCALE), (size, size)) for p in paths]


def segmenting(name: str, size: int, repeats: int) -> Row:
    """Frames to probabilities against frames to logits."""
    net, words = network(name)
    model, pictures = twin(net), frames(size)
    exact = TorchEngine(net, "fp32")
    wanted = plain_loop(model, 4, tuned=False)(pictures)
    found = np.concatenate([exact(_batch(pictures[i : i + 4])) for i in (0, 4)])
    apart = np.abs(found - wanted).max() / np.abs(wanted).max()
    way = ways_here("cpu")[0]
    engine = TorchEngine(net, "fp32") if way.precision == "fp32" else TorchEngine(net, "bf16")
    if way.engine != "torch":
        engine = start_graph(way, onnx_graph(net))

    def ours() -> float:
        for start in range(0, len(pictures), 4):
            predict(engine, pictures[start : start + 4], None)
        return len(pictures)

    def theirs(tuned: bool) -> Callable[[], float]:
        loops = [plain_loop(twin(net), batch, tuned) for batch in (1, 4, 8)]
        best = min(loops, key=lambda loop: _seconds(lambda: loop(pictures)))

        def run() -> float:
            best(pictures)
            return len(pictures)

        return run

    contestants = {"ours": ours, "smp": theirs(False), "smp tuned": theirs(True)}
    note = f"{way}; {words}; outputs {apart:.0e} apart"
    return race(f"segment {name} {size}", "frames/s", contestants, repeats, note)


def training(name: str, freeze: int | str, repeats: int) -> Row:
    """Optimiser steps on the bundled frames, at 256 x 256, without augmentation."""
    net, words = network(name, freeze)
    dataset = open_dataset([DEMO])
    recipe = make_recipe(
        {"net": {"name": name, "freeze": freeze}, "data": {"augment": "none", "size": 256}},
        {"fit": {"batch": BATCH, "images_per_epoch": STEPS * BATCH, "loss": "bce", "epochs": 99}},
    )
    split = all_train(dataset)  # as many frames as steps take: the warm-up sees each one
    split = replace(split, train=split.train[: STEPS * BATCH])
    ours = Training(dataset, split, recipe, resolve(recipe.fit), net)
    epochs = iter(range(99))

    def step_ours() -> float:
        ours.epoch(next(epochs), lambda _done, _total: None)
        return STEPS * BATCH

    def theirs(tuned: bool) -> Callable[[], float]:
        copy = twin(net)
        copy.encoder.requires_grad_(freeze == 0)
        pairs = [(f.image, f.mask) for f in dataset.frames[: STEPS * BATCH]]
        steps: Iterator[float] = training_steps(copy, pairs, 256, BATCH, tuned)

        def run() -> float:
            list(islice(steps, STEPS))
            return STEPS * BATCH

        return run

    kind = "frozen" if freeze == "all" else "unfrozen"
    contestants = {"ours": step_ours, "smp": theirs(False), "smp tuned": theirs(True)}
    with features_kept(net, recipe, ours.resolved["precision"]):
        return race(f"train {name} {kind}", "images/s", contestants, repeats, words)


def run_folder(folder: Path, name: str, size: int) -> Recipe:
    """A run folder of an untrained network whose every way counts as guarded."""
    recipe = make_recipe({"net": {"name": name, "transfer": 0}, "data": {"size": size}})
    net = build(recipe.net, seed=0)
    write_recipe(recipe, folder / "recipe.yaml")
    write_tensors(net.state_dict(), {"epoch": 0}, folder / "last.safetensors")
    files = {"last.safetensors": sha256_of(folder / "last.safetensors")}
    ways = {str(way): {"holds": True} for way in ways_here("cpu")}
    facts = {"status": "finished", "card": net.card, "threshold": 0.5, "files": files}
    write_facts(folder, {**facts, "guard": {"ways": ways}})
    return recipe


def end_to_end(name: str, size: int, folder: Path, repeats: int) -> Row:
    """A film to all outputs against a film to an overlay, start of the program left out."""
    run_folder(folder / "run", name, size)
    run = open_run(folder / "run")
    model = twin(run.net())
    counter = iter(range(99))

    def ours() -> float:
        (result,) = segment([VIDEO], run, folder / f"out{next(counter)}", SegmentRecipe())
        return result.n_frames

    def theirs() -> float:
        return video_script(model, VIDEO, size, folder / "theirs.mp4")

    note = "ours: masks, two movies, table, figure; theirs: one movie"
    contestants = {"ours": ours, "smp": theirs}
    return race(f"film to files, {name} {size}", "frames/s", contestants, repeats, note)


def start_up(repeats: int) -> Row:
    """`ehtseg --help`, in a process of its own."""

    def ours() -> float:
        subprocess.run([sys.executable, "-m", "ehtseg", "--help"], check=True, capture_output=True)
        return 1

    return race("start-up", "starts/s", {"ours": ours}, repeats)


def peak_memory(name: str, size: int, folder: Path) -> Row:
    """Peak resident memory (MB) of one film in a process of its own; smaller is better."""
    run_folder(folder / "memory", name, size)
    found = {}
    for side in ("ours", "smp"):
        command = [sys.executable, __file__, "--memory-of", side, str(folder / "memory"), str(size)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        found[side] = float(answer.stdout.split()[-1])
    ratio = {"smp": found["ours"] / found["smp"]}
    return Row(f"peak memory, {name} {size}", "MB", found, ratio, "one film; smaller is better")


def memory_of(side: str, run: Path, size: int) -> float:
    """Segment the bundled film in this process; returns its peak memory in MB."""
    opened = open_run(run)
    with tempfile.TemporaryDirectory() as folder:
        if side == "ours":
            segment([VIDEO], opened, Path(folder) / "out", SegmentRecipe())
        else:
            video_script(twin(opened.net()), VIDEO, size, Path(folder) / "out.mp4")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _batch(pictures: list[np.ndarray]) -> np.ndarray:
    return np.stack(pictures)[:, None].astype(np.float32) / np.float32(255)


def _seconds(work: Callable[[], object]) -> float:
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def rows_of(asked: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """All rows that were asked for, one by one."""
    repeats = asked.repeats
    for name in asked.nets:
        if "frames" in asked.only:
            yield from (segmenting(name, size, repeats) for size in asked.sizes)
        if "train" in asked.only:
            yield from (training(name, freeze, repeats) for freeze in (0, "all"))
        if "film" in asked.only:
            yield end_to_end(name, 256, folder / name, repeats)
    if "start" in asked.only:
        yield start_up(repeats)
    if "memory" in asked.only:
        yield peak_memory(asked.nets[0], 256, folder)


def main() -> None:
    parts = ["frames", "train", "film", "start", "memory"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--nets", nargs="+", default=["resnet50", "vgg16"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[128, 256, 512])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--occasions", type=Path, default=ROOT / "benchmarks" / "occasions.jsonl")
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    flush_denormals()
    if asked.memory_of:
        side, run, size = asked.memory_of
        print(memory_of(side, Path(run), int(size)))
        return
    facts = machine()
    print("; ".join(f"{key} {value}" for key, value in facts.items()), flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows_of(asked, Path(folder)):
            rows.append(row)
            print("\n".join(table([row], []).splitlines()[2:]), flush=True)
    print("\n" + table(rows, remember(asked.occasions, rows, facts)))


if __name__ == "__main__":
    main()
