"""A chatbot behind a JSON API of one's own: a template of the request, and the place of the reply in the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jmespath

from advsim.chatbots.access import read_access
from advsim.chatbots.called import Said
from advsim.config import ChatbotConfig, HttpApiConfig
from advsim.config.rollout import PLACEHOLDER, places_in
from advsim.engine.endpoint.completions import CallError, CallFault, call_error_of, refusal_of
from advsim.engine.endpoint.request import Endpoint, HttpAnswer, NoAnswerError, server_words
from advsim.errors import one_line
from advsim.prompts.thoughts import separate_thoughts
from advsim.records import Speaker, Turn

SETTINGS = "http"


class HttpApi:
    """Asks a JSON API; see :class:`advsim.chatbots.called.Callee`.

    Args:
        config: of a chatbot of kind ``http``.

    Raises:
        ConfigError: an environment variable of a secret is not set.
    """

    def __init__(self, config: ChatbotConfig) -> None:
        assert config.http is not None, "the configuration sees to it"
        self._config: HttpApiConfig = config.http
        self._reply = jmespath.compile(config.http.reply) if config.http.reply else None
        self._access = read_access(config.http, section=SETTINGS)
        self._endpoint = Endpoint(
            base_url=config.http.url,
            key=f"{SETTINGS}.url",
            bytes_key="calls.max_answer_bytes",
            headers=self._access.headers,
            timeout_s=config.calls.timeout_s,
            max_answer_bytes=config.calls.max_answer_bytes,
        )

    @property
    def keeps_dialogue(self) -> bool:
        """Whether the API is told the conversation's id and no earlier turn."""
        places = places_in(self._config.body)
        return "session" in places and "messages" not in places

    async def ask(self, turns: Sequence[Turn], *, session: str) -> Said:
        """See :class:`advsim.chatbots.called.Callee`."""
        values = {"message": turns[-1].text, "messages": self._messages(turns), "session": session}
        try:
            answer = await self._endpoint.post(self._access.admitted(filled(self._config.body, values)))
        except NoAnswerError as error:
            raise call_error_of(error, self._access) from None
        if not answer.is_success:
            raise refusal_of(answer, self._access, url_key=f"{SETTINGS}.url")
        return Said(text=self._access.masked_reply(self._reply_in(answer)))

    async def why_slow(self) -> str:
        """Nothing is known."""
        return ""

    def forget(self, session: str) -> None:
        """Nothing is kept here."""

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    def _messages(self, turns: Sequence[Turn]) -> list[dict[str, str]]:
        user, chatbot = self._config.roles
        return [
            filled(self._config.turn, {"role": user if turn.speaker is Speaker.USER else chatbot, "text": turn.text})
            for turn in turns
        ]

    def _reply_in(self, answer: HttpAnswer) -> str:
        if self._reply is None:
            kind = answer.headers.get("content-type", "").partition(";")[0]
            if re.search("html|xml", kind) and separate_thoughts(answer.text).text.startswith("<"):
                raise self._unreadable(f"the answer is a page ({kind}), expected plain text: {server_words(answer)}")
            return answer.text
        content = answer.json()
        if content is None:
            words = server_words(answer) or "it is empty"
            raise self._unreadable(f"the answer is no JSON: {words}")
        try:
            value = self._reply.search(content)
        except jmespath.exceptions.JMESPathError as error:
            raise self._unreadable(f"{SETTINGS}.reply ({self._config.reply}) does not fit: {error}") from None
        if isinstance(value, str):
            return value
        what = "nothing" if value is None else f"a {_KINDS.get(type(value), type(value).__name__)} and no text"
        raise self._unreadable(f"{SETTINGS}.reply ({self._config.reply}) finds {what} in the answer, {_shape(content)}")

    def _unreadable(self, reason: str) -> CallError:
        return CallError(self._access.shortened(reason), fault=CallFault.TRANSIENT)


_KINDS = {dict: "mapping", list: "list", int: "number", float: "number", bool: "true or false"}


def _shape(content: Any) -> str:
    """What an answer looks like from outside: what a wrong path is mended with."""
    if isinstance(content, Mapping):
        return f"which has the keys {one_line(', '.join(map(str, content)), max_characters=120) or '(none)'}"
    return f"which is a {_KINDS.get(type(content), type(content).__name__)}"


def filled(template: Any, values: Mapping[str, Any]) -> Any:
    """A request's template with its places filled.

    A text that is one place becomes the value, whatever its type; a place inside a text becomes text.
    """
    if isinstance(template, str):
        whole = PLACEHOLDER.fullmatch(template)
        if whole and whole[1] in values:
            return values[whole[1]]
        return _filled_text(template, values)
    if isinstance(template, Mapping):
        return {key: filled(value, values) for key, value in template.items()}
    return [filled(item, values) for item in template] if isinstance(template, list | tuple) else template


def _filled_text(template: str, values: Mapping[str, Any]) -> str:
    """Places in one pass, so that what a user says is never taken for a place."""
    parts = []
    for part in template.split("{{"):
        parts.append(
            "}".join(PLACEHOLDER.sub(lambda match: str(values[match[1]]), inner) for inner in part.split("}}"))
        )
    return "{".join(parts)
