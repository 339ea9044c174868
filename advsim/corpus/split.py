"""Stable splits: where a dialogue goes depends on its user (or id) alone, so adding dialogues never moves others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from advsim.records import Dialogue, Split


def assign_split(dialogue_id: str, user_id: str | None, *, validation_fraction: float, test_fraction: float) -> Split:
    """Split of a dialogue by SHA-256 of its user, or of its own id where the user is unknown.

    The test part is cut off first: changing ``validation_fraction`` leaves it as it was. Sizes follow the fractions
    only in expectation.
    """
    position = _position(f"dialogue:{dialogue_id}" if user_id is None else f"user:{user_id}")
    if position < test_fraction:
        return Split.TEST
    if position < test_fraction + validation_fraction:
        return Split.VALIDATION
    return Split.TRAIN


def choose_dialogues(dialogues: Sequence[Dialogue], *, num_dialogues: int) -> list[Dialogue]:
    """The ``num_dialogues`` dialogues whose ids have the lowest hash, in the order given.

    The hash is another one than that of the split, or the choice would all fall into one split.
    """
    ranked = sorted(dialogues, key=lambda dialogue: _position(f"choice:{dialogue.id}"))
    chosen = {dialogue.id for dialogue in ranked[:num_dialogues]}
    return [dialogue for dialogue in dialogues if dialogue.id in chosen]


def _position(key: str) -> float:
    """Uniform in [0, 1)."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48
