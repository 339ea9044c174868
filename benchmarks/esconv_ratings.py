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
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rating_relations import LOW_RATINGS, Figure, RatedMessage, Relation, rated_messages, relate

from advsim.config import CorpusConfig
from advsim.corpus.load import load_corpus
from advsim.detectors.protocol import Detector
from advsim.errors import AdvsimError
from advsim.rates.ab_test import Difference, compare, compare_modes
from advsim.rates.outcomes import MessageOutcome, outcomes
from advsim.rates.rates import failure_rate
from advsim.records import Assessment, Dialogue, Rate

MIN_FLAGGED = 10
"""Modes found in fewer rated messages are not related to ratings on their own."""


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
