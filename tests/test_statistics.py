"""Statistics against scipy and statsmodels, intervals against simulation, words against numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint
from statsmodels.stats.weightstats import DescrStatsW
from statsmodels.tsa.stattools import acf

from ehtseg.learning.scores import Counts, dice, iou
from ehtseg.study.intervals import (
    bootstrap_interval,
    interval,
    rate_difference,
    seeds_variance,
    t_interval,
    wilson,
)
from ehtseg.study.significance import (
    crossed_p,
    equality_p,
    holm,
    paired_p,
    power,
    tail_p,
    units_needed,
)
from ehtseg.study.statistics import (
    Contrast,
    Table,
    averages,
    contrast,
    difference,
    effective_count,
    family,
    implied_sd,
    lag_one,
    tabulate,
    verdict,
)
from ehtseg.study.words import about, conclude, say_interval, say_rate

Array = np.ndarray
Population = Callable[[np.random.Generator, int, int], Array]

TRUTH = 0.9


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def normal(source: np.random.Generator, units: int, seeds: int) -> Array:
    """Dice (U, S) with normal effects of units, seeds and their combinations."""
    effects = (0.05 * source.normal(size=(units, 1)), 0.002 * source.normal(size=(1, seeds)))
    return TRUTH + effects[0] + effects[1] + 0.02 * source.normal(size=(units, seeds))


def skewed(source: np.random.Generator, units: int, seeds: int) -> Array:
    """Units of which a few fail by far: what is missing to 1 is gamma-distributed."""
    lost = (1 - TRUTH) * source.gamma(4, 1 / 4, size=(units, 1))
    return 1 - lost + 0.02 * source.normal(size=(units, seeds))


def restless(source: np.random.Generator, units: int, seeds: int) -> Array:
    """Trainings that differ by as much as the mean of units is uncertain; alone, none."""
    shared = 0.05 / math.sqrt(units) * math.sqrt(seeds) * source.normal(size=(1, seeds))
    return normal(source, units, seeds) + shared * (seeds > 1)


def mixed(source: np.random.Generator, units: int, seeds: int) -> Array:
    """Trainings that differ, each in its own images: the rest is far above units and trainings."""
    rest = 0.2 / math.sqrt(units) * source.normal(size=(1, seeds)) * (seeds > 1)
    return normal(source, units, seeds) + rest + 0.2 * source.normal(size=(units, seeds))


def table(values_US: Array) -> Table:
    units, seeds = values_US.shape
    return Table(tuple(f"u{i}" for i in range(units)), tuple(range(seeds)), values_US)


def paired(differences_US: Array) -> Contrast:
    return contrast(table(0.9 + differences_US), table(np.full(differences_US.shape, 0.9)))


# --- averages ---------------------------------------------------------------------------------


def test_averages_by_hand() -> None:
    counts = [Counts(10, 0, 0, 5), Counts(5, 5, 5, 0), Counts(0, 0, 0, 15)]
    found = averages(counts, ["a", "a", "b"])
    assert found.per_image == pytest.approx((1 + 0.5 + 1) / 3)
    assert found.per_recording == pytest.approx((0.75 + 1) / 2)
    assert found.pooled == pytest.approx(30 / 40)
    assert (found.images, found.recordings) == (3, 2)


def test_iou_follows_from_dice_for_each_image_and_lies_above_it_in_the_mean() -> None:
    source = rng()
    counts = [Counts(*map(int, source.integers(1, 1000, 4))) for _ in range(200)]
    d, j = np.array([dice(c) for c in counts]), np.array([iou(c) for c in counts])
    assert j == pytest.approx(d / (2 - d), abs=1e-12)
    names = ["a"] * 200
    means = averages(counts, names).per_image, averages(counts, names, iou).per_image
    assert means[1] > means[0] / (2 - means[0])
    pooled = averages(counts, names).pooled, averages(counts, names, iou).pooled
    assert pooled[1] == pytest.approx(pooled[0] / (2 - pooled[0]), abs=1e-12)


def test_the_spread_of_dice_follows_from_two_means() -> None:
    d = np.clip(rng().normal(0.94, 0.017, 100_000), 0, 1)
    assert implied_sd(d.mean(), (d / (2 - d)).mean()) == pytest.approx(0.017, rel=0.02)
    assert math.isnan(implied_sd(0.9, 0.5))


def test_a_table_averages_frames_before_units() -> None:
    found = tabulate([0.5, 0.7, 0.9, 1.0], ["b", "b", "a", "b"], [3, 3, 3, 3])
    assert (found.units, found.seeds) == (("a", "b"), (3,))
    assert found.values == pytest.approx(np.array([[0.9], [2.2 / 3]]))
    with pytest.raises(ValueError, match="no score of b by seed 1"):
        tabulate([0.5, 0.7, 0.9], ["a", "a", "b"], [0, 1, 0])


def test_differences_are_taken_where_both_have_a_score() -> None:
    first = Table(("a", "b", "c"), (0, 1), np.arange(6.0).reshape(3, 2))
    second = Table(("c", "b"), (1, 2), np.array([[10.0, 0.0], [20.0, 0.0]]))
    found = difference(first, second)
    assert (found.units, found.seeds) == (("b", "c"), (1,))
    assert found.values.tolist() == [[3 - 20], [5 - 10]]
    with pytest.raises(ValueError, match="in common"):
        difference(first, Table(("a",), (7,), np.zeros((1, 1))))


# --- intervals --------------------------------------------------------------------------------


def test_t_interval_is_that_of_statsmodels() -> None:
    values = rng().normal(size=7)
    found = t_interval(values)
    assert (found.low, found.high) == pytest.approx(DescrStatsW(values).tconfint_mean())
    assert interval(values[:, None]) == found


def test_one_unit_has_no_interval() -> None:
    found = interval(np.array([[0.9, 0.8]]))
    assert found.estimate == pytest.approx(0.85)
    assert math.isnan(found.low)
    assert 0 in found, "nothing is excluded"


def test_bootstrap_reaches_as_far_as_students_t() -> None:
    values = 1 - rng(1).gamma(1, 0.05, size=30)
    found = bootstrap_interval(values, draws=40_000)
    reach = stats.t.ppf(0.975, 29) * math.sqrt(30 / 29)
    theirs = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=40_000,
        confidence_level=1 - 2 * stats.norm.sf(reach),
        method="BCa",
        rng=rng(),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.02 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.02 * width)
    middle = (found.low + found.high) / 2
    assert middle < found.estimate, "of a skewed sample, the interval is skewed too"


@pytest.mark.parametrize("units", [6, 25])
def test_what_trainings_share_widens_the_interval(units: int) -> None:
    """Each side grows as the legs of a right triangle; one training can say nothing of others."""
    values, shared = normal(rng(2), units, 3), np.array([-0.02, 0.0, 0.02])
    level = values - values.mean(axis=0)
    alone, found = interval(level.mean(axis=1, keepdims=True)), interval(level + shared)
    beside = stats.t.ppf(0.975, 2) * 0.02 / math.sqrt(3)
    assert seeds_variance(level + shared) == pytest.approx(0.02**2 / 3)
    assert found.estimate - found.low == pytest.approx(
        math.hypot(alone.estimate - alone.low, beside)
    )
    assert math.isnan(seeds_variance(values[:, :1]))
    assert math.isnan(seeds_variance(values[:1]))


def test_bootstrap_is_the_same_each_time() -> None:
    values = normal(rng(), 40, 3)
    means = values.mean(axis=1)
    assert bootstrap_interval(means) == bootstrap_interval(means)
    assert bootstrap_interval(means, seed=1) != bootstrap_interval(means)
    assert interval(values).method == "BCa"
    assert interval(values[:19]).method == "t"


@pytest.mark.parametrize("values", [np.full((25, 3), 0.7), np.eye(25) + 0.5])
def test_bootstrap_of_values_without_spread(values: Array) -> None:
    found = bootstrap_interval(values.mean(axis=1))
    assert found.low <= found.estimate <= found.high
    assert np.isfinite([found.low, found.high]).all()


@pytest.mark.parametrize(("count", "n"), [(0, 10), (3, 10), (10, 10), (57, 60)])
def test_wilson_is_that_of_statsmodels_and_scipy(count: int, n: int) -> None:
    found = wilson(count, n)
    theirs = proportion_confint(count, n, method="wilson")
    assert (found.low, found.high) == pytest.approx(theirs, abs=1e-12)
    scipys = stats.binomtest(count, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx(tuple(scipys), abs=1e-9)


def test_difference_of_rates_is_that_of_statsmodels() -> None:
    found = rate_difference(wilson(9, 10), wilson(3, 10))
    theirs = confint_proportions_2indep(9, 10, 3, 10, method="newcomb")
    assert (found.low, found.high) == pytest.approx(theirs, abs=1e-12)
    assert 0 not in found


def covered(draw: Population, units: int, seeds: int, times: int) -> float:
    source = rng(units)
    return float(np.mean([TRUTH in interval(draw(source, units, seeds)) for _ in range(times)]))


@pytest.mark.parametrize("draw", [normal, restless, mixed])
@pytest.mark.parametrize("units", [6, 20, 100])
def test_coverage_at_a_glance(units: int, draw: Population) -> None:
    assert covered(draw, units, 3, 200) >= 0.91


@pytest.mark.slow
@pytest.mark.parametrize(
    ("units", "seeds", "draw"), [*product([6, 20, 100], [1, 3, 5], [normal, skewed])]
)
def test_coverage(units: int, seeds: int, draw: Population) -> None:
    assert 0.92 <= covered(draw, units, seeds, 1_000) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(
    ("units", "seeds", "draw"), [*product([6, 20, 100], [2, 3, 5], [restless, mixed])]
)
def test_trainings_that_differ_make_intervals_wide_rather_than_narrow(
    units: int, seeds: int, draw: Population
) -> None:
    assert covered(draw, units, seeds, 1_000) >= 0.935


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("draw", [restless, mixed])
def test_a_corrected_p_is_as_rare_as_it_says(draw: Population, seeds: int) -> None:
    """Of two equal rows; 12 contrasts share an error of 5 %, so that one has 0.4 %."""
    source = rng(seeds)
    found = [crossed_p(draw(source, 100, seeds) - TRUTH)[1] for _ in range(400)]
    assert np.mean(np.array(found) < 0.05) <= 0.08
    assert np.mean(np.array(found) < 0.05 / 12) <= 0.0125


# --- tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 9, 15])
def test_sign_flips_are_those_of_scipy(n: int) -> None:
    values = rng(n).normal(0.4, 1, size=n).round(2)
    theirs = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    name, p = paired_p(values)
    assert name == "sign flips"
    assert p == pytest.approx(theirs.pvalue)


def test_many_units_are_tested_by_ranks() -> None:
    values = rng().normal(0.2, 1, size=40)
    assert paired_p(values) == ("Wilcoxon", pytest.approx(stats.wilcoxon(values).pvalue))
    assert paired_p(np.zeros(40)) == ("Wilcoxon", 1.0)
    assert paired_p(np.zeros(4)) == ("sign flips", 1.0)
    tied = np.repeat([0.0, 0.01, 0.02], 10)
    assert paired_p(tied)[1] < 0.001


def test_holm_is_that_of_statsmodels() -> None:
    p = rng().uniform(0, 0.2, size=12)
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert holm([0.9, 0.8]).tolist() == [1, 1]


@pytest.mark.parametrize("mean", [0.0, 0.003, -0.006])
def test_equality_is_that_of_statsmodels(mean: float) -> None:
    values = mean + 0.004 * rng().normal(size=12)
    theirs = DescrStatsW(values).ttost_mean(-0.005, 0.005)[0]
    assert equality_p(values[:, None]) == pytest.approx(theirs)


@pytest.mark.parametrize("units", [6, 40])
def test_the_level_of_a_tail_is_that_of_its_bound(units: int) -> None:
    """At 2.5 % the bound lies where the interval of few units ends."""
    values = 0.03 * rng(units).normal(size=(units, 3)) + np.array([0.0, 0.02, 0.05])
    of_units = t_interval(values.mean(axis=1))
    beside = stats.t.ppf(0.975, 2) * values.mean(axis=0).std(ddof=1) / math.sqrt(3)
    half = math.hypot(of_units.high - of_units.estimate, beside)
    assert tail_p(values, half) == pytest.approx(0.025)
    assert tail_p(values, -half) == pytest.approx(0.975)
    assert tail_p(values, 0) == 0.5
    assert tail_p(values, 1e9) < 1e-9


def test_equality_without_spread() -> None:
    assert equality_p(np.array([[0.001]])) == 1, "one unit says nothing"
    assert equality_p(np.full((5, 1), 0.001)) == 0
    assert equality_p(np.full((5, 1), 0.02)) == 1
    assert equality_p(np.full((5, 2), [-0.02, 0.02])) > 0.3, "trainings differ"


def test_power_is_that_of_statsmodels() -> None:
    for n, size in product([3, 6, 35], [0.005, -0.01, 0.03]):
        theirs = TTestPower().power(size / 0.02, n, 0.05)
        assert power(n, 0.02, size) == pytest.approx(theirs, abs=1e-9)
    for size in (0.002, 0.005, 0.01, 0.03):
        theirs = TTestPower().solve_power(size / 0.02, power=0.8, alpha=0.05)
        assert units_needed(0.02, size) == math.ceil(theirs)


def test_units_needed_at_the_ends() -> None:
    assert units_needed(0.001, 1.0) <= 3
    assert units_needed(1.0, 1e-4) > 100_000
    with pytest.raises(ValueError, match="above 0"):
        units_needed(0.02, 0.0)


def test_power_comes_true() -> None:
    """34 units show a difference of half an SD four times out of five."""
    samples = rng().normal(0.5, 1, size=(4_000, 34))
    p = stats.ttest_1samp(samples, 0, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.03)


# --- frames -----------------------------------------------------------------------------------


def autoregression(rho: float, n: int, source: np.random.Generator) -> Array:
    x = source.normal(size=n)
    for i in range(1, n):
        x[i] = rho * x[i - 1] + math.sqrt(1 - rho**2) * x[i]
    return x


@pytest.mark.parametrize(("rho", "wanted"), [(0.8, 11), (0.9, 5), (0.95, 2.6), (0, 100), (1, 1)])
def test_effective_frames_of_the_protocol(rho: float, wanted: float) -> None:
    assert effective_count(100, rho) == pytest.approx(wanted, rel=0.06)
    assert effective_count(100, -0.5) == effective_count(100, -1) == 100


def test_effective_frames_are_what_a_mean_varies_by() -> None:
    source = rng()
    means = [autoregression(0.8, 1_000, source).mean() for _ in range(400)]
    assert 1 / np.var(means) == pytest.approx(effective_count(1_000, 0.8), rel=0.2)


def test_lag_one_is_corrected_for_its_bias() -> None:
    source = rng()
    series = [autoregression(0.8, 50, source) for _ in range(200)]
    plain = np.mean([acf(x, nlags=1)[1] for x in series])
    corrected = np.mean([lag_one(x) for x in series])
    assert plain < 0.76
    assert corrected == pytest.approx(0.8, abs=0.03)
    expected = acf(series[0], nlags=1)[1]
    assert lag_one(series[0]) == pytest.approx(expected + (1 + 4 * expected) / 50)
    assert lag_one([0.5] * 10) == 1


# --- contrasts and words ----------------------------------------------------------------------


def test_a_contrast_holds_all_numbers() -> None:
    gaps = np.array([0.02, 0.01, 0.03, 0.02, 0.01, 0.04])[:, None] + np.array([-0.001, 0.001])
    found = paired(gaps)
    assert found.difference.estimate == pytest.approx(0.13 / 6)
    assert (found.units, found.seeds, found.test) == (6, 2, "sign flips")
    assert found.error_seeds == pytest.approx(0.001)
    assert found.sd_units == pytest.approx(np.std(gaps.mean(1), ddof=1))
    assert found.sd_seeds == pytest.approx(math.sqrt(2) * 0.001)
    assert found.p == found.p_holm == pytest.approx(2 * tail_p(gaps, 0.13 / 6))
    assert found.p > 2 / 64, "that of the flips alone"
    assert found.units_needed == units_needed(found.sd_units, 0.13 / 6)
    assert verdict(found) == "higher"
    assert verdict(paired(-gaps)) == "lower"


def test_trainings_that_differ_leave_a_contrast_open() -> None:
    """Every unit is higher; the two trainings are not alike, and two are few."""
    units = 0.05 + 0.01 * rng().normal(size=(40, 1))
    found = paired(units + np.array([-0.04, 0.04]))
    assert stats.wilcoxon(units.ravel()).pvalue < 0.001 < 0.05 < found.p
    assert verdict(found) == "open"
    said = conclude(found, "A", "B", "image")
    assert "the trainings differ more than the units do: more of them are needed" in said
    assert "images would be" not in said
    many = paired(units + np.resize([-0.04, 0.04], 20))
    assert verdict(many) == "higher", "with trainings enough it is told"


def test_one_training_each_is_not_judged() -> None:
    found = paired(np.array([[0.02], [0.01], [0.03], [0.02], [0.01], [0.04]]))
    assert verdict(found) == "one training"
    assert conclude(found, "A", "B").startswith("A minus B: +0.0217 (")
    assert "one training each. One training of a row decides nothing" in conclude(found, "A", "B")


def test_a_family_shares_its_errors() -> None:
    one = paired(np.array([[0.02], [0.01], [0.03], [0.02], [0.01], [0.04]]) * [1, 1])
    both = family({"a": one, "b": one}, planned=2)
    assert both["a"].p_holm == both["b"].p_holm == 4 / 64
    assert both["a"].family == 2
    assert verdict(both["a"]) == "open"
    assert "p = 0.062 after Holm" in conclude(both["a"], "A", "B")
    in_part = family({"a": one, "b": one}, planned=5)
    assert in_part["a"].p_holm == 5 * 2 / 64, "what was planned and not tested counts"


def test_a_pair_with_one_training_takes_no_step_of_holm() -> None:
    judged = paired(np.array([[0.02], [0.01], [0.03], [0.02], [0.01], [0.04]]) * [1, 1])
    alone = paired(np.linspace(0.1, 0.2, 14)[:, None])
    assert alone.p < judged.p
    both = family({"judged": judged, "alone": alone}, planned=2)
    assert both["judged"].p_holm == 2 * judged.p
    assert both["alone"].p_holm == 1


def test_rows_that_are_the_same_everywhere_have_a_p_of_one() -> None:
    assert paired(np.zeros((6, 3))).p == 1


def test_words_follow_from_numbers() -> None:
    values = np.array([[0.03], [-0.02], [0.01], [0.02], [-0.01], [0.01]]) * [1, 1]
    found = paired(values)
    wanted = about(units_needed(float(values[:, 0].std(ddof=1)), float(values.mean())))
    said = conclude(found, "Frozen", "not frozen")
    assert said.startswith("Frozen and not frozen are not distinguishable with 6 recordings (")
    assert f"{wanted} would be needed" in said
    assert said.endswith("Descriptive: fewer than 10 recordings decide nothing.")
    assert "no test can reach" not in said
    assert "One training" not in said
    assert "With 5 recordings no test can reach p < 0.05." in conclude(paired(values[:5]), "A", "B")


def test_words_for_a_difference_and_for_none() -> None:
    spread = 0.01 * rng().normal(size=(40, 3))
    sure = paired(0.03 + spread - spread.mean(axis=0))
    assert conclude(sure, "ImageNet", "random", "image").startswith(
        "ImageNet is higher than random"
    )
    assert "40 images, p < 0.001" in conclude(sure, "ImageNet", "random", "image")
    assert "needed" not in conclude(sure, "ImageNet", "random", "image")
    same = paired(0.001 * rng().normal(size=(12, 3)))
    assert "are equal to within 0.005" in conclude(same, "Focal", "BCE")
    small = paired(0.002 + 0.0002 * rng().normal(size=(12, 3)))
    assert conclude(small, "A", "B").endswith(", by less than 0.005.")
    lower = conclude(paired(-0.03 + 0.01 * rng().normal(size=(40, 3))), "A", "B")
    assert lower.startswith("A is lower than B")


def test_words_for_one_unit_and_for_no_difference() -> None:
    one = conclude(paired(np.array([[0.01, 0.02]])), "A", "B")
    assert one == "A against B: +0.0150 in one recording, which says nothing of others."
    none = paired(np.zeros((6, 2)))
    assert none.units_needed is None
    assert verdict(none) == "equal"


def test_words_for_rates_and_intervals() -> None:
    assert say_rate(wilson(3, 10), "runs collapsed") == (
        "3 of 10 runs collapsed (30 %, 95 % interval 11 to 60 %)"
    )
    assert say_interval(t_interval(np.array([0.5]))) == "0.5000 (one unit: no interval)"
