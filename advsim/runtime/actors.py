"""What all Ray actors share: where their output goes, and what their death means."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from advsim.errors import EngineError


def redirect_output(log_file: str) -> None:
    """Send this process's (and its children's) output to a file of the run folder, off the user's screen."""
    if not log_file:
        return
    try:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError:
        return  # on another machine the run folder may not exist: Ray keeps the output in its own logs there
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


@contextmanager
def engine_failures(what: str = "engine") -> Iterator[None]:
    """Turn the death of an actor into an EngineError; errors that actors raise come through as they are."""
    from ray.exceptions import RayActorError, RayTaskError

    try:
        yield
    except RayActorError as error:
        raise EngineError(
            f"a {what} process died ({' '.join(str(error).split())[:300]}); see logs/ in the run folder, then run the "
            "same command to resume"
        ) from error
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, MemoryError | OSError | RuntimeError):
            raise EngineError(f"a {what} process failed: {type(cause).__name__}: {cause}") from error
        raise
