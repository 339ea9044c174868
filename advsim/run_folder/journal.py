"""The journal of a run: one line a finished stage, which is what a resume trusts."""

from __future__ import annotations

import time
from collections.abc import Sequence

from advsim.run_folder.folder import RunDir
from advsim.run_folder.layout import JOURNAL


class Journal:
    """What is finished. One line a completed stage: key, seconds and outputs."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._done = {line["stage"]: line for line in run.read_lines(JOURNAL)}

    def is_done(self, stage: str) -> bool:
        """Whether the stage's output is complete; an output that has gone missing since makes it undone."""
        line = self._done.get(stage)
        return line is not None and all(self._run.exists(name) for name in line["outputs"])

    def seconds(self, stage: str) -> float | None:
        """How long the stage took when it was done."""
        line = self._done.get(stage)
        return None if line is None else float(line["seconds"])

    def complete(self, stage: str, *, outputs: Sequence[str], seconds: float) -> None:
        """Record a stage as done, after all its outputs are written."""
        line = {"stage": stage, "outputs": list(outputs), "seconds": round(seconds, 3), "at": utc_now()}
        self._run.append_line(JOURNAL, line)
        self._done[stage] = line


def utc_now() -> str:
    """Time in ISO 8601, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
