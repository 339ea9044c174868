"""What ran where and when: a file for Perfetto (https://ui.perfetto.dev) or chrome://tracing.

    driver        |--engines start--|--sft--|--baseline--|--rounds/01/rollout--| ..
    simulator-0                              |--NextTurnRequest--|  |--RolloutTask--|  overlapping: many are under way
    scorer-0

Format: the Trace Event Format of the Chromium project, as a JSON object.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

DRIVER = "driver"
"""Lane of the stages, which follow each other."""
_MAX_SPANS = 200_000
"""What comes after these is only counted: a viewer needs no more, and memory has an end."""


class SpanRecorder(Protocol):
    """Is told of every piece of work when it ends."""

    def add(self, name: str, lane: str, *, since: float) -> None:
        """Record what ends now; see :meth:`Trace.add`."""


class Trace:
    """Spans of one process's work. Safe to use from several threads.

    Attributes:
        also: is told of each span too.
    """

    def __init__(self) -> None:
        self.also: SpanRecorder | None = None
        self._lock = threading.Lock()
        self._lanes: dict[str, int] = {}
        self._spans: list[tuple[str, int, float, float]] = []
        self.num_left_out = 0
        self.started_s = time.time()

    def add(self, name: str, lane: str, *, since: float) -> None:
        """Record what ends now.

        Args:
            name: of what was done.
            lane: who did it.
            since: ``time.time()`` when it began.
        """
        if self.also is not None:
            self.also.add(name, lane, since=since)
        now = time.time()
        with self._lock:
            if len(self._spans) >= _MAX_SPANS:
                self.num_left_out += 1
                return
            self._spans.append((name, self._lanes.setdefault(lane, len(self._lanes)), since, now))

    @contextlib.contextmanager
    def span(self, name: str, lane: str = DRIVER) -> Iterator[None]:
        """Record what is done within, also where it fails."""
        since = time.time()
        try:
            yield
        finally:
            self.add(name, lane, since=since)

    def covered(self) -> float:
        """Share of the time until now that the driver's spans, which follow each other, account for."""
        with self._lock:
            lane = self._lanes.get(DRIVER)
            spent = sum(end - start for _, number, start, end in self._spans if number == lane)
        return spent / max(time.time() - self.started_s, 1e-9)

    def as_json(self) -> dict[str, Any]:
        """The trace: spans of the driver one behind the other, those of an actor over each other."""
        with self._lock:
            lanes, spans = dict(self._lanes), list(self._spans)
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "thread_name", "pid": 1, "tid": number, "args": {"name": lane}}
            for lane, number in lanes.items()
        ]
        driver = lanes.get(DRIVER)
        names = {number: lane for lane, number in lanes.items()}
        for id_, (name, lane, start, end) in enumerate(spans):
            where = {"name": name, "pid": 1, "tid": lane, "ts": round(start * 1e6)}
            if lane == driver:
                events.append({**where, "ph": "X", "dur": round((end - start) * 1e6)})
            else:  # "async" events, which may overlap
                events.append({**where, "ph": "b", "cat": names[lane], "id": id_})
                events.append({**where, "ph": "e", "cat": names[lane], "id": id_, "ts": round(end * 1e6)})
        return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"spans_left_out": self.num_left_out}}
