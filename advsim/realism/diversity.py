"""Lexical diversity of user turns at a fixed number of tokens.

All figures of one :class:`Diversity` are computed on exactly the same tokens
(:func:`advsim.corpus.habits.words_of`). TTR and distinct-n fall as a text gets longer, so two groups of turns are
comparable only at the same token budget: see :func:`common_token_budget`.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lexicalrichness import LexicalRichness

from advsim.corpus.habits import words_of

MATTR_WINDOW_TOKENS = 50
"""Window of the moving-average TTR."""

MIN_MTLD_TOKENS = 50
"""MTLD of shorter texts depends on their length (McCarthy and Jarvis 2010 study texts of 100 tokens and more)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    """Lexical diversity of a group of user turns. A figure is None where there are too few tokens to give it.

    ``Diversity()`` is that of no turns.

    Attributes:
        ttr: types / tokens, 0 to 1.
        mattr: TTR averaged over all windows of ``MATTR_WINDOW_TOKENS`` tokens (Covington and McFall 2010), 0 to 1.
        mtld: mean length in tokens of stretches with TTR above .72 (McCarthy and Jarvis 2010).
        distinct_1: distinct unigrams / unigrams (Li et al. 2016, arXiv 1510.03055); the same number as ``ttr``.
        distinct_2: distinct bigrams / bigrams; no bigram crosses a turn's end.
        distinct_3: distinct trigrams / trigrams; no trigram crosses a turn's end.
        entropy: Shannon entropy of the word distribution, in bits (plug-in estimate; grows with ``num_tokens``).
        mean_turn_words: words a turn, over all turns, whatever the budget.
        num_tokens: tokens the figures were computed on.
        num_turns: turns given, empty ones included.
    """

    ttr: float | None = None
    mattr: float | None = None
    mtld: float | None = None
    distinct_1: float | None = None
    distinct_2: float | None = None
    distinct_3: float | None = None
    entropy: float | None = None
    mean_turn_words: float | None = None
    num_tokens: int = 0
    num_turns: int = 0


def common_token_budget(groups: Iterable[Sequence[str]]) -> int:
    """Tokens of the smallest group: the budget at which all of them can be compared; 0 where there is no group."""
    return min((sum(len(words_of(text)) for text in texts) for texts in groups), default=0)


def measure_diversity(texts: Sequence[str], *, token_budget: int | None, seed: int) -> Diversity:
    """Measure lexical diversity on at most ``token_budget`` tokens of the texts, taken in an order drawn by ``seed``.

    Args:
        texts: user turns.
        token_budget: number of tokens to use; None uses all. The turn on which the budget ends is cut.
        seed: of the shuffle. Shuffling keeps the first dialogues from deciding what is inside the budget.

    Returns:
        The figures; None where n is too small (no token, no n-gram, fewer than a window for MATTR, fewer than
        ``MIN_MTLD_TOKENS`` for MTLD). Fewer tokens than the budget are used as they are: compare ``num_tokens``.

    Raises:
        ValueError: ``token_budget`` is negative.
    """
    if token_budget is not None and token_budget < 0:
        raise ValueError(f"token_budget: got {token_budget}, expected 0 or more, or None for no budget")
    turns = [words_of(text) for text in texts]
    shuffled = list(turns)
    random.Random(seed).shuffle(shuffled)
    kept = shuffled if token_budget is None else _cut(shuffled, token_budget)
    tokens = [word for turn in kept for word in turn]
    richness = LexicalRichness(tokens, preprocessor=None, tokenizer=None)
    return Diversity(
        ttr=richness.ttr if tokens else None,
        mattr=richness.mattr(window_size=MATTR_WINDOW_TOKENS) if len(tokens) >= MATTR_WINDOW_TOKENS else None,
        mtld=richness.mtld() if len(tokens) >= MIN_MTLD_TOKENS else None,
        distinct_1=_distinct(kept, 1),
        distinct_2=_distinct(kept, 2),
        distinct_3=_distinct(kept, 3),
        entropy=_entropy_bits(tokens),
        mean_turn_words=sum(map(len, turns)) / len(turns) if turns else None,
        num_tokens=len(tokens),
        num_turns=len(turns),
    )


def _cut(turns: Sequence[list[str]], token_budget: int) -> list[list[str]]:
    kept: list[list[str]] = []
    left = token_budget
    for turn in turns:
        if left == 0:
            break
        kept.append(turn[:left])
        left -= len(kept[-1])
    return kept


def _distinct(turns: Sequence[Sequence[str]], order: int) -> float | None:
    ngrams = [tuple(turn[i : i + order]) for turn in turns for i in range(len(turn) - order + 1)]
    return len(set(ngrams)) / len(ngrams) if ngrams else None


def _entropy_bits(tokens: Sequence[str]) -> float | None:
    if not tokens:
        return None
    shares = [count / len(tokens) for count in Counter(tokens).values()]
    return -math.fsum(share * math.log2(share) for share in shares) + 0.0
