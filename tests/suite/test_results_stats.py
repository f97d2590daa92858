"""The bootstrap, the tests between two models, the correction for many tests, and averages over tasks."""

import math

import numpy as np
import pytest
from scipy import stats

from lra_hgrn.results.averages import average
from lra_hgrn.results.paired import MCNEMAR, WELCH, compare, holm, mcnemar, welch
from lra_hgrn.results.stats import bootstrap, summarise


def made_up(generator, seeds: int, samples: int, *, spread: float, easiness=0.0) -> np.ndarray:
    """Whether each seed, of its own skill, is right on each sample, of its own difficulty: (seeds, samples)."""
    skills = 1 + spread * generator.normal(size=(seeds, 1))
    return generator.normal(size=(seeds, samples)) < skills + easiness


def test_bootstrap_of_one_seed_is_the_binomial_distribution():
    correct = np.arange(500)[None] < 400
    low, high = bootstrap(correct)
    assert (500 * low, 500 * high) == pytest.approx(stats.binom(500, 0.8).ppf([0.025, 0.975]), abs=1)


@pytest.mark.parametrize(("seeds", "samples"), [(2, 40), (4, 60), (11, 30)])
def test_bootstrap_draws_seeds_and_samples_one_by_one(seeds, samples):
    generator = np.random.default_rng(1)
    correct = made_up(generator, seeds, samples, spread=0.3, easiness=generator.normal(size=samples))
    rows = generator.integers(seeds, size=(4000, seeds, 1))
    columns = generator.integers(samples, size=(4000, 1, samples))
    expected = np.quantile(correct[rows, columns].mean(axis=(1, 2)), [0.025, 0.975])
    assert bootstrap(correct) == pytest.approx(expected, abs=0.012)


def test_bootstrap_repeats_itself_and_refuses_what_is_no_matrix():
    correct = made_up(np.random.default_rng(2), 5, 2000, spread=0.2)
    assert bootstrap(correct) == bootstrap(correct)
    assert bootstrap(correct, seed=1) != bootstrap(correct)
    for shape in ((100,), (0, 100), (3, 0)):
        with pytest.raises(ValueError, match="not \\(seeds, samples\\)"):
            bootstrap(np.zeros(shape, bool))


def test_summary_has_the_bootstrap_beside_the_printed_interval():
    correct = made_up(np.random.default_rng(3), 3, 400, spread=0.2)
    scores = [(int(row.sum()), 400) for row in correct]
    with_predictions, without = summarise(scores, correct), summarise(scores)
    assert (with_predictions.bootstrap_low, with_predictions.bootstrap_high) == bootstrap(correct)
    assert (without.bootstrap_low, without.bootstrap_high) == (None, None)
    assert (with_predictions.low, with_predictions.high) == (without.low, without.high)
    assert summarise(scores[:1], correct[:1]).bootstrap_low is not None
    for other in (correct[:2], correct[:, :399], ~correct):
        with pytest.raises(ValueError, match="does not hold the scores"):
            summarise(scores, other)


def runs_with(only_first: int, only_second: int, both: int = 30, neither: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Two runs, by the number of samples that they got right."""
    counts = [only_first, only_second, both, neither]
    return np.repeat([True, False, True, False], counts), np.repeat([False, True, True, False], counts)


@pytest.mark.parametrize(
    ("only_first", "only_second", "p"),
    # statsmodels 0.15.0, statsmodels.stats.contingency_tables.mcnemar(table, exact=True).pvalue
    [
        (1, 7, 0.0703125),
        (25, 12, 0.04703102743951604),
        (6, 16, 0.052478790283203125),
        (310, 402, 0.0006386695000365648),
        (10, 10, 1.0),
        (0, 0, 1.0),  # no sample tells the runs apart
    ],
)
def test_mcnemar_against_statsmodels(only_first, only_second, p):
    test = mcnemar(*runs_with(only_first, only_second))
    assert test.p == pytest.approx(p, rel=1e-12)
    assert test.difference == (only_first - only_second) / (only_first + only_second + 50)
    assert test.method == MCNEMAR


def test_interval_of_two_runs_is_bonett_and_prices():
    a, b, n = 1, 7, 21
    p12, p21 = (a + 1) / (n + 2), (b + 1) / (n + 2)
    half = 1.959964 * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / (n + 2))
    test = mcnemar(*runs_with(a, b, both=1, neither=12))
    assert (test.low, test.high) == pytest.approx((p12 - p21 - half, p12 - p21 + half), abs=1e-6)


def test_welch_of_a_large_test_split_is_welch_over_seeds():
    shares = [0.70, 0.74, 0.81, 0.77], [0.66, 0.61, 0.70]
    order = np.random.default_rng(4).permuted(np.tile(np.arange(200_000), (7, 1)), axis=1) / 200_000
    first, second = order[:4] < np.array(shares[0])[:, None], order[4:] < np.array(shares[1])[:, None]
    test, expected = welch(first, second), stats.ttest_ind(*shares, equal_var=False)
    interval = expected.confidence_interval()
    assert test.p == pytest.approx(expected.pvalue, rel=0.02)
    assert (test.low, test.high) == pytest.approx((interval.low, interval.high), rel=0.01)
    assert test.difference == pytest.approx(0.755 - 1.97 / 3)
    assert test.method == WELCH


def test_welch_of_agreeing_seeds_is_the_paired_test_over_samples():
    first, second = runs_with(310, 250, both=3000, neither=2000)
    test = welch(np.tile(first, (3, 1)), np.tile(second, (2, 1)))
    expected = stats.ttest_rel(first.astype(float), second)
    assert test.p == pytest.approx(expected.pvalue, rel=0.02)
    assert test.high - test.low == pytest.approx(np.diff(expected.confidence_interval())[0], rel=0.005)


def test_a_single_seed_is_taken_to_be_as_noisy_as_the_others():
    shares = np.array([0.80, 0.70, 0.74, 0.68, 0.72])
    correct = np.random.default_rng(5).permuted(np.tile(np.arange(200_000), (5, 1)), axis=1) / 200_000 < shares[:, None]
    expected = stats.t(3).sf((0.8 - 0.71) / (shares[1:].std(ddof=1) * math.sqrt(1 + 1 / 4))) * 2
    assert welch(correct[:1], correct[1:]).p == pytest.approx(expected, rel=0.01)
    assert welch(correct[1:], correct[:1]).p == pytest.approx(expected, rel=0.01)


def test_seeds_choose_the_test_and_extremes_stay_finite():
    right, wrong = np.ones((2, 50), bool), np.zeros((2, 50), bool)
    assert compare(right[:1], wrong[:1]).method == MCNEMAR
    assert compare(right, wrong[:1]).method == WELCH
    equal, apart = compare(right, right), compare(right, wrong)
    assert (equal.difference, equal.p) == (0, 1)
    assert equal.low < 0 < equal.high
    assert 0.8 < apart.low < apart.high == 1
    assert apart.p < 1e-6
    for other in (right[:, :49], right[0], right[:0]):
        with pytest.raises(ValueError, match="not \\(seeds, samples\\) of the same samples"):
            compare(right, other)


def test_welch_seldom_finds_a_difference_that_is_not_there():
    generator = np.random.default_rng(6)
    pairs = [[made_up(generator, 3, 400, spread=0.2) for _ in "ab"] for _ in range(400)]
    assert np.mean([welch(first, second).p < 0.05 for first, second in pairs]) < 0.08


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    # statsmodels 0.15.0, statsmodels.stats.multitest.multipletests(p_values, method="holm")[1]
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.2, 0.001, 0.001, 0.9, 0.04, 0.012], [0.4, 0.006, 0.006, 0.9, 0.12, 0.048]),
        ([0.6, 0.7], [1, 1]),
        ([], []),
    ],
)
def test_holm_against_statsmodels(p_values, adjusted):
    assert holm(p_values) == pytest.approx(adjusted)


CHANCE = {"listops": 0.1, "text": 0.5, "retrieval": 0.5, "image": 0.1, "pathfinder": 0.5, "pathx": 0.5}


def results_of(*accuracies: float) -> dict:
    """Results of the tasks in the order of papers, Path-X failed."""
    return {task: (a / 100, "done") for task, a in zip(CHANCE, accuracies, strict=False)} | {"pathx": (0.5, "failed")}


@pytest.mark.parametrize(
    ("accuracies", "convention", "printed"),
    [
        ((36.37, 64.27, 57.46, 42.44, 71.40), "left_out", 54.39),  # Transformer, Tay et al. 2021, table 1
        ((36.37, 64.27, 57.46, 42.44, 71.40), "as_chance", 53.66),  # the same row in Gu et al. 2022, table 10
        ((35.33, 65.11, 59.61, 38.67, 77.80), "as_chance", 54.42),  # FNet, the same table
        ((38.37, 61.95, 80.69, 40.57, 65.26), "as_zero", 47.81),  # Transformer, Qin et al. 2023 (HGRN)
        ((59.30, 82.40, 86.00, 81.20, 81.30), "as_zero", 65.03),  # DSS-exp-no-scale, the same table
    ],
)
def test_averages_are_those_of_published_tables(accuracies, convention, printed):
    averages = average(results_of(*accuracies), CHANCE)
    assert 100 * getattr(averages, convention) == pytest.approx(printed, abs=0.0051)
    assert (averages.cells, averages.failed) == (6, 1)


def test_a_missing_cell_leaves_no_average_unless_asked_for():
    results = results_of(60, 80, 90, 70) | {"pathfinder": (None, "missing")}
    whole, partial = average(results, CHANCE), average(results, CHANCE, partial=True)
    assert (whole.left_out, whole.as_chance, whole.as_zero) == (None, None, None)
    assert (partial.left_out, partial.as_chance, partial.as_zero) == pytest.approx((0.75, 0.7, 0.6))
    assert (partial.cells, partial.failed) == (5, 1)
    assert average({"text": (None, "missing")}, {}, partial=True).as_zero is None


def test_averages_where_everything_failed_or_chance_is_unknown():
    all_failed = average({"text": (None, "failed"), "pathx": (0.51, "failed")}, CHANCE)
    assert (all_failed.left_out, all_failed.as_chance, all_failed.as_zero) == (None, 0.5, 0)
    unknown = average({"text": (0.8, "done"), "mine": (None, "failed")}, {"mine": None})
    assert (unknown.left_out, unknown.as_chance, unknown.as_zero) == (0.8, None, 0.4)
    with pytest.raises(ValueError, match="text is done, but has no accuracy"):
        average({"text": (None, "done")}, {})
