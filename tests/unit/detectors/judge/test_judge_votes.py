"""The judge with several votes a message."""

import pytest
from judge_server import Answer, dialogue, failure, judge_with, serve, verdict
from pydantic import ValidationError

from advsim.config import JudgeConfig


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


def test_self_agreement_is_counted_over_messages_and_modes_and_among_what_any_vote_finds():
    """Of two modes on three messages, boundary is found by 3, 2 and 0 of three votes, overload never."""
    num_for = {"one": 3, "two": 2, "three": 0}

    def answer(request):
        found = request.body["seed"] % 1000 < num_for[request.judged["text"]]
        return Answer(content=verdict(*([failure("boundary")] if found else [])))

    with serve(answer) as server:
        judge = judge_with(server, num_votes=3, modes=("boundary", "overload"))
        judge.assess([dialogue("a", "one", "two"), dialogue("b", "three")])
    agreement = judge.use.self_agreement
    assert (agreement.num_votes, agreement.overall.num_true, agreement.overall.num) == (3, 5, 6)
    assert (agreement.found.num_true, agreement.found.num) == (1, 2)
    assert agreement.found.value == 0.5 and agreement.found.low is None  # two dialogues are too few for an interval
    (note,) = judge.notes
    assert "all 3 votes say the same on 83 % of 6 pairs of message and mode, and on 50 % of 2 that any vote" in note


def test_self_agreement_has_an_interval_over_dialogues():
    def answer(request):
        is_split = request.judged["text"] == "split" and request.body["seed"] % 1000 == 0
        return Answer(content=verdict(*([] if is_split else [failure("boundary")])))

    with serve(answer) as server:
        judge = judge_with(server, num_votes=2, min_agreement=0.6, modes=("boundary",))
        judge.assess([dialogue(f"d{i}", "split" if i % 4 == 0 else "same") for i in range(20)])
    found = judge.use.self_agreement.found
    assert found.value == 0.75 and 0.4 < found.low < 0.75 < found.high < 1.0


def test_message_without_all_votes_is_in_no_self_agreement():
    def answer(request):
        is_lost = request.judged["text"] == "lost" and request.body["seed"] % 1000 == 1
        return Answer(content="?" if is_lost else verdict())

    with serve(answer) as server:
        judge = judge_with(server, num_votes=2, modes=("boundary",), max_attempts=1)
        judge.assess([dialogue("a", "lost", "kept")])
    assert judge.use.self_agreement.overall.num == 1


def test_one_vote_has_no_self_agreement():
    with serve(lambda request: Answer(content=verdict())) as server:
        judge = judge_with(server)
        judge.assess([dialogue()])
    assert judge.use.self_agreement is None and judge.notes == ()
