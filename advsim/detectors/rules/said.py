"""What one speaker says in a dialogue, asked turn by turn without reading it again from its start."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any, TypeVar, cast

from advsim.detectors.rules.lexicon import words

WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
LONGEST_MATCH = 400
"""Characters before a turn that a pattern may have matched together with it; the longest pattern has some ten words."""

_SUFFIX = re.compile(r"(?:'s|ness|ings?|ed|ies|es|s|ly|er|y|e)$")

Trigram = tuple[str, str, str]
Made = TypeVar("Made")


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """A crude stem that brings "worried", "worries" and "worrying" together."""
    if len(word) <= 3:
        return word
    cut = _SUFFIX.sub("", _SUFFIX.sub("", word) if word.endswith("s") else word)
    return cut[:7] if len(cut) >= 3 else word


@lru_cache(maxsize=8192)
def content_stems(text: str) -> frozenset[str]:
    """Stems of the words that are no function words."""
    stop = words("words", "stop")
    return frozenset(stem(word) for word in WORD.findall(text) if word not in stop and len(word) > 1)


@lru_cache(maxsize=4096)
def trigrams(text: str) -> frozenset[Trigram]:
    """Three words in a row, for each word of a text that has two after it."""
    found = WORD.findall(text)
    return frozenset(zip(found, found[1:], found[2:], strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What occurs in the first ``num_turns`` turns, as a set; ``first`` has the turn in which each thing came first."""

    first: Mapping[Any, int]
    num_turns: int

    def __contains__(self, thing: object) -> bool:
        return self.first.get(thing, self.num_turns) < self.num_turns

    def __rand__(self, things: frozenset[Any]) -> frozenset[Any]:
        return frozenset(thing for thing in things if thing in self)

    def __rsub__(self, things: frozenset[Any]) -> frozenset[Any]:
        return frozenset(thing for thing in things if thing not in self)


class Said:
    """Turns of one speaker, oldest first, as plain text. Each question is about the first ``num_turns`` of them.

    What has been found out is kept, so that asking about every turn of a dialogue costs no more than reading it once
    for each pattern.

    Args:
        texts: of all turns of the dialogue.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)
        self._whole = "\n".join(self.texts)
        self._ends = [end - 1 for end in accumulate(len(text) + 1 for text in self.texts)]
        self._found_in_whole: dict[int, tuple[int, bool]] = {}
        self._found_in_turn: dict[int, tuple[int, bool]] = {}
        self._derived: dict[object, object] = {}

    def finds(self, pattern: re.Pattern[str], num_turns: int) -> bool:
        """Whether the pattern matches anywhere in the turns, one a line."""

        def matches(turn: int) -> bool:
            start = self._ends[turn - 1] - LONGEST_MATCH if turn else 0
            return pattern.search(self._whole, max(0, start), self._ends[turn]) is not None

        return self._first(self._found_in_whole, id(pattern), matches, num_turns)

    def any_turn(self, pattern: re.Pattern[str], num_turns: int) -> bool:
        """Whether the pattern matches within one of the turns."""
        return self.any_that(pattern.search, num_turns, key=id(pattern))

    def any_that(self, test: Callable[[str], object], num_turns: int, *, key: int | None = None) -> bool:
        """Whether one of the turns passes a test; ``key`` tells tests apart that are made anew for each call."""

        def passes(turn: int) -> bool:
            return bool(test(self.texts[turn]))

        return self._first(self._found_in_turn, id(test) if key is None else key, passes, num_turns)

    def stems(self, num_turns: int) -> Seen:
        """Stems of the content words."""
        return Seen(first=self._first_stems, num_turns=num_turns)

    def tokens(self, num_turns: int) -> Seen:
        """What stands between white space."""
        return Seen(first=self._first_tokens, num_turns=num_turns)

    def trigrams(self, num_turns: int) -> Seen:
        """Trigrams of words, those that cross from one turn to the next among them."""
        return Seen(first=self._first_trigrams, num_turns=num_turns)

    def contains(self, word: str, num_turns: int) -> bool:
        """Whether a word (no white space in it) stands in the turns, be it as part of another."""
        vocabulary, ends = self._vocabulary
        start = vocabulary.find(word) if num_turns else -1
        return start >= 0 and start + len(word) <= ends[num_turns - 1]

    def derived(self, kind: Callable[[tuple[str, ...]], Made]) -> Made:
        """What ``kind`` makes of all turns, made once."""
        if kind not in self._derived:
            self._derived[kind] = kind(self.texts)
        return cast("Made", self._derived[kind])

    @staticmethod
    def _first(known: dict[int, tuple[int, bool]], key: int, holds: Callable[[int], bool], num_turns: int) -> bool:
        """Whether something holds of one of the turns; ``known`` has the turn found, or how far was looked in vain."""
        turn, found = known.get(key, (0, False))
        while not found and turn < num_turns:
            found = holds(turn)
            turn += not found
        known[key] = (turn, found)
        return found and turn < num_turns

    @cached_property
    def _first_stems(self) -> dict[str, int]:
        return _first_turns(map(content_stems, self.texts))

    @cached_property
    def _first_tokens(self) -> dict[str, int]:
        return _first_turns(map(str.split, self.texts))

    @cached_property
    def _first_trigrams(self) -> dict[Trigram, int]:
        return _first_turns(self._running_trigrams())

    def _running_trigrams(self) -> Iterator[Iterable[Trigram]]:
        before: list[str] = []
        for text in self.texts:
            running = before + WORD.findall(text)
            yield zip(running, running[1:], running[2:], strict=False)
            before = running[-2:]

    @cached_property
    def _vocabulary(self) -> tuple[str, list[int]]:
        """All different tokens in the order of their first turns, and how long this text is after each turn."""
        by_turn: list[list[str]] = [[] for _ in self.texts]
        for token, turn in self._first_tokens.items():
            by_turn[turn].append(token + " ")
        parts = ["".join(tokens) for tokens in by_turn]
        return "".join(parts), list(accumulate(map(len, parts)))


def _first_turns(by_turn: Iterable[Iterable[Any]]) -> dict[Any, int]:
    first: dict[Any, int] = {}
    for turn, things in enumerate(by_turn):
        for thing in things:
            first.setdefault(thing, turn)
    return first
