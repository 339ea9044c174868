"""A chatbot outside of advsim: called within bounds of time, number and size, and given up where it only fails.

    reply ─> a place (max_concurrency) ─> its time (max_per_minute, Retry-After) ─> Callee.ask ─> looked at ─> Utterance
              ▲                                                                        │
              └────────────── a wait that doubles, up to max_attempts ◄── CallError ───┘

What gave no reply is a failure of the connection, never of what the chatbot says: it leaves as ``ChatbotError``, which
ends the conversation with its reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from advsim.chatbots.protocol import Utterance
from advsim.config import CallsConfig
from advsim.engine.endpoint.completions import CallError, CallFault
from advsim.errors import ChatbotError, ConfigError, printable
from advsim.prompts.window import ContextOverflowError
from advsim.records import Effort, Speaker, Turn

MAX_CACHED = 10_000
"""Answers that are kept of a chatbot with ``calls.cache``; the one that was wanted least lately goes first."""

_SHORTEST_S = 1e-9
_PAGE = re.compile(
    r"\s*(?:<!--(?:(?!-->).){0,2000}-->\s*)?<(?:\?xml\b|(?:!doctype\s+html|html|head|body)\b)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a chatbot answered. Token counts are None where it does not tell them."""

    text: str
    is_cut: bool = False
    num_prompt_tokens: int | None = None
    num_output_tokens: int | None = None


class Callee(Protocol):
    """Something that answers one call."""

    @property
    def keeps_dialogue(self) -> bool:
        """Whether it remembers what was said in a session, so that it is told the new message alone."""

    async def ask(self, turns: Sequence[Turn], *, session: str) -> Said:
        """What it says to the last of ``turns``, which is the user's.

        Raises:
            CallError: it says nothing that can be read.
        """

    async def why_slow(self) -> str:
        """What can be said about a call that has just taken longer than it may; empty: nothing."""

    def forget(self, session: str) -> None:
        """Drop what is kept of a session."""

    async def close(self) -> None:
        """Free connections."""


class CalledChatbot:
    """Speaks a chatbot that is called; see the module's head.

    Args:
        callee: what is called.
        calls: the bounds.
        share: of how many equal ones this is; each keeps to its part of the bounds that hold for all.
        settings: all that decides what is called, as text; part of what is kept answers are found by.

    Raises:
        ConfigError: answers are to be kept of a chatbot that keeps the dialogue itself.
    """

    def __init__(self, callee: Callee, calls: CallsConfig, *, share: int = 1, settings: str = "") -> None:
        if calls.cache and callee.keeps_dialogue:
            raise ConfigError(
                "calls.cache is for chatbots whose answer hangs on the turns alone, but this one keeps the dialogue "
                "itself; set it to false, or use a function of all turns"
            )
        self._callee = callee
        self._settings = settings
        self._answers: OrderedDict[str, Said] = OrderedDict()  # by request, of a chatbot with calls.cache
        self._calls = calls
        self._places = asyncio.Semaphore(max(1, calls.max_concurrency // share))
        self._pace = _Pace(interval_s=60.0 * share / calls.max_per_minute if calls.max_per_minute else 0.0)
        self._num_heard: dict[str, int] = {}  # turns of a session that a chatbot which keeps the dialogue has heard
        self._num_failures = 0  # in a row
        self._given_up = ""

    @property
    def bounds_time(self) -> bool:
        """Each call has its own time, whatever the wait before it."""
        return True

    def begin(self) -> None:
        """Begin a new piece of work: a chatbot that was given up is tried again."""
        self._num_failures, self._given_up = 0, ""

    async def reply(self, turns: Sequence[Turn], *, seed: int, session: str) -> Utterance:
        """See :class:`advsim.chatbots.protocol.ChatbotSpeaker`; ``seed`` is not used.

        Raises:
            ChatbotError: there is no reply, or the chatbot has been given up.
            ContextOverflowError: the dialogue is too long for it.
        """
        request = request_sha256(self._settings, turns) if self._calls.cache else ""
        if request in self._answers:
            self._answers.move_to_end(request)
            kept = self._answers[request]
            return _utterance(Said(text=kept.text, is_cut=kept.is_cut, num_prompt_tokens=0, num_output_tokens=0), 0.0)
        try:
            for heard in self._parts(turns, session):
                said, seconds = await self._ask_until_answered(heard, session)
                self._num_heard[session] = len(heard)
        except CallError as error:
            if error.fault is CallFault.TOO_LONG:
                raise ContextOverflowError(f"the chatbot finds the dialogue too long: {error}") from None
            raise ChatbotError(self._failed(str(error))) from None
        self._num_failures = 0
        if request:
            self._answers[request] = said
            while len(self._answers) > MAX_CACHED:
                self._answers.popitem(last=False)
        return _utterance(said, seconds)

    async def end(self, session: str) -> None:
        """Forget a conversation."""
        self._num_heard.pop(session, None)
        self._callee.forget(session)

    async def close(self) -> None:
        """Free connections."""
        await self._callee.close()

    def _parts(self, turns: Sequence[Turn], session: str) -> Iterator[Sequence[Turn]]:
        """What to ask in turn: one call, but for who keeps the dialogue and has not heard the user's earlier turns."""
        if not self._callee.keeps_dialogue:
            yield turns
            return
        for index in range(min(self._num_heard.get(session, 0), len(turns) - 1), len(turns)):
            if turns[index].speaker is Speaker.USER:
                yield turns[: index + 1]

    async def _ask_until_answered(self, turns: Sequence[Turn], session: str) -> tuple[Said, float]:
        num_calls = 0
        while True:
            num_calls += 1
            try:
                return await self._ask(turns, session)
            except CallError as error:
                if num_calls == self._calls.max_attempts or not self._is_worth_repeating(error):
                    if num_calls == 1:
                        raise
                    raise CallError(f"{error} (the last of {num_calls} calls)", fault=error.fault) from None
                if error.retry_after_s is not None:
                    self._pace.pause(error.retry_after_s)
                longest_s = min(self._calls.backoff_s * 2 ** (num_calls - 1), self._calls.max_backoff_s)
            await asyncio.sleep(random.uniform(0.0, longest_s))

    async def _ask(self, turns: Sequence[Turn], session: str) -> tuple[Said, float]:
        async with self._places:
            await self._pace.wait()
            if self._given_up:
                raise CallError(self._given_up, fault=CallFault.ENDPOINT)
            started = time.monotonic()
            try:
                async with asyncio.timeout(self._calls.timeout_s):
                    said = await self._callee.ask(turns, session=session)
            except TimeoutError:
                why = await self._callee.why_slow()
                reason = f"no answer within {self._calls.timeout_s:g} s{f' ({why})' if why else ''}"
                raise CallError(reason, fault=CallFault.TRANSIENT) from None
            seconds = max(time.monotonic() - started, _SHORTEST_S)  # 0 would say that there was no call
        self._check_text(said.text)
        return Said(
            text=printable(said.text),
            is_cut=said.is_cut,
            num_prompt_tokens=said.num_prompt_tokens,
            num_output_tokens=said.num_output_tokens,
        ), seconds

    def _check_text(self, text: str) -> None:
        fault = ""
        if not printable(text).strip():
            fault = "the chatbot answered with an empty message"
        elif len(text) > self._calls.max_reply_characters:
            fault = (
                f"the chatbot answered with {len(text):,} characters, more than calls.max_reply_characters "
                f"({self._calls.max_reply_characters:,})"
            )
        elif _PAGE.match(text):
            fault = "the chatbot answered with a page (HTML or XML), expected a message"
        if fault:
            raise CallError(fault, fault=CallFault.TRANSIENT)

    def _is_worth_repeating(self, error: CallError) -> bool:
        if error.fault is not CallFault.TRANSIENT or (self._callee.keeps_dialogue and error.may_be_taken):
            return False
        return (error.retry_after_s or 0.0) <= self._calls.max_retry_after_s

    def _failed(self, reason: str) -> str:
        """Count a message without a reply; returns why there is none."""
        if self._given_up:
            return self._given_up
        self._num_failures += 1
        if self._num_failures >= self._calls.max_failures_in_a_row:
            self._given_up = (
                f"the chatbot is not asked any more after {self._num_failures} messages in a row without a reply "
                f"(calls.max_failures_in_a_row); the last: {reason}"
            )
        return reason


def request_sha256(settings: str, turns: Sequence[Turn]) -> str:
    """SHA-256 of all that a chatbot which does not keep the dialogue is asked with.

    Args:
        settings: of the chatbot, as text.
        turns: the dialogue so far.
    """
    said = [[turn.speaker.value, turn.text] for turn in turns]
    return hashlib.sha256(json.dumps([settings, said]).encode()).hexdigest()


def _utterance(said: Said, seconds: float) -> Utterance:
    return Utterance(
        text=said.text,
        token_ids=(),
        finished=not said.is_cut,
        num_prompt_tokens=said.num_prompt_tokens or 0,
        effort=Effort(
            seconds=seconds, num_prompt_tokens=said.num_prompt_tokens, num_output_tokens=said.num_output_tokens
        ),
    )


class _Pace:
    """Spaces calls evenly, and keeps the pause that a server asked for."""

    def __init__(self, *, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next_at = self._paused_until = 0.0  # of the monotonic clock

    def pause(self, seconds: float) -> None:
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    async def wait(self) -> None:
        mine = max(time.monotonic(), self._next_at)
        self._next_at = mine + self._interval_s
        while (left_s := max(mine, self._paused_until) - time.monotonic()) > 0:
            await asyncio.sleep(left_s)
