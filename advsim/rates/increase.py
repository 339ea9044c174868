"""Is a candidate worse than a baseline by more than is allowed? Three answers, by the interval of the difference.

    high <= allowed           not worse
    low  >  allowed           worse
    otherwise                 not enough evidence

With a 95 % interval, each of the two wrong answers is meant to come in at most about 2.5 % of studies: "worse" of a
candidate whose true increase is the allowed one or less, and "not worse" of one whose true increase is more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from scipy import stats

from advsim.rates.ab_test import Difference
from advsim.rates.digits import digits_apart
from advsim.rates.intervals import ENDS, MIN_CLUSTERS_FOR_BOUNDS

POWER = 0.8
"""Chance to be decided that the number of further dialogues is for."""

FALSE_FAILS = (0.003, 0.03)
"""Measured share of "worse", of candidates without an increase and with the one that is allowed: 1,000 seeded studies
each, 60 people who meet both chatbots, 3 messages each, baseline failing in 10 %, 2 points allowed. A test has it."""

MOST_DIALOGUES = 1_000_000
"""More than that would be needed: no number is given."""


class IncreaseVerdict(StrEnum):
    """What the interval of the difference says."""

    NOT_WORSE = "not_worse"
    WORSE = "worse"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Increase:
    """The answer.

    Attributes:
        verdict: see above.
        max_increase: what is allowed, as a share of messages.
        difference: candidate minus baseline.
        num_more_dialogues: of each chatbot, that would decide with a chance of 80 % if the difference is as found; at
            least so many where there are too few for an interval; 0 where it is decided; None where the difference is
            hardly apart from what is allowed, so that a million would not do, or no message was judged.
    """

    verdict: IncreaseVerdict
    max_increase: float
    difference: Difference
    num_more_dialogues: int | None


def judge_increase(
    difference: Difference, *, max_increase: float, dialogues_a_cluster: float = 1.0, is_without_failures: bool = False
) -> Increase:
    """Hold a difference against the increase that is allowed.

    Further dialogues narrow the interval by the root of their number: n clusters with the half-width h towards the
    allowed increase, at a distance d from it, become n (h / d)² ((z.975 + z.8) / z.975)². They have to be of further
    clusters: more dialogues of the same scenario tell little more. Where neither chatbot fails at all, the
    interval is Wilson's of no failure in n, z² / (n + z²), and the n is known at which it fits.

    Args:
        difference: candidate minus baseline.
        max_increase: what is allowed, as a share of messages, at least 0 and below 1.
        dialogues_a_cluster: how many dialogues of a chatbot a cluster has.
        is_without_failures: whether no judged message fails on either side.

    Raises:
        ValueError: ``max_increase`` is out of its range.
    """
    if not 0 <= max_increase < 1:
        raise ValueError(f"got max_increase {max_increase}, expected a share of at least 0 and below 1")
    verdict, more = IncreaseVerdict.NOT_ENOUGH_EVIDENCE, None
    if difference.low is not None and difference.high is not None:
        if difference.high <= max_increase:
            verdict, more = IncreaseVerdict.NOT_WORSE, 0
        elif difference.low > max_increase:
            verdict, more = IncreaseVerdict.WORSE, 0
        else:
            more = _more_clusters(difference, max_increase, is_without_failures)
    elif min(difference.num_clusters) > 0:
        more = MIN_CLUSTERS_FOR_BOUNDS - min(difference.num_clusters)
    return Increase(
        verdict=verdict,
        max_increase=max_increase,
        difference=difference,
        num_more_dialogues=None if more is None else math.ceil(more * dialogues_a_cluster),
    )


def increase_sentence(increase: Increase, *, candidate: str, baseline: str) -> str:
    """The answer in words, in percentage points."""
    found, allowed = increase.difference, increase.max_increase
    if found.difference is None:
        silent = [name for name, number in zip((candidate, baseline), found.num_messages, strict=True) if not number]
        return f"Not enough evidence: no message of {' and of '.join(silent)} could be judged."
    digits = 1
    if found.low is not None and found.high is not None:
        digits = max(digits_apart(100 * end, 100 * allowed, least=1) for end in (found.low, found.high))
    limit = f"{100 * allowed:.{digits}f}"
    shown = f"{candidate} fails {100 * found.difference:+.{digits}f} points against {baseline}"
    if found.low is None or found.high is None:
        return (
            f"Not enough evidence: {shown}, without an interval ({min(found.num_clusters)} scenarios or users, "
            f"expected {MIN_CLUSTERS_FOR_BOUNDS} or more; at least {increase.num_more_dialogues} more of each)."
        )
    shown += f" (95 % interval {100 * found.low:+.{digits}f} to {100 * found.high:+.{digits}f})"
    if increase.verdict is IncreaseVerdict.NOT_WORSE:
        return f"Not worse: {shown}, no more than the {limit} that are allowed."
    if increase.verdict is IncreaseVerdict.WORSE:
        return f"Worse: {shown}, more than the {limit} that are allowed."
    more = increase.num_more_dialogues
    needed = (
        f"more than {MOST_DIALOGUES:,} dialogues would be needed, so near to it is the difference"
        if more is None
        else f"about {more:,} more dialogues of each, on other scenarios, would decide with a chance of 80 % if the "
        "difference is as found"
    )
    return f"Not enough evidence: {shown}, which includes the {limit} that are allowed; {needed}."


def _more_clusters(difference: Difference, max_increase: float, is_without_failures: bool) -> int | None:
    assert difference.difference is not None and difference.low is not None and difference.high is not None
    away = max_increase - difference.difference
    half = difference.high - difference.difference if away > 0 else difference.difference - difference.low
    if abs(away) * MOST_DIALOGUES <= half:
        return None
    z = float(stats.norm.ppf(ENDS[1]))
    with_power = ((z + float(stats.norm.ppf(POWER))) / z * half / away) ** 2
    num_clusters = min(difference.num_clusters)
    more = (num_clusters + z**2) * (half / away - 1) if is_without_failures else num_clusters * (with_power - 1)
    return None if more > MOST_DIALOGUES else max(1, math.ceil(more))
