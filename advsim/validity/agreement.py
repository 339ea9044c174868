"""Coefficients of agreement of simulated with real rates, each with its interval or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from advsim.rates.intervals import Floats, Interval
from advsim.rates.outcomes import Tally
from advsim.validity.coefficients import (
    MIN_RELIABILITY,
    Coefficient,
    concordance,
    corrected_interval,
    deming_slope,
    jackknife_interval,
    mean_interval,
    pearson,
)
from advsim.validity.paired_rates import ConfigurationRates, configuration_rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One coefficient. ``estimate`` is None where it is undefined, ``disattenuated`` where no correction is possible.

    Attributes:
        estimate: of the rates as observed.
        disattenuated: without the sampling noise of the rates, cut at -1 and 1; for r and concordance only.
        intervals: each with its method; the verdict reads the first. Rank coefficients have none: of those known none
            holds for noisy rates.
        reason: why ``estimate`` or ``disattenuated`` is None.
        num_configurations: n of the coefficient.
    """

    estimate: float | None
    disattenuated: float | None
    intervals: tuple[Interval, ...]
    reason: str
    num_configurations: int


def _undefined(x: Floats, y: Floats) -> str:
    """Why no coefficient of agreement exists; empty where it does."""
    if len(x) < 2:
        return f"agreement over configurations is undefined for {len(x)} configuration{'' if len(x) == 1 else 's'}"
    if len(x) < 3:
        return "two configurations always lie on a line: agreement says nothing"
    same = [side for side, rates in (("simulated", x), ("real", y)) if np.ptp(rates) == 0]
    return f"the {' and the '.join(same)} rates are the same in all configurations" if same else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Simulated (x) and real (y) rates of the same K configurations.

    Attributes:
        x: simulated counts.
        y: real counts.
    """

    x: ConfigurationRates
    y: ConfigurationRates

    @classmethod
    def of(cls, simulated: Sequence[Tally], real: Sequence[Tally]) -> Comparison:
        """Compare counts of the same configurations in the same order, each with a judged message."""
        return cls(x=configuration_rates(simulated), y=configuration_rates(real))

    @property
    def undefined(self) -> str:
        """Why no coefficient exists; empty where it does."""
        return _undefined(self.x.rates, self.y.rates)

    def pearson(self) -> Agreement:
        """Pearson's r, observed and without noise."""
        if self.undefined:
            return self._nothing("disattenuated")
        observed = float(pearson(self.x.rates, self.y.rates))
        reason = self._not_correctable()
        correction = 1.0
        if not reason:
            correction = 1 / math.sqrt((self.x.reliability or 1) * (self.y.reliability or 1))
        return self._corrected(pearson, observed, correction, reason)

    def concordance(self) -> Agreement:
        """Lin's concordance, observed and without noise."""
        if self.undefined:
            return self._nothing("disattenuated")
        observed = float(concordance(self.x.rates, self.y.rates))
        reason = self._not_correctable()
        shift = math.sqrt(max(0.0, self.x.common_noise + self.y.common_noise))
        correction = 1.0 if reason else self._concordance_correction()
        return self._corrected(concordance, observed, correction, reason, shift=shift)

    def _concordance_correction(self) -> float:
        """Corrected / observed concordance: noise is taken out of both variances and of the squared mean difference."""
        x, y = self.x, self.y
        var_x, var_y = float(x.rates.var(ddof=1)), float(y.rates.var(ddof=1))
        difference = x.rates - y.rates
        squared = float(difference.mean()) ** 2
        # Noise that moves all rates of a side together is in the mean difference, but not in its spread.
        of_mean = float(difference.var(ddof=1)) / len(difference) + x.common_noise + y.common_noise
        without_noise = max(0.0, squared - of_mean)
        return max(1.0, (var_x + var_y + squared) / (var_x + var_y - x.noise - y.noise + without_noise))

    def spearman(self) -> Agreement:
        """Spearman's rho as observed."""
        return self._ranks(lambda x, y: float(stats.spearmanr(x, y).statistic))

    def kendall(self) -> Agreement:
        """Kendall's tau-b as observed."""
        return self._ranks(lambda x, y: float(stats.kendalltau(x, y).statistic))

    def _ranks(self, coefficient: Callable[[Floats, Floats], float]) -> Agreement:
        """A rank coefficient as observed: noise lowers it too, and there is no standard correction for it."""
        if self.undefined:
            return self._nothing()
        return Agreement(
            estimate=coefficient(self.x.rates, self.y.rates),
            disattenuated=None,
            intervals=(),
            reason="rank coefficients are not corrected for noise",
            num_configurations=len(self.x.rates),
        )

    def mean_difference(self) -> Agreement:
        """Mean of simulated less real rate: Student's t over configurations, and the shift that shared users bring."""
        difference = self.x.rates - self.y.rates
        if not len(difference):
            return self._nothing("student_t")
        shared_variance = max(0.0, self.x.common_noise) + max(0.0, self.y.common_noise)
        return Agreement(
            estimate=float(difference.mean()),
            disattenuated=None,
            intervals=(mean_interval(difference, shared_variance=shared_variance),),
            reason="sampling noise does not bias a mean",
            num_configurations=len(difference),
        )

    def slope(self) -> Agreement:
        """Deming slope of real on simulated rates."""
        if self.undefined:
            return self._nothing("jackknife")
        noise_x, noise_y = self.x.noise, self.y.noise
        known = math.isfinite(noise_x) and math.isfinite(noise_y) and noise_x > 0 and noise_y > 0
        coefficient = deming_slope(noise_y / noise_x if known else 1.0)
        value = float(coefficient(self.x.rates, self.y.rates))
        if not math.isfinite(value):
            return self._nothing("jackknife", reason="simulated and real rates do not covary")
        return Agreement(
            estimate=value,
            disattenuated=None,
            intervals=(jackknife_interval(coefficient, self.x.rates, self.y.rates),),
            reason="" if known else "noise of the rates not known: taken as equal on both sides",
            num_configurations=len(self.x.rates),
        )

    def _corrected(
        self, coefficient: Coefficient, observed: float, correction: float, reason: str, *, shift: float = 0.0
    ) -> Agreement:
        interval = (
            Interval(method="disattenuated", low=None, high=None, reason=reason)
            if reason
            else corrected_interval(coefficient, self.x.rates, self.y.rates, correction=correction, shift=shift)
        )
        return Agreement(
            estimate=observed,
            disattenuated=None if reason else min(1.0, max(-1.0, observed * correction)),
            intervals=(interval,),
            reason=reason,
            num_configurations=len(self.x.rates),
        )

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
