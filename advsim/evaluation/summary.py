"""Summary statistics of a group of dialogues, alone and against a reference: chatbot failures, and users' turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from advsim.config import HeldOutConfig
from advsim.models.embedder import Embedder
from advsim.rates.ab_test import Difference, compare, compare_modes
from advsim.rates.blame import BlameReport
from advsim.rates.correction import CorrectedRate
from advsim.rates.divergence import Divergence, mode_divergence
from advsim.rates.outcomes import MessageOutcome, of_modes
from advsim.rates.per_words import WordRate, per_100_words
from advsim.rates.rates import ANY, failure_rate
from advsim.realism.diversity import Diversity, measure_diversity
from advsim.realism.families import Family
from advsim.realism.free_dialogues import TwoSample, compare_dialogues
from advsim.realism.habits import HabitSummary, SpreadComparison, compare_spread, describe_habits
from advsim.realism.mauve import Mauve, measure_mauve
from advsim.realism.user_texts import UserTexts, num_user_turns_in_common
from advsim.records import Assessment, Dialogue, FailureLabel, Rate, Visibility
from advsim.validity.population_test import SimulatorVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class BlameSummary:
    """Conversations by what they are attributed to (see :mod:`advsim.rates.blame`).

    Attributes:
        num_by_blame: conversations by attribution.
        num_by_fault: conversations by fault of the user side: a simulator, or whoever wrote the user turns.
        rate_without_user_side_faults: rate of any failure without the conversations that have such a fault.
    """

    num_by_blame: Mapping[str, int]
    num_by_fault: Mapping[str, int]
    rate_without_user_side_faults: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureSummary:
    """How the chatbot of one group of dialogues fails, as one detector sees it.

    Attributes:
        rates: by mode, and ``any``; a mode that the detector cannot judge has no estimate.
        severities: number of labels by severity, 1 minor to 3 severe.
        visibilities: number of labels by mode, then by whether the message or only the dialogue so far shows it; modes
            without a label are left out.
        num_messages: chatbot messages.
        num_errors: of them, those that could not be judged at all.
        differences: rates less the reference's, any mode (None) first; empty for the reference itself. For the modes
            ``p_adjusted`` is Benjamini and Hochberg's.
        divergence: over modes given failure, from the reference.
        divergence_with_none: the same with messages without failure as a category.
        population_test: whether the group can be told from the reference by its failures, all modes taken together.
        blame: of the conversations; None for the reference.
        corrected: rates without the detector's errors, keys as in ``rates``; empty where it was not calibrated.
        per_100_words: failing messages per 100 words, keys as in ``rates``.
    """

    rates: Mapping[str, Rate]
    severities: Mapping[int, int]
    visibilities: Mapping[str, Mapping[str, int]]
    num_messages: int
    num_errors: int
    differences: tuple[Difference, ...] = ()
    divergence: Divergence | None = None
    divergence_with_none: Divergence | None = None
    population_test: SimulatorVerdict | None = None
    blame: BlameSummary | None = None
    corrected: Mapping[str, CorrectedRate] = field(default_factory=dict)
    per_100_words: Mapping[str, WordRate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureExample:
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
    measured: Sequence[str] | None = None,
    reference: Sequence[MessageOutcome] | None = None,
    population_test: SimulatorVerdict | None = None,
    blame: BlameReport | None = None,
    num_words: Mapping[tuple[str, int], int] | None = None,
    seed: int = 0,
) -> FailureSummary:
    """Rates by mode and severities; with a reference also differences and divergence.

    Args:
        rows: outcomes of all messages of the group.
        assessments: the detector's, of the same messages.
        modes: ids of the taxonomy, in order.
        measured: those with a rate of their own; None: all. The others count in any failure alone.
        reference: outcomes of the group to compare with.
        population_test: of the group against it.
        blame: attribution of the conversations.
        num_words: of each message, by dialogue id and turn.
        seed: of permutations and bootstrap.
    """
    labels = [label for assessment in assessments for label in assessment.labels]
    counted = Counter(label.severity for label in labels)
    seen = Counter((label.mode, label.visibility) for label in labels)
    compared = reference is not None
    real = reference or ()
    own = [mode for mode in modes if measured is None or mode in measured]
    own_rows, own_real = of_modes(rows, own), of_modes(real, own)
    return FailureSummary(
        rates={
            mode or ANY: failure_rate(rows, mode=mode) if mode is None or mode in own else _no_rate(rows)
            for mode in (None, *modes)
        },
        per_100_words={mode or ANY: per_100_words(rows, num_words, mode=mode) for mode in (None, *own)}
        if num_words is not None
        else {},
        severities={severity: counted[severity] for severity in (1, 2, 3)},
        visibilities={
            mode: {visibility.value: seen[mode, visibility] for visibility in Visibility}
            for mode in modes
            if any(seen[mode, visibility] for visibility in Visibility)
        },
        num_messages=len(rows),
        num_errors=sum(row.error for row in rows),
        differences=(compare(rows, real, seed=seed), *compare_modes(own_rows, own_real, modes=own, seed=seed))
        if compared
        else (),
        divergence=mode_divergence(own_rows, own_real, modes=own, seed=seed) if compared and own else None,
        divergence_with_none=mode_divergence(own_rows, own_real, modes=own, with_none=True, seed=seed)
        if compared and own
        else None,
        population_test=population_test,
        blame=None
        if blame is None
        else BlameSummary(
            num_by_blame={key.value: num for key, num in blame.num_by_blame.items()},
            num_by_fault={key.value: num for key, num in blame.num_by_fault.items()},
            rate_without_user_side_faults=blame.rate_without_user_side_faults,
        ),
    )


def _no_rate(rows: Sequence[MessageOutcome]) -> Rate:
    """The rate of a mode that is not measured."""
    return Rate(estimate=None, low=None, high=None, num_messages=0, num_dialogues=0, num_not_judged=len(rows))


def choose_examples(
    dialogues: Sequence[Dialogue], assessments: Sequence[Assessment], *, modes: Sequence[str]
) -> tuple[FailureExample, ...]:
    """The surest label of each mode, the surest mode first; ties by severity, then by id.

    Not a fair sample of the failures: for a reader to judge whether the detector is right.
    """
    by_id = {dialogue.id: dialogue for dialogue in dialogues}
    labels = sorted(
        (label for assessment in assessments for label in assessment.labels if label.mode in modes),
        key=lambda label: (-label.confidence, -label.severity, label.conversation_id, label.turn),
    )
    first_of = {label.mode: label for label in reversed(labels)}
    return tuple(_example(by_id[it.conversation_id], it) for it in labels if first_of[it.mode] is it)


def _example(dialogue: Dialogue, label: FailureLabel) -> FailureExample:
    return FailureExample(
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
    diversity = measure_diversity([text for user in texts for text in user.texts], token_budget=token_budget, seed=seed)
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
    compared = []
    for family in Family:
        compared.append(
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
    return tuple(compared)
