"""Prompts of a chatbot under test: system prompt, examples, and the dialogue in its own roles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from advsim.prompts.frames import Frames
from advsim.prompts.text import encode_text
from advsim.prompts.window import ContextOverflowError, window_start
from advsim.records import Speaker, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHATBOT_OPENING_CUE = "Hello."
"""What a chatbot that opened the dialogue is shown as the user's first message, for the same reason."""


class ChatbotPrompts:
    """Prompts of a chatbot under test: system prompt, examples, and the dialogue in its own roles, cut to the budget.

    Args:
        tokenizer: of the chatbot's model.
        system_prompt: its instructions.
        budget_tokens: longest prompt; the oldest turns of the dialogue go first, never the examples.
        examples: (user, chatbot) texts that stand in front of every dialogue.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        system_prompt: str,
        budget_tokens: int,
        examples: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._encode = lru_cache(maxsize=8192)(partial(encode_text, tokenizer))
        self._system_prompt = system_prompt
        self._budget_tokens = budget_tokens
        self._examples = tuple(examples)
        self.frames = Frames.of(tokenizer)

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """Tokens that end a generated turn."""
        return (self.frames.end_of_turn[-1],)

    def messages(self, turns: Sequence[Turn]) -> list[dict[str, str]]:
        """The dialogue as chat messages, for engines that take text (endpoints, scripted)."""
        return [
            {"role": "system", "content": self._system_prompt},
            *({"role": _CHATBOT_ROLES[speaker], "content": text} for speaker, text in self._example_turns()),
            *({"role": _CHATBOT_ROLES[speaker], "content": text} for speaker, text in _shown_to_chatbot(turns)),
        ]

    def prompt(self, turns: Sequence[Turn]) -> tuple[int, ...]:
        """Prompt for the chatbot's reply to ``turns``, which end with the user's.

        Raises:
            ContextOverflowError: the system prompt, the examples and one user turn alone exceed the budget.
        """
        head = self.frames.start + self._encode(self._system_prompt) + self.frames.system_to_user
        head += tuple(token for speaker, text in self._example_turns() for token in self._piece(speaker, text))
        shown = _shown_to_chatbot(turns)
        pieces = [self._piece(speaker, text) for speaker, text in shown]
        newest = [speaker is Speaker.USER for speaker, _ in shown]
        first = window_start([len(piece) for piece in pieces], newest, space=self._budget_tokens - len(head))
        if first is None:
            raise ContextOverflowError(
                f"the chatbot's system prompt and examples take {len(head)} tokens, which leaves no room for the "
                f"longest user message in a prompt of {self._budget_tokens}; shorten chatbot.system_prompt or "
                "chatbot.examples, or raise engine.max_model_len"
            )
        if first and shown[first][0] is Speaker.CHATBOT:
            first += 1
        return head + tuple(token for piece in pieces[first:] for token in piece)

    def _example_turns(self) -> list[tuple[Speaker, str]]:
        return [turn for user, reply in self._examples for turn in ((Speaker.USER, user), (Speaker.CHATBOT, reply))]

    def _piece(self, speaker: Speaker, text: str) -> tuple[int, ...]:
        after = self.frames.user_to_assistant if speaker is Speaker.USER else self.frames.assistant_to_user
        return self._encode(text) + after


_CHATBOT_ROLES = {Speaker.USER: "user", Speaker.CHATBOT: "assistant"}


def _shown_to_chatbot(turns: Sequence[Turn]) -> list[tuple[Speaker, str]]:
    """Speakers and texts, a cue in front where the chatbot opened the dialogue: templates want a user role first."""
    cue = [(Speaker.USER, CHATBOT_OPENING_CUE)] if turns and turns[0].speaker is Speaker.CHATBOT else []
    return cue + [(turn.speaker, turn.text) for turn in turns]
