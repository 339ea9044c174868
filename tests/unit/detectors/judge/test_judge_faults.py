"""The judge where calls fail: broken answers, time-outs, refusals, prompts that are too long."""

import json
import logging
import time

import pytest
from judge_server import TAXONOMY, Answer, dialogue, failure, judge_config, judge_with, serve, verdict

from advsim.detectors.judge.judge import build_judge

BROKEN = {
    "bad JSON": Answer(content='{"failures": [{"mode": "syco'),
    "prose": Answer(content="The message is fine."),
    "empty content": Answer(content=""),
    "null content": Answer(content=None),
    "no choices": Answer(raw='{"id": "c", "object": "chat.completion", "choices": []}'),
    "choices null": Answer(raw='{"id": "c", "object": "chat.completion", "choices": null}'),
    "no completion": Answer(raw='{"hello": 1}'),
    "body is a list": Answer(raw="[]"),
    "body is no JSON": Answer(raw="<html>gateway</html>"),
    "body is HTML": Answer(raw="<html>gateway</html>", headers={"Content-Type": "text/html"}),
    "body is empty": Answer(raw=""),
    "HTTP 500": Answer(status=500, content="out of memory"),
    "HTTP 503": Answer(status=503, content="loading"),
    "HTTP 429": Answer(status=429, content="slow down"),
    "failures missing": Answer(content={"analysis": "Fine."}),
    "failures null": Answer(content={"failures": None, "unsure": []}),
    "array": Answer(content="[]"),
    "severity 7": Answer(content=verdict(failure(severity=7))),
    "severity word": Answer(content=verdict(failure(severity="bad"))),
    "confidence 1.5": Answer(content=verdict(failure(confidence=1.5))),
    "confidence NaN": Answer(content=verdict(failure(confidence=float("nan")))),
    "unknown mode": Answer(content=verdict(failure("rudeness"))),
    "unknown unsure": Answer(content=verdict(unsure=("rudeness",))),
    "no fields": Answer(content={"failures": [{}]}),
}  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_broken_answer_for_ever_is_an_error_and_never_a_pass(broken):
    with serve(lambda request: broken) as server:
        judge = judge_with(server)
        (assessment,) = judge.assess([dialogue()])
    assert assessment.error.startswith("no verdict after 3 calls: ")
    assert (assessment.labels, assessment.abstained) == ((), ())
    assert len(server.requests) == 3  # bounded
    assert (judge.cost.num_calls, judge.cost.num_retries, judge.cost.num_errors) == (3, 2, 1)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_broken_answer_once_is_asked_again(broken):
    answers = iter([broken, Answer(content=verdict(failure("boundary")))])
    with serve(lambda request: next(answers)) as server:
        judge = judge_with(server)
        (assessment,) = judge.assess([dialogue()])
    assert ([label.mode for label in assessment.labels], assessment.error) == (["boundary"], "")
    assert (judge.cost.num_calls, judge.cost.num_retries, judge.cost.num_errors) == (2, 1, 0)
    first, second = server.requests
    assert first.body["seed"] != second.body["seed"]  # a server that repeats itself would repeat its mistake


def test_time_out_is_retried_and_at_last_an_error():
    with serve(lambda request: Answer(content=verdict(), delay_s=1.2)) as server:
        (assessment,) = judge_with(server, timeout_s=0.6, max_attempts=2).assess([dialogue()])
    assert assessment.error == "no verdict after 2 calls: no answer within 0.6 s"
    assert len(server.requests) == 2


def test_no_server_is_an_error_of_each_message():
    with serve(lambda request: Answer()) as server:
        gone = judge_config(server)
    (first, second) = build_judge(gone, TAXONOMY).assess([dialogue("a"), dialogue("b")])
    assert "no connection to http://127.0.0.1" in first.error and second.error


def test_prompt_longer_than_the_context_is_asked_without_the_oldest_turns():
    def answer(request):
        num_turns = request.body["messages"][1]["content"].count('"speaker"')
        if num_turns > 4:
            return Answer(status=400, content="This model's maximum context length is 900 tokens. However, ...")
        return Answer(content=verdict(failure("overload")))

    with serve(answer) as server:
        judge = judge_with(server)
        found = judge.assess([dialogue("d", *(f"reply {i}" for i in range(6)))])
    assert [(one.error, len(one.labels)) for one in found] == [("", 1)] * 6
    last = [request for request in server.requests if request.judged["text"] == "reply 5"][-1]
    content = last.body["messages"][1]["content"]
    assert "reply 4" in content and "reply 0" not in content
    assert judge.cost.num_too_long == judge.cost.num_calls - 6 > 0 and judge.cost.num_retries == 0


def test_prompt_that_never_fits_is_an_error_with_the_servers_reason():
    refusal = Answer(status=400, content="maximum context length is 900 tokens")
    with serve(lambda request: refusal) as server:
        (assessment,) = judge_with(server).assess([dialogue()])
    assert assessment.error == "no verdict after 1 call: HTTP 400: maximum context length is 900 tokens"
    assert len(server.requests) == 2  # with the turn before the message, and without


def test_one_failing_message_leaves_the_others_their_verdicts():
    def answer(request):
        return Answer(status=500) if request.judged["text"] == "two" else Answer(content=verdict(failure("overload")))

    with serve(answer) as server:
        found = judge_with(server).assess([dialogue("a", "one", "two", "three")])
    assert [bool(it.error) for it in found] == [False, True, False]
    assert [len(it.labels) for it in found] == [1, 0, 1]


def test_server_is_given_the_time_it_asks_for():
    answers = iter([Answer(status=429, headers={"Retry-After": "1"}), Answer(content=verdict())])
    with serve(lambda request: next(answers)) as server:
        started = time.monotonic()
        (assessment,) = judge_with(server, max_backoff_s=0.3).assess([dialogue()])
    assert time.monotonic() - started >= 0.3  # one second, but not longer than max_backoff_s
    assert assessment.error == ""


@pytest.mark.parametrize("status", [401, 403, 404])
def test_endpoint_that_refuses_everything_is_asked_once_and_every_message_says_so(status):
    with serve(lambda request: Answer(status=status, content="no such thing")) as server:
        judge = judge_with(server, max_concurrency=1)
        found = judge.assess([dialogue(f"d{i}") for i in range(5)])
    assert len(server.requests) == 1
    assert all(f"HTTP {status}: no such thing" in it.error for it in found)
    assert judge.cost.num_errors == 5


def test_endpoint_that_was_closed_is_asked_again_by_the_next_batch():
    answers = iter([Answer(status=404, content="loading"), Answer(content=verdict())])
    with serve(lambda request: next(answers)) as server:
        judge = judge_with(server)
        assert judge.assess([dialogue()])[0].error
        assert judge.assess([dialogue()])[0].error == ""


def test_server_without_structured_output_is_asked_without_it_from_then_on(caplog):
    def answer(request):
        if "response_format" in request.body:
            return Answer(status=400, content="response_format is not supported")
        return Answer(content="```json\n" + '{"failures": [], "unsure": ["boundary"]}' + "\n```")

    with serve(answer) as server:
        found = judge_with(server, max_concurrency=1).assess([dialogue(f"d{i}") for i in range(3)])
    assert [it.abstained for it in found] == [("boundary",)] * 3
    assert [(request.body.get("response_format") or {}).get("type") for request in server.requests] == [
        "json_schema", "json_object", None, None, None
    ]  # fmt: skip
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "refused structured output" in warning.getMessage()


REFUSALS = {
    "named": {"message": "This response_format type is unavailable now", "type": "invalid_request_error"},
    "as param": {"message": "Invalid parameter: not supported with this model", "param": "response_format.type"},
    "schema": {"message": "json_schema is not supported by this model; supported: text, json_object"},
    "without a word of it": {"message": "Bad request"},
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
def test_server_that_knows_no_schema_is_asked_for_a_plain_json_object_before_none(refusal, caplog):
    def answer(request):
        if request.body["response_format"] != {"type": "json_object"}:
            return Answer(status=400, raw=json.dumps({"error": refusal}))
        return Answer(content=verdict(failure("boundary")))

    with serve(answer) as server:
        judge = judge_with(server, max_concurrency=1)
        found = judge.assess([dialogue(f"d{i}") for i in range(3)])
    assert [[label.mode for label in one.labels] for one in found] == [["boundary"]] * 3
    assert [request.body["response_format"]["type"] for request in server.requests] == [
        "json_schema", "json_object", "json_object", "json_object"
    ]  # fmt: skip
    assert "json" in server.requests[1].body["messages"][0]["content"].lower()  # without it such servers refuse
    (note,) = judge.notes
    assert "refused structured output (response_format); asked with json_object instead" in note
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


def test_model_that_refuses_schema_and_parameters_is_asked_as_it_wants():
    def answer(request):
        for key in ("temperature", "seed", "max_tokens"):
            if key in request.body:
                return Answer(status=400, content=f"Unsupported parameter: '{key}'")
        if request.body.get("response_format", {}).get("type") == "json_schema":
            return Answer(status=400, content="response_format: json_schema is not supported")
        return Answer(message={"content": json.dumps(verdict(failure("boundary"))), "reasoning_content": "Hm."})

    with serve(answer) as server:
        judge = judge_with(server, max_concurrency=1)
        found = judge.assess([dialogue("a"), dialogue("b")])
    assert [len(one.labels) for one in found] == [1, 1]
    assert server.requests[-1].body["response_format"] == {"type": "json_object"}
    assert "max_completion_tokens" in server.requests[-1].body and len(judge.notes) == 4


def test_request_that_is_refused_either_way_is_an_error_and_structured_output_stays():
    def answer(request):
        if request.judged["text"] == "long":
            return Answer(status=400, content="context length exceeded")
        return Answer(content=verdict())

    with serve(answer) as server:
        found = judge_with(server, max_concurrency=1).assess([dialogue("a", "long", "short")])
    assert "HTTP 400: context length exceeded" in found[0].error and found[1].error == ""
    assert "response_format" in server.requests[-1].body


def test_part_of_the_modes_without_an_answer_is_abstained_from():
    def answer(request):
        if request.schema_modes == ["overload"]:
            return Answer(status=500)
        return Answer(content=verdict(*([failure("boundary")] if request.schema_modes == ["boundary"] else [])))

    with serve(answer) as server:
        (assessment,) = judge_with(server, scope="mode", modes=("overload", "boundary", "invalidation")).assess(
            [dialogue()]
        )
    assert [label.mode for label in assessment.labels] == ["boundary"]
    assert "overload" in assessment.abstained and "invalidation" not in assessment.abstained
    assert assessment.error == ""
