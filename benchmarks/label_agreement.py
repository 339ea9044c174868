"""Agreement of the two passes that labelled whole dialogues, and how many messages show each mode.

    python benchmarks/label_agreement.py --esconv train.jsonl.gz --esconv valid.jsonl.gz

prints Cohen's kappa a mode over ``build``, ``tune`` and ``final``, with its 95 % percentile interval of a bootstrap
over dialogues, that over what of ``fresh`` was read twice, and the counts by part. Both passes followed one set of
written definitions in the same way, so that two people who label by themselves will agree less.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import get_args

import numpy as np
import numpy.typing as npt
from sklearn.metrics import cohen_kappa_score

from advsim.corpus.files import read_dialogues
from advsim.detectors.taxonomy import load_taxonomy
from advsim.detectors.whole_dialogues import LabelledDialogue, WholePart, load_whole_dialogues
from advsim.realism.bootstrap import percentile_bounds

NUM_BOOTSTRAP = 1000
PARTS = get_args(WholePart)


def kappa(passes_N2: npt.NDArray[np.bool_]) -> float | None:
    """Cohen's kappa of two passes over N messages; None where neither ever found the mode, or both always."""
    if len(np.unique(passes_N2)) < 2:
        return None
    return float(cohen_kappa_score(passes_N2[:, 0], passes_N2[:, 1]))


def kappa_with_bounds(by_dialogue: Sequence[npt.NDArray[np.bool_]]) -> tuple[float | None, float | None, float | None]:
    """Kappa of all messages, and its 95 % percentile interval over dialogues."""
    value = kappa(np.concatenate(by_dialogue))
    rng = np.random.default_rng(0)
    samples = (rng.integers(0, len(by_dialogue), len(by_dialogue)) for _ in range(NUM_BOOTSTRAP))
    drawn = [kappa(np.concatenate([by_dialogue[k] for k in sample])) for sample in samples]
    values = [each for each in drawn if each is not None]
    if value is None or len(values) < NUM_BOOTSTRAP / 2:
        return value, None, None
    return value, *percentile_bounds(np.array(values))


def passes_of(dialogue: LabelledDialogue, mode: str) -> npt.NDArray[np.bool_]:
    """Whether each pass found the mode, shape (messages, 2)."""
    labels = dialogue.labels.values()
    twice = [(label.first, label.second) for label in labels if label.second is not None]
    return np.array([(mode in first, mode in second) for first, second in twice], dtype=bool).reshape(-1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esconv", action="append", default=[], metavar="FILE", help="your copy of ESConv")
    files = parser.parse_args().esconv
    copy = [dialogue for file in files for dialogue in read_dialogues(file).dialogues]
    dialogues = load_whole_dialogues(copy=copy)
    print(f"{len(dialogues)} dialogues, {sum(len(each.labels) for each in dialogues)} messages")
    sizes = Counter((each.part, each.source) for each in dialogues)
    print(", ".join(f"{part} {source} {num}" for (part, source), num in sorted(sizes.items())))
    fresh = [each for each in dialogues if each.part == "fresh" and len(passes_of(each, ""))]
    twice = [each for each in dialogues if each.part in ("build", "tune", "final")]
    print(f"{'mode':24}{'kappa':>7}{'95 %':>14}{'of fresh':>10}" + "".join(f"{part:>7}" for part in PARTS))
    for mode in load_taxonomy().ids:
        value, low, high = kappa_with_bounds([passes_of(each, mode) for each in twice])
        shown = Counter(each.part for each in dialogues for label in each.labels.values() if mode in label.modes)
        kappa_text = "" if value is None else f"{value:.2f}"
        bounds = "" if low is None or high is None else f"{low:.2f} to {high:.2f}"
        of_fresh = kappa(np.concatenate([passes_of(each, mode) for each in fresh])) if fresh else None
        fresh_text = "" if of_fresh is None else f"{of_fresh:.2f}"
        print(f"{mode:24}{kappa_text:>7}{bounds:>14}{fresh_text:>10}" + "".join(f"{shown[part]:7}" for part in PARTS))


if __name__ == "__main__":
    main()
