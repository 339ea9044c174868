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

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from advsim.evaluate.agreement import (
    MIN_CONFIGURATIONS_FOR_BOUNDS,
    MIN_RELIABILITY,
    Coefficient,
    ConfigurationRates,
    both_sides,
    concordance,
    configuration_rates,
    corrected_interval,
    deming_slope,
    fisher_interval,
    jackknife_interval,
    kendall,
    pearson,
    percentile_interval,
    spearman,
)
from advsim.evaluate.ceiling import Ceiling, split_half_ceiling
from advsim.evaluate.intervals import Floats, Interval
from advsim.evaluate.outcomes import MessageOutcome
from advsim.evaluate.rates import rate_of
from advsim.records import Rate


class ValidityVerdict(StrEnum):
    """What the interval of the correlation says."""

    SUPPORTED = "supported"
    NOT_SUPPORTED = "not_supported"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One coefficient. ``estimate`` is None where it is undefined, ``disattenuated`` where no correction is possible.

    Attributes:
        estimate: of the rates as observed.
        disattenuated: without the sampling noise of the rates, cut at -1 and 1; for r and concordance only.
        intervals: by method, the one to read first in front.
        reason: why ``estimate`` or ``disattenuated`` is None.
        num_configurations: n of the coefficient.
    """

    estimate: float | None
    disattenuated: float | None
    intervals: tuple[Interval, ...]
    reason: str
    num_configurations: int

    @property
    def preferred(self) -> Interval:
        """The first interval that has bounds, or else the first, with its reason."""
        return next((interval for interval in self.intervals if interval.low is not None), self.intervals[0])

    def interval(self, method: str) -> Interval:
        """The interval of that method.

        Raises:
            ValueError: there is none of that name.
        """
        for interval in self.intervals:
            if interval.method == method:
                return interval
        raise ValueError(f"method: got {method}, expected one of {', '.join(i.method for i in self.intervals)}")


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
    measured = _Measured(x=x, y=y, undefined=_undefined(x.rates, y.rates), draws=_draws(x, y, num_bootstrap, rng))
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
        ceiling=split_half_ceiling(y, num_splits=num_splits, num_bootstrap=num_bootstrap, rng=rng),
        verdict=verdict,
        sentence=sentence,
        num_configurations=len(names),
        num_simulated_dialogues=x.num_dialogues,
        num_real_dialogues=y.num_dialogues,
        left_out=left_out,
    )


def _undefined(x: Floats, y: Floats) -> str:
    """Why no coefficient of agreement exists; empty where it does."""
    if len(x) < 2:
        return f"agreement over configurations is undefined for {len(x)} configuration{'' if len(x) == 1 else 's'}"
    if len(x) < 3:
        return "two configurations always lie on a line: agreement says nothing"
    same = [side for side, rates in (("simulated", x), ("real", y)) if np.ptp(rates) == 0]
    return f"the {' and the '.join(same)} rates are the same in all configurations" if same else ""


_Pair = tuple[Floats, Floats]


def _draws(x: ConfigurationRates, y: ConfigurationRates, num_bootstrap: int, rng: np.random.Generator) -> _Pair:
    n = len(x.rates)
    if n < MIN_CONFIGURATIONS_FOR_BOUNDS:
        return np.empty((0, n)), np.empty((0, n))
    drawn = rng.integers(0, n, size=(num_bootstrap, n))
    return x.resampled(drawn, rng), y.resampled(drawn, rng)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """Both sides, why nothing can be said (or an empty string), and joint bootstrap rates, each (draws, K)."""

    x: ConfigurationRates
    y: ConfigurationRates
    undefined: str
    draws: _Pair

    def pearson(self) -> Agreement:
        if self.undefined:
            return self._nothing("disattenuated", "joint_bootstrap", "fisher_z")
        observed = float(pearson(self.x.rates, self.y.rates))
        reason = self._not_correctable()
        correction = 1.0
        if not reason:
            correction = 1 / math.sqrt((self.x.reliability or 1) * (self.y.reliability or 1))
        return self._corrected(pearson, observed, correction, reason, fisher_interval(observed, len(self.x.rates)))

    def concordance(self) -> Agreement:
        if self.undefined:
            return self._nothing("disattenuated", "joint_bootstrap")
        observed = float(concordance(self.x.rates, self.y.rates))
        reason = self._not_correctable()
        return self._corrected(concordance, observed, 1.0 if reason else self._concordance_correction(), reason)

    def _concordance_correction(self) -> float:
        """Corrected / observed concordance: noise is taken out of both variances and of the squared mean difference."""
        x, y = self.x, self.y
        var_x, var_y = float(x.rates.var(ddof=1)), float(y.rates.var(ddof=1))
        difference = x.rates - y.rates
        squared = float(difference.mean()) ** 2
        without_noise = max(0.0, squared - float(difference.var(ddof=1)) / len(difference))
        noise = float(x.variances.mean() + y.variances.mean())
        return max(1.0, (var_x + var_y + squared) / (var_x + var_y - noise + without_noise))

    def ranks(self, coefficient: Coefficient) -> Agreement:
        """Rank coefficients as observed: noise lowers them too, and there is no standard correction for it."""
        if self.undefined:
            return self._nothing("fisher_z", "joint_bootstrap")
        n = len(self.x.rates)
        if coefficient is spearman:
            value = float(stats.spearmanr(self.x.rates, self.y.rates).statistic)
            plain = fisher_interval(value, n, variance_factor=1 + value**2 / 2)
        else:
            value = float(stats.kendalltau(self.x.rates, self.y.rates).statistic)
            plain = fisher_interval(value, n, variance_factor=0.437, lost=4)
        return Agreement(
            estimate=value,
            disattenuated=None,
            intervals=(plain, self._joint(coefficient)),
            reason="rank coefficients are not corrected for noise",
            num_configurations=n,
        )

    def slope(self) -> Agreement:
        if self.undefined:
            return self._nothing("jackknife", "joint_bootstrap")
        noise_x, noise_y = float(self.x.variances.mean()), float(self.y.variances.mean())
        known = math.isfinite(noise_x) and math.isfinite(noise_y) and noise_x > 0 and noise_y > 0
        coefficient = deming_slope(noise_y / noise_x if known else 1.0)
        value = float(coefficient(self.x.rates, self.y.rates))
        if not math.isfinite(value):
            return self._nothing("jackknife", "joint_bootstrap", reason="simulated and real rates do not covary")
        return Agreement(
            estimate=value,
            disattenuated=None,
            intervals=(jackknife_interval(coefficient, self.x.rates, self.y.rates), self._joint(coefficient)),
            reason="" if known else "noise of the rates not known: taken as equal on both sides",
            num_configurations=len(self.x.rates),
        )

    def _corrected(
        self, coefficient: Coefficient, observed: float, correction: float, reason: str, *more: Interval
    ) -> Agreement:
        first = (
            Interval(method="disattenuated", low=None, high=None, reason=reason)
            if reason
            else corrected_interval(coefficient, self.x.rates, self.y.rates, correction=correction)
        )
        return Agreement(
            estimate=observed,
            disattenuated=None if reason else min(1.0, max(-1.0, observed * correction)),
            intervals=(first, self._joint(coefficient), *more),
            reason=reason,
            num_configurations=len(self.x.rates),
        )

    def _joint(self, coefficient: Coefficient) -> Interval:
        return percentile_interval("joint_bootstrap", coefficient(*self.draws), len(self.x.rates))

    def _not_correctable(self) -> str:
        for side, rates in (("simulated", self.x), ("real", self.y)):
            if rates.reliability is None:
                return f"a configuration has a single {side} user or dialogue: the noise of its rate is not known"
            if rates.reliability < MIN_RELIABILITY:
                return f"the {side} rates differ between configurations by hardly more than sampling noise"
        return ""

    def _nothing(self, *methods: str, reason: str = "") -> Agreement:
        reason = reason or self.undefined
        return Agreement(
            estimate=None,
            disattenuated=None,
            intervals=tuple(Interval(method=method, low=None, high=None, reason=reason) for method in methods),
            reason=reason,
            num_configurations=len(self.x.rates),
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
