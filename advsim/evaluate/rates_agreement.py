"""How far simulated and real failure rates are apart over configurations, and whether that is as good as nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from advsim.evaluate.agreement import (
    MIN_CONFIGURATIONS_FOR_BOUNDS,
    percentile_interval,
)
from advsim.evaluate.ceiling import Ceiling
from advsim.evaluate.configuration_rates import both_sides, configuration_rates
from advsim.evaluate.intervals import LEVEL, Floats, Interval
from advsim.evaluate.outcomes import MessageOutcome
from advsim.evaluate.validity import Agreement, predictive_validity


@dataclass(frozen=True, slots=True, kw_only=True)
class RatesAgreement:
    """Calibration of simulated against real rates. Differences are simulated minus real, as shares of messages.

    Attributes:
        mean_difference: over configurations; None without one.
        mean_difference_interval: Student's t over configurations.
        mean_absolute_difference: over configurations, as observed.
        mean_absolute_difference_interval: percentiles over configurations.
        expected_by_noise: the mean absolute difference that sampling noise alone would give; None where not known.
        margin: the difference that counts as none.
        equivalence_p: two one-sided t tests of the mean difference against the margin (Schuirmann 1987).
        equivalent: whether ``equivalence_p`` is at most .05.
        concordance: to be held against ``ceiling.concordance``.
        ceiling: what real rates reach against real ones.
        sentence: all of it in words.
        num_configurations: compared.
    """

    mean_difference: float | None
    mean_difference_interval: Interval
    mean_absolute_difference: float | None
    mean_absolute_difference_interval: Interval
    expected_by_noise: float | None
    margin: float
    equivalence_p: float | None
    equivalent: bool
    concordance: Agreement
    ceiling: Ceiling
    sentence: str
    num_configurations: int


def rates_agree(
    simulated: Mapping[str, Sequence[MessageOutcome]],
    real: Mapping[str, Sequence[MessageOutcome]],
    *,
    mode: str | None = None,
    margin: float = 0.02,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> RatesAgreement:
    """Measure calibration over configurations: how far rates are apart, and whether their mean difference is nil.

    Args:
        simulated: messages by configuration.
        real: messages by configuration, of the same configurations.
        mode: a mode id; None: any mode.
        margin: the largest mean difference that counts as none, as a share of messages.
        num_bootstrap: draws.
        seed: of the draws.

    Raises:
        ValueError: a configuration is there on one side only, or ``margin`` is not between 0 and 1.
    """
    if not 0 < margin < 1:
        raise ValueError(f"margin: got {margin}, expected a share of messages between 0 and 1")
    validity = predictive_validity(simulated, real, mode=mode, num_bootstrap=num_bootstrap, seed=seed)
    _, simulated_counts, real_counts, _ = both_sides(simulated, real, mode)
    x, y = configuration_rates(simulated_counts), configuration_rates(real_counts)
    difference = x.rates - y.rates
    n = len(difference)
    noise = np.sqrt(2 / math.pi * (x.variances + y.variances))  # E|d| of a normal d with mean 0
    p = equivalence_p(difference, margin)
    mean_interval = mean_interval_t(difference)
    drawn = np.random.default_rng(seed).integers(0, max(n, 1), size=(num_bootstrap, n))
    draws = np.abs(difference)[drawn].sum(1) / max(n, 1)
    absolute = percentile_interval("configuration_bootstrap", draws, n)
    mean, far = (float(difference.mean()), float(np.abs(difference).mean())) if n else (None, None)
    expected = float(noise.mean()) if n and np.isfinite(noise).all() else None
    return RatesAgreement(
        mean_difference=mean,
        mean_difference_interval=mean_interval,
        mean_absolute_difference=far,
        mean_absolute_difference_interval=absolute,
        expected_by_noise=expected,
        margin=margin,
        equivalence_p=p,
        equivalent=p is not None and p <= 1 - LEVEL + 1e-12,
        concordance=validity.concordance,
        ceiling=validity.ceiling,
        sentence=_sentence(mean, mean_interval, far, expected, p, margin, n),
        num_configurations=n,
    )


def mean_interval_t(values: Floats) -> Interval:
    """Student's t interval of a mean over configurations or pairs."""
    n = len(values)
    if n < MIN_CONFIGURATIONS_FOR_BOUNDS:
        reason = f"got {n} configurations, needs {MIN_CONFIGURATIONS_FOR_BOUNDS}"
        return Interval(method="student_t", low=None, high=None, reason=reason)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * float(values.std(ddof=1)) / math.sqrt(n)
    return Interval(method="student_t", low=float(values.mean()) - half, high=float(values.mean()) + half)


def equivalence_p(values: Floats, margin: float) -> float | None:
    """Larger p of two one-sided t tests that the mean lies inside of ±margin; None with too few values."""
    n = len(values)
    if n < MIN_CONFIGURATIONS_FOR_BOUNDS:
        return None
    error = float(values.std(ddof=1)) / math.sqrt(n)
    room = margin - abs(float(values.mean()))
    if error < 1e-12:
        return 0.0 if room > 0 else 1.0
    return float(stats.t.sf(room / error, n - 1))


def _sentence(
    mean: float | None,
    interval: Interval,
    far: float | None,
    expected: float | None,
    p: float | None,
    margin: float,
    n: int,
) -> str:
    if mean is None or far is None:
        return "No configuration has a rate on both sides."
    bounds = (
        f"95 % interval [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
        if interval.low is not None and interval.high is not None
        else f"no interval: {interval.reason}"
    )
    noise = "" if expected is None else f" (sampling noise alone would give {100 * expected:.1f})"
    said = (
        f"Simulated minus real rate is {100 * mean:+.1f} points on average over {n} configurations ({bounds}); "
        f"mean absolute difference {100 * far:.1f} points{noise}."
    )
    if p is None:
        return said
    shown = "is shown to be" if p <= 1 - LEVEL + 1e-12 else "is not shown to be"
    return f"{said} The mean difference {shown} within ±{100 * margin:.1f} points (equivalence p = {p:.3f})."
