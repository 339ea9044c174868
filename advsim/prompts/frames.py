"""Chat templates taken apart into constant token frames, for token-exact prompts.

The simulator plays the *user*, but a chat model is trained to write as ``assistant``: for the simulator the roles are
flipped, so that the user speaks as ``assistant`` and the chatbot as ``user``.

Token-exactness. Rendering a growing dialogue through a chat template and tokenising the whole string again may change
earlier tokens (templates that look at the last message, tokens that merge over a boundary). So a template is taken
apart once into constant *frames* (what stands before, between and after messages), each frame and each text is
tokenised by itself, and every sequence here is a concatenation of these pieces. Training and generation share them, and
a simulated turn keeps its sampled tokens: what is trained on is what was generated on, token for token. A template that
cannot be taken apart so is refused with the reason.

Control tokens in texts are taken as plain characters: nobody can write one into a prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from advsim.errors import ConfigError
from advsim.prompts.text import control_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """The constant token pieces of a chat template.

    A prompt is ``start + system + system_to_user + user + user_to_assistant + assistant + assistant_to_user + ...`` and
    ends with ``user_to_assistant``. Where the template has no system role, ``start`` and ``system_to_user`` are such
    that the system text is the head of the first user message.
    """

    start: tuple[int, ...]
    system_to_user: tuple[int, ...]
    user_to_assistant: tuple[int, ...]
    assistant_to_user: tuple[int, ...]
    end_of_turn: tuple[int, ...]  # head of assistant_to_user up to its first control token: ends a generated turn
    has_system_role: bool

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Frames:
        """Take the tokenizer's chat template apart.

        Raises:
            ConfigError: the template changes earlier messages, or ends a turn with no control token.
        """
        pieces = _template_pieces(tokenizer, with_system=True)
        has_system_role = pieces is not None
        if pieces is None:
            pieces = _template_pieces(tokenizer, with_system=False)
        if pieces is None:
            raise ConfigError(
                "the chat template renders a message differently according to what stands around it, so that training "
                "and generation would see different tokens; use a model (or a chat_template in its tokenizer) with "
                "plain alternating user and assistant messages"
            )
        start, system_to_user, user_to_assistant, assistant_to_user = (
            tuple(tokenizer.encode(piece, add_special_tokens=False)) for piece in pieces
        )
        control = control_tokens(tokenizer)
        first = next((i for i, token in enumerate(assistant_to_user) if token in control), None)
        if first is None:
            raise ConfigError(
                "the chat template ends an assistant message with no control token, so a generated turn has no end; "
                "use a chat template whose messages end with a special token"
            )
        return cls(
            start=start,
            system_to_user=system_to_user,
            user_to_assistant=user_to_assistant,
            assistant_to_user=assistant_to_user,
            end_of_turn=assistant_to_user[: first + 1],
            has_system_role=has_system_role,
        )


def _template_pieces(tokenizer: PreTrainedTokenizerBase, *, with_system: bool) -> tuple[str, str, str, str] | None:
    """Strings of start, system_to_user, user_to_assistant, assistant_to_user; None if the template is not regular."""
    texts = probe_texts(num_user_turns=3, with_system=with_system)
    between = between_texts(texts, render_messages(tokenizer, texts, with_system=with_system))
    if between is None:
        return None
    if not with_system:
        between.insert(1, "\n\n")  # the system text heads the first user message, parted by an empty line
    start, system_to_user, user_to_past_assistant, assistant_to_user = between[:4]
    # Llama 2 and Mistral put a space before an assistant's text that the prompt for it does not have: the model is to
    # write it. What the model sees when it writes is the frame; a text then stands without that space.
    user_to_assistant = between[-1]
    if user_to_past_assistant.rstrip() != user_to_assistant.rstrip():
        return None
    # One rendering does not show what depends on the number or the place of messages: try other lengths.
    for num_user_turns in (1, 2, 3, 5):
        texts = probe_texts(num_user_turns=num_user_turns, with_system=with_system)
        expected = start + (f"{texts[0]}{system_to_user}" if with_system else "")
        *past, newest = texts[1:] if with_system else texts
        for i, text in enumerate(past):
            expected += text + (assistant_to_user if i % 2 else user_to_past_assistant)
        if render_messages(tokenizer, texts, with_system=with_system) != expected + newest + user_to_assistant:
            return None
    return start, system_to_user, user_to_assistant, assistant_to_user


def between_texts(texts: Sequence[str], rendered: str | None) -> list[str] | None:
    """What is printed before, between and behind the texts; None where nothing is, or a text does not stand in it."""
    if rendered is None:
        return None
    between, rest = [], rendered
    for text in texts:
        before, separator, rest = rest.partition(text)
        if not separator:
            return None
        between.append(before)
    return [*between, rest]


def probe_texts(*, num_user_turns: int, with_system: bool) -> list[str]:
    """Texts found in no template: of the system (if any), then in turn of user and assistant, the user's last."""
    turns = [f"Q{'assistant' if i % 2 else 'user'}{i}of{num_user_turns}q" for i in range(2 * num_user_turns - 1)]
    return [f"Qsystem{num_user_turns}q", *turns] if with_system else turns


def render_messages(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, with_system: bool, **variables: bool
) -> str | None:
    """The template's prompt for the next assistant message; None where the template refuses the roles."""
    from jinja2.exceptions import TemplateError

    roles = ["system"] if with_system else []
    roles += ["user" if i % 2 == 0 else "assistant" for i in range(len(texts) - len(roles))]
    try:
        return str(
            tokenizer.apply_chat_template(
                [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)],
                tokenize=False,
                add_generation_prompt=True,
                # Some templates print today's date: frames must not change over a run.
                date_string=_FRAME_DATE.strftime("%d %b %Y"),
                strftime_now=_FRAME_DATE.strftime,
                **variables,
            )
        )
    except (TemplateError, TypeError, ValueError):
        return None


_FRAME_DATE = datetime(2026, 1, 1)
