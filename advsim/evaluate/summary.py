"""What is said of one group of dialogues, alone and against a reference: how chatbots fail, and how users write."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from advsim.config import HeldOutConfig
from advsim.embedding import Embedder
from advsim.evaluate.diversity import Diversity, measure_diversity
from advsim.evaluate.families import Family
from advsim.evaluate.mauve import Mauve, measure_mauve
from advsim.evaluate.outcomes import MessageOutcome
from advsim.evaluate.rates import failure_rate
from advsim.evaluate.spread import HabitSummary, SpreadComparison, compare_spread, describe_habits
from advsim.evaluate.two_sample import TwoSample, compare_dialogues
from advsim.evaluate.user_texts import UserTexts, num_user_turns_in_common
from advsim.records import Assessment, Dialogue, FailureLabel, Rate, chatbot_turns

ANY = "any"
"""Key of the rate of messages with any failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateDifference:
    """A failure rate less the reference's. Bounds are None where one of the rates has none."""

    mode: str
    estimate: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureSummary:
    """How the chatbot of one group of dialogues fails, as one detector sees it.

    Attributes:
        rates: by mode, and ``any``; a mode that the detector cannot judge has no estimate.
        severities: number of labels by severity, 1 minor to 3 severe.
        num_messages: chatbot messages.
        num_errors: of them, those that could not be judged at all.
        differences: to the reference, ``any`` first; empty for the reference itself.
    """

    rates: Mapping[str, Rate]
    severities: Mapping[int, int]
    num_messages: int
    num_errors: int
    differences: tuple[RateDifference, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A failure with its evidence, to be read by a person."""

    mode: str
    severity: int
    confidence: float
    dialogue_id: str
    turn: int
    user: str  # the turn before, empty where the chatbot opened
    message: str
    span: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UserSummary:
    """How the users of one group write; ``spread``, ``realism`` and ``mauve`` are against the reference."""

    diversity: Diversity
    habits: tuple[HabitSummary, ...]
    spread: SpreadComparison | None = None
    realism: tuple[TwoSample, ...] = ()
    mauve: Mauve | None = None


def summarise_failures(
    rows: Sequence[MessageOutcome],
    assessments: Sequence[Assessment],
    *,
    modes: Sequence[str],
    reference: FailureSummary | None = None,
) -> FailureSummary:
    """Rates by mode, severities and differences to the reference.

    Args:
        rows: outcomes of all messages of the group.
        assessments: the detector's, of the same messages.
        modes: ids of the taxonomy, in order.
        reference: of the group to compare with.
    """
    rates = {mode or ANY: failure_rate(rows, mode=mode) for mode in (None, *modes)}
    counted = Counter(label.severity for one in assessments for label in one.labels)
    return FailureSummary(
        rates=rates,
        severities={severity: counted[severity] for severity in (1, 2, 3)},
        num_messages=len(rows),
        num_errors=sum(row.error for row in rows),
        differences=()
        if reference is None
        else tuple(_difference(mode, rate, reference.rates[mode]) for mode, rate in rates.items()),
    )


def _difference(mode: str, rate: Rate, reference: Rate) -> RateDifference:
    """Difference of two independent rates from their own intervals (Newcombe 1998; MOVER, Zou and Donner 2008)."""
    if rate.estimate is None or reference.estimate is None:
        return RateDifference(mode=mode, estimate=None, low=None, high=None)
    estimate = rate.estimate - reference.estimate
    if rate.low is None or rate.high is None or reference.low is None or reference.high is None:
        return RateDifference(mode=mode, estimate=estimate, low=None, high=None)
    below = math.hypot(rate.estimate - rate.low, reference.high - reference.estimate)
    above = math.hypot(rate.high - rate.estimate, reference.estimate - reference.low)
    return RateDifference(mode=mode, estimate=estimate, low=estimate - below, high=estimate + above)


def choose_examples(
    dialogues: Sequence[Dialogue], assessments: Sequence[Assessment], *, modes: Sequence[str], num_a_mode: int = 2
) -> tuple[Example, ...]:
    """The most severe, then the surest labels of each mode, at most one a dialogue and mode; ties by id.

    Not a fair sample of the failures: worst cases, for a reader to judge whether the detector is right.
    """
    by_id = {dialogue.id: dialogue for dialogue in dialogues}
    labels: dict[str, list[FailureLabel]] = {mode: [] for mode in modes}
    for one in assessments:
        for label in one.labels:
            labels.setdefault(label.mode, []).append(label)
    chosen: list[Example] = []
    for found in labels.values():
        ranked = sorted(found, key=lambda one: (-one.severity, -one.confidence, one.conversation_id, one.turn))
        first_of = {label.conversation_id: label for label in reversed(ranked)}
        kept = [label for label in ranked if first_of[label.conversation_id] is label][:num_a_mode]
        chosen.extend(_example(by_id[label.conversation_id], label) for label in kept)
    return tuple(chosen)


def _example(dialogue: Dialogue, label: FailureLabel) -> Example:
    return Example(
        mode=label.mode,
        severity=label.severity,
        confidence=label.confidence,
        dialogue_id=dialogue.id,
        turn=label.turn,
        user=dialogue.turns[label.turn - 1].text if label.turn else "",
        message=dialogue.turns[label.turn].text,
        span=label.span,
    )


def summarise_users(
    texts: Sequence[UserTexts],
    *,
    token_budget: int,
    seed: int,
    embedder: Embedder,
    reference: Sequence[UserTexts] | None = None,
    realism: tuple[TwoSample, ...] = (),
    advance: Callable[[], None] = lambda: None,
) -> UserSummary:
    """Diversity and typing habits, and with a reference the comparison of both, and MAUVE.

    Args:
        texts: user turns of the group.
        token_budget: words at which diversity is measured, the same in all groups.
        seed: of shuffles, permutations, bootstrap and halves.
        embedder: for MAUVE.
        reference: user turns of real users.
        realism: what classifiers found, see :func:`compare_users`.
        advance: called after each of the two parts.
    """
    diversity = measure_diversity([text for one in texts for text in one.texts], token_budget=token_budget, seed=seed)
    spread = None if reference is None else compare_spread(reference, texts, seed=seed)
    advance()
    mauve = None if reference is None else measure_mauve(reference, texts, embedder=embedder, seed=seed)
    advance()
    return UserSummary(diversity=diversity, habits=describe_habits(texts), spread=spread, realism=realism, mauve=mauve)


def compare_users(
    dialogues: Sequence[Dialogue],
    reference: Sequence[Dialogue],
    *,
    texts: Sequence[UserTexts],
    reference_texts: Sequence[UserTexts],
    config: HeldOutConfig,
    seed: int,
    embedder: Embedder,
    advance: Callable[[], None] = lambda: None,
) -> tuple[TwoSample, ...]:
    """Classifiers of every family between the users of free dialogues and those of the reference."""
    found = []
    for family in Family:
        found.append(
            compare_dialogues(
                family,
                real=reference,
                others=dialogues,
                turn_budget=num_user_turns_in_common(texts, reference_texts),
                config=config,
                seed=seed,
                embedder=embedder,
            )
        )
        advance()
    return tuple(found)


def num_chatbot_messages(dialogues: Sequence[Dialogue]) -> int:
    """Chatbot turns of all dialogues."""
    return sum(len(chatbot_turns(dialogue)) for dialogue in dialogues)
