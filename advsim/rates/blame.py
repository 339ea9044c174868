"""Attribution of failed dialogues: to the chatbot, the user side, the detector's doubt, or the infrastructure.

A chatbot that answers nonsense with nonsense has not failed a person. So rates are given with and without the
conversations in which the user side was at fault: a simulator, or in dialogues of files whoever wrote the user turns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from advsim.rates.outcomes import MessageOutcome, outcomes
from advsim.rates.rates import failure_rate
from advsim.records import Assessment, Conversation, Rate, StopReason, user_turns

MIN_REPEATED_WORDS = 3
"""Shorter user turns ("yes", "thank you") are said twice by people as well: repeating them is no fault."""


class Blame(StrEnum):
    """What a dialogue is attributed to; where several apply, the first in this order."""

    INFRASTRUCTURE = "infrastructure"  # the conversation ended in an error, or no message of it could be judged
    NOT_JUDGED = "not_judged"  # every message is in a language that the detector does not know
    SIMULATOR = "simulator"
    USER_SIDE = "user_side"  # the same where it is not known that a simulator spoke
    CHATBOT = "chatbot"  # a failure found with enough confidence
    DETECTOR_DOUBT = "detector_doubt"  # failures with little confidence only, or no verdict on a mode it mostly judges
    NONE = "none"  # nothing failed


class UserSideFault(StrEnum):
    """What is wrong with the user turns of a conversation."""

    EMPTY_TURN = "empty_turn"
    ROLE_BREAK = "role_break"  # speaks as the chatbot, or repeats its instructions
    REPETITION = "repetition"  # says the same turn twice


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueBlame:
    """What one conversation is attributed to.

    Attributes:
        conversation_id: the conversation.
        blame: the attribution.
        faults: of the user side, whether or not a chatbot message failed.
        num_failing: chatbot messages with a failure of enough confidence.
        num_doubtful: chatbot messages with failures of too little confidence, or with abstentions, only.
        num_not_judged: chatbot messages that could not be judged.
        num_regenerated: user turns that were drawn again, and so are no faults of what stands in the conversation.
    """

    conversation_id: str
    blame: Blame
    faults: tuple[UserSideFault, ...]
    num_failing: int
    num_doubtful: int
    num_not_judged: int
    num_regenerated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlameReport:
    """Attribution of all conversations of a configuration.

    Attributes:
        dialogues: in the order given.
        num_by_blame: conversations by attribution, all attributions named that can be: to a simulator, or to the user
            side.
        num_by_fault: conversations by fault of the user side.
        rate: any-mode failure rate of all conversations.
        rate_without_user_side_faults: without the conversations in which the user side was at fault.
        num_regenerated: user turns that were drawn again.
    """

    dialogues: tuple[DialogueBlame, ...]
    num_by_blame: Mapping[Blame, int]
    num_by_fault: Mapping[UserSideFault, int]
    rate: Rate
    rate_without_user_side_faults: Rate
    num_regenerated: int


UserTurnFault = Callable[[str], StopReason | None]
"""What is wrong with the text of a user turn, as a stop reason; None where nothing is."""


def attribute(
    configuration: str,
    conversations: Sequence[Conversation],
    assessments: Sequence[Assessment],
    *,
    users: Mapping[str, str] | None = None,
    user_turn_fault: UserTurnFault | None = None,
    is_simulated: bool = True,
    min_confidence: float = 0.5,
    mode: str | None = None,
    modes: Collection[str] | None = None,
    judged_modes: Collection[str] | None = None,
    left_out: Collection[tuple[str, int]] = (),
) -> BlameReport:
    """Attribute every conversation.

    Args:
        configuration: name of the chatbot configuration.
        conversations: what was said.
        assessments: of their chatbot turns.
        users: user of each conversation by id, where known.
        user_turn_fault: finds empty and out-of-role user turns by their text; None: only empty turns, exact repetition
            and the stop reason are looked at.
        is_simulated: whether a simulator spoke the user; False: real people, or it is not known.
        min_confidence: labels of a lower confidence are the detector's doubt.
        mode: of the rates; None: any mode. Attribution is always by any mode.
        modes: see :func:`advsim.rates.outcomes.outcomes`.
        judged_modes: see there.
        left_out: see there.

    Raises:
        ValueError: ``min_confidence`` is not between 0 and 1, or see :func:`advsim.rates.outcomes.outcomes`.
    """
    if not 0 <= min_confidence <= 1:
        raise ValueError(f"min_confidence: got {min_confidence}, expected 0 to 1")
    rows = outcomes(
        configuration, conversations, assessments, users, modes=modes, judged_modes=judged_modes, left_out=left_out
    )
    confidence: dict[tuple[str, int], float] = {}
    for assessment in assessments:
        for label in assessment.labels:
            key = (label.conversation_id, label.turn)
            confidence[key] = max(confidence.get(key, 0.0), label.confidence)
    not_known = {(each.conversation_id, each.turn) for each in assessments if each.other_language}
    by_dialogue: dict[str, list[MessageOutcome]] = {conversation.id: [] for conversation in conversations}
    for row in rows:
        by_dialogue[row.dialogue_id].append(row)
    blamed = tuple(
        _blame(
            conversation,
            by_dialogue[conversation.id],
            confidence=confidence,
            is_other_language=all((row.dialogue_id, row.turn) in not_known for row in by_dialogue[conversation.id]),
            faults=user_side_faults(conversation, user_turn_fault),
            user_side=Blame.SIMULATOR if is_simulated else Blame.USER_SIDE,
            min_confidence=min_confidence,
        )
        for conversation in conversations
    )
    at_fault = {d.conversation_id for d in blamed if d.faults}
    counted = Counter(d.blame for d in blamed)
    faults = Counter(fault for d in blamed for fault in d.faults)
    never = Blame.USER_SIDE if is_simulated else Blame.SIMULATOR
    faultless = [row for row in rows if row.dialogue_id not in at_fault]
    return BlameReport(
        dialogues=blamed,
        num_by_blame={blame: counted[blame] for blame in Blame if blame is not never},
        num_by_fault={fault: faults[fault] for fault in UserSideFault},
        rate=failure_rate(rows, mode=mode),
        rate_without_user_side_faults=failure_rate(faultless, mode=mode),
        num_regenerated=sum(d.num_regenerated for d in blamed),
    )


def user_side_faults(
    conversation: Conversation, user_turn_fault: UserTurnFault | None = None
) -> tuple[UserSideFault, ...]:
    """The faults of the user side that stand in a conversation, each once, in the order of :class:`UserSideFault`.

    Two user turns of at least ``MIN_REPEATED_WORDS`` words that are the same but for case and spaces are a repetition.
    """
    faults: set[UserSideFault] = set()
    stopped = _FAULT_OF.get(conversation.stop_reason)
    if stopped is not None:
        faults.add(stopped)
    said: set[str] = set()
    for _, turn in user_turns(conversation):
        words = turn.text.lower().split()
        reason = user_turn_fault(turn.text) if user_turn_fault is not None else None
        if not words:
            faults.add(UserSideFault.EMPTY_TURN)
        elif reason in _FAULT_OF:
            faults.add(_FAULT_OF[reason])
        key = " ".join(words)
        if len(words) >= MIN_REPEATED_WORDS and key in said:
            faults.add(UserSideFault.REPETITION)
        said.add(key)
    return tuple(fault for fault in UserSideFault if fault in faults)


_FAULT_OF: Mapping[StopReason | None, UserSideFault] = {
    StopReason.EMPTY_TURN: UserSideFault.EMPTY_TURN,
    StopReason.ROLE_BREAK: UserSideFault.ROLE_BREAK,
}


def _blame(
    conversation: Conversation,
    rows: Sequence[MessageOutcome],
    *,
    confidence: Mapping[tuple[str, int], float],
    is_other_language: bool,
    faults: tuple[UserSideFault, ...],
    user_side: Blame,
    min_confidence: float,
) -> DialogueBlame:
    sure = {row.turn for row in rows if row.modes and confidence[row.dialogue_id, row.turn] >= min_confidence}
    doubtful = {
        row.turn
        for row in rows
        if not row.error and row.turn not in sure and (row.modes or row.abstained - row.not_known)
    }
    num_not_judged = sum(row.error for row in rows)
    failed = bool(sure or doubtful)
    if conversation.stop_reason is StopReason.ERROR or conversation.error:
        blame = Blame.INFRASTRUCTURE
    elif rows and num_not_judged == len(rows):
        blame = Blame.NOT_JUDGED if is_other_language else Blame.INFRASTRUCTURE
    elif faults and (failed or conversation.stop_reason in _FAULT_OF):
        blame = user_side
    elif sure:
        blame = Blame.CHATBOT
    elif doubtful:
        blame = Blame.DETECTOR_DOUBT
    else:
        blame = Blame.NONE
    return DialogueBlame(
        conversation_id=conversation.id,
        blame=blame,
        faults=faults,
        num_failing=len(sure),
        num_doubtful=len(doubtful),
        num_not_judged=num_not_judged,
        num_regenerated=conversation.num_regenerated,
    )
