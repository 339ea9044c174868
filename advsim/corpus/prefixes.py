"""Prefixes of real dialogues, on which the next turn is written."""

from __future__ import annotations

import random
from collections.abc import Sequence

from advsim.records import Dialogue, user_turns

Prefix = tuple[str, int]
"""(dialogue id, index of a user turn): stands for ``dialogue.turns[:index]``."""


def user_turn_number(dialogue: Dialogue, turn: int) -> int:
    """User turn number (from 1) of the user turn at index ``turn``."""
    return sum(index <= turn for index, _ in user_turns(dialogue))


def user_of(dialogue: Dialogue) -> str:
    """Whose dialogue it is: the user where known, else the dialogue itself. A cluster, whole on one side of a split."""
    return f"user {dialogue.user_id}" if dialogue.user_id is not None else f"dialogue {dialogue.id}"


_GOLDEN_RATIO = 0.6180339887498949


def choose_prefixes(dialogues: Sequence[Dialogue], *, num_prefixes: int, seed: int) -> list[Prefix]:
    """Choose prefixes on which the next user turn is written, spread over dialogues and user turn numbers.

    Takes one turn from each dialogue, at positions spread evenly from first to last, before it takes a second from any.
    The choice depends on the dialogues, not on their order, and a longer list begins with the shorter one.

    Returns:
        (dialogue id, index of the user turn), at most ``num_prefixes``, all there are if fewer; never the same twice.
        User turns without any text are no prefixes.
    """
    left = {d.id: [index for index, turn in user_turns(d) if turn.text.strip()] for d in dialogues}
    order = sorted(left)
    rng = random.Random(seed)
    rng.shuffle(order)
    position = rng.random()
    chosen: list[Prefix] = []
    while len(chosen) < num_prefixes and any(left.values()):
        for name in [name for name in order if left[name]][: num_prefixes - len(chosen)]:
            position = (position + _GOLDEN_RATIO) % 1.0
            chosen.append((name, left[name].pop(int(position * len(left[name])))))
    return chosen
