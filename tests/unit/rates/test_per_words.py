"""Failing messages per 100 words."""

import numpy as np
import pytest

from advsim.rates.outcomes import MessageOutcome
from advsim.rates.per_words import per_100_words


def row(dialogue, turn, *modes, abstained=(), error=False):
    return MessageOutcome(
        configuration="c",
        dialogue_id=dialogue,
        user_id=None,
        turn=turn,
        modes=frozenset(modes),
        abstained=frozenset(abstained),
        error=error,
    )


def test_words_of_judged_messages_are_counted_and_no_others():
    rows = [row("a", 1, "overload"), row("a", 3), row("b", 1, error=True), row("b", 3, abstained=("overload",))]
    words = {("a", 1): 150, ("a", 3): 50, ("b", 1): 1000, ("b", 3): 400}
    found = per_100_words(rows, words, mode="overload")
    assert (found.estimate, found.num_failing, found.num_words) == (pytest.approx(0.5), 1, 200)
    assert found.low is None and found.high is None
    assert per_100_words(rows, words, mode="boundary").num_words == 600
    assert per_100_words([], {}).estimate is None


def test_a_chatbot_that_only_writes_more_fails_as_often_by_word():
    """Failures come at one rate a word; messages are four times as long on one side."""
    rng = np.random.default_rng(0)

    def found(length):
        rows = [
            row(f"d{d}", t, *(["overload"] * (rng.random() < 0.004 * length))) for d in range(400) for t in range(4)
        ]
        words = {(it.dialogue_id, it.turn): length for it in rows}
        return per_100_words(rows, words)

    short, long = found(20), found(80)
    assert short.low < 0.4 < short.high and long.low < 0.4 < long.high


def test_the_interval_covers_at_its_rate():
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rows, words = [], {}
        for d in range(40):
            rate = rng.gamma(4, 0.05 / 4)
            for t in range(5):
                words[f"d{d}", t] = int(rng.integers(5, 60))
                rows.append(row(f"d{d}", t, *(["overload"] * (rng.random() < rate))))
        found = per_100_words(rows, words)
        truth = 0.05 / 0.32  # mean of integers from 5 to 59
        covered += found.low is not None and found.low <= truth <= found.high
    assert 0.9 <= covered / 200 <= 0.99
