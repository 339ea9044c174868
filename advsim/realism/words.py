"""What counts as a word in all figures of this stage."""

from __future__ import annotations

import re

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
"""A word: letters and digits of any script; an apostrophe inside a word belongs to it ("don't" is one word)."""


def words_of(text: str) -> list[str]:
    """Lower-cased words of a text: runs of letters and digits, apostrophes inside words kept (’ becomes ')."""
    return [word.replace("’", "'") for word in _WORD.findall(text.lower())]
