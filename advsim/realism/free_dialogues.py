"""Two-sample test of the users of two sets of free dialogues, by classifiers (arXiv 1610.06545): the unpaired design.

On free dialogues nothing is held fixed: both the users and the chatbots that they talk to can differ. The surface
family reads the user's turn alone, so that it sees the chatbot only through what it made the user say. The context
family also reads the chatbot's turns, and can tell two chatbots apart whatever the users do: with different chatbots it
says nothing about users. Its ablation without the chatbot's turns does. Realism of a simulator on *equal* prefixes is
:mod:`advsim.realism.next_turns`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from advsim.config import HeldOutConfig
from advsim.corpus.prefixes import Prefix, choose_prefixes, user_of
from advsim.models.embedder import Embedder
from advsim.rates.intervals import MIN_CLUSTERS_FOR_BOUNDS
from advsim.realism.controls import Control
from advsim.realism.families import Family, TurnExample
from advsim.realism.folds import assign_folds, dialogue_folds
from advsim.realism.permutation import Nulls
from advsim.realism.trial import (
    Pairing,
    Scores,
    Trial,
    no_estimate,
    run_trial,
    untried_gate,
)
from advsim.records import Dialogue, Estimate, Speaker

GATE_CONTROL: Mapping[Family, Control] = {Family.SURFACE: Control.TRUNCATED, Family.CONTEXT: Control.SHUFFLED}
"""The control that a family must find for "not told apart" to mean anything. There is no base model here, so SURFACE
has to find turns cut in half."""

MAX_TURNS = 400
"""User turns a side at most, spread over dialogues and turn numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtUserTurn:
    """Figures of the turns of one user turn number, scored by the classifiers of all turns.

    Values are None where fewer than ``MIN_CLUSTERS_FOR_BOUNDS`` dialogues of a side have such a turn among those that
    were read; the estimates say how many there are.
    """

    accuracy: Estimate
    auc: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoSample:
    """Results of one family of classifiers on two sets of dialogues, by grouped cross-validation.

    Attributes:
        family: the family.
        auc: area under the ROC curve a turn, first against second set; .5 is chance. The 95 % interval carries
            the fitting of the classifiers (:class:`advsim.realism.trial.Scores`).
        auc_dialogue: the same for dialogues, each with its mean log-odds.
        accuracy: mean of the shares of turns told right in the two sets: .5 is chance whatever their numbers. Interval
            as that of ``auc``.
        at_turn: accuracy and AUC at the user turn numbers 1, 2, 5 and 10.
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
    first, second = _sides(real, others, turn_budget=turn_budget, max_turns=max_turns, seed=seed)
    trial = _trial(first, second, config=config, seed=seed)
    if trial is None:
        return _unmeasured(family, [*first.examples(), *second.examples()], turn_budget)
    result = run_trial(
        trial,
        family,
        controls=_controls(first, config=config, seed=seed),
        gate_control=GATE_CONTROL[family],
        config=config,
        embedder=embedder,
    )
    return TwoSample(
        family=family,
        auc=result.scores.auc(),
        auc_dialogue=result.scores.by_dialogue().auc(),
        accuracy=result.scores.accuracy(),
        at_turn={number: _at_user_turn(there) for number, there in trial.at_user_turns(result.scores).items()},
        nulls=result.nulls,
        length_only=result.length_only.auc(),
        user_only=None if result.user_only is None else result.user_only.auc(),
        power=result.power,
        measurable=result.measurable,
        gate=result.gate,
        turn_budget=turn_budget,
        note="reads the chatbot's turns too: different chatbots alone can tell the two sets apart"
        if family is Family.CONTEXT
        else "",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One set of dialogues, by id, and the turns chosen of it. ``name`` stands before ids, which both sets may have."""

    name: str
    dialogues: Mapping[str, Dialogue]
    prefixes: Sequence[Prefix]

    def examples(self) -> list[TurnExample]:
        """The turns as they stand."""
        named = {name: replace(self.dialogues[name], id=f"{self.name} {name}") for name, _ in self.prefixes}
        return [
            TurnExample(dialogue=named[name], turn=turn, text=named[name].turns[turn].text)
            for name, turn in self.prefixes
        ]

    def users(self) -> list[str]:
        """User of each turn, of one name on both sides."""
        return [user_of(self.dialogues[name]) for name, _ in self.prefixes]


def _sides(
    real: Sequence[Dialogue], others: Sequence[Dialogue], *, turn_budget: int, max_turns: int, seed: int
) -> tuple[_Side, _Side]:
    """Equally many turns of both sets."""
    sets = [{dialogue.id: _cut(dialogue, turn_budget) for dialogue in dialogues} for dialogues in (real, others)]
    chosen = [choose_prefixes(list(by_id.values()), num_prefixes=max_turns, seed=seed) for by_id in sets]
    num_turns = min(map(len, chosen))
    first, second = (
        _Side(name=name, dialogues=by_id, prefixes=prefixes[:num_turns])
        for name, by_id, prefixes in zip(("first", "second"), sets, chosen, strict=True)
    )
    return first, second


def _cut(dialogue: Dialogue, num_user_turns: int) -> Dialogue:
    """The dialogue up to its ``num_user_turns``-th user turn."""
    num_seen = 0
    for index, turn in enumerate(dialogue.turns):
        num_seen += turn.speaker is Speaker.USER
        if num_seen == num_user_turns:
            return replace(dialogue, turns=dialogue.turns[: index + 1])
    return dialogue


def _trial(first: _Side, second: _Side, *, config: HeldOutConfig, seed: int) -> Trial | None:
    """Both sides on their folds; None where there are too few users."""
    users = [*first.users(), *second.users()]
    is_first = np.repeat([True, False], [len(first.prefixes), len(second.prefixes)])
    folds = assign_folds(users, num_folds=config.num_folds, seed=seed, is_first=is_first)
    if folds is None:
        return None
    return Trial(
        examples=[*first.examples(), *second.examples()],
        is_first=is_first,
        users=users,
        folds=folds,
        is_paired=False,
        num_bootstrap=config.num_bootstrap,
        seed=seed,
    )


def _controls(side: _Side, *, config: HeldOutConfig, seed: int) -> Mapping[Control, Trial]:
    """Trials of the real turns against turns known not to be real."""
    dialogues = [side.dialogues[name] for name, _ in side.prefixes]
    folds = dialogue_folds(dialogues, num_folds=config.num_folds, seed=seed)
    pairing = Pairing(dialogues=side.dialogues, folds=folds, num_bootstrap=config.num_bootstrap, seed=seed)
    return pairing.control_trials(pairing.controls(side.prefixes))


def _at_user_turn(scores: Scores) -> AtUserTurn:
    if min(side.num_dialogues for side in scores.sides) < MIN_CLUSTERS_FOR_BOUNDS:
        nothing = no_estimate(num_turns=scores.num_turns, num_dialogues=scores.num_dialogues)
        return AtUserTurn(accuracy=nothing, auc=nothing)
    return AtUserTurn(accuracy=scores.accuracy(), auc=scores.auc())


def _unmeasured(family: Family, examples: Sequence[TurnExample], turn_budget: int) -> TwoSample:
    nothing = no_estimate(num_turns=len(examples), num_dialogues=len({example.dialogue.id for example in examples}))
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
        gate=untried_gate(family, GATE_CONTROL[family]),
        turn_budget=turn_budget,
        note="left out: turns of at least two users (or dialogues, where users are unknown) a side are needed",
    )
