"""Can the users of two sets of free dialogues be told apart? A classifier two-sample test (arXiv 1610.06545).

On free dialogues nothing is held fixed: both the users and the chatbots that they talk to can differ. The surface
family reads the user's turn alone, so that it sees the chatbot only through what it made the user say. The context
family also reads the chatbot's turns, and can tell two chatbots apart whatever the users do: with different chatbots it
says nothing about users. Its ablation without the chatbot's turns does. Realism of a simulator on *equal* prefixes is
:mod:`advsim.realism.next_turns`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline

from advsim.config import HeldOutConfig
from advsim.corpus.prefixes import choose_prefixes, user_of, user_turn_number
from advsim.models.embedder import Embedder
from advsim.realism.controls import Control
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
from advsim.realism.next_turns import MIN_DIALOGUES_FOR_BOUNDS, REPORTED_USER_TURNS, Represent, measure_realism
from advsim.realism.permutation import Nulls, permutation_nulls
from advsim.records import Dialogue, Estimate, NextTurn, Speaker

FloatArray = npt.NDArray[np.float64]

GATE_CONTROL: Mapping[Family, Control] = {Family.SURFACE: Control.TRUNCATED, Family.CONTEXT: Control.SHUFFLED}
"""The control that a family must find for "not told apart" to mean anything. There is no base model here, so SURFACE
has to find turns cut in half."""

_SIDES = ("first ", "second ")
"""Before the ids of the dialogues of each set, which may be the same."""

MAX_TURNS = 400
"""User turns a side at most, spread over dialogues and turn numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtUserTurn:
    """Figures of the turns of one user turn number, scored by the classifiers of all turns.

    Values are None where fewer than ``MIN_DIALOGUES_FOR_BOUNDS`` dialogues of a side have such a turn among those that
    were read; the estimates say how many there are.
    """

    accuracy: Estimate
    auc: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoSample:
    """What one family of classifiers found between two sets of dialogues, by grouped cross-validation.

    Attributes:
        family: the family.
        auc: area under the ROC curve a turn, first against second set; .5 is chance. 95 % percentile interval of a
            bootstrap over the dialogues of each set.
        auc_dialogue: the same for dialogues, each with its mean log-odds.
        accuracy: mean of the shares of turns told right in the two sets: .5 is chance whatever their numbers. Interval
            as that of ``auc``.
        at_turn: accuracy and AUC at the user turn numbers of ``REPORTED_USER_TURNS``.
        nulls: ``accuracy`` and ``auc`` against classifiers fitted on permuted labels: users (dialogues where users are
            unknown) of one set are dealt to the sides anew, those who are in both sets exchange their sides or not
            (:mod:`advsim.realism.permutation`). None where nothing could be measured or ``num_permutations`` is 0.
        length_only: AUC of a logistic regression on characters and words alone.
        user_only: AUC of the same family where it is not shown the chatbot's turns; None for SURFACE, which never is.
        power: AUC of the same family on real turns of the first set against controls known not to be real.
        measurable: whether it finds its control (``GATE_CONTROL``) with at least ``min_control_auc``.
        gate: one phrase saying so.
        turn_budget: user turns of each dialogue that were eligible, the first so many, so that position is no cue.
        note: what this comparison cannot say, or why there is none.
    """

    family: Family
    auc: Estimate
    auc_dialogue: Estimate
    accuracy: Estimate
    at_turn: Mapping[int, AtUserTurn]
    nulls: Nulls | None
    length_only: Estimate
    user_only: Estimate | None
    power: Mapping[str, Estimate]
    measurable: bool
    gate: str
    turn_budget: int
    note: str = ""


def compare_dialogues(
    family: Family,
    *,
    real: Sequence[Dialogue],
    others: Sequence[Dialogue],
    turn_budget: int,
    config: HeldOutConfig,
    seed: int,
    embedder: Embedder,
    max_turns: int = MAX_TURNS,
) -> TwoSample:
    """Fit fresh classifiers on user turns of two sets of dialogues.

    Both sides give equally many turns, so that chance is .5. All dialogues of a user, and dialogues of one id on both
    sides, are in one fold: a file against itself has an AUC near .5 and not under it.

    Args:
        family: SURFACE or CONTEXT.
        real: first set of dialogues.
        others: second set.
        turn_budget: user turns of each dialogue to draw from, the first so many; see
            :func:`advsim.realism.user_texts.num_user_turns_in_common`.
        config: folds, bootstrap samples, permutations and the least AUC on the control.
        seed: of the choice of turns, folds, bootstrap and permutations.
        embedder: read by CONTEXT only.
        max_turns: turns a side at most.
    """
    sides = [[_cut(dialogue, turn_budget) for dialogue in side] for side in (real, others)]
    available = [len(choose_prefixes(side, num_prefixes=max_turns, seed=seed)) for side in sides]
    examples = [
        _examples(side, num_turns=min(available), seed=seed, prefix=prefix)
        for side, prefix in zip(sides, _SIDES, strict=True)
    ]
    groups = [
        user_of(replace(one.dialogue, id=one.dialogue.id.removeprefix(side_name)))
        for side_name, side in zip(_SIDES, examples, strict=True)
        for one in side
    ]
    num_groups = min(len(set(groups[: len(examples[0])])), len(set(groups[len(examples[0]) :])))
    if num_groups < 2:
        return _unmeasured(family, examples, turn_budget)
    folds = _folds(examples, groups, num_folds=min(config.num_folds, num_groups), seed=seed)
    represent: Represent
    represent, estimator = (
        (surface_inputs, surface_estimator)
        if family is Family.SURFACE
        else (lambda given: context_inputs(given, embedder), scalar_estimator)
    )

    def found(inputs: npt.NDArray[Any], make: Callable[[], Pipeline]) -> _Scores:
        return _scores(examples, folds, inputs, make, num_bootstrap=config.num_bootstrap, seed=seed)

    everything = [*examples[0], *examples[1]]
    inputs = represent(everything)
    scores = found(inputs, estimator)
    power = _power(family, sides[0], num_turns=min(available), config=config, seed=seed, embedder=embedder)
    control = GATE_CONTROL[family]
    value = power[control.value].value if control.value in power else None
    measurable = value is not None and value >= config.min_control_auc
    return TwoSample(
        family=family,
        auc=scores.auc(),
        auc_dialogue=scores.by_dialogue().auc(),
        accuracy=scores.accuracy(),
        at_turn=_at_turns(examples, scores),
        nulls=permutation_nulls(
            inputs,
            _is_first(examples),
            units=groups,
            folds=folds,
            estimator=estimator,
            num_permutations=config.num_permutations,
            seed=seed,
        ),
        length_only=found(length_inputs(everything), scalar_estimator).auc(),
        user_only=None
        if family is Family.SURFACE
        else found(user_only_inputs(everything, embedder), scalar_estimator).auc(),
        power=power,
        measurable=measurable,
        gate=f"the {family} classifier was not tried on its control {control}"
        if value is None
        else f"the {family} classifier finds its control {control} with AUC {value:.2f} "
        f"({'>=' if measurable else '<'} {config.min_control_auc:.2f})",
        turn_budget=turn_budget,
        note="reads the chatbot's turns too: different chatbots alone can tell the two sets apart"
        if family is Family.CONTEXT
        else "",
    )


def _cut(dialogue: Dialogue, num_user_turns: int) -> Dialogue:
    """The dialogue up to its ``num_user_turns``-th user turn."""
    num_seen = 0
    for index, turn in enumerate(dialogue.turns):
        num_seen += turn.speaker is Speaker.USER
        if num_seen == num_user_turns:
            return replace(dialogue, turns=dialogue.turns[: index + 1])
    return dialogue


def _examples(side: Sequence[Dialogue], *, num_turns: int, seed: int, prefix: str) -> list[Example]:
    """Turns as they stand; the prefix keeps dialogues of one id on the two sides apart."""
    by_id = {dialogue.id: dialogue for dialogue in side}
    named = {name: replace(dialogue, id=prefix + name) for name, dialogue in by_id.items()}
    return [
        Example(dialogue=named[name], turn=turn, text=named[name].turns[turn].text)
        for name, turn in choose_prefixes(side, num_prefixes=num_turns, seed=seed)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    """Out-of-fold log-odds of being of the first set: those of the first set, then those of the second.

    ``dialogues`` has the number of each turn's dialogue within its set.
    """

    log_odds: tuple[FloatArray, FloatArray]
    dialogues: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    num_bootstrap: int
    seed: int

    def auc(self) -> Estimate:
        """P(first higher) + P(tie) / 2; in a bootstrap sample a turn weighs as often as its dialogue was drawn."""
        first, second = self.log_odds
        wins = np.where(first[:, None] > second, 1.0, np.where(first[:, None] == second, 0.5, 0.0))
        nums = tuple(int(numbers.max()) + 1 for numbers in self.dialogues)
        between = np.zeros(nums)
        np.add.at(between, (self.dialogues[0][:, None], self.dialogues[1][None, :]), wins)
        draws = self._draws()
        sizes = [draw @ np.bincount(numbers) for draw, numbers in zip(draws, self.dialogues, strict=True)]
        drawn = np.einsum("bd,bd->b", draws[0] @ between, draws[1]) / (sizes[0] * sizes[1])
        return self._estimate(float(wins.mean()), drawn)

    def accuracy(self) -> Estimate:
        """Mean of the shares told right in the two sets; log-odds of exactly 0 count one half."""
        first, second = (np.where(odds == 0.0, 0.5, odds > 0.0) for odds in self.log_odds)
        right = (first, 1.0 - second)
        shares = [
            (draw @ np.bincount(numbers, weights=one)) / (draw @ np.bincount(numbers))
            for draw, numbers, one in zip(self._draws(), self.dialogues, right, strict=True)
        ]
        return self._estimate(float(right[0].mean() + right[1].mean()) / 2.0, (shares[0] + shares[1]) / 2.0)

    def at(self, kept: Sequence[npt.NDArray[np.bool_]]) -> _Scores:
        """Some turns of each set, at least one."""
        first, second = (
            np.unique(numbers[k], return_inverse=True)[1] for numbers, k in zip(self.dialogues, kept, strict=True)
        )
        odds = (self.log_odds[0][kept[0]], self.log_odds[1][kept[1]])
        return replace(self, log_odds=odds, dialogues=(first, second))

    def _draws(self) -> list[FloatArray]:
        """How often each dialogue is in each bootstrap sample, for each set: shape (samples, dialogues)."""
        rng = np.random.default_rng(self.seed)
        nums = [int(numbers.max()) + 1 for numbers in self.dialogues]
        return [rng.multinomial(num, np.full(num, 1.0 / num), size=self.num_bootstrap).astype(float) for num in nums]

    def _estimate(self, value: float, drawn: FloatArray) -> Estimate:
        nums = [int(numbers.max()) + 1 for numbers in self.dialogues]
        low, high = np.quantile(drawn, [0.025, 0.975])
        enough = min(nums) >= MIN_DIALOGUES_FOR_BOUNDS
        return Estimate(
            value=value,
            low=float(low) if enough else None,
            high=float(high) if enough else None,
            num_turns=sum(map(len, self.log_odds)),
            num_dialogues=sum(nums),
        )

    def by_dialogue(self) -> _Scores:
        """Mean log-odds of each dialogue."""
        first, second = (
            np.bincount(numbers, weights=odds) / np.bincount(numbers)
            for odds, numbers in zip(self.log_odds, self.dialogues, strict=True)
        )
        return replace(self, log_odds=(first, second), dialogues=(np.arange(len(first)), np.arange(len(second))))


def _at_turns(examples: Sequence[Sequence[Example]], scores: _Scores) -> dict[int, AtUserTurn]:
    numbers = [np.array([user_turn_number(one.dialogue, one.turn) for one in side]) for side in examples]
    found = {}
    for number in REPORTED_USER_TURNS:
        kept = [side == number for side in numbers]
        num_dialogues = [len(np.unique(side[k])) for side, k in zip(scores.dialogues, kept, strict=True)]
        if min(num_dialogues) >= MIN_DIALOGUES_FOR_BOUNDS:
            there = scores.at(kept)
            found[number] = AtUserTurn(accuracy=there.accuracy(), auc=there.auc())
        else:
            nothing = _nothing(num_turns=int(sum(k.sum() for k in kept)), num_dialogues=sum(num_dialogues))
            found[number] = AtUserTurn(accuracy=nothing, auc=nothing)
    return found


def _is_first(examples: Sequence[Sequence[Example]]) -> npt.NDArray[np.bool_]:
    return np.repeat([True, False], [len(examples[0]), len(examples[1])])


def _folds(
    examples: Sequence[Sequence[Example]], groups: Sequence[str], *, num_folds: int, seed: int
) -> npt.NDArray[np.intp]:
    """Fold of each example of the first set, then of the second."""
    is_first = _is_first(examples)
    folds = np.zeros(len(is_first), dtype=np.intp)
    splitter = StratifiedGroupKFold(n_splits=num_folds, shuffle=True, random_state=seed)
    for fold, (_, test) in enumerate(splitter.split(np.zeros(len(is_first)), is_first, groups=groups)):
        folds[test] = fold
    return folds


def _scores(
    examples: Sequence[Sequence[Example]],
    folds: npt.NDArray[np.intp],
    inputs: npt.NDArray[Any],
    estimator: Callable[[], Pipeline],
    *,
    num_bootstrap: int,
    seed: int,
) -> _Scores:
    is_first = _is_first(examples)
    log_odds = np.zeros(len(inputs))
    for fold in np.unique(folds):
        test = folds == fold
        train = ~test
        if len(set(is_first[train])) == 2:
            log_odds[test] = estimator().fit(inputs[train], is_first[train]).decision_function(inputs[test])
    first, second = (np.unique([one.dialogue.id for one in side], return_inverse=True)[1] for side in examples)
    return _Scores(
        log_odds=(log_odds[is_first], log_odds[~is_first]),
        dialogues=(first, second),
        num_bootstrap=num_bootstrap,
        seed=seed,
    )


def _power(
    family: Family, real: Sequence[Dialogue], *, num_turns: int, config: HeldOutConfig, seed: int, embedder: Embedder
) -> Mapping[str, Estimate]:
    by_id = {dialogue.id: dialogue for dialogue in real}
    unchanged = [
        NextTurn(dialogue_id=name, turn=turn, text=by_id[name].turns[turn].text)
        for name, turn in choose_prefixes(real, num_prefixes=num_turns, seed=seed)
    ]
    without_null = config.model_copy(update={"num_permutations": 0})  # turns against themselves: only power is wanted
    return measure_realism(
        family, dialogues=real, simulated=unchanged, zero_shot=[], config=without_null, seed=seed, embedder=embedder
    ).power


def _nothing(*, num_turns: int, num_dialogues: int) -> Estimate:
    return Estimate(value=None, low=None, high=None, num_turns=num_turns, num_dialogues=num_dialogues)


def _unmeasured(family: Family, examples: Sequence[Sequence[Example]], turn_budget: int) -> TwoSample:
    nothing = _nothing(
        num_turns=sum(map(len, examples)),
        num_dialogues=sum(len({one.dialogue.id for one in side}) for side in examples),
    )
    return TwoSample(
        family=family,
        auc=nothing,
        auc_dialogue=nothing,
        accuracy=nothing,
        at_turn={},
        nulls=None,
        length_only=nothing,
        user_only=None,
        power={},
        measurable=False,
        gate=f"the {family} classifier was not tried on its control {GATE_CONTROL[family]}",
        turn_budget=turn_budget,
        note="left out: turns of at least two users (or dialogues, where users are unknown) a side are needed",
    )
