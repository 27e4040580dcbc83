"""Manifest, paired change, Hill fit and plate: read, compared, fitted, or refused with reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ehtseg.measuring.doses import dose_means, fit_hill, hill, lack_of_fit, paired_changes
from ehtseg.measuring.manifest import Treatment, read_manifest, well_name
from ehtseg.measuring.plate import plate_grid, plate_table, similarity, standard_scores
from ehtseg.measuring.units import dose_in, known_unit
from ehtseg.records import UserError

HEADER = "file,well,drug,dose,unit,time,pacing\n"
DOSES = np.array([0.01, 0.1, 0.3, 1.0, 3.0, 30.0])


def manifest(folder: Path, lines: str, header: str = HEADER) -> Path:
    path = folder / "plate.csv"
    path.write_text(header + lines, encoding="utf-8")
    return path


def study(
    seed: int, n_wells: int = 6, emax: float = -70.0, noise: float = 4.0, spread: float = 8.0
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Doses, responses and wells: each well its own emax, EC50 1, slope 1.5."""
    draw = np.random.default_rng(seed)
    tops = emax + draw.normal(0, spread, n_wells)
    clean = tops[:, None] * hill(DOSES, 1.0, 1.0, 1.5)
    response = clean + draw.normal(0, noise, clean.shape)
    wells = [f"A{k + 1}" for k in range(n_wells) for _ in DOSES]
    return np.tile(DOSES, n_wells), response.ravel(), wells


def wobble(n: int, sd: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, sd, n)


def test_a_manifest_is_read_with_its_units_times_and_pacing(tmp_path: Path) -> None:
    lines = "a.avi,a01,,,,,\nb.avi,A1,E-4031,30,nM,,60\nlong.avi,B2,iso,0.1,µM,00:12:30,0\n"
    rows = read_manifest(manifest(tmp_path, lines), files=["a.avi", "b.avi", "long.avi"])
    assert rows[0] == Treatment(2, "a.avi", "A1", "", 0.0, "")
    assert rows[1] == Treatment(3, "b.avi", "A1", "E-4031", 30.0, "nM", 0.0, 60.0)
    assert rows[2] == Treatment(4, "long.avi", "B2", "iso", 0.1, "uM", 750.0, None)
    assert [row.is_baseline for row in rows] == [True, False, False]


def test_a_spreadsheet_with_semicolons_decimal_commas_and_a_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("Well;File;Drug;Dose;Unit\nA1;a.avi;iso;0,1;uM\n\n;;;;\n", encoding="utf-8-sig")
    (row,) = read_manifest(path)
    assert (row.well, row.dose, row.unit) == ("A1", 0.1, "uM")


@pytest.mark.parametrize(
    ("mark", "doses", "read"),
    [
        (",", ("3.125", "0.781"), (3.125, 0.781)),
        (",", ("12.500", "1000"), (12.5, 1000)),
        (";", ("0,3", "3,125", "1000"), (0.3, 3.125, 1000)),
        (";", ("3,125", "1"), None),
        (";", ("0,3", "1.000"), None),
        ("\t", ("1.000", "3.1250"), (1, 3.125)),
        ("\t", ("1.000", "10"), None),
    ],
)
def test_a_mark_is_for_decimals_only_where_that_is_sure(
    tmp_path: Path, mark: str, doses: tuple[str, ...], read: tuple[float, ...] | None
) -> None:
    path = tmp_path / "m.csv"
    lines = [(f"{d}.avi", "A1", "iso", d, "nM") for d in doses]
    rows = [("file", "well", "drug", "dose", "unit"), *lines]
    path.write_text("\n".join(mark.join(row) for row in rows))
    if read is None:
        with pytest.raises(UserError, match=r"the dose '.*': write \d+ or"):
            read_manifest(path)
    else:
        assert tuple(row.dose for row in read_manifest(path)) == read


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("a.avi,A1,iso,1,mol,,\n", "'mol' is none of pM, nM, uM"),
        ("a.avi,A1,iso,1,,,\n", "unit ''"),
        ("a.avi,A1,iso,one,uM,,\n", "dose 'one' is no number"),
        ("a.avi,A1,iso,-1,uM,,\n", "a dose of -1"),
        ('a.avi,A1,iso,"1,000",nM,,\n', "line 2: the dose '1,000': write 1000 or 1"),
        ('a.avi,A1,iso,"12,500",nM,,\n', "write 12500 or 12.5000"),
        ("a.avi,A1,,1,uM,,\n", "without a drug"),
        ("a.avi,,iso,1,uM,,\n", "line 2: no well"),
        ("a.avi,A1,iso,1,uM,12 min,\n", "not written HH:MM:SS"),
        (
            "a.avi,A1,,,,,\na.avi,A1,iso,1,uM,,\n",
            "line 3: a.avi at 0 s shows iso 1 uM, but in line",
        ),
        ("a.avi,A1,iso,1,uM,,\na.avi,A1,iso,1,uM,,60\n", "line 3: .* iso 1 uM paced at 60 beats"),
        ("a.avi,A1,,,,,\na.avi,A1,iso,0.1,uM,,60,5\n", "line 3: more cells than .* decimal comma"),
        ("a.avi,A1,iso,1,uM,,2\n", r"in Hz\? write 120"),
        ("b.avi,A1,iso,1,uM,,\n", r"no recording b.avi \(nearest: a.avi\)"),
        ("a.avi,A1,iso,1,uM,,\na.avi,H7,iso,1,uM,,\n", "line 3: unknown well H7"),
        ("a.avi,A1,iso,1,uM,,\na.avi,A1,iso,1,ug/mL,,\n", "iso in ug/mL, but before in uM"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_named_with_its_line(
    tmp_path: Path, lines: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        read_manifest(manifest(tmp_path, lines), files=["a.avi"], wells=["A1", "A2"])


def test_a_slip_among_names_of_wells_is_found_without_a_plate(tmp_path: Path) -> None:
    lines = "a.avi,A1,iso,1,uM,,\na.avi,A2,iso,1,uM,,\na.avi,AI,iso,1,uM,,\n"
    with pytest.raises(UserError, match="unknown well AI"):
        read_manifest(manifest(tmp_path, lines))
    chips = "a.avi,chip 1,iso,1,uM,,\na.avi,chip 2,iso,1,uM,,\n"
    assert len(read_manifest(manifest(tmp_path, chips))) == 2


def test_every_problem_is_named_in_one_message(tmp_path: Path) -> None:
    lines = "".join(f"x{k}.avi,A1,iso,1,mol,,\n" for k in range(9))
    with pytest.raises(UserError, match=r"line 2: .*line 7: .* and 3 more"):
        read_manifest(manifest(tmp_path, lines))


def test_missing_columns_empty_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no dose, unit"):
        read_manifest(manifest(tmp_path, "a.avi,A1,iso\n", header="file,well,drug\n"))
    with pytest.raises(UserError, match="only a header"):
        read_manifest(manifest(tmp_path, "\n"))
    with pytest.raises(UserError, match="an empty file"):
        read_manifest(manifest(tmp_path, "", header=""))
    with pytest.raises(UserError, match="readable manifest"):
        read_manifest(tmp_path / "none.csv")


def test_a_dose_of_0_has_the_unit_and_spelling_of_its_drug(tmp_path: Path) -> None:
    lines = "a,A1,iso,0,,,\nb,A2,ISO,0,nM,,\nc,A1,Iso,0.1,uM,,\nd,A1,,,nM,,\ne,A3,DMSO,0,,,\n"
    rows = read_manifest(manifest(tmp_path, lines))
    assert [(row.drug, row.dose, row.unit) for row in rows[:3]] == [
        ("Iso", 0, "uM"),
        ("Iso", 0, "uM"),
        ("Iso", 0.1, "uM"),
    ]
    assert [(row.drug, row.unit) for row in rows[3:]] == [("", "nM"), ("DMSO", "")]
    means = dose_means(paired_changes([rows[3], *rows[:1], rows[2]], [1, 1, 2]))
    assert [(mean.dose, mean.unit) for mean in means] == [(0, "uM"), (0.1, "uM")]


def test_two_lines_of_one_file_that_say_the_same_are_no_contradiction(tmp_path: Path) -> None:
    lines = "a,A1,,,,,\na,A1,control,0,uM,,\na,A1,iso,1,uM,00:10:00,\nb,A1,iso,2,uM,,\n"
    assert len(read_manifest(manifest(tmp_path, lines))) == 4


def test_two_paths_of_one_file_are_one_file(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a.avi,A1,,,,,\nfilms/a.avi,A1,iso,1,uM,,\n")
    with pytest.raises(UserError, match=r"line 3: films/a\.avi at 0 s"):
        read_manifest(path, files=["/data/films/a.avi"])


@pytest.mark.parametrize("names", ["pacing_bpm,time_s", "Pacing (bpm),Time [s]"])
def test_columns_may_be_named_with_their_unit(tmp_path: Path, names: str) -> None:
    header = f"file,well,drug,dose,unit,{names},plate,cell line,notes,date\n"
    lines = "a,A1,,,,60,,7,iPS,good,\na,A1,iso,1,uM,90,600.5,7,iPS,,\na,A1,iso,2,uM,90,1200\n"
    rows = read_manifest(manifest(tmp_path, lines, header))
    assert [row.time_s for row in rows] == [0, 600.5, 1200]
    assert [row.pacing_bpm for row in rows] == [60, 90, 90]


def test_a_time_in_seconds_that_is_none_is_named(tmp_path: Path) -> None:
    header = "file,well,drug,dose,unit,time_s\n"
    for cell in ("soon", "0:20:00", "-5"):
        with pytest.raises(UserError, match=r"line 2: (the time_s '\S+' is no|a time of -5 s)"):
            read_manifest(manifest(tmp_path, f"a,A1,iso,1,uM,{cell}\n", header))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("drug,dose,unit", "drug, dose, unit more than once"),
        ("time,time_s", "time more than once"),
        ("pacing,Pacing_bpm", "pacing more than once"),
        ("times", "“times”, which is near to “time_s”"),
        ("time_min", "“time_min”, which is near to “time”"),
        ("Time (min)", "“time_min”"),
        ("pacing_hz", "“pacing_hz”, which is near to “pacing”"),
        ("pacign", "near to “pacing”"),
        ("start time", "near to “start”"),
        ("drug2,dose2,unit2", "near to “drug”"),
    ],
)
def test_columns_that_are_repeated_or_nearly_named_are_refused(
    tmp_path: Path, names: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        read_manifest(manifest(tmp_path, "a,A1,iso,1,uM\n", f"file,well,drug,dose,unit,{names}\n"))


@pytest.mark.parametrize(
    ("above", "mark"), [("\n", ","), ("\n ,,,\n\n", ","), ("sep=;\n", ";"), ('"SEP=|",\n\n', "|")]
)
def test_what_a_spreadsheet_puts_above_the_names_is_passed_over(
    tmp_path: Path, above: str, mark: str
) -> None:
    rows = (("file", "well", "drug", "dose", "unit"), ("a", "A1", "iso", "0,1", "mol"))
    text = "\n".join(mark.join(f'"{cell}"' for cell in row) for row in rows)
    line = above.count("\n") + 2
    with pytest.raises(UserError, match=f"line {line}: the unit 'mol'"):
        read_manifest(manifest(tmp_path, text, above))
    (row,) = read_manifest(manifest(tmp_path, text.replace("mol", "uM"), above))
    assert (row.line, row.dose) == (line, 0.1)


def test_a_start_may_have_an_hour_of_one_digit(tmp_path: Path) -> None:
    header = "file,well,drug,dose,unit,start\n"
    lines = "a,A1,,,,{}\nb,A1,iso,1,uM,{}\n"
    for start in (("9:30:00", "10:30:00"), ("2026-11-20 9:30:00", "2026-11-20T9:45")):
        rows = read_manifest(manifest(tmp_path, lines.format(*start), header))
        assert rows[0].stamp is not None
        assert f"{rows[0].stamp.at:%H:%M:%S}" == "09:30:00"


def test_units_and_wells() -> None:
    assert known_unit(" UM") == "uM"
    assert dose_in(1, "mM", "nM") == 1e6
    assert (well_name("p24"), well_name("Q1"), well_name("A25")) == ("P24", "Q1", "A25")
    with pytest.raises(UserError, match="one kind"):
        dose_in(1, "mM", "mg/mL")


def test_a_change_is_from_the_own_baseline_at_the_same_pacing() -> None:
    rows = [
        Treatment(2, "a", "A1", "", 0, ""),
        Treatment(3, "b", "A1", "", 0, "", pacing_bpm=60),
        Treatment(4, "c", "A1", "iso", 1, "uM"),
        Treatment(5, "d", "A1", "iso", 1, "uM", pacing_bpm=60),
        Treatment(6, "e", "A1", "iso", 1, "uM", pacing_bpm=120),
        Treatment(7, "f", "A2", "iso", 1, "uM"),
        Treatment(8, "g", "A1", "iso", 2, "uM"),
    ]
    changes = paired_changes(rows, [50, 100, 75, 90, 120, 80, np.nan])
    assert [change.change_pct for change in changes[:2]] == pytest.approx([50, -10])
    assert "120 beats a minute" in changes[2].reason
    assert "A2 has no baseline without pacing" in changes[3].reason
    assert "no value" in changes[4].reason


def test_a_named_drug_at_dose_0_is_no_baseline() -> None:
    rows = [Treatment(2, "a", "A1", "DMSO", 0, ""), Treatment(3, "b", "A1", "iso", 1, "uM")]
    assert ["no baseline" in change.reason for change in paired_changes(rows, [50, 60])] == [1, 1]
    for said in (paired_changes.__doc__, Treatment.__doc__):
        assert "without a drug" in " ".join((said or "").split())


def test_the_well_is_the_unit() -> None:
    """Three recordings of one well are one well, not three."""
    rows = [Treatment(k, "f", well, "iso", 1, "uM") for k, well in enumerate(["A1"] * 3 + ["A2"])]
    base = [Treatment(0, "f", well, "", 0, "") for well in ("A1", "A2")]
    (mean,) = dose_means(paired_changes([*base, *rows], [1, 1, 2, 2, 2, 3]))
    assert (mean.wells, mean.mean_pct) == (2, 150)
    assert mean.high_pct - mean.mean_pct == pytest.approx(12.706 * 50, rel=1e-3)
    (single,) = dose_means(paired_changes([base[0], rows[0]], [1, 2]))
    assert np.isnan(single.low_pct)


def test_a_noise_free_hill_curve_comes_back() -> None:
    dose = np.tile(DOSES, 3)
    response = hill(dose, -60.0, 0.7, 1.3) + np.tile([1e-6, -1e-6], 9)
    fit = fit_hill(dose, response, np.repeat(["A1", "A2", "A3"], len(DOSES)).tolist())
    assert fit.accepted, fit.reason
    assert [fit.emax, fit.ec50, fit.slope] == pytest.approx([-60, 0.7, 1.3], rel=1e-3)


def test_the_intervals_of_a_fit_hold_the_truth() -> None:
    fits = [fit_hill(*study(seed)) for seed in range(20)]
    assert all(fit.accepted for fit in fits), [fit.reason for fit in fits]
    ec50 = np.mean([low <= 1.0 <= high for low, high in (fit.ec50_interval for fit in fits)])
    emax = np.mean([low <= -70 <= high for low, high in (fit.emax_interval for fit in fits)])
    assert 0.85 <= ec50 <= 1
    assert 0.85 <= emax <= 1


@pytest.mark.slow
@pytest.mark.parametrize("n_wells", [4, 6, 12])
def test_coverage_of_the_hill_intervals(n_wells: int) -> None:
    fits = [fit_hill(*study(seed, n_wells)) for seed in range(400)]
    for name, truth in (("ec50_interval", 1.0), ("emax_interval", -70.0), ("slope_interval", 1.5)):
        held = np.mean([low <= truth <= high for low, high in (getattr(f, name) for f in fits)])
        assert 0.90 <= held <= 0.99, (name, held)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d, r, w: (d[d < 1], r[d < 1], w[: int(np.sum(d < 1))]), "3 doses"),
        (lambda d, r, w: (d, r, ["A1"] * len(w)), "1 wells"),
        (lambda d, r, w: (1 + d / 30, r, w), "2.0-fold"),
        (lambda d, r, w: (d, wobble(len(d), 5), w), "does not rise or fall steadily with the dose"),
        (lambda d, r, w: (d, hill(d, -900.0, 400.0, 1.0) + r * 0.02, w), "above the highest"),
        (lambda d, r, w: (d, np.where(d > 0.3, -50.0, 0) + wobble(len(d), 4), w), "slope"),
        (lambda d, r, w: (d, hill(d, -60.0, 1.0, 1.0) * np.where(d == 1, 2.2, 1) + r * 0.02, w),
         "lack of fit"),
    ],
)  # fmt: skip
def test_when_not_to_fit_is_told(change, said: str) -> None:  # type: ignore[no-untyped-def]
    fit = fit_hill(*change(*study(3)))
    assert not fit.accepted
    assert said in fit.reason


def test_a_response_that_rises_and_falls_is_not_said_to_be_none() -> None:
    dose = np.tile([0.01, 0.1, 1, 10, 100.0], 3)
    bell = np.tile([0, 20, 40, 20, 0.0], 3) + wobble(15, 2)
    fit = fit_hill(dose, bell, np.repeat(["A1", "A2", "A3"], 5).tolist())
    assert fit.reason.startswith("The response does not rise or fall steadily with the dose")


def test_lack_of_fit_is_rare_where_the_curve_is_right() -> None:
    draw = np.random.default_rng(5)
    dose = np.tile(DOSES, 5)
    shape = np.polynomial.polynomial.polyvander(np.log(dose), 2)  # a curve of 3 parameters
    left = np.eye(30) - shape @ np.linalg.pinv(shape)
    rejected = [lack_of_fit(dose, left @ draw.normal(0, 1, 30)) < 0.05 for _ in range(400)]
    assert 0.02 < np.mean(rejected) < 0.09
    assert lack_of_fit(DOSES, np.ones(6)) == 1.0, "no repeats, no test"


def test_the_table_of_a_plate_is_in_the_order_of_the_plate() -> None:
    columns = {"rate_bpm": [60, 50, 70, 40.0], "cd50_ms": [300, np.nan, 320, 280.0]}
    table = plate_table(["B1", "A10", "B1", "a02"], columns)
    assert table.wells == ("A2", "A10", "B1")
    assert table.measures == ("rate_bpm", "cd50_ms")
    assert table.values[2].tolist() == [65, 310]
    assert np.isnan(table.values[1, 1])
    assert plate_table(["chip 10", "chip 9"], {"a": [1, 2]}).wells == ("chip 9", "chip 10")


def test_a_grid_leaves_out_what_has_no_place() -> None:
    letters, numbers, grid = plate_grid(["C3", "A1", "chip"], np.array([3.0, 1.0, 9.0]))
    assert (letters, numbers) == (["A", "C"], [1, 3])
    assert grid[0, 0] == 1
    assert grid[1, 1] == 3
    assert np.isnan(grid[0, 1])


def test_similarity_of_the_same_of_opposites_and_of_one_sd() -> None:
    values = np.array([[60.0, 10], [60, 10], [90, 20], [np.nan, 10]])
    alike = similarity(values)
    assert alike[0, 1] == 1
    assert alike[0, 2] < 0.5
    assert np.array_equal(alike, alike.T, equal_nan=True)
    assert np.isnan(alike[0, 3]), "one measure in common is too few"
    z = standard_scores(np.arange(7.0)[:, None] * [1, 100])
    one_sd = 1.4826 * 2
    assert z[:, 0] == pytest.approx((np.arange(7) - 3) / one_sd)
    assert z[:, 1] == pytest.approx(z[:, 0]), "the unit does not matter"
    two = similarity(np.array([[0.0, 0], [one_sd, one_sd], [1, 1], [2, 2], [4, 4], [5, 5], [6, 6]]))
    assert two[0, 1] == pytest.approx(0.5, abs=0.05)


def test_a_measure_in_which_no_well_differs_says_nothing() -> None:
    assert standard_scores(np.array([[1.0], [1.0], [np.nan]]))[:2].tolist() == [[0.0], [0.0]]
