"""Realism: can a classifier that was never trained against tell simulated user turns from real ones?

Classifier two-sample test (arXiv 1610.06545) on next turns: for the same real prefix there is the real user turn and a
simulated one, so that the chatbot's turns are the same on both sides and only the user's differs. Every result carries
the classifier's power on controls that a reader knows are not real; near chance counts only for a classifier that finds
its control.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline

from advsim.config import HeldOutConfig
from advsim.corpus.prefixes import Prefix, user_of, user_turn_number
from advsim.models.embedder import Embedder
from advsim.realism.controls import Control, repeated, shuffled, truncated
from advsim.realism.families import (
    Example,
    Family,
    context_inputs,
    length_inputs,
    scalar_estimator,
    surface_estimator,
    surface_inputs,
    user_only_inputs,
)
from advsim.realism.permutation import Nulls, permutation_nulls
from advsim.records import Dialogue, Estimate, NextTurn, user_turns

GATE_CONTROL: Mapping[Family, Control] = {Family.SURFACE: Control.ZERO_SHOT, Family.CONTEXT: Control.SHUFFLED}
"""The control that a family must find to be measurable. SURFACE cannot see shuffled turns, whose surface is perfect:
the base model's turns are the difference that it is there for. CONTEXT is there for coherence."""

REPORTED_USER_TURNS = (1, 2, 5, 10)
"""User turn numbers at which accuracy and AUC are given on their own."""

MIN_DIALOGUES_FOR_BOUNDS = 10
"""A cluster bootstrap over fewer dialogues gives no interval worth printing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierResult:
    """What one family of classifiers found. ``num_turns`` of an estimate counts real and not-real turns together.

    Intervals are 95 % percentile intervals of a bootstrap over dialogues of the out-of-fold predictions: they carry the
    choice of the dialogues, not that of the folds. Where every prediction is right they have no width.

    Attributes:
        family: the family.
        accuracy: share of turns told right, real against simulated; .5 is chance.
        auc: area under the ROC curve a turn, real against simulated.
        accuracy_at_turn: accuracy at the user turn numbers of ``REPORTED_USER_TURNS`` that exist.
        auc_at_turn: AUC at the same.
        nulls: accuracy and AUC against classifiers fitted on permuted labels: the real and the simulated turns of a
            user (of a dialogue where users are unknown) are exchanged or not, all of them together
            (:mod:`advsim.realism.permutation`). None where ``num_permutations`` is 0.
        power: AUC a turn of the same family fitted on real turns against each control, on the same folds.
        length_only: accuracy of a logistic regression on the turn's characters and words alone.
        user_only: accuracy of the same family where it is not shown the chatbot's turns; None for SURFACE, which never
            is.
        measurable: whether the family finds its control (``GATE_CONTROL``) with at least ``min_control_auc``.
        gate: one phrase saying so.
        num_prefixes: prefixes with a simulated turn.
        notes: what could not be measured, and why.
    """

    family: Family
    accuracy: Estimate
    auc: Estimate
    accuracy_at_turn: Mapping[int, Estimate]
    auc_at_turn: Mapping[int, Estimate]
    nulls: Nulls | None
    power: Mapping[str, Estimate]
    length_only: Estimate
    user_only: Estimate | None
    measurable: bool
    gate: str
    num_prefixes: int
    notes: tuple[str, ...] = ()


def measure_realism(
    family: Family,
    *,
    dialogues: Sequence[Dialogue],
    simulated: Sequence[NextTurn],
    zero_shot: Sequence[NextTurn],
    config: HeldOutConfig,
    seed: int,
    embedder: Embedder,
) -> ClassifierResult:
    """Fit fresh classifiers of one family on real against simulated next turns, and on real turns against controls.

    Cross-validation is grouped by user (by dialogue where users are unknown); the real and the not-real turn of a
    prefix are in the same fold. A simulated turn of the same text as the real one carries no information: the pair
    stays, and counts one right and one wrong. A prediction of exactly .5 counts one half.

    Args:
        family: SURFACE or CONTEXT.
        dialogues: the real held-out dialogues; those that ``simulated`` does not name are not used.
        simulated: the simulator's turns, at most one a prefix.
        zero_shot: the base model's turns on the same prefixes; may be empty. Turns on other prefixes are not used.
        config: folds, bootstrap samples, permutations and the least AUC on the control.
        seed: of folds, exchange of turns, bootstrap and permutations.
        embedder: read by CONTEXT only.

    Raises:
        ValueError: a turn names an unknown dialogue or no user turn, or a prefix has two simulated turns.
    """
    by_id = {dialogue.id: dialogue for dialogue in dialogues}
    prefixes = _prefixes_of(simulated, by_id)
    _prefixes_of(zero_shot, by_id)
    folds = _assign_folds([by_id[name] for name, _ in prefixes], num_folds=config.num_folds, seed=seed)
    if not folds:
        return _unmeasured(family, len(prefixes), len({name for name, _ in prefixes}))
    represent, estimator = _family(family, embedder)
    trial = _Trial(by_id=by_id, folds=folds, num_bootstrap=config.num_bootstrap, seed=seed)

    inputs = represent(trial.examples(simulated))
    found = trial.predict(simulated, inputs, estimator)
    controls = {
        Control.SHUFFLED: shuffled(by_id, prefixes, within=folds, seed=seed),
        Control.REPEATED: repeated(by_id, prefixes),
        Control.TRUNCATED: truncated(by_id, prefixes),
        Control.ZERO_SHOT: [turn for turn in zero_shot if (turn.dialogue_id, turn.turn) in set(prefixes)],
    }
    buildable = {
        control: turns for control, turns in controls.items() if len({folds[turn.dialogue_id] for turn in turns}) > 1
    }
    power = {
        control.value: trial.run(turns, represent, estimator).auc_estimate() for control, turns in buildable.items()
    }
    measurable, gate = _gate(family, power, config.min_control_auc)
    numbers = np.array([user_turn_number(by_id[name], turn) for name, turn in prefixes])
    at_turn = {number: found.at(numbers == number) for number in REPORTED_USER_TURNS if number in numbers}
    return ClassifierResult(
        family=family,
        accuracy=found.accuracy_estimate(),
        auc=found.auc_estimate(),
        accuracy_at_turn={number: there.accuracy_estimate() for number, there in at_turn.items()},
        auc_at_turn={number: there.auc_estimate() for number, there in at_turn.items()},
        nulls=trial.nulls(simulated, inputs, estimator, num_permutations=config.num_permutations),
        power=power,
        length_only=trial.run(simulated, length_inputs, scalar_estimator).accuracy_estimate(),
        user_only=None
        if family is Family.SURFACE
        else trial.run(
            simulated, lambda examples: user_only_inputs(examples, embedder), scalar_estimator
        ).accuracy_estimate(),
        measurable=measurable,
        gate=gate,
        num_prefixes=len(prefixes),
        notes=tuple(
            f"control {control} left out: it can be built on {len(turns)} of {len(prefixes)} prefixes"
            for control, turns in controls.items()
            if control not in buildable
        ),
    )


Represent = Callable[[Sequence[Example]], npt.NDArray[Any]]
"""Inputs of an estimator, first axis the examples."""


def _family(family: Family, embedder: Embedder) -> tuple[Represent, Callable[[], Pipeline]]:
    if family is Family.SURFACE:
        return surface_inputs, surface_estimator
    return lambda examples: context_inputs(examples, embedder), scalar_estimator


def _prefixes_of(turns: Sequence[NextTurn], by_id: Mapping[str, Dialogue]) -> list[Prefix]:
    seen: set[Prefix] = set()
    for turn in turns:
        prefix = (turn.dialogue_id, turn.turn)
        if turn.dialogue_id not in by_id:
            raise ValueError(f"next turn on {prefix}: got an unknown dialogue, expected one of the dialogues given")
        if turn.turn not in {index for index, _ in user_turns(by_id[turn.dialogue_id])}:
            raise ValueError(f"next turn on {prefix}: the dialogue has no user turn at that index")
        if prefix in seen:
            raise ValueError(f"next turn on {prefix}: got two turns on one prefix, expected one")
        seen.add(prefix)
    return [(turn.dialogue_id, turn.turn) for turn in turns]


def _assign_folds(dialogues: Sequence[Dialogue], *, num_folds: int, seed: int) -> dict[str, int]:
    """Fold of each dialogue, by id; all dialogues of a user in one. Empty where there are fewer than two users."""
    unique = sorted({dialogue.id: user_of(dialogue) for dialogue in dialogues}.items())
    users = [user for _, user in unique]
    num_splits = min(num_folds, len(set(users)))
    if num_splits < 2:
        return {}
    splitter = GroupKFold(n_splits=num_splits, shuffle=True, random_state=seed)
    splits = splitter.split(np.zeros(len(unique)), groups=users)
    return {unique[row][0]: fold for fold, (_, test) in enumerate(splits) for row in test}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """Real turns against others on the same prefixes, always on the same folds."""

    by_id: Mapping[str, Dialogue]
    folds: Mapping[str, int]
    num_bootstrap: int
    seed: int

    def run(self, turns: Sequence[NextTurn], represent: Represent, estimator: Callable[[], Pipeline]) -> _Predictions:
        return self.predict(turns, represent(self.examples(turns)), estimator)

    def examples(self, turns: Sequence[NextTurn]) -> list[Example]:
        """The real turns, then the others on the same prefixes."""
        others = [Example(dialogue=self.by_id[t.dialogue_id], turn=t.turn, text=t.text) for t in turns]
        return [
            *(Example(dialogue=o.dialogue, turn=o.turn, text=o.dialogue.turns[o.turn].text) for o in others),
            *others,
        ]

    def predict(
        self, turns: Sequence[NextTurn], inputs: npt.NDArray[Any], estimator: Callable[[], Pipeline]
    ) -> _Predictions:
        is_real, fold = self._labels(turns)
        p_real = np.full(len(inputs), 0.5)
        for held_out in np.unique(fold):
            test = fold == held_out
            fitted = estimator().fit(inputs[~test], is_real[~test])
            p_real[test] = fitted.predict_proba(inputs[test])[:, 1]
        return _Predictions(
            p_real=p_real.reshape(2, len(turns)),
            dialogue=np.unique([turn.dialogue_id for turn in turns], return_inverse=True)[1],
            num_bootstrap=self.num_bootstrap,
            seed=self.seed,
        )

    def nulls(
        self,
        turns: Sequence[NextTurn],
        inputs: npt.NDArray[Any],
        estimator: Callable[[], Pipeline],
        *,
        num_permutations: int,
    ) -> Nulls | None:
        is_real, fold = self._labels(turns)
        return permutation_nulls(
            inputs,
            is_real,
            units=2 * [user_of(self.by_id[turn.dialogue_id]) for turn in turns],
            folds=fold,
            estimator=estimator,
            num_permutations=num_permutations,
            seed=self.seed,
        )

    def _labels(self, turns: Sequence[NextTurn]) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
        """Which of the :meth:`examples` are real, and the fold of each."""
        return np.repeat([True, False], len(turns)), np.tile([self.folds[turn.dialogue_id] for turn in turns], 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Predictions:
    """Out-of-fold probabilities of being real.

    ``p_real`` of shape (2, prefixes) has the real turns in row 0 and the others in row 1. ``dialogue`` of shape
    (prefixes,) numbers the dialogues from 0.
    """

    p_real: npt.NDArray[np.float64]
    dialogue: npt.NDArray[np.intp]
    num_bootstrap: int
    seed: int

    def at(self, kept: npt.NDArray[np.bool_]) -> _Predictions:
        return _Predictions(
            p_real=self.p_real[:, kept],
            dialogue=np.unique(self.dialogue[kept], return_inverse=True)[1],
            num_bootstrap=self.num_bootstrap,
            seed=self.seed,
        )

    def accuracy_estimate(self) -> Estimate:
        right = _above(self.p_real[0], 0.5) + 1.0 - _above(self.p_real[1], 0.5)
        num_right = np.bincount(self.dialogue, weights=right)
        num_turns = 2.0 * np.bincount(self.dialogue)
        draws = self._draws()
        return self._estimate(right.mean() / 2.0, (draws @ num_right) / (draws @ num_turns))

    def auc_estimate(self) -> Estimate:
        """AUC = P(real scores higher) + P(tie) / 2; in a draw every turn weighs as often as its dialogue was drawn."""
        order = np.argsort(self.dialogue, kind="stable")
        starts = np.flatnonzero(np.diff(self.dialogue[order], prepend=-1))
        real, others = self.p_real[0][order], self.p_real[1][order]
        wins = _above(real[:, None], others[None, :])
        wins_between = np.add.reduceat(np.add.reduceat(wins, starts, axis=0), starts, axis=1)
        num_pairs = np.bincount(self.dialogue)
        draws = self._draws()
        won = np.einsum("bd,bd->b", draws @ wins_between, draws)
        return self._estimate(wins.mean(), won / (draws @ num_pairs) ** 2)

    def _draws(self) -> npt.NDArray[np.float64]:
        """How often each dialogue is in each bootstrap sample, shape (samples, dialogues)."""
        num_dialogues = int(self.dialogue.max()) + 1
        rng = np.random.default_rng(self.seed)
        drawn = rng.multinomial(num_dialogues, np.full(num_dialogues, 1.0 / num_dialogues), size=self.num_bootstrap)
        return drawn.astype(np.float64)

    def _estimate(self, value: float, draws: npt.NDArray[np.float64]) -> Estimate:
        num_dialogues = int(self.dialogue.max()) + 1
        low, high = np.quantile(draws, [0.025, 0.975])
        enough = num_dialogues >= MIN_DIALOGUES_FOR_BOUNDS
        return Estimate(
            value=float(value),
            low=float(low) if enough else None,
            high=float(high) if enough else None,
            num_turns=self.p_real.size,
            num_dialogues=num_dialogues,
        )


def _above(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
    """1 where left is greater, one half where they are equal."""
    return np.where(left > right, 1.0, np.where(left == right, 0.5, 0.0))


def _gate(family: Family, power: Mapping[str, Estimate], min_control_auc: float) -> tuple[bool, str]:
    control = GATE_CONTROL[family]
    found = power[control].value if control in power else None
    if found is None:
        return False, f"the {family} classifier was not tried on its control {control}"
    if found >= min_control_auc:
        return (
            True,
            f"the {family} classifier finds its control {control} with AUC {found:.2f} (>= {min_control_auc:.2f})",
        )
    return False, f"the {family} classifier finds its control {control} with AUC {found:.2f} (< {min_control_auc:.2f})"


def _unmeasured(family: Family, num_prefixes: int, num_dialogues: int) -> ClassifierResult:
    nothing = Estimate(value=None, low=None, high=None, num_turns=2 * num_prefixes, num_dialogues=num_dialogues)
    return ClassifierResult(
        family=family,
        accuracy=nothing,
        auc=nothing,
        accuracy_at_turn={},
        auc_at_turn={},
        nulls=None,
        power={},
        length_only=nothing,
        user_only=None,
        measurable=False,
        gate=f"the {family} classifier was not tried on its control {GATE_CONTROL[family]}",
        num_prefixes=num_prefixes,
        notes=("realism left out: turns of at least two users (or dialogues, where users are unknown) are needed",),
    )
