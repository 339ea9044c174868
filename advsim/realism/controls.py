"""Controls: user turns that a reader knows are not this user's next turn, to measure what a classifier can find.

Each function answers the same prefixes as the simulator and leaves out those it cannot answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
from scipy.optimize import linear_sum_assignment

from advsim.corpus.prefixes import Prefix, user_of, user_turn_number
from advsim.records import Dialogue, NextTurn, user_turns

_FORBIDDEN = 1e9
_SAME_USER = 1e6


class Control(StrEnum):
    """Kinds of controls."""

    SHUFFLED = "shuffled"
    """Real user turns exchanged between dialogues: perfect surface, no coherence."""
    REPEATED = "repeated"
    """The user's previous turn again."""
    TRUNCATED = "truncated"
    """The first half of the real turn's words."""
    ZERO_SHOT = "zero_shot"
    """Turns of the base model without any training; the caller brings them."""


def shuffled(
    dialogues: Mapping[str, Dialogue], prefixes: Sequence[Prefix], *, within: Mapping[str, int], seed: int
) -> list[NextTurn]:
    """Exchange the real user turns between dialogues, inside each group of dialogues.

    The exchange is the assignment with the smallest total difference in user turn number (ties drawn by ``seed``) in
    which no prefix gets a turn of its own dialogue or its own text, and a turn of the same user only where there is no
    other. Each real turn is used once, so that both sides of a group hold the same texts; nearly the same, where a
    prefix has no possible donor and is left out.

    Args:
        dialogues: by id.
        prefixes: to answer.
        within: group of each dialogue, by dialogue id: the fold of the cross-validation. If the exchange crossed folds,
            a turn's text would stand in the training folds with the label opposite to the one in the test fold, and a
            classifier of the surface would learn to be wrong (an AUC of .02 instead of .5).
        seed: of the ties.

    Returns:
        The turns, in the order of ``prefixes``, without those that have no possible donor in their group.
    """
    rng = np.random.default_rng(seed)
    answers: dict[Prefix, str] = {}
    for group in sorted({within[dialogue_id] for dialogue_id, _ in prefixes}):
        members = [prefix for prefix in prefixes if within[prefix[0]] == group]
        numbers = np.array([user_turn_number(dialogues[name], turn) for name, turn in members])
        costs = np.abs(numbers[:, None] - numbers[None, :]) + rng.random((len(members), len(members))) / 2
        texts = np.array([dialogues[name].turns[turn].text for name, turn in members], dtype=object)
        names = np.array([name for name, _ in members], dtype=object)
        users = np.array([user_of(dialogues[name]) for name, _ in members], dtype=object)
        costs[users[:, None] == users[None, :]] = _SAME_USER
        costs[(names[:, None] == names[None, :]) | (texts[:, None] == texts[None, :])] = _FORBIDDEN
        for receiver, donor in zip(*linear_sum_assignment(costs), strict=True):
            if costs[receiver, donor] < _FORBIDDEN:
                answers[members[receiver]] = texts[donor]
    return _in_order(prefixes, answers)


def repeated(dialogues: Mapping[str, Dialogue], prefixes: Sequence[Prefix]) -> list[NextTurn]:
    """Answer each prefix with the same user's previous turn of the dialogue; first turns are left out."""
    answers: dict[Prefix, str] = {}
    for name, turn in prefixes:
        earlier = [said.text for index, said in user_turns(dialogues[name]) if index < turn]
        if earlier and earlier[-1] != dialogues[name].turns[turn].text:
            answers[name, turn] = earlier[-1]
    return _in_order(prefixes, answers)


def truncated(dialogues: Mapping[str, Dialogue], prefixes: Sequence[Prefix]) -> list[NextTurn]:
    """Answer each prefix with the first half of the real turn's words, rounded down; turns of one word are left out."""
    answers: dict[Prefix, str] = {}
    for name, turn in prefixes:
        text = dialogues[name].turns[turn].text
        ends = [word.end() for word in re.finditer(r"\S+", text)]
        if len(ends) > 1:
            answers[name, turn] = text[: ends[len(ends) // 2 - 1]]
    return _in_order(prefixes, answers)


def _in_order(prefixes: Sequence[Prefix], answers: Mapping[Prefix, str]) -> list[NextTurn]:
    return [
        NextTurn(dialogue_id=prefix[0], turn=prefix[1], text=answers[prefix])
        for prefix in prefixes
        if prefix in answers
    ]
