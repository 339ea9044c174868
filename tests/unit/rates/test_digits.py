"""Figures that are compared in a sentence."""

from hypothesis import given
from hypothesis import strategies as st

from advsim.rates.digits import digits_apart

FIGURES = st.floats(-1, 1, allow_nan=False)


def test_figures_near_each_other_get_the_digits_that_tell_them_apart():
    assert digits_apart(0.8496, 0.85) == 4
    assert digits_apart(0.66, 0.85) == 2
    assert digits_apart(0.85, 0.85) == 2
    assert digits_apart(0.4999999, 0.5) == 7


@given(FIGURES, FIGURES)
def test_what_is_printed_is_in_the_order_of_the_figures(value, bound):
    digits = digits_apart(value, bound)
    shown = float(f"{value:.{digits}f}") - float(f"{bound:.{digits}f}")
    if abs(value - bound) > 1e-15:
        assert (shown > 0) == (value > bound) and shown != 0
