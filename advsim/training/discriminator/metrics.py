"""How well the discriminator tells held-out user turns apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, roc_auc_score

from advsim.training.metrics import DiscriminatorMetrics, TurnAccuracy

REPORTED_USER_TURNS = (1, 2, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTurn:
    """A user turn with its label (1 real, 0 simulated) and the discriminator's probability that it is real."""

    user_turn: int  # counts user turns from 1
    label: int
    p_real: float


def measure(
    judged: Sequence[JudgedTurn], *, num_train_turns: int, num_held_out_scenarios: int, seconds: float
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


def _accuracy_at(judged: Sequence[JudgedTurn], user_turn: int) -> TurnAccuracy:
    correct = [(turn.p_real >= 0.5) == bool(turn.label) for turn in judged if turn.user_turn == user_turn]
    return TurnAccuracy(value=sum(correct) / len(correct) if correct else None, n=len(correct))
