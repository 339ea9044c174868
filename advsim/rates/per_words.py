"""Failing messages per 100 words of the chatbot: what a rate by message cannot tell of chatbots of unlike length.

A message of 200 words has more room for a failure than one of ten. Where two chatbots differ by message and not by
word, length is all that need differ.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from advsim.rates.intervals import (
    ENDS,
    MIN_CLUSTERS_FOR_BOUNDS,
    degrees_of_freedom,
    independent_variance,
    ratio_variance,
)
from advsim.rates.outcomes import MessageOutcome, cluster_of, fails, is_judged


@dataclass(frozen=True, slots=True, kw_only=True)
class WordRate:
    """Failing messages per 100 words of judged messages, with its 95 % interval over users or dialogues.

    ``estimate`` is None without a judged word; bounds are None where fewer than 10 clusters have one, or none fails.
    """

    estimate: float | None
    low: float | None
    high: float | None
    num_failing: int
    num_words: int


def per_100_words(
    outcomes: Sequence[MessageOutcome], num_words: Mapping[tuple[str, int], int], *, mode: str | None = None
) -> WordRate:
    """Failing messages / words of judged messages x 100.

    The interval is Student's t on the log scale with the cluster-robust variance of the ratio. The standard error, as a
    share of the rate, is at least that of the failing messages among independent ones: dialogues that are alike to the
    last word show no spread.

    Args:
        outcomes: the messages.
        num_words: of each message, by dialogue id and turn; one that is missing has none.
        mode: a mode id; None: any mode.
    """
    counts: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for row in outcomes:
        if is_judged(row, mode):
            of_cluster = counts[cluster_of(row)]
            of_cluster[0] += fails(row, mode)
            of_cluster[1] += num_words.get((row.dialogue_id, row.turn), 0) / 100
            of_cluster[2] += 1
    failing, hundreds, judged = np.array(list(counts.values()), dtype=np.float64).reshape(-1, 3).T
    if not hundreds.sum():
        return WordRate(estimate=None, low=None, high=None, num_failing=int(failing.sum()), num_words=0)
    rate = float(failing.sum() / hundreds.sum())
    low = high = None
    if rate > 0 and (hundreds > 0).sum() >= MIN_CLUSTERS_FOR_BOUNDS:
        t = float(stats.t.ppf(ENDS[1], degrees_of_freedom(hundreds)))
        floor = independent_variance(failing, judged) / (failing.sum() / judged.sum()) ** 2
        half = t * math.sqrt(max(ratio_variance(failing, hundreds) / rate**2, floor))
        low, high = rate * math.exp(-half), rate * math.exp(half)
    return WordRate(
        estimate=rate, low=low, high=high, num_failing=int(failing.sum()), num_words=round(100 * hundreds.sum())
    )
