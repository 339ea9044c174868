"""Chat completions from an OpenAI-compatible endpoint, and what a call that gave none means."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

from advsim.engine.endpoint.event_stream import refusal_in, text_of, whole_answer
from advsim.engine.endpoint.key import EndpointKey
from advsim.engine.endpoint.refused_keys import change_for, changed, refused_key, told
from advsim.engine.endpoint.request import Endpoint, HttpAnswer, NoAnswerError, error_in, server_words
from advsim.errors import one_line

_log = logging.getLogger(__name__)

_TOO_LONG = (
    "maximum context length",
    "context window",
    "available context",
    "prompt is too long",
    "input is too long",
    "too many tokens",
)
_MAX_TOKENS = 2**31
_NO_SUCH_MODEL = ("model_not_found", "invalid_model", "model_not_available")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatAnswer:
    """What a model answered. Token counts are None where the server does not report them.

    ``why_empty``: where ``text`` is empty and the server shows why, for example thoughts without an answer.
    ``is_cut``: the answer is not whole, because it ended at its token limit or a content filter took the rest.
    """

    text: str
    why_empty: str = ""
    is_cut: bool = False
    num_prompt_tokens: int | None
    num_completion_tokens: int | None


class CallFault(StrEnum):
    """Kinds of failed calls, by whether another call can succeed."""

    TRANSIENT = "transient"  # the same call may succeed later: rate limit, server error, time-out
    TOO_LONG = "too_long"  # the prompt does not fit in the model's context; a shorter one may
    REQUEST = "request"  # this call will always fail, others may not
    ENDPOINT = "endpoint"  # every call will fail: no access, no such model


class CallError(Exception):
    """A call gave no answer.

    Attributes:
        fault: whether another call can succeed.
        retry_after_s: the wait that the server asked for, if it did.
        may_be_taken: the server may have acted on the call: asked again, it would have heard the message twice.
    """

    def __init__(
        self, reason: str, *, fault: CallFault, retry_after_s: float | None = None, may_be_taken: bool = True
    ) -> None:
        super().__init__(reason)
        self.fault = fault
        self.retry_after_s = retry_after_s
        self.may_be_taken = may_be_taken


class _RefusedError(CallError):
    """A request was refused for itself. ``key`` is the one of its keys that the server means, if it says one."""

    def __init__(self, reason: str, *, key: str | None) -> None:
        super().__init__(reason, fault=CallFault.REQUEST, may_be_taken=False)
        self.key = key


class ChatCompletions:
    """Completions from one endpoint. A key of the request that the server refuses is called otherwise, or left out.

    That holds from then on, with one warning and a note, where the request is taken so. A ``response_format`` becomes
    the plain ``json_object`` before it is left out, and a refusal that names no key is taken for one of it: a prompt
    should say the format too.

    Args:
        endpoint: where to.
        key: is masked in everything that the server says.
        base_url: for notes.
        settings: name of the section whose keys remedies name, for example ``evaluate.judge``.
        whose: begins the notes: ``The judge's endpoint``.
        is_under_test: what answers is measured as it is: a refused request fails, because with other keys it would be
            another one's answer; thoughts are never an answer, and a refusal is what a person would read.
        limit_key: configuration key of the answer's token limit, for remedies.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        key: EndpointKey,
        *,
        base_url: str,
        settings: str,
        limit_key: str,
        whose: str = "The endpoint",
        is_under_test: bool = False,
    ) -> None:
        self._is_under_test = is_under_test
        self._limit_key = limit_key
        self._endpoint = endpoint
        self._key = key
        self._base_url = base_url
        self._settings = settings
        self._whose = whose
        self._changes: dict[str, str] = {}  # key -> its other name, or left out
        self._notes: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What the endpoint refused and how it is asked instead."""
        return tuple(self._notes)

    async def create(self, request: Mapping[str, Any]) -> ChatAnswer:
        """The completion of a request.

        Raises:
            CallError: there is none.
        """
        changes = dict(self._changes)
        reasons: dict[str, str] = {}
        unexplained: CallError | None = None
        while True:
            sent = changed(request, changes)
            try:
                reply = await self._create(sent)
            except _RefusedError as refusal:
                if self._is_under_test:
                    raise
                key = refusal.key
                if key is None:
                    if "response_format" not in sent:
                        raise unexplained or refusal from None
                    key, unexplained = "response_format", unexplained or refusal
                changes = change_for(key, request, changes)
                reasons = {name: reasons.get(name, str(refusal)) for name in changes}
                continue
            except CallError as error:
                if error.fault is CallFault.TOO_LONG and unexplained is None:
                    self._remember(changes, reasons)
                raise
            self._remember(changes, reasons)
            return reply

    async def close(self) -> None:
        """Close the connections."""
        await self._endpoint.close()

    def _remember(self, changes: Mapping[str, str], reasons: Mapping[str, str]) -> None:
        """Ask so from now on, and say so once a key."""
        for key, other in changes.items():
            if self._changes.get(key) != other:
                self._changes[key] = other
                note = f"{self._whose} {self._base_url} {told(key, other)} ({reasons.get(key, '')})."
                self._notes.append(note)
                _log.warning("%s", note)

    async def _create(self, request: Mapping[str, Any]) -> ChatAnswer:
        try:
            answer = whole_answer(await self._endpoint.post(request))
        except NoAnswerError as error:
            raise call_error_of(error, self._key) from None
        content = answer.json()
        if not answer.is_success or (isinstance(content, dict) and content.get("error") and not content.get("choices")):
            raise self._refusal(answer, request)
        choices = content.get("choices") if isinstance(content, dict) else None
        if not isinstance(choices, list):
            words = server_words(answer) or "it is empty"
            reason = self._key.shortened(f"no chat completion in the answer: {words}")
            raise CallError(reason, fault=CallFault.TRANSIENT)
        return self._reply_of(choices, content.get("usage"))

    def _refusal(self, answer: HttpAnswer, request: Mapping[str, Any]) -> CallError:
        status = _status_of(answer)
        error = error_in(answer.json())
        code = error.get("code")
        words = server_words(answer)
        reason = self._key.shortened(f"HTTP {status}: {words or 'without a word'}")
        no_such_model = code in _NO_SUCH_MODEL or error.get("param") == "model"
        if code == "insufficient_quota" or no_such_model:
            return CallError(reason, fault=CallFault.ENDPOINT, may_be_taken=False)
        general = refusal_of(answer, self._key, url_key=f"{self._settings}.base_url")
        if general.fault is not CallFault.REQUEST:
            return general
        if status == 413 or code == "context_length_exceeded" or any(text in words.lower() for text in _TOO_LONG):
            return CallError(reason, fault=CallFault.TOO_LONG, may_be_taken=False)
        return _RefusedError(reason, key=refused_key(error.get("param"), words, request))

    def _reply_of(self, choices: list[Any], usage: object) -> ChatAnswer:
        """Text and token counts of a completion; empty or None where the server leaves them out."""
        choice = choices[0] if choices and isinstance(choices[0], dict) else {}
        said = choice.get("message")
        message = said if isinstance(said, dict) else {}
        text = text_of(message.get("content"))
        thoughts = text_of(message.get("reasoning_content")) or text_of(message.get("reasoning"))
        refusal = refusal_in(message)
        if not text.strip() and self._is_under_test:
            text = refusal
        elif not text.strip() and thoughts.lstrip().startswith("{"):
            text = thoughts  # servers that take a judge's answer without thoughts for thoughts
        counts = usage if isinstance(usage, dict) else {}
        return ChatAnswer(
            text=self._key.masked_reply(text),
            why_empty=""
            if text.strip()
            else self._key.shortened(_why_empty(choice, thoughts, refusal, self._limit_key)),
            is_cut=choice.get("finish_reason") in ("length", "content_filter"),
            num_prompt_tokens=_count(counts.get("prompt_tokens")),
            num_completion_tokens=_count(counts.get("completion_tokens")),
        )


def call_error_of(error: NoAnswerError, key: EndpointKey) -> CallError:
    """What it means that a request got no answer; ``key`` is masked in the reason."""
    fault = CallFault.ENDPOINT if error.is_lasting else CallFault.TRANSIENT
    return CallError(key.shortened(str(error)), fault=fault, may_be_taken=error.may_be_taken)


def refusal_of(answer: HttpAnswer, key: EndpointKey, *, url_key: str) -> CallError:
    """What an answer that is no success means, by its status; :attr:`CallFault.REQUEST` where that says no more.

    Args:
        answer: of the server.
        key: is masked in what it says.
        url_key: configuration key of the address, for the remedy.
    """
    status = _status_of(answer)
    reason = key.shortened(f"HTTP {status}: {server_words(answer) or 'without a word'}")
    if 300 <= status < 400:
        where = answer.headers.get("location", "elsewhere")
        return CallError(
            key.shortened(
                f"HTTP {status}: a redirect to {where}, which is not followed; set {url_key} to the address that "
                "answers itself, if you trust it"
            ),
            fault=CallFault.ENDPOINT,
            may_be_taken=False,
        )
    if status in (401, 402, 403, 404, 405):
        return CallError(reason, fault=CallFault.ENDPOINT, may_be_taken=False)
    if status in (408, 409, 425, 429) or status < 300 or status >= 500:
        asked_s = _retry_after_s(answer.headers.get("retry-after", ""))
        refused = status in (429, 503)
        return CallError(reason, fault=CallFault.TRANSIENT, retry_after_s=asked_s, may_be_taken=not refused)
    return CallError(reason, fault=CallFault.REQUEST, may_be_taken=False)


def _status_of(answer: HttpAnswer) -> int:
    """The status; some gateways answer 200 and say the status inside."""
    code = error_in(answer.json()).get("code")
    return code if answer.is_success and isinstance(code, int) else answer.status


def _retry_after_s(asked: str) -> float | None:
    """Seconds that a ``Retry-After`` header asks to wait: a number of them, or a date; None where it is neither."""
    if asked.isascii() and asked.isdigit():
        return float(asked) if len(asked) < 10 else None
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _why_empty(choice: Mapping[str, Any], thoughts: str, refusal: str, limit_key: str) -> str:
    """Why a completion has no text, as far as the server shows it."""
    said = choice.get("message")
    message = said if isinstance(said, dict) else {}
    if refusal.strip():
        return f"the model refuses: {refusal}"
    if thoughts or choice.get("finish_reason") == "length":
        what = "thoughts and no answer" if thoughts else "no answer before its token limit"
        return f"the model gave {what}; raise {limit_key}, which counts thoughts too, or turn them off"
    if choice.get("finish_reason") == "content_filter":
        return "the endpoint's content filter took the answer"
    if message.get("tool_calls") or message.get("function_call"):
        return "the answer is a call of tools and no message; leave tools out of the request, or answer in their place"
    if isinstance(choice.get("text"), str) and choice["text"].strip():
        return "the answer has choices[0].text, as text completions do, expected choices[0].message.content"
    content = message.get("content")
    if content and not isinstance(content, str):
        shown = one_line(json.dumps(content), max_characters=80)
        return f"choices[0].message.content is {shown}, expected text, or parts of type text"
    return ""


def _count(value: Any) -> int | None:
    """A number of tokens; None where it is none that can be."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and 0 <= value < _MAX_TOKENS and value == int(value) else None
