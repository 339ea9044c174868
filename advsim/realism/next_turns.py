"""Two-sample test of simulated against real next turns, by classifiers never trained against: the paired design.

Classifier two-sample test (arXiv 1610.06545) on next turns: for the same real prefix there is the real user turn and a
simulated one, so that the chatbot's turns are the same on both sides and only the user's differs. Every result carries
the classifier's power on controls that a reader knows are not real; near chance counts only for a classifier that finds
its control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advsim.config import HeldOutConfig
from advsim.corpus.prefixes import Prefix
from advsim.models.embedder import Embedder
from advsim.rates.intervals import MIN_CLUSTERS_FOR_BOUNDS
from advsim.realism.controls import Control
from advsim.realism.families import Family, classifier_of
from advsim.realism.folds import dialogue_folds
from advsim.realism.permutation import Nulls
from advsim.realism.trial import Pairing, no_estimate, run_trial, student_half_width, untried_gate
from advsim.records import Dialogue, Estimate, NextTurn, user_turns

GATE_CONTROL: Mapping[Family, Control] = {Family.SURFACE: Control.ZERO_SHOT, Family.CONTEXT: Control.SHUFFLED}
"""The control that a family must find to be measurable. SURFACE cannot see shuffled turns, whose surface is perfect:
the base model's turns are the difference that it is there for. CONTEXT is there for coherence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierResult:
    """Results of one family of classifiers. ``num_turns`` of an estimate counts real and not-real turns together.

    The 95 % intervals carry the choice of the users and the fitting of the classifiers on them
    (:class:`advsim.realism.trial.Scores`), not that of the folds. Where every prediction is right they have no width.

    Attributes:
        family: the family.
        accuracy: share of turns told right, real against simulated; .5 is chance.
        auc: area under the ROC curve a turn, real against simulated.
        accuracy_at_turn: accuracy at the user turn numbers 1, 2, 5 and 10 that exist.
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
    folds = dialogue_folds([by_id[name] for name, _ in prefixes], num_folds=config.num_folds, seed=seed)
    if not folds:
        return _unmeasured(family, len(prefixes), len({name for name, _ in prefixes}))
    pairing = Pairing(dialogues=by_id, folds=folds, num_bootstrap=config.num_bootstrap, seed=seed)
    trial = pairing.trial(simulated)
    answered = set(prefixes)
    controls = {
        **pairing.controls(prefixes),
        Control.ZERO_SHOT: [turn for turn in zero_shot if (turn.dialogue_id, turn.turn) in answered],
    }
    control_trials = pairing.control_trials(controls)
    result = run_trial(
        trial, family, controls=control_trials, gate_control=GATE_CONTROL[family], config=config, embedder=embedder
    )
    at_turn = {number: there for number, there in trial.at_user_turns(result.scores).items() if there.num_turns}
    return ClassifierResult(
        family=family,
        accuracy=result.scores.accuracy(),
        auc=result.scores.auc(),
        accuracy_at_turn={number: there.accuracy() for number, there in at_turn.items()},
        auc_at_turn={number: there.auc() for number, there in at_turn.items()},
        nulls=result.nulls,
        power=result.power,
        length_only=result.length_only.accuracy(),
        user_only=None if result.user_only is None else result.user_only.accuracy(),
        measurable=result.measurable,
        gate=result.gate,
        num_prefixes=len(prefixes),
        notes=tuple(
            f"control {control} left out: it can be built on {len(turns)} of {len(prefixes)} prefixes"
            for control, turns in controls.items()
            if control not in control_trials
        ),
    )


def auc_difference(
    family: Family,
    *,
    dialogues: Sequence[Dialogue],
    first: Sequence[NextTurn],
    second: Sequence[NextTurn],
    config: HeldOutConfig,
    seed: int,
    embedder: Embedder,
) -> Estimate:
    """AUC of the first simulator's turns against real ones, less that of the second; below 0 the first is more real.

    Both face the same real turns, the same folds and the same bootstrap samples of users, so that most of what makes
    either AUC uncertain is in both and falls out of the difference: its interval is far narrower than two side by side.
    The interval is a 95 % Student interval over bootstrap samples of users, with classifiers fitted anew on each
    (:class:`advsim.realism.trial.Scores`).

    Args:
        family: of the classifiers.
        dialogues: the real held-out dialogues.
        first: turns of a simulator, at most one a prefix.
        second: of another one; prefixes that only one has answered are left out.
        config: folds and bootstrap samples.
        seed: of folds and bootstrap.
        embedder: read by CONTEXT only.
    """
    by_id = {dialogue.id: dialogue for dialogue in dialogues}
    answered = {(turn.dialogue_id, turn.turn) for turn in first} & {(turn.dialogue_id, turn.turn) for turn in second}
    sides = [
        sorted((t for t in turns if (t.dialogue_id, t.turn) in answered), key=lambda t: (t.dialogue_id, t.turn))
        for turns in (first, second)
    ]
    folds = dialogue_folds([by_id[name] for name, _ in answered], num_folds=config.num_folds, seed=seed)
    nothing = no_estimate(num_turns=2 * len(answered), num_dialogues=len({name for name, _ in answered}))
    if not folds:
        return nothing
    pairing = Pairing(dialogues=by_id, folds=folds, num_bootstrap=config.num_bootstrap, seed=seed)
    scores, others = (pairing.trial(turns).measure(classifier_of(family, embedder)) for turns in sides)
    value, other = scores.auc().value, others.auc().value
    if value is None or other is None:
        return nothing
    differences = scores.drawn_aucs() - others.drawn_aucs()
    has_bounds = scores.num_dialogues >= MIN_CLUSTERS_FOR_BOUNDS and len(differences) > 1
    half = student_half_width(differences) if has_bounds else None
    return Estimate(
        value=value - other,
        low=None if half is None else value - other - half,
        high=None if half is None else value - other + half,
        num_turns=nothing.num_turns,
        num_dialogues=nothing.num_dialogues,
    )


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


def _unmeasured(family: Family, num_prefixes: int, num_dialogues: int) -> ClassifierResult:
    nothing = no_estimate(num_turns=2 * num_prefixes, num_dialogues=num_dialogues)
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
        gate=untried_gate(family, GATE_CONTROL[family]),
        num_prefixes=num_prefixes,
        notes=("realism left out: turns of at least two users (or dialogues, where users are unknown) are needed",),
    )
