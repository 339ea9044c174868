"""Stable splits: where a dialogue goes depends on its user (or id) alone, so adding dialogues never moves others."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace

from advsim.records import Dialogue, Split


def assign_split(dialogue_id: str, user_id: str | None, *, validation_fraction: float, test_fraction: float) -> Split:
    """Split of a dialogue by SHA-256 of its user, or of its own id where the user is unknown.

    The test part is cut off first: changing ``validation_fraction`` leaves it as it was. Sizes follow the fractions
    only in expectation.
    """
    position = _position(f"dialogue:{dialogue_id}" if user_id is None else f"user:{user_id}")
    return _split_at(position, validation_fraction, test_fraction)


def _split_at(position: float, validation_fraction: float, test_fraction: float) -> Split:
    if position < test_fraction:
        return Split.TEST
    if position < test_fraction + validation_fraction:
        return Split.VALIDATION
    return Split.TRAIN


def num_repeats(dialogues: Sequence[Dialogue]) -> int:
    """How many dialogues say what an earlier one says, turn by turn."""
    return len(dialogues) - len({_said(dialogue) for dialogue in dialogues})


def keep_equal_together(
    dialogues: Sequence[Dialogue], *, named: Collection[str], validation_fraction: float, test_fraction: float
) -> list[Dialogue]:
    """The dialogues, in order, with equal ones (and all those of their users) in one split, as if of one user.

    The lowest user or id of such a group decides. Where the file names splits, the first named one does, and those
    that name one stay there: a dialogue, with all those of its user.

    Args:
        dialogues: with the splits that they have on their own.
        named: ids of dialogues whose split the file names.
        validation_fraction: see :func:`assign_split`; ``test_fraction`` likewise.
        test_fraction: see :func:`assign_split`.
    """
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        while parents.setdefault(key, key) != key:
            parents[key] = parents[parents[key]]
            key = parents[key]
        return key

    first_unit: dict[tuple[tuple[str, str], ...], str] = {}
    for dialogue in dialogues:
        first, second = root(first_unit.setdefault(_said(dialogue), _unit(dialogue))), root(_unit(dialogue))
        parents[max(first, second)] = min(first, second)
    named_units = {_unit(dialogue) for dialogue in dialogues if dialogue.id in named}
    of_group: dict[str, Split] = {}
    for dialogue in dialogues:
        if dialogue.id in named:
            of_group.setdefault(root(_unit(dialogue)), dialogue.split)
    placed = []
    for dialogue in dialogues:
        unit = _unit(dialogue)
        group = root(unit)
        if unit in named_units or (group == unit and group not in of_group):
            placed.append(dialogue)
            continue
        split = of_group.get(group) or _split_at(_position(group), validation_fraction, test_fraction)
        placed.append(replace(dialogue, split=split))
    return placed


def choose_dialogues(dialogues: Sequence[Dialogue], *, num_dialogues: int) -> list[Dialogue]:
    """The ``num_dialogues`` dialogues whose ids have the lowest hash, in the order given.

    The hash is another one than that of the split, or the choice would all fall into one split.
    """
    ranked = sorted(dialogues, key=lambda dialogue: _position(f"choice:{dialogue.id}"))
    chosen = {dialogue.id for dialogue in ranked[:num_dialogues]}
    return [dialogue for dialogue in dialogues if dialogue.id in chosen]


def _said(dialogue: Dialogue) -> tuple[tuple[str, str], ...]:
    return tuple((turn.speaker.value, turn.text) for turn in dialogue.turns)


def _unit(dialogue: Dialogue) -> str:
    """What the split of a dialogue depends on, as :func:`assign_split` hashes it."""
    return f"dialogue:{dialogue.id}" if dialogue.user_id is None else f"user:{dialogue.user_id}"


def _position(key: str) -> float:
    """Uniform in [0, 1)."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48
