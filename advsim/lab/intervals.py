"""Interval methods that real runs do not use, because they cover too little: the lab measures by how much.

The shipped ones beside them: :func:`advsim.rates.intervals.rate_interval` for rates, and
:func:`advsim.validity.coefficients.corrected_interval` for r and concordance.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from advsim.rates.intervals import ENDS, Floats, Interval, rate_interval
from advsim.validity.agreement import Comparison
from advsim.validity.coefficients import (
    MIN_CONFIGURATIONS_FOR_BOUNDS,
    concordance,
    fisher_z,
    pearson,
    percentile_interval,
    too_few,
)
from advsim.validity.paired_rates import ConfigurationRates

Indices = npt.NDArray[np.intp]


def percentile_rate_interval(
    failing: Floats, judged: Floats, *, num_bootstrap: int, seed: int
) -> tuple[float, float] | None:
    """Percentile cluster bootstrap of a rate; the shipped interval where clusters show no spread or are too few.

    Args:
        failing: failing messages of each cluster, shape (clusters,).
        judged: judged messages of each cluster, shape (clusters,).
        num_bootstrap: draws.
        seed: of the draws.
    """
    shipped = rate_interval(failing, judged)
    if shipped is None or failing.sum() in (0.0, judged.sum()):
        return shipped
    num_clusters = len(judged)
    drawn = np.random.default_rng(seed).integers(0, num_clusters, size=(num_bootstrap, num_clusters))
    low, high = np.quantile(failing[drawn].sum(1) / judged[drawn].sum(1), ENDS)
    return float(low), float(high)


def fisher_interval(r: float, num_configurations: int) -> Interval:
    """Fisher's z interval of an observed Pearson's r: tanh(atanh r ± 1.96 / sqrt(n - 3)).

    Args:
        r: the correlation.
        num_configurations: n.
    """
    if num_configurations < MIN_CONFIGURATIONS_FOR_BOUNDS:
        return too_few("fisher_z", num_configurations)
    half = float(stats.norm.ppf(ENDS[1])) * math.sqrt(1 / (num_configurations - 3))
    return Interval(method="fisher_z", low=math.tanh(fisher_z(r) - half), high=math.tanh(fisher_z(r) + half))


def joint_bootstrap(
    comparison: Comparison, *, num_bootstrap: int, rng: np.random.Generator
) -> tuple[Interval, Interval]:
    """Percentiles of observed r and concordance over configurations and the clusters within them.

    Clusters are drawn anew on top of the noise that is in the rates already, so that both intervals lie too low, the
    more so the fewer the clusters.

    Args:
        comparison: simulated and real rates.
        num_bootstrap: draws; none are made where there are too few configurations for bounds.
        rng: draws them.

    Returns:
        The intervals of Pearson's r and of Lin's concordance.
    """
    n = len(comparison.x.rates)
    drawn = rng.integers(0, max(n, 1), size=(num_bootstrap if n >= MIN_CONFIGURATIONS_FOR_BOUNDS else 0, n))
    x, y = (resampled(side, drawn, rng) for side in (comparison.x, comparison.y))
    return (
        percentile_interval("joint_bootstrap", pearson(x, y), n),
        percentile_interval("joint_bootstrap", concordance(x, y), n),
    )


def resampled(rates: ConfigurationRates, configurations: Indices, rng: np.random.Generator) -> Floats:
    """Rates with clusters drawn anew: shared ones once for all configurations, own ones for each.

    Args:
        rates: counts of K configurations.
        configurations: indices of shape (draws, K).
        rng: draws the clusters.

    Returns:
        Rates of shape (draws, K); NaN where none of the drawn clusters met the configuration.
    """
    failing, judged = np.zeros((2, *configurations.shape))
    if num_shared := rates.shared.judged.shape[1]:
        times = rng.multinomial(num_shared, [1 / num_shared] * num_shared, size=len(configurations)).astype(float)
        failing += np.take_along_axis(times @ rates.shared.failing.T, configurations, axis=1)
        judged += np.take_along_axis(times @ rates.shared.judged.T, configurations, axis=1)
    if num_places := rates.own.judged.shape[1]:
        sizes = rates.num_own[configurations][..., None]
        drawn = (rng.random((*configurations.shape, num_places), dtype=np.float32) * sizes).astype(np.intp)
        last = np.maximum(sizes - 1, 0).astype(np.intp)
        flat = np.minimum(drawn, last) + configurations[..., None] * num_places
        there = np.arange(num_places) < sizes
        failing += np.where(there, rates.own.failing.ravel()[flat], 0).sum(-1)
        judged += np.where(there, rates.own.judged.ravel()[flat], 0).sum(-1)
    drawn_rates = np.full(judged.shape, math.nan)
    np.divide(failing, judged, out=drawn_rates, where=judged > 0)
    return drawn_rates
