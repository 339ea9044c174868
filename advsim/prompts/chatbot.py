"""Prompts of a chatbot under test: system prompt, examples, and the dialogue in its own roles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import TYPE_CHECKING

from advsim.prompts.chatbot_frames import chatbot_frames, reply_text
from advsim.prompts.text import encode_text
from advsim.prompts.window import ContextOverflowError, window_start
from advsim.records import Speaker, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHATBOT_OPENING_CUE = "Hello."
"""What a chatbot that opened the dialogue is shown as the user's first message, for the same reason."""


class ChatbotPrompts:
    """Prompts of a chatbot under test: system prompt, examples, and the dialogue in its own roles, cut to the budget.

    A chatbot meets what its chat template prints, with thinking off where the template knows how. Texts are tokenised
    by themselves: no template changes them, and nobody can write a control token into a prompt.

    Args:
        tokenizer: of the chatbot's model.
        system_prompt: its instructions; they head the first user message where the template has no system role.
        budget_tokens: longest prompt; the oldest turns of the dialogue go first, never the examples.
        examples: (user, chatbot) texts that stand in front of every dialogue.

    Raises:
        ConfigError: the chat template renders no dialogue of user and assistant.
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
        self._frames = chatbot_frames(tokenizer)
        self._reply_text = partial(reply_text, tokenizer, opens_thought=self._frames.opens_thought)

    @property
    def stop_token_ids(self) -> tuple[int, ...]:
        """Tokens that end a generated turn."""
        return (self._frames.stop_token_id,)

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
        examples = [self._encode(text) for _, text in self._example_turns()]
        shown = _shown_to_chatbot(turns)
        texts = [self._encode(text) for _, text in shown]
        newest = [speaker is Speaker.USER for speaker, _ in shown]
        sizes = [len(text) + self._frames.size_behind(speaker) for (speaker, _), text in zip(shown, texts, strict=True)]
        num_head_tokens = len(self._assemble([*examples, ()])) - self._frames.size_behind(Speaker.USER)
        first = window_start(sizes, newest, space=self._budget_tokens - num_head_tokens)
        if first is None:
            raise self._overflow(num_head_tokens)
        if first and shown[first][0] is Speaker.CHATBOT:
            first += 1
        prompt_ids = self._assemble([*examples, *texts[first:]])
        while len(prompt_ids) > self._budget_tokens:  # a template that prints more the longer the dialogue is
            first += 2
            if first >= len(texts):
                raise self._overflow(num_head_tokens)
            prompt_ids = self._assemble([*examples, *texts[first:]])
        return prompt_ids

    def reply_text(self, text: str, token_ids: Sequence[int]) -> str:
        """What a chatbot generated, with the marks of a thought that an engine took out or the prompt already had."""
        return self._reply_text(text, token_ids)

    def _assemble(self, texts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        start, behind_system, *gaps = self._frames.gaps((len(texts) + 1) // 2)
        pieces = [start, self._encode(self._system_prompt), behind_system]
        for text, gap in zip(texts, gaps, strict=True):
            pieces += [text, gap]
        return tuple(chain.from_iterable(pieces))

    def _overflow(self, num_head_tokens: int) -> ContextOverflowError:
        return ContextOverflowError(
            f"the chatbot's system prompt and examples take {num_head_tokens} tokens, which leaves no room for the "
            f"longest user message in a prompt of {self._budget_tokens}; shorten chatbot.system_prompt or "
            "chatbot.examples, or raise engine.max_model_len"
        )

    def _example_turns(self) -> list[tuple[Speaker, str]]:
        return [turn for user, reply in self._examples for turn in ((Speaker.USER, user), (Speaker.CHATBOT, reply))]


_CHATBOT_ROLES = {Speaker.USER: "user", Speaker.CHATBOT: "assistant"}


def _shown_to_chatbot(turns: Sequence[Turn]) -> list[tuple[Speaker, str]]:
    """Speakers and texts, a cue in front where the chatbot opened the dialogue: templates want a user role first."""
    cue = [(Speaker.USER, CHATBOT_OPENING_CUE)] if turns and turns[0].speaker is Speaker.CHATBOT else []
    return cue + [(turn.speaker, turn.text) for turn in turns]
