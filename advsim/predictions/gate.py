"""A gate for CI: may a candidate replace the baseline, by what a sweep found?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from advsim.errors import ConfigError
from advsim.rates.ab_test import compare
from advsim.rates.increase import FALSE_FAILS, Increase, IncreaseVerdict, increase_sentence, judge_increase
from advsim.rates.outcomes import MessageOutcome, cluster_of, fails, is_judged
from advsim.rates.rates import ANY, failure_rate
from advsim.records import Rate
from advsim.sweep.outcomes import FinishedSweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The verdict on a candidate, and what it rests on.

    Attributes:
        verdict: of ``increase``.
        sentence: in words, with the interval.
        baseline: name of the chatbot that is there.
        candidate: name of the chatbot that would replace it.
        simulator: whose conversations with both say it, or ``replay``.
        mode: the failure mode, or ``any``.
        rate_baseline: failure rate of the baseline.
        rate_candidate: failure rate of the candidate.
        increase: candidate minus baseline against what is allowed, as shares of messages.
        false_fails: measured share of "worse" of candidates without an increase, and with the one that is allowed.
        notes: what to know.
    """

    verdict: IncreaseVerdict
    sentence: str
    baseline: str
    candidate: str
    simulator: str
    mode: str
    rate_baseline: Rate
    rate_candidate: Rate
    increase: Increase
    false_fails: tuple[float, float]
    notes: tuple[str, ...]


def gate(
    sweep: FinishedSweep,
    *,
    baseline: str,
    candidate: str,
    max_increase_points: float,
    mode: str | None = None,
    simulator: str | None = None,
) -> Gate:
    """Judge whether a candidate fails more often than a baseline by more than is allowed.

    Both met the same scenarios (a cluster is a scenario's person), which makes the comparison a paired one.

    Args:
        sweep: a finished sweep with both.
        baseline: name of a chatbot.
        candidate: name of another.
        max_increase_points: allowed increase in percentage points, at least 0 and below 100.
        mode: a mode that the sweep's detector measures; None: any of them.
        simulator: a simulator of the sweep or ``replay``; None: the last simulator.

    Raises:
        ConfigError: a name is not in the sweep, or the allowed increase is out of its range.
    """
    side, outcomes = sweep.side(simulator)
    for flag, name in (("--baseline", baseline), ("--candidate", candidate)):
        if name not in outcomes:
            raise ConfigError(f"{flag} {name}: no such chatbot in {sweep.location}; it has {', '.join(outcomes)}")
    if baseline == candidate:
        raise ConfigError(f"--candidate {candidate}: is the baseline itself; name two chatbots of the sweep")
    if mode is not None and mode not in sweep.summary.modes:
        measured = ", ".join(sweep.summary.modes) or "none"
        raise ConfigError(f"--mode {mode}: the detector of {sweep.location} measures {measured}; name one of these")
    if not 0 <= max_increase_points < 100:
        raise ConfigError(
            f"--max-increase {max_increase_points:g}: expected percentage points, at least 0 and below 100"
        )
    rows = outcomes[candidate], outcomes[baseline]
    difference = compare(*rows, mode=mode, seed=sweep.summary.seed)
    increase = judge_increase(
        difference,
        max_increase=max_increase_points / 100,
        dialogues_a_cluster=_dialogues_a_cluster(rows),
        is_without_failures=not any(fails(row, mode) for arm in rows for row in arm if is_judged(row, mode)),
    )
    rates = [failure_rate(arm, mode=mode) for arm in rows]
    return Gate(
        verdict=increase.verdict,
        sentence=increase_sentence(increase, candidate=candidate, baseline=baseline),
        baseline=baseline,
        candidate=candidate,
        simulator=side,
        mode=mode or ANY,
        rate_candidate=rates[0],
        rate_baseline=rates[1],
        increase=increase,
        false_fails=FALSE_FAILS,
        notes=tuple(_notes(increase, {candidate: rates[0], baseline: rates[1]})),
    )


def _dialogues_a_cluster(arms: Sequence[Sequence[MessageOutcome]]) -> float:
    counts = [(len({row.dialogue_id for row in arm}), len({cluster_of(row) for row in arm})) for arm in arms if arm]
    return max((dialogues / clusters for dialogues, clusters in counts), default=1.0)


def _notes(increase: Increase, rates: dict[str, Rate]) -> list[str]:
    notes = []
    found = increase.difference
    if found.num_paired < max(found.num_clusters):
        notes.append(
            f"Only {found.num_paired} of {max(found.num_clusters)} scenarios have a judged message of both; the others "
            "enter unpaired."
        )
    for name, rate in rates.items():
        if rate.num_not_judged:
            notes.append(f"{rate.num_not_judged} messages of {name} could not be judged and are in no rate.")
    return notes
