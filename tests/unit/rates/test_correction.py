import math

import numpy as np
import pytest
from made_up_studies import drawn_counts

from advsim.rates.correction import _effective_n, corrected_rate, counts_for
from advsim.rates.intervals import rate_interval, wilson_interval
from advsim.records import DetectorCounts, Rate


def counts(tp=40, fn=10, tn=95, fp=5, mode="boundary", text="real"):
    return DetectorCounts(
        mode=mode,
        text=text,
        num_true_positive=tp,
        num_false_negative=fn,
        num_true_negative=tn,
        num_false_positive=fp,
    )


def rate(estimate, low=None, high=None, num_messages=300):
    return Rate(estimate=estimate, low=low, high=high, num_messages=num_messages, num_dialogues=50)


def test_corrected_rate_undoes_exactly_what_the_detector_does_to_the_true_one():
    for true in (0.0, 0.03, 0.4, 1.0):
        apparent = true * 0.8 + (1 - true) * 0.05
        assert corrected_rate(rate(apparent), counts()).estimate == pytest.approx(true)


def test_a_perfect_detector_changes_nothing_and_calibration_still_widens_the_interval():
    low, high = wilson_interval(30, 300)
    perfect = corrected_rate(rate(0.1, low, high), counts(tp=50, fn=0, tn=100, fp=0))
    assert perfect.estimate == pytest.approx(0.1)
    assert perfect.high - perfect.low > high - low
    vast = corrected_rate(rate(0.1, low, high), counts(tp=5_000_000, fn=0, tn=10_000_000, fp=0))
    assert (vast.low, vast.high) == pytest.approx((low, high), abs=0.003)


def test_interval_is_wider_the_fewer_messages_calibrated_the_detector():
    low, high = wilson_interval(60, 300)
    few, many = (corrected_rate(rate(0.2, low, high), counts(4 * k, k, 19 * k, k)) for k in (2, 200))
    assert few.estimate == pytest.approx(many.estimate)
    assert few.high - few.low > 1.5 * (many.high - many.low)


@pytest.mark.parametrize("cells", [(5, 5, 50, 50), (1, 9, 50, 50), (0, 10, 0, 10)])
def test_a_detector_no_better_than_chance_gives_none_with_the_reason(cells):
    found = corrected_rate(rate(0.2, 0.1, 0.3), counts(*cells))
    assert (found.estimate, found.low, found.high) == (None, None, None)
    assert "<= 1" in found.reason


@pytest.mark.parametrize(
    ("apparent", "cells", "reason"),
    [
        (None, (40, 10, 95, 5), "no message was judged"),
        (0.2, (0, 0, 95, 5), "got 0 judged failing messages with labels, expected 5 or more"),
        (0.2, (4, 0, 95, 5), "got 4 judged failing messages with labels, expected 5 or more"),
        (0.2, (40, 10, 0, 0), "got 0 judged passing messages with labels, expected 5 or more"),
    ],
)
def test_where_something_is_missing_the_reason_says_what(apparent, cells, reason):
    found = corrected_rate(rate(apparent), counts(*cells))
    assert found.estimate is None and reason in found.reason


def test_a_rate_below_the_false_positive_rate_is_cut_to_zero_and_says_so():
    found = corrected_rate(rate(0.01, *wilson_interval(3, 300)), counts())
    assert (found.estimate, found.low) == (0, 0) and found.high > 0
    assert found.unclipped < 0 and "cut to [0, 1] from -0.053" in found.reason


def test_a_rate_without_bounds_is_corrected_without_bounds():
    found = corrected_rate(rate(0.2), counts())
    assert found.estimate == pytest.approx(0.2) and (found.low, found.high) == (None, None)


@pytest.mark.parametrize(
    ("num_failing", "cells", "expected"),
    [(60, (40, 10, 95, 5), (0.114907, 0.285576)), (150, (16, 4, 18, 2), (0.384255, 0.793442))],
)
def test_interval_is_that_of_lang_and_reiczigel(num_failing, cells, expected):
    """Expected: worked out apart by the paper's formulas as ``prevSeSp`` of the R package asht has them, n = 300."""
    found = corrected_rate(rate(num_failing / 300, *wilson_interval(num_failing, 300)), counts(*cells))
    assert (found.low, found.high) == pytest.approx(expected, abs=2e-6)


def test_near_the_false_alarms_the_interval_has_room_for_fewer_of_them_than_on_the_labels():
    """Lower end: Lang and Reiczigel's. Upper end: 0.491964 by them; here by hand from their adjusted shares."""
    found = corrected_rate(rate(0.3, *wilson_interval(90, 300)), counts(8, 2, 18, 2))
    assert found.low == pytest.approx(0.054643, abs=2e-6)
    n, z, sensitivity, specificity = 300, 1.959964, 9 / 12, 19 / 22
    apparent = (90 + z**2 / 2) / (n + z**2)
    centre = (apparent + specificity - 1) / (sensitivity + specificity - 1)
    half = z * math.sqrt(
        apparent * (1 - apparent) / (n + z**2)
        + centre**2 * sensitivity * (1 - sensitivity) / 12
        + (1 - centre) ** 2 * specificity * (1 - specificity) / 22
    )
    assert found.high == pytest.approx((1 - specificity + 2 * half) / sensitivity, abs=1e-6)


SHIPPED = counts(840, 357, 1852, 103)  # sensitivity .70, specificity .947


@pytest.mark.parametrize(("num_failing", "reason"), [(3, "fewer findings than the false"), (560, "more findings than")])
def test_a_rate_that_the_labels_errors_cannot_give_has_no_corrected_one(num_failing, reason):
    found = corrected_rate(rate(num_failing / 600, *wilson_interval(num_failing, 600)), SHIPPED)
    assert (found.estimate, found.low, found.high) == (None, None, None)
    assert reason in found.reason and "the labels' error rates do not hold here" in found.reason


def test_whether_the_labels_errors_hold_is_not_judged_from_few_labels():
    few = corrected_rate(rate(0.02, *wilson_interval(12, 600)), counts(8, 2, 18, 1))
    assert few.estimate == 0 and few.high > 0.02 / 0.8


def test_no_interval_is_without_a_width_and_all_hold_the_estimate():
    for num in (20, 60, 600):
        for num_failing in range(0, num + 1, num // 20):
            for cells in ((5, 0, 5, 0), (3, 2, 4, 1), (40, 0, 100, 0), (20, 20, 80, 20), (840, 357, 1852, 103)):
                found = corrected_rate(rate(num_failing / num, *wilson_interval(num_failing, num)), counts(*cells))
                if found.low is not None:
                    assert found.low <= found.estimate <= found.high and found.high - found.low > 0.002


def test_upper_end_never_falls_where_more_is_found():
    ends = [corrected_rate(rate(k / 600, *wilson_interval(k, 600)), SHIPPED).high for k in range(600)]
    known = [end for end in ends if end is not None]
    assert known == sorted(known) and len(known) > 300


@pytest.mark.parametrize("specificity", [0.947, 0.99, 0.999])
@pytest.mark.parametrize("true", [0.02, 0.05, 0.1])
def test_interval_covers_or_is_not_there_where_false_alarms_are_fewer_than_on_the_labels(specificity, true):
    rng, num, missed = np.random.default_rng(2), 200, 0
    for _ in range(num):
        k = int(rng.binomial(600, true * 0.7 + (1 - true) * (1 - specificity)))
        found = corrected_rate(rate(k / 600, *wilson_interval(k, 600)), SHIPPED)
        missed += found.low is not None and not found.low <= true <= found.high
    assert missed / num <= 0.05


def test_effective_n_inverts_the_width_of_the_wilson_interval():
    for num_failing, n in ((3, 40), (0, 25), (90, 300)):
        low, high = wilson_interval(num_failing, n)
        assert _effective_n(rate(num_failing / n, low, high)) == pytest.approx(n, rel=1e-4)


def test_interval_covers_the_true_rate_with_a_detector_known_from_few_labels_and_clustered_messages():
    rng = np.random.default_rng(0)
    sensitivity, specificity, num, covered, uncorrected = 0.8, 0.95, 300, 0, 0
    for _ in range(num):
        true = 0.1
        apparent = true * sensitivity + (1 - true) * (1 - specificity)
        failing, judged = np.array(drawn_counts(apparent, rng=rng), dtype=float).T
        bounds = rate_interval(failing, judged)
        tp, tn = rng.binomial(40, sensitivity), rng.binomial(120, specificity)
        found = corrected_rate(
            rate(failing.sum() / judged.sum(), *bounds, num_messages=int(judged.sum())),
            counts(int(tp), int(40 - tp), int(tn), int(120 - tn)),
        )
        covered += found.low <= true <= found.high
        uncorrected += bounds[0] <= true <= bounds[1]
    assert 0.92 <= covered / num <= 0.99
    assert uncorrected < covered


def test_calibration_is_looked_up_by_mode_and_by_kind_of_text():
    given = [counts(text="real"), counts(text="simulated", tp=1), counts(mode="overload")]
    assert counts_for(given, mode="boundary", text="simulated").num_true_positive == 1
    with pytest.raises(
        ValueError, match="overload on simulated text: got 0, expected one; there are: boundary on real"
    ):
        counts_for(given, mode="overload", text="simulated")
    with pytest.raises(ValueError, match="negative count"):
        corrected_rate(rate(0.1), counts(tp=-1))
