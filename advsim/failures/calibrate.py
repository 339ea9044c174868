"""How good a detector is, against labelled messages.

What is counted here carries into corrected failure rates; the correction itself is in the evaluation. A message that a
detector did not judge is neither right nor wrong: it is left out of the two-by-two table and counted beside it.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from statsmodels.stats.proportion import proportion_confint

from advsim.errors import CorpusError
from advsim.failures.labelled import LabelledMessage
from advsim.failures.taxonomy import load_taxonomy
from advsim.records import Assessment, DetectorCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """A share of ``num`` with its 95 % interval; all None where ``num`` is 0, bounds None where none can be given."""

    value: float | None
    low: float | None
    high: float | None
    num: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeScore:
    """A detector against labelled messages, for one mode. Intervals are Wilson's; that of F1 is in the macro-F1 alone.

    Attributes:
        mode: id of the mode.
        counts: the two-by-two table over the judged messages.
        sensitivity: found / shown; also called recall.
        specificity: not found / not shown.
        precision: shown / found.
        f1: harmonic mean of precision and recall; 0 where nothing is found, None where no judged message shows it.
        num_shown_not_judged: messages that show the mode and on which the detector gave no verdict.
        num_other_not_judged: likewise, of those that do not show it.
    """

    mode: str
    counts: DetectorCounts
    sensitivity: Proportion
    specificity: Proportion
    precision: Proportion
    f1: float | None
    num_shown_not_judged: int
    num_other_not_judged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorScore:
    """A detector against labelled messages.

    Attributes:
        detector: its name.
        text: kind of text, as in :class:`DetectorCounts`.
        modes: one score a mode, in the order of the taxonomy.
        macro_f1: mean F1 over the modes that a judged message shows, with a bootstrap interval over messages; ``num``
            is the number of these modes.
        macro_f1_forced: the same, where no verdict counts as not found.
        num_messages: labelled messages.
        num_errors: of these, messages that could not be judged at all.
    """

    detector: str
    text: str
    modes: tuple[ModeScore, ...]
    macro_f1: Proportion
    macro_f1_forced: Proportion
    num_messages: int
    num_errors: int


def detector_counts(
    assessments: Sequence[Assessment],
    labelled: Sequence[LabelledMessage],
    *,
    text: str,
    modes: Sequence[str] | None = None,
) -> list[DetectorCounts]:
    """Count a detector's verdicts against the labels, a mode at a time.

    Only the last turn of a labelled message's dialogue is labelled: assessments of earlier turns, and of dialogues that
    are not labelled, are not looked at. Messages without a verdict on a mode are in none of its counts.

    Args:
        assessments: of ``[message.dialogue for message in labelled]``, by one detector.
        labelled: the messages, of one kind of text.
        text: that kind: ``real``, ``simulated`` or ``written``.
        modes: ids to count; None: those of the taxonomy that ships.

    Returns:
        One entry a mode, in the order of ``modes``.

    Raises:
        CorpusError: a label names a message that was not assessed or an unknown mode, two labels have one id, or the
            assessments are of several detectors or assess one message twice.
    """
    table = _Table.of(assessments, labelled, modes)
    return [table.counts(m, text, range(len(labelled))) for m in range(len(table.modes))]


def any_counts(
    assessments: Sequence[Assessment], labelled: Sequence[LabelledMessage], *, text: str, judged_modes: Collection[str]
) -> DetectorCounts:
    """Count the verdicts "some failure" and "no failure" against the labels; ``mode`` is ``any``.

    As in a failure rate of any mode, a message counts only where each of ``judged_modes`` has a verdict. How many of
    the failing messages are found depends on which modes they show: the count holds for the labelled mix.

    Args:
        assessments: as for :func:`detector_counts`.
        labelled: the messages, of one kind of text.
        text: that kind.
        judged_modes: those that the detector can judge (``detector.modes``).

    Raises:
        CorpusError: as :func:`detector_counts`.
    """
    shown = {mode for message in labelled for mode in message.modes}
    found = _assessed(assessments, labelled, sorted(shown))
    scope = frozenset(judged_modes)
    cells = Counter(
        (bool(message.modes), bool(one.labels))
        for message, one in zip(labelled, found, strict=True)
        if not one.error and not scope & frozenset(one.abstained)
    )
    return DetectorCounts(
        mode="any",
        text=text,
        num_true_positive=cells[True, True],
        num_false_negative=cells[True, False],
        num_true_negative=cells[False, False],
        num_false_positive=cells[False, True],
    )


def score_detector(
    assessments: Sequence[Assessment],
    labelled: Sequence[LabelledMessage],
    *,
    text: str,
    modes: Sequence[str] | None = None,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> DetectorScore:
    """Precision, recall and macro-F1 of a detector with their intervals; arguments and errors of `detector_counts`."""
    table = _Table.of(assessments, labelled, modes)
    rows = np.arange(len(labelled))
    draws = np.random.default_rng(seed).integers(0, max(1, len(labelled)), size=(num_bootstrap, len(labelled)))
    forced = table.forced()
    return DetectorScore(
        detector=assessments[0].detector if assessments else "",
        text=text,
        modes=tuple(table.score(m, text) for m in range(len(table.modes))),
        macro_f1=_macro_f1(table, rows, draws),
        macro_f1_forced=_macro_f1(forced, rows, draws),
        num_messages=len(labelled),
        num_errors=table.num_errors,
    )


def sensitivity(counts: DetectorCounts) -> Proportion:
    """Share of the messages that show the mode in which it is found; Wilson interval (Wilson 1927)."""
    return wilson(counts.num_true_positive, counts.num_true_positive + counts.num_false_negative)


def specificity(counts: DetectorCounts) -> Proportion:
    """Share of the messages that do not show the mode in which it is not found; Wilson interval."""
    return wilson(counts.num_true_negative, counts.num_true_negative + counts.num_false_positive)


def precision(counts: DetectorCounts) -> Proportion:
    """Share of the messages in which the mode is found that show it; Wilson interval. Depends on how frequent it is."""
    return wilson(counts.num_true_positive, counts.num_true_positive + counts.num_false_positive)


def _assessed(
    assessments: Sequence[Assessment], labelled: Sequence[LabelledMessage], known: Sequence[str]
) -> list[Assessment]:
    """The assessment of each labelled message, in their order."""
    detectors = sorted({assessment.detector for assessment in assessments})
    if len(detectors) > 1:
        raise CorpusError(f"got assessments by {', '.join(detectors)}, expected those of one detector")
    assessed = by_message(assessments)
    seen: set[str] = set()
    found: list[Assessment] = []
    for message in labelled:
        if message.id in seen:
            raise CorpusError(f"labelled message {message.id}: got two labels of this id; give each message its own")
        seen.add(message.id)
        _check_modes(message, known)
        assessment = assessed.get((message.id, len(message.context)))
        if assessment is None:
            raise CorpusError(
                f"labelled message {message.id}: turn {len(message.context)} of that dialogue was not assessed; "
                "let the detector assess the dialogues that the labels are of, or take the label out"
            )
        found.append(assessment)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Labels and verdicts. ``N`` labelled messages, ``M`` modes."""

    modes: tuple[str, ...]
    shown_NM: npt.NDArray[np.bool_]
    found_NM: npt.NDArray[np.bool_]
    judged_NM: npt.NDArray[np.bool_]
    num_errors: int

    @classmethod
    def of(
        cls, assessments: Sequence[Assessment], labelled: Sequence[LabelledMessage], modes: Sequence[str] | None
    ) -> _Table:
        known = modes_or_shipped(modes)
        found = _assessed(assessments, labelled, known)
        shape = (len(labelled), len(known))
        return cls(
            modes=known,
            shown_NM=np.array([[m in message.modes for m in known] for message in labelled], bool).reshape(shape),
            found_NM=np.array([[verdict(it, m) is True for m in known] for it in found], bool).reshape(shape),
            judged_NM=np.array([[verdict(it, m) is not None for m in known] for it in found], bool).reshape(shape),
            num_errors=sum(bool(it.error) for it in found),
        )

    def forced(self) -> _Table:
        """The same with every message judged: no verdict is "not found"."""
        return _Table(
            modes=self.modes,
            shown_NM=self.shown_NM,
            found_NM=self.found_NM,
            judged_NM=np.ones_like(self.judged_NM),
            num_errors=self.num_errors,
        )

    def counts(self, m: int, text: str, rows: Collection[int]) -> DetectorCounts:
        take = np.fromiter(rows, dtype=np.intp, count=len(rows))
        shown, found, judged = (it[take, m] for it in (self.shown_NM, self.found_NM, self.judged_NM))
        return DetectorCounts(
            mode=self.modes[m],
            text=text,
            num_true_positive=int((shown & found & judged).sum()),
            num_false_negative=int((shown & ~found & judged).sum()),
            num_true_negative=int((~shown & ~found & judged).sum()),
            num_false_positive=int((~shown & found & judged).sum()),
        )

    def score(self, m: int, text: str) -> ModeScore:
        counts = self.counts(m, text, range(len(self.shown_NM)))
        not_judged = ~self.judged_NM[:, m]
        return ModeScore(
            mode=self.modes[m],
            counts=counts,
            sensitivity=sensitivity(counts),
            specificity=specificity(counts),
            precision=precision(counts),
            f1=_f1_of(counts),
            num_shown_not_judged=int((self.shown_NM[:, m] & not_judged).sum()),
            num_other_not_judged=int((~self.shown_NM[:, m] & not_judged).sum()),
        )

    def f1_DM(self, draws_DN: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """F1 of each mode in each draw of messages; nan where no judged message of the draw shows the mode."""
        hits = (self.shown_NM & self.found_NM & self.judged_NM)[draws_DN].sum(axis=1)
        shown = (self.shown_NM & self.judged_NM)[draws_DN].sum(axis=1)
        found = (self.found_NM & self.judged_NM)[draws_DN].sum(axis=1)
        return np.where(shown > 0, 2.0 * hits / np.maximum(shown + found, 1), np.nan)


def _macro_f1(table: _Table, rows: npt.NDArray[np.intp], draws_DN: npt.NDArray[np.intp]) -> Proportion:
    if not len(rows):
        return Proportion(value=None, low=None, high=None, num=0)
    f1_M = table.f1_DM(rows[None, :])[0]
    defined = ~np.isnan(f1_M)
    if not defined.any():
        return Proportion(value=None, low=None, high=None, num=0)
    drawn_DM = table.f1_DM(draws_DN)[:, defined]
    num_D = (~np.isnan(drawn_DM)).sum(axis=1)
    means = np.nansum(drawn_DM, axis=1)[num_D > 0] / num_D[num_D > 0]  # a draw without any shown mode has no mean
    low, high = np.quantile(means, [0.025, 0.975]) if len(means) else (None, None)
    return Proportion(
        value=float(f1_M[defined].mean()),
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        num=int(defined.sum()),
    )


def _f1_of(counts: DetectorCounts) -> float | None:
    shown = counts.num_true_positive + counts.num_false_negative
    found = counts.num_true_positive + counts.num_false_positive
    return 2 * counts.num_true_positive / (shown + found) if shown else None


def wilson(count: int, num: int) -> Proportion:
    """``count`` of ``num`` with Wilson's 95 % interval."""
    if num == 0:
        return Proportion(value=None, low=None, high=None, num=0)
    low, high = proportion_confint(count, num, alpha=0.05, method="wilson")
    return Proportion(value=count / num, low=max(0.0, float(low)), high=min(1.0, float(high)), num=num)


def verdict(assessment: Assessment, mode: str) -> bool | None:
    """Whether the mode was found in the message; None where there is no verdict on it."""
    if assessment.error or mode in assessment.abstained:
        return None
    return any(label.mode == mode for label in assessment.labels)


def by_message(assessments: Iterable[Assessment]) -> Mapping[tuple[str, int], Assessment]:
    """Assessments by dialogue and turn.

    Raises:
        CorpusError: a message was assessed twice.
    """
    found: dict[tuple[str, int], Assessment] = {}
    for assessment in assessments:
        key = (assessment.conversation_id, assessment.turn)
        if key in found:
            raise CorpusError(f"turn {key[1]} of {key[0]}: got two assessments of it, expected one; ids must be unique")
        found[key] = assessment
    return found


def modes_or_shipped(modes: Sequence[str] | None) -> tuple[str, ...]:
    """The ids given, or those of the taxonomy that ships."""
    return load_taxonomy().ids if modes is None else tuple(modes)


def _check_modes(message: LabelledMessage, known: Sequence[str]) -> None:
    for mode in sorted(message.modes - set(known)):
        near = difflib.get_close_matches(mode, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"valid: {', '.join(known)}"
        raise CorpusError(f"labelled message {message.id}: unknown mode {mode!r}; {hint}")
