"""Predictions, and how far they were off, as rows and columns: a column a chatbot."""

from __future__ import annotations

from collections.abc import Sequence

from advsim.predictions.prediction import Prediction
from advsim.predictions.scoring import Score, ScoredChange, ScoredRate
from advsim.rates.ab_test import Difference
from advsim.rates.rates import ANY
from advsim.records import Rate
from advsim.report.page.figures import (
    Cell,
    FigureTable,
    Row,
    RowGroup,
    filled_rows,
    format_figure,
    percent,
    percent_interval,
    points_interval,
    words,
)


def prediction_table(prediction: Prediction) -> FigureTable:
    """Predicted rates and differences; modes that are found nowhere are left out."""
    names = tuple(each.chatbot for each in prediction.chatbots)
    shown = [
        mode
        for mode in (ANY, *prediction.modes)
        if mode == ANY or any(each.rates[mode].estimate for each in prediction.chatbots)
    ]
    rates = [Row(label=_name(m), cells=tuple(_rate(each.rates[m]) for each in prediction.chatbots)) for m in shown]
    groups = [RowGroup(title="Predicted failure rate, %", rows=tuple(rates))]
    for baseline in dict.fromkeys(change.b for change in prediction.changes):
        of = {change.a: change.differences for change in prediction.changes if change.b == baseline}
        rows = [
            Row(label=_name(difference.mode or ANY), cells=tuple(_difference(of.get(n), number) for n in names))
            for number, difference in enumerate(next(iter(of.values())))
            if (difference.mode or ANY) in shown
        ]
        groups.append(RowGroup(title=f"Against {baseline}, points", rows=tuple(rows)))
    return FigureTable(columns=names, groups=tuple(groups))


def score_tables(score: Score) -> tuple[FigureTable, ...]:
    """Rates by chatbot, predicted and live, and the changes between chatbots of at least 1.5x."""
    names = tuple(dict.fromkeys(rate.chatbot for rate in score.rates))
    groups = []
    for mode in dict.fromkeys(rate.mode for rate in score.rates):
        rates = {rate.chatbot: rate for rate in score.rates if rate.mode == mode}
        if mode == ANY or any(rate.factor for rate in rates.values()):
            groups.append(_rates(mode, [rates[name] for name in names]))
    tables = [FigureTable(columns=names, groups=tuple(groups))]
    large = [change for change in score.changes if change.is_right is not None]
    if large:
        columns = ("predicted, points", "live, points", "live change", "direction")
        rows = tuple(_change(change) for change in large)
        tables.append(
            FigureTable(columns=columns, groups=(RowGroup(title="Changes of at least 1.5x, live", rows=rows),))
        )
    return tuple(tables)


def _rates(mode: str, rates: Sequence[ScoredRate]) -> RowGroup:
    rows = (
        Row(label="predicted", cells=tuple(_rate(rate.predicted) for rate in rates)),
        Row(label="live", cells=tuple(_rate(rate.live) for rate in rates)),
        Row(label="error", cells=tuple(_error(rate) for rate in rates)),
    )
    return RowGroup(title=f"{_name(mode)}, %", rows=filled_rows(rows))


def _error(rate: ScoredRate) -> Cell:
    said = {True: "within", False: "outside", None: ""}[rate.is_covered]
    return Cell(value=format_figure(rate.factor) + ("x" if rate.factor is not None else ""), interval=said)


def _change(change: ScoredChange) -> Row:
    predicted, live = (Cell(value=_points(value)) for value in (change.predicted, change.live))
    factor = Cell(
        value=f"{format_figure(change.change)}x", interval="beyond chance" if change.is_significant else "within chance"
    )
    verdict = Cell(value="right" if change.is_right else "not as predicted")
    return Row(label=f"{change.a} − {change.b}, {_name(change.mode)}", cells=(predicted, live, factor, verdict))


def _difference(differences: Sequence[Difference] | None, number: int) -> Cell:
    if differences is None:
        return Cell()
    found = differences[number]
    return Cell(value=_points(found.difference), interval=points_interval(found.low, found.high))


def _rate(rate: Rate) -> Cell:
    return Cell(value=percent(rate.estimate), interval=percent_interval(rate.low, rate.high))


def _points(value: float | None) -> str:
    return percent(None) if value is None else f"{100 * value:+.1f}"


def _name(mode: str) -> str:
    return "any failure" if mode == ANY else words(mode)
