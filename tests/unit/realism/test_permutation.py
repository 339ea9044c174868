"""Permutation null of the classifiers: right under no difference, small p where there is one, units kept whole."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from advsim.realism.families import scalar_estimator, surface_estimator
from advsim.realism.folds import prepare_folds
from advsim.realism.permutation import permutation_nulls, relabelled

NUM_UNITS, NUM_TURNS = 24, 4


def design(*, num_units=NUM_UNITS, num_turns=NUM_TURNS):
    """Labels, units and folds: half of the units on each side, ``num_turns`` examples each."""
    units = np.repeat(np.arange(num_units), num_turns)
    return units % 2 == 0, units, units // 2 % 3


def nulls(inputs, labels, units, folds, *, num_permutations=39, seed=0, estimator=scalar_estimator):
    return permutation_nulls(
        prepare_folds(inputs, folds, estimator),
        labels,
        units=[f"u{unit}" for unit in units],
        folds=folds,
        classifier=estimator()[-1],
        num_permutations=num_permutations,
        seed=seed,
    )


def test_without_a_difference_p_is_spread_evenly():
    labels, units, folds = design()
    p_values = []
    for seed in range(12):
        inputs = np.random.default_rng([seed, 7]).standard_normal((len(labels), 2))
        p_values.append(nulls(inputs, labels, units, folds, num_permutations=19, seed=seed).auc.p_value)
    assert 0.3 < np.mean(p_values) < 0.7
    assert min(p_values) < 0.35 and max(p_values) > 0.65


def test_null_is_wider_where_turns_of_a_user_are_alike():
    labels, units, folds = design(num_turns=8)
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((len(labels), 2)) + 2.0 * rng.standard_normal((NUM_UNITS, 2))[units]
    by_user = nulls(inputs, labels, units, folds)
    by_turn = nulls(inputs, labels, np.arange(len(labels)), folds)
    assert by_user.auc.high > by_turn.auc.high + 0.04
    assert by_user.accuracy.high > by_turn.accuracy.high + 0.04


def test_a_clear_difference_has_the_least_p_that_there_is():
    labels, units, folds = design()
    inputs = np.random.default_rng(0).standard_normal((len(labels), 2)) + 2.0 * labels[:, None]
    null = nulls(inputs, labels, units, folds)
    assert null.auc.p_value == null.accuracy.p_value == pytest.approx(1 / 40)
    assert 0.5 < null.auc.high < 0.8 and 0.5 < null.accuracy.high < 0.8
    assert null.auc.num_permutations == 39


def test_identical_examples_have_p_1():
    labels, units, folds = design()
    null = nulls(np.ones((len(labels), 2)), labels, units, folds)
    assert null.auc.p_value == null.accuracy.p_value == 1.0
    assert null.auc.high == null.accuracy.high == 0.5


def test_no_permutations_give_no_null():
    labels, units, folds = design()
    assert nulls(np.ones((len(labels), 2)), labels, units, folds, num_permutations=0) is None


def test_users_on_both_sides_exchange_them_as_a_whole():
    units = np.repeat(np.arange(8), 6)
    labels, folds = np.tile([True, True, False], 16), units % 2
    rng = np.random.default_rng(0)
    draws = np.array([relabelled(labels, units=units, folds=folds, rng=rng) for _ in range(200)])
    exchanged = (draws != labels).reshape(200, 8, 6)
    assert (exchanged.all(axis=2) | ~exchanged.any(axis=2)).all()
    assert 0.4 < exchanged.mean() < 0.6


def test_users_on_one_side_stay_whole_and_keep_the_numbers_of_each_fold():
    labels, units, folds = design()
    rng = np.random.default_rng(0)
    draws = np.array([relabelled(labels, units=units, folds=folds, rng=rng) for _ in range(100)])
    by_unit = draws.reshape(100, NUM_UNITS, NUM_TURNS)
    assert (by_unit == by_unit[:, :, :1]).all()
    for fold in range(3):
        assert (draws[:, folds == fold].sum(axis=1) == labels[folds == fold].sum()).all()
    assert len(np.unique(draws, axis=0)) > 90


def test_wide_inputs_are_rotated_without_changing_what_a_linear_classifier_says():
    rng = np.random.default_rng(0)
    words = ["sleep", "work", "exam", "alone", "tired", "maybe"]
    texts = np.array([" ".join(rng.choice(words, 5)) + "!?"[number % 2] for number in range(40)], dtype=object)
    labels, test = np.arange(40) % 4 < 2, np.arange(40) >= 30
    pipeline = surface_estimator()
    plain = pipeline.set_params(logisticregression__tol=1e-8).fit(texts[~test], labels[~test])
    fold = next(fold for fold in prepare_folds(texts, test, surface_estimator) if fold.test[-1])
    assert fold.train_inputs.shape == (30, 30)
    fitted = LogisticRegression(C=10.0, tol=1e-8, max_iter=2000, class_weight="balanced")
    fitted.fit(fold.train_inputs, labels[~test])
    assert fitted.decision_function(fold.test_inputs) == pytest.approx(plain.decision_function(texts[test]), abs=1e-4)


def test_unequal_numbers_of_turns_leave_the_null_of_accuracy_at_one_half():
    units = np.concatenate([np.arange(40), np.repeat(np.arange(40, 50), 4)])
    labels, folds = units < 40, units % 5
    inputs = np.random.default_rng(3).standard_normal((80, 2))
    null = nulls(inputs, labels, units, folds, estimator=weak_penalty)
    assert 0.53 < null.accuracy.high < 0.7 and 0.53 < null.auc.high < 0.7


def weak_penalty():
    return make_pipeline(StandardScaler(), LogisticRegression(C=10.0, class_weight="balanced"))
