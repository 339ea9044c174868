"""Free dialogues of two sets of users."""

import warnings

import numpy as np
import pytest

from advsim.config import HeldOutConfig
from advsim.evaluate.families import Family
from advsim.evaluate.two_sample import compare_dialogues
from advsim.records import Dialogue, Speaker, Split, Turn

CONFIG = HeldOutConfig(num_folds=3, num_bootstrap=100)
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


def compare(real, others, family=Family.SURFACE):
    return compare_dialogues(
        family, real=real, others=others, turn_budget=4, config=CONFIG, seed=0, embedder=ByWords(), max_turns=80
    )


def test_users_who_type_otherwise_are_told_apart_by_turn_and_by_dialogue():
    found = compare(dialogues("r"), dialogues("s", ending=" !!"))
    assert found.auc.low > 0.9
    assert found.auc_dialogue.value > 0.95


def test_users_of_one_kind_are_near_chance_and_the_control_shows_the_power():
    found = [compare(dialogues("r", seed=seed), dialogues("s", seed=seed)) for seed in range(6)]
    assert np.mean([one.auc.value for one in found]) == pytest.approx(0.5, abs=0.07)
    assert sum(one.auc.low < 0.5 < one.auc.high for one in found) >= 4
    assert all(one.measurable and one.power["truncated"].value > 0.85 for one in found)


@pytest.mark.parametrize("family", Family)
def test_a_file_against_itself_is_at_chance_and_not_under_it(family):
    real = dialogues("r")
    assert compare(real, real, family).auc.value == pytest.approx(0.5, abs=0.03)


def test_both_sides_give_equally_many_turns_from_the_first_so_many():
    found = compare(dialogues("r", num=40, turns=9), dialogues("s", num=10, turns=3))
    assert found.auc.num_turns == 60
    assert found.turn_budget == 4


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(("num_real", "num_others"), [(0, 0), (1, 24), (24, 1), (2, 2)])
def test_few_dialogues_give_no_bounds_and_no_warning(family, num_real, num_others):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = compare(dialogues("r", num=num_real), dialogues("s", num=num_others), family)
    assert found.auc.low is None
    assert (found.auc.value is None) == (min(num_real, num_others) < 2)
