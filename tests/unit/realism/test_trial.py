"""The core of both designs: folds, AUC and accuracy of out-of-fold scores, bounds over dialogues, the gate."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from advsim.config import HeldOutConfig
from advsim.realism.controls import Control
from advsim.realism.families import Family, TurnExample
from advsim.realism.trial import Scores, SideScores, Trial, assign_folds, dialogue_folds, run_trial
from advsim.records import Dialogue, Speaker, Split, Turn


def test_all_turns_of_a_user_are_in_one_fold():
    said = (Turn(speaker=Speaker.USER, text="hi"),)
    dialogues = [
        Dialogue(id=f"d{i:02d}", source="t", split=Split.TEST, user_id=f"u{i // 3}", turns=said) for i in range(12)
    ]
    folds = dialogue_folds(dialogues, num_folds=3, seed=0)
    assert all(len({folds[f"d{3 * user + k:02d}"] for k in range(3)}) == 1 for user in range(4))
    assert set(folds.values()) == {0, 1, 2}


def test_folds_of_two_sides_keep_users_whole_and_hold_both_sides():
    users = np.array([f"u{i // 4}" for i in range(32)])
    is_first = np.arange(32) % 8 < 4
    folds = assign_folds(list(users), num_folds=4, seed=0, is_first=is_first)
    assert all(len(set(folds[users == user])) == 1 for user in users)
    assert all(set(is_first[folds == fold]) == {True, False} for fold in range(4))


@pytest.mark.parametrize(
    ("users", "is_first"), [("aaaa", None), ("", None), ("abcd", "1000"), ("aabc", "1100"), ("abcc", "1100")]
)
def test_one_user_of_a_side_gives_no_folds(users, is_first):
    sides = None if is_first is None else np.array([side == "1" for side in is_first])
    assert assign_folds(list(users), num_folds=3, seed=0, is_first=sides) is None


def test_there_are_no_more_folds_than_users_of_a_side():
    folds = assign_folds(list("aabcdefg"), num_folds=5, seed=0, is_first=np.arange(8) < 3)
    assert set(folds) == {0, 1}


def paired_scores(p_real, dialogue):
    """Probabilities of being real, shape (2, prefixes): real turns, then the others on the same prefixes."""
    first, second = (SideScores(value=np.array(side), dialogue=np.array(dialogue)) for side in p_real)
    return Scores(first=first, second=second, even=0.5, is_paired=True, num_bootstrap=400, seed=0)


def test_auc_is_that_of_scikit_learn_ties_included():
    rng = np.random.default_rng(0)
    p_real = rng.integers(0, 5, (2, 30)) / 5
    estimate = paired_scores(p_real, np.arange(30) % 12).auc()
    assert estimate.value == pytest.approx(roc_auc_score([1] * 30 + [0] * 30, p_real.ravel()))
    assert estimate.low < estimate.value < estimate.high


def test_auc_of_a_bootstrap_sample_is_that_of_the_repeated_dialogues(monkeypatch):
    rng = np.random.default_rng(1)
    p_real, dialogue = rng.random((2, 20)), rng.permutation(np.arange(20) % 10)
    times = np.array([2, 0, 1, 1, 3, 0, 1, 1, 0, 1])
    drawn = times[None, :].astype(float)
    monkeypatch.setattr(Scores, "draws", lambda self: (drawn, drawn))
    weight = np.tile(times[dialogue], 2)
    estimate = paired_scores(p_real, dialogue).auc()
    expected = roc_auc_score([1] * 20 + [0] * 20, p_real.ravel(), sample_weight=weight)
    assert estimate.low == estimate.high == pytest.approx(expected)


def test_interval_is_wider_where_turns_of_a_dialogue_agree():
    right = np.array([[0.9] * 40 + [0.1] * 40, [0.1] * 40 + [0.9] * 40])
    widths = []
    for dialogue in (np.arange(80), np.arange(80) // 4):
        estimate = paired_scores(right, dialogue).accuracy()
        assert estimate.value == pytest.approx(0.5)
        widths.append(estimate.high - estimate.low)
    assert widths[1] > 1.5 * widths[0]


def test_a_prediction_of_one_half_counts_one_half():
    assert paired_scores([[0.5] * 10, [0.5] * 10], np.arange(10)).accuracy().value == 0.5
    assert paired_scores([[0.5] * 10, [0.1] * 10], np.arange(10)).accuracy().value == 0.75


def unpaired_scores(first, second, dialogues):
    sides = [
        SideScores(value=np.array(v), dialogue=np.array(d)) for v, d in zip((first, second), dialogues, strict=True)
    ]
    return Scores(first=sides[0], second=sides[1], even=0.0, is_paired=False, num_bootstrap=400, seed=0)


def test_sides_of_different_dialogues_are_drawn_apart_and_weigh_as_often_as_drawn(monkeypatch):
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal(20) + 0.5, rng.standard_normal(33)
    dialogues = (rng.permutation(np.arange(20) % 10), rng.permutation(np.arange(33) % 11))
    scores = unpaired_scores(first, second, dialogues)
    drawn = scores.draws()
    assert [draw.shape for draw in drawn] == [(400, 10), (400, 11)]
    times = (np.array([2, 0, 1, 1, 3, 0, 1, 1, 0, 1]), np.array([0, 1, 1, 2, 0, 3, 1, 0, 1, 1, 1]))
    monkeypatch.setattr(Scores, "draws", lambda self: tuple(side[None, :].astype(float) for side in times))
    weight = np.concatenate([side[of] for side, of in zip(times, dialogues, strict=True)])
    expected = roc_auc_score([1] * 20 + [0] * 33, np.concatenate([first, second]), sample_weight=weight)
    assert scores.auc().low == scores.auc().high == pytest.approx(expected)
    right = np.concatenate([first > 0, second < 0])
    shares = [np.average(right[:20], weights=weight[:20]), np.average(right[20:], weights=weight[20:])]
    assert scores.accuracy().low == pytest.approx(np.mean(shares))
    assert (scores.auc().num_turns, scores.auc().num_dialogues) == (53, 21)


def test_accuracy_is_the_mean_of_both_sides_whatever_their_numbers():
    scores = unpaired_scores([1.0, 1.0], [1.0] * 7 + [-1.0], ([0, 1], range(8)))
    assert scores.accuracy().value == pytest.approx((1.0 + 1 / 8) / 2)


def test_a_dialogue_has_the_mean_score_of_its_turns():
    means = unpaired_scores([1.0, -3.0, 0.5], [4.0, 0.0], ([0, 0, 1], [0, 0])).by_dialogue()
    assert (means.first.value.tolist(), means.second.value.tolist()) == ([-1.0, 0.5], [2.0])
    assert means.auc().num_turns == 3


def trial_of(texts, other_texts):
    """The user of each dialogue says one thing; on the other side something else."""
    dialogues = [
        Dialogue(id=f"d{i:02d}", source="t", split=Split.TEST, turns=(Turn(speaker=Speaker.USER, text=text),))
        for i, text in enumerate(texts)
    ]
    sides = [zip(dialogues, said, strict=True) for said in (texts, other_texts)]
    num = len(texts)
    return Trial(
        examples=[TurnExample(dialogue=dialogue, turn=0, text=text) for side in sides for dialogue, text in side],
        is_first=np.repeat([True, False], num),
        users=2 * [dialogue.id for dialogue in dialogues],
        folds=np.tile(np.arange(num) % 3, 2),
        is_paired=True,
        num_bootstrap=20,
        seed=0,
    )


PLAIN = [f"i said {number}" for number in range(12)]


@pytest.mark.parametrize(("others", "measurable"), [([text + "!!" for text in PLAIN], True), (PLAIN, False)])
def test_a_family_is_measurable_where_it_finds_its_control(others, measurable):
    result = run_trial(
        trial_of(PLAIN, PLAIN),
        Family.SURFACE,
        controls={Control.TRUNCATED: trial_of(PLAIN, others)},
        gate_control=Control.TRUNCATED,
        config=HeldOutConfig(num_permutations=0),
        embedder=None,
    )
    assert result.measurable is measurable
    assert result.gate.startswith("the surface classifier finds its control truncated with AUC ")
    assert result.gate.endswith("(>= 0.85)" if measurable else "(< 0.85)")
    assert result.scores.auc().value == 0.5 and result.nulls is None and result.user_only is None


def test_an_auc_just_under_the_least_that_counts_is_shown_to_be_so():
    result = run_trial(
        trial_of(PLAIN, PLAIN),
        Family.SURFACE,
        controls={Control.TRUNCATED: trial_of(PLAIN, PLAIN)},
        gate_control=Control.TRUNCATED,
        config=HeldOutConfig(num_permutations=0, min_control_auc=0.5004),
        embedder=None,
    )
    assert not result.measurable and result.gate.endswith("with AUC 0.5000 (< 0.5004)")


def test_a_family_without_its_control_is_not_measurable():
    result = run_trial(
        trial_of(PLAIN, PLAIN),
        Family.SURFACE,
        controls={Control.REPEATED: trial_of(PLAIN, [text + "!!" for text in PLAIN])},
        gate_control=Control.TRUNCATED,
        config=HeldOutConfig(num_permutations=0),
        embedder=None,
    )
    assert not result.measurable and "not tried on its control truncated" in result.gate
    assert set(result.power) == {"repeated"}
