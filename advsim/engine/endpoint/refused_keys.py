"""Keys of a request that an endpoint refuses: which one is meant, and what to do about it.

Models and servers differ in what they take: reasoning models refuse ``max_tokens`` and any ``temperature`` but 1, some
servers ``seed`` or ``response_format``. Such a key is called otherwise, or left out, and the question is asked again;
a ``response_format`` with a schema becomes the plain JSON object that more servers know, before it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

LEFT_OUT = ""
"""In place of another name of a key."""

JSON_OBJECT = "json_object"
"""In place of another name of ``response_format``, which keeps its own: the type of the format that is sent."""

_FORMAT = "response_format"
_NEEDED = ("model", "messages")
_INSTEAD = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens", _FORMAT: JSON_OBJECT}
_SAID_AS = {
    "response_format": r"response_format|response format|structured[ _-]?outputs?|json[ _]?schema|guided[ _]?json|"
    r"guided decoding|json[ _]?(?:mode|object)",
}
_SPECIAL = ("temperature", "seed", "logprobs")  # words that name a key also without quotes
_NOUN = r"(?:parameters?|arguments?|fields?|keys?|property|properties|inputs?|options?)(?: supplied)?:? *"
_REFUSED = r" (?:is |are )?(?:not |un)(?:supported|allowed|permitted|recognized|recognised|available)"


def refused_key(param: object, words: str, sent: Mapping[str, Any]) -> str | None:
    """The key of a request that a refusal means; None where it names none.

    Args:
        param: ``param`` of the error object, where the server gives one.
        words: what the server says.
        sent: the request.
    """
    keys = [key for key in sent if key not in _NEEDED]
    named = re.split(r"[.\[]", param, maxsplit=1)[0] if isinstance(param, str) else ""
    if named in keys:
        return named
    places = {key: match.start() for key in keys if (match := re.search(_pattern(key), words, re.IGNORECASE))}
    return min(places, key=lambda key: places[key], default=None)


def changed(request: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, Any]:
    """``request`` with its keys renamed, or left out, by ``changes``."""
    sent = {}
    for key, value in request.items():
        other = changes.get(key, key)
        if key == _FORMAT and other == JSON_OBJECT:
            sent[key] = {"type": JSON_OBJECT}
        elif other != LEFT_OUT:
            sent[other] = value
    return sent


def change_for(key: str, request: Mapping[str, Any], changes: Mapping[str, str]) -> dict[str, str]:
    """``changes`` and what to do about one more refused key: another name or form that was not refused, else left out.

    Args:
        key: as it was sent.
        request: before any change.
        changes: made so far, by the key's name in ``request``.
    """
    original = key if key == _FORMAT else next((name for name in request if changes.get(name, name) == key), key)
    other = _INSTEAD.get(key, LEFT_OUT) if original not in changes else LEFT_OUT
    return {**changes, original: LEFT_OUT if other in request else other}


def told(key: str, other: str) -> str:
    """What was changed, for a note."""
    what = "structured output (response_format)" if key == _FORMAT else key
    return f"refused {what}; asked {f'with {other} instead' if other else 'without it'} from now on"


def _pattern(key: str) -> str:
    escaped = re.escape(key)
    if key in _SAID_AS:
        return _SAID_AS[key]
    if "_" in key or key in _SPECIAL:
        return rf"(?<!\w){escaped}(?!\w)"
    return rf"['\"`]{escaped}['\"`]|{_NOUN}['\"`]?{escaped}\b|(?<!\w){escaped}{_REFUSED}"
