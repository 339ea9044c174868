"""The person's message in OpenAI's shapes: whole, or as a stream of events."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from advsim.records import AdapterRef, StopReason
from advsim.rollout.user_turn import UserTurn
from advsim.serve.chat import Chat
from advsim.serve.errors import RequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A simulator of the run as it is served; ``adapter`` None is the base model.

    ``epoch`` counts the changes, so that none is taken back by accident. Each message is chosen from ``best_of`` draws
    by the probe of that hash.
    """

    name: str
    adapter: AdapterRef | None
    epoch: int
    best_of: int = 1
    probe_sha256: str = ""

    @property
    def fingerprint(self) -> str:
        """Which weights speak, and how their draws are chosen, in one word."""
        if self.adapter is None:
            return self.name
        chosen = f"-best-of-{self.best_of}-{self.probe_sha256[:12]}" if self.best_of > 1 else ""
        return f"{self.name}-{self.adapter.sha256[:12]}{chosen}"

    @property
    def marks(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "simulator": self.name,
            "adapter_version": self.adapter.version if self.adapter else None,
            "adapter_sha256": self.adapter.sha256 if self.adapter else None,
            "best_of": self.best_of,
            "probe_sha256": self.probe_sha256 or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A drawn message, and which simulator of the run it is from."""

    turn: UserTurn
    served: Served


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, before it has a shape."""

    id: str
    created: int
    model: str
    text: str
    finish_reason: str
    fingerprint: str
    usage: dict[str, int]
    marks: dict[str, Any]  # the key ``advsim``


def answer_of(chat: Chat, spoken: Spoken) -> Answer:
    """The answer to a request.

    Raises:
        RequestError: what was drawn is empty or out of role, however often: that is no message of a person.
    """
    turn, served = spoken.turn, spoken.served
    if turn.fault is not None:
        raise _fault(turn.fault, turn.num_regenerated + 1)
    text = turn.text
    if turn.ended and chat.end_text:
        text = f"{text} {chat.end_text}".strip()
    return Answer(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        created=int(time.time()),
        model=chat.model,
        text=text,
        finish_reason="length" if turn.is_cut and not turn.ended else "stop",
        fingerprint=served.fingerprint,
        usage={
            "prompt_tokens": turn.num_prompt_tokens,
            "completion_tokens": turn.num_output_tokens,
            "total_tokens": turn.num_prompt_tokens + turn.num_output_tokens,
        },
        marks={
            "ended": turn.ended,
            **served.marks,
            "scenario": chat.scenario,
            "seed": chat.seed,
            "num_regenerated": turn.num_regenerated,
        },
    )


def completion(answer: Answer) -> dict[str, Any]:
    """The answer as one ``chat.completion``."""
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    return {**_head(answer, "chat.completion"), "choices": [choice], "usage": answer.usage, "advsim": answer.marks}


def events(answer: Answer, *, include_usage: bool) -> Iterator[str]:
    """The answer as server-sent events, a word or so each, ``[DONE]`` at the end.

    The marks stand in the event that has the finish reason: a message is sent once it is known to have no fault.
    """
    head = _head(answer, "chat.completion.chunk")

    def event(delta: dict[str, Any], finish_reason: str | None = None, **further: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if include_usage else {}
        return _data({**head, "choices": [choice], **usage, **further})

    yield event({"role": "assistant", "content": ""})
    for word in re.findall(r"\s*\S+|\s+$", answer.text):
        yield event({"content": word})
    yield event({}, answer.finish_reason, advsim=answer.marks)
    if include_usage:
        yield _data({**head, "choices": [], "usage": answer.usage})
    yield "data: [DONE]\n\n"


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": answer.id,
        "object": kind,
        "created": answer.created,
        "model": answer.model,
        "system_fingerprint": answer.fingerprint,
    }


def _data(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n"


def _fault(fault: StopReason, num_draws: int) -> RequestError:
    what = "empty" if fault is StopReason.EMPTY_TURN else "out of role"
    return RequestError(
        500,
        f"the simulated person's message was {what}, {num_draws} times in a row: a fault of the simulator, not of your "
        "chatbot. Ask again with another seed, or leave this dialogue out",
        code="simulator_fault",
    )
