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

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advsim.errors import ConfigError
from advsim.prompts.rendering import LAYOUTS, ChatTemplate, Layout, RenderError
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

    is_as_rendered: bool  # the template prints earlier assistant messages in these very frames

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Frames:
        """Take the tokenizer's chat template apart.

        Raises:
            ConfigError: the template changes earlier messages, or ends a turn with no control token.
        """
        pieces = template_pieces(ChatTemplate.of(tokenizer))
        start, system_to_user, user_to_assistant, assistant_to_user = (
            tuple(tokenizer.encode(piece, add_special_tokens=False))
            for piece in (pieces.start, pieces.system_to_user, pieces.user_to_assistant, pieces.assistant_to_user)
        )
        control = control_tokens(tokenizer)
        first = next((i for i, token in enumerate(assistant_to_user) if token in control), None)
        if first is None:
            raise ConfigError(NO_END_OF_TURN)
        return cls(
            start=start,
            system_to_user=system_to_user,
            user_to_assistant=user_to_assistant,
            assistant_to_user=assistant_to_user,
            end_of_turn=assistant_to_user[: first + 1],
            has_system_role=pieces.has_system_role,
            is_as_rendered=pieces.is_as_rendered,
        )


NO_END_OF_TURN = (
    "the chat template ends an assistant message with no control token, so a generated turn has no end; use a chat "
    "template whose messages end with a special token"
)

_IRREGULAR = (
    "renders a message differently according to what stands around it, so that training and generation would see "
    "different tokens"
)
_NUM_USER_TURNS_COMPARED = (1, 2, 3, 5)  # one rendering does not show what depends on the number or place of messages
_THINK = r"<think>|\[THINK\]|◁think▷|<seed:think>"
_END_THINK = r"</think>|\[/THINK\]|◁/think▷|</seed:think>"
_EMPTY_THOUGHT = re.compile(rf"\s*(?:{_THINK})?\s*(?:{_END_THINK})\s*")
_OPEN_THOUGHT = re.compile(rf"(?:{_THINK})\s*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatePieces:
    """The strings of :class:`Frames`."""

    start: str
    system_to_user: str
    user_to_assistant: str
    assistant_to_user: str
    has_system_role: bool
    is_as_rendered: bool


def template_pieces(template: ChatTemplate) -> TemplatePieces:
    """Take a chat template apart, for a writer that does not think.

    Raises:
        ConfigError: it changes earlier messages, or renders no dialogue of user and assistant.
    """
    reasons = []
    for layout in LAYOUTS:
        try:
            return _pieces(template, layout)
        except RenderError as error:
            reasons.append(str(error))
    reason = _IRREGULAR if _IRREGULAR in reasons else reasons[0]
    raise ConfigError(
        f"the chat template {reason}; use a model (or a chat_template in its tokenizer) with plain alternating user "
        "and assistant messages"
    )


def _pieces(template: ChatTemplate, layout: Layout) -> TemplatePieces:
    start, *first_gaps = template.gaps(layout, num_user_turns=2)
    system_to_user = first_gaps.pop(0) if layout.has_system_role else "\n\n"  # without: it heads the first user message
    past, assistant_to_user, newest = first_gaps
    head = [start, system_to_user] if layout.has_system_role else [start]
    is_as_rendered = past.rstrip(" ") == newest.rstrip(" ")
    for num_user_turns in _NUM_USER_TURNS_COMPARED:
        gaps = template.gaps(layout, num_user_turns=num_user_turns)
        to_assistant, to_user = gaps[len(head) : -1 : 2], gaps[len(head) + 1 : -1 : 2]
        is_regular = gaps[: len(head)] == head and gaps[-1] == newest and set(to_user) <= {assistant_to_user}
        if not is_regular or {_without_thought(gap) for gap in to_assistant} - {_without_thought(past)}:
            raise RenderError(_IRREGULAR)
        is_as_rendered = is_as_rendered and set(to_assistant) <= {past}
    return TemplatePieces(
        start=start,
        system_to_user=system_to_user,
        user_to_assistant=_where_speech_begins(past, newest),
        assistant_to_user=assistant_to_user,
        has_system_role=layout.has_system_role,
        is_as_rendered=is_as_rendered,
    )


def _where_speech_begins(past: str, newest: str) -> str:
    """The frame in which an assistant speaks without having thought; the same for every message of a sequence.

    Mostly the one that the template prints for the next message. Llama 2 and Mistral put a space before an earlier
    message's text that the prompt for it does not have: the model is to write it. Qwen3 and others print an empty
    thought before the newest message only: here it stands before all of them. Where a template opens a thought, as
    those of DeepSeek-R1 do, it is closed at once (arXiv 2504.09858 lets models answer so); where the model is to choose
    between thinking and speaking (gpt-oss), speech is chosen.

    Raises:
        RenderError: earlier messages and the newest one differ in something else.
    """
    opened = _OPEN_THOUGHT.search(newest)
    closed = f"{newest.rstrip()}\n\n{_end_of(opened.group().strip())}\n\n" if opened else newest
    if _without_thought(past) == _without_thought(closed):
        return closed
    rest = past.removeprefix(newest.rstrip())
    if rest != past and rest.endswith("|>"):
        return past
    raise RenderError(_IRREGULAR)


def opens_thought(frame: str) -> bool:
    """Whether a frame ends within a thought, so that what is written behind it begins there."""
    return _OPEN_THOUGHT.search(frame) is not None


def _without_thought(frame: str) -> str:
    return _EMPTY_THOUGHT.sub("", frame).rstrip()


def _end_of(opening: str) -> str:
    """``</think>`` of ``<think>``."""
    return f"{opening[0]}/{opening[1:]}"
