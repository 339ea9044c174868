"""A repetition of the lab: draw a study, apply the estimators of real runs, and set each beside its truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import jensenshannon

from advsim.lab.chatbots import MODES
from advsim.lab.classifiers import classify_alike
from advsim.lab.config import LabConfig
from advsim.lab.intervals import fisher_interval, joint_bootstrap, percentile_rate_interval
from advsim.lab.population import population_of
from advsim.lab.study import Outcomes, Study, draw_study
from advsim.lab.truth import Truth, true_mode_shares, true_rates
from advsim.rates.ab_test import compare
from advsim.rates.divergence import mode_divergence
from advsim.rates.intervals import Interval, rate_interval
from advsim.rates.outcomes import MessageOutcome, tally
from advsim.validity.agreement import Agreement, Comparison
from advsim.validity.paired_rates import both_sides
from advsim.validity.population_test import simulator_verdict
from advsim.validity.verdict import Validity, ValidityVerdict, predictive_validity

REAL = "real"
"""In place of a simulator's name, where an estimate is about the real users alone."""

RARE_MODE = "missed_risk"
"""The mode whose own rate is checked as well: it needs a crisis, and few users have one."""


CLEAR_DIFFERENCE = 0.05
"""A true difference of two chatbots' rates that an A/B test is expected to find."""


_NUM_AB_PERMUTATIONS = 99  # the p-value is not looked at here


class Quantity(StrEnum):
    """What is estimated."""

    RATE = "rate"
    RARE_RATE = "rate_of_missed_risk"
    AB_DIFFERENCE = "ab_difference"
    AB_PAIRED = "ab_difference_paired"
    PEARSON = "pearson"
    PEARSON_SAME_USERS = "pearson_same_users"
    CONCORDANCE = "concordance"
    CONCORDANCE_SAME_USERS = "concordance_same_users"
    DIVERGENCE = "divergence"
    AUC_ALIKE = "auc_alike"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """An estimate beside its truth. ``low`` and ``high`` are None where the method gave no interval."""

    quantity: Quantity
    simulator: str
    method: str
    estimate: float
    low: float | None
    high: float | None
    truth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """What one study showed.

    Attributes:
        checks: all estimates.
        flagged: by simulator, whether it was flagged.
        supported: by simulator, whether the verdict on r alone was "supported".
        ceiling_gap: by simulator, observed r less the real-vs-real ceiling.
        right_signs: by simulator, A/B pairs whose simulated difference has the sign of the true real one.
        num_signs: A/B pairs that differ by at least ``CLEAR_DIFFERENCE`` in truth; only these are looked at.
    """

    checks: tuple[Check, ...]
    flagged: Mapping[str, bool]
    supported: Mapping[str, bool]
    ceiling_gap: Mapping[str, float]
    right_signs: Mapping[str, int]
    num_signs: int


def run_repetition(config: LabConfig, truth: Truth, repetition: int) -> Repetition:
    """Draw one study and estimate everything. Depends on nothing but its arguments."""
    study = draw_study(config, repetition=repetition)
    seed = repetition
    checks = [
        *_rate_checks(config, truth, study, seed),
        *_ab_checks(truth, study, seed),
        *_auc_checks(config, repetition),
    ]
    flagged: dict[str, bool] = {}
    supported: dict[str, bool] = {}
    gaps: dict[str, float] = {}
    right_signs: dict[str, int] = {}
    true_differences = _pair_differences(true_rates(truth.real, study.chatbots))
    clear = np.abs(true_differences) >= CLEAR_DIFFERENCE
    for name, simulated in study.simulated.items():
        own_users = _agreement_of(simulated, study.real, num_bootstrap=config.num_bootstrap, seed=seed)
        validity = own_users.validity
        checks += _agreement_checks(name, truth, own_users, (Quantity.PEARSON, Quantity.CONCORDANCE))
        same_users = _agreement_of(
            study.simulated_replayed[name], study.replayed, num_bootstrap=config.num_bootstrap, seed=seed
        )
        checks += _agreement_checks(
            name, truth, same_users, (Quantity.PEARSON_SAME_USERS, Quantity.CONCORDANCE_SAME_USERS)
        )
        checks.append(_divergence_check(name, config, truth, study, seed))
        flagged[name] = simulator_verdict(
            simulated,
            study.real,
            modes=MODES,
            alpha=config.alpha,
            num_permutations=config.num_permutations,
            seed=seed,
        ).flagged
        supported[name] = validity.verdict is ValidityVerdict.SUPPORTED
        if validity.pearson.estimate is not None and validity.ceiling.pearson is not None:
            gaps[name] = validity.pearson.estimate - validity.ceiling.pearson
        simulated_differences = _pair_differences(np.array([pair.simulated.estimate for pair in validity.pairs]))
        right_signs[name] = int((simulated_differences * true_differences > 0)[clear].sum())
    return Repetition(
        checks=tuple(checks),
        flagged=flagged,
        supported=supported,
        ceiling_gap=gaps,
        right_signs=right_signs,
        num_signs=int(clear.sum()),
    )


def _pair_differences(rates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """First less second, third less fourth and so on; no chatbot is in two pairs."""
    half = len(rates) // 2
    return np.asarray(rates[: 2 * half : 2] - rates[1 : 2 * half : 2])


def _rate_checks(config: LabConfig, truth: Truth, study: Study, seed: int) -> Iterator[Check]:
    for quantity, mode in ((Quantity.RATE, None), (Quantity.RARE_RATE, RARE_MODE)):
        true = true_rates(truth.real, study.chatbots, mode=mode)
        for number, rows in enumerate(study.real.values()):
            counts = tally(rows, mode)
            if counts.rate is None:
                continue
            percentile = percentile_rate_interval(
                counts.failing, counts.judged, num_bootstrap=config.num_bootstrap, seed=seed + number
            )
            for method, bounds in (
                ("logit_t", rate_interval(counts.failing, counts.judged)),
                ("percentile", percentile),
            ):
                yield Check(
                    quantity=quantity,
                    simulator=REAL,
                    method=method,
                    estimate=counts.rate,
                    low=bounds[0] if bounds else None,
                    high=bounds[1] if bounds else None,
                    truth=float(true[number]),
                )


def _ab_checks(truth: Truth, study: Study, seed: int) -> Iterator[Check]:
    true = _pair_differences(true_rates(truth.real, study.chatbots))
    names = study.chatbots.names
    for quantity, outcomes in ((Quantity.AB_DIFFERENCE, study.real), (Quantity.AB_PAIRED, study.replayed)):
        for number, value in enumerate(true.tolist()):
            a, b = names[2 * number], names[2 * number + 1]
            difference = compare(outcomes[a], outcomes[b], num_permutations=_NUM_AB_PERMUTATIONS, seed=seed)
            if difference.difference is not None:
                yield Check(
                    quantity=quantity,
                    simulator=REAL,
                    method="mover",
                    estimate=difference.difference,
                    low=difference.low,
                    high=difference.high,
                    truth=value,
                )


def _auc_checks(config: LabConfig, repetition: int) -> Iterator[Check]:
    estimate, intervals = classify_alike(
        population_of(config.population, spread=config.spread),
        num_users=config.num_users,
        max_user_turns=config.max_user_turns,
        seed=repetition,
        rng=np.random.default_rng((config.seed, 6, repetition)),
    )
    for interval in intervals:
        yield Check(
            quantity=Quantity.AUC_ALIKE,
            simulator=REAL,
            method=interval.method,
            estimate=estimate,
            low=interval.low,
            high=interval.high,
            truth=0.5,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _MeasuredAgreement:
    """What a verdict says, and beside it the intervals that verdicts leave out, of r and of concordance."""

    validity: Validity
    of_pearson: tuple[Interval, ...]
    of_concordance: tuple[Interval, ...]


def _agreement_of(simulated: Outcomes, real: Outcomes, *, num_bootstrap: int, seed: int) -> _MeasuredAgreement:
    paired = both_sides(simulated, real, None)
    comparison = Comparison.of(paired.simulated, paired.real)
    rng = np.random.default_rng(seed)  # the joint bootstrap draws first, then the ceiling goes on from there
    joint_pearson, joint_concordance = joint_bootstrap(comparison, num_bootstrap=num_bootstrap, rng=rng)
    validity = predictive_validity(simulated, real, num_bootstrap=num_bootstrap, seed=rng)
    observed = validity.pearson.estimate
    plain = () if observed is None else (fisher_interval(observed, validity.num_configurations),)
    return _MeasuredAgreement(
        validity=validity, of_pearson=(joint_pearson, *plain), of_concordance=(joint_concordance,)
    )


def _agreement_checks(
    name: str, truth: Truth, measured: _MeasuredAgreement, quantities: tuple[Quantity, Quantity]
) -> Iterator[Check]:
    true, validity = truth.agreement[name], measured.validity
    both: tuple[tuple[Quantity, Agreement, tuple[Interval, ...], float], ...] = (
        (quantities[0], validity.pearson, measured.of_pearson, true.pearson),
        (quantities[1], validity.concordance, measured.of_concordance, true.concordance),
    )
    for quantity, agreement, others, value in both:
        for interval in (*agreement.intervals, *others):
            estimate = agreement.disattenuated if interval.method == "disattenuated" else agreement.estimate
            if estimate is not None:
                yield Check(
                    quantity=quantity,
                    simulator=name,
                    method=interval.method,
                    estimate=estimate,
                    low=interval.low,
                    high=interval.high,
                    truth=value,
                )


def _divergence_check(name: str, config: LabConfig, truth: Truth, study: Study, seed: int) -> Check:
    divergence = mode_divergence(
        _all_rows(study.simulated[name]),
        _all_rows(study.real),
        modes=MODES,
        num_draws=config.num_bootstrap,
        seed=seed,
    )
    shares = (true_mode_shares(truth.simulated[name], study.chatbots), true_mode_shares(truth.real, study.chatbots))
    return Check(
        quantity=Quantity.DIVERGENCE,
        simulator=name,
        method="cluster_bootstrap",
        estimate=divergence.jensen_shannon or 0.0,
        low=divergence.low,
        high=divergence.high,
        truth=float(jensenshannon(*shares, base=2)) ** 2,
    )


def _all_rows(outcomes: Outcomes) -> list[MessageOutcome]:
    return [row for rows in outcomes.values() for row in rows]
