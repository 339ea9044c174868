"""Clients of a judge's language model: the protocol, and one for OpenAI-compatible endpoints."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from advsim.errors import ConfigError

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

_log = logging.getLogger(__name__)

_MAX_REASON_CHARACTERS = 200
_NO_KEY = "no-key"  # the client insists on one; endpoints that need none ignore it


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeMessage:
    """A message of the prompt."""

    role: Literal["system", "user"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReply:
    """What the model answered. Token counts are None where the server does not report them."""

    text: str
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

    The answer's schema goes along as a strict ``response_format``. A server that refuses a call with it and takes the
    same call without it is asked without it from then on, with one warning: the judge's prompt says the format too.

    The key is read from the environment when the client is made. It is in no log, error or ``repr``.

    Args:
        base_url: up to and with ``/v1``.
        model: name of the model at the endpoint.
        api_key_env: NAME of the environment variable that holds the key; None: the endpoint needs none.
        timeout_s: seconds for an answer.
        temperature: of sampling; None leaves it to the server.
        max_tokens: of an answer.
        token_limit_key: how the endpoint calls that limit.
        extra_body: further keys of each request, for example ``chat_template_kwargs``.

    Raises:
        ConfigError: the environment variable is not set.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key_env: str | None,
        timeout_s: float,
        temperature: float | None,
        max_tokens: int,
        token_limit_key: Literal["max_tokens", "max_completion_tokens"] = "max_tokens",
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        self._base_url = base_url
        self._key = _read_key(api_key_env)
        self._timeout_s = timeout_s
        self._request: dict[str, Any] = {
            "model": model,
            token_limit_key: max_tokens,
            **({} if temperature is None else {"temperature": temperature}),
            **({"extra_body": dict(extra_body)} if extra_body else {}),
        }
        self._client: AsyncOpenAI | None = None  # bound to one event loop
        self.structured = True
        """Whether the answer's schema is sent to the server; becomes False where the server refuses it."""

    async def complete(self, messages: Sequence[JudgeMessage], schema: Mapping[str, Any], *, seed: int) -> JudgeReply:
        """One answer; see :class:`JudgeClient`."""
        if not self.structured:
            return await self._create(messages, None, seed)
        try:
            return await self._create(messages, schema, seed)
        except JudgeCallError as refusal:
            if refusal.fault is not CallFault.REQUEST:
                raise
            reply = await self._create(messages, None, seed)  # raises where it was not the schema that was refused
            if self.structured:
                self.structured = False
                _log.warning(
                    "judge at %s refused structured output (%s); asked without it from now on; answers that are not "
                    "the JSON asked for are retried",
                    self._base_url,
                    refusal,
                )
            return reply

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _create(
        self, messages: Sequence[JudgeMessage], schema: Mapping[str, Any] | None, seed: int
    ) -> JudgeReply:
        from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

        request = dict(self._request)
        if schema is not None:
            json_schema = {"name": "verdict", "strict": True, "schema": dict(schema)}
            request["response_format"] = {"type": "json_schema", "json_schema": json_schema}
        try:
            completion: Any = await self._connected().chat.completions.create(
                messages=cast(Any, [{"role": message.role, "content": message.content} for message in messages]),
                seed=seed,
                **request,
            )
        except APITimeoutError:
            raise JudgeCallError(f"no answer within {self._timeout_s:g} s", fault=CallFault.TRANSIENT) from None
        except APIConnectionError as error:
            cause = error.__cause__ or error
            reason = self._clean(f"no connection to {self._base_url}: {cause}")
            raise JudgeCallError(reason, fault=CallFault.TRANSIENT) from None
        except APIStatusError as error:
            raise self._refusal(error) from None
        except (OpenAIError, ValueError) as error:  # ValueError: a body that is not the JSON it says it is
            reason = self._clean(f"no chat completion: {type(error).__name__}: {error}")
            raise JudgeCallError(reason, fault=CallFault.TRANSIENT) from None
        return _reply_of(completion)

    def _connected(self) -> AsyncOpenAI:
        if self._client is None:
            from openai import AsyncOpenAI

            self._client = AsyncOpenAI(
                base_url=self._base_url, api_key=self._key, timeout=self._timeout_s, max_retries=0
            )
            # read from the environment for OpenAI's own endpoint; others have no business with them
            self._client.organization = self._client.project = None
        return self._client

    def _refusal(self, error: APIStatusError) -> JudgeCallError:
        status = error.status_code
        body = error.body if isinstance(error.body, dict) else {}
        reason = self._clean(f"HTTP {status}: {body.get('message') or error.message}")
        if status in (401, 403, 404) or body.get("code") == "insufficient_quota":
            return JudgeCallError(reason, fault=CallFault.ENDPOINT)
        if status in (408, 409, 425, 429) or status >= 500:
            asked = error.response.headers.get("retry-after", "")
            seconds = float(asked) if asked.isdigit() else None
            return JudgeCallError(reason, fault=CallFault.TRANSIENT, retry_after_s=seconds)
        if body.get("code") == "context_length_exceeded" or "maximum context length" in reason:
            return JudgeCallError(reason, fault=CallFault.TOO_LONG)
        return JudgeCallError(reason, fault=CallFault.REQUEST)

    def _clean(self, reason: str) -> str:
        """A server's error text as one short line, the API key in it replaced."""
        line = " ".join(reason.replace(self._key, "[key]").split())
        return line if len(line) <= _MAX_REASON_CHARACTERS else line[:_MAX_REASON_CHARACTERS] + "..."


def _read_key(variable: str | None) -> str:
    if variable is None:
        return _NO_KEY
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(
            f"judge.api_key_env: the environment variable {variable} is not set; set it to the endpoint's key, or set "
            "judge.api_key_env to null where the endpoint needs none"
        )
    return key


def _reply_of(completion: Any) -> JudgeReply:
    """Text and token counts of a completion; empty or None where the server leaves them out."""
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list):
        raise JudgeCallError("no chat completion: the answer has no choices", fault=CallFault.TRANSIENT)
    content = getattr(getattr(choices[0], "message", None), "content", None) if choices else None
    usage = getattr(completion, "usage", None)
    return JudgeReply(
        text=content if isinstance(content, str) else "",
        num_prompt_tokens=_count(getattr(usage, "prompt_tokens", None)),
        num_completion_tokens=_count(getattr(usage, "completion_tokens", None)),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
