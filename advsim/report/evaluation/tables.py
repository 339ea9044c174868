"""The terminal's tables of ``advsim evaluate``."""

from __future__ import annotations

from dataclasses import replace

from rich import box
from rich.console import RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from advsim.evaluation.results import Evaluation, Group
from advsim.rates.rates import ANY
from advsim.report.chatbots.figures import agreement_notes, chatbot_table
from advsim.report.evaluation.calibration import calibration_table, corrected_share, corrected_to_head, legend
from advsim.report.evaluation.figures import evaluation_table, missing_notes
from advsim.report.page.figures import Cell, FigureTable, percent, percent_interval
from advsim.report.page.names import short_names
from advsim.validity.by_chatbot import ByChatbot

MAX_COLUMNS = 100
_LABEL_COLUMNS = 32
_COLUMNS_A_TABLE = 5
_COLUMNS_ON_ONE_LINE = 3
"""Up to so many, figure and interval fit on one line."""


def evaluation_tables(evaluation: Evaluation) -> tuple[RenderableType, ...]:
    """A sentence, tables of at most 100 columns, notes and a legend; each for ``console.print``."""
    table = evaluation_table(evaluation)
    if not table.groups:
        return (Text("No figures."),)
    tables = figure_tables(table)
    if evaluation.by_chatbot is not None:
        tables.extend(_chatbot_tables(evaluation, evaluation.by_chatbot))
    if evaluation.calibration is not None:
        tables.append(_table(calibration_table(evaluation)))
    notes = [*evaluation.notes, *missing_notes(evaluation), *agreement_notes(evaluation.by_chatbot)]
    shown = Text("\n").join(
        [
            *(Text(f"- {note}") for note in notes),
            Text(),
            *(Text.assemble((f"{term}: ", "bold"), meaning) for term, meaning in legend(evaluation)),
        ]
    )
    return (
        Constrain(Padding(Text(headline(evaluation), style="bold"), (1, 1, 0, 1)), MAX_COLUMNS),
        *tables,
        Constrain(Padding(shown, (0, 1)), MAX_COLUMNS),
    )


def _chatbot_tables(evaluation: Evaluation, by_chatbot: ByChatbot) -> list[RenderableType]:
    reference = evaluation.reference
    figures = chatbot_table(
        {evaluation.name_of_simulated: by_chatbot},
        real=reference.name if reference is not None else None,
        modes=evaluation.modes,
    )
    verdict = by_chatbot.validity.sentence if by_chatbot.validity is not None else ""
    said = [Constrain(Padding(Text(verdict, style="bold"), (1, 1, 0, 1)), MAX_COLUMNS)] if verdict else []
    return [*said, *figure_tables(figures)]


def figure_tables(figures: FigureTable) -> list[RenderableType]:
    """Tables of at most 100 columns for ``console.print``, the first column of figures in all of them."""
    return [_table(part) for part in _parts(figures)]


def headline(evaluation: Evaluation) -> str:
    """One sentence a group on how often its chatbot fails."""
    said = []
    for group in evaluation.groups:
        rate = group.failures.rates.get(ANY) if group.failures is not None else None
        if rate is None:
            continue
        if rate.estimate is None:
            said.append(f"{group.name}: no chatbot message could be judged.")
            continue
        interval = percent_interval(rate.low, rate.high)
        bounds = f" [{interval}]" if interval else " (too few dialogues for an interval)"
        said.append(
            f"{group.name}:{_corrected(group, rate.estimate)} {evaluation.detector} finds a failure in "
            f"{percent(rate.estimate)} %{bounds} of {rate.num_messages:,} chatbot messages in {rate.num_dialogues:,} "
            "dialogues."
        )
    if said and evaluation.worth_counted is not None:
        said.append(_worth(evaluation))
    return " ".join(said) or "No dialogue with a chatbot message."


def _corrected(group: Group, found: float) -> str:
    rate = corrected_to_head(group)
    if rate is None:
        return ""
    said = f" {corrected_share(rate)}"
    if rate.estimate == 0:
        return f"{said} of messages fail" + (", no more than false alarms explain;" if found else ";")
    interval = "" if rate.estimate == 1 else percent_interval(rate.low, rate.high)
    return said + (f" [{interval}]" if interval else "") + " of messages fail, corrected;"


def _worth(evaluation: Evaluation) -> str:
    """How often findings are right, and which modes are meant by "a failure"."""
    measured = evaluation.worth_counted
    if measured is None or not measured.modes[1:]:
        return "No mode of this detector is shown to be right more often than not: no rate is given."
    found = measured.findings
    interval = percent_interval(found.precision.low, found.precision.high)
    left_out = len(evaluation.modes_not_measurable)
    return (
        f"In labelled dialogues {percent(found.precision.value)} %"
        + (f" [{interval}]" if interval else "")
        + f" of its findings are right, and it finds {percent(found.recall.value)} % of these failures"
        + (f"; {left_out} of {len(evaluation.modes)} modes have no rate of their own with it." if left_out else ".")
    )


def _parts(table: FigureTable) -> list[FigureTable]:
    """The same rows with at most ``_COLUMNS_A_TABLE`` columns each, the first column in all of them."""
    if len(table.columns) <= _COLUMNS_A_TABLE:
        return [table]
    step = _COLUMNS_A_TABLE - 1
    return [
        _columns(table, [0, *range(first, min(first + step, len(table.columns)))])
        for first in range(1, len(table.columns), step)
    ]


def _columns(table: FigureTable, kept: list[int]) -> FigureTable:
    groups = tuple(
        replace(
            group, rows=tuple(replace(row, cells=tuple(row.cells[column] for column in kept)) for row in group.rows)
        )
        for group in table.groups
    )
    return FigureTable(columns=tuple(table.columns[column] for column in kept), groups=groups)


def _table(figures: FigureTable) -> Table:
    on_one_line = len(figures.columns) <= _COLUMNS_ON_ONE_LINE
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True, max_width=_LABEL_COLUMNS)
    for label in figures.columns:
        table.add_column(
            Text(label), justify="right", min_width=9, max_width=22 if on_one_line else 17, overflow="fold"
        )
    titles = short_names((group.title for group in figures.groups), most=_LABEL_COLUMNS)
    for group in figures.groups:
        labels = short_names((row.label for row in group.rows), most=_LABEL_COLUMNS - 2)
        table.add_row(Text(titles[group.title], style="bold"), *[""] * len(figures.columns))
        for row in group.rows:
            if not row.is_detail:
                table.add_row(
                    Text(f"  {labels[row.label]}"), *(_cell(cell, on_one_line=on_one_line) for cell in row.cells)
                )
    return table


def _cell(cell: Cell, *, on_one_line: bool) -> Text:
    if not cell.interval:
        return Text(cell.value)
    return Text.assemble(cell.value, "  " if on_one_line else "\n", (cell.interval, "dim"))
