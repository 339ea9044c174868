"""How well the discriminator tells held-out user turns apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, roc_auc_score

from advsim.rates.intervals import MIN_CLUSTERS_FOR_BOUNDS
from advsim.realism.bootstrap import cluster_draws, percentile_bounds
from advsim.training.metrics import DiscriminatorMetrics, TurnAccuracy

REPORTED_USER_TURNS = (1, 2, 5, 10)
NUM_BOOTSTRAP = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTurn:
    """A user turn with its label (1 real, 0 simulated) and the discriminator's probability that it is real."""

    user_turn: int  # counts user turns from 1
    label: int
    p_real: float


def measure(
    judged: Sequence[JudgedTurn], *, num_train_turns: int, num_held_out_scenarios: int, seconds: float | None
) -> DiscriminatorMetrics:
    """Metrics of the held-out turns (:mod:`sklearn.metrics`)."""
    labels = [turn.label for turn in judged]
    p_real = [turn.p_real for turn in judged]
    decisions = [int(p >= 0.5) for p in p_real]
    both_classes = len(set(labels)) == 2
    return DiscriminatorMetrics(
        accuracy=float(accuracy_score(labels, decisions)) if labels else None,
        f1=float(f1_score(labels, decisions)) if any(labels) or any(decisions) else None,
        mcc=float(matthews_corrcoef(labels, decisions)) if both_classes else None,
        auc=float(roc_auc_score(labels, p_real)) if both_classes else None,
        real_fraction=sum(labels) / len(labels) if labels else None,
        accuracy_at_turn={user_turn: _accuracy_at(judged, user_turn) for user_turn in REPORTED_USER_TURNS},
        num_train_turns=num_train_turns,
        num_held_out_turns=len(judged),
        num_held_out_scenarios=num_held_out_scenarios,
        seconds=seconds,
    )


def with_auc_bounds(
    metrics: DiscriminatorMetrics, judged: Sequence[JudgedTurn], users: Sequence[str], *, seed: int
) -> DiscriminatorMetrics:
    """The metrics with the 95 % interval of the AUC, by a bootstrap over users: their turns hang together.

    Without interval under :data:`MIN_CLUSTERS_FOR_BOUNDS` users.

    Args:
        metrics: of the turns.
        judged: the turns.
        users: of each turn; the dialogue where the user is unknown.
        seed: of the bootstrap.
    """
    user = np.unique(list(users), return_inverse=True)[1]
    if user.max(initial=-1) + 1 < MIN_CLUSTERS_FOR_BOUNDS:
        return metrics
    times = cluster_draws(int(user.max(initial=0)) + 1, num_samples=NUM_BOOTSTRAP, rng=np.random.default_rng(seed))
    labels, p_real = np.array([turn.label for turn in judged]), np.array([turn.p_real for turn in judged])
    drawn = [
        float(roc_auc_score(labels, p_real, sample_weight=weights))
        for weights in times[:, user]
        if weights[labels == 1].sum() > 0.0 and weights[labels == 0].sum() > 0.0
    ]
    if metrics.auc is None or len(drawn) < NUM_BOOTSTRAP / 2:
        return metrics
    low, high = percentile_bounds(np.array(drawn))
    return replace(metrics, auc_low=low, auc_high=high)


def _accuracy_at(judged: Sequence[JudgedTurn], user_turn: int) -> TurnAccuracy:
    correct = [(turn.p_real >= 0.5) == bool(turn.label) for turn in judged if turn.user_turn == user_turn]
    return TurnAccuracy(value=sum(correct) / len(correct) if correct else None, n=len(correct))
