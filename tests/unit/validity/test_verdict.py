import dataclasses
import math
import re

import numpy as np
import pytest
from made_up_studies import counted_study, rows_of, same_users_study, spread_rates, study
from scipy import stats

from advsim.rates.outcomes import Tally, tally
from advsim.validity.agreement import Comparison
from advsim.validity.ceiling import split_half_ceiling
from advsim.validity.coefficients import concordance, corrected_interval, deming_slope, pearson
from advsim.validity.paired_rates import configuration_rates
from advsim.validity.verdict import ValidityVerdict, predictive_validity

RATES = spread_rates(20)


def never_nan(value):
    """Whether a result holds no NaN and no infinity anywhere."""
    if isinstance(value, float):
        return math.isfinite(value)
    if dataclasses.is_dataclass(value):
        return all(never_nan(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, tuple):
        return all(never_nan(item) for item in value)
    return True


def test_coefficients_are_those_of_scipy_for_one_sample_and_for_many_at_once():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 8, size=(2, 30, 12)) / 10  # with ties
    expected = [stats.pearsonr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert pearson(x, y) == pytest.approx(expected)
    assert float(pearson(x[0], y[0])) == pytest.approx(expected[0])
    assert np.isnan(pearson(x[:, :2], np.zeros((30, 2)))).all()


def test_rank_coefficients_are_those_of_the_rates_and_have_no_interval():
    rates, others = spread_rates(12), spread_rates(12, seed=6)
    found = predictive_validity(study(rates, seed=1), study(others, seed=2), num_bootstrap=20, num_splits=2)
    x, y = np.array([(pair.simulated.estimate, pair.real.estimate) for pair in found.pairs]).T
    order = np.sign(x[:, None] - x) * np.sign(y[:, None] - y)
    untied = [np.sum(np.triu(side[:, None] != side, 1)) for side in (x, y)]
    assert found.kendall.estimate == pytest.approx(np.triu(order, 1).sum() / np.sqrt(untied[0] * untied[1]))
    assert found.spearman.estimate == pytest.approx(np.corrcoef(stats.rankdata(x), stats.rankdata(y))[0, 1])
    assert found.kendall.intervals == found.spearman.intervals == ()


def test_concordance_is_pearson_times_the_bias_factor_of_lin():
    x, y = np.random.default_rng(1).normal(size=(2, 15))
    y = x + 0.3 * y + 0.5
    sx, sy, shift = x.std(ddof=1), y.std(ddof=1), x.mean() - y.mean()
    bias = 2 / (sx / sy + sy / sx + shift**2 / (sx * sy))
    assert float(concordance(x, y)) == pytest.approx(stats.pearsonr(x, y).statistic * bias)
    assert float(concordance(x, x)) == pytest.approx(1)
    assert float(concordance(x, x + 1)) < float(pearson(x, x + 1)) == pytest.approx(1)


def test_deming_slope_with_equal_noise_is_the_first_principal_axis():
    x, y = np.random.default_rng(2).normal(size=(2, 40))
    y = 2 * x + 0.3 * y
    _, vectors = np.linalg.eigh(np.cov(x, y))
    assert float(deming_slope(1.0)(x, y)) == pytest.approx(vectors[1, -1] / vectors[0, -1])
    assert float(deming_slope(1e9)(x, y)) == pytest.approx(stats.linregress(x, y).slope, rel=1e-4)


def test_a_simulator_equal_to_the_population_is_supported_reaches_the_ceiling_and_has_a_slope_of_one():
    found = predictive_validity(study(RATES, seed=1), study(RATES, seed=2), num_bootstrap=300)
    assert found.verdict is ValidityVerdict.SUPPORTED and found.sentence.startswith("Supported: r = ")
    assert found.pearson.estimate >= found.ceiling.pearson - 0.1
    assert found.pearson.intervals[0].high == 1 == found.concordance.intervals[0].high
    assert found.deming_slope.intervals[0].low < 1 < found.deming_slope.intervals[0].high
    assert (found.num_configurations, found.num_simulated_dialogues, found.num_real_dialogues) == (20, 800, 800)
    given = (found.pearson, found.concordance, found.deming_slope, found.mean_difference)
    methods = [interval.method for agreement in given for interval in agreement.intervals]
    assert methods == ["disattenuated", "disattenuated", "jackknife", "student_t"]  # only what holds for noisy rates
    assert never_nan(found)


def test_a_reversed_simulator_is_not_supported_and_few_configurations_are_not_enough_evidence():
    reversed_ = predictive_validity(study(RATES.max() + 0.02 - RATES, seed=1), study(RATES, seed=2), num_bootstrap=100)
    assert reversed_.verdict is ValidityVerdict.NOT_SUPPORTED
    related = 0.6 * RATES[:6] + 0.4 * np.roll(RATES[:6], 1)
    few = predictive_validity(study(related, seed=1), study(RATES[:6], seed=2), num_bootstrap=100)
    assert few.verdict is ValidityVerdict.NOT_ENOUGH_EVIDENCE
    assert "which includes 0.50" in few.sentence and "over 6 configurations" in few.sentence


def test_bias_lowers_concordance_and_not_correlation():
    biased = predictive_validity(study(RATES / 2, seed=1), study(RATES, seed=2), num_bootstrap=300)
    assert biased.pearson.disattenuated > 0.9 > 0.75 > biased.concordance.disattenuated
    assert biased.deming_slope.estimate > 1.5


def drawn_comparison(correlation, *, seed, num_messages=6):
    """Simulated and real rates of 20 configurations whose true rates have that correlation in their population."""
    rng = np.random.default_rng(seed)
    true = 0.15 + 0.05 * rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=20).clip(-2.5, 2.5)
    x, y = (counted_study(true[:, i], rng=rng, num_messages=num_messages) for i in range(2))
    return Comparison(x=x, y=y)


def test_correlation_without_noise_is_unbiased_where_the_observed_one_is_too_low():
    found = [drawn_comparison(0.8, seed=seed, num_messages=4).pearson() for seed in range(100)]
    assert np.mean([agreement.estimate for agreement in found]) < 0.7
    corrected = [agreement.disattenuated for agreement in found if agreement.disattenuated is not None]
    assert len(corrected) >= 95 and np.mean(corrected) == pytest.approx(0.79, abs=0.05)


def test_interval_without_noise_covers_the_true_correlation():
    truth, num, covered = 0.85, 100, 0
    for seed in range(num):
        (interval,) = drawn_comparison(truth, seed=seed).pearson().intervals
        covered += interval.low is not None and interval.low <= truth <= interval.high
    assert covered >= 0.89 * num


def test_interval_without_noise_is_never_upside_down():
    x = np.linspace(0.1, 0.4, 20)
    y = x + np.tile([0.004, -0.004], 10)
    for sign in (1, -1):
        observed = float(pearson(x, sign * y))
        found = corrected_interval(pearson, x, sign * y, correction=1.1)
        assert -1 <= found.low < found.high <= 1
        assert min(abs(found.low), abs(found.high)) == pytest.approx(abs(observed))


def test_ceiling_is_the_correlation_of_two_independent_real_studies():
    ceilings, between = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        one, other = (counted_study(RATES, rng=rng) for _ in range(2))
        ceilings.append(split_half_ceiling(one, num_splits=20, num_bootstrap=1, rng=rng).pearson)
        between.append(float(pearson(one.rates, other.rates)))
    assert np.mean(ceilings) == pytest.approx(np.mean(between), abs=0.03)
    assert 0.8 < np.mean(ceilings) < 0.98


def same_users_rates(correlation, *, seed, num_configurations=14):
    """Simulated and real rates, each side over one set of users that all configurations meet."""
    rng = np.random.default_rng(seed)
    true = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], size=num_configurations)
    true = 0.3 + 0.1 * true.clip(-2.5, 2.5)
    return tuple(same_users_study(true[:, i], rng=rng, within=0.5) for i in range(2))


def test_covariances_are_those_of_the_jackknife_over_users_of_very_unlike_sizes():
    """Two chatbots that met the same users, of whom one wrote most of the messages."""
    failing = np.array([[30, 1, 0, 2, 1, 0], [12, 0, 1, 2, 2, 1]], dtype=float)
    judged = np.array([60, 3, 5, 4, 3, 6], dtype=float)
    users = tuple(("user", str(i)) for i in range(6))
    found = configuration_rates(
        [Tally(failing=row, judged=judged, num_dialogues=6, num_not_judged=0, clusters=users) for row in failing]
    )
    without = np.array([[np.delete(row, i).sum() / np.delete(judged, i).sum() for i in range(6)] for row in failing])
    moved = without - found.rates[:, None]
    assert found.covariances == pytest.approx(5 / 6 * moved @ moved.T)


def test_what_all_configurations_share_through_their_users_is_no_noise_between_them():
    known, taken_as_own = [], []
    for seed in range(150):
        x, y = same_users_rates(0.8, seed=seed)
        known.append(Comparison(x=x, y=y).pearson().disattenuated)
        assert x.noise < x.variances.mean() - 0.3 * x.common_noise  # much of the variance is common
        apart = 1 - x.variances.mean() / x.rates.var(ddof=1), 1 - y.variances.mean() / y.rates.var(ddof=1)
        taken_as_own.append(float(pearson(x.rates, y.rates)) / np.sqrt(max(0.1, apart[0]) * max(0.1, apart[1])))
    assert np.mean([r for r in known if r is not None]) == pytest.approx(0.79, abs=0.04)
    assert np.mean(taken_as_own) > 0.88


def test_shared_users_are_halved_once_for_all_configurations():
    same = rows_of("a", [(i % 3 == 0, 1) for i in range(12)], user_of=str)
    rates = configuration_rates([tally(same)] * 3)
    for half in rates.halves(20, np.random.default_rng(0)):
        assert (half == half[:, :1]).all() and len(set(half[:, 0])) > 1
    assert rates.noise == pytest.approx(0) and rates.common_noise == pytest.approx(rates.variances.mean())


def test_users_of_one_configuration_and_shared_ones_count_together():
    one = rows_of("a", [(1, 2), (0, 4), (1, 1)], user_of=lambda i: f"u{i}")
    other = rows_of("b", [(0, 3), (2, 2)], user_of=lambda i: f"u{i + 1}", prefix="e")
    rates = configuration_rates([tally(one), tally(other)])
    assert rates.shared.judged.tolist() == [[4, 1], [3, 2]] and rates.own.judged.tolist() == [[2], [0]]
    assert rates.rates.tolist() == pytest.approx([2 / 7, 2 / 5])
    for first, second in zip(*rates.halves(8, np.random.default_rng(1)), strict=True):
        # One shared user and no own one (of a single) fall into the first half, the others into the second.
        assert {(first[0], second[0]), (first[1], second[1])} in (
            {(0, 2 / 3), (0, 1)},
            {(1, 1 / 6), (1, 0)},
        )


def test_interval_of_concordance_carries_the_shift_that_shared_users_bring():
    x = np.linspace(0.1, 0.4, 12)
    y = x + 0.03 + 0.01 * np.tile([1, -1], 6)
    plain, shifted = (corrected_interval(concordance, x, y, correction=1.0, shift=shift) for shift in (0.0, 0.02))
    assert shifted.low < plain.low and shifted.high > plain.high
    wide, wider = (corrected_interval(concordance, x, y, correction=1.0, shift=shift) for shift in (0.2, 0.4))
    assert wide.high == wider.high and wide.low > wider.low  # no shift brings the rates nearer than to equal means
    unmoved = corrected_interval(pearson, x, y, correction=1.0, shift=0.02)  # r sees no shift
    assert (unmoved.low, unmoved.high) == pytest.approx(
        dataclasses.astuple(corrected_interval(pearson, x, y, correction=1.0))[1:3]
    )
    same, other = same_users_rates(0.8, seed=3)
    found = Comparison(x=same, y=other).concordance()
    assert same.common_noise + other.common_noise > 0
    alone = corrected_interval(concordance, same.rates, other.rates, correction=found.disattenuated / found.estimate)
    assert found.intervals[0].low < alone.low


def test_a_mean_difference_that_shared_users_explain_does_not_lower_the_corrected_concordance():
    same, other = same_users_rates(0.8, seed=3)
    x = np.linspace(0.1, 0.4, 14)
    y = 0.28 + 0.8 * (x - 0.25)  # 3 points higher, where common noise alone has a standard error of 3.2
    covariances = np.full((14, 14), 0.0005) + 0.0001 * np.eye(14)
    sides = (dataclasses.replace(side, rates=r, covariances=covariances) for side, r in ((same, x), (other, y)))
    found = Comparison(**dict(zip("xy", sides, strict=True))).concordance()
    var_x, var_y, cov = x.var(ddof=1), y.var(ddof=1), np.cov(x, y)[0, 1]
    assert found.estimate == pytest.approx(2 * cov / (var_x + var_y + 0.03**2))
    assert found.disattenuated == pytest.approx(2 * cov / (var_x + var_y - 2 * 0.0001))


def test_ceiling_over_the_same_users_is_the_correlation_of_two_such_studies():
    ceilings, between = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        one, other = (same_users_study(RATES + 0.2, rng=rng, num_messages=3) for _ in range(2))
        ceilings.append(split_half_ceiling(one, num_splits=20, num_bootstrap=1, rng=rng).pearson)
        between.append(float(pearson(one.rates, other.rates)))
    assert np.mean(ceilings) == pytest.approx(np.mean(between), abs=0.03)


def test_one_configuration_has_no_correlation_and_the_result_says_so():
    found = predictive_validity(study([0.1], seed=1), study([0.1], seed=2))
    assert found.pearson.estimate is None and found.verdict is ValidityVerdict.NOT_ENOUGH_EVIDENCE
    assert "undefined for 1 configuration" in found.sentence
    assert found.pairs[0].real.estimate is not None
    assert never_nan(found)


@pytest.mark.parametrize(
    ("simulated", "real", "reason"),
    [
        ([], [], "undefined for 0 configurations"),
        ([0.1, 0.2], [0.1, 0.2], "two configurations"),
        ([0] * 8, RATES[:8], "the simulated rates are the same"),
        ([0] * 8, [0] * 8, "the simulated and the real rates are the same"),
        ([1] * 8, [1] * 8, "the simulated and the real rates are the same"),
    ],
)
def test_where_agreement_is_undefined_the_result_is_none_with_the_reason(simulated, real, reason):
    found = predictive_validity(study(simulated, seed=1), study(real, seed=2), num_bootstrap=50, num_splits=5)
    for agreement in (found.pearson, found.spearman, found.kendall, found.concordance, found.deming_slope):
        assert agreement.estimate is None and reason in agreement.reason
        assert all(interval.low is None and reason in interval.reason for interval in agreement.intervals)
    assert never_nan(found)


def test_identical_files_on_both_sides_agree_fully():
    same = study(RATES, seed=1)
    found = predictive_validity(same, same, num_bootstrap=100, num_splits=20)
    assert found.pearson.estimate == found.pearson.disattenuated == found.concordance.estimate == 1
    assert found.deming_slope.estimate == pytest.approx(1)
    assert never_nan(found)


def test_one_dialogue_a_configuration_gives_the_observed_coefficient_without_a_correction():
    one = {"num_dialogues": 1, "num_messages": 30, "within": 0.01}
    found = predictive_validity(study(RATES, seed=1, **one), study(RATES, seed=2, **one), num_bootstrap=50)
    assert found.pearson.estimate is not None and found.pearson.disattenuated is None
    assert "single simulated user or dialogue" in found.sentence
    assert "cannot be halved" in found.ceiling.reason
    assert never_nan(found)


def test_rates_that_differ_by_no_more_than_noise_are_not_corrected():
    found = predictive_validity(study([0.1] * 12, seed=1), study([0.1] * 12, seed=4), num_bootstrap=50)
    assert "hardly more than sampling noise" in found.pearson.reason
    assert found.verdict is ValidityVerdict.NOT_ENOUGH_EVIDENCE and never_nan(found)


@pytest.mark.parametrize("shift, said", [(-1e-4, "all of it above"), (1e-4, "which includes")])
def test_an_interval_that_ends_near_the_least_correlation_is_shown_with_digits_enough(shift, said):
    simulated, real = study(RATES, seed=1), study(RATES, seed=2)
    low = predictive_validity(simulated, real, num_bootstrap=20, num_splits=2).pearson.intervals[0].low
    least = low + shift
    found = predictive_validity(simulated, real, num_bootstrap=20, num_splits=2, min_correlation=least)
    shown = re.search(rf"interval \[(\S+), \S+\].*{said} (\S+)\.$", found.sentence)
    assert shown is not None, found.sentence
    assert (float(shown[1]) > float(shown[2])) == (shift < 0) and shown[1] != shown[2]


def test_one_failing_configuration_among_perfect_ones_is_defined_without_nan():
    rates = [0.3] + [0] * 9
    found = predictive_validity(study(rates, seed=1), study(rates, seed=2), num_bootstrap=200)
    assert found.pearson.estimate == pytest.approx(1)
    assert never_nan(found)


def test_a_configuration_on_one_side_only_is_refused_and_one_without_judged_messages_left_out():
    with pytest.raises(ValueError, match="one side only: c2"):
        predictive_validity(study([0.1, 0.2, 0.3], seed=1), study([0.1, 0.2], seed=1))
    real = study([0.1, 0.2, 0.3], seed=2)
    real["c1"] = [dataclasses.replace(row, error=True) for row in real["c1"]]
    assert predictive_validity(study([0.1, 0.2, 0.3], seed=1), real).left_out == ("c1",)
    with pytest.raises(ValueError, match="min_correlation 1"):
        predictive_validity(real, real, min_correlation=1)


def test_mean_difference_is_that_of_scipy_and_wider_where_users_are_shared():
    simulated, real = study(RATES * 0.5, seed=1), study(RATES, seed=2)
    found = predictive_validity(simulated, real, num_bootstrap=20, num_splits=2)
    pairs = [(pair.simulated.estimate, pair.real.estimate) for pair in found.pairs]
    expected = stats.ttest_rel(*np.array(pairs).T).confidence_interval(0.95)
    interval = found.mean_difference.intervals[0]
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high)) and interval.high < 0
    x = same_users_study(RATES + 0.2, rng=np.random.default_rng(3))
    shared = Comparison(x=x, y=x).mean_difference().intervals[0]
    assert shared.high == pytest.approx(-shared.low)
    assert shared.high == pytest.approx(stats.t.ppf(0.975, 19) * np.sqrt(2 * x.common_noise))
    for rates in ([], [0.1], [0] * 6):
        assert never_nan(predictive_validity(study(rates, seed=1), study(rates, seed=2), num_bootstrap=9, num_splits=2))
