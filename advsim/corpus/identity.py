"""Ids and their keys as they are meant: missing ones are None, and one person has one spelling."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

MISSING_TEXTS = frozenset(
    ("", "nan", "-nan", "null", "<null>", "none", "<na>", "nat", "na", "n/a", "#n/a", "#na", "nil", "undefined", "\\n")
)
"""What pandas, JSON, data bases and spreadsheets write, as text, where there is no value."""

_SHORT_NAMES = {"id": "id", "uid": "user_id"}
_MAX_EXACT = 2**53
"""From here on a float stands for several whole numbers."""
_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
"""Characters without a width that belong to no word; joiners, which do in some scripts, are not among them."""


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: null, or NaN, which ``json.dumps`` writes of a pandas row."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of an object that have a value."""
    return {key: value for key, value in values.items() if not is_missing(value)}


def plain_id(value: Any) -> Any:
    """An id in one spelling: stripped, in Unicode form NFC, no unseen characters, 7.0 as 7; None where it is missing.

    What is neither text nor a number is given back as it is, for the schema to refuse; so is a float too large to be
    one number alone, which was rounded and would make several people one.
    """
    if is_missing(value):
        return None
    if isinstance(value, float) and abs(value) >= _MAX_EXACT:
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return value
    text = unicodedata.normalize("NFC", _UNSEEN.sub("", value)).strip()
    return None if text.casefold() in MISSING_TEXTS else text


@lru_cache(maxsize=4096)
def key_meant(name: str, valid: tuple[str, ...], cutoff: float = 0.7) -> str | None:
    """The key that a name is or is nearest to; ``uid`` is a user's id, however near it is to ``id``."""
    letters = "".join(filter(str.isalpha, name.casefold()))
    if letters in _SHORT_NAMES:
        return _SHORT_NAMES[letters]
    return next(iter(difflib.get_close_matches(name.casefold(), valid, n=1, cutoff=cutoff)), None)


def content_id(turns: Sequence[Mapping[str, Any]]) -> str:
    """Id of a dialogue that has none: 16 hex digits of a hash of its speakers and texts."""
    content = json.dumps([[turn.get("speaker"), turn.get("text")] for turn in turns], default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
