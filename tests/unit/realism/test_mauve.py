"""MAUVE beside its real-against-real ceiling, on vectors made by hand."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from mauve import compute_mauve

from advsim.realism.mauve import MIN_TURNS, measure_mauve
from advsim.realism.user_texts import UserTexts


class ByNumber:
    """Texts are ``<centre> <anything>``; the vector is a noisy copy of the centre's direction."""

    def embed(self, texts):
        rng = np.random.default_rng(0)
        vectors = rng.normal(scale=0.15, size=(len(texts), 12))
        for row, text in enumerate(texts):
            vectors[row, int(text.split()[0])] += 1.0
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def people(num_users, centres, *, prefix, turns=8, seed=0):
    rng = np.random.default_rng(seed)
    return [
        UserTexts(
            dialogue_id=f"{prefix}{user}",
            user=f"{prefix}{user}",
            texts=tuple(f"{rng.choice(centres)} {prefix}{user}-{turn}" for turn in range(turns)),
        )
        for user in range(num_users)
    ]


def test_same_population_reaches_the_ceiling_and_another_one_does_not():
    real = people(60, [0, 1, 2, 3, 4, 5], prefix="r", seed=1)
    alike = people(30, [0, 1, 2, 3, 4, 5], prefix="s", seed=2)
    collapsed = people(30, [0, 1], prefix="c", seed=3)
    same = measure_mauve(real, alike, embedder=ByNumber(), num_seeds=3)
    other = measure_mauve(real, collapsed, embedder=ByNumber(), num_seeds=3)
    assert abs(same.score.mean - same.ceiling.mean) < 0.08
    assert other.score.high < other.ceiling.low - 0.2
    assert same.score.low <= same.score.mean <= same.score.high


def test_score_and_ceiling_are_taken_at_one_stated_number_of_turns_and_buckets():
    real = people(60, range(6), prefix="r")
    mauve = measure_mauve(real, people(10, range(6), prefix="s"), embedder=ByNumber(), num_seeds=2)
    assert mauve.num_turns == 80  # ten simulated users of eight turns
    assert mauve.num_buckets == 2 * 80 // 39
    assert (mauve.num_real, mauve.num_simulated, mauve.num_seeds) == (480, 80, 2)


def test_next_turns_on_real_prefixes_stand_for_the_half_they_answer():
    """With paired dialogues only simulated turns of the users of the second half are drawn."""
    seen = []

    class Recording(ByNumber):
        def embed(self, texts):
            seen.extend(texts)
            return super().embed(texts)

    real = people(60, range(6), prefix="r", seed=1)
    written = [replace(user, texts=tuple(f"{text} written" for text in user.texts)) for user in real]
    mauve = measure_mauve(real, written, embedder=Recording(), num_seeds=1)
    users = {text.split()[1].split("-")[0] for text in seen if text.endswith("written")}
    assert mauve.num_turns == 240
    assert len(users) == 30


def test_our_call_gives_what_the_reference_package_gives():
    real, simulated = people(40, range(6), prefix="r"), people(40, range(3), prefix="s")
    mauve = measure_mauve(real, simulated, embedder=ByNumber(), num_seeds=1, num_buckets=6, max_turns=10**6)
    ids = sorted({texts.user for texts in real})
    first = {ids[place] for place in np.random.default_rng(0).permutation(40)[:20]}
    embedder = ByNumber()
    texts = [text for side in (real, simulated) for dialogue in side for text in dialogue.texts]
    place = {text: row for row, text in enumerate(texts)}
    vectors = embedder.embed(texts)
    half = vectors[[place[text] for dialogue in real if dialogue.user in first for text in dialogue.texts]]
    second = vectors[[place[text] for dialogue in real if dialogue.user not in first for text in dialogue.texts]]
    expected = compute_mauve(p_features=half, q_features=second, num_buckets=6, kmeans_max_iter=100, seed=0).mauve
    assert mauve.ceiling.mean == pytest.approx(expected, abs=0.02)  # the order of the turns differs, not the turns


@pytest.mark.parametrize(
    ("real", "simulated", "why"),
    [
        ([], [], "0 users"),
        (people(1, range(6), prefix="r", turns=200), people(9, range(6), prefix="s"), "1 users"),
        (people(4, range(6), prefix="r"), people(9, range(6), prefix="s"), f"{MIN_TURNS} are needed"),
        (people(60, range(6), prefix="r"), [], f"0 turns a side (half of the real users'), {MIN_TURNS} are needed"),
    ],
)
def test_too_little_gives_a_reason_instead_of_a_figure(real, simulated, why):
    mauve = measure_mauve(real, simulated, embedder=ByNumber())
    assert mauve.score is None
    assert mauve.ceiling is None
    assert why in mauve.reason


def test_turns_that_are_all_the_same_give_a_reason_and_no_warning():
    same = [UserTexts(dialogue_id=f"{n}", user=f"{n}", texts=("1 ok",) * 8) for n in range(60)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "distinct turns" in measure_mauve(same, same, embedder=ByNumber()).reason


def test_a_simulator_that_always_says_the_same_has_a_score_near_zero_and_no_warning():
    same = [UserTexts(dialogue_id=f"s{n}", user=f"s{n}", texts=("1 ok",) * 8) for n in range(60)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mauve = measure_mauve(people(60, range(6), prefix="r"), same, embedder=ByNumber(), num_seeds=2)
    assert mauve.score.high < 0.5 < mauve.ceiling.low
