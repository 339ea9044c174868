"""Free dialogues of two sets of users."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from advsim.config import HeldOutConfig
from advsim.corpus.prefixes import choose_prefixes
from advsim.realism.families import Family
from advsim.realism.free_dialogues import compare_dialogues
from advsim.records import Dialogue, Speaker, Split, Turn

CONFIG = HeldOutConfig(num_folds=3, num_bootstrap=5, num_permutations=0)
PERMUTED = HeldOutConfig(num_folds=3, num_bootstrap=5, num_permutations=19)
WORDS = ["work", "sleep", "family", "money", "exam", "friend", "worry", "tired", "alone", "better", "today", "maybe"]


class ByWords:
    def embed(self, texts):
        vectors = np.array([[float(word in text.lower()) for word in WORDS] for text in texts]).reshape(-1, len(WORDS))
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def dialogues(prefix, *, num=24, turns=4, ending=".", chatbot="Tell me more.", seed=0):
    rng = np.random.default_rng([seed, len(prefix), ord(prefix[0])])

    def said():
        return " ".join(rng.choice(WORDS, size=6)).capitalize() + ending

    return [
        Dialogue(
            id=f"{prefix}{number}",
            source="t",
            split=Split.TEST,
            turns=tuple(
                turn
                for _ in range(turns)
                for turn in (Turn(speaker=Speaker.USER, text=said()), Turn(speaker=Speaker.CHATBOT, text=chatbot))
            ),
        )
        for number in range(num)
    ]


def compare(real, others, family=Family.SURFACE, *, config=CONFIG):
    return compare_dialogues(
        family, real=real, others=others, turn_budget=4, config=config, seed=0, embedder=ByWords(), max_turns=80
    )


def test_users_who_type_otherwise_are_told_apart_by_turn_and_by_dialogue():
    result = compare(dialogues("r"), dialogues("s", ending=" !!"))
    assert result.auc.low > 0.9
    assert result.auc_dialogue.value > 0.95


def test_users_of_one_kind_are_near_chance_and_the_control_shows_the_power():
    results = [compare(dialogues("r", seed=seed), dialogues("s", seed=seed)) for seed in range(6)]
    assert np.mean([result.auc.value for result in results]) == pytest.approx(0.5, abs=0.07)
    assert sum(result.auc.low < 0.5 < result.auc.high for result in results) >= 4
    assert all(result.measurable and result.power["truncated"].value > 0.85 for result in results)


@pytest.mark.parametrize("family", Family)
def test_a_file_against_itself_is_at_chance_and_not_under_it(family):
    real = dialogues("r")
    assert compare(real, real, family).auc.value == pytest.approx(0.5, abs=0.03)


def test_both_sides_give_equally_many_turns_from_the_first_so_many():
    result = compare(dialogues("r", num=40, turns=9), dialogues("s", num=10, turns=3))
    assert result.auc.num_turns == 60
    assert result.turn_budget == 4


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(("num_real", "num_others"), [(0, 0), (1, 24), (24, 1), (2, 2)])
def test_few_dialogues_give_no_bounds_and_no_warning(family, num_real, num_others):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compare(dialogues("r", num=num_real), dialogues("s", num=num_others), family)
    assert result.auc.low is None
    assert (result.auc.value is None) == (min(num_real, num_others) < 2)


def test_accuracy_and_the_null_stand_beside_the_auc():
    result = compare(dialogues("r"), dialogues("s", ending=" !!"), config=PERMUTED)
    assert result.accuracy.low > 0.9
    assert (result.accuracy.num_turns, result.accuracy.num_dialogues) == (160, 48)
    assert result.nulls.auc.p_value == result.nulls.accuracy.p_value == pytest.approx(1 / 20)
    assert result.nulls.auc.high < 0.75 < result.auc.low


def test_users_of_one_kind_have_no_small_p():
    p_values = [
        compare(dialogues("r", seed=seed), dialogues("s", seed=seed), config=PERMUTED).nulls.auc.p_value
        for seed in range(3)
    ]
    assert 0.2 < np.mean(p_values) < 0.8
    assert min(p_values) > 1 / 20


def test_a_file_against_itself_has_p_1():
    real = dialogues("r")
    assert compare(real, real, config=PERMUTED).nulls.auc.p_value == 1.0


def test_figures_at_a_user_turn_rest_on_the_turns_of_that_number():
    real, others = dialogues("r", num=30, turns=6), dialogues("s", num=30, turns=2, ending=" !!")
    result = compare_dialogues(
        Family.SURFACE, real=real, others=others, turn_budget=6, config=CONFIG, seed=0, embedder=ByWords()
    )
    assert result.auc.num_turns == 120  # all 60 of the second set, as many of the first
    assert set(result.at_turn) == {1, 2, 5, 10}
    at = {number: figures.auc for number, figures in result.at_turn.items()}
    chosen = [turn // 2 + 1 for _, turn in choose_prefixes(real, num_prefixes=60, seed=0)]
    assert {number: auc.num_turns for number, auc in at.items()} == {
        1: chosen.count(1) + 30,
        2: chosen.count(2) + 30,
        5: chosen.count(5),
        10: 0,
    }
    assert at[1].low > 0.9 and result.at_turn[1].accuracy.low > 0.8
    assert at[1].num_dialogues == at[1].num_turns  # one turn a dialogue
    assert at[5].value is None and result.at_turn[5].accuracy.value is None


def test_a_difference_at_one_user_turn_is_found_there():
    def late(prefix, ending):
        return [
            replace(
                dialogue,
                turns=tuple(
                    replace(t, text=t.text + ending if i == 8 else t.text) for i, t in enumerate(dialogue.turns)
                ),
            )
            for dialogue in dialogues(prefix, num=60, turns=5)
        ]

    result = compare_dialogues(
        Family.SURFACE,
        real=late("r", ""),
        others=late("s", " !!"),
        turn_budget=5,
        config=CONFIG,
        seed=0,
        embedder=ByWords(),
    )
    assert result.at_turn[5].auc.low > 0.9
    assert 0.3 < result.at_turn[1].auc.value < 0.7


def test_user_turns_alone_are_near_chance_where_only_the_chatbots_turns_fit_less():
    def talks(prefix, *, fits):
        rng = np.random.default_rng([9, ord(prefix)])
        made = []
        for number in range(40):
            turns = []
            for asked, other in zip(rng.choice(WORDS, 4), rng.choice(WORDS, 4), strict=True):
                turns.append(Turn(speaker=Speaker.CHATBOT, text=f"What about {asked}?"))
                turns.append(Turn(speaker=Speaker.USER, text=f"My {asked if fits else other} is on my mind"))
            made.append(Dialogue(id=f"{prefix}{number}", source="t", split=Split.TEST, turns=tuple(turns)))
        return made

    result = compare(talks("r", fits=True), talks("s", fits=False), Family.CONTEXT, config=PERMUTED)
    assert result.auc.low > 0.85 and result.nulls.auc.p_value == pytest.approx(1 / 20)
    assert 0.35 < result.user_only.value < 0.65
    assert compare(talks("r", fits=True), talks("s", fits=False)).user_only is None
