"""Folds of the cross-validations, and classifiers fitted and scored out of fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import KernelPCA
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import Pipeline

from advsim.corpus.prefixes import user_of
from advsim.models.embedder import FloatArray
from advsim.records import Dialogue

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]


def assign_folds(users: Sequence[str], *, num_folds: int, seed: int, is_first: Bools | None = None) -> Ints | None:
    """Folds of a cross-validation, all items of a user in one.

    Args:
        users: user of each item.
        num_folds: at most; there are no more than users, or than users of either side.
        seed: of the shuffle.
        is_first: side of each item, shape (items,): every fold then has both sides in like shares. None: an item stands
            for both sides.

    Returns:
        Shape (items,); None where there are fewer than two users, or than two of a side.
    """
    sides = [users] if is_first is None else [np.array(users)[side] for side in (is_first, ~is_first)]
    num_splits = min(num_folds, *(len(set(side)) for side in sides))
    if num_splits < 2:
        return None
    splitter = (GroupKFold if is_first is None else StratifiedGroupKFold)(
        n_splits=num_splits, shuffle=True, random_state=seed
    )
    folds = np.zeros(len(users), dtype=np.intp)
    for fold, (_, test) in enumerate(splitter.split(np.zeros(len(users)), is_first, groups=users)):
        folds[test] = fold
    return folds


def dialogue_folds(dialogues: Sequence[Dialogue], *, num_folds: int, seed: int) -> dict[str, int]:
    """Fold of each dialogue, by id; all dialogues of a user in one. Empty where there are fewer than two users."""
    users = dict(sorted((dialogue.id, user_of(dialogue)) for dialogue in dialogues))
    folds = assign_folds(list(users.values()), num_folds=num_folds, seed=seed)
    return {} if folds is None else dict(zip(users, folds.tolist(), strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedFold:
    """Inputs of one fold, made without labels: ``test`` of shape (examples,); inputs of shape (rows, dimensions)."""

    test: Bools
    train_inputs: FloatArray
    test_inputs: FloatArray


def prepare_folds(inputs: npt.NDArray[Any], folds: Ints, estimator: Callable[[], Pipeline]) -> list[PreparedFold]:
    """All steps of a pipeline but the last, which read no label, computed once a fold.

    Inputs with more columns than rows are rotated into as many dimensions as there are rows, which changes no linear
    classifier with an L2 penalty. A classifier can then be fitted many times in little time.

    Args:
        inputs: first axis the examples.
        folds: fold of each example, shape (examples,).
        estimator: a pipeline that ends in a linear classifier.
    """
    return [_prepare(inputs, folds == fold, estimator()[:-1]) for fold in np.unique(folds)]


def _prepare(inputs: npt.NDArray[Any], test: Bools, label_blind: Pipeline) -> PreparedFold:
    train_inputs = label_blind.fit_transform(inputs[~test])
    test_inputs = label_blind.transform(inputs[test])
    num_rows, num_columns = train_inputs.shape
    if num_columns > num_rows:
        rotation = KernelPCA(num_rows, kernel="linear", eigen_solver="dense")
        train_inputs = rotation.fit_transform(train_inputs)
        test_inputs = rotation.transform(test_inputs)
    return PreparedFold(test=test, train_inputs=train_inputs, test_inputs=test_inputs)


def out_of_fold(
    labels: Bools, prepared: Sequence[PreparedFold], classifier: BaseEstimator, weights: FloatArray | None = None
) -> FloatArray:
    """Log-odds by fresh classifiers fitted on the other folds, shape (examples,).

    A fold whose training examples are all of one side scores nothing: 0.

    Args:
        labels: shape (examples,).
        prepared: the folds' inputs.
        classifier: unfitted; cloned for each fold.
        weights: of the examples, shape (examples,); those of weight 0 are not trained on. None: all weigh 1.
    """
    log_odds = np.zeros(len(labels))
    for fold in prepared:
        weigh = None if weights is None else weights[~fold.test]
        kept = np.arange(len(fold.train_inputs)) if weigh is None else np.flatnonzero(weigh)
        given = labels[~fold.test][kept]
        if given.any() and not given.all():
            fitted = clone(classifier).fit(
                fold.train_inputs[kept], given, sample_weight=None if weigh is None else weigh[kept]
            )
            log_odds[fold.test] = fitted.decision_function(fold.test_inputs)
    return log_odds
