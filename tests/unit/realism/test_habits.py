"""Typing habits as distributions over dialogues."""

import warnings

import numpy as np
import pytest
from scipy.stats import ks_2samp, wasserstein_distance

from advsim.realism.habits import Habit, _distances, compare_spread, describe_habits
from advsim.realism.user_texts import UserTexts, next_turn_texts, num_user_turns_in_common, user_texts
from advsim.records import Dialogue, NextTurn, Speaker, Split, Turn


def person(name, lowercase_share, *, turns=12, seed=0, user=None):
    rng = np.random.default_rng([seed, *name.encode()])
    return UserTexts(
        dialogue_id=name,
        user=user or name,
        texts=tuple("hello there." if rng.random() < lowercase_share else "Hello there." for _ in range(turns)),
    )


def crowd(prefix, shares, **options):
    return [person(f"{prefix}{number}", share, **options) for number, share in enumerate(shares)]


def of(comparison, habit):
    return next(compared for compared in comparison.habits if compared.habit is habit)


HALF_AND_HALF = [0.02, 0.98] * 40
ONE = [Habit.LOWERCASE_START]


def test_one_kind_of_user_with_the_right_mean_is_caught():
    """Pooled over turns both sides start lower-case half of the time; only the spread differs."""
    compared = of(
        compare_spread(crowd("r", HALF_AND_HALF), crowd("s", [0.5] * 80), num_permutations=199), Habit.LOWERCASE_START
    )
    assert compared.real.mean == pytest.approx(compared.simulated.mean, abs=0.06)
    assert compared.p_adjusted < 0.05
    assert compared.std_ratio_high < 0.5


def test_users_who_differ_by_chance_only_have_a_ratio_near_zero_whatever_the_number_of_turns():
    compared = of(
        compare_spread(crowd("r", HALF_AND_HALF, turns=4), crowd("s", [0.5] * 80, turns=4)), Habit.LOWERCASE_START
    )
    assert compared.simulated.std > 0.2  # chance alone spreads a share over four turns
    assert compared.std_ratio < 0.3


def test_same_population_is_not_called_different():
    num_called = 0
    for seed in range(25):
        comparison = compare_spread(
            crowd("r", HALF_AND_HALF, seed=seed),
            crowd("s", HALF_AND_HALF, seed=100 + seed),
            habits=ONE,
            num_permutations=99,
            num_bootstrap=10,
            seed=seed,
        )
        num_called += of(comparison, Habit.LOWERCASE_START).p_value <= 0.05
    assert num_called <= 5  # expected 1 of 25


def test_interval_of_the_ratio_covers_one_for_the_same_population():
    num_covering = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        sides = [crowd(side, rng.beta(0.5, 0.5, size=40), seed=seed) for side in "rs"]
        compared = of(
            compare_spread(*sides, habits=ONE, num_permutations=1, num_bootstrap=200, seed=seed), Habit.LOWERCASE_START
        )
        num_covering += compared.std_ratio_low <= 1.0 <= compared.std_ratio_high
    assert num_covering >= 20


def test_permutation_moves_all_dialogues_of_a_user_together():
    """Two real and two simulated users write everything: there are no more than six deals, so p cannot be small."""
    real = [person(f"r{n}", 0.02, user=f"r{n % 2}") for n in range(40)]
    simulated = [person(f"s{n}", 0.98, user=f"s{n % 2}") for n in range(40)]
    assert of(compare_spread(real, simulated), Habit.LOWERCASE_START).p_value > 0.2


def test_permuted_distances_are_scipys():
    rng = np.random.default_rng(0)
    pooled, is_real = rng.integers(0, 6, size=30) / 6.0, rng.random((20, 30)) < 0.4
    expected = [wasserstein_distance(pooled[row], pooled[~row]) for row in is_real]
    assert _distances(pooled, is_real) == pytest.approx(expected)


def test_distances_are_scipys_on_the_values_of_the_dialogues():
    real, simulated = crowd("r", [0.1, 0.4, 0.9] * 5), crowd("s", [0.5, 0.8] * 6)
    compared = of(compare_spread(real, simulated, num_permutations=1), Habit.LOWERCASE_START)
    values = [[np.mean([text[0].islower() for text in user.texts]) for user in side] for side in (real, simulated)]
    assert compared.wasserstein == pytest.approx(wasserstein_distance(*values))
    assert compared.ks == pytest.approx(ks_2samp(*values).statistic)


def test_dialogues_are_compared_on_as_many_turns_as_both_sides_have():
    long = crowd("r", [0.5] * 20, turns=30)
    short = crowd("s", [0.5] * 20, turns=4)
    assert num_user_turns_in_common(long, short) == 4
    comparison = compare_spread(long, short, num_permutations=1)
    assert comparison.turn_budget == 4
    assert of(comparison, Habit.USER_TURNS).wasserstein == pytest.approx(26.0)


def test_later_turns_of_longer_dialogues_do_not_count_in_the_comparison():
    real = [UserTexts(dialogue_id=f"r{n}", user=f"r{n}", texts=("hello.",) * 4 + ("Hello.",) * 26) for n in range(12)]
    short = [UserTexts(dialogue_id=f"s{n}", user=f"s{n}", texts=("hello.",) * 4) for n in range(12)]
    assert of(compare_spread(real, short, habits=ONE, num_permutations=1), Habit.LOWERCASE_START).wasserstein == 0.0


def test_habits_are_counted_by_dialogue():
    turns = ("Hi!", "what now?", "ok \U0001f642", "(fine.)")
    summary = {
        described.habit: described for described in describe_habits([UserTexts(dialogue_id="d", user="d", texts=turns)])
    }
    assert summary[Habit.LOWERCASE_START].mean == 0.5
    assert summary[Habit.NO_END_PUNCTUATION].mean == 0.25
    assert summary[Habit.QUESTION].mean == 0.25
    assert summary[Habit.EMOJI].mean == 0.25
    assert summary[Habit.USER_TURNS].mean == 4
    assert summary[Habit.TYPE_TOKEN].mean is None  # fewer words than its budget
    assert summary[Habit.LOWERCASE_START].std is None  # one dialogue


@pytest.mark.parametrize(
    ("real", "simulated"),
    [
        ([], []),
        (crowd("r", [0.5]), crowd("s", [0.5])),
        (crowd("r", [0.5] * 12), []),
        (crowd("r", [1.0] * 12), crowd("s", [1.0] * 12)),  # nobody differs
        (crowd("r", [0.5] * 12), crowd("r", [0.5] * 12)),  # the same dialogues on both sides
        (crowd("r", [0.5] * 12, turns=1), crowd("s", [0.5] * 12, turns=1)),
    ],
)
def test_odd_input_gives_figures_or_none_without_warning(real, simulated):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison = compare_spread(real, simulated, num_permutations=19, num_bootstrap=20)
    for habit in comparison.habits:
        figures = (
            habit.wasserstein,
            habit.ks,
            habit.p_value,
            habit.p_adjusted,
            habit.std_ratio,
            habit.std_ratio_low,
        )
        assert all(figure is None or np.isfinite(figure) for figure in figures)
        assert (habit.wasserstein is None) == (min(habit.real.num_dialogues, habit.simulated.num_dialogues) < 5)


def test_dialogues_without_user_turns_are_left_out_and_users_are_named_where_known():
    said = Turn(speaker=Speaker.USER, text="hi")
    dialogues = [
        Dialogue(id="a", source="t", split=Split.TEST, user_id="ann", turns=(said,)),
        Dialogue(id="ann", source="t", split=Split.TEST, turns=(said,)),
        Dialogue(id="b", source="t", split=Split.TEST, turns=(Turn(speaker=Speaker.CHATBOT, text="hi"),)),
    ]
    made = user_texts(dialogues)
    assert [(texts.dialogue_id, texts.texts) for texts in made] == [("a", ("hi",)), ("ann", ("hi",))]
    assert len({texts.user for texts in made}) == 2  # a user is never taken for the dialogue of the same name


def test_next_turns_are_grouped_by_dialogue_in_their_order_there_and_named_after_its_user():
    said = Turn(speaker=Speaker.USER, text="hi")
    by_id = {
        name: Dialogue(id=name, source="t", split=Split.TEST, user_id="ann", turns=(said,)) for name in ("a", "b", "c")
    }
    turns = [
        NextTurn(dialogue_id=name, turn=turn, text=f"{name}{turn}") for name, turn in [("b", 4), ("a", 0), ("b", 2)]
    ]
    made = next_turn_texts(turns, by_id)
    assert [(texts.dialogue_id, texts.texts) for texts in made] == [("b", ("b2", "b4")), ("a", ("a0",))]
    assert {texts.user for texts in made} == {texts.user for texts in user_texts([by_id["c"]])}
