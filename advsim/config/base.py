"""What all sections share: strict keys and types, and a lower and an upper bound for every number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, model_validator

BRANCH = "|"
"""Begins the tag of a branch of a union, which is no part of a key."""
MAX_BEST_OF = 256
BestOf = Annotated[int, Field(ge=1, le=MAX_BEST_OF, strict=True)]
"""Draws among which one is chosen; 1: what is drawn is said."""

Flag = StrictBool
"""``true`` or ``false``, never ``yes``, ``1`` or a text."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]
InnerFraction = Annotated[float, Field(gt=0.0, lt=1.0, strict=True)]
"""Neither end: a share that leaves both sides something."""
Count = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
CountOrZero = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]
Replicas = Annotated[int, Field(ge=1, le=10_000, strict=True)]
"""Actors or engines of one pool."""
Tokens = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]
Seconds = Annotated[float, Field(ge=0.001, le=30 * 86_400.0, strict=True)]
"""A millisecond to thirty days."""
Epochs = Annotated[float, Field(gt=0.0, le=1_000.0, strict=True)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0, strict=True)]
WeightDecay = Annotated[float, Field(ge=0.0, le=1.0, strict=True)]
Cpus = Annotated[float, Field(ge=0.0, le=4_096.0, strict=True)]
"""Logical CPUs in Ray's sense."""


def _whole_above_one(value: float) -> float:
    if value > 1.0 and value != int(value):
        raise ValueError("a part of a GPU, or whole ones: Ray gives no fraction above 1")
    return value


Gpus = Annotated[float, Field(ge=0.0, le=1_024.0, strict=True), AfterValidator(_whole_above_one)]
Gib = Annotated[float, Field(ge=0.01, le=16_384.0, strict=True)]
Mib = Annotated[int, Field(ge=80, le=16_777_216, strict=True)]
"""Of an object store: Ray refuses one under 75 MiB."""


def _printable(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError("expected a name of visible characters on one line")
    return value.strip()


DisplayName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_printable)]
"""A name that is shown in tables and pages."""
Seed = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]
"""What numpy, torch and vLLM all take, with room for the seeds that are made of it."""


class Section(BaseModel):
    """Base of all sections: frozen, no unknown keys, finite numbers; errors do not show what may be a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_section_is_absent(cls, values: Any) -> Any:
        """``sft:`` with nothing below it, as it is left when all its keys are commented out."""
        if not isinstance(values, dict):
            return values
        return {key: value for key, value in values.items() if value is not None or not cls._is_section(key)}

    @classmethod
    def _is_section(cls, key: Any) -> bool:
        field = cls.model_fields.get(key) if isinstance(key, str) else None
        kind = None if field is None else field.annotation
        return isinstance(kind, type) and issubclass(kind, Section)


_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+")
_SECRET_WORDS = {
    "password", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials", "authorization",
    "auth", "bearer", "cookie", "jwt", "apikey", "authtoken", "accesstoken", "sessiontoken",
}  # fmt: skip
_OF_A_TEXT = {
    "bos", "eos", "pad", "unk", "stop", "mask", "sep", "cls", "start", "end", "image", "think", "special", "prefix",
    "max", "min", "num", "first", "last", "next",
}  # fmt: skip
"""Before ``token``: one of a text."""
_OF_A_LOCK = {"api", "access", "secret", "private", "bot", "client", "service", "license", "subscription"}
"""Before ``key``: one that lets in."""
_LOOKS_SECRET = re.compile(
    r"(?i:bearer|basic)\s+\S{6,}|(?i:token)\s+(?=\S*\d)\S{12,}|(?:sk|pk|rk|ghp|gho|xox[abp])[-_][\w-]{16,}"
    r"|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|(?:bot)?\d{6,}:[\w-]{16,}|eyJ[\w-]{8,}\.eyJ[\w.-]+"
)
_PLACE = re.compile(r"\{[A-Za-z_]+\}")


def not_json_place(values: Any, *, where: str) -> str | None:
    """Where a request holds what JSON cannot: infinity, NaN, dates, bytes; None where it holds nothing such."""
    if isinstance(values, Mapping):
        found = [
            not_json_place(value, where=f"{where}.{key}") if isinstance(key, str) else f"{where}.{key}"
            for key, value in values.items()
        ]
    elif isinstance(values, list | tuple):
        found = [not_json_place(value, where=f"{where}[{index}]") for index, value in enumerate(values)]
    else:
        is_json = values is None or isinstance(values, str | int) or (isinstance(values, float) and isfinite(values))
        return None if is_json else where
    return next((place for place in found if place is not None), None)


def can_be_secret(value: str) -> bool:
    """Whether a value is too long to be an ordinary word: 16 characters, or 12 with both letters and digits."""
    has_both = any(map(str.isdigit, value)) and any(map(str.isalpha, value))
    return len(value) >= (12 if has_both else 16)


def secret_place(values: Any, *, where: str) -> str | None:
    """Where a secret is written out, by the name of its key or by its looks; None where none is.

    Args:
        values: of a request, at any depth. A text with a ``{place}`` is filled later and no secret.
        where: their key in the configuration.
    """
    return _secret_place(values, where, is_named=False)


def _secret_place(values: Any, where: str, *, is_named: bool) -> str | None:
    if isinstance(values, Mapping):
        found = (
            _secret_place(value, f"{where}.{key}", is_named=is_named or names_secret(str(key)))
            for key, value in values.items()
        )
    elif isinstance(values, list | tuple):
        found = (_secret_place(value, f"{where}[{index}]", is_named=is_named) for index, value in enumerate(values))
    elif isinstance(values, str) and values.strip() and not _PLACE.search(values.replace("{{", "").replace("}}", "")):
        return where if is_named or looks_secret(values) else None
    else:
        is_number = isinstance(values, int | float) and not isinstance(values, bool)
        return where if is_named and is_number else None
    return next((place for place in found if place is not None), None)


def looks_secret(value: str) -> bool:
    """Whether a value is written as keys and tokens are."""
    return _LOOKS_SECRET.match(value.strip()) is not None


def names_secret(key: str) -> bool:
    """Whether a key is the name of a secret."""
    words = [word.casefold() for word in _WORDS.findall(key)]
    before, last = (words[-2] if len(words) > 1 else ""), (words[-1] if words else "")
    return (
        not _SECRET_WORDS.isdisjoint(words)
        or (last == "token" and before not in _OF_A_TEXT)
        or (last == "key" and (not before or before in _OF_A_LOCK))
    )
