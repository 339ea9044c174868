"""The words of a text, and typing habits of one user turn, as yes or no or a number.

All figures of habits and all counts of words are made of these functions.
"""

from __future__ import annotations

import re
import unicodedata

import regex

MAX_SHORT_WORDS = 3
"""Words of a short turn at most."""

_CLOSING = "\"'”’»)]}*_~"
_END_PUNCTUATION = (".", "!", "?", "…", "。", "！", "？", "؟", "۔", "।", "॥", "။", "។", "።")
_QUESTION_MARKS = ("?", "？", "؟")
_CAPS = re.compile(r"\b[^\W\d_]{3,}\b")
_EMOJI = re.compile("[\u2600-\u27bf\u2b50\u2b55\U0001f000-\U0001faff]")
"""Unicode's pictograph blocks; arrows, box drawing and signs such as (c) stand outside."""


_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that put no space between words."""
_MARKS = r"[\p{M}\u200c\u200d]*"
_RUN = rf"(?:[[\p{{L}}\p{{N}}]--[{_UNSPACED}]]{_MARKS})+"
_WORD = regex.compile(rf"(?V1)[[\p{{L}}\p{{N}}]&&[{_UNSPACED}]]{_MARKS}|{_RUN}(?:['’]{_RUN})*")
_HAS_UNSPACED = regex.compile(rf"(?V1)[[\p{{L}}\p{{N}}]&&[{_UNSPACED}]]")


def words_of(text: str) -> list[str]:
    """Lower-cased words of a text: letters and digits of any script with their marks, in composed form (NFC).

    An apostrophe inside a word belongs to it ("don't" is one word; ’ becomes '). In scripts without spaces between
    words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) every character counts as a word, with the marks on it.
    """
    composed = unicodedata.normalize("NFC", text.lower())
    return [word.replace("’", "'") for word in _WORD.findall(composed)]


def num_words(text: str) -> int:
    """Number of words as they were typed: what stands between white space, be it ":)".

    In scripts that put no space between words, those of :func:`words_of`.
    """
    if not _HAS_UNSPACED.search(text):
        return len(text.split())
    return sum(max(1, len(words_of(part))) for part in text.split())


def is_short(text: str) -> bool:
    """Whether the text has at most ``MAX_SHORT_WORDS`` words."""
    return num_words(text) <= MAX_SHORT_WORDS


def starts_lowercase(text: str) -> bool:
    """Whether the first character is a lower-case letter."""
    return text.lstrip()[:1].islower()


def lacks_end_punctuation(text: str) -> bool:
    """Whether the text ends without punctuation: a closing quote or bracket after it does not count, an emoji does."""
    return not text.rstrip().rstrip(_CLOSING).endswith(_END_PUNCTUATION)


def has_question_mark(text: str) -> bool:
    """Whether there is a question mark anywhere."""
    return any(mark in text for mark in _QUESTION_MARKS)


def has_emoji(text: str) -> bool:
    """Whether there is an emoji anywhere."""
    return _EMOJI.search(text) is not None


def has_all_caps(text: str) -> bool:
    """Whether a word of three letters or more is in capitals; abbreviations (PTSD) are among them."""
    return any(word.isupper() for word in _CAPS.findall(text))
