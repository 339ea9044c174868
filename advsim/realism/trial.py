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
from scipy.stats import t as student_t
from sklearn.base import BaseEstimator
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline

from advsim.config import HeldOutConfig
from advsim.corpus.prefixes import Prefix, user_of, user_turn_number
from advsim.models.embedder import Embedder, FloatArray
from advsim.rates.digits import digits_apart
from advsim.rates.intervals import LEVEL, MIN_CLUSTERS_FOR_BOUNDS
from advsim.realism.bootstrap import cluster_draws
from advsim.realism.controls import Control, repeated, shuffled, truncated
from advsim.realism.families import LENGTH_ONLY, Classifier, Family, TurnExample, classifier_of, user_only_classifier
from advsim.realism.folds import Bools, Ints, PreparedFold, out_of_fold, prepare_folds
from advsim.realism.permutation import Nulls, permutation_nulls
from advsim.records import Dialogue, Estimate, NextTurn

REPORTED_USER_TURNS = (1, 2, 5, 10)
"""User turn numbers at which accuracy and AUC are given on their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideScores:
    """Scores of the turns of one side, and of the same turns in bootstrap samples of users.

    Attributes:
        value: higher where the classifier takes the turn for one of the first side, shape (turns,).
        dialogue: number of each turn's dialogue within the side, from 0, shape (turns,).
        drawn_value: scores by classifiers fitted anew on each sample, shape (samples, turns).
        times_drawn: how often each turn's user is in each sample, shape (samples, turns).
    """

    value: FloatArray
    dialogue: Ints
    drawn_value: FloatArray
    times_drawn: FloatArray

    @property
    def num_dialogues(self) -> int:
        """Dialogues with a turn."""
        return int(self.dialogue.max(initial=-1)) + 1

    def only(self, kept: Bools) -> SideScores:
        """The turns that are kept, shape (turns,); dialogues are numbered anew."""
        return SideScores(
            value=self.value[kept],
            dialogue=np.unique(self.dialogue[kept], return_inverse=True)[1],
            drawn_value=self.drawn_value[:, kept],
            times_drawn=self.times_drawn[:, kept],
        )

    def by_dialogue(self) -> SideScores:
        """Mean score of each dialogue."""
        share = (self.dialogue[:, None] == np.arange(self.num_dialogues)) / np.bincount(self.dialogue)
        return SideScores(
            value=np.bincount(self.dialogue, weights=self.value) / np.bincount(self.dialogue),
            dialogue=np.arange(self.num_dialogues),
            drawn_value=self.drawn_value @ share,
            times_drawn=self.times_drawn @ share,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Out-of-fold scores of two sides.

    Intervals are 95 % Student intervals whose standard error is that of a bootstrap over users (dialogues where users
    are unknown) in which the classifiers are fitted anew on every sample and scored out of fold on the same sample
    (bootstrap of a cross-validation: Jiang, Varma and Simon 2008, doi 10.2202/1544-6115.1322). Drawing the scores of
    one fit leaves out that other users would have given another classifier: such intervals hold .5 in about 85 % of
    pairs of sets that do not differ, these in 95 to 100 % (:mod:`advsim.lab.classifiers`).

    Attributes:
        first: the real turns, or those of the first set.
        second: the others.
        even: the score of a turn that could be of either side.
        is_paired: both sides answer prefixes of the same dialogues.
    """

    first: SideScores
    second: SideScores
    even: float
    is_paired: bool

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
        """P(first higher) + P(tie) / 2; in a bootstrap sample a turn weighs as often as its user was drawn."""
        first, second = self.sides
        wins = _above(first.value[:, None], second.value)
        return self._estimate(float(wins.mean()), self._weighted_auc)

    def drawn_aucs(self) -> FloatArray:
        """AUC in each bootstrap sample of users that has turns of both sides, shape (samples,)."""
        return np.array(self._drawn(self._weighted_auc))

    def _weighted_auc(self, values: FloatArray, times: FloatArray) -> float:
        is_first = np.repeat([True, False], [len(self.first.value), len(self.second.value)])
        return float(roc_auc_score(is_first, values, sample_weight=times))

    def accuracy(self) -> Estimate:
        """Mean of the shares told right on the two sides; a score of exactly ``even`` counts one half."""
        num_first = len(self.first.value)

        def mean_share(values: FloatArray, times: FloatArray) -> float:
            right = (_above(values[:num_first], self.even), _above(self.even, values[num_first:]))
            told = [float(of @ side) for of, side in zip(right, np.split(times, [num_first]), strict=True)]
            num_turns = [float(side.sum()) for side in np.split(times, [num_first])]
            if self.is_paired:  # as many turns on both sides: one division, rounded once
                return sum(told) / sum(num_turns)
            return (told[0] / num_turns[0] + told[1] / num_turns[1]) / 2.0

        whole = np.concatenate([self.first.value, self.second.value])
        return self._estimate(mean_share(whole, np.ones(len(whole))), mean_share)

    def _estimate(self, value: float, figure_of: Callable[[FloatArray, FloatArray], float]) -> Estimate:
        low, high = self._bounds(value, figure_of)
        return Estimate(value=value, low=low, high=high, num_turns=self.num_turns, num_dialogues=self.num_dialogues)

    def _bounds(
        self, value: float, figure_of: Callable[[FloatArray, FloatArray], float]
    ) -> tuple[float, float] | tuple[None, None]:
        if min(side.num_dialogues for side in self.sides) < MIN_CLUSTERS_FOR_BOUNDS:
            return None, None
        drawn = self._drawn(figure_of)
        if len(drawn) < 2:
            return None, None
        half = student_half_width(drawn)
        return max(0.0, value - half), min(1.0, value + half)

    def _drawn(self, figure_of: Callable[[FloatArray, FloatArray], float]) -> list[float]:
        first, second = self.sides
        samples = zip(first.drawn_value, first.times_drawn, second.drawn_value, second.times_drawn, strict=True)
        return [
            figure_of(np.concatenate([v1, v2]), np.concatenate([t1, t2]))
            for v1, t1, v2, t2 in samples
            if t1.any() and t2.any()
        ]


def student_half_width(drawn: Sequence[float] | FloatArray) -> float:
    """Half of a 95 % Student interval whose standard error is that of a figure's values in bootstrap samples."""
    return float(student_t.ppf(0.5 + LEVEL / 2, len(drawn) - 1) * np.std(drawn, ddof=1))


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
        num_bootstrap: bootstrap samples of users, for which classifiers are fitted anew.
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
        inputs = classifier.represent(self.examples)
        return self.scores(inputs, classifier.estimator, prepare_folds(inputs, self.folds, classifier.estimator))

    def scores(
        self, inputs: npt.NDArray[Any], estimator: Callable[[], Pipeline], prepared: Sequence[PreparedFold]
    ) -> Scores:
        """Out-of-fold scores by estimators of ``inputs``, first axis the examples; ``prepared`` are their folds.

        Of a paired trial they are probabilities, else log-odds, of which dialogues can have a mean. A fold whose
        training examples are all of one side scores nothing.
        """
        log_odds = np.zeros(len(inputs))
        for fold in np.unique(self.folds):
            test = self.folds == fold
            if len(set(self.is_first[~test])) == 2:
                fitted = estimator().fit(inputs[~test], self.is_first[~test])
                log_odds[test] = fitted.decision_function(inputs[test])
        times = self._times_drawn()
        drawn = np.array([out_of_fold(self.is_first, prepared, estimator()[-1], weights) for weights in times])
        # Equal texts of a pair stay equal as probabilities; their log-odds can differ in the last bits.
        values, drawn_values = (expit(log_odds), expit(drawn).round(9)) if self.is_paired else (log_odds, drawn)
        names = np.array([example.dialogue.id for example in self.examples])
        first, second = (
            SideScores(
                value=values[side],
                dialogue=np.unique(names[side], return_inverse=True)[1],
                drawn_value=drawn_values[:, side],
                times_drawn=times[:, side],
            )
            for side in (self.is_first, ~self.is_first)
        )
        return Scores(first=first, second=second, even=0.5 if self.is_paired else 0.0, is_paired=self.is_paired)

    def _times_drawn(self) -> FloatArray:
        """How often each example's user is in each bootstrap sample, shape (samples, examples).

        Users of the first side only, of the second only and of both are drawn apart, each as many as there are.
        """
        user = np.unique(self.users, return_inverse=True)[1]
        on_first, on_second = (np.bincount(user, weights=side) > 0 for side in (self.is_first, ~self.is_first))
        kinds = on_first + 2 * on_second
        times = np.zeros((self.num_bootstrap, len(kinds)))
        rng = np.random.default_rng(self.seed)
        for kind in np.unique(kinds):
            members = np.flatnonzero(kinds == kind)
            times[:, members] = cluster_draws(len(members), num_samples=self.num_bootstrap, rng=rng)
        return times[:, user]

    def nulls(self, prepared: Sequence[PreparedFold], classifier: BaseEstimator, num_permutations: int) -> Nulls | None:
        """Accuracy and AUC against classifiers fitted on permuted sides."""
        return permutation_nulls(
            prepared,
            self.is_first,
            units=self.users,
            folds=self.folds,
            classifier=classifier,
            num_permutations=num_permutations,
            seed=self.seed,
        )

    def at_user_turns(self, scores: Scores) -> dict[int, Scores]:
        """Scores of the turns of each number of ``REPORTED_USER_TURNS``, which may be none."""
        numbers = np.array([user_turn_number(example.dialogue, example.turn) for example in self.examples])
        first, second = numbers[self.is_first], numbers[~self.is_first]
        return {number: scores.only(first == number, second == number) for number in REPORTED_USER_TURNS}


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
    prepared = prepare_folds(inputs, trial.folds, classifier.estimator)
    scores = trial.scores(inputs, classifier.estimator, prepared)
    power = {control.value: each.measure(classifier).auc() for control, each in controls.items()}
    auc = power[gate_control.value].value if gate_control.value in power else None
    measurable = auc is not None and auc >= config.min_control_auc
    user_only = user_only_classifier(family, embedder)
    return TrialResult(
        scores=scores,
        nulls=trial.nulls(prepared, classifier.estimator()[-1], config.num_permutations),
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
