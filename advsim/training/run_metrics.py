"""What a run writes of its baseline, its held-out measurements and its rounds, put together from the stages' figures.

``rounds/NN/metrics.json`` of round r holds two points in time. Its rollout, discriminator and preference figures are
about what adapter r - 1 said; its DPO, push, held-out and diversity figures are about adapter r, which it
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
class DiversityPair:
    """Real and simulated turns measured at one number of words."""

    token_budget: int | None = None
    real: Diversity = field(default_factory=Diversity)
    simulated: Diversity = field(default_factory=Diversity)


@dataclass(frozen=True, slots=True, kw_only=True)
class AucDifference:
    """AUC less that of SFT, both against the same real turns; below 0 is more real than SFT."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutMetrics:
    """``held_out.json``: the simulator with the adapter of a round.

    Attributes:
        held_out: by family of classifiers.
        diversity: beside that of real turns.
        against_sft: by temperature of the SFT simulator, written as in ``held_out.temperatures``, and by family.
    """

    held_out: Mapping[str, ClassifierMetrics] = field(default_factory=dict)
    diversity: DiversityPair = field(default_factory=DiversityPair)
    against_sft: Mapping[str, Mapping[str, AucDifference]] = field(default_factory=dict)


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
    """What was measured of the SFT simulator, and how its training went.

    ``curve`` has the same at the other temperatures of ``held_out.temperatures``: what rounds have to be better than,
    for a lower temperature buys coherence with variety.
    """

    curve: Mapping[str, HeldOutMetrics] = field(default_factory=dict)

    train_loss_first: float | None = None
    train_loss_last: float | None = None
    most_likely_temperature: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """``baseline.json``; all diversities at ``token_budget`` words."""

    token_budget: int | None = None
    real: RealBaseline = field(default_factory=RealBaseline)
    zero_shot: ZeroShotBaseline = field(default_factory=ZeroShotBaseline)
    sft: SftBaseline = field(default_factory=SftBaseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """``headroom.json``: what choosing among ``num_draws`` draws on held-out prefixes gives, before any training.

    The round's discriminator chooses: the best, a random and the worst draw of each prefix stand for the simulator.
    ``best`` is the simulator with ``best_of`` set to ``num_draws``, and is compared with SFT as a round is.
    """

    num_draws: int | None = None
    best: HeldOutMetrics = field(default_factory=HeldOutMetrics)
    random: HeldOutMetrics = field(default_factory=HeldOutMetrics)
    worst: HeldOutMetrics = field(default_factory=HeldOutMetrics)


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
    against_sft: Mapping[str, Mapping[str, AucDifference]] = field(default_factory=dict)
    headroom: Headroom | None = None
    stop: StopDecision | None = None
    seconds: Mapping[str, float | None] = field(default_factory=dict)
