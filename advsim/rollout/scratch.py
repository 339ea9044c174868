"""Folders for adapters on an engine's own disk, which do not outlive the engine."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

_PREFIX = "advsim-adapters-"
_LOCK = ".lock"


class AdapterScratch:
    """A temporary folder for the adapters of one engine. Those that killed engines left behind are removed first.

    An owner holds a lock in its folder, which the system gives back when its process ends, however that was: process
    numbers would not do, because containers with one temporary folder have numbers of their own.
    """

    def __init__(self) -> None:
        _sweep(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = FileLock(self.path / _LOCK, mode=0o600)
        self._lock.acquire()

    def remove(self) -> None:
        """Remove the folder; does nothing where that was done."""
        self._lock.release()
        shutil.rmtree(self.path, ignore_errors=True)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        if not (folder / _LOCK).is_file() or folder.is_symlink():
            continue  # it is just being made, or another program's
        lock = FileLock(folder / _LOCK, mode=0o600)
        with contextlib.suppress(Timeout, OSError):  # it is in use, or another user's
            lock.acquire(blocking=False)
            shutil.rmtree(folder, ignore_errors=True)
            lock.release()
