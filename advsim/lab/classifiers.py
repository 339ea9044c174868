"""Classifiers told apart from chance: the AUC of users against others of the same population, which is .5 in truth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from advsim.config import HeldOutConfig
from advsim.lab.population import NUM_PHASES, STATE_BITS, DrawnDialogues, Population, draw_dialogues
from advsim.rates.intervals import Interval
from advsim.realism.bootstrap import cluster_draws, percentile_bounds
from advsim.realism.families import TurnExample, scalar_estimator
from advsim.realism.folds import assign_folds, prepare_folds
from advsim.realism.trial import Scores, Trial
from advsim.records import Dialogue, Split


def classify_alike(
    population: Population, *, num_users: int, max_user_turns: int, seed: int, rng: np.random.Generator
) -> tuple[float, list[Interval]]:
    """AUC of turns of two sets of users of one population, and its interval by each method.

    The classifiers are those of the context family on what a turn shows and its phase. ``refitted`` is the interval
    that runs print; ``fixed_scores`` draws the scores of one fit, and so leaves out the fitting.

    Args:
        population: of both sides.
        num_users: users a side.
        max_user_turns: of a dialogue.
        seed: of folds and bootstrap samples.
        rng: of the users.
    """
    sides = [draw_dialogues(population, num_users=num_users, max_user_turns=max_user_turns, rng=rng) for _ in range(2)]
    shown, users = zip(*(_turns(side) for side in sides), strict=True)
    is_first = np.repeat([True, False], [len(side) for side in users])
    names = [f"{name} {user}" for name, side in zip(("first", "second"), users, strict=True) for user in side.tolist()]
    config = HeldOutConfig()
    folds = assign_folds(names, num_folds=config.num_folds, seed=seed, is_first=is_first)
    if folds is None:
        raise ValueError(f"num_users: got {num_users}, expected at least 2 users a side with a turn")
    dialogues = {name: Dialogue(id=name, source="lab", split=Split.TEST, turns=()) for name in dict.fromkeys(names)}
    trial = Trial(
        examples=[TurnExample(dialogue=dialogues[name], turn=0, text="") for name in names],
        is_first=is_first,
        users=names,
        folds=folds,
        is_paired=False,
        num_bootstrap=config.num_bootstrap,
        seed=seed,
    )
    inputs = np.concatenate(shown)
    scores = trial.scores(inputs, scalar_estimator, prepare_folds(inputs, folds, scalar_estimator))
    auc = scores.auc()
    if auc.value is None:
        raise ValueError(f"num_users: got {num_users}, which leaves a side without a turn")
    return auc.value, [
        Interval(method="refitted", low=auc.low, high=auc.high),
        _of_fixed_scores(scores, num_bootstrap=500, seed=seed),
    ]


def _turns(drawn: DrawnDialogues) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
    """What each turn shows, shape (turns, bits and phases), and the number of its user, shape (turns,)."""
    dialogue, turn = np.nonzero(drawn.present)
    states = drawn.states[dialogue, turn]
    bits = states[:, None] >> np.arange(len(STATE_BITS)) & 1
    phases = (states >> len(STATE_BITS))[:, None] == np.arange(NUM_PHASES)
    return np.concatenate([bits, phases], axis=1).astype(np.float64), drawn.user[dialogue]


def _of_fixed_scores(scores: Scores, *, num_bootstrap: int, seed: int) -> Interval:
    """Percentile bootstrap over users of the scores of one fit."""
    rng = np.random.default_rng(seed)
    times = np.concatenate(
        [
            cluster_draws(side.num_dialogues, num_samples=num_bootstrap, rng=rng)[:, side.dialogue]
            for side in scores.sides
        ],
        axis=1,
    )
    is_first = np.repeat([True, False], [len(side.value) for side in scores.sides])
    values = np.concatenate([side.value for side in scores.sides])
    low, high = percentile_bounds(np.array([roc_auc_score(is_first, values, sample_weight=weigh) for weigh in times]))
    return Interval(method="fixed_scores", low=low, high=high)
