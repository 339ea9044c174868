"""How long each piece of work took, as Prometheus metrics of the Ray that it runs on."""

from __future__ import annotations

import time

NAME = "advsim_work_seconds"
"""Ray exports it as ``ray_advsim_work_seconds`` on the metrics port of the driver's host, with the tags ``work`` and
``actor``."""
_BOUNDS_S = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0]


class WorkMetrics:
    """A histogram of seconds by what was done and who did it. Ray has to be running."""

    def __init__(self) -> None:
        from ray.util.metrics import Histogram

        self._seconds = Histogram(
            NAME,
            description="Seconds that stages, and calls of engines and scorers, took.",
            boundaries=_BOUNDS_S,
            tag_keys=("work", "actor"),
        )

    def add(self, name: str, lane: str, *, since: float) -> None:
        """Count what ends now; see :meth:`advsim.runtime.trace.Trace.add`. A stage is the same one in each round."""
        work = name.rpartition("/")[2]
        self._seconds.observe(max(0.0, time.time() - since), tags={"work": work, "actor": lane})
