"""What the user's code runs on: a thread a call, and a loop for what is asynchronous. It never runs on this loop.

A call that does not end keeps its thread, and the caller goes on without it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import threading
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

_LOOP_ANSWERS_S = 0.2
"""Within which a loop that is not blocked answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What code returned, or what it raised: any error at all, which says nothing to the loops that hand it on."""

    value: Any = None
    error: BaseException | None = None


class CodeCalls:
    """Runs code; see the module's head.

    All asynchronous code has one loop, so that clients it keeps stay usable from call to call, until a call blocks that
    loop for longer than it may take. From then on each call has a loop of its own, so that none waits for another.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._blocks = False

    async def run(self, code: Callable[..., Any], *arguments: Any) -> Outcome:
        """What the code does."""
        done = await asyncio.wrap_future(_in_a_thread(code, *arguments))
        if done.error is not None or not inspect.isawaitable(done.value):
            return done
        awaited = _awaited(done.value)
        if not self._blocks:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(awaited, self._running_loop()))
        of_the_loop = await asyncio.wrap_future(_in_a_thread(asyncio.run, awaited))
        return of_the_loop if of_the_loop.error is not None else of_the_loop.value

    async def is_blocked(self) -> bool:
        """Whether code that should be asynchronous holds up all calls; each call has its own loop then."""
        if self._loop is None or self._blocks:
            return self._blocks
        has_answered = threading.Event()
        self._loop.call_soon_threadsafe(has_answered.set)
        await asyncio.sleep(_LOOP_ANSWERS_S)
        self._blocks = not has_answered.is_set()
        return self._blocks

    def close(self) -> None:
        """Stop the loop."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._loop = None

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, daemon=True, name="chatbot's loop").start()
        return self._loop


def _in_a_thread(code: Callable[..., Any], *arguments: Any) -> concurrent.futures.Future[Outcome]:
    """The outcome of code in a thread of its own, which ends with the process where the code does not."""
    future: concurrent.futures.Future[Outcome] = concurrent.futures.Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(Outcome(value=code(*arguments)))
        except BaseException as error:  # sys.exit in a chatbot is no reason to wait for ever
            traceback.print_exc()
            future.set_result(Outcome(error=error))

    threading.Thread(target=run, daemon=True, name="chatbot").start()
    return future


def _awaited(result: Any) -> Coroutine[Any, Any, Outcome]:
    async def outcome() -> Outcome:
        try:
            return Outcome(value=await result)
        except asyncio.CancelledError:
            return Outcome(error=RuntimeError("it was cancelled"))
        except BaseException as error:
            traceback.print_exc()
            return Outcome(error=error)

    return outcome()
