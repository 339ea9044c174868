"""Inputs of the learned detector: the message and the turns just before it, as word pieces and never more than a bound.

What was said long before is not read, so that nothing grows with the length of a dialogue.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advsim.prompts.text import encode_text
from advsim.records import Speaker, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INPUTS_VERSION = 2
"""Changes whenever the inputs do: a saved detector reads only the inputs it was trained on."""

CONTEXT_PIECES = (80, 50, 40, 30)
"""Word pieces of each turn before the message, the last turn first: its beginning and its end, half and half."""
MESSAGE_PIECES = (140, 80)
"""Word pieces of the beginning and of the end of a message; what stands between in a longer one is not read."""

_SENTENCE = re.compile(r"[^\s.!?](?:[^.!?\n]|[.!?](?=\w))*[.!?]*")  # "3.5" and "a.m" do not end one


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A sentence of a message: characters ``start`` to ``end``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A chatbot message with the turns just before it, oldest first."""

    before: tuple[Turn, ...]
    message: str

    @classmethod
    def of(cls, turns: Sequence[Turn], message: str) -> Case:
        """The case of a message after these turns."""
        return cls(before=tuple(turns[-len(CONTEXT_PIECES) :]), message=message)

    @classmethod
    def all_of(cls, turns: Sequence[Turn]) -> dict[int, Case]:
        """The case of each chatbot turn of a dialogue, by the turn's number."""
        num = len(CONTEXT_PIECES)
        return {
            i: cls(before=tuple(turns[max(0, i - num) : i]), message=turn.text)
            for i, turn in enumerate(turns)
            if turn.speaker is Speaker.CHATBOT
        }

    def without(self, sentence: Span) -> Case:
        """The case with a sentence of its message left out."""
        left = self.message[: sentence.start] + self.message[sentence.end :]
        return Case(before=self.before, message=left.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """A case as word pieces: [CLS] turn [SEP] ... turn [SEP], then message [SEP].

    Attributes:
        ids: of all pieces.
        num_context: how many of them, the first ones, are not the message's.
    """

    ids: tuple[int, ...]
    num_context: int


def sentences(text: str) -> list[Span]:
    """The sentences of a text, in order, without the white space around them."""
    spans = []
    for match in _SENTENCE.finditer(text):
        sentence = match.group().rstrip()
        if any(character.isalnum() for character in sentence):
            spans.append(Span(start=match.start(), end=match.start() + len(sentence)))
    return spans


def pieces_of(case: Case, tokenizer: PreTrainedTokenizerBase) -> Pieces:
    """The word pieces of a case; at most 426, whatever its length."""
    context: list[int] = []
    for turn, most in zip(reversed(case.before), CONTEXT_PIECES, strict=False):
        said = _ids(f"{turn.speaker}: {turn.text}", tokenizer)
        context = [*ends(said, most // 2, most - most // 2), int(tokenizer.sep_token_id), *context]
    context = [int(tokenizer.cls_token_id), *context]
    message = ends(_ids(case.message, tokenizer), *MESSAGE_PIECES)
    return Pieces(ids=(*context, *message, int(tokenizer.sep_token_id)), num_context=len(context))


def _ids(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return list(encode_text(tokenizer, text))


def ends(ids: list[int], num_first: int, num_last: int) -> list[int]:
    """The beginning and the end of a longer list."""
    return ids if len(ids) <= num_first + num_last else ids[:num_first] + ids[-num_last:]
