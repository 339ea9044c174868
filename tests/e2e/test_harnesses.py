"""Outside harnesses, each from its registry package, hold dialogues with the served person on 127.0.0.1."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

pytestmark = pytest.mark.slow

LINES = {"cant sleep lately", "its my boss", "hm i dont know", "ok thanks, bye"}
Dialogues = Callable[..., list[dict[str, Any]]]


def check(dialogues: list[dict[str, Any]], *, num_people: int, max_turns: int) -> None:
    """Each dialogue alternates, is in the person's own words, and ends where the person leaves."""
    assert len(dialogues) == num_people
    for dialogue in dialogues:
        turns = dialogue["turns"]
        assert all(before["role"] != after["role"] for before, after in pairwise(turns))
        said = [turn["content"].removesuffix("[left]").strip() for turn in turns if turn["role"] == "user"]
        assert 1 <= len(said) <= max_turns and {*said} <= LINES
        assert "ok thanks, bye" not in said[:-1]
        assert dialogue["left"] == (said[-1] == "ok thanks, bye")
    assert any(dialogue["left"] for dialogue in dialogues)


def test_inspect_ai_holds_dialogues_with_the_served_person(dialogues: Dialogues, served_person: Any) -> None:
    held = dialogues(
        "inspect_ai",
        "inspect_ai_user.py",
        *("--person", "made-up", "--scenario", served_person.scenario, "--num-people", "4", "--max-turns", "12"),
    )
    check(held, num_people=4, max_turns=12)


def test_deepeval_holds_dialogues_with_the_served_person(dialogues: Dialogues, served_person: Any) -> None:
    held = dialogues(
        "deepeval",
        "deepeval_user.py",
        *("--base-url", served_person.base_url, "--person", "made-up", "--scenario", served_person.scenario),
        *("--num-people", "4", "--max-turns", "12"),
    )
    check(held, num_people=4, max_turns=12)


def test_langwatch_scenario_holds_dialogues_with_the_served_person(dialogues: Dialogues, served_person: Any) -> None:
    held = dialogues(
        "langwatch_scenario",
        "langwatch_scenario_user.py",
        *("--base-url", served_person.base_url, "--person", "made-up", "--scenario", served_person.scenario),
        *("--num-people", "3", "--max-turns", "12"),
    )
    check(held, num_people=3, max_turns=12)
