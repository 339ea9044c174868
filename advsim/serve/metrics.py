"""What the server counts, as Prometheus text. No counter has a text, a key or a scenario in it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from advsim.rollout.user_turn import UserTurn

METRICS_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class ServeMetrics:
    """Counters of one server since it started."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"advsim_serve_{name}", text, labels, registry=self._registry)

        self._requests = counter("requests", "Chat requests that were answered", "status")
        self._turns = counter("turns", "Messages of the simulated person", "simulator", "end")
        self._redraws = counter("redraws", "Draws that were empty or out of role and were drawn again")
        self._prompt_tokens = counter("prompt_tokens", "Tokens of prompts, all draws together")
        self._output_tokens = counter("output_tokens", "Tokens that were drawn, all draws together")
        self._changes = counter("adapter_changes", "Changes of the adapter in the running server", "outcome")
        self.in_flight = Gauge("advsim_serve_requests_in_flight", "Chat requests under way", registry=self._registry)
        self._seconds = Histogram(
            "advsim_serve_request_seconds", "Seconds of a chat request", buckets=_SECONDS, registry=self._registry
        )
        self._served = Gauge(
            "advsim_serve_simulator",
            "1 for the simulator that is served",
            ("simulator", "adapter_sha256"),
            registry=self._registry,
        )

    def answered(self, status: int, seconds: float) -> None:
        """A chat request got its answer."""
        self._requests.labels(status=str(status)).inc()
        self._seconds.observe(seconds)

    def drawn(self, turn: UserTurn, simulator: str) -> None:
        """An engine drew a message."""
        end = turn.fault.value if turn.fault is not None else "left" if turn.ended else "none"
        self._turns.labels(simulator=simulator, end=end).inc()
        self._redraws.inc(turn.num_regenerated)
        self._prompt_tokens.inc(turn.num_prompt_tokens)
        self._output_tokens.inc(turn.num_output_tokens)

    def changed(self, outcome: str) -> None:
        """Somebody asked for another adapter."""
        self._changes.labels(outcome=outcome).inc()

    def serves(self, simulator: str, adapter_sha256: str) -> None:
        """This is served from now on."""
        self._served.clear()
        self._served.labels(simulator=simulator, adapter_sha256=adapter_sha256).set(1)

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)
