"""Whether a candidate is worse than is allowed: three answers, and how often they are wrong."""

import dataclasses

import numpy as np
import pytest
from made_up_studies import rows_of
from scipy import stats

from advsim.rates.ab_test import compare
from advsim.rates.increase import FALSE_FAILS, IncreaseVerdict, increase_sentence, judge_increase

ALLOWED = 0.02


def both_arms(candidate, baseline, *, rng, num_people=60, num_messages=3, within=0.3):
    """Messages of two chatbots that meet the same people, whose messages fail together (a Gaussian copula)."""
    person = rng.normal(size=(num_people, 1))
    for name, rate in (("candidate", candidate), ("baseline", baseline)):
        latent = np.sqrt(within) * person + np.sqrt(1 - within) * rng.normal(size=(num_people, num_messages))
        failing = (latent < stats.norm.ppf(rate)).sum(1)
        yield rows_of(name, [(int(count), num_messages) for count in failing], user_of=lambda i: f"p{i}", prefix=name)


def shares(increase, *, baseline=0.1, repetitions=1000):
    rng = np.random.default_rng(11)
    verdicts = [
        judge_increase(
            compare(*both_arms(baseline + increase, baseline, rng=rng), num_permutations=1), max_increase=ALLOWED
        ).verdict
        for _ in range(repetitions)
    ]
    return {verdict: verdicts.count(verdict) / repetitions for verdict in IncreaseVerdict}


def difference(low, high, *, found=None, clusters=60):
    """A difference with these bounds."""
    rows = rows_of("a", [(1, 3)] * clusters), rows_of("b", [(1, 3)] * clusters)
    middle = (low + high) / 2 if found is None else found
    return dataclasses.replace(compare(*rows, num_permutations=1), difference=middle, low=low, high=high)


def test_false_fails_and_false_passes_are_as_rare_as_is_said_and_measured():
    none, limit = shares(0.0), shares(ALLOWED)
    assert none[IncreaseVerdict.WORSE] == pytest.approx(FALSE_FAILS[0], abs=0.004)
    assert limit[IncreaseVerdict.WORSE] == pytest.approx(FALSE_FAILS[1], abs=0.004)
    assert limit[IncreaseVerdict.WORSE] < 0.04 and limit[IncreaseVerdict.NOT_WORSE] < 0.04
    assert none[IncreaseVerdict.NOT_WORSE] > none[IncreaseVerdict.WORSE]


def test_a_much_worse_candidate_is_nearly_always_called_worse():
    found = shares(0.3, repetitions=60)
    assert found[IncreaseVerdict.WORSE] > 0.95 and found[IncreaseVerdict.NOT_WORSE] == 0


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.10, 0.019, IncreaseVerdict.NOT_WORSE),
        (-0.10, ALLOWED, IncreaseVerdict.NOT_WORSE),
        (0.021, 0.30, IncreaseVerdict.WORSE),
        (ALLOWED, 0.30, IncreaseVerdict.NOT_ENOUGH_EVIDENCE),
        (-0.10, 0.021, IncreaseVerdict.NOT_ENOUGH_EVIDENCE),
        (0.001, 0.30, IncreaseVerdict.NOT_ENOUGH_EVIDENCE),  # it fails more often, and perhaps no more than is allowed
    ],
)
def test_the_verdict_reads_the_ends_of_the_interval(low, high, verdict):
    increase = judge_increase(difference(low, high), max_increase=ALLOWED)
    assert increase.verdict is verdict
    assert (increase.num_more_dialogues == 0) == (verdict is not IncreaseVerdict.NOT_ENOUGH_EVIDENCE)


def test_so_many_more_dialogues_as_it_says_decide_four_times_in_five():
    rng = np.random.default_rng(3)
    first = compare(*both_arms(0.3, 0.15, rng=rng, num_people=40), num_permutations=1)
    off = first.difference - 0.15  # as if the study had found the true difference
    first = dataclasses.replace(first, low=first.low - off, high=first.high - off, difference=0.15)
    increase = judge_increase(first, max_increase=0.05)
    assert increase.verdict is IncreaseVerdict.NOT_ENOUGH_EVIDENCE and increase.num_more_dialogues
    num_people = 40 + increase.num_more_dialogues
    decided = [
        judge_increase(
            compare(*both_arms(0.3, 0.15, rng=rng, num_people=num_people), num_permutations=1), max_increase=0.05
        ).verdict
        is IncreaseVerdict.WORSE
        for _ in range(100)
    ]
    assert 0.65 < np.mean(decided) < 0.95


def test_where_nothing_fails_the_number_is_that_at_which_the_interval_fits():
    def found(num):
        rows = rows_of("a", [(0, 3)] * num), rows_of("b", [(0, 3)] * num)
        return judge_increase(compare(*rows, num_permutations=1), max_increase=ALLOWED, is_without_failures=True)

    more = found(40).num_more_dialogues
    assert more and found(40 + more).verdict is IncreaseVerdict.NOT_WORSE
    assert found(40 + more // 2).verdict is IncreaseVerdict.NOT_ENOUGH_EVIDENCE


def test_dialogues_are_counted_and_not_scenarios():
    one, three = (
        judge_increase(difference(-0.1, 0.1, found=0.0), max_increase=ALLOWED, dialogues_a_cluster=number)
        for number in (1, 3)
    )
    assert three.num_more_dialogues == 3 * one.num_more_dialogues


def test_a_difference_at_the_limit_is_never_decided_and_few_people_give_no_interval():
    at_limit = judge_increase(difference(-0.1, 0.14, found=ALLOWED), max_increase=ALLOWED)
    assert at_limit.num_more_dialogues is None
    assert "more than 1,000,000" in increase_sentence(at_limit, candidate="b", baseline="a")
    few = judge_increase(compare(rows_of("a", [(3, 3)] * 4), rows_of("b", [(0, 3)] * 4)), max_increase=ALLOWED)
    assert few.verdict is IncreaseVerdict.NOT_ENOUGH_EVIDENCE and few.num_more_dialogues == 6
    assert "at least 6 more" in increase_sentence(few, candidate="b", baseline="a")
    nothing = judge_increase(compare([], rows_of("b", [(0, 3)] * 20)), max_increase=ALLOWED)
    assert nothing.verdict is IncreaseVerdict.NOT_ENOUGH_EVIDENCE and nothing.num_more_dialogues is None
    assert "no message of b could be judged" in increase_sentence(nothing, candidate="b", baseline="a")


def test_sentences_show_the_bounds_apart_from_the_limit():
    near = judge_increase(difference(-0.05, 0.01999), max_increase=ALLOWED)
    assert "Not worse" in (said := increase_sentence(near, candidate="b", baseline="a"))
    assert "+1.999" in said and "2.000" in said


@pytest.mark.parametrize("allowed", [-0.01, 1.0, float("nan")])
def test_an_impossible_limit_is_refused(allowed):
    with pytest.raises(ValueError, match="max_increase"):
        judge_increase(difference(-0.1, 0.1), max_increase=allowed)
