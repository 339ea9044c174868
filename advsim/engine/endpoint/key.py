"""The key of an endpoint: read from the environment, sent, and shown nowhere."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from urllib.parse import quote, quote_plus

from advsim.config.base import can_be_secret
from advsim.errors import ConfigError, one_line, printable

_MAX_REASON_CHARACTERS = 300
_MIN_SECRET_CHARACTERS = 8


class EndpointKey:
    """A key, or none (empty). Its ``repr`` does not show it."""

    def __init__(self, key: str) -> None:
        self._key = key
        spelled = {key, quote(key), quote(key, safe=""), quote_plus(key), json.dumps(key)[1:-1], html.escape(key)}
        spelled |= {base64.b64encode(key.encode()).decode().rstrip("="), repr(key)[1:-1]}
        pattern = "|".join(map(re.escape, sorted(spelled, key=len, reverse=True)))
        # what stands for no key ("none", "EMPTY") is also a word
        is_a_word = len(key) < _MIN_SECRET_CHARACTERS
        whole = re.compile(rf"(?<!\w)(?:{pattern})(?!\w)") if is_a_word else re.compile(pattern, re.IGNORECASE)
        self._spellings = whole if key else None

    @property
    def value(self) -> str:
        """The key itself, to be sent and not shown."""
        return self._key

    @property
    def headers(self) -> dict[str, str]:
        """What a request says to be let in."""
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def masked(self, text: str) -> str:
        """``text`` with ``[key]`` wherever the key stands in it, also URL-encoded, escaped or in base64."""
        return self._spellings.sub("[key]", text) if self._spellings is not None else text

    def masked_reply(self, text: str) -> str:
        """What a model says, masked where the key can be a secret; a word ("none", "3") may be the model's own."""
        return self.masked(text) if can_be_secret(self._key) else text

    def shortened(self, reason: str) -> str:
        """Text of a server as one short line without the key and without control characters."""
        return one_line(self.masked(printable(reason)), max_characters=_MAX_REASON_CHARACTERS)


def read_key(variable: str | None, *, setting: str) -> EndpointKey:
    """The key in an environment variable; None: no key.

    Args:
        variable: its name.
        setting: configuration key that names the variable, for errors.

    Raises:
        ConfigError: the variable is not set, or holds what cannot be sent as a key.
    """
    if variable is None:
        return EndpointKey("")
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"{setting}: the environment variable {variable} is not set; set it to the endpoint's key, or leave "
            f"{setting} out where the endpoint needs none"
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise ConfigError(
            f"{setting}: the environment variable {variable} holds characters that no key has (blanks, line ends or "
            "letters outside of ASCII), so it cannot be sent; set it to the endpoint's key alone"
        )
    return EndpointKey(key)
