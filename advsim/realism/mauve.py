"""MAUVE of user turns (Pillutla et al. 2021, arXiv 2102.01454) beside the value that real users reach among themselves.

MAUVE compares two groups of texts as histograms over clusters of their embeddings; 1 means equal. Its value depends on
the embedder, the number of texts and the number of buckets, so that it can be read only beside a ceiling measured with
the same three. Here every seed deals the real users into two halves; the ceiling is one half against the other, the
score is the first half against as many simulated turns.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from advsim.models.embedder import Embedder, FloatArray
from advsim.realism.user_texts import UserTexts

MIN_TURNS = 50
"""Turns a side under which nothing is computed: two buckets of so few texts say nothing."""

POINTS_PER_BUCKET = 39
"""Least number of points a cluster for stable k-means centroids in faiss, which MAUVE uses. MAUVE's own default (turns
of one side / 10, so 20 points a bucket) stays under it."""

MAX_TURNS = 1000
"""Turns a side at most, drawn by the seed: k-means is most of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverSeeds:
    """A figure over seeds. The range is that of halves, drawn turns and k-means; it is no confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Mauve:
    """MAUVE of simulated against real user turns.

    Attributes:
        score: half of the real users against simulated turns, 0 to 1; None where ``reason`` says why.
        ceiling: one half of the real users against the other, as many turns, same buckets.
        embedder: what made the vectors.
        num_turns: turns a side of every comparison.
        num_buckets: clusters.
        num_seeds: seeds.
        num_real: real turns there were.
        num_simulated: simulated turns there were.
        reason: why there is no score.
    """

    score: OverSeeds | None
    ceiling: OverSeeds | None
    embedder: str
    num_turns: int
    num_buckets: int | None
    num_seeds: int
    num_real: int
    num_simulated: int
    reason: str = ""


def measure_mauve(
    real: Sequence[UserTexts],
    simulated: Sequence[UserTexts],
    *,
    embedder: Embedder,
    embedder_name: str = "all-MiniLM-L6-v2",
    num_buckets: int | None = None,
    num_seeds: int = 5,
    max_turns: int = MAX_TURNS,
    seed: int = 0,
) -> Mauve:
    """Compare user turns by their embeddings, with the real-against-real ceiling at the same number of turns.

    Where simulated turns answer prefixes of the real dialogues (same dialogue ids), those of the second half stand for
    it, so that score and ceiling compare the same two groups of dialogues.

    Args:
        real: user turns of real dialogues.
        simulated: simulated ones.
        embedder: gives the vectors; nothing is downloaded.
        embedder_name: to be stated beside the score.
        num_buckets: None takes 2 x turns a side / ``POINTS_PER_BUCKET``, at least 2.
        num_seeds: halves, draws and k-means starts.
        max_turns: turns a side at most.
        seed: of the first; the others follow.
    """
    texts = {"real": _flat(real), "simulated": _flat(simulated)}
    users = sorted({dialogue.user for dialogue in real})
    rng = np.random.default_rng(seed)
    halves = [_halves(real, users, rng) for _ in range(num_seeds)] if len(users) > 1 else []
    is_paired = {dialogue.dialogue_id for dialogue in simulated} <= {dialogue.dialogue_id for dialogue in real}
    instead = [
        _flat([dialogue for dialogue in simulated if not is_paired or dialogue.dialogue_id in second])
        for _, second in halves
    ]
    sizes = [
        min(len(_of(real, first)), len(_of(real, second)), len(others), max_turns)
        for (first, second), others in zip(halves, instead, strict=True)
    ]
    num_turns = min(sizes, default=0)
    buckets = max(2, 2 * num_turns // POINTS_PER_BUCKET) if num_buckets is None else num_buckets
    reason = _reason(num_users=len(users), num_turns=num_turns, num_buckets=buckets, texts=texts)
    if reason:
        return Mauve(
            score=None,
            ceiling=None,
            embedder=embedder_name,
            num_turns=num_turns,
            num_buckets=None,
            num_seeds=num_seeds,
            num_real=len(texts["real"]),
            num_simulated=len(texts["simulated"]),
            reason=reason,
        )
    drawn = [
        [_draw(group, num_turns, rng) for group in (_of(real, half), _of(real, rest), others)]
        for (half, rest), others in zip(halves, instead, strict=True)
    ]
    unique = list(dict.fromkeys(text for groups in drawn for group in groups for text in group))
    place = {text: row for row, text in enumerate(unique)}
    vectors = embedder.embed(unique)
    scores, ceilings = [], []
    for number, groups in enumerate(drawn):
        first, second, others = (vectors[[place[text] for text in group]] for group in groups)
        ceilings.append(_mauve(first, second, num_buckets=buckets, seed=seed + number))
        scores.append(_mauve(first, others, num_buckets=buckets, seed=seed + number))
    return Mauve(
        score=_over_seeds(scores),
        ceiling=_over_seeds(ceilings),
        embedder=embedder_name,
        num_turns=num_turns,
        num_buckets=buckets,
        num_seeds=num_seeds,
        num_real=len(texts["real"]),
        num_simulated=len(texts["simulated"]),
    )


def _halves(
    real: Sequence[UserTexts], users: Sequence[str], rng: np.random.Generator
) -> tuple[frozenset[str], frozenset[str]]:
    """Dialogue ids of two halves of the users."""
    order = rng.permutation(len(users))
    first_users = {users[place] for place in order[: len(users) // 2]}
    first = frozenset(dialogue.dialogue_id for dialogue in real if dialogue.user in first_users)
    return first, frozenset(dialogue.dialogue_id for dialogue in real) - first


def _flat(dialogues: Sequence[UserTexts]) -> list[str]:
    return [text for dialogue in dialogues for text in dialogue.texts]


def _of(dialogues: Sequence[UserTexts], ids: frozenset[str]) -> list[str]:
    return _flat([dialogue for dialogue in dialogues if dialogue.dialogue_id in ids])


def _draw(texts: Sequence[str], num: int, rng: np.random.Generator) -> list[str]:
    return [texts[place] for place in rng.choice(len(texts), size=num, replace=False)]


def _reason(*, num_users: int, num_turns: int, num_buckets: int, texts: dict[str, list[str]]) -> str:
    if importlib.util.find_spec("mauve") is None:
        return "the package mauve-text is not installed; pip install 'advsim[mauve]' brings it"
    if num_users < 2:
        return f"the ceiling needs two halves of real users; there are {num_users} users"
    if num_turns < MIN_TURNS:
        return f"{num_turns} turns a side (half of the real users'), {MIN_TURNS} are needed"
    num_distinct = min(len(set(texts["real"])), len(set(texts["real"] + texts["simulated"])))
    if num_distinct <= 2 * num_buckets:
        return f"{num_distinct} distinct turns, more than {2 * num_buckets} are needed for {num_buckets} buckets"
    return ""


def _mauve(left: FloatArray, right: FloatArray, *, num_buckets: int, seed: int) -> float:
    from mauve import compute_mauve  # an extra of its own: its licence is the GPL

    result = compute_mauve(
        p_features=left, q_features=right, num_buckets=num_buckets, kmeans_max_iter=100, verbose=False, seed=seed
    )
    return float(result.mauve)


def _over_seeds(values: Sequence[float]) -> OverSeeds:
    return OverSeeds(mean=float(np.mean(values)), low=min(values), high=max(values))
