"""Decisions of a judge by the shares of its votes; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median_high

from advsim.detectors.judge.prompt import JudgeFinding, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A mode that the votes say a message shows."""

    mode: str
    severity: int  # median of the votes for it, the higher of two
    span: str  # the one quoted most often; empty where the mode lies in what is left out
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Modes neither present nor abstained from are absent."""

    present: tuple[Decision, ...]
    abstained: frozenset[str]


class Say(StrEnum):
    """What one vote says of a mode."""

    FOUND = "found"
    ABSENT = "absent"
    NEITHER = "neither"  # unsure, or named without words of the message


def say(verdict: Verdict, mode: str) -> Say:
    """What a vote says of a mode that it was asked for."""
    if any(finding.mode == mode for finding in verdict.findings):
        return Say.FOUND
    return Say.NEITHER if mode in verdict.unsure | verdict.misquoted | verdict.unquoted else Say.ABSENT


def decide(verdicts: Sequence[Verdict], modes: Sequence[str], *, num_votes: int, min_agreement: float) -> Decisions:
    """Decide on each mode by the share of the votes (self-consistency).

    A mode is present, or absent, where at least ``min_agreement`` of the votes asked for say so, and abstained from
    where neither holds. A vote that is unsure, that got no answer, or that names the mode and quotes no words of the
    message for it, speaks for neither side.

    Args:
        verdicts: the votes that got an answer.
        modes: ids of the modes that were asked for.
        num_votes: votes asked for. With one vote the confidence is the judge's own, else the share of votes.
        min_agreement: share above one half, to 1.
    """
    present: list[Decision] = []
    abstained: set[str] = set()
    for mode in modes:
        findings = [finding for verdict in verdicts for finding in verdict.findings if finding.mode == mode]
        share_present = len(findings) / num_votes
        share_absent = sum(say(verdict, mode) is Say.ABSENT for verdict in verdicts) / num_votes
        if share_present >= min_agreement:
            confidence = findings[0].confidence if num_votes == 1 else share_present
            present.append(_decision(findings, confidence))
        elif share_absent < min_agreement:
            abstained.add(mode)
    return Decisions(present=tuple(present), abstained=frozenset(abstained))


def _decision(findings: Sequence[JudgeFinding], confidence: float) -> Decision:
    spans = Counter(finding.span for finding in findings if finding.span)
    return Decision(
        mode=findings[0].mode,
        severity=median_high(finding.severity for finding in findings),
        span=spans.most_common(1)[0][0] if spans else "",
        confidence=confidence,
    )
