"""The test that flags wrong simulators, on studies whose populations are known."""

import time

import numpy as np
import pytest
from made_up_studies import drawn_counts, rows_of, spread_rates, study

from advsim.validity.population_test import simulator_verdict

RATES = spread_rates(20)


def test_a_right_simulator_is_flagged_at_most_at_the_nominal_rate_and_wrong_ones_often():
    num, flagged, small = 60, np.zeros(3), {"num_dialogues": 12, "num_messages": 4}
    for seed in range(num):
        real = study(RATES[:6], seed=seed, **small)
        for kind, rates in enumerate((RATES[:6], RATES[:6] * 0.2, RATES[:6] + 0.2)):
            simulated = study(rates, seed=1000 + seed, **small)
            flagged[kind] += simulator_verdict(simulated, real, num_permutations=99, seed=seed).flagged
    assert flagged[0] <= 8  # binomial(60, .05) exceeds it once in 500
    assert flagged[1] >= 0.8 * num and flagged[2] >= 0.8 * num


def test_flag_says_which_configuration_or_mode_is_off():
    wrong = RATES[:8].copy()
    wrong[3] += 0.4
    verdict = simulator_verdict(study(wrong, seed=1), study(RATES[:8], seed=2), num_permutations=199)
    assert verdict.flagged and "configuration c3" in verdict.reasons[0] and "above the real" in verdict.reasons[0]
    low = simulator_verdict(study(RATES[:8] * 0.4, seed=1), study(RATES[:8], seed=2), num_permutations=199)
    assert low.flagged and any("over all configurations" in reason and "below" in reason for reason in low.reasons)


def test_the_same_people_answered_by_every_chatbot_are_not_taken_for_independent():
    """Users who fail often do so with every chatbot; permuting configurations one by one would flag far too often."""
    num, flagged = 60, 0
    for seed in range(num):
        rng = np.random.default_rng(seed)
        sides = []
        for _ in range(2):
            own = rng.beta(0.5, 2, size=12)
            sides.append({c: rows_of(c, [(int(k), 4) for k in rng.binomial(4, own)]) for c in "abcdef"})
        flagged += simulator_verdict(*sides, num_permutations=99, seed=seed).flagged
    assert flagged <= 8


def test_nothing_to_compare_is_said_and_is_no_flag():
    nothing = simulator_verdict(study([0] * 3, seed=1), study([0] * 3, seed=2))
    assert (nothing.flagged, nothing.p_value) == (False, None) and "nothing to compare" in nothing.reasons[0]
    assert simulator_verdict({}, {}).p_value is None
    with pytest.raises(ValueError, match="permutations"):
        simulator_verdict({}, {}, num_permutations=9)


def test_a_right_simulator_of_the_very_same_people_is_not_flagged_more_often():
    """Users with a rate of their own, under the same ids on both sides; every chatbot meets the same ones."""
    num, flagged, wrong = 80, 0, 0
    for seed in range(num):
        rng = np.random.default_rng(seed)
        own = rng.beta(0.5, 2, size=14)
        real, right = (
            {c: rows_of(c, [(int(k), 4) for k in rng.binomial(4, own)], user_of=str) for c in "abc"} for _ in range(2)
        )
        lower = {c: rows_of(c, [(int(k), 4) for k in rng.binomial(4, own * 0.3)], user_of=str) for c in "abc"}
        flagged += simulator_verdict(right, real, num_permutations=99, seed=seed).flagged
        wrong += simulator_verdict(lower, real, num_permutations=99, seed=seed).flagged
    assert flagged <= 9  # binomial(80, .05) exceeds it once in 100
    assert wrong >= 0.6 * num  # with all users dealt out anew it would be 30


def test_users_who_recur_on_one_side_only_are_said_to_make_the_test_flag_too_easily():
    apart, alike = study(RATES[:3], seed=1), study(RATES[:3], seed=2)
    assert simulator_verdict(apart, alike, num_permutations=99).caution == ""
    same_people = {name: rows_of(name, drawn_counts(0.1, rng=np.random.default_rng(3))) for name in alike}
    one_sided = simulator_verdict(same_people, alike, num_permutations=99)
    assert "recur" in one_sided.caution and one_sided.caution in one_sided.sentence
    assert simulator_verdict(same_people, same_people, num_permutations=99).caution == ""


def test_a_single_configuration_is_not_named_in_the_reasons():
    verdict = simulator_verdict(study([0.7], seed=1), study([0.1], seed=2), num_permutations=199)
    assert verdict.flagged and verdict.num_configurations == 1
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["any mode", "boundary"]


def test_a_study_of_a_hundred_dialogues_and_ten_chatbots_takes_little_time():
    sides = (study(RATES[:10], seed=seed, num_dialogues=100) for seed in (1, 2))
    started_s = time.monotonic()
    simulator_verdict(*sides)
    assert time.monotonic() - started_s < 5


def test_the_same_dialogues_on_both_sides_are_not_flagged():
    same = study(RATES, seed=1)
    assert simulator_verdict(same, same, num_permutations=99).p_value > 0.9
