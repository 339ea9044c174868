"""The terminal's table at the end of a run: real, zero-shot, SFT and every round side by side."""

from __future__ import annotations

from rich import box
from rich.console import RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from advsim.report.page.figures import Cell, FigureTable
from advsim.report.run.figures import LEGEND, figure_table
from advsim.report.run.metrics import RunMetrics

MAX_COLUMNS = 100
_ROUNDS_PER_TABLE = 3


def round_tables(run: RunMetrics) -> tuple[RenderableType, ...]:
    """Tables of at most 100 columns, one for every three rounds, then a legend; each for ``console.print``."""
    if not figure_table(run).groups:
        return (Text("No figures yet."),)
    starts = range(0, max(len(run.rounds), 1), _ROUNDS_PER_TABLE)
    tables = [_table(figure_table(run, rounds=run.rounds[start : start + _ROUNDS_PER_TABLE])) for start in starts]
    legend = Text("\n").join(Text.assemble((f"{term}: ", "bold"), meaning) for term, meaning in LEGEND)
    return (*tables, Constrain(Padding(legend, (0, 1)), MAX_COLUMNS))


def _table(figures: FigureTable) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("", no_wrap=True, max_width=30)
    for label in figures.columns:
        table.add_column(label, justify="right", no_wrap=True, min_width=7)
    for group in figures.groups:
        table.add_row(Text(group.title, style="bold"), *[""] * len(figures.columns))
        for row in group.rows:
            if not row.is_detail:
                table.add_row(Text(f"  {row.label}"), *map(_cell, row.cells))
    return table


def _cell(cell: Cell) -> Text:
    if not cell.interval:
        return Text(cell.value)
    return Text.assemble(cell.value, "\n", (cell.interval, "dim"))
