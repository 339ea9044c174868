"""Clients of a judge's language model: the protocol, and one for OpenAI-compatible endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from advsim.config import JudgeConfig
from advsim.engine.endpoint.completions import ChatAnswer, ChatCompletions
from advsim.engine.endpoint.key import read_key
from advsim.engine.endpoint.request import Endpoint

_SETTINGS = "evaluate.judge"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeMessage:
    """A message of the prompt."""

    role: Literal["system", "user"]
    content: str


class JudgeClient(Protocol):
    """A language model that answers one prompt: an endpoint, or a pool of engines."""

    async def complete(self, messages: Sequence[JudgeMessage], schema: Mapping[str, Any], *, seed: int) -> ChatAnswer:
        """One answer, which should be JSON after ``schema``; the judge checks that it is.

        Args:
            messages: the prompt.
            schema: JSON schema of the answer.
            seed: equal calls with another seed are other draws.

        Raises:
            CallError: there is no answer.
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
        key = read_key(config.api_key_env, setting=f"{_SETTINGS}.api_key_env")
        endpoint = Endpoint(
            base_url=config.base_url,
            key=f"{_SETTINGS}.base_url",
            bytes_key=f"{_SETTINGS}.max_answer_bytes",
            path="/chat/completions",
            headers=key.headers,
            timeout_s=config.timeout_s,
            max_answer_bytes=config.max_answer_bytes,
        )
        self._completions = ChatCompletions(
            endpoint,
            key,
            base_url=config.base_url,
            settings=_SETTINGS,
            limit_key=f"{_SETTINGS}.max_tokens",
            whose="The judge's endpoint",
        )
        self._request: dict[str, Any] = {
            "model": config.model,
            config.token_limit_key: config.max_tokens,
            **({} if config.temperature is None else {"temperature": config.temperature}),
            **config.extra_body,
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What the endpoint refused and how it is asked instead."""
        return self._completions.notes

    async def complete(self, messages: Sequence[JudgeMessage], schema: Mapping[str, Any], *, seed: int) -> ChatAnswer:
        """One answer; see :class:`JudgeClient`."""
        return await self._completions.create(self._whole_request(messages, schema, seed))

    async def close(self) -> None:
        """Close the connections."""
        await self._completions.close()

    def _whole_request(self, messages: Sequence[JudgeMessage], schema: Mapping[str, Any], seed: int) -> dict[str, Any]:
        json_schema = {"name": "verdict", "strict": True, "schema": dict(schema)}
        return {
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "seed": seed,
            "response_format": {"type": "json_schema", "json_schema": json_schema},
            **self._request,
        }
