"""The key that lets a caller in. Only its SHA-256 leaves the process that read it."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass

from advsim.errors import ConfigError

KEY_VARIABLE = "ADVSIM_SERVE_KEY"
_MIN_CHARACTERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeKey:
    """A key. ``made`` is the key itself where it was made here and somebody has to be told; its repr hides it."""

    sha256: bytes
    made: str

    def __repr__(self) -> str:
        return "ServeKey(...)"


def serve_key(variable: str) -> ServeKey:
    """The key in an environment variable; a new one where that is not set.

    Raises:
        ConfigError: it is too short, or cannot be sent as a key.
    """
    given = os.environ.get(variable)
    if given is None:
        made = secrets.token_urlsafe(32)
        return ServeKey(sha256=key_sha256(made), made=made)
    if not re.fullmatch(rf"[!-~]{{{_MIN_CHARACTERS},}}", given.strip()):
        raise ConfigError(
            f"the environment variable {variable} holds no key: expected at least {_MIN_CHARACTERS} letters, digits "
            "and signs of ASCII without blanks; set it anew, or unset it and a key is made and shown"
        )
    return ServeKey(sha256=key_sha256(given.strip()), made="")


def key_sha256(key: str) -> bytes:
    """What a key is recognised by."""
    return hashlib.sha256(key.encode("utf-8", errors="replace")).digest()


def lets_in(authorization: str | None, expected_sha256: bytes) -> bool:
    """Whether an Authorization header has the key; takes as long for each wrong one.

    Args:
        authorization: the header, for example ``Bearer abc``; None where there is none.
        expected_sha256: of the key.
    """
    scheme, _, key = (authorization or "").partition(" ")
    is_key = hmac.compare_digest(key_sha256(key.strip()), expected_sha256)
    return scheme.lower() == "bearer" and is_key
