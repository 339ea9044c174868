"""What a chatbot under test can do: reply to a dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from advsim.records import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """What a speaker said, with what it cost."""

    text: str
    token_ids: tuple[int, ...]
    finished: bool
    num_prompt_tokens: int


class ChatbotSpeaker(Protocol):
    """Speaks the chatbot's part."""

    async def reply(self, turns: Sequence[Turn], *, seed: int) -> Utterance:
        """The chatbot's reply to ``turns``, which end with the user's."""
