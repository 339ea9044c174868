"""Core of the classifier two-sample tests: fit out of fold, AUC and accuracy with bounds, controls, gate.

Two designs stand on it. In the paired one (:mod:`advsim.realism.next_turns`) both sides answer the same prefixes; in
the unpaired one (:mod:`advsim.realism.free_dialogues`) they are turns of different dialogues. Controls are always
paired: real turns against others on the same prefixes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import Pipeline

from advsim.config import HeldOutConfig
from advsim.corpus.prefixes import Prefix, user_of, user_turn_number
from advsim.models.embedder import Embedder, FloatArray
from advsim.rates.digits import digits_apart
from advsim.rates.intervals import MIN_CLUSTERS_FOR_BOUNDS
from advsim.realism.bootstrap import cluster_draws, percentile_bounds
from advsim.realism.controls import Control, repeated, shuffled, truncated
from advsim.realism.families import LENGTH_ONLY, Classifier, Family, TurnExample, classifier_of, user_only_classifier
from advsim.realism.permutation import Bools, Ints, Nulls, permutation_nulls
from advsim.records import Dialogue, Estimate, NextTurn

REPORTED_USER_TURNS = (1, 2, 5, 10)
"""User turn numbers at which accuracy and AUC are given on their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideScores:
    """Scores of the turns of one side.

    Attributes:
        value: higher where the classifier takes the turn for one of the first side, shape (turns,).
        dialogue: number of each turn's dialogue within the side, from 0, shape (turns,).
    """

    value: FloatArray
    dialogue: Ints

    @property
    def num_dialogues(self) -> int:
        """Dialogues with a turn."""
        return int(self.dialogue.max(initial=-1)) + 1

    def only(self, kept: Bools) -> SideScores:
        """The turns that are kept, shape (turns,); dialogues are numbered anew."""
        return SideScores(value=self.value[kept], dialogue=np.unique(self.dialogue[kept], return_inverse=True)[1])

    def by_dialogue(self) -> SideScores:
        """Mean score of each dialogue."""
        mean = np.bincount(self.dialogue, weights=self.value) / np.bincount(self.dialogue)
        return SideScores(value=mean, dialogue=np.arange(len(mean)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Out-of-fold scores of two sides. Intervals are 95 % percentile intervals of a bootstrap over dialogues.

    Attributes:
        first: the real turns, or those of the first set.
        second: the others.
        even: the score of a turn that could be of either side.
        is_paired: both sides answer prefixes of the same dialogues, which a bootstrap sample draws together.
        num_bootstrap: bootstrap samples.
        seed: of the samples.
    """

    first: SideScores
    second: SideScores
    even: float
    is_paired: bool
    num_bootstrap: int
    seed: int

    @property
    def sides(self) -> tuple[SideScores, SideScores]:
        """First and second side."""
        return self.first, self.second

    @property
    def num_turns(self) -> int:
        """Turns of both sides."""
        return sum(len(side.value) for side in self.sides)

    @property
    def num_dialogues(self) -> int:
        """Dialogues; those of a paired trial, which are on both sides, count once."""
        return self.first.num_dialogues if self.is_paired else sum(side.num_dialogues for side in self.sides)

    def only(self, first: Bools, second: Bools) -> Scores:
        """The turns of each side that are kept."""
        return replace(self, first=self.first.only(first), second=self.second.only(second))

    def by_dialogue(self) -> Scores:
        """Mean score of each dialogue, in place of its turns."""
        return replace(self, first=self.first.by_dialogue(), second=self.second.by_dialogue())

    def auc(self) -> Estimate:
        """P(first higher) + P(tie) / 2; in a bootstrap sample a turn weighs as often as its dialogue was drawn."""
        first, second = self.sides
        wins = _above(first.value[:, None], second.value)
        shape = (first.num_dialogues, second.num_dialogues)
        cell = np.ravel_multi_index((first.dialogue[:, None], second.dialogue), shape)
        won_between = np.bincount(cell.ravel(), weights=wins.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
        draws = self.draws()
        won = np.einsum("bd,bd->b", draws[0] @ won_between, draws[1])
        num_turns = [draw @ np.bincount(side.dialogue) for draw, side in zip(draws, self.sides, strict=True)]
        return self._estimate(float(wins.mean()), won / (num_turns[0] * num_turns[1]))

    def accuracy(self) -> Estimate:
        """Mean of the shares told right on the two sides; a score of exactly ``even`` counts one half."""
        right = (_above(self.first.value, self.even), _above(self.even, self.second.value))
        num_right = [np.bincount(s.dialogue, weights=told) for s, told in zip(self.sides, right, strict=True)]
        num_turns = [np.bincount(side.dialogue) for side in self.sides]

        def mean_share(draws: Sequence[FloatArray]) -> FloatArray:
            told = [draw @ counts for draw, counts in zip(draws, num_right, strict=True)]
            of = [draw @ counts for draw, counts in zip(draws, num_turns, strict=True)]
            if self.is_paired:  # as many turns on both sides: one division, rounded once
                return (told[0] + told[1]) / (of[0] + of[1])
            return (told[0] / of[0] + told[1] / of[1]) / 2.0

        whole = mean_share([np.ones((1, side.num_dialogues)) for side in self.sides])
        return self._estimate(float(whole[0]), mean_share(self.draws()))

    def draws(self) -> tuple[FloatArray, FloatArray]:
        """How often each dialogue of each side is in each bootstrap sample, shape (samples, dialogues)."""
        rng = np.random.default_rng(self.seed)
        first = cluster_draws(self.first.num_dialogues, num_samples=self.num_bootstrap, rng=rng)
        if self.is_paired:
            return first, first
        return first, cluster_draws(self.second.num_dialogues, num_samples=self.num_bootstrap, rng=rng)

    def _estimate(self, value: float, drawn: FloatArray) -> Estimate:
        low, high = percentile_bounds(drawn)
        enough = min(side.num_dialogues for side in self.sides) >= MIN_CLUSTERS_FOR_BOUNDS
        return Estimate(
            value=value,
            low=low if enough else None,
            high=high if enough else None,
            num_turns=self.num_turns,
            num_dialogues=self.num_dialogues,
        )


def _above(left: FloatArray | float, right: FloatArray | float) -> FloatArray:
    """1 where left is greater, one half where they are equal."""
    return np.where(np.greater(left, right), 1.0, np.where(np.equal(left, right), 0.5, 0.0))


def no_estimate(*, num_turns: int, num_dialogues: int) -> Estimate:
    """A figure that could not be measured."""
    return Estimate(value=None, low=None, high=None, num_turns=num_turns, num_dialogues=num_dialogues)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Two sides of turns and their folds, on which classifiers are fitted.

    Attributes:
        examples: turns of the first side, then of the second.
        is_first: side of each, shape (examples,).
        users: user of each (dialogue where unknown); all turns of a user are in one fold.
        folds: fold of each, shape (examples,).
        is_paired: the sides answer the same prefixes, in the same order.
        num_bootstrap: bootstrap samples.
        seed: of bootstrap and permutations.
    """

    examples: Sequence[TurnExample]
    is_first: Bools
    users: Sequence[str]
    folds: Ints
    is_paired: bool
    num_bootstrap: int
    seed: int

    def measure(self, classifier: Classifier) -> Scores:
        """Out-of-fold scores of a fresh classifier."""
        return self.scores(classifier.represent(self.examples), classifier.estimator)

    def scores(self, inputs: npt.NDArray[Any], estimator: Callable[[], Pipeline]) -> Scores:
        """Out-of-fold scores by estimators of ``inputs``, first axis the examples.

        Of a paired trial they are probabilities, else log-odds, of which dialogues can have a mean. A fold whose
        training examples are all of one side scores nothing.
        """
        log_odds = np.zeros(len(inputs))
        for fold in np.unique(self.folds):
            test = self.folds == fold
            if len(set(self.is_first[~test])) == 2:
                fitted = estimator().fit(inputs[~test], self.is_first[~test])
                log_odds[test] = fitted.decision_function(inputs[test])
        # Equal texts of a pair stay equal as probabilities; their log-odds can differ in the last bit.
        values = expit(log_odds) if self.is_paired else log_odds
        names = np.array([example.dialogue.id for example in self.examples])
        first, second = (
            SideScores(value=values[side], dialogue=np.unique(names[side], return_inverse=True)[1])
            for side in (self.is_first, ~self.is_first)
        )
        return Scores(
            first=first,
            second=second,
            even=0.5 if self.is_paired else 0.0,
            is_paired=self.is_paired,
            num_bootstrap=self.num_bootstrap,
            seed=self.seed,
        )

    def nulls(self, inputs: npt.NDArray[Any], estimator: Callable[[], Pipeline], num_permutations: int) -> Nulls | None:
        """Accuracy and AUC against classifiers fitted on permuted sides."""
        return permutation_nulls(
            inputs,
            self.is_first,
            units=self.users,
            folds=self.folds,
            estimator=estimator,
            num_permutations=num_permutations,
            seed=self.seed,
        )

    def at_user_turns(self, scores: Scores) -> dict[int, Scores]:
        """Scores of the turns of each number of ``REPORTED_USER_TURNS``, which may be none."""
        numbers = np.array([user_turn_number(example.dialogue, example.turn) for example in self.examples])
        first, second = numbers[self.is_first], numbers[~self.is_first]
        return {number: scores.only(first == number, second == number) for number in REPORTED_USER_TURNS}


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
class Pairing:
    """Real turns against others on the same prefixes, always on the same folds.

    Attributes:
        dialogues: the real dialogues, by id.
        folds: fold of each, by id.
        num_bootstrap: bootstrap samples.
        seed: of controls, bootstrap and permutations.
    """

    dialogues: Mapping[str, Dialogue]
    folds: Mapping[str, int]
    num_bootstrap: int
    seed: int

    def trial(self, turns: Sequence[NextTurn]) -> Trial:
        """The real turns against these, each on its prefix."""
        others = [TurnExample(dialogue=self.dialogues[t.dialogue_id], turn=t.turn, text=t.text) for t in turns]
        real = [replace(example, text=example.dialogue.turns[example.turn].text) for example in others]
        return Trial(
            examples=[*real, *others],
            is_first=np.repeat([True, False], len(turns)),
            users=2 * [user_of(example.dialogue) for example in others],
            folds=np.tile([self.folds[turn.dialogue_id] for turn in turns], 2),
            is_paired=True,
            num_bootstrap=self.num_bootstrap,
            seed=self.seed,
        )

    def controls(self, prefixes: Sequence[Prefix]) -> dict[Control, Sequence[NextTurn]]:
        """Turns of every control that real dialogues give, on the prefixes that it can answer."""
        return {
            Control.SHUFFLED: shuffled(self.dialogues, prefixes, within=self.folds, seed=self.seed),
            Control.REPEATED: repeated(self.dialogues, prefixes),
            Control.TRUNCATED: truncated(self.dialogues, prefixes),
        }

    def control_trials(self, controls: Mapping[Control, Sequence[NextTurn]]) -> dict[Control, Trial]:
        """The trial of every control whose turns are in two folds at least."""
        return {
            control: self.trial(turns)
            for control, turns in controls.items()
            if len({self.folds[turn.dialogue_id] for turn in turns}) > 1
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """Results of one family of classifiers on a trial.

    Attributes:
        scores: of the family.
        nulls: accuracy and AUC against permuted sides; None where ``num_permutations`` is 0.
        length_only: scores of a logistic regression on characters and words alone.
        user_only: scores of the family where it is not shown the chatbot's turns; None for SURFACE, which never is.
        power: AUC of the family on each control.
        measurable: whether the family finds the control that it must, with at least ``min_control_auc``.
        gate: one phrase saying so.
    """

    scores: Scores
    nulls: Nulls | None
    length_only: Scores
    user_only: Scores | None
    power: Mapping[str, Estimate]
    measurable: bool
    gate: str


def run_trial(
    trial: Trial,
    family: Family,
    *,
    controls: Mapping[Control, Trial],
    gate_control: Control,
    config: HeldOutConfig,
    embedder: Embedder,
) -> TrialResult:
    """Fit fresh classifiers of one family on a trial and on its controls."""
    classifier = classifier_of(family, embedder)
    inputs = classifier.represent(trial.examples)
    scores = trial.scores(inputs, classifier.estimator)
    power = {control.value: each.measure(classifier).auc() for control, each in controls.items()}
    auc = power[gate_control.value].value if gate_control.value in power else None
    measurable = auc is not None and auc >= config.min_control_auc
    user_only = user_only_classifier(family, embedder)
    return TrialResult(
        scores=scores,
        nulls=trial.nulls(inputs, classifier.estimator, config.num_permutations),
        length_only=trial.measure(LENGTH_ONLY),
        user_only=None if user_only is None else trial.measure(user_only),
        power=power,
        measurable=measurable,
        gate=untried_gate(family, gate_control)
        if auc is None
        else f"the {family} classifier finds its control {gate_control} with {_against(auc, config.min_control_auc)}",
    )


def _against(auc: float, least: float) -> str:
    """The AUC on the control beside the least that counts."""
    digits = 2 if auc >= least else digits_apart(auc, least)
    return f"AUC {auc:.{digits}f} ({'>=' if auc >= least else '<'} {least:.{digits}f})"


def untried_gate(family: Family, control: Control) -> str:
    """The phrase that says that a family was not tried on the control that it must find."""
    return f"the {family} classifier was not tried on its control {control}"
