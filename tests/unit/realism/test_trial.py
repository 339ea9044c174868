"""The core of both designs: folds, AUC and accuracy of out-of-fold scores, bounds over dialogues, the gate."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from advsim.config import HeldOutConfig
from advsim.realism.controls import Control
from advsim.realism.families import Family, TurnExample, scalar_estimator
from advsim.realism.folds import assign_folds, dialogue_folds, prepare_folds
from advsim.realism.trial import Scores, SideScores, Trial, run_trial
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


def side_of(value, dialogue, drawn_value=None, times_drawn=None):
    value, dialogue = np.array(value, dtype=float), np.array(dialogue)
    drawn = np.tile(value, (3, 1)) if drawn_value is None else drawn_value
    times = np.ones((3, len(value))) if times_drawn is None else times_drawn
    return SideScores(value=value, dialogue=dialogue, drawn_value=drawn, times_drawn=times)


def paired_scores(p_real, dialogue, drawn=(None, None), times=None):
    """Probabilities of being real, shape (2, prefixes): real turns, then the others on the same prefixes."""
    first, second = (side_of(side, dialogue, new, times) for side, new in zip(p_real, drawn, strict=True))
    return Scores(first=first, second=second, even=0.5, is_paired=True)


def test_auc_is_that_of_scikit_learn_ties_included():
    p_real = np.random.default_rng(0).integers(0, 5, (2, 30)) / 5
    estimate = paired_scores(p_real, np.arange(30) % 12).auc()
    assert estimate.value == pytest.approx(roc_auc_score([1] * 30 + [0] * 30, p_real.ravel()))


def test_the_interval_is_student_s_with_the_spread_of_the_figures_of_the_samples():
    rng = np.random.default_rng(1)
    p_real, dialogue = rng.random((2, 20)), rng.permutation(np.arange(20) % 10)
    drawn = rng.random((2, 6, 20))
    times = rng.integers(0, 4, (6, 10)).astype(float)[:, dialogue]
    scores = paired_scores(p_real, dialogue, drawn, times)
    is_first = [1] * 20 + [0] * 20
    aucs = [
        roc_auc_score(is_first, drawn[:, sample].ravel(), sample_weight=np.tile(times[sample], 2))
        for sample in range(6)
    ]
    half = 2.570582 * np.std(aucs, ddof=1)  # 97.5 % of Student's t with 5 degrees of freedom
    auc = scores.auc()
    assert (auc.low, auc.high) == pytest.approx((max(0, auc.value - half), min(1, auc.value + half)))
    shares = [
        np.average(np.concatenate([drawn[0, k] > 0.5, drawn[1, k] < 0.5]), weights=np.tile(times[k], 2))
        for k in range(6)
    ]
    half = 2.570582 * np.std(shares, ddof=1)
    accuracy = scores.accuracy()
    assert (accuracy.low, accuracy.high) == pytest.approx(
        (max(0, accuracy.value - half), min(1, accuracy.value + half))
    )


def noise_trial(seed, *, num_users, num_turns, noise):
    """Users of two sides who do not differ; turns of a user are alike."""
    rng = np.random.default_rng(seed)
    users = [f"u{number // num_turns:03d}" for number in range(2 * num_users * num_turns)]
    inputs = np.repeat(rng.standard_normal((2 * num_users, 12)), num_turns, axis=0)
    inputs += noise * rng.standard_normal(inputs.shape)
    is_first = np.arange(len(users)) < num_users * num_turns
    dialogues = {user: Dialogue(id=user, source="t", split=Split.TEST, turns=()) for user in set(users)}
    trial = Trial(
        examples=[TurnExample(dialogue=dialogues[user], turn=0, text="") for user in users],
        is_first=is_first,
        users=users,
        folds=assign_folds(users, num_folds=5, seed=seed, is_first=is_first),
        is_paired=False,
        num_bootstrap=25,
        seed=seed,
    )
    return trial, inputs


def test_the_interval_holds_one_half_where_users_do_not_differ():
    held = 0
    for seed in range(40):
        trial, inputs = noise_trial(seed, num_users=12, num_turns=5, noise=0.7)
        auc = trial.scores(inputs, scalar_estimator, prepare_folds(inputs, trial.folds, scalar_estimator)).auc()
        held += auc.low <= 0.5 <= auc.high
    assert held >= 36  # drawing the scores of one fit holds it in 28 of these


def test_intervals_are_wider_where_turns_of_a_user_are_alike():
    widths = []
    for noise in (0.2, 20.0):
        trial, inputs = noise_trial(0, num_users=12, num_turns=8, noise=noise)
        auc = trial.scores(inputs, scalar_estimator, prepare_folds(inputs, trial.folds, scalar_estimator)).auc()
        widths.append(auc.high - auc.low)
    assert widths[0] > 1.5 * widths[1]


def test_users_of_either_side_are_drawn_apart_and_all_turns_of_a_user_together():
    trial, _ = noise_trial(0, num_users=6, num_turns=4, noise=1.0)
    times = trial._times_drawn()
    assert times.shape == (25, 48) and times.std() > 0
    assert (times.reshape(25, 12, 4) == times.reshape(25, 12, 4)[:, :, :1]).all()
    assert (times[:, :24].sum(axis=1) == 24).all() and (times[:, 24:].sum(axis=1) == 24).all()


def test_a_prediction_of_one_half_counts_one_half():
    assert paired_scores([[0.5] * 10, [0.5] * 10], np.arange(10)).accuracy().value == 0.5
    assert paired_scores([[0.5] * 10, [0.1] * 10], np.arange(10)).accuracy().value == 0.75


def unpaired_scores(first, second, dialogues):
    sides = [side_of(values, of) for values, of in zip((first, second), dialogues, strict=True)]
    return Scores(first=sides[0], second=sides[1], even=0.0, is_paired=False)


def test_accuracy_is_the_mean_of_both_sides_whatever_their_numbers():
    scores = unpaired_scores([1.0, 1.0], [1.0] * 7 + [-1.0], ([0, 1], range(8)))
    assert scores.accuracy().value == pytest.approx((1.0 + 1 / 8) / 2)


def test_a_dialogue_has_the_mean_score_of_its_turns():
    means = unpaired_scores([1.0, -3.0, 0.5], [4.0, 0.0], ([0, 0, 1], [0, 0])).by_dialogue()
    assert (means.first.value.tolist(), means.second.value.tolist()) == ([-1.0, 0.5], [2.0])
    assert means.auc().num_turns == 3
    assert means.first.drawn_value.tolist() == [[-1.0, 0.5]] * 3


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
