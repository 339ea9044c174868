"""When the rounds end: a pure decision on the history of the rounds.

The rule reads intervals, not points, and only classifiers that have shown that they find their controls
(:mod:`advsim.realism.next_turns`): one that cannot find real turns shuffled between dialogues says nothing when it is
near chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from advsim.config import StopConfig
from advsim.training.metrics import ClassifierMetrics, DiscriminatorMetrics, StopDecision, StopVerdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSignals:
    """What one round measured.

    Attributes:
        round: 0 is the SFT simulator, before any adversarial round.
        discriminator_accuracy: held-out accuracy of the discriminator that the round trained against; None in round 0.
        held_out: results of classifiers that were never trained against, by family, on this round's new simulator.
    """

    round: int
    discriminator_accuracy: float | None
    held_out: Mapping[str, ClassifierMetrics]


def decide_stop(history: Sequence[RoundSignals], config: StopConfig) -> StopDecision:
    """Decide after the last round of ``history`` whether another one is run.

    Over-optimisation comes first, because its consequence is another one: an earlier adapter is the better one. Then
    chance, then the number of rounds. The first round is the earliest with a round number of 1 or more.

    Args:
        history: signals of every round so far, oldest first, round numbers rising.
        config: margins and the largest number of rounds.

    Raises:
        ValueError: ``history`` is empty, or its round numbers do not rise.
    """
    if not history:
        raise ValueError("history: got no round, expected at least one")
    numbers = [signals.round for signals in history]
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise ValueError(f"history: got rounds {numbers}, expected rising round numbers")
    now = history[-1]
    notes = tuple(
        f"realism not measurable by the {family} classifier: {classifier.gate}"
        for family, classifier in now.held_out.items()
        if not classifier.measurable
    )
    over_optimised = _over_optimised(history, config.divergence_margin)
    if over_optimised:
        return StopDecision(reason=StopVerdict.OVER_OPTIMISED, explanation=over_optimised, notes=notes)
    at_chance = _at_chance(now, config.chance_margin)
    if at_chance:
        return StopDecision(reason=StopVerdict.AT_CHANCE, explanation=at_chance, notes=notes)
    if now.round >= config.max_rounds:
        return StopDecision(
            reason=StopVerdict.MAX_ROUNDS,
            explanation=f"Round {now.round} of at most {config.max_rounds} is done.",
            notes=notes,
        )
    return StopDecision(
        reason=StopVerdict.CONTINUE,
        explanation=f"Round {now.round} of at most {config.max_rounds} is done and no other reason to stop holds.",
        notes=notes,
    )


def decide_on_signal(round_number: int, discriminator: DiscriminatorMetrics, config: StopConfig) -> StopDecision | None:
    """The decision to end the rounds before this one trains, where its discriminator finds nothing; else None.

    Only a discriminator whose AUC has an interval, on dialogues that nothing has seen, can say so.
    """
    low = discriminator.auc_low
    if low is None or low >= config.min_discriminator_auc:
        return None
    return StopDecision(
        reason=StopVerdict.NO_SIGNAL,
        explanation=(
            f"Round {round_number} is not trained: on dialogues never seen its discriminator tells real turns from "
            f"simulated ones with an AUC of {discriminator.auc:.2f} [{low:.2f}, {discriminator.auc_high:.2f}], and the "
            f"interval has to lie above {config.min_discriminator_auc:.2f} (stop.min_discriminator_auc)."
        ),
    )


def _at_chance(now: RoundSignals, chance_margin: float) -> str:
    """Explanation where every measurable classifier's interval ends at chance, else an empty string."""
    measurable = {family: classifier for family, classifier in now.held_out.items() if classifier.measurable}
    limit = 0.5 + chance_margin
    highs = {family: classifier.high for family, classifier in measurable.items() if classifier.high is not None}
    if not measurable or len(highs) < len(measurable) or any(high > limit for high in highs.values()):
        return ""
    shown = ", ".join(f"{family} {high:.2f}" for family, high in highs.items())
    return (
        f"After round {now.round} no measurable held-out classifier beats chance by more than {chance_margin:.2f}; "
        f"upper bounds of accuracy: {shown}."
    )


def _over_optimised(history: Sequence[RoundSignals], divergence_margin: float) -> str:
    """Explanation where the trained-against discriminator fell while a held-out classifier rose, else empty."""
    rounds = [signals for signals in history if signals.round >= 1]
    if len(rounds) < 2:
        return ""
    first, now = rounds[0], rounds[-1]
    if first.discriminator_accuracy is None or now.discriminator_accuracy is None:
        return ""
    # Differences of decimal figures: without the slack .95 - .85 would fall short of .10.
    slack = 1e-9
    if first.discriminator_accuracy - now.discriminator_accuracy < divergence_margin - slack:
        return ""
    for family, after in now.held_out.items():
        before = first.held_out.get(family)
        if before is None or before.accuracy is None or after.accuracy is None or after.low is None:
            continue
        if after.accuracy - before.accuracy >= divergence_margin - slack and after.low > before.accuracy:
            return (
                f"From round {first.round} to {now.round} the trained-against discriminator's accuracy fell from "
                f"{first.discriminator_accuracy:.2f} to {now.discriminator_accuracy:.2f} while the held-out {family} "
                f"classifier's rose from {before.accuracy:.2f} to {after.accuracy:.2f}: over-optimisation."
            )
    return ""
