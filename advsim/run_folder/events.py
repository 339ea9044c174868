"""What happened to a run beside its stages: a line each, with its time."""

from __future__ import annotations

from advsim.run_folder.folder import RunDir
from advsim.run_folder.journal import utc_now
from advsim.run_folder.layout import EVENTS


def record_event(run: RunDir, said: str) -> None:
    """Append what happened to the events of a run (or of a sweep), for example that an engine died."""
    run.append_line(EVENTS, {"at": utc_now(), "event": said})
