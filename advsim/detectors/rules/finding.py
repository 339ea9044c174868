"""Findings of rules, and the confidence of each rule."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from advsim.records import Visibility

_CONFIDENCE = Path(__file__).with_name("confidence.yaml")
UNKNOWN_CONFIDENCE = 0.5
"""Of a rule that no labelled message has triggered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule's finding in one message. ``start`` and ``end`` are offsets of the evidence; equal: absence."""

    mode: str
    rule: str  # "<mode>.<cue>", a key of confidence.yaml
    severity: int
    start: int = 0
    end: int = 0
    visibility: Visibility = Visibility.MESSAGE


def finding(
    rule: str,
    severity: int,
    evidence: re.Match[str] | tuple[int, int] | None = None,
    *,
    visibility: Visibility = Visibility.MESSAGE,
) -> Finding:
    """A finding of ``rule`` ("<mode>.<cue>") with a match, a (start, end) or nothing as its evidence."""
    start, end = (0, 0) if evidence is None else evidence.span() if isinstance(evidence, re.Match) else evidence
    mode = rule.partition(".")[0]
    return Finding(mode=mode, rule=rule, severity=severity, start=start, end=end, visibility=visibility)


@cache
def confidences() -> Mapping[str, float]:
    """Share of right findings of each rule in labelled whole dialogues, drawn towards one half.

    (right + 1) / (found + 2), so that a rule seen three times is never certain; by
    ``benchmarks/rule_confidence.py``, counted before the last 1,635 dialogues of the part ``train`` were there.
    The rules were written with some of these dialogues in view: elsewhere the values are rather too high than too low.
    A rule on acute risk that nothing has triggered has the value of that on explicit risk: its words are plainer still.
    """
    values: dict[str, float] = yaml.safe_load(_CONFIDENCE.read_text(encoding="utf-8")) if _CONFIDENCE.exists() else {}
    plainer = {rule.replace("_explicit", "_acute"): value for rule, value in values.items() if "_explicit" in rule}
    return plainer | values
