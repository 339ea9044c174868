"""A job is followed through what networks, heads and users do."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace

import pytest

from advsim.errors import RunError
from advsim.runtime.follow import follow_job


class Head:
    """A job client: ``states`` are what it answers to each question, an exception being raised."""

    def __init__(self, *, states, chunks=("one\n", "two\n"), breaks_after=None, message=""):
        self.states = list(states)
        self.chunks = chunks
        self.breaks_after = breaks_after
        self.message = message
        self.num_listened = 0

    def get_job_status(self, job_id):
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if isinstance(state, BaseException):
            raise state
        if callable(state):
            return state()
        return SimpleNamespace(value=state, is_terminal=lambda: state in ("SUCCEEDED", "FAILED", "STOPPED"))

    def get_job_info(self, job_id):
        return SimpleNamespace(message=self.message)

    async def tail_job_logs(self, job_id):
        self.num_listened += 1
        for number, chunk in enumerate(self.chunks):
            if self.num_listened == 1 and self.breaks_after == number:
                raise RuntimeError("WebSocket closed")
            yield chunk


def follow(head, **settings) -> str:
    out = io.StringIO()
    settings = {"poll_interval_s": 0.05, "patience_s": 0.3} | settings
    follow_job(head, "job-1", address="http://head:8265", out=out, **settings)
    return out.getvalue()


def test_output_is_written_once_though_the_connection_broke_in_between() -> None:
    head = Head(states=["RUNNING", "RUNNING", "SUCCEEDED"], chunks=("one\n", "two\n", "three\n"), breaks_after=2)
    assert follow(head) == "one\ntwo\nthree\n"
    assert head.num_listened >= 2


def test_a_terminal_obeys_nothing_of_the_output() -> None:
    assert follow(Head(states=["SUCCEEDED"], chunks=("\x1b[2J\x1b]0;title\x07one\x00\n",))) == "one\n"


def test_errors_of_the_head_are_outlived_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    fault = RuntimeError("Request failed with status code 500: \x1b[31mboom")
    assert follow(Head(states=[fault, fault, ConnectionError("refused"), "SUCCEEDED"]), patience_s=60) == "one\ntwo\n"
    said = capsys.readouterr().err
    assert said.count("does not answer") == 1 and "status code 500: boom" in said


def test_a_head_that_stays_silent_is_given_up_with_what_to_do() -> None:
    started = time.monotonic()
    with pytest.raises(RunError, match=r"has not answered for 0\.3 s \(refused\); job job-1 may go on.*ray job status"):
        follow(Head(states=[ConnectionError("refused")]))
    assert time.monotonic() - started < 5


def test_a_head_that_never_answers_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advsim.runtime.follow._ANSWER_TIMEOUT_S", 0.1)
    with pytest.raises(RunError, match=r"no answer within 0\.1 s"):
        follow(Head(states=[lambda: time.sleep(30)]))


def test_ctrl_c_says_that_the_job_goes_on_and_how_to_stop_it() -> None:
    with pytest.raises(KeyboardInterrupt, match=r"job job-1 goes on.*ray job stop job-1 --address http://head:8265"):
        follow(Head(states=[KeyboardInterrupt()]))


def test_a_failed_job_is_one_sentence() -> None:
    with pytest.raises(RunError, match=r"job job-1 ended as FAILED: exit code 2: bad input\. What") as failed:
        follow(Head(states=["FAILED"], message="exit code 2:\n\x1b[31mbad input."))
    assert "\n" not in str(failed.value)
