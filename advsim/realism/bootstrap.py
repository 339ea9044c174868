"""Percentile bootstrap over clusters (users or dialogues), as every figure with an interval in this folder uses it."""

from __future__ import annotations

import numpy as np

from advsim.models.embedder import FloatArray
from advsim.rates.intervals import LEVEL

_PERCENTILES = (50 - 50 * LEVEL, 50 + 50 * LEVEL)  # exactly 2.5 and 97.5: (1 - LEVEL) / 2 is not


def cluster_draws(num_clusters: int, *, num_samples: int, rng: np.random.Generator) -> FloatArray:
    """How often each cluster is in each bootstrap sample, shape (samples, clusters)."""
    drawn = rng.multinomial(num_clusters, np.full(num_clusters, 1.0 / num_clusters), size=num_samples)
    return drawn.astype(np.float64)


def percentile_bounds(drawn: FloatArray) -> tuple[float, float]:
    """Both ends of the 95 % percentile interval of a figure's values in the samples, shape (samples,)."""
    low, high = np.percentile(drawn, _PERCENTILES)
    return float(low), float(high)
