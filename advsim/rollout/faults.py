"""Faults that a rule can see in a single turn: of the simulator in a user turn, of the chatbot in its reply."""

from __future__ import annotations

import re
from collections.abc import Sequence

from advsim.chatbots.protocol import Utterance
from advsim.errors import ChatbotError
from advsim.prompts.thoughts import ONLY_A_THOUGHT, UNCLOSED_THOUGHT, has_thought_markup, separate_thoughts
from advsim.records import Speaker, StopReason, Turn

_ROLE_BREAK = re.compile(
    r"^\s*(?:chatbot|assistant|ai|therapist|counsel+or|system|bot)\s*:"  # writes the other side's label
    r"|<\|?/?(?:im_start|im_end|system|assistant|user|end)\|?>|\[/?INST\]"  # writes chat markup
    r"|\bas an ai\b|\bi(?:'m| am) (?:an? )?(?:ai|language model|virtual assistant|ai assistant)\b"
    r"|\bhow (?:can|may) i (?:help|assist) you\b",  # speaks as the helper
    re.IGNORECASE,
)


def user_turn_fault(text: str, *, instructions: str) -> StopReason | None:
    """The fault of a simulated user turn: none, empty, or out of role.

    Args:
        text: the turn without end token.
        instructions: the simulator's instructions; repeating six words of them in a row is a leak, hence out of role.
    """
    if not text.strip():
        return StopReason.EMPTY_TURN
    if _ROLE_BREAK.search(text) or has_thought_markup(text) or _leaks(text, instructions):
        return StopReason.ROLE_BREAK
    return None


def leaves_silently(text: str, *, ended: bool, turns: Sequence[Turn]) -> bool:
    """Whether a user leaves without a word: a bare end token behind earlier turns is no turn, and no fault.

    Args:
        text: the turn without end token.
        ended: the end token was there.
        turns: before.
    """
    return ended and not text and bool(turns)


def chatbot_turn(answer: Utterance) -> Turn:
    """The chatbot's turn: what it said, with its thought kept apart.

    Raises:
        ChatbotError: it said nothing, because the answer is empty, all thought, or ended within a thought.
    """
    separated = separate_thoughts(answer.text)
    if separated.is_unclosed:
        raise ChatbotError(UNCLOSED_THOUGHT)
    if not separated.text:
        raise ChatbotError(ONLY_A_THOUGHT if separated.thought else "the chatbot answered with an empty message")
    return Turn(
        speaker=Speaker.CHATBOT,
        text=separated.text,
        thought=separated.thought,
        is_cut=not answer.finished,
        effort=answer.effort,
    )


def _leaks(text: str, instructions: str, *, num_words: int = 6) -> bool:
    said = " ".join(re.findall(r"\w+", text.lower()))
    words = re.findall(r"\w+", instructions.lower())
    return any(" ".join(words[i : i + num_words]) in said for i in range(len(words) - num_words + 1))
