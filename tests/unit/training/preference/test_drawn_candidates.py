"""Candidates of a round are collected by turn, and a turn of which nothing came is no turn."""

from __future__ import annotations

import io
from types import SimpleNamespace

from advsim.records import Candidate
from advsim.runtime.progress import Reporter
from advsim.training.preference.source import PairSource


def candidate(conversation_id: str, turn: int, index: int) -> Candidate:
    return Candidate(
        conversation_id=conversation_id,
        turn=turn,
        index=index,
        text="hi",
        token_ids=(1,),
        finished=True,
        simulator_version=0,
    )


def test_a_turn_whose_draws_are_all_empty_has_no_candidates_and_ends_nothing() -> None:
    groups = [[candidate("a", 2, 1), candidate("a", 2, 2)], [], [candidate("b", 0, 1)]]
    source = SimpleNamespace(reporter=Reporter(file=io.StringIO(), force_plain=True))
    drawn = PairSource.drawn(source, groups, "round 1 candidates", num_turns=3)
    assert {place: len(group) for place, group in drawn.items()} == {("a", 2): 2, ("b", 0): 1}
