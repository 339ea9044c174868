"""The table that rates, divergence, validity and A/B tests work on: a row for each chatbot message.

A row says which modes were found in the message, on which the detector gave no verdict, and whether the message could
be judged at all. :func:`tally` turns rows into counts per cluster, the form in which every estimate here is computed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from advsim.records import Assessment, HasTurns, chatbot_turns


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageOutcome:
    """What is known of one chatbot message.

    Attributes:
        configuration: the chatbot configuration that wrote it.
        dialogue_id: the dialogue or conversation it stands in.
        user_id: whose dialogue it is, where known: messages of one user are one cluster.
        turn: index of the message among all turns.
        modes: failure modes found in it.
        abstained: modes without a verdict: neither failures nor passes.
        not_known: those of them that the detector never judges: they play no part in "any mode".
        error: the message could not be judged at all (time-out, unreadable answer, never assessed).
    """

    configuration: str
    dialogue_id: str
    user_id: str | None
    turn: int
    modes: frozenset[str]
    abstained: frozenset[str] = frozenset()
    not_known: frozenset[str] = frozenset()
    error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts of judged messages per cluster. A cluster is a user, or a dialogue where the user is not known.

    Attributes:
        failing: failing messages of each cluster, shape (clusters,).
        judged: judged messages of each cluster, all above 0, shape (clusters,).
        num_dialogues: dialogues with a judged message.
        num_not_judged: messages without a verdict.
        clusters: which they are; the same user has the same name in every tally.
    """

    failing: npt.NDArray[np.float64]
    judged: npt.NDArray[np.float64]
    num_dialogues: int
    num_not_judged: int
    clusters: tuple[tuple[str, str], ...]

    @property
    def num_messages(self) -> int:
        """Judged messages."""
        return int(self.judged.sum())

    @property
    def num_clusters(self) -> int:
        """Users, or dialogues where users are not known, with a judged message."""
        return len(self.judged)

    @property
    def rate(self) -> float | None:
        """Failing messages / judged messages; None without a judged message."""
        return float(self.failing.sum() / self.judged.sum()) if len(self.judged) else None


def outcomes(
    configuration: str,
    holders: Sequence[HasTurns],
    assessments: Sequence[Assessment],
    users: Mapping[str, str] | None = None,
    *,
    modes: Collection[str] | None = None,
    judged_modes: Collection[str] | None = None,
    left_out: Collection[tuple[str, int]] = (),
) -> list[MessageOutcome]:
    """Join dialogues with what a detector said of them: one row a chatbot message, in the order of the dialogues.

    A message without an assessment counts as one that could not be judged. Where a message was assessed more than once
    (a judge asked twice, two detectors), a mode has the verdict on which all that gave one agree; a mode on which they
    disagree, or that one assessment both labels and abstains on, counts as abstained. Assessments with an error say
    nothing as long as there is one without.

    Args:
        configuration: name of the chatbot configuration.
        holders: dialogues or conversations; those without chatbot turns give no rows.
        assessments: of their chatbot turns, in any order.
        users: user of each dialogue by dialogue id; a dialogue that is missing has no known user.
        modes: the known mode ids; None accepts every name.
        judged_modes: those that the detector can judge (``detector.modes``); None: all. A message on which all of them
            are unclear is one that could not be judged.
        left_out: (dialogue id, turn) of chatbot turns that another than this chatbot wrote: they give no row.

    Raises:
        ValueError: two dialogues have one id, an assessment names a message that is not there, a label names another
            message than its assessment, or a mode is not among ``modes``.
    """
    given: dict[tuple[str, int], list[Assessment]] = {}
    ids: set[str] = set()
    for holder in holders:
        if holder.id in ids:
            raise ValueError(f"configuration {configuration}: got two dialogues with id {holder.id}, expected one")
        ids.add(holder.id)
        for turn, _ in chatbot_turns(holder):
            given[holder.id, turn] = []
    known = frozenset((modes if judged_modes is None else judged_modes) or ())
    others = set(left_out)
    for assessment in assessments:
        key = (assessment.conversation_id, assessment.turn)
        if key not in given:
            there = "has no chatbot message at that turn" if key[0] in ids else "is not among the dialogues given"
            raise ValueError(f"configuration {configuration}: assessment of turn {key[1]} of {key[0]}, which {there}")
        _check_labels(assessment, modes)
        given[key].append(assessment)
    known_users = users or {}
    return [
        _row(configuration, dialogue_id, known_users.get(dialogue_id), turn, said, known, judged_modes is not None)
        for (dialogue_id, turn), said in given.items()
        if (dialogue_id, turn) not in others
    ]


def _check_labels(assessment: Assessment, modes: Collection[str] | None) -> None:
    where = f"assessment of turn {assessment.turn} of {assessment.conversation_id} by {assessment.detector}"
    for label in assessment.labels:
        if (label.conversation_id, label.turn) != (assessment.conversation_id, assessment.turn):
            raise ValueError(f"{where}: its label {label.mode} names turn {label.turn} of {label.conversation_id}")
    if modes is not None:
        named = {label.mode for label in assessment.labels} | set(assessment.abstained)
        if unknown := sorted(named - set(modes)):
            raise ValueError(f"{where}: unknown modes {', '.join(unknown)}; known are {', '.join(sorted(modes))}")


def _row(
    configuration: str,
    dialogue_id: str,
    user_id: str | None,
    turn: int,
    assessments: Sequence[Assessment],
    known: frozenset[str],
    has_scope: bool,
) -> MessageOutcome:
    readable = [assessment for assessment in assessments if not assessment.error]
    labelled = [{label.mode for label in assessment.labels} for assessment in readable]
    abstained = [set(assessment.abstained) for assessment in readable]
    failing: set[str] = set()
    unclear: set[str] = set()
    for mode in set().union(*labelled, *abstained):
        # A verdict is True, False, or both at once where one assessment labels a mode and abstains on it.
        verdicts = [mode in labels for labels, unsure in zip(labelled, abstained, strict=True) if mode not in unsure]
        contradicts = any(mode in labels & unsure for labels, unsure in zip(labelled, abstained, strict=True))
        if contradicts or len(set(verdicts)) != 1:
            unclear.add(mode)
        elif verdicts[0]:
            failing.add(mode)
    return MessageOutcome(
        configuration=configuration,
        dialogue_id=dialogue_id,
        user_id=user_id,
        turn=turn,
        modes=frozenset(failing),
        abstained=frozenset(unclear),
        not_known=frozenset(unclear) - known if has_scope else frozenset(),
        error=not readable or (bool(known) and known <= unclear),
    )


def of_modes(rows: Sequence[MessageOutcome], modes: Collection[str]) -> list[MessageOutcome]:
    """The rows with these modes alone: a message that fails in others only is one that does not fail."""
    known = frozenset(modes)
    return [replace(row, modes=row.modes & known) for row in rows]


def is_judged(row: MessageOutcome, mode: str | None) -> bool:
    """Whether a message counts in a rate.

    For ``mode`` None (any mode) every mode that the detector knows must have a verdict. A message with a failure found
    and another mode unclear is left out as well: leaving out only those without a failure found would raise the rate.

    Args:
        row: the message.
        mode: one mode, or None for any.
    """
    if row.error:
        return False
    return not row.abstained - row.not_known if mode is None else mode not in row.abstained


def fails(row: MessageOutcome, mode: str | None) -> bool:
    """Whether the mode, or any mode for None, was found in the message."""
    return bool(row.modes) if mode is None else mode in row.modes


def cluster_of(row: MessageOutcome) -> tuple[str, str]:
    """The user, or the dialogue where the user is not known."""
    return ("dialogue", row.dialogue_id) if row.user_id is None else ("user", row.user_id)


def tally(rows: Sequence[MessageOutcome], mode: str | None = None) -> Tally:
    """Count failing and judged messages per cluster.

    Args:
        rows: messages; of several configurations where a rate over all of them is meant.
        mode: one mode, or None for any mode.

    Raises:
        ValueError: a message is there twice.
    """
    counts: dict[tuple[str, str], list[int]] = {}
    seen: set[tuple[str, str, int]] = set()
    dialogues: set[tuple[str, str]] = set()
    num_not_judged = 0
    for row in rows:
        key = (row.configuration, row.dialogue_id, row.turn)
        if key in seen:
            raise ValueError(f"configuration {key[0]}: got turn {key[2]} of {key[1]} twice, expected one row a message")
        seen.add(key)
        if not is_judged(row, mode):
            num_not_judged += 1
            continue
        dialogues.add(key[:2])
        count = counts.setdefault(cluster_of(row), [0, 0])
        count[0] += fails(row, mode)
        count[1] += 1
    table = np.array(list(counts.values()), dtype=np.float64).reshape(-1, 2)
    return Tally(
        failing=table[:, 0],
        judged=table[:, 1],
        num_dialogues=len(dialogues),
        num_not_judged=num_not_judged,
        clusters=tuple(counts),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeCounts:
    """Counts per cluster for several modes at once.

    Attributes:
        clusters: the clusters, those without a judged message included.
        failing: failing messages, shape (clusters, modes).
        judged: judged messages, shape (clusters, modes).
    """

    clusters: tuple[tuple[str, str], ...]
    failing: npt.NDArray[np.float64]
    judged: npt.NDArray[np.float64]


def mode_counts(rows: Sequence[MessageOutcome], modes: Sequence[str | None]) -> ModeCounts:
    """Count failing and judged messages per cluster and mode in one pass; the counts are those of :func:`tally`.

    Args:
        rows: messages of one configuration.
        modes: mode ids, and None for any mode; none twice. Modes that are not named count in "any" alone.
    """
    column = {mode: m for m, mode in enumerate(modes)}
    number: dict[tuple[str, str], int] = {}
    of_row = [number.setdefault(cluster_of(row), len(number)) for row in rows]
    failing, judged = np.zeros((2, len(number), len(modes)))
    for cluster, row in zip(of_row, rows, strict=True):
        if row.error:
            continue
        judged[cluster] += 1
        for mode in row.modes - row.abstained:
            if mode in column:
                failing[cluster, column[mode]] += 1
        for mode in row.abstained:
            if mode in column:
                judged[cluster, column[mode]] -= 1
        if None in column:
            clear = is_judged(row, None)
            failing[cluster, column[None]] += clear and fails(row, None)
            judged[cluster, column[None]] -= not clear
    return ModeCounts(clusters=tuple(number), failing=failing, judged=judged)
