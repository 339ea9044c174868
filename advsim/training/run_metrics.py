"""What a run writes of its baseline, its held-out measurements and its rounds, put together from the stages' figures.

``rounds/NN/metrics.json`` of round r holds two points in time. Its rollout, discriminator and preference figures are
about the conversations of adapter r - 1; its DPO, push, held-out and diversity figures are about adapter r, which it
trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from advsim.realism.diversity import Diversity
from advsim.rollout.pool import PushResult
from advsim.training.metrics import (
    ClassifierMetrics,
    DiscriminatorMetrics,
    DpoMetrics,
    PreferenceMetrics,
    RolloutMetrics,
    StopDecision,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealBaseline:
    """What was measured of real users before the first round."""

    diversity: Diversity = field(default_factory=Diversity)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotBaseline(RealBaseline):
    """What was measured of the bare base model: ``held_out`` by family of classifiers."""

    held_out: Mapping[str, ClassifierMetrics] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SftBaseline(ZeroShotBaseline):
    """What was measured of the SFT simulator, and how its training went."""

    train_loss_first: float | None = None
    train_loss_last: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """``baseline.json``; all diversities at ``token_budget`` words."""

    token_budget: int | None = None
    real: RealBaseline = field(default_factory=RealBaseline)
    zero_shot: ZeroShotBaseline = field(default_factory=ZeroShotBaseline)
    sft: SftBaseline = field(default_factory=SftBaseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiversityPair:
    """Real and simulated turns measured at one number of words."""

    token_budget: int | None = None
    real: Diversity = field(default_factory=Diversity)
    simulated: Diversity = field(default_factory=Diversity)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutMetrics:
    """``held_out.json``: the simulator with the adapter of a round, ``held_out`` by family of classifiers."""

    held_out: Mapping[str, ClassifierMetrics] = field(default_factory=dict)
    diversity: DiversityPair = field(default_factory=DiversityPair)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundMetrics:
    """``metrics.json`` of a round; ``seconds`` by stage, ``stop`` what the stop rule said after the round."""

    round: int
    rollout: RolloutMetrics = field(default_factory=RolloutMetrics)
    discriminator: DiscriminatorMetrics = field(default_factory=DiscriminatorMetrics)
    held_out: Mapping[str, ClassifierMetrics] = field(default_factory=dict)
    preference: PreferenceMetrics = field(default_factory=PreferenceMetrics)
    dpo: DpoMetrics = field(default_factory=DpoMetrics)
    push: PushResult = field(default_factory=PushResult)
    diversity: DiversityPair = field(default_factory=DiversityPair)
    stop: StopDecision | None = None
    seconds: Mapping[str, float | None] = field(default_factory=dict)
