"""Predictive validity: do the failure rates found with a simulator agree with the real ones over configurations?

The configurations count as a sample of those one could have built. An observed correlation of noisy rates is biased low
(Spearman 1904), so each of r and concordance is given twice, as observed and without the noise, and every interval
carries the name of its method:

- ``disattenuated`` (r, concordance; the verdict reads it): jackknife on Fisher's z, divided by the reliability;
- ``joint_bootstrap``: percentiles over configurations and the dialogues within them. It draws noise on top of the noise
  that is in the rates already, so it lies too low, the more so the fewer the dialogues;
- ``fisher_z``: the textbook interval of the observed coefficient;
- ``jackknife`` (slope): Student's t over configurations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from advsim.rates.outcomes import MessageOutcome
from advsim.rates.rates import rate_of
from advsim.records import Rate
from advsim.validity.agreement import Agreement, Comparison
from advsim.validity.ceiling import Ceiling, split_half_ceiling
from advsim.validity.coefficients import kendall, spearman
from advsim.validity.paired_rates import both_sides, configuration_rates

__all__ = ["Agreement", "ConfigurationPair", "Validity", "ValidityVerdict", "predictive_validity"]


class ValidityVerdict(StrEnum):
    """What the interval of the correlation says."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not_supported"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationPair:
    """Simulated and real rate of one configuration."""

    configuration: str
    simulated: Rate
    real: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """Simulated against real failure rates over configurations.

    Attributes:
        mode: the mode, None for any.
        pairs: the rates, one pair a configuration.
        pearson: Pearson's r.
        spearman: Spearman's rho.
        kendall: Kendall's tau-b.
        concordance: Lin's concordance, which a bias lowers and r does not see.
        deming_slope: of real on simulated rates, noise on both sides; 1 where differences have their true size.
        mean_difference: simulated less real rate, as a share of messages: what r does not see.
        ceiling: what real rates reach against real rates.
        verdict: what the interval of r says against ``min_correlation``.
        sentence: the verdict in words, with interval and n.
        num_configurations: configurations with a rate on both sides.
        num_simulated_dialogues: over all of them.
        num_real_dialogues: over all of them.
        left_out: configurations without a judged message on a side.
    """

    mode: str | None
    pairs: tuple[ConfigurationPair, ...]
    pearson: Agreement
    spearman: Agreement
    kendall: Agreement
    concordance: Agreement
    deming_slope: Agreement
    mean_difference: Agreement
    ceiling: Ceiling
    verdict: ValidityVerdict
    sentence: str
    num_configurations: int
    num_simulated_dialogues: int
    num_real_dialogues: int
    left_out: tuple[str, ...]


def predictive_validity(
    simulated: Mapping[str, Sequence[MessageOutcome]],
    real: Mapping[str, Sequence[MessageOutcome]],
    *,
    mode: str | None = None,
    min_correlation: float = 0.5,
    num_bootstrap: int = 1000,
    num_splits: int = 200,
    seed: int = 0,
) -> Validity:
    """Compare simulated and real failure rates over configurations.

    Args:
        simulated: messages by configuration.
        real: messages by configuration, of the same configurations.
        mode: a mode id; None: any mode.
        min_correlation: the verdict is "supported" where the whole interval of r lies above it, "not supported" where
            all of it lies below. .5: half of the standardised difference between configurations carries over.
        num_bootstrap: draws of the joint bootstrap and of the ceiling.
        num_splits: random halves of the real dialogues, for the ceiling.
        seed: of all draws.

    Raises:
        ValueError: a configuration is there on one side only, or a number is out of its range.
    """
    if not -1 < min_correlation < 1 or num_bootstrap < 1 or num_splits < 1:
        raise ValueError(
            f"got min_correlation {min_correlation}, num_bootstrap {num_bootstrap}, num_splits {num_splits}; "
            "expected a correlation between -1 and 1, and numbers of 1 or more"
        )
    names, simulated_counts, real_counts, left_out = both_sides(simulated, real, mode)
    x, y = configuration_rates(simulated_counts), configuration_rates(real_counts)
    rng = np.random.default_rng(seed)
    measured = Comparison.of(x, y, num_bootstrap=num_bootstrap, rng=rng)
    found = measured.pearson()
    verdict, sentence = _verdict(found, min_correlation)
    return Validity(
        mode=mode,
        pairs=tuple(
            ConfigurationPair(
                configuration=name,
                simulated=rate_of(s, num_bootstrap=num_bootstrap, seed=seed),
                real=rate_of(r, num_bootstrap=num_bootstrap, seed=seed),
            )
            for name, s, r in zip(names, simulated_counts, real_counts, strict=True)
        ),
        pearson=found,
        spearman=measured.ranks(spearman),
        kendall=measured.ranks(kendall),
        concordance=measured.concordance(),
        deming_slope=measured.slope(),
        mean_difference=measured.mean_difference(),
        ceiling=split_half_ceiling(y, num_splits=num_splits, num_bootstrap=num_bootstrap, rng=rng),
        verdict=verdict,
        sentence=sentence,
        num_configurations=len(names),
        num_simulated_dialogues=x.num_dialogues,
        num_real_dialogues=y.num_dialogues,
        left_out=left_out,
    )


def _verdict(found: Agreement, min_correlation: float) -> tuple[ValidityVerdict, str]:
    if found.estimate is None:
        return ValidityVerdict.NOT_ENOUGH_EVIDENCE, f"Not enough evidence: {found.reason}."
    interval = found.intervals[0]
    if interval.low is None or interval.high is None:
        return (
            ValidityVerdict.NOT_ENOUGH_EVIDENCE,
            f"Not enough evidence: r = {found.estimate:.2f} over {found.num_configurations} configurations, "
            f"without an interval ({interval.reason}).",
        )
    shown = (
        f"r = {found.disattenuated:.2f} without sampling noise ({found.estimate:.2f} as observed), "
        f"95 % interval [{interval.low:.2f}, {interval.high:.2f}] over {found.num_configurations} configurations"
    )
    if interval.low > min_correlation:
        return ValidityVerdict.SUPPORTED, f"Supported: {shown}, all of it above {min_correlation:.2f}."
    if interval.high < min_correlation:
        return ValidityVerdict.NOT_SUPPORTED, f"Not supported: {shown}, all of it below {min_correlation:.2f}."
    return ValidityVerdict.NOT_ENOUGH_EVIDENCE, f"Not enough evidence: {shown}, which includes {min_correlation:.2f}."
