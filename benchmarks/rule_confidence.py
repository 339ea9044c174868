"""How often each rule of the rules detector is right, for `advsim/detectors/rules/confidence.yaml`.

`python benchmarks/rule_confidence.py --esconv train.jsonl.gz --esconv valid.jsonl.gz [--write]` counts, over the
labelled whole dialogues of the parts train, build and tune, (right + 1) / (found + 2) of each rule. The rules were
written with the first two in view, so that the values are rather too high than too low elsewhere.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import yaml

import advsim.detectors.rules.finding as finding_module
from advsim.corpus.files import read_dialogues
from advsim.detectors.rules import RulesDetector
from advsim.detectors.whole_dialogues import load_whole_dialogues


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esconv", action="append", default=[], metavar="FILE", help="your copy of ESConv")
    parser.add_argument("--write", action="store_true", help="store the values")
    options = parser.parse_args()
    copy = [dialogue for file in options.esconv for dialogue in read_dialogues(file).dialogues]
    detector = RulesDetector()
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for each in load_whole_dialogues("train", "build", "tune", copy=copy):
        for label, findings in zip(each.labels.values(), detector.findings(each.dialogue), strict=True):
            for rule in {finding.rule for finding in findings}:
                found[rule] += 1
                right[rule] += rule.partition(".")[0] in label.modes
    values = {rule: round((right[rule] + 1) / (num + 2), 2) for rule, num in sorted(found.items())}
    for rule, value in values.items():
        print(f"{rule:<40}{right[rule]:>4} of {found[rule]:<4} {value:.2f}")
    if options.write:
        path = Path(finding_module.__file__).with_name("confidence.yaml")
        head = "# Written by benchmarks/rule_confidence.py --write: (right + 1) / (found + 2) in labelled dialogues.\n"
        path.write_text(head + yaml.safe_dump(values, width=120), encoding="utf-8")


if __name__ == "__main__":
    main()
