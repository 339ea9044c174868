"""What a chat template prints around the messages of a chatbot's dialogue, and what comes back from its model.

Where the template is regular these are the constant :class:`advsim.prompts.frames.Frames`. A template that renders a
message according to what stands around it is rendered anew for each number of messages: a chatbot is not trained, so
that its prompts need not share their beginning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from advsim.errors import ConfigError
from advsim.prompts.frames import NO_END_OF_TURN, Frames, opens_thought
from advsim.prompts.rendering import LAYOUTS, ChatTemplate, Layout, RenderError
from advsim.prompts.text import control_tokens
from advsim.prompts.thoughts import is_part_of_markup, marks_thoughts
from advsim.records import Speaker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

THOUGHT_BEGINS = "<think>"
"""Stands for the beginning of a thought that the prompt already had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatbotFrames:
    """The pieces of a chatbot's prompts.

    Attributes:
        gaps: for a number of user turns, the tokens before the system text, behind it, and behind each message in turn;
            the last ones begin the chatbot's reply.
        sizes: typical tokens behind a user's and behind a chatbot's message.
        stop_token_id: ends a generated reply.
        opens_thought: whether a prompt ends within a thought, so that the reply begins in it.
    """

    gaps: Callable[[int], Sequence[tuple[int, ...]]]
    sizes: tuple[int, int]
    stop_token_id: int
    opens_thought: bool

    def size_behind(self, speaker: Speaker) -> int:
        """Typical tokens behind a message."""
        return self.sizes[speaker is Speaker.CHATBOT]


def chatbot_frames(tokenizer: PreTrainedTokenizerBase) -> ChatbotFrames:
    """The pieces of prompts for a chatbot of this tokenizer.

    Raises:
        ConfigError: the chat template renders no dialogue of user and assistant, or nothing ends a reply.
    """
    try:
        frames = Frames.of(tokenizer)
    except ConfigError:
        frames = None
    return _constant(frames) if frames is not None and frames.is_as_rendered else _rendered(tokenizer)


def check_chatbot_template(template: ChatTemplate) -> Layout:
    """How to hand a dialogue to a template.

    Raises:
        ConfigError: it renders none.
    """
    reasons = []
    for layout in LAYOUTS:
        try:
            for num_user_turns in (1, 2, 3, 5):
                template.gaps(layout, num_user_turns=num_user_turns)
        except RenderError as error:
            reasons.append(str(error))
        else:
            return layout
    raise ConfigError(f"the chat template {reasons[0]}; use an instruction-tuned (chat) model with a usual template")


def reply_text(tokenizer: PreTrainedTokenizerBase, text: str, token_ids: Sequence[int], *, opens_thought: bool) -> str:
    """What a model generated, with the marks of a thought that an engine took out or the prompt already had.

    Engines print no special tokens, which for some models are such marks. What was not written by this tokenizer (a
    scripted reply) is left as it is.
    """
    marked = _special_marks(tokenizer)
    if not marked and not opens_thought:
        return text
    printed = str(tokenizer.decode(list(token_ids), skip_special_tokens=True))
    if "".join(printed.split()) != "".join(text.split()):
        return text
    if marked:
        text = str(tokenizer.decode(list(token_ids), skip_special_tokens=False))
        for name in tokenizer.all_special_tokens:
            if name not in marked:
                text = text.replace(str(name), "")
    return THOUGHT_BEGINS + text if opens_thought else text


@lru_cache(maxsize=8)
def _special_marks(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    """The special tokens that have to do with thoughts; empty where none marks one."""
    names = [str(name) for name in tokenizer.all_special_tokens]
    names += [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return frozenset(filter(is_part_of_markup, names)) if marks_thoughts(names) else frozenset()


def _constant(frames: Frames) -> ChatbotFrames:
    def gaps(num_user_turns: int) -> list[tuple[int, ...]]:
        turns = [frames.user_to_assistant, frames.assistant_to_user] * num_user_turns
        return [frames.start, frames.system_to_user, *turns[:-1]]

    return ChatbotFrames(
        gaps=gaps,
        sizes=(len(frames.user_to_assistant), len(frames.assistant_to_user)),
        stop_token_id=frames.end_of_turn[-1],
        opens_thought=False,
    )


def _rendered(tokenizer: PreTrainedTokenizerBase) -> ChatbotFrames:
    template = ChatTemplate.of(tokenizer)
    layout = check_chatbot_template(template)

    def texts(num_user_turns: int) -> list[str]:
        gaps = template.gaps(layout, num_user_turns=num_user_turns)
        return gaps if layout.has_system_role else [gaps[0], "\n\n", *gaps[1:]]

    @lru_cache(maxsize=512)
    def gaps(num_user_turns: int) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(tokenizer.encode(text, add_special_tokens=False)) for text in texts(num_user_turns))

    return ChatbotFrames(
        gaps=gaps,
        sizes=(len(gaps(2)[2]), len(gaps(2)[3])),
        stop_token_id=_stop_token(tokenizer, texts(2)[2], gaps(2)[3]),
        opens_thought=opens_thought(texts(2)[-1]),
    )


def _stop_token(tokenizer: PreTrainedTokenizerBase, before_reply: str, behind_reply: Sequence[int]) -> int:
    """The first control token behind a reply; of models with channels, where that ends a thought too, the last one."""
    control = control_tokens(tokenizer)
    end = next((token for token in behind_reply if token in control), None)
    eos = tokenizer.eos_token_id
    if isinstance(eos, int) and (end is None or "<|channel|>" in before_reply):
        return eos
    if end is None:
        raise ConfigError(NO_END_OF_TURN)
    return end
