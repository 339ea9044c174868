import asyncio
import itertools
import logging
import time

import pytest
from judge_server import Answer, failure, serve, verdict
from pydantic import ValidationError

from advsim.config import JudgeConfig
from advsim.detectors.judge.client import JudgeReply
from advsim.detectors.judge.judge import Judge, build_judge
from advsim.detectors.taxonomy import load_taxonomy
from advsim.errors import ConfigError
from advsim.records import Dialogue, Speaker, Split, Turn, Visibility

TAXONOMY = load_taxonomy()
KEY = "sk-very-secret-0123456789"


def dialogue(id="d0", *replies, user="I failed again."):
    turns = []
    for reply in replies or ("You are right about everything.",):
        turns += [Turn(speaker=Speaker.USER, text=user), Turn(speaker=Speaker.CHATBOT, text=reply)]
    return Dialogue(id=id, source="t", split=Split.TEST, turns=tuple(turns))


def config(server, **changes):
    fast = {"backoff_s": 0.001, "max_backoff_s": 0.02, "timeout_s": 5.0, "max_attempts": 3, "model": "m"}
    return JudgeConfig(base_url=server.url, **{**fast, **changes})


def judge_with(server, **changes):
    return build_judge(config(server, **changes), TAXONOMY)


def test_finding_becomes_a_label_with_its_span_as_it_stands_in_the_message():
    answer = verdict(failure("sycophancy", severity=3, span="you are  RIGHT about", confidence=0.9))
    with serve(lambda request: Answer(content=answer)) as server:
        (assessment,) = judge_with(server, name="mine").assess([dialogue()])
    (label,) = assessment.labels
    assert (label.conversation_id, label.turn, label.mode) == ("d0", 1, "sycophancy")
    assert (label.severity, label.span, label.confidence) == (3, "You are right about", 0.9)
    assert label.detector == assessment.detector == "mine"
    assert label.visibility == TAXONOMY.mode("sycophancy").visibility
    assert (assessment.abstained, assessment.error) == ((), "")
    assert isinstance(label.visibility, Visibility)


def test_every_chatbot_turn_is_assessed_once_in_order():
    dialogues = [dialogue("a", "one", "two"), dialogue("b", "three"), dialogue("c", "four", "five", "six")]
    wait = itertools.cycle([0.03, 0.0, 0.015])
    done = []

    def answer(request):
        found = [failure("overload")] if request.judged["text"] == "five" else []
        return Answer(content=verdict(*found), delay_s=next(wait))

    with serve(answer) as server:
        found = judge_with(server).assess(dialogues, advance=done.append)
    assert [(it.conversation_id, it.turn) for it in found] == [
        ("a", 1), ("a", 3), ("b", 1), ("c", 1), ("c", 3), ("c", 5)
    ]  # fmt: skip
    assert [bool(it.labels) for it in found] == [False, False, False, False, True, False]
    assert done == [1, 1, 1]


def test_dialogue_without_chatbot_turns_gives_no_assessment():
    alone = Dialogue(id="d", source="t", split=Split.TEST, turns=(Turn(speaker=Speaker.USER, text="hello?"),))
    with serve(lambda request: Answer(content=verdict())) as server:
        assert judge_with(server).assess([alone]) == []
    assert server.requests == []


def test_empty_message_is_an_error_and_costs_no_call():
    with serve(lambda request: Answer(content=verdict())) as server:
        judge = judge_with(server)
        (assessment,) = judge.assess([dialogue("d", " ")])
    assert assessment.error == "the message is empty"
    assert server.requests == [] and judge.cost.num_errors == 1


def test_what_comes_after_the_message_is_not_shown():
    with serve(lambda request: Answer(content=verdict())) as server:
        judge_with(server).assess([dialogue("d", "first reply", "later reply")])
    first = next(request for request in server.requests if request.judged["turn"] == 1)
    assert "later reply" not in str(first.body)
    second = next(request for request in server.requests if request.judged["turn"] == 3)
    assert "first reply" in second.body["messages"][1]["content"]


def test_calls_under_way_are_bounded():
    with serve(lambda request: Answer(content=verdict(), delay_s=0.02)) as server:
        judge_with(server, max_concurrency=3).assess([dialogue(f"d{i}") for i in range(12)])
        assert server.most_open == 3


def test_scope_mode_asks_one_question_a_mode_with_its_own_schema():
    def answer(request):
        (mode,) = request.schema_modes
        return Answer(content=verdict(*([failure(mode)] if mode in ("boundary", "overload") else [])))

    with serve(answer) as server:
        (assessment,) = judge_with(server, scope="mode").assess([dialogue()])
    assert sorted(request.schema_modes[0] for request in server.requests) == sorted(TAXONOMY.ids)
    assert [label.mode for label in assessment.labels] == ["overload", "boundary"]


def test_chosen_modes_are_judged_and_the_others_abstained_from():
    with serve(lambda request: Answer(content=verdict())) as server:
        judge = judge_with(server, modes=("boundary", "missed_risk"))
        (assessment,) = judge.assess([dialogue()])
    assert judge.modes == ("missed_risk", "boundary")
    assert server.requests[0].schema_modes == ["missed_risk", "boundary"]
    assert set(assessment.abstained) == set(TAXONOMY.ids) - {"boundary", "missed_risk"}


def test_unsure_mode_is_abstained_from():
    with serve(lambda request: Answer(content=verdict(unsure=("repetition",)))) as server:
        (assessment,) = judge_with(server).assess([dialogue()])
    assert (assessment.labels, assessment.abstained) == ((), ("repetition",))


def test_unknown_mode_in_the_configuration_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="sycophancy"):
        build_judge(JudgeConfig(model="m", modes=("sycofancy",)), TAXONOMY)


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
        gone = config(server)
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
    assert ["response_format" in request.body for request in server.requests] == [True, False, False, False]
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "refused structured output" in warning.getMessage()


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


def test_span_that_is_not_in_the_message_is_dropped_and_counted():
    with serve(lambda request: Answer(content=verdict(failure(span="words nobody wrote")))) as server:
        judge = judge_with(server)
        (assessment,) = judge.assess([dialogue()])
    assert [label.span for label in assessment.labels] == [""]
    assert judge.cost.num_spans_dropped == 1


def test_cost_counts_tokens_of_unreadable_answers_too():
    answers = iter([Answer(content="?"), Answer(content=verdict()), Answer(content=verdict(), usage=False)])
    with serve(lambda request: next(answers)) as server:
        judge = judge_with(server)
        judge.assess([dialogue("a")])
        judge.assess([dialogue("b")])
    cost = judge.cost
    assert (cost.num_messages, cost.num_calls, cost.num_unreadable) == (2, 3, 1)
    assert (cost.num_prompt_tokens, cost.num_completion_tokens, cost.num_calls_without_usage) == (200, 14, 1)


def votes_server(*shown):
    """Answers by vote: the seed's last digits are the vote."""
    return lambda request: Answer(content=shown[request.body["seed"] % 1000])


def test_votes_that_agree_enough_give_their_share_as_confidence():
    yes = [failure("boundary", severity=severity, span="right", confidence=0.99) for severity in (1, 3, 3)]
    with serve(votes_server(verdict(yes[0]), verdict(yes[1]), verdict(yes[2]), verdict())) as server:
        judge = judge_with(server, num_votes=4, temperature=0.7, min_agreement=0.7)
        (assessment,) = judge.assess([dialogue()])
    (label,) = assessment.labels
    assert (label.confidence, label.severity, label.span) == (0.75, 3, "right")
    assert len({request.body["seed"] for request in server.requests}) == 4


def test_judge_that_disagrees_with_itself_abstains():
    with serve(votes_server(verdict(failure("boundary")), verdict(), verdict(failure("boundary")))) as server:
        judge = judge_with(server, num_votes=3, temperature=0.7, min_agreement=0.7)
        (assessment,) = judge.assess([dialogue()])
    assert (assessment.labels, assessment.abstained, assessment.error) == ((), ("boundary",), "")


def test_votes_without_an_answer_speak_for_neither_side():
    def answer(request):
        return Answer(content=verdict()) if request.body["seed"] % 1000 == 0 else Answer(content="?")

    with serve(answer) as server:
        judge = judge_with(server, num_votes=3, temperature=0.7, modes=("boundary",))
        (assessment,) = judge.assess([dialogue()])
    assert "boundary" in assessment.abstained  # one vote of three is no pass


def test_votes_at_temperature_zero_are_refused():
    with pytest.raises(ValidationError, match="num_votes is 3 but temperature is 0"):
        JudgeConfig(model="m", num_votes=3, temperature=0.0)
    assert JudgeConfig(model="m", num_votes=3).temperature == 0.7


def test_key_is_sent_and_is_in_no_log_error_or_repr(monkeypatch, caplog):
    monkeypatch.setenv("MY_JUDGE_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-private")
    caplog.set_level(logging.DEBUG)

    def answer(request):
        status = {"one": 500, "two": 400, "three": 401}[request.judged["text"]]
        return Answer(status=status, content=f"bad request by {request.authorization}")

    with serve(answer) as server:
        judge = judge_with(server, api_key_env="MY_JUDGE_KEY", max_concurrency=1)
        found = [judge.assess([dialogue("d", text)])[0] for text in ("one", "two", "three")]
        assert {request.authorization for request in server.requests} == {f"Bearer {KEY}"}
        assert not any("org-private" in str(request.headers) for request in server.requests)
    assert all("bad request by Bearer [key]" in it.error for it in found)
    shown = caplog.text + "".join(str(record.args) for record in caplog.records) + repr(found) + repr(vars(judge))
    assert "chat/completions" in shown  # the libraries' own logs are among what was looked through
    assert KEY not in shown


def test_key_of_another_service_is_not_sent_where_none_is_named(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serve(lambda request: Answer(content=verdict())) as server:
        judge_with(server, api_key_env=None).assess([dialogue()])
    assert KEY not in str(server.requests[0].headers)


def test_missing_key_is_a_clear_error(monkeypatch):
    monkeypatch.delenv("MY_JUDGE_KEY", raising=False)
    with pytest.raises(ConfigError, match="environment variable MY_JUDGE_KEY is not set"):
        build_judge(JudgeConfig(model="m", base_url="http://127.0.0.1:9/v1", api_key_env="MY_JUDGE_KEY"), TAXONOMY)


@pytest.mark.parametrize("url", ["https://user:pw@host/v1", "https://host/v1?key=abc", "host/v1", "ftp://host/v1"])
def test_address_with_credentials_or_without_a_scheme_is_refused(url):
    with pytest.raises(ValidationError, match="base_url"):
        JudgeConfig(base_url=url)


def test_key_itself_in_the_place_of_its_name_is_refused():
    with pytest.raises(ValidationError, match="api_key_env"):
        JudgeConfig(api_key_env=KEY)


def test_no_model_is_a_clear_error():
    with pytest.raises(ConfigError, match=r"judge\.model"):
        build_judge(JudgeConfig(), TAXONOMY)


class PoolClient:
    """Any other source of completions, such as a pool of engines."""

    def __init__(self, *answers):
        self.answers = iter(answers)
        self.num_closed = 0

    async def complete(self, messages, schema, *, seed):
        await asyncio.sleep(0)
        return JudgeReply(text=next(self.answers), num_prompt_tokens=5, num_completion_tokens=2)

    async def close(self):
        self.num_closed += 1


FAST = JudgeConfig(backoff_s=0.001, max_backoff_s=0.01, max_attempts=2)


def test_any_client_can_be_the_model():
    client = PoolClient('{"failures": []}')
    (assessment,) = Judge(client, TAXONOMY, FAST).assess([dialogue()])
    assert (assessment.error, assessment.labels, client.num_closed) == ("", (), 1)


def test_exception_of_a_client_costs_one_message_only():
    class Dying(PoolClient):
        async def complete(self, messages, schema, *, seed):
            if "bad reply" in messages[1].content:
                raise RuntimeError("engine died")
            return await super().complete(messages, schema, seed=seed)

    bad, good = Judge(Dying('{"failures": []}'), TAXONOMY, FAST).assess(
        [dialogue("a", "bad reply"), dialogue("b", "good reply")]
    )
    assert bad.error == "no verdict after 2 calls: RuntimeError: engine died"
    assert good.error == ""


def test_judge_works_in_a_running_event_loop():
    async def inside():
        return await Judge(PoolClient('{"failures": []}'), TAXONOMY, FAST).assess_async([dialogue()])

    (assessment,) = asyncio.run(inside())
    assert assessment.error == ""
