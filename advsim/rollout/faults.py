"""Faults of the simulator that a rule can see in a single user turn."""

from __future__ import annotations

import re

from advsim.records import StopReason

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
    if _ROLE_BREAK.search(text) or _leaks(text, instructions):
        return StopReason.ROLE_BREAK
    return None


def _leaks(text: str, instructions: str, *, num_words: int = 6) -> bool:
    said = " ".join(re.findall(r"\w+", text.lower()))
    words = re.findall(r"\w+", instructions.lower())
    return any(" ".join(words[i : i + num_words]) in said for i in range(len(words) - num_words + 1))
