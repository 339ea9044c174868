"""One self-contained HTML page an evaluation: no scripts, no requests, everything that somebody wrote escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from advsim.evaluation.results import Evaluation, Group
from advsim.evaluation.summary import FailureExample
from advsim.rates.rates import ANY
from advsim.report.chatbots.figures import agreement_notes, chatbot_table
from advsim.report.chatbots.pictures import draw_chatbots
from advsim.report.evaluation.calibration import calibration_table, corrected_share, corrected_to_head, legend
from advsim.report.evaluation.figures import SEVERITIES, evaluation_table, missing_notes
from advsim.report.evaluation.pictures import draw_evaluation
from advsim.report.evaluation.tables import headline
from advsim.report.page.figures import FigureTable, format_figure, format_interval, percent, percent_interval
from advsim.report.page.plots import Picture
from advsim.report.page.render import KeyFigure, render_page

MAX_SHOWN_CHARACTERS = 600
"""Of a turn, and of what stands before and after the evidence in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownExample:
    """A failure as the page shows it: the message in three parts, of which the middle one is the evidence."""

    mode: str
    severity: str
    dialogue: str
    against: str
    user: str
    before: str
    span: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownExamples:
    """Examples of one group."""

    group: str
    is_reference: bool
    examples: tuple[ShownExample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownChatbots:
    """Several chatbots as the page shows them; ``verdict`` is empty where there is nothing to hold them against."""

    verdict: str
    pictures: tuple[Picture, ...]
    figures: FigureTable


def render_evaluation(evaluation: Evaluation) -> str:
    """The page as HTML text. The same evaluation gives the same text."""
    return render_page(
        "evaluation.html",
        evaluation=evaluation,
        headline=headline(evaluation),
        key_figures=_key_figures(evaluation),
        pictures=draw_evaluation(evaluation),
        chatbots=_chatbots(evaluation),
        figures=evaluation_table(evaluation),
        notes=[*evaluation.notes, *missing_notes(evaluation), *agreement_notes(evaluation.by_chatbot)],
        examples=_examples(evaluation),
        modes_not_found=_not_found(evaluation),
        calibration=calibration_table(evaluation),
        legend=legend(evaluation),
    )


def _key_figures(evaluation: Evaluation) -> tuple[KeyFigure, ...]:
    figures: list[KeyFigure] = []
    judged = [group for group in evaluation.groups if group.failures is not None]
    for group in [*judged[:1], *judged[1:][-2:]]:
        assert group.failures is not None
        rate = group.failures.rates[ANY]
        corrected = corrected_to_head(group)
        shown = corrected or rate
        interval = percent_interval(shown.low, shown.high)
        value = percent(rate.estimate) + ("" if rate.estimate is None else " %")
        figures.append(
            KeyFigure(
                label=f"Failing messages, {group.name}",
                value=value if corrected is None else corrected_share(corrected),
                note=("" if corrected is None else f"corrected, found in {percent(rate.estimate)} %; ")
                + (f"interval {interval}, " if interval else "no interval, ")
                + f"{rate.num_messages:,} messages, {rate.num_dialogues:,} dialogues",
            )
        )
    figures.extend(_user_figures([group for group in evaluation.groups if group.users is not None][-1:]))
    return tuple(figures)


def _user_figures(groups: Sequence[Group]) -> list[KeyFigure]:
    figures: list[KeyFigure] = []
    for group in groups:
        users = group.users
        if users is None:
            continue
        for classifier in users.realism[:1]:
            interval = format_interval(classifier.auc.low, classifier.auc.high)
            figures.append(
                KeyFigure(
                    label=f"Users told apart, {classifier.family}",
                    value=format_figure(classifier.auc.value),
                    note=f"AUC, {group.name}" + (f", interval {interval}" if interval else ", no interval"),
                )
            )
        if users.mauve is not None and users.mauve.score is not None and users.mauve.ceiling is not None:
            figures.append(
                KeyFigure(
                    label="MAUVE of user turns",
                    value=format_figure(users.mauve.score.mean),
                    note=f"{group.name}; ceiling {format_figure(users.mauve.ceiling.mean)}, "
                    f"{users.mauve.num_turns:,} turns a side, {users.mauve.num_buckets} buckets",
                )
            )
    return figures


def _chatbots(evaluation: Evaluation) -> ShownChatbots | None:
    by_chatbot = evaluation.by_chatbot
    if by_chatbot is None:
        return None
    real = evaluation.reference.name if evaluation.reference is not None else None
    return ShownChatbots(
        verdict=by_chatbot.validity.sentence if by_chatbot.validity is not None else "",
        pictures=draw_chatbots(by_chatbot, simulated=evaluation.name_of_simulated, real=real),
        figures=chatbot_table({evaluation.name_of_simulated: by_chatbot}, real=real, modes=evaluation.modes),
    )


def _not_found(evaluation: Evaluation) -> str:
    judged = [mode for mode in evaluation.modes_judged if mode in evaluation.modes]
    return ", ".join(evaluation.modes[mode].lower() for mode in judged if mode not in evaluation.modes_found)


def _examples(evaluation: Evaluation) -> tuple[ShownExamples, ...]:
    return tuple(
        ShownExamples(
            group=group.name,
            is_reference=group.is_reference,
            examples=tuple(_example(example, evaluation) for example in group.examples),
        )
        for group in evaluation.groups
        if group.examples
    )


def _example(example: FailureExample, evaluation: Evaluation) -> ShownExample:
    start = example.message.find(example.span) if example.span else -1
    before, span, after = (
        ("", "", example.message)
        if start < 0
        else (example.message[:start], example.span, example.message[start + len(example.span) :])
    )
    return ShownExample(
        mode=evaluation.modes.get(example.mode, example.mode),
        severity=SEVERITIES.get(example.severity, str(example.severity)),
        dialogue=f"{example.dialogue_id}, turn {example.turn}",
        against=_against(example, evaluation),
        user=_start(example.user),
        before=_end(before),
        span=span,
        after=_start(after),
    )


def _against(example: FailureExample, evaluation: Evaluation) -> str:
    """What speaks against a finding: how often such findings are wrong, how sure this one is, that nothing is shown."""
    known = evaluation.worth_of(example.mode)
    wrong = known.precision.num - known.precision.num_true if known is not None else 0
    reasons = [f"confidence {example.confidence:.2f}"]
    if known is not None and known.precision.num:
        reasons.append(f"{wrong} of {known.precision.num} findings of this mode in labelled dialogues are wrong")
    if not example.span:
        reasons.append("no words of the message are its evidence")
    return "; ".join(reasons)


def _start(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + " …"


def _end(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else "… " + text[-MAX_SHOWN_CHARACTERS:]
