"""Bias, coverage of intervals and simulators flagged over many repetitions, each with its Monte-Carlo error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from multiprocessing import get_context

import numpy as np

from advsim.lab.config import LabConfig
from advsim.lab.experiment import Check, Quantity, Repetition, run_repetition
from advsim.lab.truth import Truth, compute_truth
from advsim.rates.intervals import wilson_interval

GOAL = (0.93, 0.97)
"""What a 95 % interval should cover."""

SHIPPED: dict[Quantity, str] = {
    Quantity.RATE: "logit_t",
    Quantity.RARE_RATE: "logit_t",
    Quantity.AB_DIFFERENCE: "mover",
    Quantity.AB_PAIRED: "mover",
    Quantity.PEARSON: "disattenuated",
    Quantity.PEARSON_SAME_USERS: "disattenuated",
    Quantity.CONCORDANCE: "disattenuated",
    Quantity.CONCORDANCE_SAME_USERS: "disattenuated",
    Quantity.DIVERGENCE: "cluster_bootstrap",
    Quantity.AUC_ALIKE: "refitted",
}
"""The method that reports print first."""

_TOLERANCE = 1e-9  # a truth of exactly 1 must not fall out of an interval that ends at 1


class Standing(StrEnum):
    """How a coverage stands to ``GOAL``; OPEN where too few repetitions tell."""

    WITHIN = "within"
    BELOW = "too short"
    ABOVE = "too long"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Estimates of one quantity by one method over all repetitions.

    Attributes:
        quantity: what is estimated.
        simulator: of which simulator; ``real`` for real users alone.
        method: name of the interval's method.
        truth: mean of the true values.
        bias: mean of estimate minus truth.
        bias_error: its Monte-Carlo standard error.
        coverage: share of intervals that hold the truth; None where no interval was given.
        coverage_low: 95 % Wilson interval of that share.
        coverage_high: see ``coverage_low``.
        share_low: share of intervals that lie below the truth.
        share_high: share of intervals that lie above it.
        mean_width: of the intervals.
        num_intervals: intervals given.
        num_without: estimates without one.
    """

    quantity: Quantity
    simulator: str
    method: str
    truth: float
    bias: float
    bias_error: float
    coverage: float | None
    coverage_low: float | None
    coverage_high: float | None
    share_low: float | None
    share_high: float | None
    mean_width: float | None
    num_intervals: int
    num_without: int

    @property
    def standing(self) -> Standing | None:
        """WITHIN where the coverage lies within the goal, OPEN where only its Monte-Carlo interval does."""
        if self.coverage is None or self.coverage_low is None or self.coverage_high is None:
            return None
        if self.coverage_high < GOAL[0]:
            return Standing.BELOW
        if self.coverage_low > GOAL[1]:
            return Standing.ABOVE
        return Standing.WITHIN if GOAL[0] <= self.coverage <= GOAL[1] else Standing.OPEN

    @property
    def is_shipped(self) -> bool:
        """Whether reports print this method first."""
        return SHIPPED[self.quantity] == self.method


@dataclass(frozen=True, slots=True, kw_only=True)
class RepetitionShare:
    """A share of repetitions, or of A/B pairs in all of them, with its 95 % Wilson interval; ``num`` is of what."""

    value: float
    low: float
    high: float
    num: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorResult:
    """What became of a simulator.

    Attributes:
        name: its name.
        is_right: whether it equals the population.
        true_pearson: true r over the population of chatbots.
        true_concordance: the same for concordance.
        true_bias: mean true simulated less real rate.
        flagged: repetitions in which it was flagged as another population.
        supported: repetitions in which the verdict on r was "supported".
        right_signs: A/B pairs of a clear true difference whose simulated difference has its sign.
        ceiling_gap: mean observed r less the real-vs-real ceiling; None where undefined.
        ceiling_gap_error: its Monte-Carlo standard error.
    """

    name: str
    is_right: bool
    true_pearson: float
    true_concordance: float
    true_bias: float
    flagged: RepetitionShare | None
    supported: RepetitionShare | None
    right_signs: RepetitionShare | None
    ceiling_gap: float | None
    ceiling_gap_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabResult:
    """All of a lab run."""

    num_repetitions: int
    coverages: tuple[Coverage, ...]
    simulators: tuple[SimulatorResult, ...]


def run_lab(config: LabConfig, *, advance: Callable[[int], None] | None = None) -> LabResult:
    """Compute the truth and run all repetitions, over ``config.num_workers`` processes.

    Args:
        config: the configuration; the same one gives the same result.
        advance: called with 1 after each repetition.
    """
    truth = compute_truth(config)
    repeat = partial(run_repetition, config, truth)
    repeated: list[Repetition] = []

    def collect(repetitions: Iterable[Repetition]) -> None:
        for repetition in repetitions:
            repeated.append(repetition)
            if advance is not None:
                advance(1)

    if config.num_workers == 1:
        collect(map(repeat, range(config.num_repetitions)))
    else:
        # Not forked: a progress bar draws from a thread.
        with ProcessPoolExecutor(config.num_workers, mp_context=get_context("spawn")) as pool:
            collect(pool.map(repeat, range(config.num_repetitions)))
    return summarise(config, truth, repeated)


def summarise(config: LabConfig, truth: Truth, repetitions: Sequence[Repetition]) -> LabResult:
    """Bias, coverage and shares over repetitions."""
    groups: dict[tuple[Quantity, str, str], list[Check]] = {}
    for repetition in repetitions:
        for check in repetition.checks:
            groups.setdefault((check.quantity, check.simulator, check.method), []).append(check)
    order = list(Quantity)
    return LabResult(
        num_repetitions=len(repetitions),
        coverages=tuple(_coverage(*key, groups[key]) for key in sorted(groups, key=lambda key: order.index(key[0]))),
        simulators=tuple(_simulator(name, config, truth, repetitions) for name in config.simulators),
    )


def _coverage(quantity: Quantity, simulator: str, method: str, checks: Sequence[Check]) -> Coverage:
    errors = np.array([check.estimate - check.truth for check in checks])
    bounds = np.array(
        [(c.low, c.high, c.truth) for c in checks if c.low is not None and c.high is not None], dtype=np.float64
    ).reshape(-1, 3)
    low, high, truth = bounds.T
    below, above = high < truth - _TOLERANCE, low > truth + _TOLERANCE
    num = len(bounds)
    num_covered = num - int(below.sum()) - int(above.sum())
    covered = wilson_interval(num_covered, num) if num else (None, None)
    return Coverage(
        quantity=quantity,
        simulator=simulator,
        method=method,
        truth=float(np.mean([check.truth for check in checks])),
        bias=float(errors.mean()),
        bias_error=float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else 0.0,
        coverage=num_covered / num if num else None,
        coverage_low=covered[0],
        coverage_high=covered[1],
        share_low=float(below.mean()) if num else None,
        share_high=float(above.mean()) if num else None,
        mean_width=float((high - low).mean()) if num else None,
        num_intervals=num,
        num_without=len(checks) - num,
    )


def _simulator(name: str, config: LabConfig, truth: Truth, repetitions: Sequence[Repetition]) -> SimulatorResult:
    gaps = np.array([repetition.ceiling_gap[name] for repetition in repetitions if name in repetition.ceiling_gap])
    return SimulatorResult(
        name=name,
        is_right=config.simulators[name].is_right,
        true_pearson=truth.agreement[name].pearson,
        true_concordance=truth.agreement[name].concordance,
        true_bias=truth.agreement[name].bias,
        flagged=_share(sum(r.flagged[name] for r in repetitions), len(repetitions)),
        supported=_share(sum(r.supported[name] for r in repetitions), len(repetitions)),
        right_signs=_share(sum(r.right_signs[name] for r in repetitions), sum(r.num_signs for r in repetitions)),
        ceiling_gap=float(gaps.mean()) if len(gaps) else None,
        ceiling_gap_error=float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else None,
    )


def _share(num_true: int, num: int) -> RepetitionShare | None:
    if num == 0:
        return None
    low, high = wilson_interval(num_true, num)
    return RepetitionShare(value=num_true / num, low=low, high=high, num=num)
