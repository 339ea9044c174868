"""Spread of typing habits over users: distributions over dialogues, real against simulated.

A simulator can have the mean of every habit right and still be one and the same person: some people never punctuate,
some always do, and a chatbot that fails with the first group is only found by a simulator that has both. So a dialogue
counts once, whatever its length, and what is compared are distributions over dialogues, not pooled turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp, wasserstein_distance
from statsmodels.stats.multitest import multipletests

from advsim.corpus.habits import (
    has_emoji,
    has_question_mark,
    is_short,
    lacks_end_punctuation,
    num_words,
    starts_lowercase,
    words_of,
)
from advsim.models.embedder import FloatArray
from advsim.rates.intervals import LEVEL, MIN_CLUSTERS_FOR_BOUNDS
from advsim.realism.bootstrap import cluster_draws, percentile_bounds
from advsim.realism.user_texts import UserTexts, num_user_turns_in_common

TYPE_TOKEN_BUDGET = 50
"""Words of a dialogue's user on which its type-token ratio is taken; dialogues with fewer have none."""

MIN_DIALOGUES = 5
"""A side with fewer dialogues is described, but not compared."""


class Habit(StrEnum):
    """Typing habits; a dialogue's user turns give one value of each."""

    LOWERCASE_START = "lowercase_start"
    NO_END_PUNCTUATION = "no_end_punctuation"
    QUESTION = "question"
    SHORT = "short"
    EMOJI = "emoji"
    TURN_WORDS = "turn_words"
    TYPE_TOKEN = "type_token"
    USER_TURNS = "user_turns"


PER_TURN: Mapping[Habit, Callable[[str], float]] = {
    Habit.LOWERCASE_START: starts_lowercase,
    Habit.NO_END_PUNCTUATION: lacks_end_punctuation,
    Habit.QUESTION: has_question_mark,
    Habit.SHORT: is_short,
    Habit.EMOJI: has_emoji,
    Habit.TURN_WORDS: num_words,
}
"""Habits that every turn shows; a dialogue's value is the mean over its turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HabitSummary:
    """Distribution of a habit over dialogues. ``std`` (n - 1) is None for one dialogue, all figures for none."""

    habit: Habit
    mean: float | None
    std: float | None
    p10: float | None
    p50: float | None
    p90: float | None
    num_dialogues: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HabitComparison:
    """A habit of simulated against real users. A figure is None where it cannot be given; ``note`` says why.

    Attributes:
        habit: what is counted.
        real: distribution over the real dialogues.
        simulated: distribution over the simulated ones.
        wasserstein: distance of the two distributions, in the habit's unit (scipy ``wasserstein_distance``).
        ks: largest difference of the two distribution functions, 0 to 1 (scipy ``ks_2samp``).
        p_value: of ``wasserstein`` when users are dealt to the two sides at random (permutation; all dialogues of a
            user go together).
        p_adjusted: ``p_value`` after Holm over all habits.
        std_ratio: how much simulated users differ from each other, relative to real ones: between-user standard
            deviations. For habits of a turn, the chance spread of a mean over few turns is taken off both (one-way
            random effects: variance of the dialogue means less mean within-variance / turns); 0 then means that
            simulated users differ by no more than chance.
        std_ratio_low: lower end of the 95 % percentile interval (bootstrap over users on each side).
        std_ratio_high: its upper end.
        note: why a figure is missing.
    """

    habit: Habit
    real: HabitSummary
    simulated: HabitSummary
    wasserstein: float | None = None
    ks: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    std_ratio: float | None = None
    std_ratio_low: float | None = None
    std_ratio_high: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadComparison:
    """All habits. Habits of a turn are of the first ``turn_budget`` user turns of dialogues that have so many."""

    habits: tuple[HabitComparison, ...]
    turn_budget: int
    num_real: int
    num_simulated: int
    num_real_users: int
    num_simulated_users: int
    num_permutations: int
    num_bootstrap: int


def describe_habits(dialogues: Sequence[UserTexts]) -> tuple[HabitSummary, ...]:
    """Distribution of every habit over dialogues, all turns of each."""
    return tuple(_summary(habit, _values(habit, dialogues, turn_budget=None)) for habit in Habit)


def compare_spread(
    real: Sequence[UserTexts],
    simulated: Sequence[UserTexts],
    *,
    habits: Sequence[Habit] = tuple(Habit),
    num_permutations: int = 999,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> SpreadComparison:
    """Compare how users type and how much they differ from each other.

    Args:
        real: user turns of real dialogues.
        simulated: of simulated ones (or of any others).
        habits: to compare; ``p_adjusted`` is adjusted for so many.
        num_permutations: of users over the two sides.
        num_bootstrap: samples of users.
        seed: of both.
    """
    budget = num_user_turns_in_common(real, simulated)
    compared = [
        _compare(
            habit,
            _values(habit, real, turn_budget=budget),
            _values(habit, simulated, turn_budget=budget),
            num_permutations=num_permutations,
            num_bootstrap=num_bootstrap,
            seed=seed,
        )
        for habit in habits
    ]
    return SpreadComparison(
        habits=_adjusted(compared),
        turn_budget=budget,
        num_real=len(real),
        num_simulated=len(simulated),
        num_real_users=len({dialogue.user for dialogue in real}),
        num_simulated_users=len({dialogue.user for dialogue in simulated}),
        num_permutations=num_permutations,
        num_bootstrap=num_bootstrap,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Values:
    """Values of one habit, shape (dialogues,), the variance that few turns give to each, and users by number."""

    value: FloatArray
    noise: FloatArray
    user: npt.NDArray[np.intp]
    num_users: int


def _values(habit: Habit, dialogues: Sequence[UserTexts], *, turn_budget: int | None) -> _Values:
    values: list[float] = []
    noises: list[float] = []
    users: list[str] = []
    for dialogue in dialogues:
        if habit in PER_TURN:
            if turn_budget is not None and len(dialogue.texts) < turn_budget:
                continue
            each = np.array([PER_TURN[habit](text) for text in dialogue.texts[:turn_budget]], dtype=np.float64)
            values.append(float(each.mean()))
            noises.append(float(each.var(ddof=1)) / len(each) if len(each) > 1 else 0.0)
        elif habit is Habit.USER_TURNS:
            values.append(float(len(dialogue.texts)))
            noises.append(0.0)
        else:
            words = [word for text in dialogue.texts for word in words_of(text)][:TYPE_TOKEN_BUDGET]
            if len(words) < TYPE_TOKEN_BUDGET:
                continue
            values.append(len(set(words)) / len(words))
            noises.append(0.0)
        users.append(dialogue.user)
    names, numbers = np.unique(np.array(users, dtype=str), return_inverse=True)
    return _Values(value=np.array(values), noise=np.array(noises), user=numbers, num_users=len(names))


def _summary(habit: Habit, values: _Values) -> HabitSummary:
    num = len(values.value)
    p10, p50, p90 = (float(value) for value in np.percentile(values.value, [10, 50, 90])) if num else (None, None, None)
    return HabitSummary(
        habit=habit,
        mean=float(values.value.mean()) if num else None,
        std=float(values.value.std(ddof=1)) if num > 1 else None,
        p10=p10,
        p50=p50,
        p90=p90,
        num_dialogues=num,
    )


def _compare(
    habit: Habit, real: _Values, simulated: _Values, *, num_permutations: int, num_bootstrap: int, seed: int
) -> HabitComparison:
    summaries = (_summary(habit, real), _summary(habit, simulated))
    if min(len(real.value), len(simulated.value)) < MIN_DIALOGUES:
        note = f"{len(real.value)} real and {len(simulated.value)} simulated dialogues, {MIN_DIALOGUES} are needed"
        return HabitComparison(habit=habit, real=summaries[0], simulated=summaries[1], note=note)
    ratio, low, high, note = _std_ratio(real, simulated, num_bootstrap=num_bootstrap, seed=seed)
    return HabitComparison(
        habit=habit,
        real=summaries[0],
        simulated=summaries[1],
        wasserstein=float(wasserstein_distance(real.value, simulated.value)),
        ks=float(ks_2samp(real.value, simulated.value, method="asymp").statistic),
        p_value=_permutation_p(real, simulated, num_permutations=num_permutations, seed=seed),
        std_ratio=ratio,
        std_ratio_low=low,
        std_ratio_high=high,
        note=note,
    )


def _permutation_p(real: _Values, simulated: _Values, *, num_permutations: int, seed: int) -> float:
    """Share of permutations of users at least as far apart, the observed one counted (Phipson and Smyth 2010)."""
    rng = np.random.default_rng(seed)
    pooled = np.concatenate([real.value, simulated.value])
    user = np.concatenate([real.user, real.num_users + simulated.user])
    num_users = real.num_users + simulated.num_users
    dealt = np.argsort(rng.random((num_permutations, num_users)), axis=1) < real.num_users
    observed = _distances(pooled, (user < real.num_users)[None, :])
    num_as_far = np.count_nonzero(_distances(pooled, dealt[:, user]) >= observed - 1e-12)
    return float((1 + num_as_far) / (1 + num_permutations))


def _distances(pooled: FloatArray, is_real: npt.NDArray[np.bool_]) -> FloatArray:
    """Distances as by ``wasserstein_distance``, of the rows of ``is_real`` (deals, dialogues): area between steps."""
    order = np.argsort(pooled)
    gaps = np.diff(pooled[order])
    real = is_real[:, order]
    below_real = np.cumsum(real, axis=1)[:, :-1] / real.sum(axis=1, keepdims=True)
    below_others = np.cumsum(~real, axis=1)[:, :-1] / (~real).sum(axis=1, keepdims=True)
    area: FloatArray = np.abs(below_real - below_others) @ gaps
    return area


def _std_ratio(
    real: _Values, simulated: _Values, *, num_bootstrap: int, seed: int
) -> tuple[float | None, float | None, float | None, str]:
    value = _between_std(real, np.ones((1, real.num_users)))[0]
    other = _between_std(simulated, np.ones((1, simulated.num_users)))[0]
    if value <= 0.0:
        return None, None, None, "real users differ by no more than chance here, so there is no ratio"
    ratio = float(other / value)
    if min(real.num_users, simulated.num_users) < MIN_CLUSTERS_FOR_BOUNDS:
        return ratio, None, None, f"no interval: fewer than {MIN_CLUSTERS_FOR_BOUNDS} users on a side"
    rng = np.random.default_rng(seed)
    below = _between_std(real, cluster_draws(real.num_users, num_samples=num_bootstrap, rng=rng))
    above = _between_std(simulated, cluster_draws(simulated.num_users, num_samples=num_bootstrap, rng=rng))
    kept = below > 0.0
    if kept.mean() < (1 + LEVEL) / 2:  # an upper end would be an infinite ratio
        return None, None, None, "real users differ hardly more than by chance here, so the ratio could be anything"
    low, high = percentile_bounds(above[kept] / below[kept])
    return ratio, low, high, ""


def _between_std(values: _Values, draws: FloatArray) -> FloatArray:
    """Standard deviation over dialogues less chance spread, one a sample; a negative variance counts as 0."""
    weight = draws[:, values.user]  # (samples, dialogues)
    total = weight.sum(axis=1)
    mean = weight @ values.value / total
    squared = (weight * (values.value[None, :] - mean[:, None]) ** 2).sum(axis=1)
    variance = squared / np.maximum(total - 1.0, 1.0) - weight @ values.noise / total
    std: FloatArray = np.sqrt(np.where(variance > 1e-12, variance, 0.0))
    return std


def _adjusted(compared: Sequence[HabitComparison]) -> tuple[HabitComparison, ...]:
    tested = [habit.p_value for habit in compared if habit.p_value is not None]
    adjusted = iter(multipletests(tested, method="holm")[1] if tested else [])
    return tuple(
        habit if habit.p_value is None else replace(habit, p_adjusted=float(next(adjusted))) for habit in compared
    )
