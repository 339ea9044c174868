"""Failure rates corrected for the detector's errors, with intervals that include the calibration's uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy import stats

from advsim.rates.intervals import ENDS
from advsim.records import DetectorCounts, Rate

_Z = float(stats.norm.ppf(ENDS[1]))
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
    .5 and .8, specificity .9 and .98, true rates of .02 to .3: 96 to 100 %.

    All that holds where the detector errs here as on the labels. An interval wholly outside of [0, 1] shows that it
    does not, and there is none then. Short of that the ends near 0 and 1 leave room for fewer errors here: an apparent
    rate that false alarms alone might explain may just as well be all failures. With a labelled specificity of .95 and
    one here of .99 or .999 the interval, where there is one, covers true rates of .02, .05 and .1 in 98 to 100 % (400
    repetitions each, 200, 600 and 2,000 messages), and in 96 to 99 % where it is .95 here too. Rates of .2 and more
    come out too low by what the false alarms are fewer.

    Args:
        rate: the apparent rate, found by the detector.
        counts: the detector against labelled messages of the same mode and kind of text.

    Returns:
        The corrected rate. Without an estimate where the rate has none, where fewer than ``MIN_LABELLED`` failing or
        passing messages were labelled, where sensitivity + specificity <= 1 (such a detector marks failing messages no
        more often than others, and the formula would turn the rate around), and where the apparent rate shows that the
        labels' error rates do not hold here.

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
    unclipped = estimate = low = high = None
    if not reason and sensitivity is not None and specificity is not None and rate.estimate is not None:
        unclipped = (rate.estimate + specificity - 1) / (sensitivity + specificity - 1)
        estimate = min(1.0, max(0.0, unclipped))
        reason = "" if estimate == unclipped else f"cut to [0, 1] from {unclipped:.3f}"
        if rate.low is not None and rate.high is not None:
            shares = _Shares.of(rate.estimate, _effective_n(rate), counts)
            if refuted := shares.refutation():
                estimate, reason = None, f"{refuted}: the labels' error rates do not hold here"
            else:
                low, high = shares.bounds()
    return CorrectedRate(
        estimate=estimate,
        low=low,
        high=high,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shares:
    """What the interval rests on: shares with a few observations added to both cells, and their variances.

    Attributes:
        apparent: share of messages with a finding.
        sensitivity: of the detector.
        specificity: of the detector.
        of_apparent: variance of ``apparent``.
        of_sensitivity: variance of ``sensitivity``.
        of_specificity: variance of ``specificity``.
    """

    apparent: float
    sensitivity: float
    specificity: float
    of_apparent: float
    of_sensitivity: float
    of_specificity: float

    @classmethod
    def of(cls, estimate: float, n: float, counts: DetectorCounts) -> _Shares:
        num_failing = counts.num_true_positive + counts.num_false_negative + 2
        num_passing = counts.num_true_negative + counts.num_false_positive + 2
        p = (n * estimate + _Z**2 / 2) / (n + _Z**2)
        sensitivity = (counts.num_true_positive + 1) / num_failing
        specificity = (counts.num_true_negative + 1) / num_passing
        return cls(
            apparent=p,
            sensitivity=sensitivity,
            specificity=specificity,
            of_apparent=p * (1 - p) / (n + _Z**2),
            of_sensitivity=sensitivity * (1 - sensitivity) / num_failing,
            of_specificity=specificity * (1 - specificity) / num_passing,
        )

    def refutation(self) -> str:
        """Why the detector cannot err here as on the labels, in words; empty where it can."""
        if self._youden <= 0:
            return ""
        if self._high() < 0:
            return "fewer findings than the false alarms on the labels explain"
        if self._mirrored()._high() < 0:
            return "more findings than the recall on the labels allows"
        return ""

    def bounds(self) -> tuple[float, float]:
        """Ends of the interval, cut to [0, 1]."""
        if self._youden <= 0:
            return 0.0, 1.0
        low, high = 1 - self._mirrored()._high_with_fewer_false_alarms(), self._high_with_fewer_false_alarms()
        return max(0.0, low), min(1.0, high)

    def _mirrored(self) -> _Shares:
        """The same of messages that pass, which the detector leaves alone."""
        return _Shares(
            apparent=1 - self.apparent,
            sensitivity=self.specificity,
            specificity=self.sensitivity,
            of_apparent=self.of_apparent,
            of_sensitivity=self.of_specificity,
            of_specificity=self.of_sensitivity,
        )

    def _high(self) -> float:
        """Upper end, not cut: equations 6, 7, 16 and 17 of Lang and Reiczigel 2014."""
        centre = self._centre
        shift = 2 * _Z**2 * (centre * self.of_sensitivity - (1 - centre) * self.of_specificity)
        return centre + shift + self._half() / self._youden

    def _high_with_fewer_false_alarms(self) -> float:
        """Upper end where false alarms may be fewer here than on the labels, down to none.

        Up to the apparent rate at which the interval leaves 0, false alarms may explain all findings, and just as well
        none of them: all may be failures. Above that rate the end does not fall.
        """
        without = replace(self, specificity=1.0, of_specificity=0.0)._high()
        explained = 1 - self.specificity + 2 * self._half()
        return max(self._high(), min(without, explained / self.sensitivity))

    def _half(self) -> float:
        """Half the width, as an apparent rate."""
        centre = self._centre
        variance = self.of_apparent + centre**2 * self.of_sensitivity + (1 - centre) ** 2 * self.of_specificity
        return _Z * math.sqrt(variance)

    @property
    def _youden(self) -> float:
        return self.sensitivity + self.specificity - 1

    @property
    def _centre(self) -> float:
        return (self.apparent + self.specificity - 1) / self._youden


def _effective_n(rate: Rate) -> float:
    """The n of independent messages for which Wilson's interval around the estimate has the width of the rate's own.

    The width squared times (n + z^2)^2 is 4 z^2 (n p (1 - p) + z^2 / 4): a quadratic in m = n + z^2.
    """
    assert rate.estimate is not None and rate.low is not None and rate.high is not None
    if rate.high <= rate.low:
        return float(rate.num_messages)
    spread = rate.estimate * (1 - rate.estimate)
    a, b, c = (rate.high - rate.low) ** 2, -4 * _Z**2 * spread, 4 * _Z**4 * (spread - 0.25)
    m = (-b + math.sqrt(b**2 - 4 * a * c)) / (2 * a)
    return max(m - _Z**2, 1.0)
