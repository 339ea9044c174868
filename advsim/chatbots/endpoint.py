"""A chatbot behind an OpenAI-compatible chat endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from advsim.chatbots.access import read_access
from advsim.chatbots.called import Said
from advsim.config import ChatbotConfig
from advsim.engine.endpoint.completions import CallError, CallFault, ChatCompletions
from advsim.engine.endpoint.request import Endpoint
from advsim.records import Speaker, Turn

SETTINGS = "endpoint"


class ChatEndpoint:
    """Asks a chat endpoint; see :class:`advsim.chatbots.called.Callee`.

    Args:
        config: of a chatbot of kind ``endpoint``.

    Raises:
        ConfigError: an environment variable of a secret is not set.
    """

    def __init__(self, config: ChatbotConfig) -> None:
        endpoint = config.endpoint
        assert endpoint is not None, "the configuration sees to it"
        access = read_access(endpoint, section=SETTINGS)
        self._session_field = endpoint.session_field
        stream = {"stream": True, "stream_options": {"include_usage": True}} if endpoint.stream else {}
        request = access.admitted({"model": endpoint.model, **stream, **endpoint.extra_body})
        if request.get("stream_options", stream) is None:  # left out for a server that refuses the key
            del request["stream_options"]
        self._request: dict[str, Any] = request
        self._before = [{"role": "system", "content": config.system_prompt}] if config.system_prompt else []
        for example in config.examples or ():
            self._before += [
                {"role": "user", "content": example.user},
                {"role": "assistant", "content": example.chatbot},
            ]
        self._completions = ChatCompletions(
            Endpoint(
                base_url=endpoint.base_url,
                key=f"{SETTINGS}.base_url",
                bytes_key="calls.max_answer_bytes",
                path="/chat/completions",
                headers={**({"Accept": "text/event-stream"} if endpoint.stream else {}), **access.headers},
                timeout_s=config.calls.timeout_s,
                max_answer_bytes=config.calls.max_answer_bytes,
            ),
            access,
            base_url=endpoint.base_url,
            settings=SETTINGS,
            limit_key=f"{SETTINGS}.extra_body.max_tokens",
            is_under_test=True,
        )

    @property
    def keeps_dialogue(self) -> bool:
        """Whether the endpoint is told the conversation's id and the new message alone."""
        return self._session_field is not None

    async def ask(self, turns: Sequence[Turn], *, session: str) -> Said:
        """See :class:`advsim.chatbots.called.Callee`."""
        request = {**self._request, "messages": [*self._before, *messages_of(turns)]}
        if self._session_field is not None:
            request |= {"messages": [*self._before, *messages_of(turns[-1:])], self._session_field: session}
        answer = await self._completions.create(request)
        if not answer.text.strip():
            reason = answer.why_empty or "the chatbot answered with an empty message"
            raise CallError(reason, fault=CallFault.TRANSIENT)
        return Said(
            text=answer.text,
            is_cut=answer.is_cut,
            num_prompt_tokens=answer.num_prompt_tokens,
            num_output_tokens=answer.num_completion_tokens,
        )

    async def why_slow(self) -> str:
        """Nothing is known."""
        return ""

    def forget(self, session: str) -> None:
        """Nothing is kept here."""

    async def close(self) -> None:
        """Close the connections."""
        await self._completions.close()


def messages_of(turns: Sequence[Turn]) -> list[dict[str, str]]:
    """Turns as an OpenAI-compatible chat has them."""
    return [{"role": "user" if turn.speaker is Speaker.USER else "assistant", "content": turn.text} for turn in turns]
