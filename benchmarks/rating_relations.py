"""Findings of a detector against ratings of the same messages: mean differences, AUC and rank correlation.

dialogues with ratings, assessments ──rated_messages──> RatedMessage ──relate──> Relation, one a mode
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import statsmodels.api as sm
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from advsim.records import Assessment, Dialogue, Speaker

Floats = npt.NDArray[np.float64]

LOW_RATINGS = (2, 3)
"""A rating up to this counts as low; AUC is given for each."""

MIN_DIALOGUES_FOR_BOUNDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedMessage:
    """What a seeker's rating stands behind: one or more supporter messages with what the detector found in them."""

    dialogue_id: str
    rating: float
    modes: frozenset[str]
    severity: int  # worst finding, 0 without any
    confidence: float  # of the surest finding, 0 without any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """An estimate with its 95 % interval; bounds are None with few dialogues, all are None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None
    num_messages: int
    num_dialogues: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """How findings relate to ratings.

    Attributes:
        finding: a mode, or "any".
        num_flagged: rated messages with the finding.
        mean_flagged: mean rating of those, None without any.
        mean_other: mean rating of the others.
        difference: mean rating of flagged less that of other messages; dialogues are clusters.
        within: the same within dialogues: what is left when every seeker is compared with their own mean.
        auc: by the rating that counts as low: chance that a low-rated message has the higher score.
        spearman: rank correlation of score and rating; below 0 where findings go with low ratings.
    """

    finding: str
    num_flagged: int
    mean_flagged: float | None
    mean_other: float | None
    difference: Figure
    within: Figure
    auc: dict[int, Figure]
    spearman: Figure


def rated_messages(
    dialogues: Sequence[Dialogue], assessments: Sequence[Assessment], *, since_last_rating: bool
) -> list[RatedMessage]:
    """Ratings with what was found in the supporter's message before them.

    A rating is on the seeker's turn; where two lines of one turn were rated, their mean counts. Messages that could not
    be judged are left out with their rating.

    Args:
        dialogues: real dialogues whose user turns carry ``labels["feedback"]``.
        assessments: of their supporter turns.
        since_last_rating: take all supporter messages since the rating before, not the last one alone. Seekers were
            asked after every second message, so a rating may be about both.
    """
    by_turn = {(a.conversation_id, a.turn): a for a in assessments}
    rated = []
    for dialogue in dialogues:
        before: list[Assessment] = []
        for index, turn in enumerate(dialogue.turns):
            if turn.speaker is Speaker.CHATBOT:
                before = [*before, by_turn[dialogue.id, index]]
                continue
            ratings = [float(value) for value in turn.labels.get("feedback", ()) if value in ("1", "2", "3", "4", "5")]
            if not ratings:
                continue
            meant = before if since_last_rating else before[-1:]
            before = []
            if not meant or any(assessment.error for assessment in meant):
                continue
            labels = [label for assessment in meant for label in assessment.labels]
            rated.append(
                RatedMessage(
                    dialogue_id=dialogue.id,
                    rating=statistics.fmean(ratings),
                    modes=frozenset(label.mode for label in labels),
                    severity=max((label.severity for label in labels), default=0),
                    confidence=max((label.confidence for label in labels), default=0.0),
                )
            )
    return rated


def relate(rated: Sequence[RatedMessage], mode: str | None, *, num_bootstrap: int, seed: int) -> Relation:
    """Relate one mode, or any finding, to the ratings.

    The score of a message is its worst severity with the surest finding's confidence as tie-break for any finding, and
    whether it was found for one mode. Intervals of AUC and rank correlation are percentiles of a bootstrap over
    dialogues; those of mean differences are cluster-robust with Student's t (statsmodels).
    """
    flagged = np.array([bool(message.modes) if mode is None else mode in message.modes for message in rated])
    ratings = np.array([message.rating for message in rated], dtype=np.float64)
    severity = np.array([message.severity + 0.9 * message.confidence for message in rated], dtype=np.float64)
    scores = severity if mode is None else flagged.astype(np.float64)
    dialogue = np.unique([message.dialogue_id for message in rated], return_inverse=True)[1]
    draws = resampled(dialogue, num_bootstrap=num_bootstrap, seed=seed)

    def figure(statistic: Callable[[npt.NDArray[np.intp]], float | None]) -> Figure:
        return bootstrapped(statistic, draws, num_messages=len(rated), num_dialogues=int(dialogue.max()) + 1)

    def auc(limit: int) -> Callable[[npt.NDArray[np.intp]], float | None]:
        low = ratings <= limit
        return lambda rows: float(roc_auc_score(low[rows], scores[rows])) if 0 < low[rows].sum() < len(rows) else None

    def spearman(rows: npt.NDArray[np.intp]) -> float | None:
        varies = np.ptp(scores[rows]) > 0 and np.ptp(ratings[rows]) > 0
        return float(spearmanr(scores[rows], ratings[rows]).statistic) if varies else None

    return Relation(
        finding=mode or "any",
        num_flagged=int(flagged.sum()),
        mean_flagged=float(ratings[flagged].mean()) if flagged.any() else None,
        mean_other=float(ratings[~flagged].mean()) if not flagged.all() else None,
        difference=mean_difference(ratings, flagged, dialogue, within=False),
        within=mean_difference(ratings, flagged, dialogue, within=True),
        auc={limit: figure(auc(limit)) for limit in LOW_RATINGS},
        spearman=figure(spearman),
    )


def resampled(dialogue: npt.NDArray[np.intp], *, num_bootstrap: int, seed: int) -> list[npt.NDArray[np.intp]]:
    """Rows of each bootstrap sample, whole dialogues drawn with replacement; the first entry is the sample as it is."""
    rows = [np.flatnonzero(dialogue == number) for number in range(int(dialogue.max()) + 1)]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(rows), size=(num_bootstrap, len(rows)))
    return [np.arange(len(dialogue)), *(np.concatenate([rows[number] for number in numbers]) for numbers in drawn)]


def bootstrapped(
    statistic: Callable[[npt.NDArray[np.intp]], float | None],
    draws: Sequence[npt.NDArray[np.intp]],
    *,
    num_messages: int,
    num_dialogues: int,
) -> Figure:
    observed, *values = (statistic(rows) for rows in draws)
    defined = [value for value in values if value is not None]
    enough = observed is not None and num_dialogues >= MIN_DIALOGUES_FOR_BOUNDS and len(defined) > 0.9 * len(values)
    low, high = np.quantile(defined, [0.025, 0.975]) if enough else (None, None)
    return Figure(
        value=observed,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        num_messages=num_messages,
        num_dialogues=num_dialogues,
    )


def mean_difference(
    ratings: Floats, flagged: npt.NDArray[np.bool_], dialogue: npt.NDArray[np.intp], *, within: bool
) -> Figure:
    """Mean rating of flagged less other messages, least squares with dialogues as clusters."""
    inside = [dialogue == number for number in np.unique(dialogue)]
    varied = sum(bool(flagged[rows].any() and not flagged[rows].all()) for rows in inside)
    num_clusters = varied if within else len(inside)
    nothing = Figure(value=None, low=None, high=None, num_messages=len(ratings), num_dialogues=num_clusters)
    if flagged.all() or not flagged.any() or num_clusters == 0:
        return nothing
    x, y = flagged.astype(np.float64), ratings
    if within:
        counts = np.bincount(dialogue)
        x = x - (np.bincount(dialogue, x) / counts)[dialogue]
        y = y - (np.bincount(dialogue, y) / counts)[dialogue]
        inputs = x[:, None]
    else:
        inputs = sm.add_constant(x)
    if num_clusters < MIN_DIALOGUES_FOR_BOUNDS:
        value = float(np.linalg.lstsq(inputs, y, rcond=None)[0][-1])
        return dataclasses.replace(nothing, value=value)
    fit = sm.OLS(y, inputs).fit(cov_type="cluster", cov_kwds={"groups": dialogue}, use_t=True)
    low, high = np.asarray(fit.conf_int())[-1]
    return dataclasses.replace(nothing, value=float(fit.params[-1]), low=float(low), high=float(high))
