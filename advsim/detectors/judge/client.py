"""Clients of a judge's language model: the protocol, and one for OpenAI-compatible endpoints."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol

from advsim.config import JudgeConfig
from advsim.detectors.judge.endpoint import Endpoint, HttpAnswer, NoAnswerError, error_in, server_words
from advsim.detectors.judge.key import EndpointKey, read_key
from advsim.detectors.judge.refused_keys import change_for, changed, refused_key, told

_log = logging.getLogger(__name__)

_TOO_LONG = (
    "maximum context length",
    "context window",
    "available context",
    "prompt is too long",
    "input is too long",
    "too many tokens",
)
_NO_SUCH_MODEL = ("model_not_found", "invalid_model", "model_not_available")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeMessage:
    """A message of the prompt."""

    role: Literal["system", "user"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReply:
    """What the model answered. Token counts are None where the server does not report them.

    ``why_empty``: where ``text`` is empty and the server shows why, for example thoughts without an answer.
    """

    text: str
    why_empty: str = ""
    num_prompt_tokens: int | None
    num_completion_tokens: int | None


class CallFault(StrEnum):
    """Kinds of failed calls, by whether another call can succeed."""

    TRANSIENT = "transient"  # the same call may succeed later: rate limit, server error, time-out
    TOO_LONG = "too_long"  # the prompt does not fit in the model's context; a shorter one may
    REQUEST = "request"  # this call will always fail, others may not
    ENDPOINT = "endpoint"  # every call will fail: no access, no such model


class JudgeCallError(Exception):
    """A call gave no answer. ``retry_after_s`` is the wait that the server asked for, if it did."""

    def __init__(self, reason: str, *, fault: CallFault, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.fault = fault
        self.retry_after_s = retry_after_s


class _RefusedError(JudgeCallError):
    """A request was refused for itself. ``key`` is the one of its keys that the server means, if it says one."""

    def __init__(self, reason: str, *, key: str | None) -> None:
        super().__init__(reason, fault=CallFault.REQUEST)
        self.key = key


class JudgeClient(Protocol):
    """A language model that answers one prompt: an endpoint, or a pool of engines."""

    async def complete(self, messages: Sequence[JudgeMessage], schema: Mapping[str, Any], *, seed: int) -> JudgeReply:
        """One answer, which should be JSON after ``schema``; the judge checks that it is.

        Args:
            messages: the prompt.
            schema: JSON schema of the answer.
            seed: equal calls with another seed are other draws.

        Raises:
            JudgeCallError: there is no answer.
        """

    async def close(self) -> None:
        """Free connections at the end of a batch of calls. The client may be used again, in another event loop."""


class OpenAIJudgeClient:
    """A model behind an OpenAI-compatible chat-completions endpoint.

    The answer's schema goes along as a strict ``response_format``. A key of the request that the server refuses is
    called otherwise or left out from then on, with one warning and a note, where the request is taken so; a
    ``response_format`` becomes the plain ``json_object`` before it is left out. A refusal that names no key is taken
    for one of ``response_format``: the judge's prompt says the format too.

    The key is read from the environment when the client is made. It is in no log, error, answer or ``repr``.

    Args:
        config: where the model is and how it is asked.

    Raises:
        ConfigError: the environment variable is not set or holds no key, or the address cannot be one.
    """

    def __init__(self, config: JudgeConfig) -> None:
        self._base_url = config.base_url
        self._key: EndpointKey = read_key(config.api_key_env)
        self._endpoint = Endpoint(
            base_url=config.base_url,
            headers=self._key.headers,
            timeout_s=config.timeout_s,
            max_answer_bytes=config.max_answer_bytes,
        )
        self._request: dict[str, Any] = {
            "model": config.model,
            config.token_limit_key: config.max_tokens,
            **({} if config.temperature is None else {"temperature": config.temperature}),
            **config.extra_body,
        }
        self._changes: dict[str, str] = {}  # key -> its other name, or left out
        self._notes: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What the endpoint refused and how it is asked instead."""
        return tuple(self._notes)

    async def complete(self, messages: Sequence[JudgeMessage], schema: Mapping[str, Any], *, seed: int) -> JudgeReply:
        """One answer; see :class:`JudgeClient`."""
        request = self._whole_request(messages, schema, seed)
        changes = dict(self._changes)
        reasons: dict[str, str] = {}
        unexplained: JudgeCallError | None = None
        while True:
            sent = changed(request, changes)
            try:
                reply = await self._create(sent)
            except _RefusedError as refusal:
                key = refusal.key
                if key is None:
                    if "response_format" not in sent:
                        raise unexplained or refusal from None
                    key, unexplained = "response_format", unexplained or refusal
                changes = change_for(key, request, changes)
                reasons = {name: reasons.get(name, str(refusal)) for name in changes}
                continue
            except JudgeCallError as error:
                if error.fault is CallFault.TOO_LONG and unexplained is None:
                    self._remember(changes, reasons)
                raise
            self._remember(changes, reasons)
            return reply

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    def _whole_request(self, messages: Sequence[JudgeMessage], schema: Mapping[str, Any], seed: int) -> dict[str, Any]:
        json_schema = {"name": "verdict", "strict": True, "schema": dict(schema)}
        return {
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "seed": seed,
            "response_format": {"type": "json_schema", "json_schema": json_schema},
            **self._request,
        }

    def _remember(self, changes: Mapping[str, str], reasons: Mapping[str, str]) -> None:
        """Ask so from now on, and say so once a key."""
        for key, other in changes.items():
            if self._changes.get(key) != other:
                self._changes[key] = other
                note = f"The judge's endpoint {self._base_url} {told(key, other)} ({reasons.get(key, '')})."
                self._notes.append(note)
                _log.warning("%s", note)

    async def _create(self, request: Mapping[str, Any]) -> JudgeReply:
        try:
            answer = await self._endpoint.post(request)
        except NoAnswerError as error:
            fault = CallFault.ENDPOINT if error.is_lasting else CallFault.TRANSIENT
            raise JudgeCallError(self._key.shortened(str(error)), fault=fault) from None
        content = answer.json()
        if not answer.is_success or (isinstance(content, dict) and content.get("error") and not content.get("choices")):
            raise self._refusal(answer, request)
        choices = content.get("choices") if isinstance(content, dict) else None
        if not isinstance(choices, list):
            words = server_words(answer) or "it is empty"
            reason = self._key.shortened(f"no chat completion in the answer: {words}")
            raise JudgeCallError(reason, fault=CallFault.TRANSIENT)
        return self._reply_of(choices, content.get("usage"))

    def _refusal(self, answer: HttpAnswer, request: Mapping[str, Any]) -> JudgeCallError:
        error = error_in(answer.json())
        code = error.get("code")
        # some gateways answer 200 and say the status inside
        status = code if answer.is_success and isinstance(code, int) else answer.status
        words = server_words(answer)
        reason = self._key.shortened(f"HTTP {status}: {words or 'without a word'}")
        if 300 <= status < 400:
            where = answer.headers.get("location", "elsewhere")
            return JudgeCallError(
                self._key.shortened(
                    f"HTTP {status}: a redirect to {where}, which is not followed; set evaluate.judge.base_url to the "
                    "address that answers itself, if you trust it"
                ),
                fault=CallFault.ENDPOINT,
            )
        no_such_model = code in _NO_SUCH_MODEL or error.get("param") == "model"
        if status in (401, 402, 403, 404, 405) or code == "insufficient_quota" or no_such_model:
            return JudgeCallError(reason, fault=CallFault.ENDPOINT)
        if status in (408, 409, 425, 429) or status < 300 or status >= 500:
            asked = answer.headers.get("retry-after", "")
            seconds = float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else None
            return JudgeCallError(reason, fault=CallFault.TRANSIENT, retry_after_s=seconds)
        if status == 413 or code == "context_length_exceeded" or any(text in words.lower() for text in _TOO_LONG):
            return JudgeCallError(reason, fault=CallFault.TOO_LONG)
        return _RefusedError(reason, key=refused_key(error.get("param"), words, request))

    def _reply_of(self, choices: list[Any], usage: object) -> JudgeReply:
        """Text and token counts of a completion; empty or None where the server leaves them out."""
        choice = choices[0] if choices and isinstance(choices[0], dict) else {}
        said = choice.get("message")
        message = said if isinstance(said, dict) else {}
        text = _text_of(message.get("content"))
        thoughts = _text_of(message.get("reasoning_content")) or _text_of(message.get("reasoning"))
        if not text.strip() and thoughts.lstrip().startswith("{"):
            text = thoughts  # servers that take an answer without thoughts for thoughts
        counts = usage if isinstance(usage, dict) else {}
        return JudgeReply(
            text=self._key.masked(text),
            why_empty="" if text.strip() else self._key.shortened(_why_empty(choice, message, thoughts)),
            num_prompt_tokens=_count(counts.get("prompt_tokens")),
            num_completion_tokens=_count(counts.get("completion_tokens")),
        )


def _text_of(content: object) -> str:
    """The text of a message's content, which may be in parts; thoughts among the parts are left out."""
    if isinstance(content, str):
        return content
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    return "".join(part["text"] for part in parts if part.get("type") == "text" and isinstance(part.get("text"), str))


def _why_empty(choice: Mapping[str, Any], message: Mapping[str, Any], thoughts: str) -> str:
    """Why a completion has no text, as far as the server shows it."""
    if isinstance(message.get("refusal"), str):
        return f"the model refuses: {message['refusal']}"
    if thoughts or choice.get("finish_reason") == "length":
        what = "thoughts and no answer" if thoughts else "no answer before its token limit"
        return f"the model gave {what}; raise evaluate.judge.max_tokens, which counts thoughts too, or turn them off"
    if choice.get("finish_reason") == "content_filter":
        return "the endpoint's content filter took the answer"
    return ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
