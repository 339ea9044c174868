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
