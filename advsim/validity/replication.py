"""How far A/B results found with a simulator replicate on real dialogues, over pairs that were chosen beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advsim.rates.ab_test import Difference, adjusted, compare
from advsim.rates.intervals import LEVEL, MIN_CLUSTERS_FOR_BOUNDS, wilson_interval
from advsim.rates.outcomes import MessageOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class AbPair:
    """Two configurations to compare, named before any result is seen. ``primary`` pairs are what is claimed on."""

    a: str
    b: str
    primary: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PairShare:
    """A share of pairs. ``value`` is None without a pair.

    Bounds are Wilson's on min(pairs, configurations / 2): as many pairs as can be made without using a configuration
    twice, since pairs that share one go together. None with fewer than 10 of them.
    """

    value: float | None
    low: float | None
    high: float | None
    num_pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResult:
    """Both comparisons of a pair.

    Attributes:
        pair: the pair.
        simulated: A minus B among simulated conversations; ``p_adjusted`` is Holm's over the primary pairs.
        real: A minus B among real dialogues, in the same way.
        same_sign: whether both have one sign; None where a difference is 0 or not known.
        softly_agreed: 1 - |one-sided p simulated - one-sided p real|; None where one is not known.
    """

    pair: AbPair
    simulated: Difference
    real: Difference
    same_sign: bool | None
    softly_agreed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AbReplication:
    """A/B results, simulated against real.

    Attributes:
        pairs: in the order given.
        sign_agreement: share of pairs of one sign; pairs without a sign are left out.
        sign_agreement_significant: the same among primary pairs whose real difference is significant (Holm, .05).
        soft_pairwise_accuracy: mean of ``softly_agreed`` (arXiv 2409.09598): of pairs that real dialogues cannot tell
            apart it asks that the simulator cannot either.
        num_without_sign: pairs with a difference of 0 or none.
        num_equivalent: (simulated, real) pairs shown to differ by less than the margin.
    """

    pairs: tuple[PairResult, ...]
    sign_agreement: PairShare
    sign_agreement_significant: PairShare
    soft_pairwise_accuracy: PairShare
    num_without_sign: int
    num_equivalent: tuple[int, int]


def ab_replication(
    simulated: Mapping[str, Sequence[MessageOutcome]],
    real: Mapping[str, Sequence[MessageOutcome]],
    pairs: Sequence[AbPair],
    *,
    mode: str | None = None,
    margin: float = 0.02,
    num_permutations: int = 1000,
    seed: int = 0,
) -> AbReplication:
    """Compare the arms of every pair on both sides.

    Args:
        simulated: messages by configuration.
        real: messages by configuration.
        pairs: chosen beforehand; Holm's correction is over the primary ones.
        mode: a mode id; None: any mode.
        margin: see :func:`advsim.rates.ab_test.compare`.
        num_permutations: see there.
        seed: of the draws.

    Raises:
        ValueError: a pair names a configuration that is missing on a side, names one twice, or is there twice.
    """
    _check(simulated, real, pairs)
    by_side = [
        _holm_over_primary(
            pairs,
            [
                compare(side[p.a], side[p.b], mode=mode, margin=margin, num_permutations=num_permutations, seed=seed)
                for p in pairs
            ],
        )
        for side in (simulated, real)
    ]
    results = tuple(_result(p, s, r) for p, s, r in zip(pairs, *by_side, strict=True))
    signed = [result for result in results if result.same_sign is not None]
    significant = [result for result in signed if result.pair.primary and _significant(result.real)]
    soft = [result for result in results if result.softly_agreed is not None]
    return AbReplication(
        pairs=results,
        sign_agreement=_share(signed, [float(bool(result.same_sign)) for result in signed]),
        sign_agreement_significant=_share(significant, [float(bool(result.same_sign)) for result in significant]),
        soft_pairwise_accuracy=_share(soft, [result.softly_agreed or 0.0 for result in soft]),
        num_without_sign=len(results) - len(signed),
        num_equivalent=(
            sum(_equivalent(result.simulated) for result in results),
            sum(_equivalent(result.real) for result in results),
        ),
    )


def _check(
    simulated: Mapping[str, Sequence[MessageOutcome]],
    real: Mapping[str, Sequence[MessageOutcome]],
    pairs: Sequence[AbPair],
) -> None:
    seen: set[frozenset[str]] = set()
    for pair in pairs:
        for name in (pair.a, pair.b):
            if missing := [s for s, side in (("simulated", simulated), ("real", real)) if name not in side]:
                raise ValueError(f"pair {pair.a} / {pair.b}: no {' and no '.join(missing)} messages of {name}")
        if pair.a == pair.b or frozenset((pair.a, pair.b)) in seen:
            raise ValueError(f"pair {pair.a} / {pair.b}: expected two configurations, and every pair once")
        seen.add(frozenset((pair.a, pair.b)))


def _holm_over_primary(pairs: Sequence[AbPair], differences: Sequence[Difference]) -> list[Difference]:
    corrected = iter(adjusted([d for p, d in zip(pairs, differences, strict=True) if p.primary], method="holm"))
    return [next(corrected) if p.primary else d for p, d in zip(pairs, differences, strict=True)]


def _result(pair: AbPair, simulated: Difference, real: Difference) -> PairResult:
    signs = [0 if not d.difference else (1 if d.difference > 0 else -1) for d in (simulated, real)]
    p = (simulated.p_greater, real.p_greater)
    return PairResult(
        pair=pair,
        simulated=simulated,
        real=real,
        same_sign=signs[0] == signs[1] if all(signs) else None,
        softly_agreed=None if p[0] is None or p[1] is None else 1 - abs(p[0] - p[1]),
    )


def _significant(difference: Difference) -> bool:
    return difference.p_adjusted is not None and difference.p_adjusted <= 1 - LEVEL + 1e-12


def _equivalent(difference: Difference) -> bool:
    return difference.equivalence_p is not None and difference.equivalence_p <= 1 - LEVEL + 1e-12


def _share(results: Sequence[PairResult], values: Sequence[float]) -> PairShare:
    if not values:
        return PairShare(value=None, low=None, high=None, num_pairs=0)
    value = sum(values) / len(values)
    num_configurations = len({name for result in results for name in (result.pair.a, result.pair.b)})
    num_disjoint = min(len(values), num_configurations // 2)
    bounds = wilson_interval(value * num_disjoint, num_disjoint) if num_disjoint >= MIN_CLUSTERS_FOR_BOUNDS else None
    return PairShare(
        value=value, low=bounds[0] if bounds else None, high=bounds[1] if bounds else None, num_pairs=len(values)
    )
