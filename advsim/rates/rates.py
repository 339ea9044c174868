"""Failure rates: failing chatbot messages / judged chatbot messages, with interval, both n, and what was not judged."""

from __future__ import annotations

from collections.abc import Sequence

from advsim.rates.intervals import rate_interval
from advsim.rates.outcomes import MessageOutcome, Tally, tally
from advsim.records import Rate

ANY = "any"
"""Key of the rate of messages with any failure, where rates stand by mode."""


def failure_rate(outcomes: Sequence[MessageOutcome], *, mode: str | None = None) -> Rate:
    """Failure rate of chatbot messages.

    Messages of one user are a cluster, those of one dialogue where users are not known. Messages that could not be
    judged (infrastructure, abstention) are outside of the rate and counted in ``num_not_judged``; see
    :func:`advsim.rates.outcomes.is_judged` for what that means of "any mode".

    Args:
        outcomes: the messages; may be empty.
        mode: a mode id; None: any mode.

    Returns:
        The rate. Bounds are None with fewer than 10 clusters; the estimate is None without a judged message.

    Raises:
        ValueError: a message is there twice.
    """
    return rate_of(tally(outcomes, mode))


def rate_of(counts: Tally) -> Rate:
    """The rate of counts that are there already; see :func:`failure_rate`."""
    bounds = rate_interval(counts.failing, counts.judged)
    return Rate(
        estimate=counts.rate,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        num_messages=counts.num_messages,
        num_dialogues=counts.num_dialogues,
        num_not_judged=counts.num_not_judged,
    )
