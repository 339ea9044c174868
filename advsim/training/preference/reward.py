"""Rewards: how much more real a turn makes the conversation look than it looked before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from advsim.records import Candidate, ScoredTurn

_CLIP = 1e-10
_P_REAL_BEFORE_FIRST_TURN = 0.5


def reward(p_real: float, previous_p_real: float) -> float:
    """logit(p_t) - logit(p_{t-1}), probabilities clipped at 1e-10 (arXiv 2512.20773, reference code).

    Raises:
        ValueError: a probability is outside [0, 1] or NaN.
    """
    return _logit(p_real) - _logit(previous_p_real)


def turn_rewards(p_real: Sequence[float]) -> list[float]:
    """Rewards of a conversation's user turns, oldest first, with p_0 = .5; they add up to the last turn's logit.

    Raises:
        ValueError: a probability is outside [0, 1] or NaN.
    """
    before = [_P_REAL_BEFORE_FIRST_TURN, *p_real][: len(p_real)]
    return [reward(p, previous) for p, previous in zip(p_real, before, strict=True)]


def with_rewards(scored: Sequence[ScoredTurn]) -> list[ScoredTurn]:
    """The turns with their rewards set. Each conversation's turns stand together and are complete, oldest first.

    Raises:
        ValueError: a conversation's user turns are not 1, 2, 3, ...; a probability is outside [0, 1] or NaN.
    """
    rewarded = []
    for conversation_id, group in groupby(scored, key=lambda turn: turn.conversation_id):
        turns = list(group)
        numbers = [turn.user_turn for turn in turns]
        if numbers != list(range(1, len(turns) + 1)):
            raise ValueError(
                f"conversation {conversation_id}: got user turns {numbers}, expected 1 to {len(turns)} in order; "
                "a reward needs the turn before"
            )
        rewards = turn_rewards([turn.p_real for turn in turns])
        rewarded += [replace(turn, reward=value) for turn, value in zip(turns, rewards, strict=True)]
    return rewarded


def rewarded_candidate(candidate: Candidate, *, p_real: float, previous_p_real: float | None) -> Candidate:
    """A candidate with its probability and reward. ``previous_p_real`` is None at a conversation's first user turn.

    Raises:
        ValueError: a probability is outside [0, 1] or NaN.
    """
    before = _P_REAL_BEFORE_FIRST_TURN if previous_p_real is None else previous_p_real
    return replace(candidate, p_real=p_real, reward=reward(p_real, before))


def _logit(p: float) -> float:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"got probability {p}, expected a number from 0 to 1; the discriminator's output is broken")
    clipped = min(max(p, _CLIP), 1.0 - _CLIP)
    return math.log(clipped) - math.log1p(-clipped)


def p_real_before(scores: Sequence[ScoredTurn]) -> dict[tuple[str, int], float | None]:
    """p(real) of the user turn before each scored one, None before the first."""
    before: dict[tuple[str, int], float | None] = {}
    last: tuple[str, float] | None = None
    for score in sorted(scores, key=lambda score: (score.conversation_id, score.turn)):
        same = last is not None and last[0] == score.conversation_id
        before[score.conversation_id, score.turn] = last[1] if same and last is not None else None
        last = (score.conversation_id, score.p_real)
    return before
