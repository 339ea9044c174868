"""One owner of a run at a time: who trains holds the lease, and a second one is told who that is."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock, Timeout

from advsim.errors import RunError
from advsim.run_folder.folder import RunDir
from advsim.run_folder.layout import LEASE, LOCK

REFRESH_S = 30.0
"""On storage without locks the owner writes the lease again this often."""

STALE_S = 300.0
"""... and a lease that nobody has written for so long has no owner any more."""


@contextmanager
def lease(run: RunDir) -> Iterator[None]:
    """Own a run while the block runs: its folder is then written by this process alone.

    On a local or mounted file system the operating system's lock decides, which a killed process gives back by itself;
    on other storage a file that its owner keeps writing.

    Raises:
        RunError: another process owns the run; says which, where, and since when.
    """
    if run.is_local:
        with _locked(run):
            yield
    else:
        with _kept_fresh(run):
            yield


@contextmanager
def _locked(run: RunDir) -> Iterator[None]:
    run.write_bytes(LOCK, b"") if not run.exists(LOCK) else None
    lock = FileLock(run.path / LOCK, mode=0o600)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise _taken(run, _holder(run)) from None
    except OSError as error:
        raise RunError(f"cannot lock run folder {run.location}: {error.strerror or error}") from error
    try:
        run.write_json(LEASE, _ours())
        yield
    finally:
        run.remove(LEASE)
        lock.release()


@contextmanager
def _kept_fresh(run: RunDir) -> Iterator[None]:
    holder = _holder(run)
    if holder and time.time() - float(holder.get("at", 0.0)) < STALE_S:
        raise _taken(run, holder)
    ours = _ours()
    run.write_json(LEASE, ours)
    ended = threading.Event()

    def keep_fresh() -> None:
        while not ended.wait(REFRESH_S):
            with suppress(RunError):  # storage that is silent for a moment is asked again, before the lease is stale
                run.write_json(LEASE, {**ours, "at": time.time()})

    thread = threading.Thread(target=keep_fresh, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(RunError):  # the work is done; what is left is stale in five minutes
            run.remove(LEASE)


def _ours() -> dict[str, Any]:
    now = time.time()
    since = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": since, "at": now}


def _holder(run: RunDir) -> dict[str, Any]:
    try:
        holder = json.loads(run.read_bytes(LEASE))
    except (RunError, ValueError):
        return {}  # it is just being written or taken away
    return holder if isinstance(holder, dict) else {}


def _taken(run: RunDir, holder: dict[str, Any]) -> RunError:
    who = (
        f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}"
        if holder
        else "another process"
    )
    return RunError(
        f"run {run.location} is being written by {who}; wait until it has ended, stop it, or choose another name "
        "(-o name=...)"
    )
