"""The rivals side by side: jitter, prices of tiny networks, and who is ahead, start by start."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ehtseg.recipe import make_recipe
from ehtseg.records import UserError
from ehtseg.reporting.study_figures import in_style
from ehtseg.study.designs import STUDIES
from ehtseg.study.found import found_in
from ehtseg.study.prices import Price, price_of, read_prices, write_prices
from ehtseg.study.report import document_of, write_report
from ehtseg.study.report_rivals import COLUMNS, rival_sections, rivals_in_short
from ehtseg.study.results import read_results, read_tables, write_tables
from ehtseg.study.rival_table import area_jitter, rival_table
from ehtseg.study.task import machine_here
from made_study import Story

TINY = make_recipe(
    {"data": {"size": 64, "augment": "none"}, "net": {"name": "unet", "width": 16}},
    {"fit": {"batch": 2, "precision": "fp32", "threads": 1}},
)
PRICE = Price("a row", "unet", "random", 10, 1.5, 2.0, 3.0, 400.0, 500.0, 64, 2, 1, "fp32", "cpu")


def test_jitter_sees_neither_beating_nor_a_constant_error() -> None:
    beating = 1000 + 200 * np.sin(np.arange(40.0))
    assert area_jitter(beating, beating) == 0
    assert area_jitter(1.2 * beating, beating) == pytest.approx(0)
    noise = np.random.default_rng(0).normal(0, 0.01, 100_000)
    flicker = area_jitter(1 + noise, np.ones(100_000))
    assert flicker == pytest.approx(0.01 * math.sqrt(2), rel=0.02)
    assert math.isnan(area_jitter(np.array([1.0]), np.array([1.0])))
    assert math.isnan(area_jitter(np.array([1.0, 1.0]), np.array([1.0, 0.0])))


def test_the_price_of_a_tiny_network() -> None:
    """Counts from outside: 1,941,105 parameters, 6.07 GFLOPs at 256 pixels."""
    threads = torch.get_num_threads()
    price = price_of("plain", TINY)
    torch.set_num_threads(threads)
    assert price.parameters == 1_941_105
    assert price.gmacs == pytest.approx(6.07 / 2 / 16, rel=0.01)
    assert (price.weights, price.size_px, price.batch, price.threads) == ("random", 64, 2, 1)
    assert (price.precision, price.machine) == ("fp32", machine_here())
    assert price.train_images_per_s > 0
    assert price.segment_frames_per_s > 0
    assert 0 < price.peak_segment_mb <= price.peak_train_mb
    with pytest.raises(UserError, match="a working size"):
        price_of("plain", make_recipe(TINY.model_dump(), {"data": {"size": None}}))


def test_prices_come_back_as_they_were_written(tmp_path: Path) -> None:
    assert read_prices(tmp_path) == {}
    other = replace(PRICE, row="another, row", gmacs=0.25)
    write_prices([PRICE, other], tmp_path)
    assert read_prices(tmp_path) == {"a row": PRICE, "another, row": other}
    lines = (tmp_path / "prices.csv").read_text().splitlines()
    older = "\n".join(line.rpartition(",")[0] for line in lines)  # without the machine
    (tmp_path / "prices.csv").write_text(f"{older}\n")
    assert read_prices(tmp_path)["a row"] == PRICE


def skill(row: str, seed: int, place: str, _: int) -> float:
    """UNeXt is the best of the random starts, smp the best of all."""
    start = 0.9 if "ImageNet" in row else 0.6
    best = row.startswith(("UNeXt, random, common", "smp"))
    return start + 0.05 * best + 0.001 * seed - 0.1 * ("ohw" in place)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    story = Story(STUDIES["rivals"], skill, images=4)
    return story.write(tmp_path_factory.mktemp("rivals"))


def test_who_is_ahead_is_told_apart_for_each_start(folder: Path) -> None:
    said = rivals_in_short(found_in(read_results(folder)))
    places = {place.label for place in STUDIES["rivals"].data.score}
    assert len(said) == 2 * len(places)
    assert all("eht_d1t3" in sentence for sentence in said[-2:]), "its own film comes last"
    for sentence in said:
        best = "smp U-Net on ResNet-50" if "from ImageNet" in sentence else "UNeXt, random"
        assert f"by {best}" in sentence


def short(folder: Path) -> list[str]:
    """The sentences at the head of the page."""
    with in_style():
        document = document_of(found_in(read_results(folder)), folder)
    head = document.sections[0]
    return [each for block in head.blocks for each in block.sentences]  # type: ignore[union-attr]


def test_the_first_line_names_who_is_ahead_across_recordings(folder: Path) -> None:
    from_imagenet, recommended, from_random, chance, *_ = short(folder)
    assert from_imagenet == (
        "Across 3 recordings never trained on, smp U-Net on ResNet-50, ImageNet, common recipe is "
        "ahead among rows from ImageNet weights (3 of 3 have scores): its mean Dice lies 0.0500 "
        "(0.0500 to 0.0500) above our ResNet-50 from the same start, not distinguishable with 3 "
        "recordings. The best of several, picked afterwards, looks better than it is."
    )
    assert recommended == (
        "Recommended across recordings: nothing new. With 3 recordings no lead can be told from "
        "chance, so that our ResNet-50 stays by default and not by merit; the study "
        "rivals-dsb2018 has the images that can decide against it."
    )
    assert "UNeXt, random, common recipe is ahead among rows from random weights" in from_random
    assert chance.startswith("What chance does: the smp U-Net on ResNet-50 is our ResNet-50")
    assert chance.endswith("its mean Dice minus ours is 0.0500 (0.0500 to 0.0500).")
    assert "(20 of 20 have scores)" in from_random


def test_our_network_is_named_where_it_is_ahead(tmp_path: Path) -> None:
    story = Story(
        STUDIES["rivals-dsb2018"],
        lambda row, seed, place, image: 0.8 + 0.1 * row.startswith("ResNet-50") + 0.01 * image,
    )
    ours, recommended, *_ = short(story.write(tmp_path / "rivals-dsb2018"))
    assert recommended == "Recommended across images: our ResNet-50."
    assert ours.startswith("Across 6 images never trained on, our ResNet-50 is ahead")
    assert "0.1000 (0.1000 to 0.1000) above the next, " in ours


def test_a_rival_that_is_told_from_ours_is_recommended_with_its_price(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    noise = {(seed, image): source.normal() for seed in range(3) for image in range(40)}

    def dice(row: str, seed: int, place: str, image: int) -> float:
        return 0.8 + 0.1 * row.startswith("U-Net++ on") + 0.01 * noise[seed, image]

    story = Story(STUDIES["rivals-dsb2018"], dice, images=40)
    folder = story.write(tmp_path / "rivals-dsb2018")
    rows = {"ResNet-50, ImageNet, common recipe": 30.0,
            "U-Net++ on ResNet-50, ImageNet, common recipe": 10.0}  # fmt: skip
    write_prices(
        [replace(PRICE, row=row, train_images_per_s=rate) for row, rate in rows.items()], folder
    )
    _, recommended, *_ = short(folder)
    assert recommended == (
        "Recommended across images: U-Net++ on ResNet-50, ImageNet, common recipe. It trains "
        "at 1 / 3 of our rate."
    )


def test_a_lead_within_chance_over_many_images_changes_nothing(tmp_path: Path) -> None:
    source = np.random.default_rng(0)
    noise = {(seed, image): source.normal() for seed in range(3) for image in range(40)}

    def dice(row: str, seed: int, place: str, image: int) -> float:
        return 0.8 + row.startswith("U-Net++ on") * (0.001 + 0.02 * noise[seed, image])

    folder = Story(STUDIES["rivals-dsb2018"], dice, images=40).write(tmp_path / "rivals-dsb2018")
    _, recommended, *_ = short(folder)
    assert recommended.startswith("Recommended across images: our ResNet-50")
    assert "by default" not in recommended


def test_rivals_carried_out_in_part_are_reported_as_far_as_they_are(tmp_path: Path) -> None:
    study = STUDIES["rivals"]
    late = {"DS-TransUNet", "TransUNet", "Med-NCA"}
    lost = {
        (run.row, run.seed): ("failed", "no memory")
        for run in study.plan()
        if run.seed == 2 or (run.seed == 1 and "recipe of" in run.row) or run.row[:7] == "DS-Tran"
    }
    folder = Story(study, skill, images=4, lost=lost).write(tmp_path / "rivals")
    tables = read_tables(folder)
    cut = [row for row in tables["runs.csv"] if row["row"].split(", ")[0] not in late]
    write_tables(folder, {**tables, "runs.csv": cut})  # as if it had been interrupted
    found = found_in(read_results(folder))
    page = write_report(folder).read_text(encoding="utf-8")
    there = {row for row in found.rows if row.split(", ")[0] not in late}
    assert set(found.rows) == there
    assert len(found.missing()) == 69 - len(found.done["key"])
    assert {each.status for each in found.missing()} == {"failed", "not run"}
    said = short(folder)
    assert "(12 of 20 have scores)" in said[2]
    assert any(each.startswith("In part: ") for each in said)
    for each in late:
        assert f"{each}, random, common recipe" in page, "it is listed"
    (section,) = rival_sections(found, folder)
    shown = {line.values["row"] for line in section.blocks[0].lines}
    assert shown == there


def test_the_table_has_every_row_beside_its_price(folder: Path) -> None:
    found = found_in(read_results(folder))
    row = "nnU-Net, random, recipe of nnU-Net"
    write_prices([replace(PRICE, row=row, machine="AMD EPYC", peak_train_mb=1636.0)], folder)
    (section,) = rival_sections(found, folder)
    *tables, measured, left_out = section.blocks
    assert measured == "Rates and memory were measured on AMD EPYC."
    assert any("1,000 epochs of 250 steps" in point for point in left_out.sentences)
    assert [len(table.lines) for table in tables] == [23] * 4
    assert tables[-1].title == "The rivals, eht_d1t3 test", "the film trained on comes last"
    for table in tables:
        assert table.columns == COLUMNS
        by_row = {line.values["row"]: line for line in table.lines}
        assert by_row[row].values["gmacs"] == 1.5
        assert by_row[row].values["training_s"] == 1.0
        assert by_row[row].shown[-1] == "1,636", "no powers of ten"
        assert by_row["UNeXt, random, common recipe"].values["gmacs"] == ""
    rows = rival_table(read_results(folder), {})
    unext = next(r for r in rows if r.row.startswith("UNeXt, r") and r.place == "eht_mbpt all")
    assert unext.seeds == 3
    assert unext.dice == pytest.approx(np.mean([skill(unext.row, s, "", 0) for s in range(3)]),
                                       abs=2e-3)  # fmt: skip


def test_other_studies_have_no_such_section(tmp_path: Path) -> None:
    folder = Story(STUDIES["splits"], skill, images=4).write(tmp_path)
    found = found_in(read_results(folder))
    assert rival_sections(found, folder) == []
    assert rivals_in_short(found) == ()
