"""What all Ray actors share: where their output goes, and what their errors and their death mean to a user."""

from __future__ import annotations

import os
import re
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from advsim import errors
from advsim.errors import AdvsimError, EngineDiedError, EngineError, printable
from advsim.run_folder.folder import make_private

FAILURES = "failures.log"
"""Of a log folder: full tracebacks of what went wrong in actors."""

_TAIL_BYTES = 256 * 2**10
# What vLLM puts before a line: "(EngineCore pid=7) ERROR 11-28 09:00:00 [core.py:12] ".
_LOG_PREFIX = re.compile(r"^(?:\([^)]*\)\s*)?(?:(?:ERROR|WARNING|INFO)\s+[\d-]+ [\d:]+ \[[^\]]*\]\s?)?")
_ERROR_LINE = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Timeout|Overflow|Interrupt)\b: \S")


def redirect_output(log_file: str) -> None:
    """Send this process's (and its children's) output to a file of the run folder, off the user's screen."""
    if not log_file:
        return
    try:
        descriptor = open_log(Path(log_file))
    except OSError:
        return  # on another machine the run folder may not exist: Ray keeps the output in its own logs there
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def open_log(file: Path) -> int:
    """A descriptor to write at the end of a log file, which is made for its owner alone: people's words stand in it.

    Raises:
        OSError: it cannot be written.
    """
    make_private(file.parent)
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def output_file() -> Path | None:
    """The file that this process's error output goes to; None where it is no file, or the system does not say."""
    try:
        target = Path(os.readlink("/proc/self/fd/2"))
        return target if target.is_file() else None
    except OSError:
        return None


def size_of(log_file: Path | None) -> int:
    """Bytes of a log file so far; 0 where there is none."""
    try:
        return log_file.stat().st_size if log_file is not None else 0
    except OSError:
        return 0


def last_error_in(log_file: Path | None, *, since: int = 0) -> str:
    """:func:`last_error` of a log file.

    Args:
        log_file: as an engine or its child process wrote it.
        since: bytes of it that are about earlier times.
    """
    if log_file is None:
        return ""
    try:
        with log_file.open("rb") as log:
            log.seek(max(since, size_of(log_file) - _TAIL_BYTES))
            text = log.read(_TAIL_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
    return last_error(text)[:400]


def last_error(text: str) -> str:
    """The last error that a log or a traceback names, as ``Type: what it said``; empty where there is none."""
    lines = [_LOG_PREFIX.sub("", line).strip() for line in printable(text).splitlines()]
    # vLLM ends with errors that say where the cause stands: above them, in this log.
    named = [line for line in lines if _ERROR_LINE.match(line) and "root cause" not in line]
    return named[-1] if named else ""


def is_death(error: BaseException) -> bool:
    """Whether an error of a call means that the actor, or the engine in it, is gone, and others could answer."""
    from ray.exceptions import (
        NodeDiedError,
        ObjectLostError,
        OutOfMemoryError,
        RayActorError,
        RayTaskError,
        WorkerCrashedError,
    )

    if isinstance(error, RayTaskError):
        return isinstance(error.cause, EngineDiedError)
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return False  # the next one would fail at the same place
    gone = (RayActorError, OutOfMemoryError, WorkerCrashedError, NodeDiedError, ObjectLostError)
    return isinstance(error, (*gone, EngineDiedError))


def reason_of(error: BaseException) -> str:
    """Why a call to an actor failed, on one line and without a remote traceback."""
    from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, AdvsimError):
        return _first_line(str(cause))
    said = str(cause)
    if isinstance(cause, OutOfMemoryError) or "due to memory pressure" in said or "OutOfMemory" in said:
        return "Ray ended its process because the machine's memory was nearly full"
    if isinstance(cause, RayActorError):
        if cause.actor_init_failed:
            return last_error(said) or _first_line(said)
        detail = re.search(r"The actor (?:is dead|died) because (.*?)(?:\.\s|\.$|\n|$)", said)
        if "connection error code 2" in said or "SYSTEM_ERROR" in said:
            return "its process was killed or crashed; often the machine is out of memory"
        return _first_line(detail.group(1) if detail else said)
    return f"{type(cause).__name__}: {_first_line(said)}"


def failure_of(error: BaseException, what: str, *, log_dir: str = "") -> AdvsimError:
    """What a failed call to an actor means to the user, in a sentence; the whole traceback goes to the log folder.

    Args:
        error: as Ray raised it.
        what: whose process it was, for example ``simulator-0``.
        log_dir: folder of the logs; empty where there is none.

    Returns:
        The actor's own error where it is one of advsim's, else an :class:`advsim.errors.EngineError`.
    """
    where = write_failure(error, what, log_dir=log_dir)
    ours = _own_error(error)
    if ours is not None:
        return ours
    if is_death(error):
        return EngineDiedError(f"the {what} process died: {reason_of(error)}{_see(where)}")
    return EngineError(f"the {what} process failed: {reason_of(error)}{_see(where)}")


def write_failure(error: BaseException, what: str, *, log_dir: str) -> str:
    """Append an error's whole traceback to :data:`FAILURES` of a log folder; returns the file, empty where none is."""
    if not log_dir:
        return ""
    file = Path(log_dir) / FAILURES
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    text = f"--- {at} {what}\n{printable(''.join(traceback.format_exception(error)))}\n"
    try:
        with open(open_log(file), "a", encoding="utf-8") as log:
            log.write(text)
    except OSError:
        return ""  # the error itself matters more than its log
    return str(file)


@contextmanager
def actor_failures(what: str, *, log_dir: str = "") -> Iterator[None]:
    """Turn what Ray raises of a failed call into a sentence; see :func:`failure_of`."""
    from ray.exceptions import GetTimeoutError, RayError

    try:
        yield
    except GetTimeoutError:
        raise
    except RayError as error:
        raise failure_of(error, what, log_dir=log_dir) from error


def _own_error(error: BaseException) -> AdvsimError | None:
    """The error of advsim that an actor raised, also where it is a line of text because a constructor raised it."""
    from ray.exceptions import RayActorError, RayTaskError

    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, AdvsimError):
        return cause
    if isinstance(cause, RayActorError) and cause.actor_init_failed:
        name, _, said = last_error(str(cause)).partition(": ")
        kind = getattr(errors, name.removeprefix("advsim.errors."), None)
        return kind(said) if isinstance(kind, type) and issubclass(kind, AdvsimError) else None
    return None


def _see(where: str) -> str:
    return f" (traceback in {where})" if where else ""


def _first_line(text: str) -> str:
    lines = [line.strip() for line in printable(text).splitlines() if line.strip()]
    return (lines[0] if lines else "no reason given")[:500].rstrip(".")
