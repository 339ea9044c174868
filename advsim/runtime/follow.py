"""Follows a job on a Ray cluster: its output as it comes, and its end. A head may be silent for a while."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TextIO, TypeVar

from advsim.errors import RunError, one_line, printable

Answer = TypeVar("Answer")

POLL_INTERVAL_S = 5.0
PATIENCE_S = 300.0
"""A head that has not answered for so long is given up."""
_ANSWER_TIMEOUT_S = 30.0
_LAST_OUTPUT_S = 10.0


def follow_job(
    client: Any,
    job_id: str,
    *,
    address: str,
    out: TextIO | None = None,
    poll_interval_s: float = POLL_INTERVAL_S,
    patience_s: float = PATIENCE_S,
) -> None:
    """Print a job's output until it ends.

    Args:
        client: a ``JobSubmissionClient``.
        job_id: the job's.
        address: of the head, for messages.
        out: where the output goes, without what a terminal would obey; None is standard output.
        poll_interval_s: between two questions for the job's state.
        patience_s: how long the head may be silent.

    Raises:
        RunError: the job failed or was stopped, or the head did not answer for ``patience_s``.
        KeyboardInterrupt: with a message that says that the job goes on.
    """
    out = out or sys.stdout
    output = _Output(client=client, job_id=job_id, out=out)
    try:
        _follow(client, job_id, address, output, poll_interval_s=poll_interval_s, patience_s=patience_s)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"not following any more; job {job_id} goes on. Its output: {_command('logs', job_id, address)} --follow; "
            f"stop it: {_command('stop', job_id, address)}"
        ) from None


def _follow(
    client: Any, job_id: str, address: str, output: _Output, *, poll_interval_s: float, patience_s: float
) -> None:
    answered_s = time.monotonic()
    is_silent = False
    output.listen()
    while True:
        output.write_for(poll_interval_s)
        try:
            status = _within(_ANSWER_TIMEOUT_S, lambda: client.get_job_status(job_id))
        except (RuntimeError, OSError) as error:  # an HTTP status of the head, or no answer at all
            reason = one_line(str(error), max_characters=200) or type(error).__name__
            if time.monotonic() - answered_s > patience_s:
                raise RunError(
                    f"the head at {address} has not answered for {patience_s:g} s ({reason}); job {job_id} may go on "
                    f"there. Once it answers: {_command('status', job_id, address)}, and "
                    f"{_command('logs', job_id, address)} --follow"
                ) from error
            if not is_silent:
                print(f"advsim: the head does not answer ({reason}); waiting for it", file=sys.stderr, flush=True)
            is_silent = True
            continue
        answered_s, is_silent = time.monotonic(), False
        if status.is_terminal():
            break
        output.listen()
    output.listen()
    output.write_for(_LAST_OUTPUT_S, until_end=True)
    if status.value != "SUCCEEDED":
        raise RunError(
            f"job {job_id} ended as {status.value}{_message(client, job_id)}. What went wrong stands above; "
            f"{_command('logs', job_id, address)} shows it again"
        )


def _message(client: Any, job_id: str) -> str:
    """What the head says of a job's end, behind a colon; empty where it says nothing."""
    try:
        said = _within(_ANSWER_TIMEOUT_S, lambda: client.get_job_info(job_id).message)
    except (RuntimeError, OSError):
        return ""
    return f": {one_line(str(said), max_characters=600).rstrip('.')}" if said else ""


@dataclass(kw_only=True)
class _Output:
    """A job's output: a thread listens and this one writes, so that a silent head holds nobody up."""

    client: Any
    job_id: str
    out: TextIO
    num_received: int = 0
    _chunks: SimpleQueue[str] = field(default_factory=SimpleQueue)
    _listener: threading.Thread | None = None

    def listen(self) -> None:
        """Listen again where the connection was lost; what has come already is left out."""
        if self._listener is not None and self._listener.is_alive():
            return
        self._listener = threading.Thread(target=lambda: asyncio.run(self._receive()), daemon=True)
        self._listener.start()

    def write_for(self, seconds: float, *, until_end: bool = False) -> None:
        """Write what comes in the next seconds, or with ``until_end`` until the output ends."""
        ends_s = time.monotonic() + seconds
        while (left_s := ends_s - time.monotonic()) > 0:
            try:
                self.out.write(printable(self._chunks.get(timeout=min(left_s, 0.2))))
                self.out.flush()
            except Empty:
                if until_end and self._listener is not None and not self._listener.is_alive() and self._chunks.empty():
                    return

    async def _receive(self) -> None:
        num_known, num_seen = self.num_received, 0
        try:
            # The head sends all of the output from its beginning, then what comes.
            async for chunk in self.client.tail_job_logs(self.job_id):
                num_seen += len(chunk)
                num_new = min(len(chunk), num_seen - num_known)
                if num_new > 0:
                    self.num_received += num_new
                    self._chunks.put(chunk[len(chunk) - num_new :])
        except Exception:  # the connection is lost in as many ways as aiohttp has errors: the next call listens again
            return


def _within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """The answer of a call that may wait for ever. Raises TimeoutError (an OSError) where none comes."""
    answers: SimpleQueue[Answer | BaseException] = SimpleQueue()

    def ask() -> None:
        try:
            answers.put(call())
        except BaseException as error:  # handed to the calling thread, whatever it is
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _command(name: str, job_id: str, address: str) -> str:
    return f"ray job {name} {job_id} --address {address}"
