"""A comparison that may be looked at any time: how often it is wrong, and what it costs."""

import numpy as np
import pytest

from advsim.rates.ab_test import compare
from advsim.rates.outcomes import MessageOutcome
from advsim.rates.sequential import MIN_CLUSTERS, anytime_difference, half_width

LOOKS = range(10, 401, 10)


def study(rng, rates, num_people=400):
    """Failing and all messages of each person with two chatbots; what is unusual of a person is so with both."""
    unusual = rng.normal(0.0, 1.0, num_people)
    arms = []
    for rate in rates:
        failing = 1 / (1 + np.exp(-(np.log(rate / (1 - rate)) + unusual)))
        judged = rng.integers(1, 4, num_people)
        arms.append((rng.binomial(judged, failing), judged))
    return arms


def rows(name, failing, judged):
    return [
        MessageOutcome(
            configuration=name,
            dialogue_id=f"{name} {person}",
            user_id=f"person {person}",
            turn=turn,
            modes=frozenset({"boundary"} if turn < failing[person] else ()),
        )
        for person in range(len(judged))
        for turn in range(judged[person])
    ]


def first_sign(arms, half_width_of):
    """Sign of the first difference that is further from 0 than its half width, over all looks; 0: none."""
    for n in LOOKS:
        difference, influences = 0.0, np.zeros(n)
        for sign, (failing, judged) in zip((1, -1), arms, strict=True):
            rate = failing[:n].sum() / judged[:n].sum()
            difference += sign * rate
            influences += sign * (failing[:n] - rate * judged[:n]) / judged[:n].mean()
        if n >= MIN_CLUSTERS and abs(difference) > half_width_of(n, influences.std(ddof=1)):
            return int(np.sign(difference))
    return 0


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_equal_chatbots_are_told_apart_in_at_most_five_percent_of_studies_however_often_one_looks(rate):
    rng = np.random.default_rng(1)
    studies = [study(rng, (rate, rate)) for _ in range(600)]
    wrong = np.mean([first_sign(arms, lambda n, s: half_width(n, s, alpha=0.05)) != 0 for arms in studies])
    naive = np.mean([first_sign(arms, lambda n, s: 1.96 * s / np.sqrt(n)) != 0 for arms in studies])
    assert wrong <= 0.05  # measured .03 to .04; three standard errors of .05 would be .077
    assert naive > 0.15  # who looks at ordinary intervals as often is wrong this often


def test_a_large_difference_is_decided_early_and_with_the_right_sign():
    rng = np.random.default_rng(2)
    signs = [first_sign(study(rng, (0.1, 0.3)), lambda n, s: half_width(n, s, alpha=0.05)) for _ in range(200)]
    assert np.mean([sign == -1 for sign in signs]) > 0.97 and 1 not in signs


def test_messages_give_the_difference_of_the_rates_over_the_people_that_met_both():
    (failing_a, judged_a), (failing_b, judged_b) = study(np.random.default_rng(3), (0.2, 0.4), num_people=60)
    a, b = rows("a", failing_a, judged_a), rows("b", failing_b, judged_b)
    found = anytime_difference(a, b)
    assert found.difference == pytest.approx(compare(a, b).difference) and found.num_clusters == 60
    influences = sum(
        sign * (failing - failing.sum() / judged.sum() * judged) / judged.mean()
        for sign, failing, judged in ((1, failing_a, judged_a), (-1, failing_b, judged_b))
    )
    assert found.high - found.difference == pytest.approx(half_width(60, influences.std(ddof=1), alpha=0.05))
    assert found.is_decided == (found.high < 0 or found.low > 0)
    fewer = anytime_difference([row for row in a if row.user_id != "person 3"], b)
    assert fewer.num_clusters == 59


@pytest.mark.parametrize("num_messages", [1, 3])
def test_a_chatbot_that_always_fails_differs_from_one_that_never_does(num_messages):
    judged = [num_messages] * MIN_CLUSTERS
    found = anytime_difference(rows("a", judged, judged), rows("b", [0] * MIN_CLUSTERS, judged))
    assert found.is_decided and found.difference == 1.0 and found.high == 1.0
    assert 0.5 < found.low < 0.9  # 30 people do not show that one in twenty is no other


def test_chatbots_that_are_alike_with_everybody_are_not_told_apart():
    third = [1] * 60
    found = anytime_difference(rows("a", third, [3] * 60), rows("b", third, [3] * 60))
    assert found.difference == 0.0 and found.low < -0.05 < 0.05 < found.high


def test_few_people_decide_nothing():
    a, b = rows("a", [1] * 20, [1] * 20), rows("b", [0] * 20, [1] * 20)
    found = anytime_difference(a, b)
    assert found.difference == 1.0 and found.low is None and not found.is_decided
    nobody = anytime_difference([], b)
    assert nobody.difference is None and nobody.num_clusters == 0


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0])
def test_an_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match="between 0 and 1"):
        anytime_difference([], [], alpha=alpha)
