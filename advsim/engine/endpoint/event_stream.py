"""An answer that is sent in parts, as server-sent events, put together to the answer that it is as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from advsim.engine.endpoint.request import HttpAnswer, NoAnswerError
from advsim.errors import one_line

_END = "[DONE]"
_TEXTS = ("content", "reasoning_content", "reasoning")
"""Keys of a message whose parts follow one another; ``refusal`` is another, and also a kind of part of the content."""
_TEXT = ("text", "output_text")
"""Kinds of parts of a content that are text."""


def whole_answer(answer: HttpAnswer) -> HttpAnswer:
    """The chat completion that the events of ``answer`` make; one that is no stream, or no success, as it is.

    Source of the events: the WHATWG HTML standard, "Server-sent events"; of what they say: OpenAI's API reference,
    "The chat completion chunk object".

    Raises:
        NoAnswerError: the stream breaks off, or an event cannot be read.
    """
    is_stream = "text/event-stream" in answer.headers.get("content-type", "").lower() or _begins_as_stream(answer.body)
    if not is_stream:
        return answer
    if not answer.is_success:
        return _unwrapped(answer)
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"message": message}
    completion: dict[str, Any] = {"choices": [choice]}
    has_ended = False
    for event in _events(answer.body.decode("utf-8", "replace")):
        if event == _END:
            has_ended = True
            break
        chunk = _chunk(event)
        if chunk.get("error"):
            return replace(answer, body=json.dumps(chunk).encode())
        if isinstance(chunk.get("usage"), dict):
            completion["usage"] = chunk["usage"]
        for part in _parts_of_first(chunk):
            if part.get("finish_reason"):  # some servers send "" with every part
                choice["finish_reason"] = part["finish_reason"]
                has_ended = True
            delta, whole = part.get("delta"), part.get("message")
            if isinstance(delta, dict):
                _add(delta, message)
            elif isinstance(whole, dict):  # some servers send all of it in one event
                message.clear()
                _add(whole, message)
    if not has_ended:
        raise NoAnswerError("the stream broke off before its end", is_lasting=False)
    return replace(answer, body=json.dumps(completion).encode())


def text_of(content: object) -> str:
    """The text of a message's content, which may be in parts; thoughts among the parts are left out."""
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if part.get("type") in _TEXT and isinstance(part.get("text"), str))


def refusal_in(message: Mapping[str, Any]) -> str:
    """What a message says where the model refuses; empty where it does not."""
    content = message.get("content")
    parts = [message, *content] if isinstance(content, list) else [message]
    return "".join(part["refusal"] for part in parts if isinstance(part, dict) and isinstance(part.get("refusal"), str))


def _add(delta: Mapping[str, Any], message: dict[str, Any]) -> None:
    """Put a part of a message behind what is there of it."""
    said = {**{key: text_of(delta.get(key)) for key in _TEXTS}, "refusal": refusal_in(delta)}
    for key, text in said.items():
        if text:
            message[key] = message.get(key, "") + text
    if delta.get("tool_calls"):
        message["tool_calls"] = delta["tool_calls"]


def _begins_as_stream(body: bytes) -> bool:
    """Whether it is a stream by a server that does not say so: no JSON begins like this."""
    return body.lstrip().startswith((b"data:", b"event:", b":"))


def _unwrapped(answer: HttpAnswer) -> HttpAnswer:
    """A refusal whose error stands in an event, with that error alone; any other as it is."""
    events = list(_events(answer.body.decode("utf-8", "replace")))
    return replace(answer, body=events[0].encode()) if events else answer


def _events(text: str) -> Iterator[str]:
    """The data of each event; comments, names and numbers of events are passed over."""
    data: list[str] = []
    for line in [*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""]:
        if line.startswith("data:"):
            data.append(line.removeprefix("data:").removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []


def _chunk(event: str) -> dict[str, Any]:
    try:
        chunk = json.loads(event)
    except (ValueError, RecursionError):
        chunk = None
    if not isinstance(chunk, dict):
        words = one_line(event, max_characters=200)
        raise NoAnswerError(f"an event of the stream is no chunk of a chat completion: {words}", is_lasting=False)
    return chunk


def _parts_of_first(chunk: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a chunk holds of the first choice, which is the only one that is asked for."""
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else []:
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            yield choice
