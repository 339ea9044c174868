"""The keys of a chat request: which are read, which do nothing here, and which would change what is asked."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from advsim.errors import one_line
from advsim.serve.errors import RequestError, invalid

MAX_MESSAGES = 2_000
MAX_CHARACTERS = 20_000
"""Of one text; a message of a chat is hardly ever longer than a thousandth of it."""

_IGNORED = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
)
"""Keys that are about bookkeeping, not about what is said."""

_NOT_DONE: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "stop": ([],),
    "modalities": (["text"],),
    "reasoning_effort": ("none",),
}
"""OpenAI's keys that this person does not follow, and the values (beside null) that ask for nothing."""

Role = Literal["system", "developer", "user", "assistant"]
Text = Annotated[str, Field(max_length=MAX_CHARACTERS)]
Line = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS)]


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TextPart(_Keys):
    """A text as a part of a message."""

    type: Literal["text"]
    text: Text


class Message(BaseModel):
    """One message of the request; see :func:`advsim.serve.dialogue.hear` for its other keys."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    role: str
    content: Text | list[TextPart] | None = None
    name: str | None = None


class ContextKeys(_Keys):
    """What the person is told of themselves; see :class:`advsim.records.Context`."""

    profile: Text = ""
    themes: Annotated[list[Line], Field(max_length=1_000)] = []
    earlier_sessions: Annotated[list[Line], Field(max_length=1_000)] = []
    session: Text = ""


class OwnKeys(_Keys):
    """The key ``advsim`` of a request: what OpenAI's keys cannot say."""

    scenario: Annotated[str, Field(min_length=1, max_length=1_000)] | None = None
    context: ContextKeys | None = None
    roles: Literal["caller", "model"] | None = None
    system: Literal["context", "ignore"] | None = None
    end_text: Annotated[str, Field(max_length=200)] | None = None


class StreamOptions(_Keys):
    """OpenAI's options of a stream."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatBody(_Keys):
    """A chat request as it is read."""

    model: Annotated[str, Field(min_length=1, max_length=1_000)]
    messages: Annotated[list[Message], Field(max_length=MAX_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**62), le=2**62)] | None = None
    advsim: OwnKeys | None = None


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object of a request's body.

    Raises:
        RequestError: it is none.
    """
    try:
        values = json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is no JSON: {one_line(str(error))[:200]}", param=None, code="invalid_json") from None
    if not isinstance(values, dict):
        raise invalid("the body is JSON, but no object; expected {...}", param=None, code="invalid_json")
    return values


def chat_body(values: dict[str, Any]) -> ChatBody:
    """Read a chat request.

    Args:
        values: its JSON.

    Raises:
        RequestError: a key is unknown, cannot be followed here, or has a wrong value.
    """
    for key, neutral in _NOT_DONE.items():
        value = values.get(key)
        if value is not None and value not in neutral:
            raise invalid(
                f"{key}: this is a person who writes plain messages and cannot follow it; leave it out",
                param=key,
                code="unsupported_parameter",
            )
    left_out = {*_IGNORED, *_NOT_DONE}
    kept = {key: value for key, value in values.items() if key not in left_out}
    try:
        body = ChatBody.model_validate(kept)
    except ValidationError as error:
        raise _refusal(error) from None
    if body.n not in (None, 1):
        raise invalid(f"n: got {body.n}, expected 1: a person says one thing", param="n", code="unsupported_parameter")
    if body.stream_options is not None and not body.stream:
        raise invalid("stream_options: only with stream: true", param="stream_options")
    return body


def _refusal(error: ValidationError) -> RequestError:
    first = error.errors(include_url=False)[0]
    place = _place(first["loc"])
    # a union has an error for each of its kinds: the place of the key says enough
    top = str(first["loc"][0]) if first["loc"] else None
    if first["type"] == "extra_forbidden":
        return invalid(f"unknown key {place}; leave it out", param=top, code="unknown_parameter")
    if first["type"] == "missing":
        return invalid(f"{place} is missing", param=top, code="missing_required_parameter")
    got = one_line(repr(first["input"]), max_characters=60)
    code = "string_above_max_length" if first["type"] in ("string_too_long", "too_long") else "invalid_value"
    said = first["msg"][:1].lower() + first["msg"][1:]
    return invalid(f"{place}: {said}; got {got}", param=top, code=code)


def _place(parts: tuple[int | str, ...]) -> str:
    place = ""
    for part in parts:
        if isinstance(part, int):
            place += f"[{part}]"
        elif part.isidentifier() and part not in ("str", "TextPart"):
            place += f".{part}" if place else part
        elif not place:
            place = one_line(part, max_characters=60)
    return place


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
