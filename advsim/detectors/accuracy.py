"""How good a detector is, against labelled messages.

What is counted here carries into corrected failure rates; the correction itself is in the evaluation. A message that a
detector did not judge is neither right nor wrong: it is left out of the two-by-two table and counted beside it.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from advsim.detectors.labelled import LabelledMessage
from advsim.detectors.taxonomy import load_taxonomy
from advsim.errors import CorpusError
from advsim.rates.intervals import wilson_interval
from advsim.records import Assessment, DetectorCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Proportion:
    """A share of ``num`` with its 95 % interval; all None where ``num`` is 0, bounds None where none can be given."""

    value: float | None
    low: float | None
    high: float | None
    num: int


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
    known = modes_or_shipped(modes)
    pairs = list(zip(labelled, _assessed(assessments, labelled, known), strict=True))
    return [
        two_by_two(mode, text, [(mode in message.modes, verdict(assessment, mode)) for message, assessment in pairs])
        for mode in known
    ]


def any_counts(
    assessments: Sequence[Assessment], labelled: Sequence[LabelledMessage], *, text: str, judged_modes: Collection[str]
) -> DetectorCounts:
    """Count the verdicts "some failure" and "no failure" against the labels; ``mode`` is ``any``.

    As in a failure rate of any mode, a message counts only where each of ``judged_modes`` has a verdict. How many of
    the failing messages are found depends on which modes they show: the count holds for the labelled mix. A message
    that shows no other modes than those that do not count is none that fails, as in the rate.

    Args:
        assessments: as for :func:`detector_counts`.
        labelled: the messages, of one kind of text.
        text: that kind.
        judged_modes: those that count: any failure is any of these.

    Raises:
        CorpusError: as :func:`detector_counts`.
    """
    assessed = _assessed(assessments, labelled, sorted({mode for message in labelled for mode in message.modes}))
    scope = frozenset(judged_modes)
    verdicts = [
        None
        if assessment.error or scope & frozenset(assessment.abstained)
        else any(label.mode in scope for label in assessment.labels)
        for assessment in assessed
    ]
    shown = [bool(scope & message.modes) for message in labelled]
    return two_by_two("any", text, list(zip(shown, verdicts, strict=True)))


def sensitivity(counts: DetectorCounts) -> Proportion:
    """Share of the messages that show the mode in which it is found; Wilson interval (Wilson 1927)."""
    return proportion(counts.num_true_positive, counts.num_true_positive + counts.num_false_negative)


def specificity(counts: DetectorCounts) -> Proportion:
    """Share of the messages that do not show the mode in which it is not found; Wilson interval."""
    return proportion(counts.num_true_negative, counts.num_true_negative + counts.num_false_positive)


def two_by_two(mode: str, text: str, shown_and_found: Iterable[tuple[bool, bool | None]]) -> DetectorCounts:
    """The table of a mode from what each message shows and the verdict on it; None, no verdict, is in no cell."""
    cells = Counter(shown_and_found)
    return DetectorCounts(
        mode=mode,
        text=text,
        num_true_positive=cells[True, True],
        num_false_negative=cells[True, False],
        num_true_negative=cells[False, False],
        num_false_positive=cells[False, True],
    )


def _assessed(
    assessments: Sequence[Assessment], labelled: Sequence[LabelledMessage], known: Sequence[str]
) -> list[Assessment]:
    """The assessment of each labelled message, in their order."""
    detectors = sorted({assessment.detector for assessment in assessments})
    if len(detectors) > 1:
        raise CorpusError(f"got assessments by {', '.join(detectors)}, expected those of one detector")
    assessed = by_message(assessments)
    seen: set[str] = set()
    in_order: list[Assessment] = []
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
        in_order.append(assessment)
    return in_order


def proportion(count: int, num: int) -> Proportion:
    """``count`` of ``num`` with Wilson's 95 % interval."""
    if num == 0:
        return Proportion(value=None, low=None, high=None, num=0)
    low, high = wilson_interval(count, num)
    return Proportion(value=count / num, low=low, high=high, num=num)


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
    by_key: dict[tuple[str, int], Assessment] = {}
    for assessment in assessments:
        key = (assessment.conversation_id, assessment.turn)
        if key in by_key:
            raise CorpusError(f"turn {key[1]} of {key[0]}: got two assessments of it, expected one; ids must be unique")
        by_key[key] = assessment
    return by_key


def modes_or_shipped(modes: Sequence[str] | None) -> tuple[str, ...]:
    """The ids given, or those of the taxonomy that ships."""
    return load_taxonomy().ids if modes is None else tuple(modes)


def _check_modes(message: LabelledMessage, known: Sequence[str]) -> None:
    for mode in sorted(message.modes - set(known)):
        near = difflib.get_close_matches(mode, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"valid: {', '.join(known)}"
        raise CorpusError(f"labelled message {message.id}: unknown mode {mode!r}; {hint}")
