"""What users wrote, dialogue by dialogue: the input of the comparisons between two groups of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advsim.records import HasTurns, NextTurn, user_turns


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTexts:
    """User turns of one dialogue, oldest first. ``user`` is who wrote them, or the dialogue's id where unknown."""

    dialogue_id: str
    user: str
    texts: tuple[str, ...]


def user_texts(holders: Sequence[HasTurns], users: Mapping[str, str] | None = None) -> list[UserTexts]:
    """User turns of each dialogue, without those dialogues that have none.

    Args:
        holders: dialogues or conversations.
        users: who wrote, by dialogue id; a dialogue that is not named is a user of its own.
    """
    known = users or {}
    found = [
        UserTexts(
            dialogue_id=holder.id,
            user=known.get(holder.id, holder.id),
            texts=tuple(turn.text for _, turn in user_turns(holder)),
        )
        for holder in holders
    ]
    return [one for one in found if one.texts]


def next_turn_texts(turns: Sequence[NextTurn], users: Mapping[str, str] | None = None) -> list[UserTexts]:
    """Next turns grouped by the real dialogue on whose prefixes they were written, in the order of the turns."""
    known = users or {}
    by_dialogue: dict[str, list[NextTurn]] = {}
    for turn in turns:
        by_dialogue.setdefault(turn.dialogue_id, []).append(turn)
    return [
        UserTexts(
            dialogue_id=name,
            user=known.get(name, name),
            texts=tuple(turn.text for turn in sorted(group, key=lambda turn: turn.turn)),
        )
        for name, group in by_dialogue.items()
    ]


def num_user_turns_in_common(*groups: Sequence[UserTexts], share: float = 0.8) -> int:
    """The largest number of user turns that at least ``share`` of the dialogues of every group have; at least 1.

    Figures of a dialogue depend on its length (a share over 3 turns spreads more than one over 12), so that groups are
    compared on the first so many turns of each dialogue.
    """
    lengths = [sorted((len(one.texts) for one in group), reverse=True) for group in groups if group]
    return max(1, min((each[int(share * (len(each) - 1))] for each in lengths), default=1))
