"""The protocol of chatbots under test: reply to a dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from advsim.records import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A speaker's text with its tokens and the length of its prompt."""

    text: str
    token_ids: tuple[int, ...]
    finished: bool
    num_prompt_tokens: int


class ChatbotSpeaker(Protocol):
    """Speaks the chatbot's part."""

    async def reply(self, turns: Sequence[Turn], *, seed: int) -> Utterance:
        """The chatbot's reply to ``turns``, which end with the user's."""
