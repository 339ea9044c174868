"""Token-exact prompts of one instruction and one question, as a judge is asked."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from advsim.errors import ConfigError
from advsim.prompts.rendering import LAYOUTS, ChatTemplate, RenderError
from advsim.prompts.text import encode_text
from advsim.prompts.window import ContextOverflowError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class QuestionPrompts:
    """Token-exact prompts of one instruction and one question, as a judge is asked.

    A question has no past, so that templates which render a message according to those around it are fine here. A model
    that would think before it answers is told not to, where its template knows ``enable_thinking``.

    Args:
        tokenizer: of the model that is asked.
        budget_tokens: tokens of a prompt at most.

    Raises:
        ConfigError: the chat template does not print the messages as they are.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, budget_tokens: int) -> None:
        pieces = _question_pieces(ChatTemplate.of(tokenizer))
        if pieces is None:
            raise ConfigError(
                "the chat template does not print a system and a user message as they are, so that they cannot be "
                "judged as they are; use a model (or a chat_template in its tokenizer) with plain messages"
            )
        self._frames = [tuple(tokenizer.encode(piece, add_special_tokens=False)) for piece in pieces]
        self._encode = lru_cache(maxsize=64)(partial(encode_text, tokenizer))  # instructions come again and again
        self._budget_tokens = budget_tokens

    def prompt(self, instruction: str, question: str) -> tuple[int, ...]:
        """Prompt for the answer to ``question``.

        Raises:
            ContextOverflowError: it exceeds the budget.
        """
        start, between, end = self._frames
        head = start + self._encode(instruction) + between
        prompt_ids = head + self._encode(question) + end
        if len(prompt_ids) > self._budget_tokens:
            raise ContextOverflowError(
                f"the prompt takes {len(prompt_ids)} tokens, {len(head)} of them instructions, but may take "
                f"{self._budget_tokens}"
            )
        return prompt_ids


def _question_pieces(template: ChatTemplate) -> list[str] | None:
    """Strings before the instruction, between it and the question, and behind that; None where texts are changed."""
    for layout in LAYOUTS:
        try:
            pieces = template.gaps(layout, num_user_turns=1)
        except RenderError:
            continue
        # without a system role the instruction heads the question, parted by an empty line
        return pieces if layout.has_system_role else [pieces[0], "\n\n", pieces[1]]
    return None
