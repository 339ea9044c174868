"""Interval methods that only the lab uses: they are what they are called, and cover as little as is said of them."""

import numpy as np
import pytest
from made_up_studies import counted_study, rows_of
from scipy import stats

from advsim.lab.intervals import fisher_interval, joint_bootstrap, percentile_rate_interval, resampled
from advsim.rates.intervals import rate_interval
from advsim.rates.outcomes import tally
from advsim.validity.agreement import Comparison
from advsim.validity.coefficients import pearson
from advsim.validity.paired_rates import configuration_rates


@pytest.mark.parametrize(("n", "low", "high"), [(10, 0.39, 0.96), (20, 0.59, 0.93)])
def test_plain_interval_of_the_published_correlation_is_as_wide_as_it_should_be_known(n, low, high):
    interval = fisher_interval(0.818, n)
    assert (round(interval.low, 2), round(interval.high, 2)) == (low, high)


def test_plain_interval_is_that_of_scipy():
    x, y = np.random.default_rng(3).normal(size=(2, 12))
    expected = stats.pearsonr(x, y).confidence_interval(0.95)
    interval = fisher_interval(float(pearson(x, y)), 12)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert fisher_interval(0.5, 4).low is None


def test_joint_bootstrap_lies_too_low_where_rates_are_noisy():
    truth, num, covered, above = 0.85, 100, 0, 0
    for seed in range(num):
        rng = np.random.default_rng(seed)
        true = 0.15 + 0.05 * rng.multivariate_normal([0, 0], [[1, truth], [truth, 1]], size=20).clip(-2.5, 2.5)
        x, y = (counted_study(true[:, i], rng=rng) for i in range(2))
        interval, _ = joint_bootstrap(Comparison(x=x, y=y), num_bootstrap=60, rng=rng)
        covered += interval.low <= truth <= interval.high
        above += interval.low > truth
    assert covered < 0.7 * num and above == 0


def test_shared_users_are_drawn_once_for_all_configurations():
    same = rows_of("a", [(i % 3 == 0, 1) for i in range(12)], user_of=str)
    rates = configuration_rates([tally(same)] * 3)
    drawn = resampled(rates, np.tile(np.arange(3), (20, 1)), np.random.default_rng(0))
    assert (drawn == drawn[:, :1]).all() and len(set(drawn[:, 0])) > 3


def test_percentile_interval_of_a_rate_depends_on_the_seed_alone():
    failing, judged = np.array([(1, 6), (0, 3), (2, 5), (0, 6), (0, 4), (3, 6)] * 2, dtype=float).T
    first, again, other = (percentile_rate_interval(failing, judged, num_bootstrap=2000, seed=s) for s in (1, 1, 2))
    assert first == again and first != other
    assert first[0] < failing.sum() / judged.sum() < first[1]
    expected = stats.bootstrap(
        (failing, judged),
        lambda f, n, axis: f.sum(axis) / n.sum(axis),
        paired=True,
        method="percentile",
        rng=np.random.default_rng(3),
    ).confidence_interval
    assert first == pytest.approx((expected.low, expected.high), abs=0.015)


def test_without_spread_or_with_few_clusters_the_lab_compares_nothing_new():
    judged = np.full(12, 4.0)
    assert percentile_rate_interval(0 * judged, judged, num_bootstrap=9, seed=0) == rate_interval(0 * judged, judged)
    assert percentile_rate_interval(judged[:9] / 4, judged[:9], num_bootstrap=9, seed=0) is None
