"""Predictive validity: do the failure rates found with a simulator agree with the real ones over configurations?

The configurations count as a sample of those one could have built. An observed correlation of noisy rates is biased low
(Spearman 1904), so each of r and concordance is given twice, as observed and without the noise, and every interval
carries the name of its method:

- ``disattenuated`` (r, concordance; the verdict reads it): jackknife on Fisher's z, divided by the reliability;
- ``jackknife`` (slope): Student's t over configurations;
- ``student_t`` (mean difference): Student's t over configurations, with the noise that shared users bring.

Intervals of the observed coefficients (Fisher's z, a bootstrap over configurations and the dialogues within them) lie
too low and are not given; :mod:`advsim.lab.intervals` has them, to measure that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from advsim.rates.digits import digits_apart
from advsim.rates.outcomes import MessageOutcome
from advsim.rates.rates import rate_of
from advsim.records import Rate
from advsim.validity.agreement import Agreement, Comparison
from advsim.validity.ceiling import Ceiling, split_half_ceiling
from advsim.validity.paired_rates import both_sides


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
    seed: int | np.random.Generator = 0,
) -> Validity:
    """Compare simulated and real failure rates over configurations.

    Args:
        simulated: messages by configuration.
        real: messages by configuration, of the same configurations.
        mode: a mode id; None: any mode.
        min_correlation: the verdict is "supported" where the whole interval of r lies above it, "not supported" where
            all of it lies below. .5: half of the standardised difference between configurations carries over.
        num_bootstrap: draws of the ceiling's interval.
        num_splits: random halves of the real dialogues, for the ceiling.
        seed: of the ceiling's draws; a generator goes on from where it is.

    Raises:
        ValueError: a configuration is there on one side only, or a number is out of its range.
    """
    if not -1 < min_correlation < 1 or num_bootstrap < 1 or num_splits < 1:
        raise ValueError(
            f"got min_correlation {min_correlation}, num_bootstrap {num_bootstrap}, num_splits {num_splits}; "
            "expected a correlation between -1 and 1, and numbers of 1 or more"
        )
    paired = both_sides(simulated, real, mode)
    comparison = Comparison.of(paired.simulated, paired.real)
    r = comparison.pearson()
    verdict, sentence = _verdict(r, min_correlation)
    return Validity(
        mode=mode,
        pairs=tuple(
            ConfigurationPair(configuration=name, simulated=rate_of(simulated_counts), real=rate_of(real_counts))
            for name, simulated_counts, real_counts in zip(paired.names, paired.simulated, paired.real, strict=True)
        ),
        pearson=r,
        spearman=comparison.spearman(),
        kendall=comparison.kendall(),
        concordance=comparison.concordance(),
        deming_slope=comparison.slope(),
        mean_difference=comparison.mean_difference(),
        ceiling=split_half_ceiling(
            comparison.y, num_splits=num_splits, num_bootstrap=num_bootstrap, rng=np.random.default_rng(seed)
        ),
        verdict=verdict,
        sentence=sentence,
        num_configurations=len(paired.names),
        num_simulated_dialogues=comparison.x.num_dialogues,
        num_real_dialogues=comparison.y.num_dialogues,
        left_out=paired.left_out,
    )


def _verdict(r: Agreement, min_correlation: float) -> tuple[ValidityVerdict, str]:
    if r.estimate is None:
        return ValidityVerdict.NOT_ENOUGH_EVIDENCE, f"Not enough evidence: {r.reason}."
    interval = r.intervals[0]
    if interval.low is None or interval.high is None:
        return (
            ValidityVerdict.NOT_ENOUGH_EVIDENCE,
            f"Not enough evidence: r = {r.estimate:.2f} over {r.num_configurations} configurations, "
            f"without an interval ({interval.reason}).",
        )
    digits = max(digits_apart(end, min_correlation) for end in (interval.low, interval.high))
    least = f"{min_correlation:.{digits}f}"
    shown = (
        f"r = {r.disattenuated:.2f} without sampling noise ({r.estimate:.2f} as observed), 95 % interval "
        f"[{interval.low:.{digits}f}, {interval.high:.{digits}f}] over {r.num_configurations} configurations"
    )
    if interval.low > min_correlation:
        return ValidityVerdict.SUPPORTED, f"Supported: {shown}, all of it above {least}."
    if interval.high < min_correlation:
        return ValidityVerdict.NOT_SUPPORTED, f"Not supported: {shown}, all of it below {least}."
    return ValidityVerdict.NOT_ENOUGH_EVIDENCE, f"Not enough evidence: {shown}, which includes {least}."
