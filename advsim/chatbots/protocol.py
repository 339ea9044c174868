"""The protocol of chatbots under test: reply to a dialogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from advsim.records import Effort, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """A speaker's text with its tokens and the length of its prompt.

    ``effort`` is of a chatbot's reply; ``num_drawn_tokens`` of all draws, where the text was chosen among several.
    """

    text: str
    token_ids: tuple[int, ...]
    finished: bool
    num_prompt_tokens: int
    effort: Effort | None = None
    num_drawn_tokens: int = 0

    @property
    def num_output_tokens(self) -> int:
        """Tokens that were written: those that are here, else those that the chatbot told; 0 where it told none."""
        told = None if self.effort is None else self.effort.num_output_tokens
        return self.num_drawn_tokens or len(self.token_ids) or told or 0


class ChatbotSpeaker(Protocol):
    """Speaks the chatbot's part."""

    @property
    def bounds_time(self) -> bool:
        """Whether :meth:`reply` fails by itself where the chatbot takes too long, waiting for its turn left out."""

    async def reply(self, turns: Sequence[Turn], *, seed: int, session: str) -> Utterance:
        """The chatbot's reply to ``turns``, which end with the user's.

        Args:
            turns: the dialogue so far.
            seed: of the reply.
            session: names this conversation to a chatbot that keeps the dialogue itself; no other one has it.

        Raises:
            ChatbotError: there is no reply, and why.
        """

    async def end(self, session: str) -> None:
        """Forget a conversation; the last call for it."""
