"""Detectors of failures against the labelled messages.

`python benchmarks/detectors.py [--part build|held_out] [--detectors rules learned combined] [--json]
[--write-confidence]`

Prints, for each detector and mode, precision, recall and F1 with 95 % intervals (Wilson for precision and recall,
bootstrap over messages for F1), macro-F1 with a bootstrap interval, and the share of messages without failure on which
it raised any alarm; with two detectors also how far they agree. Abstentions count as "not found" and are shown.
`--write-confidence` stores the precision of each rule on the build part where the rules read it. All detectors were
made with the build part, so its figures flatter them; the held-out part is for one look at the end.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.metrics import f1_score, precision_recall_fscore_support
from statsmodels.stats.proportion import proportion_confint

import advsim.detectors.rules.finding as finding_module
from advsim.detectors.kappa import agreement
from advsim.detectors.labelled import LabelledMessage, load_labelled
from advsim.detectors.protocol import Detector
from advsim.detectors.rules import RulesDetector

NUM_BOOTSTRAP = 2000
SEED = 0


def learned() -> Detector:
    """Trained on the build part, so that only the held-out part says anything of it."""
    from advsim.detectors.learned.load import load_learned
    from advsim.detectors.taxonomy import load_taxonomy

    return load_learned(load_taxonomy())


def combined() -> Detector:
    """Rules and learned detector as one; the held-out part says of it what it says of them."""
    from advsim.detectors.combined import load_combined
    from advsim.detectors.taxonomy import load_taxonomy

    return load_combined(load_taxonomy())


DETECTORS: dict[str, Callable[[], Detector]] = {"rules": RulesDetector, "learned": learned, "combined": combined}
"""Detectors by name; add one here to have it measured."""


def interval(hits: int, total: int) -> list[float | None]:
    """Wilson 95 % interval of hits / total; None without a case."""
    if total == 0:
        return [None, None]
    return [float(bound) for bound in proportion_confint(hits, total, method="wilson")]


def evaluate(detector: Detector, messages: Sequence[LabelledMessage]) -> dict[str, Any]:
    modes = list(detector.modes)
    dialogues = [message.dialogue for message in messages]
    detector.assess(dialogues[::2])  # word lists and models load at first use, which is no part of the speed
    started = time.process_time()
    num_timed = len(detector.assess(dialogues[1::2]))
    seconds = time.process_time() - started
    assessments = detector.assess(dialogues)
    # the message is the last turn of its dialogue
    last = {assessment.conversation_id: assessment for assessment in assessments}
    answers = [last[message.id] for message in messages]
    truth_NM = np.array([[mode in message.modes for mode in modes] for message in messages])  # N = messages, M = modes
    found_NM = np.array([[mode in {label.mode for label in answer.labels} for mode in modes] for answer in answers])
    precision, recall, f1, _ = precision_recall_fscore_support(truth_NM, found_NM, average=None, zero_division=0.0)
    generator = np.random.default_rng(SEED)
    samples = [generator.integers(0, len(messages), len(messages)) for _ in range(NUM_BOOTSTRAP)]
    f1_BM = np.array([f1_score(truth_NM[i], found_NM[i], average=None, zero_division=0.0) for i in samples])
    low_M, high_M = np.percentile(f1_BM, [2.5, 97.5], axis=0)
    macro_low, macro_high = np.percentile(f1_BM.mean(axis=1), [2.5, 97.5])
    none = [bool(row.any()) for row, message in zip(found_NM, messages, strict=True) if not message.modes]
    table = {}
    for m, mode in enumerate(modes):
        hits, flagged, present = (truth_NM & found_NM)[:, m].sum(), found_NM[:, m].sum(), truth_NM[:, m].sum()
        table[mode] = {
            "num_labelled": int(present),
            "num_found": int(flagged),
            "num_right": int(hits),
            "num_abstained": sum(mode in answer.abstained for answer in answers),
            "precision": float(precision[m]) if flagged else None,
            "precision_interval": interval(int(hits), int(flagged)),
            "recall": float(recall[m]) if present else None,
            "recall_interval": interval(int(hits), int(present)),
            "f1": float(f1[m]),
            "f1_interval": [float(low_M[m]), float(high_M[m])],
        }
    return {
        "detector": detector.name,
        "num_messages": len(messages),
        "modes": table,
        "macro_f1": float(np.mean(f1)),
        "macro_f1_interval": [float(macro_low), float(macro_high)],
        "false_alarms": sum(none),
        "num_without_failure": len(none),
        "false_alarm_interval": interval(sum(none), len(none)),
        "messages_per_cpu_s": round(num_timed / seconds) if seconds else None,
    }


def rule_precision(messages: Sequence[LabelledMessage]) -> dict[str, float]:
    """(right + 1) / (found + 2) of each rule."""
    right: Counter[str] = Counter()
    fired: Counter[str] = Counter()
    detector = RulesDetector()
    for message in messages:
        for rule in {finding.rule for finding in detector.findings(message.dialogue)[-1]}:
            fired[rule] += 1
            right[rule] += rule.partition(".")[0] in message.modes
    return {rule: round((right[rule] + 1) / (fired[rule] + 2), 2) for rule in sorted(fired)}


def agreements(names: Sequence[str], messages: Sequence[LabelledMessage]) -> list[dict[str, Any]]:
    """Each pair of detectors on the messages that both judged, by mode; the labels play no part."""
    dialogues = [message.dialogue for message in messages]
    last = {message.id: len(message.context) for message in messages}
    said = {
        name: [
            assessment
            for assessment in DETECTORS[name]().assess(dialogues)
            if assessment.turn == last[assessment.conversation_id]
        ]
        for name in names
    }
    return [
        {
            "first": first,
            "second": second,
            "modes": [asdict(of_mode) for of_mode in agreement(said[first], said[second])],
        }
        for first, second in combinations(names, 2)
    ]


def show_agreement(pair: dict[str, Any]) -> None:
    print(f"agreement of {pair['first']} and {pair['second']}; brackets are 95 % intervals")
    print(f"{'mode':<24}{'judged':>7}{'first':>7}{'second':>7}  {'same verdict':<19}{'Cohen kappa':<19}")
    for row in pair["modes"]:
        cells = [cell(share["value"], [share["low"], share["high"]]) for share in (row["agreement"], row["kappa"])]
        counts = f"{row['agreement']['num']:>7}{row['num_first']:>7}{row['num_second']:>7}"
        print(f"{row['mode']:<24}{counts}  " + "".join(f"{text:<19}" for text in cells))
    print()


def cell(value: float | None, bounds: list[float | None]) -> str:
    if value is None:
        return f"{'none':>16}"
    if bounds[0] is None or bounds[1] is None:
        return f"{value:.2f}"
    return f"{value:.2f} [{bounds[0]:.2f}, {bounds[1]:.2f}]"


def show(result: dict[str, Any]) -> None:
    print(f"{result['detector']} on {result['num_messages']} messages; brackets are 95 % intervals")
    print(f"{'mode':<24}{'n':>4}{'found':>7}{'abst.':>7}  {'precision':<19}{'recall':<19}{'F1':<19}")
    for mode, row in result["modes"].items():
        cells = [cell(row[name], row[f"{name}_interval"]) for name in ("precision", "recall", "f1")]
        counts = f"{row['num_labelled']:>4}{row['num_found']:>7}{row['num_abstained']:>7}"
        print(f"{mode:<24}{counts}  " + "".join(f"{text:<19}" for text in cells))
    print(f"macro-F1 {cell(result['macro_f1'], result['macro_f1_interval'])}")
    alarms, without = result["false_alarms"], result["num_without_failure"]
    share = alarms / without if without else None
    print(f"alarm on messages without failure: {alarms} of {without}, {cell(share, result['false_alarm_interval'])}")
    print(f"{result['messages_per_cpu_s']} chatbot messages a CPU second\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["build", "held_out"], default="build")
    parser.add_argument("--detectors", nargs="+", choices=sorted(DETECTORS), default=["rules"])
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--write-confidence", action="store_true", help="store each rule's precision on the build part")
    options = parser.parse_args()
    messages = load_labelled(options.part)
    if options.write_confidence:
        if options.part != "build":
            parser.error(
                "--write-confidence: got --part held_out, expected build; confidence comes from the build part"
            )
        path = Path(finding_module.__file__).with_name("confidence.yaml")
        text = yaml.safe_dump(rule_precision(messages), width=120)
        path.write_text("# Written by benchmarks/detectors.py --write-confidence: (right + 1) / (found + 2).\n" + text)
    results = [evaluate(DETECTORS[name](), messages) for name in options.detectors]
    agreed = agreements(options.detectors, messages) if len(options.detectors) > 1 else []
    if options.json:
        print(json.dumps({"part": options.part, "results": results, "agreement": agreed}, indent=2))
        return
    for result in results:
        show(result)
    for pair in agreed:
        show_agreement(pair)


if __name__ == "__main__":
    main()
