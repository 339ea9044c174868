"""The judge: what it asks, what it makes of the answers, and what it counts."""

import asyncio
import itertools

import pytest
from judge_server import TAXONOMY, Answer, dialogue, failure, judge_with, serve, verdict

from advsim.config import JudgeConfig
from advsim.detectors.judge.judge import Judge, build_judge
from advsim.engine.endpoint.completions import ChatAnswer
from advsim.errors import ConfigError
from advsim.records import Dialogue, Speaker, Split, Turn, Visibility


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


def test_cost_counts_tokens_of_unreadable_answers_too():
    answers = iter([Answer(content="?"), Answer(content=verdict()), Answer(content=verdict(), usage=False)])
    with serve(lambda request: next(answers)) as server:
        judge = judge_with(server)
        judge.assess([dialogue("a")])
        judge.assess([dialogue("b")])
    cost = judge.cost
    assert (cost.num_messages, cost.num_calls, cost.num_unreadable) == (2, 3, 1)
    assert (cost.num_prompt_tokens, cost.num_completion_tokens, cost.num_calls_without_usage) == (200, 14, 1)


class PoolClient:
    """Any other source of completions, such as a pool of engines."""

    def __init__(self, *answers):
        self.answers = iter(answers)
        self.num_closed = 0

    async def complete(self, messages, schema, *, seed):
        await asyncio.sleep(0)
        return ChatAnswer(text=next(self.answers), num_prompt_tokens=5, num_completion_tokens=2)

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
