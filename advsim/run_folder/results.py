"""Results as plain values for JSON, and back: the one place where frozen dataclasses are written and read.

A result's keys in JSON are its fields, in their order. Nothing is written twice: what reads a file names the dataclass
that was written.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from advsim.errors import RunError

Kind = TypeVar("Kind")


def plain_values(result: Any) -> Any:
    """Nested dicts, lists, numbers and texts; keys as the fields; a figure that could not be given is None.

    Args:
        result: a dataclass.

    Raises:
        TypeError: it is none.
    """
    if not dataclasses.is_dataclass(result) or isinstance(result, type):
        raise TypeError(f"plain values: got {type(result).__name__}, expected a dataclass")
    return _adapter(type(result)).dump_python(result, mode="json")


def read_values(kind: type[Kind], values: object, *, where: str, remedy: str) -> Kind:
    """A result from the plain values that :func:`plain_values` gave; keys that it does not know are left out.

    Args:
        kind: the dataclass; a key that is missing takes the default of its field.
        values: parsed JSON.
        where: the file, for the message.
        remedy: what to do about values that cannot be read, for the message.

    Raises:
        RunError: a key is missing that has no default, or holds something of another kind; the message names it.
    """
    try:
        result: Kind = _adapter(cast(Hashable, kind)).validate_python(values)
    except ValidationError as error:
        details = error.errors()
        first = details[0]
        key = ".".join(str(part) for part in first["loc"]) or "(all)"
        more = f" ({len(details)} such keys)" if len(details) > 1 else ""
        got = "no such key" if first["type"] == "missing" else f"{first['input']!r:.60}"
        raise RunError(f"{where}, key {key}: got {got}; {first['msg'].lower()}{more}; {remedy}") from None
    return result


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def text_sha256(values: Any) -> str:
    """SHA-256 of plain values as canonical JSON: keys in order, no spaces, UTF-8.

    Raises:
        ValueError: a number is NaN or infinite, a text holds half a surrogate pair, or values are nested too deeply.
    """
    try:
        text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except RecursionError:
        raise ValueError("values are nested too deeply") from None
    return hashlib.sha256(text.encode()).hexdigest()
