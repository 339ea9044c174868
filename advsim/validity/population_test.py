"""A test that flags a simulator whose chatbot failures differ from the real ones by more than chance.

It is a permutation test: where simulated and real dialogues come from one population, it does not matter which are
called simulated. It is exact then, whatever the dialogues look like: a right simulator is flagged in at most ``alpha``
of all studies. How large a difference a study leaves open is not said here but by the intervals of the differences
(:func:`advsim.rates.ab_test.compare`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from advsim.rates.intervals import Floats
from advsim.rates.outcomes import MessageOutcome, ModeCounts, mode_counts
from advsim.validity.paired_rates import both_sides

MAX_REASONS = 5
"""Reasons that are given at most, the clearest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorVerdict:
    """Whether the simulated rates differ from the real ones beyond chance.

    Attributes:
        flagged: whether ``p_value`` is at most ``alpha``. Not flagged is no proof that the simulator is right.
        p_value: of the joint test; None where nothing could be compared.
        reasons: where flagged, what differs most, with permutation p-values adjusted over all comparisons; where
            nothing could be compared, why.
        num_configurations: configurations compared.
        num_permutations: draws of the null.
        caution: what can make the p-value too small; empty where nothing is known to.
    """

    flagged: bool
    p_value: float | None
    reasons: tuple[str, ...]
    num_configurations: int
    num_permutations: int
    caution: str = ""

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        why = "; ".join(self.reasons)
        if self.p_value is None:
            return f"No population test of the chatbot failures: {why}."
        test = f"(population test, p = {self.p_value:.3f})"
        caution = f" Caution: {self.caution}." if self.caution else ""
        if self.flagged:
            return (
                f"The simulated users' chatbot failures differ from the real ones beyond chance {test}: {why}.{caution}"
            )
        return (
            f"By the chatbot failures, the simulated users are not told apart from the real ones {test}; that is no "
            f"proof that they are right.{caution}"
        )


def simulator_verdict(
    simulated: Mapping[str, Sequence[MessageOutcome]],
    real: Mapping[str, Sequence[MessageOutcome]],
    *,
    modes: Sequence[str] | None = None,
    alpha: float = 0.05,
    num_permutations: int = 999,
    seed: int = 0,
) -> SimulatorVerdict:
    """Flag a simulator whose failure rates differ systematically from the real ones.

    The difference of rates in each configuration and mode (any mode included) is divided by its standard deviation over
    the permutations. Three statistics look for three kinds of error: the sum of squares of all of them (anything); the
    sum over modes of the squared total over configurations (a shift in one direction everywhere); the largest single
    square (one mode or one configuration far off). The least of their three permutation p-values is the statistic of
    the joint test, calibrated on the same permutations (Westfall and Young 1993).

    Users (dialogues where users are not known) change sides as wholes. One that is in several configurations changes
    sides in all of them at once, so that replies of many chatbots to the same people are not taken for independent;
    this needs ids that recur in the same configurations on both sides. Where they recur on one side only,
    configurations are permuted one by one, and ``caution`` says so.

    An id that is on both sides, in the same configurations, changes sides with itself. That is right where a simulator
    plays the very same people, who fail alike on both sides, and it is right where ids are alike by chance: whom a user
    changes places with does not matter then.

    Args:
        simulated: messages by configuration.
        real: messages by configuration, of the same configurations.
        modes: to compare besides any mode; None: all that were found anywhere.
        alpha: share of right simulators that may be flagged.
        num_permutations: draws of the null.
        seed: of the draws.

    Raises:
        ValueError: a configuration is there on one side only, or a number is out of its range.
    """
    if not 0 < alpha < 1 or (num_permutations + 1) * alpha < 1:
        raise ValueError(
            f"got alpha {alpha} with num_permutations {num_permutations}; expected alpha between 0 and 1 and at least "
            "1 / alpha - 1 permutations, without which no p-value is that small"
        )
    names = both_sides(simulated, real, None).names
    if not names:
        return _nothing("no chatbot has judged messages on both sides", 0)
    shown = sorted({mode for side in (simulated, real) for rows in side.values() for row in rows for mode in row.modes})
    columns = (None, *(shown if modes is None else modes))
    sides = [(mode_counts(simulated[name], columns), mode_counts(real[name], columns)) for name in names]
    if not any(_varies(pair) for pair in sides):
        return _nothing("no rate varies between dialogues: there is nothing to compare", len(names))
    units = _units(sides, shared=True)
    recur_alike = units.exchangeable
    if not recur_alike:
        units = _units(sides, shared=False)
    difference = _permuted_differences(sides, units, num_permutations, np.random.default_rng(seed))
    z = _standardised(difference)
    shift = _standardised(z.sum(1))
    statistics = np.stack([(z**2).sum((1, 2)), (shift**2).sum(1), (z**2).max((1, 2))], 1)
    p_value = float(_upper_p(-_upper_p(statistics).min(1))[0])
    flagged = p_value <= alpha
    return SimulatorVerdict(
        flagged=flagged,
        p_value=p_value,
        reasons=_reasons(names, columns, difference[0], z, shift, alpha) if flagged else (),
        num_configurations=len(names),
        num_permutations=num_permutations,
        caution="" if recur_alike else _RECUR_ON_ONE_SIDE,
    )


_RECUR_ON_ONE_SIDE = (
    "users recur over the chatbots on one side in another way than on the other and were taken for as many people: "
    "the test flags too easily"
)

_Side = tuple[ModeCounts, ModeCounts]
"""Counts of a configuration, simulated and real."""

_Unit = tuple[int, object]
"""What changes sides as a whole: (0 simulated or 1 real, identity)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Units:
    """Who may change places with whom.

    Attributes:
        alike: the units by the configurations they are in, which may change places with one another.
        by_configuration: the units of each configuration, in the order of its counts.
    """

    alike: Mapping[tuple[int, ...], Sequence[_Unit]]
    by_configuration: Sequence[Sequence[_Unit]]

    @property
    def exchangeable(self) -> bool:
        """Whether every unit has one of the other side to change places with."""
        return all(len({side for side, _ in members}) == 2 for members in self.alike.values())


def _permuted_differences(
    sides: Sequence[_Side], units: _Units, num_permutations: int, rng: np.random.Generator
) -> Floats:
    """Simulated minus real rates, as observed in row 0, then permuted: (1 + permutations, configurations, modes)."""
    is_simulated: dict[_Unit, npt.NDArray[np.bool_]] = {}
    for members in units.alike.values():
        is_simulated.update(_relabelled(members, num_permutations, rng))
    return np.stack(
        [
            _difference(pair, np.stack([is_simulated[unit] for unit in members], 1))
            for pair, members in zip(sides, units.by_configuration, strict=True)
        ],
        1,
    )


def _varies(pair: _Side) -> bool:
    """Whether some of the messages of a configuration fail in a mode, and some do not."""
    failing, judged = sum(side.failing.sum(0) for side in pair), sum(side.judged.sum(0) for side in pair)
    return bool(((failing > 0) & (failing < judged)).any())


def _relabelled(
    members: Sequence[_Unit], num_permutations: int, rng: np.random.Generator
) -> dict[_Unit, npt.NDArray[np.bool_]]:
    """Whether each unit is simulated, as observed and then permuted, shape (1 + permutations,).

    Units of one identity on both sides change places with each other, the others are dealt out anew.
    """
    both = [identity for identity, times in Counter(identity for _, identity in members).items() if times == 2]
    paired = frozenset(both)
    alone = [unit for unit in members if unit[1] not in paired]
    labels = np.array([side == 0 for side, _ in alone], dtype=np.bool_)
    order = rng.random((num_permutations, len(alone))).argsort(1)
    dealt = np.concatenate([labels[None], labels[order]])
    swapped = rng.random((num_permutations, len(both))) < 0.5
    stays = np.concatenate([np.ones((1, len(both)), dtype=np.bool_), ~swapped])
    relabelled: dict[_Unit, npt.NDArray[np.bool_]] = {unit: dealt[:, i] for i, unit in enumerate(alone)}
    for i, identity in enumerate(both):
        relabelled[0, identity], relabelled[1, identity] = stays[:, i], ~stays[:, i]
    return relabelled


def _units(sides: Sequence[_Side], *, shared: bool) -> _Units:
    """Sort clusters by the configurations they are in.

    Args:
        sides: counts of each configuration.
        shared: whether one cluster id in two configurations is one unit.
    """
    present: dict[_Unit, list[int]] = defaultdict(list)
    by_configuration: list[list[_Unit]] = []
    for k, pair in enumerate(sides):
        members: list[_Unit] = []
        for side, counts in enumerate(pair):
            members += [(side, cluster if shared else (k, cluster)) for cluster in counts.clusters]
        for unit in members:
            present[unit].append(k)
        by_configuration.append(members)
    alike: dict[tuple[int, ...], list[_Unit]] = defaultdict(list)
    for unit, where in present.items():
        alike[tuple(where)].append(unit)
    return _Units(alike=alike, by_configuration=by_configuration)


def _difference(pair: _Side, is_simulated: npt.NDArray[np.bool_]) -> Floats:
    """Simulated minus real rate for each labelling; 0 where a side has no judged message, shape (labellings, modes)."""
    failing = np.concatenate([side.failing for side in pair])
    judged = np.concatenate([side.judged for side in pair])
    label = is_simulated.astype(np.float64)
    failing_s, judged_s = label @ failing, label @ judged
    failing_r, judged_r = failing.sum(0) - failing_s, judged.sum(0) - judged_s
    there = (judged_s > 0) & (judged_r > 0)
    rate_s = failing_s / np.where(there, judged_s, 1.0)
    return np.where(there, rate_s - failing_r / np.where(there, judged_r, 1.0), 0.0)


def _standardised(values: Floats) -> Floats:
    """Values less their mean over all labellings, in standard deviations; 0 where nothing varies."""
    spread = values.std(0)
    varies = spread > 1e-12
    return np.where(varies, (values - values.mean(0)) / np.where(varies, spread, 1.0), 0.0)


def _upper_p(statistics: Floats) -> Floats:
    """Share of labellings with a statistic at least as large, for every labelling, along axis 0."""
    # Rounding must not tell labellings apart that are the same.
    rounded = np.round(statistics, 9)
    ordered = np.sort(rounded, 0)
    below = (
        np.searchsorted(ordered, rounded)
        if statistics.ndim == 1
        else np.stack([np.searchsorted(ordered[:, i], rounded[:, i]) for i in range(statistics.shape[1])], 1)
    )
    return np.asarray((len(statistics) - below) / len(statistics), dtype=np.float64)


def _reasons(
    names: Sequence[str], modes: Sequence[str | None], observed: Floats, z: Floats, shift: Floats, alpha: float
) -> tuple[str, ...]:
    everywhere = (shift**2).max(1)
    anywhere = (z**2).max((1, 2))
    differences: list[tuple[float, float, str]] = []
    for m, mode in enumerate(modes):
        p = float(np.mean(everywhere >= shift[0, m] ** 2))
        where = "over all configurations, " if len(names) > 1 else ""
        differences.append((p, -abs(shift[0, m]), _reason(where, mode, observed[:, m].mean(), p)))
        for k, name in enumerate(names if len(names) > 1 else ()):
            p = float(np.mean(anywhere >= z[0, k, m] ** 2))
            differences.append((p, -abs(z[0, k, m]), _reason(f"configuration {name}, ", mode, observed[k, m], p)))
    clear = sorted(reason for reason in differences if reason[0] <= alpha)[:MAX_REASONS]
    return tuple(text for _, _, text in clear) or (
        "differences too small to be told one by one, but too many for chance",
    )


def _reason(where: str, mode: str | None, difference: float, p: float) -> str:
    direction = "above" if difference > 0 else "below"
    return (
        f"{where}{mode or 'any mode'}: simulated rate {abs(100 * difference):.1f} points {direction} the real one "
        f"(adjusted p = {p:.3f})"
    )


def _nothing(reason: str, num_configurations: int) -> SimulatorVerdict:
    return SimulatorVerdict(
        flagged=False, p_value=None, reasons=(reason,), num_configurations=num_configurations, num_permutations=0
    )
