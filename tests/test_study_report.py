"""The report of a study: results made by hand, whose right answers are known before it is read."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from conftest import Cli
from ehtseg.records import UserError
from ehtseg.reporting import study_figures
from ehtseg.reporting.document import Document, Line, Picture, Points, Section, Table, table
from ehtseg.reporting.embedded import as_svg
from ehtseg.reporting.study_figures import (
    Curve,
    Mark,
    Time,
    forest,
    in_style,
    threshold_panels,
    times,
)
from ehtseg.reporting.study_page import as_markdown, write_document
from ehtseg.study import found as found_module
from ehtseg.study.convergence import GOOD, Course, courses, horizon, mean_ratio, restricted
from ehtseg.study.designs import (
    PRINTED,
    STUDIES,
    collapse,
    dsb2018,
    few_labels,
    splits,
    stages,
    table1,
)
from ehtseg.study.found import STAND_IN, Found, found_in, twins
from ehtseg.study.opponents import standing
from ehtseg.study.plan import Study, from_random
from ehtseg.study.report import document_of, write_report
from ehtseg.study.report_contrasts import contrasts_at
from ehtseg.study.report_designs import series_of
from ehtseg.study.report_paper import paper_in_short
from ehtseg.study.report_pixels import plateau
from ehtseg.study.results import read_results
from ehtseg.study.verdicts import Case, Claim, claims, unseen
from made_study import EPOCHS, STEPS, Story, write_examples
from test_reporting import Page

OWN, MBPT, OHW, STILLS = "eht_d1t3 test", "eht_mbpt all", "eht_ohw all", "eht_fibrotug_stills all"
IMAGES = "dsb2018 test"
BETTER, WORSE = "ResNet-50, ImageNet, BCE, not frozen", "ResNet-50, random, BCE, not frozen"
RNG = np.random.default_rng(3)
NOISE = RNG.normal(0, 0.05, (2, 5, 12))  # of a row, a seed and an image


def seen(story: Story, tmp_path: Path) -> Found:
    return Found(story.study, read_results(story.write(tmp_path / "study")))


def small(study: Study, *rows: str) -> Study:
    """A study with some of its rows only."""
    chosen = tuple(row for row in study.rows if ", ".join(row) in rows)
    contrasts = tuple(pair for pair in study.contrasts if set(pair) <= set(chosen))
    later = tuple(pair for pair in study.later if set(pair) <= set(chosen))
    return replace(study, rows=chosen, contrasts=contrasts, later=later)


def pair_of_images(gain: float = 0.0, noise: float = 0.0, **known: object) -> Story:
    """ImageNet against random on 12 independent images, by a gain that is true of each image."""

    def dice(row: str, seed: int, place: str, image: int) -> float:
        at = int(row == BETTER)
        return 0.8 + 0.01 * image + gain * at + noise * NOISE[at, seed, image]

    return Story(small(dsb2018, BETTER, WORSE), dice, images=12, **known)  # type: ignore[arg-type]


def claim(found: Found, name: str) -> Claim:
    return next(each for each in claims(found) if each.name == name)


def constant(by_place: dict[str, float]):  # type: ignore[no-untyped-def]
    return lambda row, seed, place, image: by_place[place]


FILM = {OWN: 0.98, MBPT: 0.8, OHW: 0.5, STILLS: 0.3}


@pytest.mark.parametrize(
    ("gain", "noise", "outcome"),
    [
        (0.03, 0.01, "supported"),
        (-0.03, 0.01, "contradicted"),
        (0.0, 0.01, "contradicted"),  # shown to be equal to within 0.005
        (0.01, 3.0, "cannot tell"),
    ],
)
def test_c1_follows_from_what_was_made_true(
    gain: float, noise: float, outcome: str, tmp_path: Path
) -> None:
    assert claim(seen(pair_of_images(gain, noise), tmp_path), "C1").outcome == outcome


def test_recordings_of_a_film_decide_nothing_however_large_the_gain(tmp_path: Path) -> None:
    rows = ("ResNet-50, focal, not frozen", "ResNet-50, random, focal, not frozen")
    study = small(STUDIES["controls"], *rows)
    story = Story(study, lambda row, *_: 0.2 if "random" in row else 0.95, recordings={STILLS: 3})
    found = seen(story, tmp_path)
    c1 = claim(found, "C1")
    assert (c1.outcome, len(c1.cases)) == ("cannot tell", 4), "three places, and all together"
    assert "All recordings never trained on: " in c1.cases[-1].sentence
    assert " 5 recordings" in c1.cases[-1].sentence
    assert not any(OWN in case.sentence for case in c1.cases), "the own film is not unseen"
    assert not any(case.decides for case in c1.cases)


@pytest.mark.parametrize(
    ("epochs", "outcome"),
    [((2, 8), "supported"), ((8, 8), "contradicted"), ((11, 11), "cannot tell")],
)
def test_c2_compares_restricted_mean_steps(
    epochs: tuple[int, int], outcome: str, tmp_path: Path
) -> None:
    story = pair_of_images(epochs_to_good=lambda row, seed: epochs[row == WORSE])
    c2 = claim(seen(story, tmp_path), "C2")
    assert c2.outcome == outcome
    if outcome == "supported":
        assert "0.25 (0.22 to 0.28) times" in c2.cases[0].sentence, "known to an epoch"


def test_c2_is_not_contradicted_by_rows_that_never_got_there(tmp_path: Path) -> None:
    """8 of 10 epochs against more than 10: the ratio may as well be a tenth."""
    story = pair_of_images(epochs_to_good=lambda row, seed: 11 if row == WORSE else 8)
    c2 = claim(seen(story, tmp_path), "C2")
    assert (c2.outcome, c2.cases[0].holds) == ("cannot tell", "open")


def test_a_claim_that_holds_and_fails_is_mixed() -> None:
    def outcome(*holds: str) -> str:
        cases = tuple(Case(each, "") for each in holds)  # type: ignore[arg-type]
        return Claim("C1", "", "", cases, planned=True).outcome

    assert outcome("holds", "fails", "open") == "mixed"
    assert outcome("holds", "open") == "supported in part"
    assert outcome("fails", "open") == "contradicted in part"
    assert outcome("open", "open") == "cannot tell"


def test_a_film_decides_nothing_where_nobody_got_there(tmp_path: Path) -> None:
    rows = ("ResNet-50, no stage", "ResNet-50, stages to 5")
    story = Story(small(stages, *rows), constant(FILM), epochs_to_good=lambda *_: 11)
    (case,) = claim(seen(story, tmp_path), "C2").cases
    assert "Neither" in case.sentence
    assert not case.decides


def test_certainty_is_tested_by_its_own_scores(tmp_path: Path) -> None:
    """Dice is the same in both rows; undecided pixels are not."""
    story = Story(
        small(STUDIES["certainty"], BETTER, WORSE),
        lambda row, seed, place, image: 0.8 + 0.01 * image,
        images=12,
        undecided=lambda row, image: 0.1 + 0.001 * image - 0.02 * (row == BETTER),
    )
    with in_style():
        document = document_of(seen(story, tmp_path), tmp_path)
    titles = [s.title for s in document.sections if s.title.startswith("Planned contrasts")]
    assert len(titles) == len(STUDIES["certainty"].scores) == 7
    tables = {t.name: t for t in document.each(Table)}
    for name, verdict in (
        ("contrasts_undecided_dsb2018_test", "lower"),
        ("contrasts_undecided_calibrated_dsb2018_test", "lower"),
        ("contrasts_ece_dsb2018_test", "equal"),
        ("contrasts_dsb2018_test", "equal"),
    ):
        (line,) = tables[name].lines
        assert line.values["verdict"] == verdict, name
    text = str(document)
    assert "In the share of undecided pixels; the share of undecided pixels near" in text
    assert "In calibration error; calibration error, after temperature scaling; Dice at" in text
    assert "First row minus second row in calibration error," in text


def test_the_brier_score_is_told_by_its_parts(tmp_path: Path) -> None:
    """The made bins: right as they are, and predicted p where p**1.5 was seen at T."""
    with in_style():
        tables = {
            t.name: t for t in document_of(seen(pair_of_images(), tmp_path), tmp_path).each(Table)
        }
    line = tables["brier_dsb2018_test"].lines[0]
    p = np.array([0.01, 0.3, 0.99])
    assert line.values["reliability"] == pytest.approx(0, abs=1e-12)
    assert line.values["resolution"] == pytest.approx(p.var(), rel=1e-4)
    assert line.values["uncertainty"] == pytest.approx(p.mean() * (1 - p.mean()), rel=1e-4)
    mended = np.mean((p - p**1.5) ** 2)
    assert line.values["reliability_calibrated"] == pytest.approx(mended, rel=1e-4)
    assert line.values["wrong_surest"] == pytest.approx((0.01 / 3 + 0.01 / 3 + 0.3 * 0.4 / 3) / 0.8)
    images = Found(dsb2018, read_results(tmp_path / "study")).images(BETTER, IMAGES)
    errors, pixels = (
        sum(images[n].sum() for n in names) for names in (("fp", "fn"), ("tp", "fp", "fn", "tn"))
    )
    assert line.values["wrong"] == pytest.approx(errors / pixels)
    area = tables["thresholds_dsb2018_test"].lines[0].values["area"]
    assert area == pytest.approx(0.95 - np.mean([0.4, 0.2, 0.0, 0.2, 0.4]))


def test_what_has_to_be_known_of_data_and_rows_stands_above_the_contrasts(tmp_path: Path) -> None:
    with in_style():
        text = str(document_of(seen(pair_of_images(0.03, 0.01), tmp_path), tmp_path))
    assert text.count("about nine kinds of source") == 1
    assert text.count("A frozen encoder of random weights is a weak opponent.") == 1


@pytest.mark.parametrize(
    ("undecided", "ece", "outcome"),
    [
        (-0.02, 0.0, "supported"),
        (-0.02, 0.01, "contradicted"),  # more certain, but wrongly so
        (0.02, 0.0, "contradicted"),
    ],
)
def test_c3_asks_for_certainty_without_worse_calibration(
    undecided: float, ece: float, outcome: str, tmp_path: Path
) -> None:
    story = pair_of_images(
        undecided=lambda row, image: 0.1 + 0.001 * image + undecided * (row == BETTER),
        ece=lambda row, image: 0.02 + ece * (row == BETTER),
    )
    assert claim(seen(story, tmp_path), "C3").outcome == outcome


def test_c3_asks_for_certainty_near_the_outline_too(tmp_path: Path) -> None:
    story = pair_of_images(
        undecided=lambda row, image: 0.1 + 0.001 * image - 0.02 * (row == BETTER),
        near_outline=lambda row, image: 0.4 + 0.02 * (row == BETTER),
    )
    assert claim(seen(story, tmp_path), "C3").outcome == "cannot tell"


def test_c4_needs_more_than_three_runs(tmp_path: Path) -> None:
    def best(row: str, seed: int) -> float:
        return 0.3 if "BCE" in row and seed < 8 else 0.95

    rows = [
        ", ".join(row) for row in collapse.rows if {"Xavier", "no norm", "lr 0.001"} <= set(row)
    ]
    many = seen(Story(small(collapse, *rows), constant(FILM), best=best), tmp_path / "many")
    assert claim(many, "C4").outcome == "supported"
    assert "8 of 10 runs collapsed" in claim(many, "C4").cases[0].sentence
    few = small(table1, "U-Net, BCE", "U-Net, focal")
    assert claim(seen(Story(few, constant(FILM)), tmp_path / "few"), "C4").outcome == "cannot tell"


def test_a_study_without_the_rows_does_not_test_a_claim(tmp_path: Path) -> None:
    found = seen(Story(small(table1, "U-Net, focal"), constant(FILM)), tmp_path)
    assert {each.outcome for each in claims(found)} == {"not tested here"}


def test_twins_differ_in_their_weights_alone() -> None:
    pairs = twins(STUDIES["controls"].rows)
    assert (("VGG-16", "focal", "not frozen"), ("VGG-16", "random", "focal", "not frozen")) in pairs
    assert not any("frozen" in first or "permuted" in second for first, second in pairs)
    assert twins(stages.rows) == [(("ResNet-50", "stages to 5"), ("ResNet-50", "no stage"))]
    assert twins(table1.rows) == []


@pytest.mark.parametrize(
    ("dice", "shown"), [(0.98, "nothing"), (0.99, "nothing"), (0.991, "more than opponents")]
)
def test_a_row_that_does_not_beat_the_mean_mask_has_shown_nothing(
    dice: float, shown: str, tmp_path: Path
) -> None:
    study = small(table1, "U-Net, focal")
    story = Story(study, constant(FILM | {OWN: dice}), lambda model, place: 0.99)
    held = standing(seen(story, tmp_path), "U-Net, focal", OWN)
    assert held.shown == shown
    assert held.gaps["mean_mask"] == pytest.approx(dice - 0.99)


def test_without_rows_or_opponents_nothing_is_said_to_be_beaten(tmp_path: Path) -> None:
    study = small(table1, "U-Net, focal")
    lost = {("U-Net, focal", seed): ("failed", "why") for seed in range(3)}
    for name, story, wanted in (
        ("none", Story(study, constant(FILM), lost=lost), "no planned row has scores here"),
        ("alone", Story(study, constant(FILM), baselines=""), "1 had no opponent with scores"),
    ):
        found = seen(story, tmp_path / name)
        with in_style():
            said = points(document_of(found, tmp_path / name))
        assert [wanted in each for each in said if each.startswith(OHW)] == [True]


def test_the_best_dice_is_that_of_each_training(tmp_path: Path) -> None:
    """Curves that peak at different thresholds have no common peak as high as theirs."""
    study = small(table1, "U-Net, focal")
    story = Story(study, constant(FILM), peak=lambda seed: (0.1, 0.9, 0.9)[seed])
    with in_style():
        document = document_of(seen(story, tmp_path), tmp_path)
    (found,) = (t for t in document.each(Table) if t.name == "thresholds_eht_ohw_all")
    values = found.lines[0].values
    assert values["best_dice"] == pytest.approx(0.95)
    assert (values["best_threshold_lowest"], values["best_threshold_highest"]) == (0.1, 0.9)


def test_a_row_below_the_threshold_is_told_to_be(tmp_path: Path) -> None:
    study = small(table1, "U-Net, focal", "U-Net, BCE")
    copies = {"mean_mask": 0.2, "nearest_mask": 0.2, "threshold": 0.85}
    story = Story(study, constant(FILM), lambda model, place: copies[model], recordings={STILLS: 3})
    found = seen(story, tmp_path)
    held = standing(found, "U-Net, focal", OHW)
    assert held.shown == "no more than a threshold"
    assert held.gaps["threshold"] == pytest.approx(FILM[OHW] - 0.85)
    with in_style():
        document = document_of(found, tmp_path)
    (said,) = (p for p in points(document) if p.startswith(OHW))
    assert "of 2 rows 2 beat a copied mask, but not the threshold." in said
    (scores,) = (t for t in document.each(Table) if t.name == "scores_eht_ohw_all")
    assert [line.shown[1] for line in scores.lines] == ["3", "3", "–", "–", "–"], "trainings"
    assert scores.lines[0].values["minus_threshold"] == pytest.approx(FILM[OHW] - 0.85)


def points(document: Document) -> list[str]:
    """The sentences of its lists."""
    blocks = [block for section in document.sections for block in section.blocks]
    return [each for block in blocks if isinstance(block, Points) for each in block.sentences]


def test_what_is_there_in_part_is_said_first_and_its_contrasts_are_those_that_were_planned(
    tmp_path: Path,
) -> None:
    not_run = {(run.row, run.seed): ("failed", "") for run in table1.plan() if run.seed or run.row
               in ("ResNet-50, BCE, frozen", "VGG-16, BCE, frozen")}  # fmt: skip
    story = Story(table1, constant(FILM), lost=not_run, images=3, recordings={STILLS: 3})
    found = seen(story, tmp_path)
    with in_style():
        document = document_of(found, tmp_path)
    said = points(document)
    assert said[2].startswith("Carried out with 144 images an epoch, 20 to 40 epochs, 128 pixels")
    assert "In part: 9 of 33 planned runs have scores, 0 to 1 of 3 trainings a row" in said[3]
    (stills,) = (each for each in said if each.startswith(STILLS))
    assert "Of 7 planned contrasts" in stills
    assert "2 not tested, for want of runs or weights" in stills
    assert "5 with one training each, which decides nothing" in stills
    assert len([each for each in said if each.startswith("Not tested, for want of")]) == 2
    notes = [t.note for t in document.each(Table) if t.name.startswith("contrasts_")]
    assert any("One training of a row decides nothing" in note for note in notes)


def test_contrasts_that_were_written_down_later_stand_apart_and_say_so(tmp_path: Path) -> None:
    """They neither hide among the planned ones nor make those stricter."""
    rows = tuple(", ".join(row) for row in STUDIES["dsb2018"].rows if "ResNet-50" in row)
    story = Story(small(STUDIES["dsb2018"], *rows), constant({IMAGES: 0.8}), images=12)
    found = seen(story, tmp_path)
    with in_style():
        document = document_of(found, tmp_path)
    sections = {section.title: section for section in document.sections}
    first, later = sections["Planned contrasts"], sections["Contrasts written down later"]
    lines = {t.name: len(t.lines) for t in document.each(Table) if "contrasts_" in t.name}
    place = "dsb2018_test"
    assert lines == {f"contrasts_{place}": 6, f"later_contrasts_{place}": 2}
    assert "after 24 of the 80 runs" not in str(first.blocks[0])
    assert "written down later: after 24 of the 80 runs. They describe" in str(later.blocks[0])
    (said,) = (each for each in points(document) if each.startswith(IMAGES))
    assert "Of 6 planned contrasts" in said
    assert "Of 2 contrasts written down later (after 24 of the 80 runs)" in said


def test_one_training_above_all_opponents_is_told_to_be_one(tmp_path: Path) -> None:
    lost = {("U-Net, focal", seed): ("failed", "") for seed in (1, 2)}
    for name, known, words in (
        ("one", lost, "more than opponents, here, one training"),
        ("three", {}, "more than opponents, here"),
    ):
        study = small(table1, "U-Net, focal")
        story = Story(study, constant(FILM), lambda model, place: 0.2, lost=known)
        found = seen(story, tmp_path / name)
        assert standing(found, "U-Net, focal", OHW).words == words
        with in_style():
            said = points(document_of(found, tmp_path / name))
        (told,) = (each for each in said if each.startswith(OHW))
        assert ("1 of them with one training, which decides nothing" in told) == (name == "one")


def test_which_epoch_and_which_rate_are_told_as_the_recipes_have_them(tmp_path: Path) -> None:
    rows = "UNeXt, random, common recipe", "UNeXt, random, recipe of UNeXt"
    own = replace(small(STUDIES["rivals"], *rows), name="own")
    plain = small(table1, "U-Net, focal")
    for name, study, best, rate in (("own", own, True, False), ("plain", plain, False, True)):
        found = seen(Story(study, constant(FILM)), tmp_path / name)
        with in_style():
            document = document_of(found, tmp_path / name)
        notes = " ".join(t.note for t in document.each(Table) if t.name.startswith("scores"))
        picked = "best on validation: UNeXt, random, recipe of UNeXt"
        assert (f"The last epoch ({picked})." in notes) == best
        assert ("The last epoch. " in notes) == (not best)
        (claims,) = (s for s in document.sections if s.title == "The paper's claims")
        assert ("All rows here train by Adam" in str(claims.blocks[0])) == rate


def test_the_machine_of_each_run_is_told(tmp_path: Path) -> None:
    story = Story(
        small(table1, "U-Net, focal"), constant(FILM), machine=lambda seed: ("A", "B", "")[seed]
    )
    with in_style():
        document = document_of(seen(story, tmp_path), tmp_path)
    (rows,) = (t for t in document.each(Table) if t.name == "rows")
    assert rows.lines[0].shown[-1] == "not noted (seed 2); A (seed 0); B (seed 1)"
    alone = Story(small(table1, "U-Net, focal"), constant(FILM))
    with in_style():
        document = document_of(seen(alone, tmp_path / "one"), tmp_path)
    (rows,) = (t for t in document.each(Table) if t.name == "rows")
    assert rows.lines[0].shown[-1] == "a machine"


def test_whether_the_printed_order_comes_out_again_is_told(tmp_path: Path) -> None:
    def dice(row: str, seed: int, place: str, image: int) -> float:
        printed = PRINTED[tuple(row.split(", "))][0]
        return {OWN: printed, MBPT: 1 - printed, OHW: 0.5}.get(place, 0.2)

    rows = ("U-Net, BCE", "U-Net, focal", "ResNet-50, BCE, frozen", "VGG-16, focal, frozen")
    found = seen(Story(small(table1, *rows), dice), tmp_path)
    (said,) = paper_in_short(found)
    assert f"The paper's lowest row, U-Net, BCE, Dice 0.3019, has here 0.3020 ({OWN})" in said
    assert f"+1.00 ({OWN}), -1.00 ({MBPT});" in said, "equal scores have no order"
    later = ("ResNet-50, focal, frozen", "ResNet-50, BCE, frozen", *rows[3:], "VGG-16, BCE, frozen")
    (part,) = paper_in_short(seen(Story(small(table1, *later), dice), tmp_path / "part"))
    assert part.startswith("The paper's lowest row of those that were run, ResNet-50, BCE, frozen")
    few = seen(Story(small(table1, *rows[:3]), dice), tmp_path / "few")
    assert paper_in_short(few) == []


def test_one_training_of_a_row_supports_no_claim(tmp_path: Path) -> None:
    lost = {(row, seed): ("failed", "") for row in (BETTER, WORSE) for seed in (1, 2, 3, 4)}
    c1 = claim(seen(pair_of_images(0.1, 0.01, lost=lost), tmp_path), "C1")
    assert (c1.outcome, c1.cases[0].holds, c1.cases[0].decides) == ("cannot tell", "holds", False)


def test_scores_are_averaged_in_three_ways(tmp_path: Path) -> None:
    def dice(row: str, seed: int, place: str, image: int) -> float:
        return 0.8 if image == 0 else 0.5  # the first of four images is a recording of its own

    study = small(table1, "U-Net, focal")
    story = Story(study, dice, images=4, recordings={STILLS: 3})
    with in_style():
        document = document_of(seen(story, tmp_path), tmp_path)
    (found,) = (t for t in document.each(Table) if t.name == "averages_eht_fibrotug_stills_all")
    assert [line.values["row"] for line in found.lines][1:] == list(found_module.OPPONENTS.values())
    values = found.lines[0].values
    per_recording = (0.65 + 0.5 + 0.5) / 3  # images 0 and 3, 1, 2
    assert values["dice_per_image"] == pytest.approx(0.575)
    assert values["dice_per_recording"] == pytest.approx(per_recording)
    assert values["dice_pooled"] == pytest.approx(0.575), "masks of equal size"
    assert (values["images"], values["recordings"]) == (4, 3)


def test_with_several_units_a_lead_has_to_be_larger_than_chance(tmp_path: Path) -> None:
    story = pair_of_images(noise=3.0, opponent=lambda model, place: 0.84)
    assert standing(seen(story, tmp_path), WORSE, "dsb2018 test").shown != "more than opponents"


def test_each_place_is_a_family_and_scores_of_places_are_never_mixed(tmp_path: Path) -> None:
    rows = ("U-Net, focal", "U-Net, BCE")
    story = Story(small(table1, *rows), constant(FILM), recordings={STILLS: 3})
    found = seen(story, tmp_path)
    assert found.places == (OWN, MBPT, OHW, STILLS)
    assert [len(found.table(rows[0], place).units) for place in found.places] == [1, 1, 1, 3]  # type: ignore[union-attr]
    together = found.together(rows[0], unseen(found))
    assert together is not None
    assert len(together.units) == 5
    assert not any(unit.startswith("eht_d1t3") for unit in together.units)
    tables = {row: found.table(row, STILLS) for row in rows}
    (compared,) = contrasts_at(tables, [rows]).values()
    assert compared.difference.estimate == 0
    assert compared.p_holm == 1


def test_stand_ins_are_labelled_and_stay_out_of_every_table_of_imagenet_rows(
    tmp_path: Path,
) -> None:
    rows = ("VGG-16, focal, frozen", "VGG-16, BCE, frozen", "U-Net, focal")
    story = Story(small(table1, *rows), constant(FILM), without_weights="VGG")
    found = seen(story, tmp_path)
    assert found.rows == ("U-Net, focal",)
    assert found.stand_ins == tuple(row + STAND_IN for row in rows[:2])
    assert from_random(next(iter(table1.plan()))).row.endswith(STAND_IN)
    assert found.missing() == []
    with in_style():
        tables = document_of(found, tmp_path).each(Table)
    (apart,) = (each for each in tables if each.name == "paper_random_weights")
    assert not any("0.9390" in line.shown for line in apart.lines), "no printed row is theirs"
    assert not any("paper" in name for line in apart.lines for name in line.values)
    for each in tables:
        if each.name.startswith(("paper", "scores", "contrasts")):
            labelled = [STAND_IN in " ".join(line.shown) for line in each.lines]
            assert all(labelled) == any(labelled) == each.name.endswith("random_weights")


def test_missing_runs_are_told_with_their_reason(tmp_path: Path) -> None:
    lost = {("U-Net, BCE", 1): ("failed", "a loss | that is <not> finite")}
    story = Story(small(table1, "U-Net, BCE", "U-Net, focal"), constant(FILM), lost=lost)
    (one,) = seen(story, tmp_path).missing()
    assert (one.row, one.seed, one.status) == ("U-Net, BCE", 1, "failed")
    wider = Found(table1, read_results(tmp_path / "study"))
    assert {each.status for each in wider.missing()} == {"failed", "not run"}
    assert len(wider.missing()) == 1 + 9 * 3


def test_rows_without_a_common_seed_are_not_compared(tmp_path: Path) -> None:
    not_run = ("failed", "no memory")
    lost = {(BETTER, seed): not_run for seed in (0, 1)}
    lost |= {(WORSE, seed): not_run for seed in (2, 3, 4)}
    found = seen(pair_of_images(0.1, lost=lost), tmp_path)
    with in_style():
        tables = {each.name for each in document_of(found, tmp_path).each(Table)}
    c1 = claim(found, "C1")
    assert c1.outcome == "not tested here"
    assert c1.reason == "Of the rows that test it no pair has been run yet."
    assert claim(found, "C4").reason == "This study has no rows that test it."
    assert {"scores_dsb2018_test", "missing"} <= tables
    assert not any(name.startswith("contrasts") for name in tables)


def test_leakage_is_the_difference_that_was_made(tmp_path: Path) -> None:
    def dice(row: str, seed: int, place: str, image: int) -> float:
        home = {OWN: 0.99 if "random frames" in row else 0.97}
        return {MBPT: 0.6, OHW: 0.5, STILLS: 0.4 + 0.1 * (image % 3)}.get(place) or home[place]

    rows = ("U-Net, focal, random frames", "U-Net, focal, time blocks")
    story = Story(small(splits, *rows), dice, recordings={STILLS: 3})
    with in_style():
        document = document_of(seen(story, tmp_path), tmp_path)
    lines = next(each for each in document.each(Table) if each.name == "leakage").lines
    leaks = {line.values["against"]: line.values["leakage"] for line in lines}
    assert leaks == pytest.approx(
        {f"{OWN}, time blocks": 0.02, MBPT: 0.39, OHW: 0.49, STILLS: 0.49}
    )
    half_width = 4.302653 * 0.1 / math.sqrt(3)  # t with 2 degrees of freedom, SD 0.1, 3 units
    assert lines[-1].values["high95"] == pytest.approx(0.49 + half_width, abs=1e-5)


def test_lines_over_levels_hold_each_level_in_order(tmp_path: Path) -> None:
    def dice(row: str, *_: object) -> float:
        count = re.search(r"(\d+) labels", row)
        return (0.5 + int(count[1]) / 1000) if count else 0.7

    found = seen(Story(few_labels, dice, images=1), tmp_path)
    series = series_of(found, MBPT, found.study.factors["labels"])
    assert set(series) == {"ResNet-50, ImageNet", "ResNet-50, random", "U-Net, batch norm"}
    for marks in series.values():
        assert [mark.label for mark in marks] == list(found.study.factors["labels"])
        assert marks[3].estimate == pytest.approx(0.55)


def test_no_line_crosses_a_level_that_was_not_run() -> None:
    marks = [Mark(level, 0.5, 0.4, 0.6) for level in ("5", "20", "50")]
    drawn = study_figures.lines(["5", "10", "20", "50"], {"ResNet-50": marks}, ("labels", "Dice"))
    (course,) = (line for line in drawn.axes[0].lines if len(line.get_xdata()) == 4)
    assert np.isnan(course.get_ydata()).tolist() == [False, True, False, False]


def test_a_course_is_censored_where_it_never_gets_there(tmp_path: Path) -> None:
    story = pair_of_images(epochs_to_good=lambda row, seed: 3 + seed * 4)
    found = seen(story, tmp_path)
    runs = courses(found.results.curves, BETTER, found.runs(BETTER)["seed"])
    reached = [run.to(GOOD) for run in runs]
    assert [time.censored for time in reached] == [False, False, True, True, True]
    assert [time.steps for time in reached[:2]] == [3 * STEPS, 7 * STEPS]
    assert horizon(runs) == EPOCHS * STEPS
    assert restricted(reached, 100).tolist() == [54, 100, 100, 100, 100]


def test_a_share_of_the_final_dice_is_always_reached() -> None:
    course = Course(0, np.array([1.0, 2.0, 3.0]), np.array([0.2, 0.39, 0.4]))
    assert (course.to_share().steps, course.to_share().censored) == (2.0, False)
    nothing = Course(0, np.array([1.0, 2.0]), np.zeros(2))
    assert nothing.to_share().censored, "a share of nothing is not a success"


def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    draws = [(rng.normal(30, 5, 5), rng.normal(60, 9, 5)) for _ in range(400)]
    covered = np.mean([0.5 in mean_ratio(first, second) for first, second in draws])
    assert 0.92 <= covered <= 0.98
    assert math.isnan(mean_ratio(np.ones(1), np.ones(5)).low)


def test_a_plateau_ends_where_dice_falls_and_does_not_jump_a_gap() -> None:
    thresholds = np.arange(1, 8) / 10
    flat = plateau(thresholds, np.array([0.899, 0.7, 0.896, 0.9, 0.897, 0.8, 0.899]))
    assert (flat.at, flat.low, flat.high) == pytest.approx((0.4, 0.3, 0.5))
    assert plateau(thresholds, np.ones(7)).width == pytest.approx(0.61)


def three_rows() -> Study:
    """Three rows of the paper's table, scored in two recordings."""
    study = small(table1, "U-Net, BCE", "U-Net, focal", "VGG-16, focal, frozen")
    return replace(study, data=replace(study.data, score=study.data.score[::3]))


@contextmanager
def known(study: Study) -> Iterator[None]:
    """While this lasts, the report knows this study by its name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found_module, "STUDIES", {study.name: study})
        yield


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report of three rows of the paper's table, one of them failed in part."""
    study = three_rows()
    lost = {("U-Net, BCE", 1): ("failed", "</td><script>alert(1)</script> | no")}
    opponent = {"mean_mask": 0.99, "nearest_mask": 0.7, "threshold": 0.6}
    story = Story(
        study, constant(FILM), lambda model, place: opponent[model], lost=lost,
        recordings={STILLS: 3}, best=lambda row, seed: 0.3 if row == "U-Net, BCE" else 0.95,
    )  # fmt: skip
    folder = story.write(tmp_path_factory.mktemp("study"))
    write_examples(folder, OWN, [run.key[:16] for run in study.plan()[:3]])
    with known(study):
        write_report(folder)
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_page_is_sound_and_needs_nothing_else(written: Path) -> None:
    text = (written / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert "script" not in page.elements
    assert [a for a in page.addresses if not a.startswith(("#s", "data:image/svg+xml;"))] == []
    assert not re.search(r"https?://", text)
    assert "&lt;script&gt;alert(1)" in text
    assert "of 3 rows 3 showed nothing" in text
    assert "TransUNet and DS-TransUNet load ImageNet encoders" in text


def test_the_twin_and_the_parts_say_the_same(written: Path) -> None:
    text = (written / "report.md").read_text(encoding="utf-8")
    page = (written / "report.html").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert re.findall(r"<h2 [^>]*>(.*?)</h2>", page) == [h.replace("'", "&#39;") for h in headings]
    figures = sorted(path.name for path in (written / "figures").iterdir())
    assert sorted(re.findall(r"\(figures/(.*?)\)", text)) == figures
    for path in (written / "figures").iterdir():
        ElementTree.parse(path)
    assert page.count("<table>") == len(list((written / "tables").glob("*.csv")))
    for path in (written / "tables").glob("*.md"):
        assert path.read_text(encoding="utf-8") in text
    assert {"courses.svg", "collapse.svg", "examples_eht_d1t3_test_f_0001.svg"} <= set(figures)
    assert re.search(r"\\\| no", text), "a line of a table stays one line"


def test_the_tables_hold_the_printed_and_the_made_numbers(written: Path) -> None:
    paper = {row["row"]: row for row in read(written / "tables" / "paper.csv")}
    for row in ("U-Net, BCE", "VGG-16, focal, frozen"):
        dice, iou = PRINTED[tuple(row.split(", "))]
        assert float(paper[row]["dice_paper"]) == dice
        assert float(paper[row]["iou_paper"]) == iou
        assert float(paper[row][f"dice, {OWN}"]) == pytest.approx(0.98)
        assert paper[row]["shown"].startswith("-0.0100")
    assert float(paper["mean training mask"][f"dice, {OWN}"]) == pytest.approx(0.99)
    (collapsed,) = [r for r in read(written / "tables" / "collapse.csv") if r["collapsed"] != "0"]
    assert (collapsed["row"], collapsed["collapsed"], collapsed["runs"]) == ("U-Net, BCE", "2", "2")
    failures = {row["what"]: row for row in read(written / "tables" / "failures.csv")}
    assert [name for name in failures if name.startswith("U-Net")] == [
        "U-Net, BCE, seed 0", "U-Net, BCE, seed 2",
    ]  # fmt: skip
    everything = failures["everything is tissue"]
    share = float(everything["share_true"])
    assert float(everything["iou"]) == pytest.approx(share)
    assert float(everything["dice"]) == pytest.approx(2 * share / (1 + share), abs=0.01)
    assert float(failures["the paper's row"]["gap"]) == pytest.approx(0.0055, abs=5e-5)
    steps = read(written / "tables" / "convergence.csv")
    assert {float(row["steps_to_good"]) for row in steps} == {3 * STEPS}
    assert [row["seed"] for row in read(written / "tables" / "missing.csv")] == ["1"]


def test_rebuilding_gives_the_same_bytes_and_leaves_nothing_old(written: Path) -> None:
    before = {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}
    for folder, name in (("figures", "old.svg"), ("tables", "old.csv"), ("tables", "mine.txt")):
        (written / folder / name).write_text("x")
    with known(three_rows()):
        write_report(written)
    (written / "tables" / "mine.txt").unlink()  # not ours, so it was left
    assert before == {path: path.read_bytes() for path in written.rglob("*") if path.is_file()}


def test_one_command_rebuilds_the_report_of_a_study_carried_out_in_part(
    tmp_path: Path, ehtseg: Cli
) -> None:
    not_run = {(run.row, run.seed): ("failed", "no memory") for run in table1.plan("smoke")[3:]}
    story = Story(table1, constant(FILM), lost=not_run, images=2, scale="smoke")
    out = story.write(tmp_path / "table1")
    code, said, _ = ehtseg("study", "table1", "--out", out, "--report")
    assert code == 0
    assert "report.html" in said.replace("\n", "")
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "In part: 3 of 11 planned runs have scores" in text
    assert text.count("no memory") == 8, "each run that has no scores is listed with its reason"
    code, _, errors = ehtseg("study", "controls", "--out", out, "--report")
    assert code == 2
    assert "results of the study controls" in errors.replace("\n", " ")


def test_results_of_an_unknown_study_are_refused(tmp_path: Path) -> None:
    folder = Story(replace(table1, name="table9"), constant(FILM)).write(tmp_path / "study")
    with pytest.raises(UserError, match="table9"):
        found_in(read_results(folder))


def test_an_empty_study_still_has_a_report(tmp_path: Path) -> None:
    study = small(table1, "U-Net, BCE")
    lost = {("U-Net, BCE", seed): ("skipped", "no memory") for seed in range(3)}
    found = seen(Story(study, constant(FILM), lost=lost), tmp_path)
    with in_style():
        document = document_of(found, tmp_path)
    assert {each.name for each in document.each(Table)} == {"claims", "missing", "paper"}
    assert [each.reason for each in found.missing()] == ["no memory"] * 3


def test_a_document_is_written_as_it_was_given(tmp_path: Path) -> None:
    lines = [Line(("a|b", "1\n2"), {"row": "a|b", "x": 0.1 + 0.2}, "opponent")]
    with in_style():
        figure = forest([Mark("a", 1, math.nan, math.nan, (0.9, 1.1))], "x")
    blocks = (Points(("one",)), *table("t", "T", ["row", "x"], lines), Picture("p", "P", figure))
    write_document(Document("A < B", "c", (Section("S", blocks),)), tmp_path)
    assert (tmp_path / "tables" / "t.csv").read_text() == "row,x\na|b,0.3\n"
    assert "A &lt; B" in (tmp_path / "report.html").read_text()
    assert "| a\\|b | 1 2 |" in as_markdown(blocks[1])
    with pytest.raises(ValueError, match="2 columns"):
        table("t", "T", ["row", "x"], [Line(("a",), {})])


def test_figures_show_what_they_are_given() -> None:
    with in_style():
        arrows = times({"a": [Time(10, False), Time(20, True)]}, "steps")
        curve = Curve(np.array([0.1, 0.5, 0.9]), np.array([0.8, 0.9, 0.7]))
        panels = threshold_panels(
            {"a": [curve], "b": [curve]},
            {"a": [(0.4, 0.6)], "b": [(0.5, 0.5), (0.6, 0.9)]},
            {"a": [0.5], "b": [0.4, 0.6]},
        )
    marks = [line.get_marker() for line in arrows.axes[0].lines]
    assert marks == ["o", ">"]
    assert [axes.get_title(loc="left") for axes in panels.axes] == ["a", "b"]
    tree = ElementTree.parse(io.StringIO(as_svg(panels)))
    assert "date" not in "".join(each.tag for each in tree.iter())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table1", "stages", "few-labels", "collapse", "dsb2018"])
def test_whole_designs_have_a_report(name: str, tmp_path: Path) -> None:
    study = STUDIES[name]
    story = Story(study, lambda *_: 0.8, images=3, scale="smoke", recordings={STILLS: 3})
    page = write_report(story.write(tmp_path / name))
    assert Page(page.read_text(encoding="utf-8")).open == []
    assert study.question.replace("'", "&#39;") in page.read_text(encoding="utf-8")
