"""A run as a graph for other programs: the whole story of `ehtseg export`.

The files stand in the run folder: exports/onnx/net.onnx, exports/openvino/net.xml and net.bin, and
exports/openvino_int8/ likewise. run.json remembers them, with how far their masks are from torch's.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from ehtseg.learning.guard import Shown, Verdict, guard, judge, shown, spread
from ehtseg.learning.seen import sets_of
from ehtseg.reading.dataset import survey
from ehtseg.reading.finding import find_videos
from ehtseg.reading.geometry import to_working_size
from ehtseg.reading.video import open_video
from ehtseg.records import UserError
from ehtseg.seeing.engines import TorchEngine, choose_precision, needed
from ehtseg.seeing.graphs import onnx_graph, openvino_graph, quantised, read_openvino, save_openvino
from ehtseg.seeing.outputs import folder_written_whole
from ehtseg.seeing.predict import as_batch
from ehtseg.seeing.run_folder import RunFolder, sha256_of, write_facts
from ehtseg.seeing.ways import GRAPH_FILES, INT8, Way, start_graph

FRAMES_OF_A_VIDEO = 64  # spread over each recording: half of them calibrate, half of them judge
PACKAGES = ("openvino", "nncf", "onnx", "onnxruntime", "torch")


@dataclass(frozen=True, slots=True)
class Exported:
    """What became of an export: its file (None where it was not kept) and the parity with torch."""

    file: Path | None
    frames: str  # which frames were compared
    verdicts: dict[Way, Verdict]


def export(
    run: RunFolder,
    format: Literal["onnx", "openvino"],
    *,
    int8: bool = False,
    videos: Sequence[Path | str] = (),
) -> Exported:
    """Write a run's network as a graph into its folder, and compare it with torch on real frames.

    The frames are those of `videos`, or else the validation frames of the training. An 8-bit
    network is calibrated on every second frame of `videos`, judged on the others, and kept only
    where the guard holds. Without an earlier verdict on bf16 and OpenVINO, the run gets one.

    Raises: UserError for a run that has not finished, frames that cannot be had, a network that is
    no graph, and where the extra `fast` is missing.
    """
    _check(run, format, int8, videos)
    net = run.net()
    graph = onnx_graph(net) if format == "onnx" else openvino_graph(net)
    frames, words = frames_of(videos) if videos else validation_frames(run)
    name = "openvino_int8" if int8 else format
    if int8 and len(frames) < 2:
        raise UserError(
            "two frames or more, to calibrate an 8-bit network and to judge it",
            words,
            "Name a longer recording: --frames VIDEO.",
        )
    judging = frames[1::2] if int8 else frames
    words = f"{len(judging)} of {words}" if int8 else words
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / GRAPH_FILES[name]
        model = graph if format == "onnx" else read_openvino(graph)
        if int8:
            small = [to_working_size(image, run.recipe.data.size) for image, _ in frames[::2]]
            model = quantised(graph, [as_batch([image]) for image in small])
        _save(model, file)
        engines = {way: start_graph(way, file) for way in _ways(name)}
        reference = TorchEngine(net, "fp32")
        verdicts = judge(reference, engines, judging, run.recipe.data.size, run.threshold)
        if int8 and not verdicts[INT8].holds:
            return Exported(None, words, verdicts)
        before = run.facts.get("guard") or guard(net, judging, run.recipe.data.size, run.threshold)
        told: dict[str, Any] = {"compared_on": words, "weights_sha256": run.weights_sha256}
        told["parity"] = {str(way): verdict.as_dict() for way, verdict in verdicts.items()}
        run = replace(run, facts={**run.facts, "guard": before})
        return Exported(_keep(run, name, file.parent, told), words, verdicts)


def frames_of(videos: Sequence[Path | str]) -> tuple[list[Shown], str]:
    """Frames spread over recordings, without true masks.

    Raises: UserError for a recording that cannot be read.
    """
    frames: list[Shown] = []
    paths = find_videos(videos)
    for path in paths:
        video = open_video(path)
        wanted = spread(range(video.n_frames or FRAMES_OF_A_VIDEO), FRAMES_OF_A_VIDEO)
        some = islice(video.frames(), wanted[-1] + 1)
        frames += [(frame.image, None) for i, frame in enumerate(some) if i in wanted]
    return frames, f"{len(frames)} frames of {', '.join(path.name for path in paths)}"


def validation_frames(run: RunFolder) -> tuple[list[Shown], str]:
    """The frames that the guard looks at at the end of a training, with their true masks.

    Raises: UserError where they are no longer where the training found them.
    """
    folders = [Path(folder) for folder in run.facts["data"]]
    there = all(folder.is_dir() for folder in folders)
    dataset = survey(folders).dataset if there else None
    sets = sets_of(run, dataset) if dataset else []
    indices = spread([i for i, name in enumerate(sets) if name == "validation"])
    if dataset is None or not indices:
        raise UserError(
            f"the validation frames of {run.path} in {', '.join(run.facts['data'])}",
            "none there",
            "Name a recording to compare on: --frames VIDEO.",
        )
    return shown(dataset, indices), f"{len(indices)} validation frames"


def _check(run: RunFolder, format: str, int8: bool, videos: Sequence[Path | str]) -> None:
    """Refuse what cannot be exported, before any work."""
    if not run.finished:
        raise UserError(
            f"a finished training in {run.path}",
            f"one whose status is {run.facts['status']}",
            "Give the command `ehtseg train` again: it continues.",
        )
    if int8 and (format != "openvino" or not videos):
        raise UserError(
            "--int8 with --format openvino and frames like those to come (--frames VIDEO)",
            f"--format {format} and {len(videos)} recordings",
            "Name a recording of your own: the 8-bit network is fitted to it.",
        )
    for package in ("onnx", "openvino" if format == "openvino" else "onnxruntime"):
        needed(package)


def _save(model: Any, file: Path) -> None:
    """Write an ONNX graph (bytes) or a graph of OpenVINO.

    Raises: UserError where the disk is full.
    """
    try:
        if isinstance(model, bytes):
            file.write_bytes(model)
        else:
            save_openvino(model, file)
    except (OSError, RuntimeError) as error:  # OpenVINO's word for a full disk is the second
        raise UserError(
            f"room for a graph in {file.parent.parent}",
            f"“{getattr(error, 'strerror', None) or error}”",
            "Free some space there, or set TMPDIR to another folder; nothing was exported.",
        ) from error


def _ways(name: str) -> list[Way]:
    """The ways in which a graph is compared with torch."""
    if name == "openvino_int8":
        return [INT8]
    if name == "onnx":
        return [Way("onnx", "fp32")]
    precisions = dict.fromkeys(["fp32", choose_precision("cpu").value])
    return [Way("openvino", precision) for precision in precisions]


def _keep(run: RunFolder, name: str, made: Path, told: dict[str, Any]) -> Path:
    """Copy the files into the run folder and note them, with their parity, in run.json."""
    with folder_written_whole(run.path / "exports" / name) as beside:
        for file in made.iterdir():
            shutil.copyfile(file, beside / file.name)
    folder = run.path / "exports" / name
    told = {
        **told,
        "files": {file.name: sha256_of(file) for file in sorted(folder.iterdir())},
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {package: _version(package) for package in PACKAGES},
    }
    exports = {**run.facts.get("exports", {}), name: told}
    guarded = run.facts["guard"]
    guarded = {**guarded, "ways": guarded["ways"] | told["parity"]}  # the newest verdict counts
    write_facts(run.path, {**run.facts, "exports": exports, "guard": guarded})
    return folder / GRAPH_FILES[name]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"
