"""Outside check of a detector of failures: do its findings relate to what help-seekers of ESConv said of supporters?

`python benchmarks/esconv_ratings.py test.jsonl.gz --rejected failed_dev.jsonl.gz` relates, message by message, the
detector's findings to the seekers' ratings of the supporter (1 to 5, asked for during the chat), and compares failure
rates between accepted dialogues and those that the corpus's authors rejected (Liu et al., ACL 2021, arXiv 2106.01144).

Dialogues that detectors were made with (the labelled parts train, build and tune) are left out: nearly all of ESConv's
train and valid. So take its test part, which is not labelled. Length competes: the share of
messages with a finding is held against mean words a message, alone and in one logistic model of rejection, because a
detector that only counts words would do as well.

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
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import statsmodels.api as sm
from rating_relations import LOW_RATINGS, Figure, RatedMessage, Relation, rated_messages, relate
from sklearn.metrics import roc_auc_score

from advsim.config import CorpusConfig, parse_config
from advsim.corpus.habits import num_words
from advsim.corpus.load import load_corpus
from advsim.detectors.labelled import read_rows
from advsim.detectors.protocol import Detector
from advsim.detectors.whole_dialogues import LABELS, LabelsRow, fingerprint
from advsim.errors import AdvsimError
from advsim.evaluation.instruments import build_instruments
from advsim.rates.ab_test import Difference, compare, compare_modes
from advsim.rates.outcomes import MessageOutcome, outcomes
from advsim.rates.rates import failure_rate
from advsim.records import Assessment, Dialogue, Rate, chatbot_turns

MIN_FLAGGED = 10
"""Modes found in fewer rated messages are not related to ratings on their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthCompetitor:
    """Rejected against accepted dialogues: AUC of findings and of length, and both in one logistic model.

    Attributes:
        auc_findings: of the share of messages with a finding.
        auc_words: of mean words a message.
        log_odds_findings: of a finding in every message against none, words held.
        log_odds_words: of twice the words, findings held.
    """

    auc_findings: float
    auc_words: float
    log_odds_findings: tuple[float, float, float]
    log_odds_words: tuple[float, float, float]
    num_dialogues: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """All figures of the check."""

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
    length: LengthCompetitor | None


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
        often = [mode for mode in detector.modes if sum(mode in message.modes for message in messages) >= MIN_FLAGGED]
        return tuple(relate(messages, m, num_bootstrap=num_bootstrap, seed=seed) for m in (None, *often))

    return Check(
        detector=detector.name,
        num_dialogues=len(both),
        num_rated=len(rated),
        num_ratings={str(value): sum(round(message.rating) == value for message in rated) for value in range(1, 6)},
        last_message=relations(rated),
        since_last_rating=relations(longer)[:1],
        accepted=failure_rate(sides[0]),
        rejected=failure_rate(sides[1]) if rejected else None,
        difference=compare(sides[1], sides[0], seed=seed) if rejected else None,
        by_mode=compare_modes(sides[1], sides[0], modes=detector.modes, seed=seed) if rejected else (),
        length=length_competitor(accepted, rejected, assessments) if rejected else None,
    )


def length_competitor(
    accepted: Sequence[Dialogue], rejected: Sequence[Dialogue], assessments: Sequence[Assessment]
) -> LengthCompetitor | None:
    """Whether findings tell rejected dialogues from accepted ones beyond what words a message tell."""
    found = {(it.conversation_id, it.turn): bool(it.labels) for it in assessments if not it.error}
    rows = []
    for dialogue, is_rejected in [*((it, 0.0) for it in accepted), *((it, 1.0) for it in rejected)]:
        judged = [turn for turn, _ in chatbot_turns(dialogue) if (dialogue.id, turn) in found]
        if judged:
            words = np.mean([num_words(dialogue.turns[turn].text) for turn in judged])
            share = np.mean([found[dialogue.id, turn] for turn in judged])
            rows.append((is_rejected, share, np.log2(1 + words)))
    table = np.array(rows)
    if len(table) < 30 or table[:, 1].std() == 0:
        return None
    fitted = sm.Logit(table[:, 0], sm.add_constant(table[:, 1:])).fit(disp=False)
    bounds = fitted.conf_int()

    def of(k: int) -> tuple[float, float, float]:
        return float(fitted.params[k]), float(bounds[k][0]), float(bounds[k][1])

    return LengthCompetitor(
        auc_findings=float(roc_auc_score(table[:, 0], table[:, 1])),
        auc_words=float(roc_auc_score(table[:, 0], table[:, 2])),
        log_odds_findings=of(1),
        log_odds_words=of(2),
        num_dialogues=len(table),
    )


def side_outcomes(
    name: str, dialogues: Sequence[Dialogue], assessments: Sequence[Assessment], detector: Detector
) -> list[MessageOutcome]:
    ids = {dialogue.id for dialogue in dialogues}
    own = [assessment for assessment in assessments if assessment.conversation_id in ids]
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


def print_check(result: Check) -> None:
    counts = ", ".join(f"{value}: {count}" for value, count in result.num_ratings.items())
    print(
        f"Detector {result.detector}: {result.num_rated} rated supporter messages in {result.num_dialogues} dialogues "
        f"(ratings {counts}). Intervals are 95 %, dialogues as clusters.\n"
    )
    rows = [("last message", relation) for relation in result.last_message]
    rows += [("all since the last rating", relation) for relation in result.since_last_rating]
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
    if result.rejected is not None and result.difference is not None:
        for name, rate in (("accepted", result.accepted), ("rejected", result.rejected)):
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
                for difference in (result.difference, *result.by_mode)
            ],
        )
    if result.length is not None:
        length = result.length
        print(
            f"Rejected against accepted, {length.num_dialogues} dialogues: AUC of the share of messages with a finding "
            f"{length.auc_findings:.2f}, of words a message {length.auc_words:.2f}. Together, log-odds of findings in "
            f"every message {shown(*length.log_odds_findings)}, of twice the words {shown(*length.log_odds_words)}.\n"
        )
    print((__doc__ or "").rpartition("\n\n")[2].strip())


def build_detector(name: str) -> Detector:
    """One that ships, of its measurable modes, or what ``package.module:callable`` gives, called without arguments."""
    module, separator, factory = name.partition(":")
    if not separator:
        return build_instruments(parse_config({"evaluate": {"detector": name}}).evaluate).measured
    detector: Detector = getattr(importlib.import_module(module), factory)()
    return detector


def read(path: str | None, max_dialogues: int | None) -> list[Dialogue]:
    if path is None:
        return []
    made_with = ("train", "build", "tune")
    known = {row.fingerprint for _, row in read_rows(LABELS, LabelsRow) if row.part in made_with}
    dialogues = load_corpus(CorpusConfig(source="jsonl", path=path, max_dialogues=max_dialogues)).dialogues
    return [dialogue for dialogue in dialogues if fingerprint(dialogue.turns) not in known]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("accepted", help="dialogues with ratings, for example esconv/test.jsonl.gz")
    parser.add_argument("--rejected", help="dialogues that were rejected, for example esconv/failed_dev.jsonl.gz")
    parser.add_argument("--detector", default="rules", help="rules, learned, combined, or package.module:callable")
    parser.add_argument("--max-dialogues", type=int, help="of each file")
    parser.add_argument("--num-bootstrap", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    try:
        result = check(
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
        values: dict[str, Any] = dataclasses.asdict(result)
        print(json.dumps(values, indent=2, allow_nan=False))
    else:
        print_check(result)


if __name__ == "__main__":
    main()
