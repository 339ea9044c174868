from __future__ import annotations

import dataclasses
from typing import Any

import made_up_run as made

from advsim.records import StopReason
from advsim.report.run.transcripts import compare_transcripts


def test_first_and_last_round_show_the_same_scenario(conversations: Any, reals: Any) -> None:
    comparison = compare_transcripts({**conversations, 3: [made.conversation(3, "d-2")]}, reals)
    assert comparison is not None
    assert comparison.scenario_id == "d-2"
    assert [transcript.title for transcript in comparison.transcripts] == [
        "Real user",
        "Simulated, round 1",
        "Simulated, round 3",
    ]


def test_rounds_without_a_common_scenario_say_so() -> None:
    comparison = compare_transcripts({1: [made.conversation(1, "a")], 2: [made.conversation(2, "b")]}, {})
    assert comparison is not None
    assert not comparison.is_same_scenario
    assert len(comparison.transcripts) == 2


def test_one_round_is_shown_once(conversations: Any, reals: Any) -> None:
    comparison = compare_transcripts({1: conversations[1], 2: []}, reals)
    assert comparison is not None
    assert [transcript.title for transcript in comparison.transcripts] == ["Real user", "Simulated, round 1"]


def test_failed_conversations_are_chosen_last() -> None:
    failed = dataclasses.replace(made.conversation(1, "a"), id="0", stop_reason=StopReason.ERROR, error="timed out")
    for other in (made.conversation(1, "a"), made.conversation(1, "b")):
        for second in ({}, {2: [made.conversation(2, "c")]}):
            comparison = compare_transcripts({1: [failed, other], **second}, {})
            assert comparison is not None
            assert comparison.scenario_id == other.scenario_id
            assert "timed out" not in comparison.transcripts[0].ending


def test_no_conversations_give_no_comparison(reals: Any) -> None:
    assert compare_transcripts({1: []}, reals) is None
