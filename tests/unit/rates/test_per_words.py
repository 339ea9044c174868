"""Failing messages per 100 words."""

import numpy as np
import pytest

from advsim.rates.outcomes import MessageOutcome
from advsim.rates.per_words import per_100_words
from advsim.rates.rates import failure_rate


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


@pytest.mark.parametrize("num_failing", [1, 3])
def test_dialogues_that_are_alike_to_the_last_word_have_an_interval_with_a_width(num_failing):
    rows = [row(f"d{d}", t, *(["overload"] * (t < num_failing))) for d in range(30) for t in range(3)]
    found = per_100_words(rows, {(it.dialogue_id, it.turn): 10 for it in rows})
    share = failure_rate(rows)
    assert found.low < 0.99 * found.estimate and found.high > 1.01 * found.estimate
    # as wide as the rate by message, to first order: no message has more words than another
    if num_failing == 1:
        assert found.high / found.estimate == pytest.approx(share.high / share.estimate, rel=0.15)


def test_the_interval_covers_where_one_user_has_half_of_the_words():
    rng, covered = np.random.default_rng(3), 0
    sizes = [6] * 29 + [174]
    for _ in range(100):
        failing = rng.binomial(sizes, rng.beta(0.8, 3.2, len(sizes))).tolist()
        rows = [
            row(f"d{d}", t, *(["overload"] * (t < failing[d]))) for d, size in enumerate(sizes) for t in range(size)
        ]
        found = per_100_words(rows, {(it.dialogue_id, it.turn): 50 for it in rows})
        covered += found.low <= 0.4 <= found.high
    assert covered >= 93


def test_dialogues_without_a_known_word_do_not_count_towards_an_interval():
    rows = [row(f"d{d}", t, *(["overload"] * (t == 0))) for d in range(12) for t in range(2)]
    assert per_100_words(rows, {("d0", 0): 10, ("d1", 1): 10}).low is None
