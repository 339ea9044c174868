"""Outside check of a detector of failures: do its findings relate to what help-seekers of ESConv said of supporters?

`python benchmarks/esconv_ratings.py valid.jsonl.gz --rejected failed_dev.jsonl.gz` relates, message by message, the
detector's findings to the seekers' ratings of the supporter (1 to 5, asked for during the chat), and compares failure
rates between accepted dialogues and those that the corpus's authors rejected (Liu et al., ACL 2021, arXiv 2106.01144).

What the figures show: whether messages with a finding were rated lower by the people who received them. What they do
not show: these people were never asked about the failure modes. They rated how helpful the last few messages were, most
gave 4 or 5, and a message can fail (agree with a harmful belief, miss a risk) and please. So a relation near zero does
not show that a detector is wrong, and a clear one does not show that it is right about any mode. Dialogues were
rejected largely because of such scores, so that "rejected" and the ratings are not two independent witnesses.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import statsmodels.api as sm
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from advsim.config import CorpusConfig
from advsim.corpus.load import load_corpus
from advsim.detectors.protocol import Detector
from advsim.errors import AdvsimError
from advsim.rates.ab_test import Difference, compare, compare_modes
from advsim.rates.outcomes import MessageOutcome, outcomes
from advsim.rates.rates import failure_rate
from advsim.records import Assessment, Dialogue, Rate, Speaker

Floats = npt.NDArray[np.float64]

LOW_RATINGS = (2, 3)
"""A rating up to this counts as low; AUC is given for each."""

MIN_FLAGGED = 10
"""Modes found in fewer rated messages are not related to ratings on their own."""

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
    found = {(a.conversation_id, a.turn): a for a in assessments}
    rated = []
    for dialogue in dialogues:
        before: list[Assessment] = []
        for index, turn in enumerate(dialogue.turns):
            if turn.speaker is Speaker.CHATBOT:
                before = [*before, found[dialogue.id, index]]
                continue
            ratings = [float(value) for value in turn.labels.get("feedback", ()) if value in ("1", "2", "3", "4", "5")]
            if not ratings:
                continue
            meant = before if since_last_rating else before[-1:]
            before = []
            if not meant or any(one.error for one in meant):
                continue
            labels = [label for one in meant for label in one.labels]
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
    flagged = np.array([bool(one.modes) if mode is None else mode in one.modes for one in rated])
    ratings = np.array([one.rating for one in rated], dtype=np.float64)
    severity = np.array([one.severity + 0.9 * one.confidence for one in rated], dtype=np.float64)
    scores = severity if mode is None else flagged.astype(np.float64)
    dialogue = np.unique([one.dialogue_id for one in rated], return_inverse=True)[1]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Everything that is printed."""

    detector: str
    num_dialogues: int
    num_rated: int
    num_ratings: dict[str, int]
    last_message: tuple[Relation, ...]
    since_last_rating: tuple[Relation, ...]
    accepted: Rate
    rejected: Rate | None
    difference: Difference | None  # rejected less accepted
    by_mode: tuple[Difference, ...]


def check(
    accepted: Sequence[Dialogue], rejected: Sequence[Dialogue], detector: Detector, *, num_bootstrap: int, seed: int
) -> Check:
    """Relate a detector's findings to ratings and to rejection.

    Args:
        accepted: dialogues with ratings.
        rejected: dialogues that were rejected; may be empty. Their ratings are used too.
        detector: any detector.
        num_bootstrap: draws.
        seed: of the draws.
    """
    both = [*accepted, *rejected]
    assessments = detector.assess(both)
    rated = rated_messages(both, assessments, since_last_rating=False)
    longer = rated_messages(both, assessments, since_last_rating=True)
    if not rated:
        raise SystemExit("no supporter message with a rating: expected user turns with labels.feedback of 1 to 5")
    sides = [
        side_outcomes(name, side, assessments, detector)
        for name, side in (("accepted", accepted), ("rejected", rejected))
    ]

    def relations(messages: Sequence[RatedMessage]) -> tuple[Relation, ...]:
        often = [mode for mode in detector.modes if sum(mode in one.modes for one in messages) >= MIN_FLAGGED]
        return tuple(relate(messages, m, num_bootstrap=num_bootstrap, seed=seed) for m in (None, *often))

    return Check(
        detector=detector.name,
        num_dialogues=len(both),
        num_rated=len(rated),
        num_ratings={str(value): sum(round(one.rating) == value for one in rated) for value in range(1, 6)},
        last_message=relations(rated),
        since_last_rating=relations(longer)[:1],
        accepted=failure_rate(sides[0]),
        rejected=failure_rate(sides[1]) if rejected else None,
        difference=compare(sides[1], sides[0], seed=seed) if rejected else None,
        by_mode=compare_modes(sides[1], sides[0], modes=detector.modes, seed=seed) if rejected else (),
    )


def side_outcomes(
    name: str, dialogues: Sequence[Dialogue], assessments: Sequence[Assessment], detector: Detector
) -> list[MessageOutcome]:
    ids = {dialogue.id for dialogue in dialogues}
    own = [one for one in assessments if one.conversation_id in ids]
    return outcomes(name, dialogues, own, judged_modes=detector.modes)


def shown(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.3f}" + ("" if low is None or high is None else f" [{low:.3f}, {high:.3f}]")


def figure_text(figure: Figure) -> str:
    return shown(figure.value, figure.low, figure.high)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def print_check(found: Check) -> None:
    counts = ", ".join(f"{value}: {count}" for value, count in found.num_ratings.items())
    print(
        f"Detector {found.detector}: {found.num_rated} rated supporter messages in {found.num_dialogues} dialogues "
        f"(ratings {counts}). Intervals are 95 %, dialogues as clusters.\n"
    )
    rows = [("last message", relation) for relation in found.last_message]
    rows += [("all since the last rating", relation) for relation in found.since_last_rating]
    print_table(
        ["rating is about", "finding", "flagged", "mean flagged / other", "difference", "within dialogue"]
        + [f"AUC rating <= {limit}" for limit in LOW_RATINGS]
        + ["Spearman"],
        [
            [
                about,
                relation.finding,
                str(relation.num_flagged),
                f"{shown(relation.mean_flagged, None, None)} / {shown(relation.mean_other, None, None)}",
                figure_text(relation.difference),
                figure_text(relation.within),
                *(figure_text(relation.auc[limit]) for limit in LOW_RATINGS),
                figure_text(relation.spearman),
            ]
            for about, relation in rows
        ],
    )
    if found.rejected is not None and found.difference is not None:
        for name, rate in (("accepted", found.accepted), ("rejected", found.rejected)):
            print(
                f"Failure rate, {name} dialogues: {shown(rate.estimate, rate.low, rate.high)}, {rate.num_messages} "
                f"messages in {rate.num_dialogues} dialogues, {rate.num_not_judged} not judged"
            )
        print()
        print_table(
            ["rejected less accepted", "difference", "p", "p adjusted"],
            [
                [
                    difference.mode or "any",
                    shown(difference.difference, difference.low, difference.high),
                    shown(difference.p_value, None, None),
                    shown(difference.p_adjusted, None, None),
                ]
                for difference in (found.difference, *found.by_mode)
            ],
        )
    print((__doc__ or "").rpartition("\n\n")[2].strip())


def build_detector(name: str) -> Detector:
    """``rules``, or ``package.module:callable``, which is called without arguments and gives a detector."""
    module, separator, factory = ("advsim.detectors.rules:RulesDetector" if name == "rules" else name).partition(":")
    if not separator:
        raise SystemExit(f"--detector: got {name!r}, expected rules or package.module:callable")
    detector: Detector = getattr(importlib.import_module(module), factory)()
    return detector


def read(path: str | None, max_dialogues: int | None) -> list[Dialogue]:
    if path is None:
        return []
    return list(load_corpus(CorpusConfig(source="jsonl", path=path, max_dialogues=max_dialogues)).dialogues)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("accepted", help="dialogues with ratings, for example esconv/valid.jsonl.gz")
    parser.add_argument("--rejected", help="dialogues that were rejected, for example esconv/failed_dev.jsonl.gz")
    parser.add_argument("--detector", default="rules", help="rules, or package.module:callable that gives a detector")
    parser.add_argument("--max-dialogues", type=int, help="of each file")
    parser.add_argument("--num-bootstrap", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    try:
        found = check(
            read(arguments.accepted, arguments.max_dialogues),
            read(arguments.rejected, arguments.max_dialogues),
            build_detector(arguments.detector),
            num_bootstrap=arguments.num_bootstrap,
            seed=arguments.seed,
        )
    except AdvsimError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    if arguments.json:
        values: dict[str, Any] = dataclasses.asdict(found)
        print(json.dumps(values, indent=2, allow_nan=False))
    else:
        print_check(found)


if __name__ == "__main__":
    main()
