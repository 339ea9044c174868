"""What moved, what did not, and what cannot be said: read from intervals, never from points alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from advsim.report.page.figures import format_figure, format_interval
from advsim.report.run.curve import findings
from advsim.report.run.figures import Column, families, run_columns
from advsim.report.run.metrics import RunMetrics
from advsim.training.metrics import ClassifierMetrics

_JOINER = "\N{WORD JOINER}"  # keeps an interval on one line


class Direction(StrEnum):
    """What two intervals say about a held-out accuracy, of which lower is more realistic."""

    NEARER = "nearer to real users"
    FURTHER = "further from real users"
    UNDECIDED = "no change that the intervals show"


class Standing(StrEnum):
    """Where a held-out accuracy ended, by its interval."""

    NEAR_CHANCE = "it is now near chance"
    TOLD_APART = "it is still told apart from them"
    UNDECIDED = "whether it is near chance stays open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One sentence, and the findings behind it."""

    sentence: str
    moved: tuple[str, ...]
    unmoved: tuple[str, ...]
    unknown: tuple[str, ...]


def make_headline(run: RunMetrics) -> Headline:
    """Compare zero-shot, SFT and the last round by the intervals of the measurable held-out classifiers.

    Intervals that do not overlap count as movement; this is stricter than a test of the difference, so that "no change
    that the intervals show" does not mean that there was none.
    """
    zero_shot, sft, *rounds = run_columns(run)[1:]
    moved: list[str] = []
    unmoved: list[str] = []
    unknown: list[str] = []
    clauses: list[str] = []
    for family in families(run):
        tried = [column for column in [sft, *rounds] if family in column.held_out]
        if not tried:
            continue
        last = next(
            (column for column in reversed(tried) if _classifier(column, family).accuracy is not None), tried[-1]
        )
        unknown.extend(f"Realism by {family}: {note}." for note in _classifier(last, family).notes)
        reason = _unmeasurable(_classifier(last, family))
        if reason:
            unknown.append(f"Realism by {family}: not measurable. {reason}")
            continue
        steps = [(zero_shot, sft, "SFT"), (sft, last, "the rounds")] if last is not sft else [(zero_shot, sft, "SFT")]
        by_rounds = None
        for before, after, cause in steps:
            direction = _direction(_classifier(before, family), _classifier(after, family))
            if direction is None:
                continue
            text = (
                f"Realism by {family}, {before.label} to {after.label}: {direction} "
                f"({_accuracy(before, family)} → {_accuracy(after, family)})."
            )
            (unmoved if direction is Direction.UNDECIDED else moved).append(text)
            by_rounds = direction if cause == "the rounds" else by_rounds
        standing = _standing(_classifier(last, family), chance_margin=run.chance_margin)
        if standing is None:
            unknown.append(f"Realism by {family}: too few dialogues for an interval.")
            continue
        clauses.append(_clause(family, standing, by_rounds))
    moved_from_sft, unmoved_from_sft = findings(run)
    moved += moved_from_sft
    unmoved += unmoved_from_sft
    unknown.extend(_without_interval(run, sft, rounds))
    return Headline(
        sentence=_sentence(run, clauses), moved=tuple(moved), unmoved=tuple(unmoved), unknown=tuple(unknown)
    )


def _sentence(run: RunMetrics, clauses: list[str]) -> str:
    measured = any(
        classifier.accuracy is not None for column in run_columns(run) for classifier in column.held_out.values()
    )
    not_finished = "" if run.rounds else " No round is finished yet."
    if clauses:
        return f"{'; '.join(clauses)}.".replace("by", "By", 1) + not_finished
    if measured:
        return (
            "Realism is not measurable in this run: no held-out classifier finds the controls that are known not to "
            "be real, or none has dialogues enough for an interval." + not_finished
        )
    return f"No held-out classifier has measured this run yet.{not_finished}"


def _clause(family: str, standing: Standing, by_rounds: Direction | None) -> str:
    if by_rounds is None:
        return f"by {family}, the simulator was compared with real users and {standing}"
    change = {
        Direction.NEARER: "came nearer to real users over the rounds",
        Direction.FURTHER: "moved further from real users over the rounds",
        Direction.UNDECIDED: "shows no clear move to or from real users over the rounds",
    }[by_rounds]
    return f"by {family}, the simulator {change}, and {standing}"


def _unmeasurable(classifier: ClassifierMetrics) -> str:
    if classifier.measurable:
        return ""
    if classifier.measurable is None:
        return "The run does not say whether this classifier finds its control."
    why = (classifier.gate or "the classifier does not find its control").rstrip(".")
    return f"{why[0].upper()}{why[1:]}, so that an accuracy near chance means nothing."


def _direction(before: ClassifierMetrics, after: ClassifierMetrics) -> Direction | None:
    if before.low is None or before.high is None or after.low is None or after.high is None:
        return None
    if after.high < before.low:
        return Direction.NEARER
    if after.low > before.high:
        return Direction.FURTHER
    return Direction.UNDECIDED


def _standing(classifier: ClassifierMetrics, *, chance_margin: float) -> Standing | None:
    if classifier.low is None or classifier.high is None:
        return None
    if classifier.high <= 0.5 + chance_margin:
        return Standing.NEAR_CHANCE
    return Standing.TOLD_APART if classifier.low > 0.5 + chance_margin else Standing.UNDECIDED


def _without_interval(run: RunMetrics, sft: Column, rounds: list[Column]) -> list[str]:
    said: list[str] = []
    judged = _first_to_last([column.metrics.discriminator.accuracy for column in rounds], digits=2)
    if judged:
        said.append(
            f"The discriminator trained against had accuracy {judged}. It is trained anew each round and the simulator "
            "is optimised against it, so this shows the process, not realism."
        )
    real = run.baseline.real.diversity
    diversities = [column.diversity for column in [sft, *rounds]]
    spoken = _first_to_last([diversity.mean_turn_words for diversity in diversities], digits=1)
    if spoken and real.mean_turn_words is not None:
        said.append(f"Words a turn: {spoken} (real {real.mean_turn_words:.1f}), given without interval.")
    varied = _first_to_last([diversity.mattr for diversity in diversities], digits=2)
    if varied and real.mattr is not None:
        said.append(f"Lexical diversity (MATTR): {varied} (real {real.mattr:.2f}), given without interval.")
    return said


def _first_to_last(values: list[float | None], *, digits: int) -> str:
    known = [format_figure(value, digits) for value in values if value is not None]
    return " → ".join(known if len(known) <= 3 else [known[0], "…", known[-1]])


def _classifier(column: Column, family: str) -> ClassifierMetrics:
    return column.held_out.get(family, ClassifierMetrics())


def _accuracy(column: Column, family: str) -> str:
    classifier = _classifier(column, family)
    interval = format_interval(classifier.low, classifier.high).replace("–", f"{_JOINER}–{_JOINER}")
    return f"{format_figure(classifier.accuracy)}\N{NO-BREAK SPACE}[{interval}]"
