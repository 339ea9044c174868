"""The trace of a run: spans of the driver and of actors, in the form that viewers read."""

from __future__ import annotations

import json
import time

import pytest

from advsim.runtime import trace as trace_module
from advsim.runtime.trace import DRIVER, Trace


def test_stages_are_complete_events_and_what_actors_do_may_overlap() -> None:
    trace = Trace()
    with trace.span("sft"):
        began = time.time()
        time.sleep(0.02)
        trace.add("RolloutTask", "simulator-0", since=began)
        trace.add("RolloutTask", "simulator-0", since=began + 0.01)
    events = json.loads(json.dumps(trace.as_json()))["traceEvents"]
    lanes = {event["args"]["name"]: event["tid"] for event in events if event["ph"] == "M"}
    assert set(lanes) == {DRIVER, "simulator-0"}
    (stage,) = (event for event in events if event["ph"] == "X")
    assert stage["name"] == "sft" and stage["tid"] == lanes[DRIVER] and stage["dur"] >= 20_000
    begins = [event for event in events if event["ph"] == "b"]
    ends = {event["id"]: event for event in events if event["ph"] == "e"}
    assert len(begins) == 2 and all(ends[event["id"]]["ts"] >= event["ts"] for event in begins)
    assert begins[0]["ts"] < begins[1]["ts"] <= ends[begins[0]["id"]]["ts"]


def test_what_the_driver_did_accounts_for_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(trace_module.time, "time", lambda: now[0])
    trace = Trace()
    with trace.span("rollout"):
        trace.add("RolloutTask", "simulator-0", since=50.0)  # an actor's: not the driver's time
        now[0] = 109.0
    now[0] = 110.0
    assert trace.covered() == pytest.approx(0.9)


def test_a_span_that_fails_is_there_too() -> None:
    trace = Trace()
    with pytest.raises(ValueError, match="broken"), trace.span("dpo"):
        raise ValueError("broken")
    assert [event["name"] for event in trace.as_json()["traceEvents"]] == ["thread_name", "dpo"]


def test_whoever_listens_is_told_of_every_span() -> None:
    told = []

    class Listener:
        def add(self, name: str, lane: str, *, since: float) -> None:
            told.append((name, lane, since))

    trace = Trace()
    trace.also = Listener()
    trace.add("RolloutTask", "simulator-0", since=5.0)
    with trace.span("sft"):
        pass
    assert told[0] == ("RolloutTask", "simulator-0", 5.0) and told[1][:2] == ("sft", DRIVER)


def test_memory_has_an_end_and_what_is_left_out_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "_MAX_SPANS", 3)
    trace = Trace()
    for _ in range(5):
        trace.add("x", "y", since=time.time())
    shown = trace.as_json()
    assert shown["otherData"]["spans_left_out"] == 2 and len(shown["traceEvents"]) == 1 + 2 * 3
