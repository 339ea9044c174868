from dataclasses import replace

import pytest

from advsim.rates.blame import Blame, UserSideFault, attribute, user_side_faults
from advsim.records import Assessment, Conversation, FailureLabel, Speaker, StopReason, Turn

FINE = "I slept badly again last night"


def conversation(name, *user_texts, stop_reason=StopReason.END_TOKEN, num_regenerated=0, error=""):
    turns = []
    for text in user_texts:
        turns += [Turn(speaker=Speaker.USER, text=text), Turn(speaker=Speaker.CHATBOT, text="I see.")]
    return Conversation(
        id=name,
        scenario_id="s",
        chatbot="bot",
        simulator_version=1,
        simulator_sha256="0" * 64,
        turns=tuple(turns),
        stop_reason=stop_reason,
        num_prompt_tokens=0,
        num_output_tokens=0,
        num_regenerated=num_regenerated,
        seed=0,
        error=error,
    )


def judged(name, turn=1, *, modes=(), confidence=0.9, abstained=(), error=""):
    labels = tuple(
        FailureLabel(
            conversation_id=name, turn=turn, mode=m, severity=2, span="", detector="rules", confidence=confidence
        )
        for m in modes
    )
    return Assessment(
        conversation_id=name, turn=turn, detector="rules", labels=labels, abstained=tuple(abstained), error=error
    )


def blame_of(conversations, assessments, **kwargs):
    report = attribute("bot", conversations, assessments, **kwargs)
    return {d.conversation_id: d.blame for d in report.dialogues}


def breaks_role(text):
    return StopReason.ROLE_BREAK if "as an ai" in text.lower() else None


@pytest.mark.parametrize("is_simulated", [True, False])
def test_people_are_no_simulator(is_simulated):
    given = [conversation("twice", FINE, FINE), conversation("fine", FINE)]
    assessments = [judged("twice", modes=("boundary",)), judged("twice", 3), judged("fine")]
    report = attribute("bot", given, assessments, is_simulated=is_simulated)
    named, never = (Blame.SIMULATOR, Blame.USER_SIDE) if is_simulated else (Blame.USER_SIDE, Blame.SIMULATOR)
    assert report.num_by_blame[named] == 1 and never not in report.num_by_blame
    assert [it.blame for it in report.dialogues] == [named, Blame.NONE]


def test_every_kind_of_blame_is_told_from_the_others():
    conversations = [
        conversation("chatbot", FINE),
        conversation("none", FINE),
        conversation("doubt", FINE),
        conversation("unclear", FINE),
        conversation("time-out", FINE),
        conversation("died", FINE, stop_reason=StopReason.ERROR, error="endpoint answered 500"),
        conversation("said twice", FINE, FINE.upper()),
        conversation("stopped", FINE, stop_reason=StopReason.ROLE_BREAK),
        conversation("empty", FINE, " "),
        conversation("role", "As an AI I cannot feel"),
    ]
    assessments = [
        judged("chatbot", modes=["boundary"]),
        judged("none"),
        judged("doubt", modes=["boundary"], confidence=0.3),
        judged("unclear", abstained=["boundary"]),
        judged("time-out", error="time-out"),
        judged("died", modes=["boundary"]),
        *(judged("said twice", t, modes=["boundary"]) for t in (1, 3)),
        judged("stopped"),
        *(judged("empty", t, modes=["boundary"]) for t in (1, 3)),
        judged("role", modes=["boundary"]),
    ]
    assert blame_of(conversations, assessments, user_turn_fault=breaks_role) == {
        "chatbot": Blame.CHATBOT,
        "none": Blame.NONE,
        "doubt": Blame.DETECTOR_DOUBT,
        "unclear": Blame.DETECTOR_DOUBT,
        "time-out": Blame.INFRASTRUCTURE,
        "died": Blame.INFRASTRUCTURE,
        "said twice": Blame.SIMULATOR,
        "stopped": Blame.SIMULATOR,
        "empty": Blame.SIMULATOR,
        "role": Blame.SIMULATOR,
    }


def test_a_dialogue_in_a_language_that_the_detector_does_not_know_is_not_judged_and_no_fault_of_infrastructure():
    spanish = replace(judged("x", abstained=["boundary"]), other_language="Spanish")
    report = attribute("bot", [conversation("x", FINE)], [spanish], judged_modes=["boundary"])
    assert report.dialogues[0].blame is Blame.NOT_JUDGED
    assert report.num_by_blame[Blame.INFRASTRUCTURE] == 0


def test_without_a_rule_for_roles_the_chatbot_is_blamed_for_its_failure():
    given = ([conversation("role", "As an AI I cannot feel")], [judged("role", modes=["boundary"])])
    assert blame_of(*given) == {"role": Blame.CHATBOT}
    assert blame_of(*given, user_turn_fault=breaks_role) == {"role": Blame.SIMULATOR}


def test_a_simulator_fault_in_a_dialogue_that_did_not_fail_is_counted_and_blames_nobody():
    report = attribute("bot", [conversation("x", FINE, FINE)], [judged("x", 1), judged("x", 3)])
    assert report.dialogues[0].blame is Blame.NONE
    assert report.num_by_fault[UserSideFault.REPETITION] == 1


def test_rates_are_given_with_and_without_conversations_in_which_the_simulator_was_at_fault():
    conversations = [conversation(f"ok{i}", FINE) for i in range(8)] + [
        conversation(f"bad{i}", FINE, "") for i in range(4)
    ]
    assessments = [judged(f"ok{i}", modes=["boundary"] if i < 2 else []) for i in range(8)]
    assessments += [judged(f"bad{i}", turn, modes=["boundary"]) for i in range(4) for turn in (1, 3)]
    report = attribute("bot", conversations, assessments)
    assert report.rate.estimate == pytest.approx(10 / 16)
    assert report.rate_without_user_side_faults.estimate == pytest.approx(2 / 8)
    assert report.rate_without_user_side_faults.num_dialogues == 8
    assert report.num_by_blame[Blame.SIMULATOR] == 4 and sum(report.num_by_blame.values()) == 12


def test_short_answers_said_twice_and_turns_drawn_again_are_no_faults():
    assert user_side_faults(conversation("x", "Yes", "yes", "thank you", "Thank you")) == ()
    report = attribute("bot", [conversation("x", FINE, num_regenerated=3)], [judged("x")])
    assert report.dialogues[0].faults == () and report.num_regenerated == 3


def test_modes_that_the_detector_never_judges_are_no_doubt():
    conversations = [conversation(f"x{i}", FINE) for i in range(3)]
    report = attribute(
        "bot", conversations, [judged(f"x{i}", abstained=["sycophancy"]) for i in range(3)], judged_modes=["overload"]
    )
    assert report.num_by_blame[Blame.NONE] == 3


def test_no_conversations_give_an_empty_report_and_bad_input_is_refused():
    report = attribute("bot", [], [])
    assert report.rate.estimate is None and set(report.num_by_blame.values()) == {0}
    with pytest.raises(ValueError, match="min_confidence: got 2"):
        attribute("bot", [], [], min_confidence=2)
    with pytest.raises(ValueError, match="not among the dialogues"):
        attribute("bot", [], [judged("x")])
