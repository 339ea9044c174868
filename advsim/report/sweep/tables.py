"""A sweep's figures as rows and columns, for the terminal's tables and the page's alike: a column a side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from advsim.rates.ab_test import Difference
from advsim.rates.blame import Blame
from advsim.rates.rates import ANY
from advsim.records import Rate
from advsim.report.chatbots.figures import chatbot_table, pair_label, points_cell, rate_cell
from advsim.report.page.figures import (
    Cell,
    FigureTable,
    Row,
    RowGroup,
    filled_rows,
    format_figure,
    format_interval,
    money,
    words,
)
from advsim.report.sweep.figures import SweepFigures
from advsim.sweep.measure import Result
from advsim.sweep.paired import PairedRates
from advsim.sweep.service import ChatbotService
from advsim.validity.factors import LARGE_CHANGE, FactorAgreement

_BLAME = {
    Blame.SIMULATOR: "the simulator",
    Blame.CHATBOT: "the chatbot",
    Blame.DETECTOR_DOUBT: "the detector's doubt",
    Blame.NONE: "nothing failed",
    Blame.INFRASTRUCTURE: "infrastructure",
    Blame.NOT_JUDGED: "language not known",
}
_Figure = TypeVar("_Figure")


def sweep_table(figures: SweepFigures, *, is_full: bool = False) -> FigureTable:
    """Rates by chatbot and mode, A/B tests, agreement, blame, paired replay; what has no figure is left out.

    Args:
        figures: of the sweep.
        is_full: with differences of every mode, and messages without a verdict.
    """
    simulated = {result.simulator: result.by_chatbot for result in figures.simulators}
    found = figures.found_modes
    table = chatbot_table(simulated, real=figures.real, modes={mode: words(mode) for mode in found})
    rates, others = table.groups[:1], table.groups[1:]
    by_mode = [RowGroup(title=f"{words(mode)}, %", rows=filled_rows(_rate_rows(figures, mode))) for mode in found]
    further = [
        RowGroup(title="Simulated by real rate, as a factor", rows=filled_rows(_factor_rows(figures))),
        RowGroup(title="Divergence over modes, bits", rows=filled_rows(_divergence_rows(figures))),
        RowGroup(title="Conversations by blame", rows=filled_rows(_blame_rows(figures))),
        RowGroup(title="Without simulator's faults, %", rows=filled_rows(_faultless_rows(figures))),
        RowGroup(title="A − B at every look, points", rows=filled_rows(_anytime_rows(figures))),
        RowGroup(title="Paired replay, rate, %", rows=filled_rows(_paired_rows(figures, _paired_rate))),
        RowGroup(
            title="Simulator's turn − real, points",
            rows=filled_rows(_paired_rows(figures, _turn_effect)),
        ),
        RowGroup(title="Parts of the gap, points", rows=filled_rows(_part_rows(figures))),
        RowGroup(title="Conversations by end", rows=filled_rows(_end_rows(figures))),
    ]
    if is_full:
        further += [RowGroup(title=title, rows=filled_rows(rows)) for title, rows in _full_groups(figures)]
    return FigureTable(
        columns=table.columns, groups=tuple(group for group in (*rates, *by_mode, *others, *further) if group.rows)
    )


def service_cells(services: Sequence[ChatbotService]) -> FigureTable:
    """How the chatbots answered, a row each; costs where one is known, replies without a call where there are any."""
    has_price = any(service.cost is not None for service in services)
    has_cache = any(service.num_from_cache for service in services)
    headings = ("kind", "replies", "failed", "median s", "95 % s", "slowest s", "tokens in", "tokens out")
    rows = []
    for service in services:
        times = (service.seconds_p50, service.seconds_p95, service.seconds_max)
        tokens = (service.num_prompt_tokens, service.num_output_tokens) if service.tells_tokens else (None, None)
        values = [service.kind, f"{service.num_replies:,}", f"{service.num_failed:,}"]
        values += [*(format_figure(seconds) for seconds in times), *(format_figure(count, 0) for count in tokens)]
        values += [money(service.cost)] if has_price else []
        values += [f"{service.num_from_cache:,}"] if has_cache else []
        rows.append(Row(label=service.chatbot, cells=tuple(Cell(value=value) for value in values)))
    groups = (RowGroup(title="How the chatbots answered; what failed is in no rate", rows=tuple(rows)),)
    further = (*(("cost",) if has_price else ()), *(("without a call",) if has_cache else ()))
    return FigureTable(columns=(*headings, *further), groups=groups if rows else ())


def _sides(figures: SweepFigures) -> list[Result | None]:
    """A result a column; None for the real one."""
    return [*([None] if figures.has_real else []), *figures.simulators]


def _row(label: str, found: Iterable[_Figure | None], cell: Callable[[_Figure], Cell]) -> Row:
    return Row(label=label, cells=tuple(Cell() if figure is None else cell(figure) for figure in found))


def _of_results(figures: SweepFigures, label: str, get: Callable[[Result], Cell | None]) -> Row:
    """A row of what only simulators have."""
    cells = [None if side is None else get(side) for side in _sides(figures)]
    return Row(label=label, cells=tuple(cell or Cell() for cell in cells))


def rates_by_side(figures: SweepFigures, mode: str = ANY) -> dict[str, dict[str, Rate]]:
    """Rates by chatbot of every side, under the headings of the columns."""
    found: dict[str, dict[str, Rate]] = {}
    first = figures.simulators[0].by_chatbot.chatbots if figures.simulators else ()
    if figures.real is not None:
        found[figures.real] = {each.chatbot: each.real[mode] for each in first if mode in each.real}
    for result in figures.simulators:
        rates = result.by_chatbot.chatbots
        found[result.simulator] = {each.chatbot: each.simulated[mode] for each in rates if mode in each.simulated}
    return found


def _rate_rows(figures: SweepFigures, mode: str, cell: Callable[[Rate], Cell] = rate_cell) -> Iterator[Row]:
    sides = rates_by_side(figures, mode).values()
    for name in sorted({name for side in sides for name in side}):
        yield _row(name, [side.get(name) for side in sides], cell)


def _factor_rows(figures: SweepFigures) -> Iterator[Row]:
    def of(get: Callable[[FactorAgreement], Cell]) -> Callable[[Result], Cell | None]:
        return lambda result: None if result.factors is None else get(result.factors)

    yield _of_results(
        figures,
        "median error",
        of(lambda found: Cell(value=format_figure(found.median), interval=f"n {found.num_chatbots}")),
    )
    yield _of_results(
        figures, "worst", of(lambda found: Cell(value=format_figure(found.worst), interval=found.worst_chatbot))
    )
    yield _of_results(
        figures,
        f"direction right from {LARGE_CHANGE:g}x",
        of(
            lambda found: (
                Cell()
                if found.share_right is None
                else Cell(value=format_figure(found.share_right), interval=f"{found.num_right} of {found.num_large}")
            )
        ),
    )


def _divergence_rows(figures: SweepFigures) -> Iterator[Row]:
    def bits(value: float | None, low: float | None = None, high: float | None = None) -> Cell:
        return Cell(value=format_figure(value, 3), interval=format_interval(low, high, 3))

    given = [None if side is None else side.divergence for side in _sides(figures)]
    with_none = [None if side is None else side.divergence_with_none for side in _sides(figures)]
    yield _row("given failure", given, lambda found: bits(found.jensen_shannon, found.low, found.high))
    yield _row("  95 % of relabelled", given, lambda found: bits(found.null_high))
    yield _row("  p", given, lambda found: bits(found.p_value))
    yield _row("with messages that do not fail", with_none, lambda found: bits(found.jensen_shannon))


def _blame_rows(figures: SweepFigures) -> Iterator[Row]:
    for kind, name in _BLAME.items():

        def cell(result: Result, kind: Blame = kind) -> Cell | None:
            total = sum(result.blame.values())
            count = result.blame.get(kind, 0)
            return Cell(value=f"{count:,}", interval=f"{100 * count / total:.0f} %") if total else None

        if any(result.blame.get(kind) for result in figures.simulators):
            yield _of_results(figures, name, cell)


def _faultless_rows(figures: SweepFigures) -> Iterator[Row]:
    for name in sorted({name for result in figures.simulators for name in result.rates_without_faults}):
        rates = [None if side is None else side.rates_without_faults.get(name) for side in _sides(figures)]
        yield _row(name, rates, rate_cell)


def _anytime_rows(figures: SweepFigures) -> Iterator[Row]:
    for name in dict.fromkeys(name for result in figures.simulators for name in result.anytime):
        found = [None if side is None else side.anytime.get(name) for side in _sides(figures)]
        yield _row(f"{name} − {figures.baseline}", found, points_cell)


def _paired_rows(figures: SweepFigures, get: Callable[[PairedRates], Cell]) -> Iterator[Row]:
    known = [_paired(side) for side in _sides(figures)]
    for name in dict.fromkeys(name for of_side in known for name in of_side):
        yield _row(name, [of_side.get(name) for of_side in known], get)


def _paired(side: Result | None) -> dict[str, PairedRates]:
    return {} if side is None or side.paired is None else {each.chatbot: each for each in side.paired.chatbots}


def _paired_rate(of_chatbot: PairedRates) -> Cell:
    return rate_cell(of_chatbot.paired)


def _turn_effect(of_chatbot: PairedRates) -> Cell:
    return points_cell(of_chatbot.turn_effect)


def _part_rows(figures: SweepFigures) -> Iterator[Row]:
    paired = [None if side is None else side.paired for side in _sides(figures)]

    def points(value: float | None) -> Cell:
        return Cell() if value is None else Cell(value=f"{100 * value:+.1f}")

    yield _row("gap, simulated − real", paired, lambda found: points(found.gap))
    yield _row("  of it the user's turn", paired, lambda found: points(found.turn_effect))
    yield _row("  of it the design", paired, lambda found: points(found.design_effect))


def _end_rows(figures: SweepFigures) -> Iterator[Row]:
    for reason in dict.fromkeys(reason for result in figures.simulators for reason in result.talk.stop_reasons):

        def count(result: Result, reason: str = reason) -> Cell:
            return Cell(value=f"{result.talk.stop_reasons.get(reason, 0):,}")

        yield _of_results(figures, words(reason), count)
    if any(result.talk.num_user_turns for result in figures.simulators):
        yield _of_results(figures, "user turns", lambda result: Cell(value=f"{result.talk.num_user_turns:,}"))
        yield _of_results(figures, "  drawn again", lambda result: Cell(value=f"{result.talk.num_regenerated:,}"))


def _full_groups(figures: SweepFigures) -> Iterator[tuple[str, list[Row]]]:
    """Messages without a verdict, and every difference by mode."""
    yield (
        "Messages without a verdict",
        list(_rate_rows(figures, ANY, lambda rate: Cell(value=f"{rate.num_not_judged:,}"))),
    )
    first = figures.simulators[0].by_chatbot if figures.simulators else None
    for number, test in enumerate(first.tests if first is not None else ()):
        sides: list[Sequence[Difference]] = [test.real] if figures.has_real else []
        sides += [result.by_chatbot.tests[number].simulated for result in figures.simulators]
        by_mode = [{difference.mode: difference for difference in side[1:]} for side in sides]
        rows = [
            _row(words(mode), [of_side.get(mode) for of_side in by_mode], points_cell) for mode in figures.found_modes
        ]
        yield f"{pair_label(test.pair)}, every mode, points", rows
