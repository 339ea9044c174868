"""By what factor rates are off, and whether large differences go the same way.

The multiplicative error of a rate is max(a / b, b / a): 1 at best, and the same for twice too much and half of it. A
direction is asked for where the true rates of two chatbots differ by a factor of ``LARGE_CHANGE`` or more.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from advsim.records import Rate

LARGE_CHANGE = 1.5
"""Factor between two true rates from which a direction is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorAgreement:
    """Simulated against real rates of any failure, as factors.

    Attributes:
        num_chatbots: those with a factor.
        num_both_zero: those whose rates are both 0; they have no factor.
        median: of the multiplicative errors; None without a factor.
        worst: the largest; None without a factor.
        worst_chatbot: whose that is; empty without a factor.
        num_large: pairs of chatbots whose real rates differ by at least ``LARGE_CHANGE``.
        num_right: of these, those whose simulated rates differ in the same direction; no difference is wrong.
        share_right: of the pairs; None without one.
        sentence: these in words.
    """

    num_chatbots: int
    num_both_zero: int
    median: float | None
    worst: float | None
    worst_chatbot: str
    num_large: int
    num_right: int
    share_right: float | None
    sentence: str


def factor(one: Rate, other: Rate) -> float | None:
    """Factor between two rates, 1 or more; None where both are 0 or one is not known.

    Where one rate alone is 0, both are taken as at least half a message of the smaller sample, which is as low as it
    can tell.
    """
    if one.estimate is None or other.estimate is None or one.estimate == other.estimate == 0:
        return None
    least = 0.0 if one.estimate and other.estimate else 0.5 / min(one.num_messages, other.num_messages)
    high, low = sorted((max(one.estimate, least), max(other.estimate, least)), reverse=True)
    return high / low


def is_direction_right(told: float | None, true: float | None, change: float | None) -> bool | None:
    """Whether two differences have one sign; None where the true change is below ``LARGE_CHANGE``.

    Args:
        told: difference of the rates that were simulated or predicted; None, as 0, is not right.
        true: difference of the true rates.
        change: :func:`factor` between the true rates.
    """
    if change is None or change < LARGE_CHANGE - 1e-12:
        return None
    return (told or 0.0) * (true or 0.0) > 0


def factor_agreement(simulated: Mapping[str, Rate], real: Mapping[str, Rate]) -> FactorAgreement:
    """Compare rates of the chatbots that are on both sides.

    Args:
        simulated: rate of any failure by chatbot.
        real: likewise.
    """
    names = [name for name in simulated if name in real]
    errors = {name: factor(simulated[name], real[name]) for name in names}
    factors = {name: error for name, error in errors.items() if error is not None}
    median = statistics.median(factors.values()) if factors else None
    worst = max(factors, key=lambda name: factors[name], default=None)
    asked = [
        is_direction_right(_less(simulated[a], simulated[b]), _less(real[a], real[b]), factor(real[a], real[b]))
        for a, b in combinations(names, 2)
        if simulated[a].estimate is not None and simulated[b].estimate is not None
    ]
    right = [is_right for is_right in asked if is_right is not None]
    num_both_zero = sum(simulated[name].estimate == real[name].estimate == 0 for name in names)
    worst_factor = None if worst is None else factors[worst]
    return FactorAgreement(
        num_chatbots=len(factors),
        num_both_zero=num_both_zero,
        median=median,
        worst=worst_factor,
        worst_chatbot=worst or "",
        num_large=len(right),
        num_right=sum(right),
        share_right=sum(right) / len(right) if right else None,
        sentence=_sentence(factors, median, worst, num_right=sum(right), num_large=len(right)),
    )


def _less(a: Rate, b: Rate) -> float | None:
    return None if a.estimate is None or b.estimate is None else a.estimate - b.estimate


def _sentence(
    factors: Mapping[str, float], median: float | None, worst: str | None, *, num_right: int, num_large: int
) -> str:
    if median is None or worst is None:
        error = "Multiplicative error: no rate above 0 to compare"
    else:
        over = f"{len(factors)} chatbots" if len(factors) > 1 else "one chatbot"
        error = f"Simulated and real rates differ by a factor of {median:.2f} (median of {over}"
        error += f", worst {factors[worst]:.2f}, {worst})" if len(factors) > 1 else ")"
    if not num_large:
        return f"{error}; no pair of real rates differs by a factor of {LARGE_CHANGE:g} or more."
    pairs = "pairs" if num_large > 1 else "pair"
    return (
        f"{error}; the direction is right in {num_right} of {num_large} {pairs} of chatbots whose real rates differ by "
        f"a factor of {LARGE_CHANGE:g} or more."
    )
