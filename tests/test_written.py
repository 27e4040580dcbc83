"""Studies that users write in a file: what they mean, what is refused, what must stay as it was."""

from __future__ import annotations

import re
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import ehtseg.study.written as written_room
from conftest import write_labelled
from ehtseg.doors.cli import main
from ehtseg.records import UserError
from ehtseg.study.designs import STUDIES, dsb2018, stages, table1
from ehtseg.study.levels import label
from ehtseg.study.plan import Place
from ehtseg.study.prices import write_prices
from ehtseg.study.report import rewrite_report, write_report
from ehtseg.study.results import BASELINES, enter_design, read_facts, read_results, write_facts
from ehtseg.study.run import Order, look_at
from ehtseg.study.written import find_study, study_of
from made_study import Story
from test_rival_table import PRICE

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "03_own_study.yaml"
SAMPLES = EXAMPLE.parents[1] / "samples"
OWN: dict[str, Any] = {
    "name": "mine",
    "question": "Is it better?",
    "expected": "No.",
    "data": {"train": ["film a"], "score": ["film a", "film b"]},
    "levels": {"Tiny": {"net": {"name": "unet", "width": 4, "depth": 2, "norm": "batch"}}},
    "factors": {"network": ["Tiny"], "loss": ["BCE", "focal"]},
    "compare": [["focal", "BCE"]],
    "seeds": 2,
    "decisions": {"data": {"split": "blocks", "size": 32, "guard_frames": 0}},
}


def said_of(**changed: Any) -> str:
    with pytest.raises(UserError) as error:
        study_of({**OWN, **changed})
    return str(error.value)


def test_a_written_study_is_what_its_file_says() -> None:
    study = study_of(OWN)
    assert study.rows == (("Tiny", "BCE"), ("Tiny", "focal"))
    assert study.contrasts == ((("Tiny", "focal"), ("Tiny", "BCE")),)
    assert study.data.train == ("film a",)
    assert study.data.score == (Place("film a", "test"), Place("film b", "all"))
    plan = study.plan("cpu")
    assert [(run.row, run.seed) for run in plan[:2]] == [("Tiny, BCE", 0), ("Tiny, focal", 0)]
    assert len(plan) == 4
    recipe = plan[1].recipe
    assert (recipe.net.width, recipe.fit.loss, recipe.data.size) == (4, "focal_scalar", 32)
    assert (recipe.data.split, recipe.data.guard_frames) == ("blocks", 0)
    assert (recipe.fit.seed, recipe.data.split_seed) == (0, 0)
    assert study.command == "ehtseg study mine.yaml --data DATA --out studies/mine"


def test_a_file_and_its_mapping_are_one_study(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(OWN, sort_keys=False), encoding="utf-8")
    assert find_study(str(path)) == study_of(OWN)


def test_the_example_of_the_docstring_is_a_study() -> None:
    text = (written_room.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    study = study_of(yaml.safe_load(textwrap.dedent(text)))
    assert study.rows[len(table1.rows) :] == (
        ("Lite0", "focal", "frozen"), ("Lite0", "BCE"), ("Lite0", "focal")
    )  # fmt: skip
    assert (("Lite0", "BCE"), ("U-Net", "BCE")) in study.contrasts


def test_like_extends_a_named_study_whose_trainings_stay_the_same() -> None:
    added = {key: OWN[key] for key in ("name", "question", "expected", "levels")}
    study = study_of({
        **added, "like": "table1", "rows": [["Tiny", "focal"]],
        "compare": [[["Tiny", "focal"], ["U-Net", "focal"]]],
    })  # fmt: skip
    assert study.rows == (*table1.rows, ("Tiny", "focal"))
    assert study.contrasts == (*table1.contrasts, (("Tiny", "focal"), ("U-Net", "focal")))
    assert (study.data, study.outcome, study.seeds) == (table1.data, table1.outcome, 3)
    assert {run.key for run in table1.plan()} < {run.key for run in study.plan()}
    assert study.kind == "table1"


def test_like_on_the_same_data_keeps_apart_what_was_thought_of_later() -> None:
    own = {key: OWN[key] for key in ("name", "question", "expected")}
    study = study_of({**own, "like": "dsb2018"})
    assert (study.contrasts, study.later) == (dsb2018.contrasts, dsb2018.later)
    assert study.later_when == dsb2018.later_when
    pair = [["VGG-16", "random", "BCE", "frozen"], ["ResNet-50", "random", "BCE", "frozen"]]
    elsewhere = study_of({**own, "like": "stages", "data": {"score": ["eht_mbpt"]}})
    assert elsewhere.later == stages.later, "its trainings are known, wherever they are scored"
    more = study_of({**own, "like": "dsb2018", "later": [pair], "later_when": "today"})
    assert more.later == (*dsb2018.later, tuple(map(tuple, pair)))
    assert more.later_when == f"{dsb2018.later_when}; today"


def test_what_is_decided_here_wins_over_the_scale_of_the_study_it_is_like() -> None:
    own = {key: OWN[key] for key in ("name", "question", "expected")}
    plain = study_of({**own, "like": "dsb2018"}).plan("cpu")[0].recipe
    assert plain.fit.images_per_epoch == 240
    fewer = {"fit": {"images_per_epoch": 80}}
    run = study_of({**own, "like": "dsb2018", "decisions": fewer}).plan("cpu")[0]
    assert run.recipe.fit.images_per_epoch == 80
    assert run.recipe.net.profile == plain.net.profile == "modern"
    with pytest.raises(UserError, match=r"fit.images_per_epoch in few. Give"):
        study_of({**own, "like": "dsb2018", "levels": {"few": fewer}})


def test_like_takes_other_data_and_plans_what_was_thought_of_later() -> None:
    own = {key: OWN[key] for key in ("name", "question", "expected", "data")}
    study = study_of({**own, "like": "stages", "seeds": 5})
    assert study.contrasts == stages.later, "of other data nothing has been seen"
    assert study.later == ()
    assert (study.data.train, study.data.split) == (("film a",), stages.data.split)
    assert study.seeds == 5
    without = study_of({**own, "like": "dsb2018"})
    assert without.data.unit == "image"
    assert without.at == dsb2018.at
    assert without.data.cautions == (), "they are of other images"
    scored = study_of({**own, "data": {"score": ["film b"]}, "like": "table1"}).data
    assert (scored.train, scored.score) == (table1.data.train, (Place("film b"),))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "table1"}, "the name of a study of ehtseg"),
        ({"name": "My study"}, "lower-case letters"),
        ({"levls": {}}, "unknown key levls (nearest: levels)"),
        ({"data": {"trian": ["a"]}}, "nearest: data.train"),
        ({"rows": ["focal"]}, "rows.0: 'focal' (Input should be a list)"),
        ({"seeds": 0}, "seeds: 0"),
        ({"seeds": True, "expected": None}, "expected: None"),
        ({"factors": {}, "compare": []}, "rows, each a list of levels"),
        ({"rows": [[]]}, "rows, each a list of levels"),
        ({"rows": [["Tiyn", "BCE"]]}, "Tiyn: Nearest: Tiny"),
        ({"rows": [["Xyzzy"]]}, "Known: Tiny; U-Net; ResNet-50"),
        ({"compare": [["focal", "random"]]}, "no two rows differ in just that"),
        ({"compare": [["focal", "Xyzzy"]]}, "frozen, statistics adapt; not frozen"),
        ({"compare": [[["Tiny"], ["Tiny", "BCE"]]]}, "Tiny - Tiny, BCE"),
        ({"later": [["ImageNet", "random"]]}, "no two rows"),
        ({"data": {}}, "no folder to train on"),
        ({"data": {"train": ["a/b"]}}, "'a/b'. Give --data what lies above"),
        ({"data": {"train": ["a"], "score": [".."]}}, "'..'"),
        ({"levels": {"focal": {"fit": {"loss": "bce"}}}}, "'focal', a level of ehtseg"),
        ({"levels": {"a, b": {}}}, "without commas"),
        ({"levels": {"Tiny": {"fit": {"seed": 3}}}}, "fit.seed in Tiny"),
        ({"decisions": {"data": {"split_seed": 1}}}, "data.split_seed in decisions"),
        ({"levels": {"Tiny": {"fit": {"los": "bce"}}}}, "unknown key fit.los (nearest: fit.loss"),
        ({"like": "tabel1"}, "Nearest: table1"),
        ({"like": "other.yaml"}, "a study (table1"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_cure(changed: dict[str, Any], said: str) -> None:
    assert said in said_of(**changed)


@pytest.mark.parametrize("text", ["- a\n- b\n", "name: [", ""])
def test_a_file_that_is_no_study_is_one_paragraph(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        find_study(str(path))
    assert "study" in str(error.value)
    assert "unicode string" not in str(error.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.yml"):
        find_study(str(tmp_path / "mine.yml"))


# --- results, and what may be said of them afterwards


def better(row: str, seed: int, place: str, number: int) -> float:
    return 0.9 + 0.02 * ("focal" in row) + 0.001 * (seed + number)


def written(folder: Path, **changed: Any) -> Path:
    story = Story(study_of({**OWN, **changed}), better, recordings={"film b all": 3})
    return story.write(folder)


def test_the_page_of_a_written_study_stands_on_its_results_alone(tmp_path: Path) -> None:
    page = write_report(written(tmp_path / "x", data={"train": ["film a"], "score": ["film b"]}))
    text = page.with_suffix(".md").read_text(encoding="utf-8")
    assert text.startswith("# Is it better?")
    assert "4 of 4 planned runs" in text
    assert "Tiny, focal and Tiny, BCE are not distinguishable with 3 recordings (+0.0200" in text
    assert "C1 (" not in text, "no row tests it"
    assert "C4 (" not in text


def test_folders_of_two_words_are_told_apart(tmp_path: Path) -> None:
    text = write_report(written(tmp_path / "x")).with_suffix(".md").read_text(encoding="utf-8")
    assert "Test frames of the folder that was trained on." in text
    assert "All recordings never trained on" in text


def test_without_another_recording_nothing_is_said_of_others(tmp_path: Path) -> None:
    folder = written(
        tmp_path / "x", data={"train": ["film a"]}, levels={},
        factors={"network": ["ResNet-50"], "weights": ["ImageNet", "random"], "loss": ["BCE"]},
        compare=[["ImageNet", "random"]],
    )  # fmt: skip
    text = write_report(folder).with_suffix(".md").read_text(encoding="utf-8")
    assert "never trained on" not in text.split("## How each number")[0]
    assert "C1 (" not in text


def test_what_was_thought_of_afterwards_stands_apart_and_nothing_else_changes(
    tmp_path: Path,
) -> None:
    folder = written(tmp_path / "x", compare=[])
    later = {**OWN, "compare": [], "later": [["focal", "BCE"]], "later_when": "after 4 runs"}
    rewrite_report(study_of(later), folder)
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "written down later: after 4 runs" in text
    assert read_facts(folder)["design"] == later
    with pytest.raises(UserError, match="another one: compare, expected changed"):
        rewrite_report(study_of({**later, **OWN, "expected": "Yes."}), folder)
    with pytest.raises(UserError, match="another one"):
        enter_design(folder, None)
    assert read_facts(folder)["design"] == later


def test_measured_prices_stand_on_the_page(tmp_path: Path) -> None:
    folder = written(tmp_path / "x")
    prices = {"Tiny, BCE": 1234, "Tiny, focal": 5678}
    write_prices([replace(PRICE, row=row, parameters=n) for row, n in prices.items()], folder)
    text = write_report(folder).with_suffix(".md").read_text(encoding="utf-8")
    assert "**Scores and costs, film b all**" in text
    assert re.search(r"\| Tiny, focal \|.*\| 5,678 \|", text)
    assert "Not as published" not in text


def test_rivals_of_ones_own_stand_among_the_others(tmp_path: Path) -> None:
    """Also a row that does not say what it starts from."""
    rows = [["Tiny", "ImageNet", "common recipe"], ["Tiny", "BCE"]]
    own = {key: OWN[key] for key in ("name", "question", "expected", "levels")}
    study = study_of({**own, "like": "rivals", "rows": rows})
    text = write_report(Story(study, better).write(tmp_path / "x")).with_suffix(".md")
    said = text.read_text(encoding="utf-8")
    assert "**The rivals, eht_mbpt all**" in said
    assert re.search(r"\| Tiny, ImageNet, common recipe \| ImageNet \|", said)
    assert "Not as published, recipe of nnU-Net" in said


def test_the_order_of_factors_is_kept(tmp_path: Path) -> None:
    folder = written(tmp_path / "x")
    assert list(study_of(read_facts(folder)["design"]).factors) == ["network", "loss"]


# --- the command


def ehtseg(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["ehtseg", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_a_study_is_refused_where_it_says_something_else_by_now(tmp_path: Path) -> None:
    for name in ("film a", "film b"):
        write_labelled(tmp_path / name, {name: 20}, size=32)
    out = tmp_path / "out"
    study = study_of(OWN)
    facts = look_at(Order(study, "smoke", tmp_path, out)).facts
    assert facts["design"] == OWN
    Story(study, better, scale="smoke").write(out)
    write_facts(out, facts)
    left = look_at(Order(study, "smoke", tmp_path, out)).left
    assert [entry.row for entry in left] == [BASELINES], "those made by hand are of other frames"
    with pytest.raises(UserError, match="expected changed"):
        look_at(Order(study_of({**OWN, "expected": "Yes."}), "smoke", tmp_path, out))
    extended = study_of({**OWN, "name": "more", "rows": [["Tiny", "focal", "width 64"]]})
    work = look_at(Order(extended, "smoke", tmp_path, tmp_path / "more"))
    assert [entry.row for entry in work.left][-1] == "Tiny, focal, width 64"


def test_what_a_neighbour_lends_is_planned_as_lent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("film a", "film b"):
        write_labelled(tmp_path / "data" / name, {name: 20}, size=32)
    first = study_of(OWN)
    facts = look_at(Order(first, "smoke", tmp_path / "data", tmp_path / "first")).facts
    Story(first, better, scale="smoke").write(tmp_path / "first")
    write_facts(tmp_path / "first", facts)
    more = {**OWN, "name": "more", "rows": [["Tiny", "focal", "width 64"]]}
    path = tmp_path / "more.yaml"
    path.write_text(yaml.safe_dump(more, sort_keys=False), encoding="utf-8")
    command = ("study", path, "--data", tmp_path / "data", "--out", tmp_path / "more")
    assert ehtseg(monkeypatch, *command, "--scale", "smoke", "--plan") == 0
    said = capsys.readouterr().out
    assert "2 runs will come from first: the same trainings on the same data." in said
    assert "2 of 4 tasks are left" in said
    assert not (tmp_path / "more").exists()


def test_without_a_name_the_studies_are_listed_and_without_a_place_nothing_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ehtseg(monkeypatch, "study") == 0
    said = capsys.readouterr().out
    for study in STUDIES.values():
        assert re.search(rf"^{study.name} +{re.escape(study.question)}", said, re.M)
    assert ehtseg(monkeypatch, "study", "table1", "--data", ".") == 2
    assert "--out" in capsys.readouterr().err


def test_the_example_is_a_study() -> None:
    study = find_study(str(EXAMPLE))
    assert study.name not in STUDIES
    assert label(study.rows[0]) == "EfficientNet-Lite0, ImageNet, BCE"
    assert len(study.contrasts) == 4


@pytest.mark.slow
def test_the_example_is_carried_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("study", EXAMPLE, "--data", SAMPLES, "--out", tmp_path / "own", "--workers", 1)
    assert ehtseg(monkeypatch, *command, "--scale", "smoke") == 0
    found = read_results(tmp_path / "own")
    assert set(found.runs["status"]) == {"done"}
    assert len(found.runs["key"]) == 5
    assert (tmp_path / "own" / "report.html").stat().st_size > 0
    assert found.facts["design"] == find_study(str(EXAMPLE)).design
