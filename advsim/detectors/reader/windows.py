"""Inputs of the reader: a dialogue as windows of word pieces, each chatbot message scored in one of them.

What is older than a window is not read, so that nothing grows with the length of a dialogue.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advsim.detectors.learned.inputs import ends
from advsim.prompts.text import encode_text
from advsim.records import Speaker, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WINDOWS_VERSION = 1
"""Changes whenever the windows do: a saved reader reads only what it was trained on."""
WINDOW_PIECES = 900
"""Of a window."""
SHARED_TURNS = 4
"""Turns at the end of a window that the next one begins with, at most."""
SHARED_PIECES = 500
"""Of these turns at most, so that a window has room for others."""
TURN_PIECES = {Speaker.USER: (150, 100), Speaker.CHATBOT: (150, 90)}
"""Of the beginning and of the end of a turn; what stands between in a longer one is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a chatbot message stands in a window: pieces ``first`` up to its end token ``last``."""

    turn: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of a dialogue as pieces, and the messages that are scored in it."""

    ids: tuple[int, ...]
    messages: tuple[Place, ...]


_HEADS = {Speaker.USER: "<|im_start|>user\n", Speaker.CHATBOT: "<|im_start|>assistant\n"}


def windows(
    turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, *, only: Collection[int] | None = None
) -> list[Window]:
    """A dialogue as windows. Where a window ends does not depend on what is said later.

    Args:
        turns: of the dialogue.
        tokenizer: of the base.
        only: numbers of the turns to score; None: all of the chatbot's.
    """
    tail = tokenizer.encode("<|im_end|>\n", add_special_tokens=False)
    heads = {speaker: tokenizer.encode(head, add_special_tokens=False) for speaker, head in _HEADS.items()}
    bodies = [ends(list(encode_text(tokenizer, turn.text)), *TURN_PIECES[turn.speaker]) for turn in turns]
    scored = [turn.speaker is Speaker.CHATBOT if only is None else i in only for i, turn in enumerate(turns)]
    found: list[Window] = []
    next_turn = 0
    while next_turn < len(turns):
        start, new = max(0, next_turn - SHARED_TURNS), next_turn
        while sum(map(len, bodies[start:new])) > SHARED_PIECES:
            start += 1
        ids: list[int] = []
        places: list[Place] = []
        for i in range(start, len(turns)):
            head, body = heads[turns[i].speaker], bodies[i]
            if i > new and len(ids) + len(head) + len(body) + len(tail) > WINDOW_PIECES:
                break
            first = len(ids) + len(head)
            ids += [*head, *body, *tail]
            if i >= new and scored[i]:
                places.append(Place(turn=i, first=first, last=first + len(body)))
            next_turn = i + 1
        if places:
            found.append(Window(ids=tuple(ids), messages=tuple(places)))
    return found
