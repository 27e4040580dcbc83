"""The runner: nothing lost, nothing doubled, the same tables to the byte; failures are kept."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ehtseg.study.crew as crew_room
from conftest import shared, write_labelled
from crew_jobs import deadly, raise_one
from ehtseg.doors.cli import main
from ehtseg.learning.evaluate import evaluate
from ehtseg.nets.weights import BUNDLED, find_weights
from ehtseg.reading.dataset import open_dataset
from ehtseg.recipe import NetRecipe
from ehtseg.records import UserError
from ehtseg.study.crew import Crew, Ended, Hired, perform
from ehtseg.study.designs import table1
from ehtseg.study.entries import startable, weights_of
from ehtseg.study.ledger import Record, record_folder, run_folder, write_record
from ehtseg.study.plan import Data, Place, Study
from ehtseg.study.results import as_text, machine_words, read_examples, read_results, select
from ehtseg.study.run import (
    Order,
    check_identity,
    look_at,
    predict,
    predicted_s,
    run_study,
)
from ehtseg.study.score import score_baselines
from ehtseg.study.task import Task, machine_here
from ehtseg.study.written import find_study
from killable_study import made_up, tables_of, work_in

HERE = Path(__file__).parent
FILM = Data(
    train=("film",),
    score=(Place("film", "test"), Place("other")),
    unit="recording",
    split={"split": "blocks", "shares": (0.6, 0.2, 0.2), "guard_frames": 0},
)
TINY = Study(
    name="tiny",
    question="Does the runner run?",
    factors={"loss": ("BCE", "focal")},
    outcome="Dice",
    expected="Yes.",
    cost="4 runs, seconds",
    rows=(("U-Net", "BCE"), ("U-Net", "focal")),
    data=FILM,
    seeds=2,
    at={
        "cpu": {
            "net": {"width": 4, "depth": 2, "norm": "batch"},
            "data": {"size": 32},
            "fit": {"images_per_epoch": 16, "epochs": 3, "lr": 5e-3},
        }
    },
)


class Inline(Executor):
    """An executor that does the work at once, here."""

    def submit(self, fn, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        future: Future[object] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except (UserError, ValueError) as error:
            future.set_exception(error)
        return future


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work without other processes."""

    @contextmanager
    def hired(_: Crew) -> Iterator[Hired]:
        yield Hired(Inline(), 1, 1, ())

    monkeypatch.setattr(crew_room, "hired", hired)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_labelled(folder / "film", {"film": 20}, size=40)
    write_labelled(folder / "other", {"one": 2, "two": 2}, size=36)
    return folder


def tables(out: Path) -> dict[str, bytes]:
    """Everything that has to be equal to the byte."""
    files = [*sorted(out.glob("*.*")), *sorted((out / "examples").glob("*"))]
    return {path.name: path.read_bytes() for path in files if path.name != "timings.csv"}


def must_not_run(task: Task) -> None:
    raise AssertionError(f"{task.entry.label} was carried out again")


# --- the ledger, with a made-up job


def test_every_run_is_entered_once_and_the_tables_alone_are_enough(
    tmp_path: Path, inline: None
) -> None:
    out = tmp_path / "study"
    ticks: list[tuple[int, int]] = []
    run_study(work_in(out), Crew(), job=made_up, tick=lambda done, n: ticks.append((done, n)))
    assert ticks == [(i, 11) for i in range(1, 12)]
    found, before = read_results(out), tables(out)
    wanted = [run.key[:16] for run in table1.plan("cpu")[:11]]
    assert sorted(found.runs["key"]) == list(found.runs["key"]) == sorted(wanted)
    assert set(found.runs["status"]) == {"done"}
    assert len(found.images["key"]) == 3 * 11
    one = select(found.images, key=wanted[0])
    assert one["dice"] == pytest.approx(int(wanted[0][:6], 16) / 16**6, rel=1e-5)
    shutil.rmtree(out / "runs")
    run_study(work_in(out), Crew(), job=must_not_run)
    assert tables(out) == before


def test_half_a_table_is_completed_without_a_run_done_twice(tmp_path: Path, inline: None) -> None:
    out, whole = tmp_path / "a" / "study", tmp_path / "b" / "study"
    for each in (out, whole):
        each.parent.mkdir()
    run_study(work_in(whole), Crew(), job=made_up)
    work = work_in(out)
    run_study(replace(work, entries=work.entries[:4]), Crew(), job=made_up)
    run_study(work, Crew(), job=made_up)
    assert tables(out) == tables(whole)
    begun = [line.split()[1] for line in (out.parent / "study.log").read_text().splitlines()]
    assert len(begun) == len(set(begun)) == 11


def test_rows_that_runs_csv_does_not_know_are_from_a_kill_and_do_not_count(
    tmp_path: Path, inline: None
) -> None:
    out = tmp_path / "study"
    run_study(work_in(out), Crew(), job=made_up)
    before = tables(out)
    lines = (out / "runs.csv").read_text().splitlines(keepends=True)
    (out / "runs.csv").write_text("".join(lines[:-1]))  # killed just before it was written
    run_study(work_in(out), Crew(), job=made_up)
    assert tables(out) == before


def test_what_fails_is_kept_with_its_reason_and_tried_again_on_demand(
    tmp_path: Path, inline: None
) -> None:
    work, said = work_in(tmp_path / "study"), []
    bad = replace(work.entries[2], row="bad")
    work = replace(work, entries=(*work.entries[:2], bad, *work.entries[3:]))
    run_study(work, Crew(), job=made_up, tell=said.append)
    runs = read_results(work.order.out).runs
    failed = select(runs, status="failed")
    assert failed["row"].tolist() == ["bad"]
    assert failed["reason"].tolist() == ["ValueError: a bug"]
    assert (runs["status"] == "done").sum() == 10
    assert any("Traceback" in line and "made_up" in line for line in said), "a bug shows itself"
    run_study(work, Crew(), job=must_not_run)
    again = replace(work, order=replace(work.order, retry=True), entries=work_in(Path()).entries)
    run_study(again, Crew(), job=made_up)
    assert set(read_results(work.order.out).runs["status"]) == {"done"}


def test_a_reason_names_no_path_of_the_machine(tmp_path: Path, inline: None) -> None:
    def refuse(task: Task) -> None:
        raise UserError("room", f"none in {task.out}", "Free some.")

    run_study(work_in(tmp_path / "study"), Crew(), job=refuse)
    reasons = set(read_results(tmp_path / "study").runs["reason"])
    assert reasons == {"Expected room, got none in OUT. Free some."}


def test_every_run_names_its_machine_also_where_another_one_goes_on(
    tmp_path: Path, inline: None
) -> None:
    first = {"processor": "AMD EPYC", "instructions": "AVX512", "onednn_isa_limit": ""}
    second = {**first, "processor": "Xeon"}

    def on(machine: dict[str, str]) -> Callable[[Task], None]:
        def job(task: Task) -> None:
            found = tables_of(task.entry)
            row = as_text({"timings.csv": [{"machine": machine_words(machine)}]})
            write_record(Record({**found, **row}), record_folder(task.out, task.entry.key))

        return job

    out = tmp_path / "study"
    work = work_in(out)
    begun = replace(work, entries=work.entries[:4], facts={**work.facts, "made_with": first})
    run_study(begun, Crew(), job=on(first))
    timings = (out / "timings.csv").read_text().splitlines()
    without = [line.rpartition(',"')[0] or line.rpartition(",")[0] for line in timings]
    (out / "timings.csv").write_text("\n".join(without) + "\n")  # as older versions wrote it
    assert set(read_results(out).timings["machine"]) == {"AMD EPYC, AVX512"}
    run_study(replace(work, facts={**work.facts, "made_with": second}), Crew(), job=on(second))
    machines = read_results(out).timings["machine"].tolist()
    assert sorted(machines) == ["AMD EPYC, AVX512"] * 4 + ["Xeon, AVX512"] * 7


def test_skipped_runs_stand_in_the_table(tmp_path: Path, inline: None) -> None:
    work = work_in(tmp_path / "study")
    skipped = replace(work.entries[0], skipped="nothing to permute")
    run_study(replace(work, entries=(skipped, *work.entries[1:])), Crew(), job=made_up)
    runs = read_results(tmp_path / "study").runs
    assert select(runs, status="skipped")["reason"].tolist() == ["nothing to permute"]
    assert (runs["status"] == "done").sum() == 10


def test_a_second_command_in_the_same_folder_is_refused(
    tmp_path: Path, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ehtseg.study.ledger.PATIENCE_S", 0.1)
    out = tmp_path / "study"

    def second(task: Task) -> None:
        with pytest.raises(UserError, match="for this command alone"):
            run_study(work_in(out), Crew(), job=must_not_run)
        made_up(task)

    run_study(work_in(out), Crew(), job=second)


def test_a_study_beside_this_one_lends_its_runs(tmp_path: Path, inline: None) -> None:
    def scored(task: Task) -> None:
        found = tables_of(task.entry)
        rows = found["results.csv"]
        places = [place.label for place in task.entry.run.score]
        found["results.csv"] = [{**row, "place": place} for row in rows for place in places]
        picture = np.zeros((2, 2), np.uint8)
        name = f"{places[0]}__0__{task.entry.key}.png"
        write_record(Record(found, {name: picture}), record_folder(task.out, task.entry.key))

    first, second = work_in(tmp_path / "first"), work_in(tmp_path / "second")
    hashes = {name: name for name in ("eht_d1t3", "eht_mbpt", "eht_ohw", "eht_fibrotug_stills")}
    first.facts["data"] = hashes
    second.facts["data"] = hashes
    second = replace(second, entries=tuple(replace(e, row=f"my {e.row}") for e in second.entries))
    run_study(replace(first, entries=first.entries[:7]), Crew(), job=scored)
    said: list[str] = []
    begun: list[str] = []

    def counted(task: Task) -> None:
        begun.append(task.entry.key)
        scored(task)

    run_study(second, Crew(), job=counted, tell=said.append)
    assert begun == [entry.key for entry in second.entries[7:]]
    assert "7 runs come from first: the same trainings on the same data." in said
    mine = read_results(tmp_path / "second")
    assert set(mine.images["row"]) == {entry.row for entry in second.entries}
    assert (tmp_path / "second" / "examples").is_dir()
    assert len(list((tmp_path / "second" / "examples").iterdir())) == 11
    third = work_in(tmp_path / "third")
    third.facts["data"] = {**hashes, "eht_ohw": "changed"}
    begun.clear()
    run_study(third, Crew(), job=counted)
    assert len(begun) == 11, "other data, other runs"


# --- the crew


def test_what_a_worker_raises_comes_back_whole(tmp_path: Path, inline: None) -> None:
    work = work_in(tmp_path)

    def job(number: int) -> int:
        if number == 2:
            raise UserError("a", "b", "c")
        return number + 1

    ended = list(perform([1, 2, 3], job, work and Crew()))
    assert [(e.task, e.result) for e in ended] == [(1, 2), (2, None), (3, 4)]
    assert str(ended[1].error) == "Expected a, got b. c"


@pytest.mark.slow
def test_a_hundred_kills_at_random_moments(tmp_path: Path) -> None:
    command = [sys.executable, HERE / "killable_study.py", tmp_path, "100"]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["kills"] == 100


@pytest.mark.slow
def test_the_same_study_on_a_dask_cluster_that_loses_a_worker(tmp_path: Path) -> None:
    pytest.importorskip("distributed", reason="needs the extra cluster (dask, distributed)")
    command = [sys.executable, HERE / "clustered_study.py", tmp_path]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["equal"], "the same tables as on one machine"
    assert (found["workers"], found["killed"], found["runs"]) == (2, 1, 11)
    assert 11 < found["begun"] <= 13, "only what the lost worker had under way is begun again"
    assert not found["here"]


def test_a_task_that_kills_every_worker_is_given_up_and_the_others_are_done() -> None:
    ended: list[Ended[str, str]] = list(perform(["a", "deadly", "b", "c"], deadly, Crew(2)))
    assert {e.task for e in ended if e.error is None} == {"a", "b", "c"}
    (lost,) = (e for e in ended if e.error is not None)
    assert lost.task == "deadly"
    assert "fewer --workers" in str(lost.error)


def test_who_works_beside_a_task_that_kills_is_not_given_up() -> None:
    tasks = ["slow", "deadly", "slow", "deadly", "a"]
    ended: list[Ended[str, str]] = list(perform(tasks, deadly, Crew(3)))
    assert sorted(e.task for e in ended if e.error is None) == ["a", "slow", "slow"]
    assert [e.task for e in ended if e.error is not None] == ["deadly", "deadly"]


def test_what_does_not_count_is_no_fault_of_a_baseline(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path / "film", {"film": 1}, size=40)
    (folder / "ignore").mkdir()
    ignored = np.zeros((40, 40), np.uint8)
    ignored[:20] = 255
    Image.fromarray(ignored).save(folder / "ignore" / "film_0000.png")
    dataset = open_dataset([folder])
    everywhere = {"everywhere": lambda image: np.ones(image.shape, np.float32)}
    tables, _ = score_baselines(everywhere, Place("film"), (dataset, [0]))
    (row,) = tables["results.csv"]
    assert int(row["fp"]) == (~dataset.read(0)[1][20:]).sum()


def test_errors_of_a_user_cross_to_another_process() -> None:
    (ended,) = perform([Path("nowhere")], raise_one, Crew(1))
    assert isinstance(ended.error, UserError)
    assert ended.error.cure == "cure"


# --- whole runs


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny study, carried out here and kept."""
    out = tmp_path_factory.mktemp("studies") / "tiny"
    patch = pytest.MonkeyPatch()

    @contextmanager
    def hired(_: Crew) -> Iterator[Hired]:
        yield Hired(Inline(), 1, 1, ())

    patch.setattr(crew_room, "hired", hired)
    run_study(look_at(Order(TINY, "cpu", data, out, keep=True)), Crew())
    patch.undo()
    return out


def test_the_tables_say_what_evaluate_says(finished: Path, data: Path) -> None:
    found = read_results(finished)
    run = table_row(finished, "U-Net, focal", 1)
    folder = run_folder(finished, run["key"])
    for place, folders, split in (("film test", "film", "test"), ("other all", "other", "all")):
        wanted = evaluate(folder, open_dataset([data / folders]), split)
        mine = select(found.images, key=run["key"], place=place, model="net")
        rows = {row["image"]: row for row in wanted.tables["scores.csv"]}
        assert sorted(rows) == list(mine["image"])
        for column in set(mine) & set(next(iter(rows.values()))) - {"image", "recording", "model"}:
            theirs = [float(rows[image][column]) for image in mine["image"]]
            assert mine[column] == pytest.approx(theirs, rel=1e-5, nan_ok=True), column
        curve = wanted.tables["curve.csv"]
        ours = select(found.thresholds, key=run["key"], place=place)
        assert ours["dice"] == pytest.approx([row["dice"] for row in curve], rel=1e-5)
        at = [row["dice"] for row in curve if row["threshold"] == 0.4]
        assert mine["dice_at_0.4"].mean() == pytest.approx(at[0], rel=1e-5)
        calibrated = wanted.summary["models"]["net"]["calibrated"]
        assert mine["nll_calibrated"].mean() == pytest.approx(calibrated["nll"], rel=1e-2)
        baselines = [r for r in wanted.tables["baselines.csv"] if r["model"] == "mean_mask"]
        theirs = select(found.images, key=run["baselines"], place=place, model="mean_mask")
        assert sorted(theirs["dice"]) == pytest.approx(
            sorted(r["dice"] for r in baselines), rel=1e-5
        )


def table_row(out: Path, row: str, seed: int) -> dict[str, str]:
    with open(out / "runs.csv", newline="") as file:
        return next(r for r in csv.DictReader(file) if r["row"] == row and r["seed"] == str(seed))


def test_curves_and_facts_are_those_of_the_run_folder(finished: Path) -> None:
    found, run = read_results(finished), table_row(finished, "U-Net, BCE", 0)
    with open(run_folder(finished, run["key"]) / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    mine = select(found.curves, key=run["key"])
    assert mine["steps"].tolist() == [2, 4, 6]
    assert mine["val_dice"] == pytest.approx([float(row["val_dice"]) for row in history], rel=1e-5)
    facts = json.loads((run_folder(finished, run["key"]) / "run.json").read_text())
    assert float(run["temperature"]) == pytest.approx(facts["temperature"], rel=1e-5)
    assert facts["guard"] == {}, "nobody asks a network of a study for its fastest engine"
    assert (run["epochs"], run["steps"], run["weights"]) == ("3", "6", "random initialisation")
    assert set(found.timings["machine"]) == {machine_here()}
    assert found.facts["seeds"] == [0, 1]
    assert set(found.facts["data"]) == {"film", "other"}
    text = "".join(path.read_text() for path in finished.glob("*.*"))
    assert str(finished.parent) not in text
    bins = select(found.reliability, key=run["key"], place="other all")
    pixels = [bins["pixels"][bins["temperature"] == t].sum() for t in set(bins["temperature"])]
    assert pixels == [4 * 36 * 36] * 2


def test_examples_show_image_truth_and_the_runs_of_the_first_seed(finished: Path) -> None:
    shown = read_examples(finished)
    assert {place for place, _ in shown} == {"film test", "other all"}
    keys = {table_row(finished, row, 0)["key"] for row in ("U-Net, BCE", "U-Net, focal")}
    for pictures in shown.values():
        assert set(pictures) == {"image", "truth"} | keys
        truth = np.asarray(Image.open(pictures["truth"]))
        assert set(np.unique(truth)) == {0, 255}


def test_the_same_command_gives_the_same_bytes(
    finished: Path, data: Path, tmp_path: Path, inline: None
) -> None:
    out = tmp_path / "tiny"
    order = Order(TINY, "cpu", data, out, share=tmp_path / "nothing to share")
    run_study(look_at(order), Crew())
    assert tables(out) == tables(finished)
    assert {p.name for p in (out / "runs").iterdir()} == {".gitignore", ".lock"}, "no weights left"
    assert not look_at(order).left


@pytest.mark.slow
def test_two_processes_give_the_same_bytes(finished: Path, data: Path, tmp_path: Path) -> None:
    order = Order(TINY, "cpu", data, tmp_path / "tiny", share=tmp_path / "none")
    work = look_at(order)
    run_study(work, Crew(2))
    assert tables(order.out) == tables(finished)


def test_the_cost_is_measured_and_added_up(
    data: Path, tmp_path: Path, inline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = replace(
        TINY, at={"cpu": {**TINY.at["cpu"], "fit": {"images_per_epoch": 8, "epochs": 40}}}
    )
    work = look_at(Order(longer, "cpu", data, tmp_path / "x"))
    told, ticks = list[str](), list[tuple[int, int]]()
    seconds = predict(work, Crew(), told.append, lambda done, total: ticks.append((done, total)))
    assert told == ["Kinds of training to be timed first, to say how long it will take: 1."]
    assert ticks == [(1, 1)]
    assert len(seconds) == 4
    assert all(each > 0 for each in seconds.values())
    assert len(set(seconds.values())) == 1, "two losses are one kind of network"
    assert predicted_s(work, seconds, Crew(2)) == pytest.approx(sum(seconds.values()) / 2)
    assert not (tmp_path / "x").exists()
    short = look_at(Order(TINY, "cpu", data, tmp_path / "x"))
    assert predict(short, Crew(), pytest.fail) == {}, "not worth measuring"


def test_some_rows_first_and_the_rest_later_give_the_same_bytes(
    finished: Path, data: Path, tmp_path: Path, inline: None
) -> None:
    order = Order(TINY, "cpu", data, tmp_path / "tiny", share=tmp_path / "none", rows=("FOCAL",))
    ticks: list[tuple[int, int]] = []
    run_study(look_at(order), Crew(), tick=lambda *tick: ticks.append(tick))
    runs = read_results(order.out).runs
    assert set(runs["row"]) == {"baselines", "U-Net, focal"}
    assert ticks[-1] == (3, 3)
    assert not look_at(order).left, "nothing more is asked for"
    everything = replace(order, rows=())
    assert {entry.row for entry in look_at(everything).left} == {"U-Net, BCE"}
    run_study(look_at(everything), Crew())
    assert tables(order.out) == tables(finished)
    with pytest.raises(UserError, match=r"'Dice'.*\n?.*U-Net, BCE; U-Net, focal"):
        look_at(replace(order, rows=("BCE", "Dice")))


def test_prices_may_be_measured_before_the_first_run(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    out.mkdir()
    (out / "prices.csv").write_text("row\n")
    assert look_at(Order(TINY, "cpu", data, out)).left
    (out / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="holds other things"):
        look_at(Order(TINY, "cpu", data, out))


# --- weights


def test_without_imagenet_weights_a_run_starts_from_random_ones_or_is_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ehtseg.study.entries._looked_up", lambda net: (None, net.name != "vgg16"))
    plan = {run.row: run for run in find_study("controls").plan("smoke")}
    run, why = startable(plan["VGG-16, focal, frozen"])
    assert (run.row, why) == ("VGG-16, focal, frozen (random weights)", "")
    run, why = startable(plan["VGG-16, permuted, focal, frozen"])
    assert "nothing to permute" in why
    kept = plan["ResNet-50, focal, frozen"]
    assert startable(kept) == (kept, "")
    assert startable(plan["U-Net, BCE"]) == (plan["U-Net, BCE"], "")


def test_rows_that_fall_back_to_one_training_share_it(tmp_path: Path, inline: None) -> None:
    work = work_in(tmp_path / "study")
    twin = replace(work.entries[0], row="its twin")
    run_study(replace(work, entries=(*work.entries, twin)), Crew(), job=made_up)
    found = read_results(tmp_path / "study")
    rows = select(found.runs, key=twin.key)["row"].tolist()
    assert sorted(rows) == sorted([work.entries[0].row, "its twin"])
    assert len(select(found.images, row="its twin")["dice"]) == 3


# --- bad input


def test_an_unknown_study_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="Nearest: table1"):
        find_study("tabel1")


def test_missing_folders_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        look_at(Order(TINY, "cpu", tmp_path / "nowhere", tmp_path / "out"))
    with pytest.raises(UserError, match=r"eht_d1t3.*film, other"):
        look_at(Order(table1, "cpu", data, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def change(**facts: object) -> Callable[[Path], None]:
    def apply(out: Path) -> None:
        path = out / "study.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))

    return apply


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (change(study="table1"), r"the study with which .* \(table1\), got another one \(tiny\)"),
        (change(scale="smoke"), r"the scale with which .* \(smoke\), got another one \(cpu\)"),
        (change(data={"film": "0"}), "content of the labelled folders"),
        (change(random_instead=["vgg16"]), "the ImageNet weights"),
        (change(plan="0"), "design or recipe"),
        (lambda out: (out / "study.json").write_text("{"), "facts of a study"),
        (lambda out: (out / "study.json").unlink(), "holds other things"),
        (lambda out: (out / "runs.csv").write_text("a,b\n"), "columns"),
    ],
)
def test_the_folder_of_another_study_is_refused(
    finished: Path, data: Path, tmp_path: Path, before: Callable[[Path], None], said: str
) -> None:
    out = tmp_path / "tiny"
    shutil.copytree(finished, out, ignore=shutil.ignore_patterns("runs"))
    before(out)
    with pytest.raises(UserError, match=said):
        look_at(Order(TINY, "cpu", data, out))


def test_other_files_of_imagenet_weights_are_another_study(tmp_path: Path) -> None:
    """Under one row they would be averaged without a word; so would files that are not named."""
    first = TINY.plan("cpu")[0]
    net = NetRecipe(name="efficientnet_lite0", transfer="all")
    recipe = first.recipe.model_copy(update={"net": net})
    at_hand = weights_of([replace(first, recipe=recipe)])
    bundled = find_weights("efficientnet_lite0", BUNDLED / "tf_efficientnet_lite0_in1k.safetensors")
    assert at_hand == {"efficientnet_lite0": bundled.card.weights_sha256}
    assert weights_of([first]) == {}
    same = dict.fromkeys(("study", "scale", "data", "random_instead", "plan"))
    other = {"weights": {"efficientnet_lite0": "0"}}
    for begun in ({**same, **other}, same):
        (tmp_path / "study.json").write_text(json.dumps(begun))
        with pytest.raises(UserError, match="files of ImageNet weights"):
            check_identity(tmp_path, {**same, "weights": at_hand})
    (tmp_path / "study.json").write_text(json.dumps({**same, "weights": at_hand}))
    check_identity(tmp_path, {**same, "weights": at_hand})


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Made-up recordings under the names of the real ones."""
    for name in ("eht_d1t3", "eht_mbpt", "eht_ohw", "eht_fibrotug_stills"):
        write_labelled(tmp_path / "films" / name, {name: 20 if name == "eht_d1t3" else 2}, size=32)
    return tmp_path / "films"


def ehtseg(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ehtseg", "study", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_command_shows_the_plan_and_leaves_nothing(
    films: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "ehtseg.study.entries._looked_up", lambda net: (None, net.name == "resnet50")
    )
    command = ("table1", "--data", films, "--out", tmp_path / "x", "--scale", "smoke")
    assert ehtseg(monkeypatch, *command, "--plan") == 0
    said = capsys.readouterr().out
    assert "12 of 12 tasks are left." in said
    assert "VGG-16, BCE, frozen (random weights)" in said
    assert "No ImageNet weights of vgg16 were found: it starts from random ones." in said
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tabel1", "--data", "."), "Nearest: table1"),
        (("table1", "--data", "nowhere"), "no such folder"),
        (("table1", "--data", "FILMS", "--scale", "huge"), "smoke, cpu, paper"),
        (("table1", "--data", "FILMS", "--weights-folder", "nowhere"), "--weights-folder"),
    ],
)
def test_bad_words_are_one_paragraph(
    words: tuple[str, ...],
    said: str,
    films: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [films if word == "FILMS" else word for word in words]
    assert ehtseg(monkeypatch, *given, "--out", tmp_path / "x") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_table1_at_the_smoke_scale_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "table1"
    work = look_at(Order(table1, "smoke", shared("data"), out, shared("weights")))
    run_study(work, Crew(2))
    found = read_results(out)
    assert len(found.runs["key"]) == 12
    assert set(found.runs["status"]) == {"done"}
    assert set(found.images["model"]) == {"net", "threshold", "mean_mask", "nearest_mask"}
    shown = select(found.images, model="mean_mask", place="eht_d1t3 test")
    # 0.9985 over the whole block; smoke looks at two of its frames
    assert shown["dice"].mean() == pytest.approx(0.99942, abs=1e-4)
