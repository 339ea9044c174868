"""Multiplicative errors and directions of simulated rates."""

import pytest

from advsim.records import Rate
from advsim.validity.factors import factor_agreement


def rates(**shares):
    return {
        name: Rate(estimate=share, low=None, high=None, num_messages=100, num_dialogues=10)
        for name, share in shares.items()
    }


def test_half_and_twice_are_the_same_error_and_the_worst_is_named():
    found = factor_agreement(rates(a=0.1, b=0.4, c=0.3), rates(a=0.2, b=0.2, c=0.1))
    assert found.median == pytest.approx(2.0) and found.worst == pytest.approx(3.0) and found.worst_chatbot == "c"
    assert found.num_chatbots == 3 and "worst 3.00, c" in found.sentence


def test_directions_count_where_real_rates_differ_by_half_as_much_again_and_no_difference_is_wrong():
    real = rates(a=0.10, b=0.15, c=0.151, d=0.30)
    found = factor_agreement(rates(a=0.1, b=0.2, c=0.1, d=0.1), real)
    # a-b and a-c, a-d, b-d, c-d are large; b-c is not
    assert (found.num_large, found.num_right, found.share_right) == (5, 1, 0.2)


def test_a_rate_of_zero_is_taken_as_half_a_message_and_two_of_them_have_no_factor():
    found = factor_agreement(rates(a=0.0, b=0.0), rates(a=0.01, b=0.0))
    assert (found.num_chatbots, found.num_both_zero, found.median) == (1, 1, pytest.approx(2.0))


@pytest.mark.parametrize(("simulated", "real"), [({}, {}), (rates(a=None), rates(a=0.1)), (rates(a=0.0), rates(a=0.0))])
def test_what_is_not_defined_is_none(simulated, real):
    found = factor_agreement(simulated, real)
    assert (found.median, found.worst, found.share_right, found.num_large) == (None, None, None, 0)
    assert "no rate above 0" in found.sentence and "no pair" in found.sentence


def test_a_chatbot_of_which_nothing_could_be_judged_is_in_no_pair():
    found = factor_agreement(rates(a=0.1, b=None), rates(a=0.1, b=0.3))
    assert (found.num_large, found.num_chatbots) == (0, 1)
