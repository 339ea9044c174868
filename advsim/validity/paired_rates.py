"""Rates of several configurations with their sampling noise, where the same users may have met several of them.

Where all chatbots answer the same people (a replay, a simulation over one set of scenarios), an unusual person raises
or lowers all rates together. That is no noise in the *differences* between configurations, on which every coefficient
of agreement rests: clusters keep their identity here, so that what they share is known, and halved together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from advsim.rates.intervals import Floats, jackknife_influences, ratio_variance
from advsim.rates.outcomes import MessageOutcome, Tally, tally


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterCounts:
    """Counts of K configurations in C places, 0 where a configuration has no cluster there.

    Attributes:
        failing: failing messages, shape (K, C).
        judged: judged messages, shape (K, C).
    """

    failing: Floats
    judged: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRates:
    """Counts of K configurations, each with a judged message.

    Attributes:
        shared: clusters that met at least two configurations; a place is the same cluster for all of them.
        own: clusters that met one configuration only; each configuration's stand first, the rest is padding.
        num_clusters: clusters of each configuration, shape (K,), all above 0.
        num_own: those of them in ``own``, shape (K,).
        rates: failing / judged, shape (K,).
        covariances: of the sampling noise of the rates, shape (K, K); NaN where a configuration has a single cluster.
        num_dialogues: dialogues in all configurations together.
    """

    shared: ClusterCounts
    own: ClusterCounts
    num_clusters: Floats
    num_own: Floats
    rates: Floats
    covariances: Floats
    num_dialogues: int

    @property
    def variances(self) -> Floats:
        """Sampling variance of each rate, over its clusters, shape (K,)."""
        return np.diagonal(self.covariances)

    @property
    def common_noise(self) -> float:
        """Mean sampling covariance of two configurations: noise that moves all rates alike, 0 without shared users."""
        others = ~np.eye(len(self.rates), dtype=np.bool_)
        return float(self.covariances[others].mean()) if others.any() else 0.0

    @property
    def noise(self) -> float:
        """What sampling adds to the variance between configurations: mean variance less mean covariance."""
        return float(self.variances.mean()) - self.common_noise

    @property
    def reliability(self) -> float | None:
        """Share of the variance between configurations that is no sampling noise; None where it cannot be known."""
        if len(self.rates) < 2 or not np.isfinite(self.variances).all() or np.ptp(self.rates) == 0:
            return None
        return min(1.0, max(0.0, 1 - self.noise / float(self.rates.var(ddof=1))))

    def halves(self, num_splits: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Rates in two random halves of the clusters; a shared cluster falls into the same half for all configurations.

        Returns:
            Two arrays of shape (splits, K); NaN where none of the half's clusters met the configuration.
        """
        shape = self.own.judged.shape
        there = np.arange(shape[1]) < self.num_own[:, None]
        keys = np.where(there, rng.random((num_splits, *shape)), 2.0)
        in_first = keys.argsort(-1).argsort(-1) < (self.num_own[:, None] // 2)
        failing, judged = (in_first * self.own.failing).sum(-1), (in_first * self.own.judged).sum(-1)
        num_shared = self.shared.judged.shape[1]
        chosen = (rng.random((num_splits, num_shared)).argsort(-1).argsort(-1) < num_shared // 2).astype(float)
        failing, judged = failing + chosen @ self.shared.failing.T, judged + chosen @ self.shared.judged.T
        all_failing = self.shared.failing.sum(1) + self.own.failing.sum(1)
        all_judged = self.shared.judged.sum(1) + self.own.judged.sum(1)
        return _rates(failing, judged), _rates(all_failing - failing, all_judged - judged)


def configuration_rates(tallies: Sequence[Tally]) -> ConfigurationRates:
    """Stack the counts of configurations. Each must have a judged message."""
    times = Counter(cluster for counts in tallies for cluster in counts.clusters)
    place = {cluster: i for i, cluster in enumerate(cluster for cluster, n in times.items() if n > 1)}
    at = [np.array([place.get(cluster, -1) for cluster in counts.clusters], dtype=np.intp) for counts in tallies]
    num_own = np.array([(places < 0).sum() for places in at], dtype=np.float64)
    k, most = len(tallies), int(num_own.max(initial=0))
    shared = ClusterCounts(failing=np.zeros((k, len(place))), judged=np.zeros((k, len(place))))
    own = ClusterCounts(failing=np.zeros((k, most)), judged=np.zeros((k, most)))
    for i, (counts, places) in enumerate(zip(tallies, at, strict=True)):
        is_own = places < 0
        for into_shared, into_own, messages in (
            (shared.failing, own.failing, counts.failing),
            (shared.judged, own.judged, counts.judged),
        ):
            into_shared[i, places[~is_own]] = messages[~is_own]
            into_own[i, : int(is_own.sum())] = messages[is_own]
    sizes = np.array([counts.num_clusters for counts in tallies], dtype=np.float64)
    totals = np.array([counts.judged.sum() for counts in tallies], dtype=np.float64)
    rates = np.array([counts.failing.sum() for counts in tallies], dtype=np.float64) / totals
    return ConfigurationRates(
        shared=shared,
        own=own,
        num_clusters=sizes,
        num_own=num_own,
        rates=rates,
        covariances=_covariances(tallies, at, len(place)),
        num_dialogues=sum(counts.num_dialogues for counts in tallies),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTallies:
    """Counts of the configurations that have a judged message on both sides, in the same order.

    Attributes:
        names: of the configurations.
        simulated: their simulated messages.
        real: their real messages.
        left_out: names of the others.
    """

    names: tuple[str, ...]
    simulated: tuple[Tally, ...]
    real: tuple[Tally, ...]
    left_out: tuple[str, ...]


def both_sides(
    simulated: Mapping[str, Sequence[MessageOutcome]], real: Mapping[str, Sequence[MessageOutcome]], mode: str | None
) -> PairedTallies:
    """Count the messages of both sides.

    Args:
        simulated: messages by configuration.
        real: messages by configuration, of the same configurations.
        mode: a mode id; None: any mode.

    Raises:
        ValueError: a configuration is there on one side only.
    """
    if alone := sorted(set(simulated) ^ set(real)):
        raise ValueError(f"configurations on one side only: {', '.join(alone)}; expected the same ones on both sides")
    counts = {name: (tally(simulated[name], mode), tally(real[name], mode)) for name in simulated}
    kept = tuple(name for name, sides in counts.items() if all(side.num_clusters for side in sides))
    return PairedTallies(
        names=kept,
        simulated=tuple(counts[name][0] for name in kept),
        real=tuple(counts[name][1] for name in kept),
        left_out=tuple(name for name in counts if name not in kept),
    )


def _covariances(tallies: Sequence[Tally], places: Sequence[npt.NDArray[np.intp]], num_shared: int) -> Floats:
    """Covariances of the rates by the jackknife of :func:`ratio_variance`, over the clusters that they share.

    Args:
        tallies: of the configurations.
        places: of their clusters among the shared ones, below 0 where a cluster is a configuration's own.
        num_shared: clusters that met at least two configurations.
    """
    influences = np.zeros((len(tallies), num_shared))
    for counts, at, of_shared in zip(tallies, places, influences, strict=True):
        if counts.num_clusters > 1:
            scale = math.sqrt(1 - 1 / counts.num_clusters)
            of_shared[at[at >= 0]] = scale * jackknife_influences(counts.failing, counts.judged)[at >= 0]
    covariances = influences @ influences.T
    variances = [ratio_variance(c.failing, c.judged) if c.num_clusters > 1 else math.nan for c in tallies]
    np.fill_diagonal(covariances, variances)
    return np.asarray(covariances, dtype=np.float64)


def _rates(failing: Floats, judged: Floats) -> Floats:
    rates = np.full(judged.shape, math.nan)
    np.divide(failing, judged, out=rates, where=judged > 0)
    return rates
