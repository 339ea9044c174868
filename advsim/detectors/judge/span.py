"""Where the words that a judge quotes stand in a message.

Judges copy words with other quotes, cases and line ends, without the marks of Markdown around them, and with "..." in
place of what they leave out. All that still shows that the words are there; other words, or another order, do not.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_SAME = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"})
_WORD = re.compile(r"[\w\u0300-\u036f]+(?:'[\w\u0300-\u036f]+)*")
_UNDERLINE = re.compile(r"(?<![^\W_])_+|_+(?![^\W_])")  # Markdown's emphasis, no part of a word
_LEFT_OUT = re.compile(r"\[\s*\.{3}\s*\]|\(\s*\.{3}\s*\)|\.{3,}|\u2026|\[\u2026\]|\(\u2026\)")
_MIN_WORDS_IN_PARTS = 4  # two words with anything between them are in almost every message


@dataclass(frozen=True, slots=True, kw_only=True)
class _Word:
    text: str  # folded
    start: int
    end: int


def find_span(quoted: str, message: str) -> str:
    """The passage of ``message`` that ``quoted`` quotes, spelled as in the message; empty where there is none.

    White space, case, the shape of quotes and dashes do not count. Where the words do not stand there so, punctuation
    does not count either, and "..." stands for any words.
    """
    words = quoted.translate(_SAME).strip(" \t\n\"'").split()
    if not words:
        return ""
    pattern = r"\s+".join(re.escape(word) for word in words)
    match = re.search(pattern, message.translate(_SAME), flags=re.IGNORECASE)  # translated one to one: same offsets
    if match:
        return message[match.start() : match.end()]
    parts = [part for passage in _LEFT_OUT.split(quoted) if (part := [word.text for word in _words(passage)])]
    return _find_words(parts, message)


def _find_words(parts: list[list[str]], message: str) -> str:
    """The passage from the first word of the first part to the last of the last, each part after the one before."""
    if len(parts) > 1 and sum(map(len, parts)) < _MIN_WORDS_IN_PARTS:
        return ""
    said = _words(message)
    first = after = None
    for part in parts:
        starts = range(after or 0, len(said) - len(part) + 1)
        start = next((k for k in starts if [word.text for word in said[k : k + len(part)]] == part), None)
        if start is None:
            return ""
        first = start if first is None else first
        after = start + len(part)
    return "" if first is None or after is None else message[said[first].start : said[after - 1].end]


def _words(text: str) -> list[_Word]:
    plain = _UNDERLINE.sub(lambda match: " " * len(match.group()), text.translate(_SAME))
    return [_Word(text=_folded(it.group()), start=it.start(), end=it.end()) for it in _WORD.finditer(plain)]


def _folded(word: str) -> str:
    """The word without case and accents, which stand beside or in their letter as the writer's keyboard has it."""
    return "".join(mark for mark in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(mark))
