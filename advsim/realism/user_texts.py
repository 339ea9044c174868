"""User turns by dialogue: the input of the comparisons between two groups of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advsim.corpus.prefixes import user_of
from advsim.records import Dialogue, NextTurn, user_turns


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTexts:
    """User turns of one dialogue, oldest first. ``user`` is who wrote them (:func:`advsim.corpus.prefixes.user_of`)."""

    dialogue_id: str
    user: str
    texts: tuple[str, ...]


def user_texts(dialogues: Sequence[Dialogue]) -> list[UserTexts]:
    """User turns of each dialogue, without those dialogues that have none."""
    groups = [
        UserTexts(
            dialogue_id=dialogue.id,
            user=user_of(dialogue),
            texts=tuple(turn.text for _, turn in user_turns(dialogue)),
        )
        for dialogue in dialogues
    ]
    return [group for group in groups if group.texts]


def next_turn_texts(turns: Sequence[NextTurn], dialogues: Mapping[str, Dialogue]) -> list[UserTexts]:
    """Next turns grouped by the real dialogue on whose prefixes they were written, in the order of the turns.

    Args:
        turns: of any number of dialogues.
        dialogues: the real ones, by id.
    """
    by_dialogue: dict[str, list[NextTurn]] = {}
    for turn in turns:
        by_dialogue.setdefault(turn.dialogue_id, []).append(turn)
    return [
        UserTexts(
            dialogue_id=name,
            user=user_of(dialogues[name]),
            texts=tuple(turn.text for turn in sorted(group, key=lambda turn: turn.turn)),
        )
        for name, group in by_dialogue.items()
    ]


def num_user_turns_in_common(*groups: Sequence[UserTexts], share: float = 0.8) -> int:
    """The largest number of user turns that at least ``share`` of the dialogues of every group have; at least 1.

    Figures of a dialogue depend on its length (a share over 3 turns spreads more than one over 12), so that groups are
    compared on the first so many turns of each dialogue.
    """
    lengths = [sorted((len(texts.texts) for texts in group), reverse=True) for group in groups if group]
    return max(1, min((side[int(share * (len(side) - 1))] for side in lengths), default=1))
