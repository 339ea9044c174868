"""What a sweep found, in words: who fails more often than the baseline, and how far simulated users can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from advsim.rates.ab_test import Difference
from advsim.rates.blame import Blame
from advsim.report.chatbots.figures import SIGNIFICANT, agreement_notes, points_cell
from advsim.report.page.figures import words
from advsim.report.sweep.figures import SweepFigures
from advsim.sweep.measure import Result
from advsim.sweep.outcomes import REPLAY
from advsim.validity.by_chatbot import AbTest

_MAX_NAMED = 6
"""Chatbots that the first sentence names of a kind."""
ON_REAL = "on real prefixes"


class Answer(StrEnum):
    """What can be said of a chatbot against the baseline."""

    MORE = "fails more often"
    LESS = "fails less often"
    ALIKE = "no difference that matters"
    OPEN = "not decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A chatbot against the baseline on one side.

    Attributes:
        chatbot: its name.
        side: where: a simulator, or real prefixes.
        answer: what can be said.
        figures: difference, interval and what decides.
    """

    chatbot: str
    side: str
    answer: Answer
    figures: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What speaks for and against one simulator, in sentences."""

    simulator: str
    sentences: tuple[str, ...]


def compared(figures: SweepFigures) -> tuple[Compared, ...]:
    """Every chatbot against the baseline, on every side, real prefixes first."""
    real = [
        _by_test(test, test.real[0], ON_REAL)
        for result in figures.simulators[:1]
        for test in result.by_chatbot.tests
        if test.real
    ]
    return (*real, *(each for result in figures.simulators for each in _of(result)))


def decided_by(figures: SweepFigures) -> str:
    """What decides that two chatbots differ."""
    ordinary, early = f"p at most {SIGNIFICANT:g} by Holm".replace("0.", "."), "an interval at every look without 0"
    if not any(result.anytime for result in figures.simulators):
        return ordinary
    return f"{early}; {ON_REAL} {ordinary}" if figures.has_real else early


def standfirst(figures: SweepFigures) -> str:
    """The answer in a few sentences, whatever the number of chatbots and simulators."""
    return " ".join([*_answers(figures), *_trust_in_short(figures)])


def _answers(figures: SweepFigures) -> list[str]:
    found = compared(figures)
    if not found:
        return [f"{figures.baseline} stands alone: there is no other chatbot to compare with."]
    said = []
    for answer in (Answer.MORE, Answer.LESS, Answer.ALIKE):
        sides: dict[str, list[str]] = {}
        for each in found:
            if each.answer is answer:
                sides.setdefault(each.chatbot, []).append(each.side)
        if sides:
            said.append(_first_sentence(answer, sides, figures.baseline))
    decided = {each.chatbot for each in found if each.answer is not Answer.OPEN}
    still_open = [name for name in dict.fromkeys(each.chatbot for each in found) if name not in decided]
    if still_open:
        named = _some(still_open)
        said.append(f"Not decided on any side whether more or less often than {figures.baseline}: {named}.")
    return said


def _trust_in_short(figures: SweepFigures) -> list[str]:
    """Simulators by verdict, and those that are told from real people."""
    by_verdict: dict[str, list[str]] = {}
    for result in figures.simulators:
        if result.validity is not None:
            by_verdict.setdefault(words(result.validity.verdict), []).append(result.simulator)
    said = [f"{verdict} ({_some(names)})" for verdict, names in by_verdict.items()]
    flagged = [r.simulator for r in figures.simulators if r.population_test is not None and r.population_test.flagged]
    in_short = [f"That simulated users order the chatbots as real people do: {', '.join(said)}."] if said else []
    return in_short + ([f"Told from real people by the failures: {_some(flagged)}."] if flagged else [])


def trust(figures: SweepFigures) -> tuple[Trust, ...]:
    """What is known of each simulator; nothing where there are replies to real prefixes alone."""
    return tuple(
        Trust(simulator=result.simulator, sentences=tuple(trust_sentences(result)))
        for result in figures.simulators
        if result.simulator != REPLAY
    )


def trust_sentences(result: Result) -> Iterator[str]:
    """Verdict, population test, factors, what is missing and why, paired replay, blame."""
    yield result.validity.sentence if result.validity is not None else f"{_capital(result.by_chatbot.reason)}."
    if result.population_test is not None:
        yield result.population_test.sentence
    if result.factors is not None:
        yield result.factors.sentence
    yield from agreement_notes(result.by_chatbot)
    if result.paired is not None:
        yield result.paired.sentence
        if result.paired.validity is not None:
            yield f"By paired replay, over chatbots: {result.paired.validity.sentence}"
        if result.paired.num_faulty_turns:
            yield f"Prefixes without a usable last turn of the simulator: {result.paired.num_faulty_turns}."
    yield from blame_sentences(result.blame)


def blame_sentences(blame: Mapping[Blame, int]) -> Iterator[str]:
    """Whose fault it is where something went wrong; nothing where it is not known."""
    kinds = {
        Blame.SIMULATOR: "the simulator's fault",
        Blame.CHATBOT: "the chatbot's",
        Blame.DETECTOR_DOUBT: "in the detector's doubt",
    }
    total = sum(blame.get(kind, 0) for kind in kinds)
    if total:
        shares = {said: (blame.get(kind, 0), 100 * blame.get(kind, 0) / total) for kind, said in kinds.items()}
        parts = [f"{count:,} ({share:.0f} %) are {said}" for said, (count, share) in shares.items()]
        yield f"Of {total:,} conversations in which something went wrong {', '.join(parts)}."


def _of(result: Result) -> Iterator[Compared]:
    side = ON_REAL if result.simulator == REPLAY else f"by {result.simulator}"
    for test in result.by_chatbot.tests:
        anytime = result.anytime.get(test.pair.a)
        if anytime is None:
            yield _by_test(test, test.simulated[0], side)
            continue
        # A sweep that stops early looks often: an ordinary test would find a difference too easily.
        cell = points_cell(anytime)
        interval = f" [{cell.interval}]" if cell.interval else ""
        figures = f"{cell.value} points{interval} at every look, {anytime.num_clusters} people or scenarios"
        yield Compared(
            chatbot=test.pair.a,
            side=side,
            answer=_way(anytime.difference) if anytime.is_decided else Answer.OPEN,
            figures="nothing could be judged" if anytime.difference is None else figures,
        )


def _by_test(test: AbTest, difference: Difference, side: str) -> Compared:
    cell = points_cell(difference)
    if difference.difference is None:
        return Compared(chatbot=test.pair.a, side=side, answer=Answer.OPEN, figures="nothing could be judged")
    interval = f" [{cell.interval}]" if cell.interval else ", too few dialogues for an interval"
    p = "" if difference.p_adjusted is None else f", p = {difference.p_adjusted:.3f} by Holm"
    answer = Answer.OPEN
    if difference.p_adjusted is not None and difference.p_adjusted <= SIGNIFICANT:
        answer = _way(difference.difference)
    elif difference.equivalence_p is not None and difference.equivalence_p <= SIGNIFICANT:
        answer = Answer.ALIKE
        p = f", within ±{100 * difference.margin:g} points with p = {difference.equivalence_p:.3f}"
    return Compared(chatbot=test.pair.a, side=side, answer=answer, figures=f"{cell.value} points{interval}{p}")


def _way(difference: float | None) -> Answer:
    return Answer.MORE if (difference or 0.0) > 0 else Answer.LESS


def _first_sentence(answer: Answer, sides: Mapping[str, list[str]], baseline: str) -> str:
    named = _some([f"{name} ({', '.join(of_chatbot)})" for name, of_chatbot in sides.items()])
    if answer is Answer.ALIKE:
        return f"No difference that matters from {baseline}: {named}."
    return f"{answer.value.replace('fails', 'Fails')} than {baseline}: {named}."


def _some(names: list[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
