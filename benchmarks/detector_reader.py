"""The reader held against the other detectors: trained or shipped, alone and with them.

    python benchmarks/detector_reader.py --esconv train.jsonl.gz --esconv valid.jsonl.gz [--train FOLDER] [--epochs 2]

Without --train: the reader that ships. Printed for final and fresh are mean average precision and AUC, and what is
right and found at the thresholds that find 52 and 58 % of the failures of tune; of it, of the learned detector that
ships, and of logistic scores of both, with and without what the rules find, fitted on tune with the same weights for
every mode. Those of the combined detector, by mode, are written by combined_weights.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from advsim.corpus.files import read_dialogues
from advsim.detectors.combined import UNDONE_BY_CARE, Reader
from advsim.detectors.labelled import load_labelled
from advsim.detectors.learned.detector import LearnedDetector
from advsim.detectors.learned.load import load_learned
from advsim.detectors.reader.files import load_reader
from advsim.detectors.reader.training import ReaderConfig, labelled_turns, train_reader
from advsim.detectors.rules import RulesDetector
from advsim.detectors.taxonomy import load_taxonomy
from advsim.detectors.whole_dialogues import LabelledDialogue, load_whole_dialogues
from advsim.records import Dialogue
from advsim.runtime.progress import Reporter

Floats = npt.NDArray[np.float64]
MODES = load_taxonomy().ids


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Labelled messages of a part by each detector, shapes (messages, modes)."""

    shown: npt.NDArray[np.bool_]
    reader: Floats  # scores
    learned: Floats  # log-odds
    rules: Floats  # 1 where the rules find the mode


def judge(dialogues: Sequence[LabelledDialogue], learned: LearnedDetector, reader: Reader) -> Judged:
    """What each detector says of the labelled messages."""
    rules = RulesDetector(load_taxonomy())
    assert learned.modes == reader.modes == MODES, "made of other modes; train them again"
    by_learned = learned.assess_with_probabilities([each.dialogue for each in dialogues])
    p_by_turn = {(assessment.conversation_id, assessment.turn): p_M for assessment, p_M in by_learned}
    undone = [mode in UNDONE_BY_CARE for mode in MODES]
    shown, scores, p, found = [], [], [], []
    for each in dialogues:
        read = reader.scores(each.dialogue.turns)
        by_rules = {said.turn: (said, care) for said, care in rules.assess_with_care(each.dialogue)}
        for turn, label in each.labels.items():
            said, is_handled = by_rules[turn]
            p_M = np.where(is_handled & np.array(undone), 0.0, p_by_turn[each.dialogue.id, turn])
            shown.append([mode in label.modes for mode in MODES])
            scores.append(np.where(p_M > 0, read[turn], 0.0))
            p.append(p_M)
            found.append([float(mode in {it.mode for it in said.labels}) for mode in MODES])
    log_odds = logit(np.clip(np.array(p), 1e-6, 1 - 1e-6))
    return Judged(shown=np.array(shown), reader=np.array(scores), learned=log_odds, rules=np.array(found))


def figures(scores: Floats, shown: npt.NDArray[np.bool_], thresholds: Sequence[float]) -> str:
    """Mean average precision and AUC, and right/found and right/shown at thresholds."""
    modes = [m for m in range(shown.shape[1]) if shown[:, m].any()]
    precision = np.mean([average_precision_score(shown[:, m], scores[:, m]) for m in modes])
    auc = np.mean([roc_auc_score(shown[:, m], scores[:, m]) for m in modes])
    at = []
    for threshold in thresholds:
        found = scores >= threshold
        right = int((found & shown).sum())
        at.append(f"{right}/{found.sum()} = {right / max(1, found.sum()):.2f}, {right / shown.sum():.2f}")
    return f"AP {precision:.3f}  AUC {auc:.3f}  right, found: {'; '.join(at)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esconv", action="append", default=[], metavar="FILE", help="your copy of ESConv")
    parser.add_argument("--train", metavar="FOLDER", help="train a new one and save it there")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--most-dialogues", type=int, default=None, help="train on fewer, to try it out")
    asked = parser.parse_args()
    copy: list[Dialogue] = [dialogue for file in asked.esconv for dialogue in read_dialogues(file).dialogues]
    if asked.train:
        labelled = labelled_turns(load_whole_dialogues("train", "build", copy=copy), load_labelled("build"))
        config = ReaderConfig(num_epochs=asked.epochs)
        folder = Path(asked.train)
        train_reader(labelled[: asked.most_dialogues], MODES, folder=folder, config=config, reporter=Reporter())
    reader = load_reader(asked.train)
    learned = load_learned()
    tune, final, fresh = (
        judge(load_whole_dialogues(part, copy=copy), learned, reader) for part in ("tune", "final", "fresh")
    )
    sides = {
        "reader": ("reader",),
        "learned": ("learned",),
        "learned, reader": ("learned", "reader"),
        "learned, rules": ("learned", "rules"),
        "reader, rules": ("reader", "rules"),
        "all": ("learned", "reader", "rules"),
    }
    for name, parts in sides.items():
        inputs = [np.stack([getattr(it, part) for part in parts], axis=-1) for it in (tune, final, fresh)]
        fitted = LogisticRegression(C=100.0).fit(inputs[0].reshape(-1, len(parts)), tune.shown.ravel())
        weights = ", ".join(f"{part} {weight:.2f}" for part, weight in zip(parts, fitted.coef_[0], strict=True))
        print(f"{name}: {weights}, intercept {fitted.intercept_[0]:.2f}")
        scores = [fitted.decision_function(x.reshape(-1, len(parts))).reshape(x.shape[:2]) for x in inputs]
        highest = np.sort(scores[0][tune.shown])[::-1]
        thresholds = [float(highest[int(share * len(highest))]) for share in (0.52, 0.58)]
        for part, own, judged in (("final", scores[1], final), ("fresh", scores[2], fresh)):
            print(f"  {part:8}{figures(own, judged.shown, thresholds)}", flush=True)


if __name__ == "__main__":
    main()
