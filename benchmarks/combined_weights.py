"""How much rules, learned detector and reader count for each mode, for `advsim/detectors/combined.yaml`.

    python benchmarks/combined_weights.py --esconv train.jsonl.gz --esconv valid.jsonl.gz [--write]

Fitted is one logistic regression on all (message, mode) of the labelled parts tune, final and fresh: three inputs for
all modes alike, and the same once more for each mode alone, under one penalty. What the detector is worth comes from
cross-validation: the dialogues of each of ten folds are judged with weights fitted on the other nine. --write stores
the weights, and these findings as those that ship. Half an hour on two cores, nearly all of it reading.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from detector_reader import MODES, Judged, judge
from sklearn.linear_model import LogisticRegression

import advsim.detectors.combined as combined_module
from advsim.corpus.files import read_dialogues
from advsim.detectors.combined import CombinedDetector, Weights
from advsim.detectors.findings import Findings, find_in_labelled
from advsim.detectors.learned.load import load_learned
from advsim.detectors.reader.files import load_reader
from advsim.detectors.rules import RulesDetector
from advsim.detectors.whole_dialogues import LabelledDialogue, fingerprint, load_whole_dialogues
from advsim.detectors.worth import worth
from advsim.records import HasTurns, Turn
from advsim.runtime.progress import Reporter

NUM_FOLDS = 10
SPREAD = (2.0, 1.5, 1.0)
"""About one standard deviation of each input, so that one penalty is fair to all three."""


class Remembered:
    """A learned detector and a reader that read each dialogue once."""

    def __init__(self) -> None:
        self._learned, self._reader = load_learned(), load_reader(None)
        self.modes, self.description = self._reader.modes, self._learned.description
        self._assessed: dict[str, list[Any]] = {}
        self._scores: dict[str, Any] = {}

    def assess_with_probabilities(self, dialogues: Sequence[HasTurns]) -> Iterator[Any]:
        """See :class:`advsim.detectors.learned.detector.LearnedDetector`."""
        for dialogue in dialogues:
            key = fingerprint(dialogue.turns)
            if key not in self._assessed:
                self._assessed[key] = list(self._learned.assess_with_probabilities([dialogue]))
            yield from self._assessed[key]

    def scores(self, turns: Sequence[Turn]) -> Any:
        """See :class:`advsim.detectors.combined.Reader`."""
        key = fingerprint(turns)
        if key not in self._scores:
            self._scores[key] = self._reader.scores(turns)
        return self._scores[key]


def fit(judged: Sequence[Judged]) -> dict[str, Weights]:
    """Weights by mode."""
    shown = np.concatenate([each.shown for each in judged])
    inputs = np.concatenate([np.stack([each.learned, each.reader, each.rules], axis=-1) for each in judged]) / SPREAD
    with_one = np.concatenate([inputs, np.ones((*shown.shape, 1))], axis=-1)
    by_mode = np.zeros((*shown.shape, shown.shape[1], 4))
    for m in range(shown.shape[1]):
        by_mode[:, m, m] = with_one[:, m]
    both = np.concatenate([inputs, by_mode.reshape(*shown.shape, -1)], axis=-1)
    fitted = LogisticRegression(C=1.0, max_iter=5000).fit(both.reshape(-1, both.shape[-1]), shown.ravel())
    shared = np.array([*fitted.coef_[0][:3], fitted.intercept_[0]])
    rows = (shared + fitted.coef_[0][3:].reshape(-1, 4)) / (*SPREAD, 1.0)
    return dict(zip(MODES, map(_weights, rows), strict=True))


def _weights(row: Any) -> Weights:
    slope, read, found, intercept = (round(float(value), 2) for value in row)
    return Weights(slope=slope, read=read, found=found, intercept=intercept)


def find(dialogues: Sequence[LabelledDialogue], remembered: Remembered, weights: Mapping[str, Weights]) -> Findings:
    """What the combined detector finds with these weights."""
    detector = CombinedDetector(RulesDetector(), remembered, remembered, weights=weights)  # type: ignore[arg-type]
    return find_in_labelled(detector, dialogues, modes=MODES, reporter=Reporter(force_plain=True))


def joined(findings: Sequence[Findings], dialogues: Sequence[LabelledDialogue]) -> Findings:
    """Findings of all folds, in the order of the dialogues."""
    rows = {row.dialogue: row for each in findings for row in each.dialogues}
    parts = tuple(sorted({each.part for each in dialogues}))
    return findings[0].model_copy(
        update={"parts": parts, "dialogues": tuple(rows[each.dialogue.id] for each in dialogues)}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esconv", action="append", default=[], metavar="FILE", help="your copy of ESConv")
    parser.add_argument("--write", action="store_true", help="store weights and findings")
    options = parser.parse_args()
    copy = [dialogue for file in options.esconv for dialogue in read_dialogues(file).dialogues]
    dialogues = load_whole_dialogues("tune", "final", "fresh", copy=copy)
    remembered = Remembered()
    reporter = Reporter()
    judged = []
    with reporter.stage("labelled dialogues", total=len(dialogues), unit="dialogue") as stage:
        for each in dialogues:
            judged.append(judge([each], remembered, remembered))
            stage.advance()
    folds = np.random.default_rng(0).permutation(len(dialogues)) % NUM_FOLDS
    findings = []
    for fold in range(NUM_FOLDS):
        weights = fit([each for each, own in zip(judged, folds, strict=True) if own != fold])
        findings.append(
            find([each for each, own in zip(dialogues, folds, strict=True) if own == fold], remembered, weights)
        )
    weights = fit(judged)
    crossed = joined(findings, dialogues)
    for name, found in (
        ("each judged by others' weights", crossed),
        ("by its own", find(dialogues, remembered, weights)),
    ):
        it = worth(found)
        print(
            f"{name}: right {it.findings.precision.num_true}/{it.findings.precision.num}, found "
            f"{it.findings.recall.num_true}/{it.findings.recall.num}, alarms {it.alarms.num_true}/{it.alarms.num}, "
            f"macro-F1 {it.macro_f1:.3f}"
        )
    values = {mode: asdict(each) for mode, each in weights.items()}
    print(yaml.safe_dump(values, sort_keys=False))
    if options.write:
        path = Path(combined_module.__file__).with_suffix(".yaml")
        head = "# Written by benchmarks/combined_weights.py --write: what rules, learned detector and reader count.\n"
        path.write_text(head + yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        crossed.save(path.parent / "labelled" / "findings" / "combined.json")


if __name__ == "__main__":
    main()
