"""Split-half ceiling: how well real rates agree with real rates of as many other dialogues."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advsim.rates.intervals import Floats, Interval
from advsim.validity.coefficients import (
    MIN_CONFIGURATIONS_FOR_BOUNDS,
    Coefficient,
    concordance,
    pearson,
    percentile_interval,
)
from advsim.validity.paired_rates import ConfigurationRates


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """Agreement of real with real rates, to be held against the observed (not the disattenuated) coefficients.

    The mean over random halves of the users (dialogues where users are not known), the same halves for all
    configurations that met the same users, stepped up to the full number of dialogues by Spearman-Brown,
    2 r / (1 + r) (Spearman 1910, Brown 1910).

    Attributes:
        pearson: None where undefined, as ``reason`` says.
        pearson_interval: percentiles over configurations and halves.
        concordance: stepped up in the same way, which is exact for equal means.
        concordance_interval: percentiles over configurations and halves.
        num_splits: halves drawn.
        num_configurations: configurations.
        reason: why there is no ceiling.
    """

    pearson: float | None
    pearson_interval: Interval
    concordance: float | None
    concordance_interval: Interval
    num_splits: int
    num_configurations: int
    reason: str = ""


def split_half_ceiling(
    real: ConfigurationRates, *, num_splits: int, num_bootstrap: int, rng: np.random.Generator
) -> Ceiling:
    """Agreement between random halves of the real dialogues, stepped up to all of them.

    Args:
        real: counts of the configurations.
        num_splits: halves that are drawn.
        num_bootstrap: draws of the interval, each of configurations and of one split.
        rng: draws both.
    """
    n = len(real.rates)
    reason = ""
    if n < 3:
        reason = f"agreement over {n} configuration{'' if n == 1 else 's'} says nothing"
    elif real.num_clusters.min() < 2:
        reason = "a configuration has a single real user or dialogue, which cannot be halved"
    elif np.ptp(real.rates) == 0:
        reason = "the real rates are the same in all configurations"
    if reason:
        return _no_ceiling(reason, num_splits, n)
    first, second = real.halves(num_splits, rng)
    drawn = rng.integers(0, n, size=(num_bootstrap if n >= MIN_CONFIGURATIONS_FOR_BOUNDS else 0, n))
    split = rng.integers(0, num_splits, size=(len(drawn), 1))
    draws = (first[split, drawn], second[split, drawn])
    means = {name: _mean(coefficient, first, second) for name, coefficient in _COEFFICIENTS.items()}
    intervals = {
        name: percentile_interval("split_half_bootstrap", _stepped_up(coefficient(*draws)), n)
        for name, coefficient in _COEFFICIENTS.items()
    }
    return Ceiling(
        pearson=means["pearson"],
        pearson_interval=intervals["pearson"],
        concordance=means["concordance"],
        concordance_interval=intervals["concordance"],
        num_splits=num_splits,
        num_configurations=n,
        reason="" if means["pearson"] is not None else "the rates of the halves do not vary",
    )


_COEFFICIENTS: dict[str, Coefficient] = {"pearson": pearson, "concordance": concordance}


def _stepped_up(r: Floats) -> Floats:
    # At r = -1 the formula has a pole; halves that disagree give no reliability to step up.
    return np.where(r > 0, 2 * r / (1 + np.where(r > 0, r, 0.0)), r)


def _mean(coefficient: Coefficient, first: Floats, second: Floats) -> float | None:
    values = coefficient(first, second)
    defined = values[np.isfinite(values)]
    return float(_stepped_up(defined.mean())) if len(defined) > len(values) / 2 else None


def _no_ceiling(reason: str, num_splits: int, num_configurations: int) -> Ceiling:
    none = Interval(method="split_half_bootstrap", low=None, high=None, reason=reason)
    return Ceiling(
        pearson=None,
        pearson_interval=none,
        concordance=None,
        concordance_interval=none,
        num_splits=num_splits,
        num_configurations=num_configurations,
        reason=reason,
    )
