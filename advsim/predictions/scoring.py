"""A prediction held against live logs: by what factor the rates were off, which way changes went, what intervals held.

The multiplicative error is max(p / l, l / p) of predicted and live rate. Directions count where the live rates of two
chatbots differ by a factor of 1.5 or more.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advsim.predictions.live import LiveLogs
from advsim.predictions.prediction import FrozenPrediction, Prediction
from advsim.rates.ab_test import Difference
from advsim.rates.intervals import LEVEL
from advsim.rates.rates import ANY
from advsim.records import Rate
from advsim.sweep.outcomes import Outcomes
from advsim.validity.by_chatbot import ByChatbot, compare_chatbots
from advsim.validity.factors import LARGE_CHANGE, factor, is_direction_right
from advsim.validity.replication import AbPair


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRate:
    """A predicted and a live rate.

    Attributes:
        chatbot: its name.
        mode: a mode or ``any``.
        predicted: of the prediction.
        live: of the logs.
        factor: the multiplicative error, see :func:`advsim.validity.factors.factor`.
        is_covered: whether the predicted interval holds the live rate; None without an interval.
        is_consistent: whether the two differ by no more than the sampling of both explains (95 % interval of the
            difference, MOVER); None without two intervals.
    """

    chatbot: str
    mode: str
    predicted: Rate
    live: Rate
    factor: float | None
    is_covered: bool | None
    is_consistent: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredChange:
    """A predicted and a live difference of two chatbots, A minus B.

    Attributes:
        a: one chatbot.
        b: the baseline.
        mode: a mode or ``any``.
        predicted: difference of the prediction; None without a rate on a side.
        live: difference of the logs; None without a rate on a side.
        change: factor between the two live rates, 1 or more; None where both are 0 or one is not known. Rates of 0 are
            taken as for :class:`ScoredRate`.
        is_significant: whether the live difference is beyond chance (p at most .05, of a permutation, not corrected).
        is_right: whether both differences have one sign; None where the change is below ``LARGE_CHANGE``.
    """

    a: str
    b: str
    mode: str
    predicted: float | None
    live: float | None
    change: float | None
    is_significant: bool
    is_right: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSummary:
    """Scores over chatbots, of any mode or of the modes.

    Attributes:
        num_rates: pairs of rates with a factor.
        num_both_zero: pairs of rates that are both 0; they are in no other number: modes that nobody shows would
            make every prediction look good.
        median_factor: None without a factor.
        worst_factor: None without a factor.
        worst: chatbot and mode of the worst factor.
        num_intervals: predicted intervals with a live rate.
        num_covered: of these, those that hold the live rate.
        num_compared: pairs with two intervals.
        num_consistent: of these, those that differ by no more than sampling explains.
        num_large_changes: live changes of at least ``LARGE_CHANGE``.
        num_right: of these, those whose direction was predicted.
        num_significant: large changes that are beyond chance.
        num_significant_right: of these, those whose direction was predicted.
    """

    num_rates: int
    num_both_zero: int
    median_factor: float | None
    worst_factor: float | None
    worst: tuple[str, str] | None
    num_intervals: int
    num_covered: int
    num_compared: int
    num_consistent: int
    num_large_changes: int
    num_right: int
    num_significant: int
    num_significant_right: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How far a prediction was off.

    Attributes:
        prediction_sha256: which prediction.
        predicted_at: when it was frozen.
        simulator: what it was made with.
        detector: that judged both.
        logs: names of the files.
        num_dialogues: live dialogues by chatbot.
        any_mode: over messages with any failure.
        by_mode: over the modes, one by one.
        rates: every pair of rates.
        changes: every A/B pair.
        sentence: any mode in words.
        notes: what to know.
    """

    prediction_sha256: str
    predicted_at: str
    simulator: str
    detector: str
    logs: tuple[str, ...]
    num_dialogues: Mapping[str, int]
    any_mode: ScoreSummary
    by_mode: ScoreSummary
    rates: tuple[ScoredRate, ...]
    changes: tuple[ScoredChange, ...]
    sentence: str
    notes: tuple[str, ...]


def score(
    frozen: FrozenPrediction, live: Outcomes, logs: LiveLogs, *, num_later: int = 0, notes: Sequence[str] = ()
) -> Score:
    """Hold a prediction against live outcomes.

    Args:
        frozen: the prediction.
        live: messages by chatbot, of chatbots that are predicted.
        logs: where they are from.
        num_later: replies to later user turns than the prediction is of.
        notes: that stand before those made here.

    Raises:
        ValueError: a live chatbot is not predicted, or a mode was found that is not among the prediction's.
    """
    prediction = frozen.prediction
    if unknown := sorted(set(live) - {each.chatbot for each in prediction.chatbots}):
        raise ValueError(f"live chatbots: got {', '.join(unknown)}, expected those that are predicted")
    pairs = [AbPair(a=each.a, b=each.b) for each in prediction.changes if each.a in live and each.b in live]
    found = compare_chatbots(live, modes=prediction.modes, pairs=pairs)
    rates = _scored_rates(prediction, found)
    changes = _scored_changes(prediction, found)
    any_mode, by_mode = (
        _summary([r for r in rates if (r.mode == ANY) is is_any], [c for c in changes if (c.mode == ANY) is is_any])
        for is_any in (True, False)
    )
    return Score(
        prediction_sha256=frozen.sha256,
        predicted_at=prediction.predicted_at,
        simulator=prediction.simulator,
        detector=prediction.detector,
        logs=logs.files,
        num_dialogues={name: sum(d.chatbot == name for d in logs.dialogues) for name in live},
        any_mode=any_mode,
        by_mode=by_mode,
        rates=rates,
        changes=changes,
        sentence=summary_sentence("Any failure", any_mode),
        notes=(*notes, *_notes(prediction, logs, num_later, rates)),
    )


def summary_sentence(what: str, summary: ScoreSummary) -> str:
    """The figures of a summary in words."""
    if summary.median_factor is None or summary.worst_factor is None or summary.worst is None:
        said = "no rate above 0 to compare"
    else:
        rates = "rate" if summary.num_rates == 1 else "rates"
        said = (
            f"median error {summary.median_factor:.2f}x over {summary.num_rates} {rates}, worst "
            f"{summary.worst_factor:.2f}x ({', '.join(part for part in summary.worst if part != ANY)})"
        )
    parts = [
        said,
        f"predicted intervals hold {summary.num_covered} of {summary.num_intervals} live rates",
        f"{summary.num_consistent} of {summary.num_compared} differ by no more than sampling explains",
        f"direction right in {summary.num_right} of {summary.num_large_changes} changes of at least {LARGE_CHANGE:g}x "
        f"({summary.num_significant_right} of {summary.num_significant} that are beyond chance)",
    ]
    return f"{what}: {'; '.join(parts)}."


def _scored_rates(prediction: Prediction, found: ByChatbot) -> tuple[ScoredRate, ...]:
    live = {each.chatbot: each.simulated for each in found.chatbots}
    return tuple(
        ScoredRate(
            chatbot=each.chatbot,
            mode=mode,
            predicted=rate,
            live=seen,
            factor=factor(rate, seen),
            is_covered=_covers(rate, seen),
            is_consistent=_consistent(rate, seen),
        )
        for each in prediction.chatbots
        if each.chatbot in live
        for mode, rate in each.rates.items()
        for seen in (live[each.chatbot][mode],)
    )


def _scored_changes(prediction: Prediction, found: ByChatbot) -> tuple[ScoredChange, ...]:
    live_rates = {each.chatbot: each.simulated for each in found.chatbots}
    predicted = {(each.a, each.b): each.differences for each in prediction.changes}
    return tuple(
        _scored_change(test.pair, before, seen, live_rates)
        for test in found.tests
        for before, seen in zip(predicted[test.pair.a, test.pair.b], test.simulated, strict=True)
    )


def _scored_change(
    pair: AbPair, predicted: Difference, live: Difference, rates: Mapping[str, Mapping[str, Rate]]
) -> ScoredChange:
    mode = live.mode or ANY
    change = factor(rates[pair.a][mode], rates[pair.b][mode])
    return ScoredChange(
        a=pair.a,
        b=pair.b,
        mode=mode,
        predicted=predicted.difference,
        live=live.difference,
        change=change,
        is_significant=live.p_value is not None and live.p_value <= 1 - LEVEL + 1e-12,
        is_right=is_direction_right(predicted.difference, live.difference, change),
    )


def _covers(predicted: Rate, live: Rate) -> bool | None:
    if predicted.low is None or predicted.high is None or live.estimate is None:
        return None
    return predicted.low <= live.estimate <= predicted.high


def _consistent(predicted: Rate, live: Rate) -> bool | None:
    """Whether the 95 % interval of the difference holds 0 (MOVER, Zou and Donner 2008, without shared clusters)."""
    if predicted.estimate is None or predicted.low is None or predicted.high is None:
        return None
    if live.estimate is None or live.low is None or live.high is None:
        return None
    difference = predicted.estimate - live.estimate
    low = difference - math.hypot(predicted.estimate - predicted.low, live.high - live.estimate)
    high = difference + math.hypot(predicted.high - predicted.estimate, live.estimate - live.low)
    return low <= 0 <= high


def _summary(rates: Sequence[ScoredRate], changes: Sequence[ScoredChange]) -> ScoreSummary:
    factors = {(rate.chatbot, rate.mode): rate.factor for rate in rates if rate.factor is not None}
    worst = max(factors, key=lambda key: factors[key], default=None)
    found = [rate for rate in rates if not rate.predicted.estimate == rate.live.estimate == 0]
    covered = [rate.is_covered for rate in found if rate.is_covered is not None]
    consistent = [rate.is_consistent for rate in found if rate.is_consistent is not None]
    large = [change for change in changes if change.is_right is not None]
    significant = [change for change in large if change.is_significant]
    return ScoreSummary(
        num_rates=len(factors),
        num_both_zero=len(rates) - len(found),
        median_factor=statistics.median(factors.values()) if factors else None,
        worst_factor=None if worst is None else factors[worst],
        worst=worst,
        num_intervals=len(covered),
        num_covered=sum(covered),
        num_compared=len(consistent),
        num_consistent=sum(consistent),
        num_large_changes=len(large),
        num_right=sum(bool(change.is_right) for change in large),
        num_significant=len(significant),
        num_significant_right=sum(bool(change.is_right) for change in significant),
    )


def _notes(prediction: Prediction, logs: LiveLogs, num_later: int, rates: Sequence[ScoredRate]) -> list[str]:
    notes = []
    if logs.not_scored:
        notes.append(f"Predicted and not scored, as asked for: {', '.join(logs.not_scored)}.")
    if logs.others:
        others = ", ".join(f"{name} ({number})" for name, number in logs.others.items())
        notes.append(f"Dialogues of other chatbots, in no figure: {others}.")
    if logs.num_unnamed:
        notes.append(f"Dialogues that name no chatbot, in no figure: {logs.num_unnamed}.")
    if logs.num_bad:
        notes.append(f"Dialogues that broke the schema, in no figure: {logs.num_bad}.")
    if num_later:
        notes.append(
            f"Replies to the first {prediction.max_user_turns} user turns are predicted and counted; {num_later} later "
            "replies are in no figure."
        )
    not_judged = [(each.chatbot, each.live.num_not_judged) for each in rates if each.mode == ANY]
    if any(number for _, number in not_judged):
        numbers = ", ".join(f"{name} ({number})" for name, number in not_judged if number)
        notes.append(f"Live messages that the detector could not judge, in no rate: {numbers}.")
    if silent := sorted({rate.chatbot for rate in rates if rate.mode == ANY and rate.live.estimate is None}):
        notes.append(f"No message could be judged of {', '.join(silent)}.")
    if few := sorted({rate.chatbot for rate in rates if rate.mode == ANY and rate.is_consistent is None} - set(silent)):
        notes.append(f"Too few dialogues or users for an interval on a side (fewer than 10): {', '.join(few)}.")
    return notes
