"""Difference of two chatbots' failure rates with an interval that may be looked at as often as one likes.

An ordinary 95 % interval holds at one look: who looks after every batch and stops at the first "significant" one is
wrong far more often than in 5 %. A confidence sequence covers the truth at all looks at once, so a comparison may stop
as soon as its sign is decided. Here: the asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and
Ramdas (Time-uniform central limit theory and asymptotic confidence sequences, arXiv 2103.06476, eq. 3), applied to the
linearised influences of the clusters (users, scenarios) on the difference of two ratios.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from advsim.rates.outcomes import MessageOutcome, tally

MIN_CLUSTERS = 30
"""The sequence is asymptotic: with fewer clusters in both arms no sign is decided."""

_ROUNDING = 1e-9
"""Influences of clusters that are alike differ by no more than this."""

TIGHTEST_AT = 100
"""Clusters at which the interval is narrowest against others of its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnytimeDifference:
    """Rate of A minus rate of B over the clusters that met both.

    Attributes:
        difference: as a share of messages; None without a judged message in an arm.
        low: bound that holds at all looks together; None with fewer than ``MIN_CLUSTERS`` clusters.
        high: see ``low``.
        num_clusters: in both arms.
        alpha: chance that the truth is outside at any look at all.
    """

    difference: float | None
    low: float | None
    high: float | None
    num_clusters: int
    alpha: float

    @property
    def is_decided(self) -> bool:
        """Whether the interval excludes no difference."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def anytime_difference(
    a: Sequence[MessageOutcome], b: Sequence[MessageOutcome], *, alpha: float = 0.05
) -> AnytimeDifference:
    """The difference so far, any mode, with its confidence sequence.

    Args:
        a: messages of chatbot A so far.
        b: messages of chatbot B so far.
        alpha: chance of an error at any look; share it out where several comparisons are looked at.

    Raises:
        ValueError: ``alpha`` is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: got {alpha}, expected a number between 0 and 1")
    arms = [tally(rows) for rows in (a, b)]
    shared = sorted(set(arms[0].clusters) & set(arms[1].clusters))
    counts = []
    for arm in arms:
        place = {cluster: i for i, cluster in enumerate(arm.clusters)}
        chosen = [place[cluster] for cluster in shared]
        counts.append((arm.failing[chosen], arm.judged[chosen]))
    if not shared:
        return AnytimeDifference(difference=None, low=None, high=None, num_clusters=0, alpha=alpha)
    influences = np.zeros(len(shared))
    difference = 0.0
    for sign, (failing, judged) in zip((1, -1), counts, strict=True):
        rate = failing.sum() / judged.sum()
        difference += sign * rate
        influences += sign * (failing - rate * judged) / judged.mean()
    low, high = None, None
    if len(shared) >= MIN_CLUSTERS:
        deviation = float(influences.std(ddof=1)) if np.ptp(influences) > _ROUNDING else _least_deviation(len(shared))
        half = half_width(len(shared), deviation, alpha=alpha)
        low, high = max(-1.0, difference - half), min(1.0, difference + half)
    return AnytimeDifference(difference=float(difference), low=low, high=high, num_clusters=len(shared), alpha=alpha)


def _least_deviation(n: int) -> float:
    """Standard deviation where all clusters are alike, as with two chatbots of which one always fails.

    That with two clusters more in which A alone fails and two in which B alone does (as many as Agresti and Coull 1998
    add to a proportion): clusters that are alike so far do not show that all are. Where a few differ their own
    deviation counts, which can be smaller.
    """
    return math.sqrt(4 / (n + 4))


def half_width(n: int, deviation: float, *, alpha: float) -> float:
    """Half the width of the confidence sequence of a mean of ``n`` values.

    Args:
        n: number of values.
        deviation: their standard deviation.
        alpha: chance of an error at any n.
    """
    log = -2 * math.log(alpha)
    rho2 = (log + math.log(log + 1)) / TIGHTEST_AT
    scale = n * rho2 + 1
    return deviation * math.sqrt(2 * scale / (n**2 * rho2) * math.log(math.sqrt(scale) / alpha))
