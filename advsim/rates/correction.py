"""Failure rates corrected for the detector's errors, with intervals that include the calibration's uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from advsim.rates.intervals import ENDS
from advsim.records import DetectorCounts, Rate

MIN_LABELLED = 5
"""Labelled failing messages, and passing ones, below which no rate is corrected: fewer were not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedRate:
    """A rate without the errors of the detector that found it.

    Attributes:
        estimate: Rogan-Gladen, cut to [0, 1]; None as ``reason`` says.
        low: lower bound; None where the apparent rate has none.
        high: upper bound.
        unclipped: the estimate before it was cut, which may lie outside of [0, 1].
        sensitivity: share of labelled failing messages that the detector finds.
        specificity: share of labelled passing messages that it leaves alone.
        num_messages: judged messages of the rate.
        num_dialogues: dialogues of the rate.
        num_failing_labelled: labelled failing messages behind the sensitivity.
        num_passing_labelled: labelled passing messages behind the specificity.
        text: the kind of text on which the detector was calibrated.
        reason: why there is no estimate, or what to know of it; empty where there is nothing to say.
    """

    estimate: float | None
    low: float | None
    high: float | None
    unclipped: float | None
    sensitivity: float | None
    specificity: float | None
    num_messages: int
    num_dialogues: int
    num_failing_labelled: int
    num_passing_labelled: int
    text: str
    reason: str = ""


def counts_for(counts: Sequence[DetectorCounts], *, mode: str, text: str) -> DetectorCounts:
    """The counts of one mode and kind of text: a detector's errors on real text need not be those on simulated text.

    Raises:
        ValueError: there are none, or more than one.
    """
    matching = [c for c in counts if (c.mode, c.text) == (mode, text)]
    if len(matching) != 1:
        there = ", ".join(sorted(f"{c.mode} on {c.text} text" for c in counts)) or "none"
        raise ValueError(
            f"detector counts of {mode} on {text} text: got {len(matching)}, expected one; there are: {there}"
        )
    return matching[0]


def corrected_rate(rate: Rate, counts: DetectorCounts) -> CorrectedRate:
    """Rogan-Gladen correction: (apparent rate + specificity - 1) / (sensitivity + specificity - 1).

    Rogan and Gladen 1978; the estimate uses the plain shares. The interval is Lang and Reiczigel's (2014): delta method
    around shares with 1 (sensitivity, specificity) and 2 (apparent rate) added to both cells, and their shift of the
    centre. Their binomial n of the apparent rate is replaced by the n that gives the rate's own interval the same
    width, so that messages of one dialogue do not count as independent. Estimate and bounds are cut to [0, 1]. Measured
    coverage in 300 seeded repetitions each, 300 messages, 5 to 40 failing and 100 passing ones labelled, sensitivity
    .5 and .8, specificity .9 and .98, true rates of .02 to .3: 93 to 100 %.

    Args:
        rate: the apparent rate, found by the detector.
        counts: the detector against labelled messages of the same mode and kind of text.

    Returns:
        The corrected rate. Without an estimate where the rate has none, where fewer than ``MIN_LABELLED`` failing or
        passing messages were labelled, or where sensitivity + specificity <= 1: such a detector marks failing messages
        no more often than others, and the formula would turn the rate around.

    Raises:
        ValueError: a count is negative.
    """
    num_failing = counts.num_true_positive + counts.num_false_negative
    num_passing = counts.num_true_negative + counts.num_false_positive
    if (
        min(counts.num_true_positive, counts.num_false_negative, counts.num_true_negative, counts.num_false_positive)
        < 0
    ):
        raise ValueError(f"detector counts of {counts.mode} on {counts.text} text: got a negative count")
    sensitivity = counts.num_true_positive / num_failing if num_failing else None
    specificity = counts.num_true_negative / num_passing if num_passing else None
    reason = _not_correctable(rate, num_failing, num_passing, sensitivity, specificity)
    unclipped, bounds = None, None
    if not reason and sensitivity is not None and specificity is not None and rate.estimate is not None:
        unclipped = (rate.estimate + specificity - 1) / (sensitivity + specificity - 1)
        bounds = _bounds(rate, counts, num_failing, num_passing)
        reason = "" if 0 <= unclipped <= 1 else f"cut to [0, 1] from {unclipped:.3f}"
    return CorrectedRate(
        estimate=None if unclipped is None else min(1.0, max(0.0, unclipped)),
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        unclipped=unclipped,
        sensitivity=sensitivity,
        specificity=specificity,
        num_messages=rate.num_messages,
        num_dialogues=rate.num_dialogues,
        num_failing_labelled=num_failing,
        num_passing_labelled=num_passing,
        text=counts.text,
        reason=reason,
    )


def _not_correctable(
    rate: Rate, num_failing: int, num_passing: int, sensitivity: float | None, specificity: float | None
) -> str:
    if rate.estimate is None:
        return "no message was judged"
    for num, kind in ((num_failing, "failing"), (num_passing, "passing")):
        if num < MIN_LABELLED:
            return f"got {num} judged {kind} messages with labels, expected {MIN_LABELLED} or more; label further ones"
    if sensitivity is not None and specificity is not None and sensitivity + specificity <= 1 + 1e-12:
        return (
            f"sensitivity {sensitivity:.2f} + specificity {specificity:.2f} <= 1: "
            "the detector marks failing messages no more often than others"
        )
    return ""


def _bounds(rate: Rate, counts: DetectorCounts, num_failing: int, num_passing: int) -> tuple[float, float] | None:
    """Lang and Reiczigel 2014, equations 6, 7, 16 and 17."""
    if rate.estimate is None or rate.low is None or rate.high is None:
        return None
    z = float(stats.norm.ppf(ENDS[1]))
    n = _effective_n(rate.estimate, rate.low, rate.high, z) if rate.high > rate.low else float(rate.num_messages)
    p = (n * rate.estimate + z**2 / 2) / (n + z**2)
    sensitivity = (counts.num_true_positive + 1) / (num_failing + 2)
    specificity = (counts.num_true_negative + 1) / (num_passing + 2)
    youden = sensitivity + specificity - 1
    if youden <= 0:
        return 0.0, 1.0
    centre = (p + specificity - 1) / youden
    of_sensitivity = sensitivity * (1 - sensitivity) / (num_failing + 2)
    of_specificity = specificity * (1 - specificity) / (num_passing + 2)
    variance = p * (1 - p) / (n + z**2) + centre**2 * of_sensitivity + (1 - centre) ** 2 * of_specificity
    half = z * math.sqrt(variance) / youden
    shift = 2 * z**2 * (centre * of_sensitivity - (1 - centre) * of_specificity)
    low, high = np.clip([centre + shift - half, centre + shift + half], 0.0, 1.0)
    return float(low), float(high)


def _effective_n(estimate: float, low: float, high: float, z: float) -> float:
    """The n of independent messages for which Wilson's interval around the estimate has the width high - low.

    The width squared times (n + z^2)^2 is 4 z^2 (n p (1 - p) + z^2 / 4): a quadratic in m = n + z^2.
    """
    spread = estimate * (1 - estimate)
    a, b, c = (high - low) ** 2, -4 * z**2 * spread, 4 * z**4 * (spread - 0.25)
    m = (-b + math.sqrt(b**2 - 4 * a * c)) / (2 * a)
    return max(m - z**2, 1.0)
