"""Inputs of an evaluation: groups of dialogues or of next turns."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from advsim.realism.user_texts import UserTexts, user_texts
from advsim.records import Conversation, Dialogue


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInput:
    """One group of dialogues, or only of next turns.

    Attributes:
        name: of the group.
        is_reference: real dialogues that the others are compared with.
        text: ``real`` or ``simulated``; empty where it is not known.
        dialogues: judged and described.
        conversations: the same, where somebody is to be blamed.
        stop_reasons: conversations by why they ended.
        next_turns: user turns written on real held-out prefixes.
        instructions: the simulator's; it must not repeat them.
        openings: messages taken from the real dialogue, not the chatbot's own, as (dialogue id, turn).
    """

    name: str
    is_reference: bool = False
    text: str = ""
    dialogues: tuple[Dialogue, ...] = ()
    conversations: tuple[Conversation, ...] = ()
    stop_reasons: Mapping[str, int] = dataclasses.field(default_factory=dict)
    next_turns: tuple[UserTexts, ...] = ()
    instructions: str = ""
    openings: frozenset[tuple[str, int]] = frozenset()

    @property
    def texts(self) -> list[UserTexts]:
        """User turns of the dialogues."""
        return user_texts(self.dialogues)

    @property
    def users(self) -> dict[str, str]:
        """Known users by dialogue id."""
        return {dialogue.id: dialogue.user_id for dialogue in self.dialogues if dialogue.user_id is not None}

    @property
    def chatbots(self) -> dict[str, str]:
        """Named chatbots by dialogue id."""
        return {dialogue.id: dialogue.chatbot for dialogue in self.dialogues if dialogue.chatbot is not None}
