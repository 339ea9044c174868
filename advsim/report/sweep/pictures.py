"""The pictures of a sweep: rates and differences of all sides, simulated against real, parts of paired replay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from advsim.rates.ab_test import Difference
from advsim.records import Rate
from advsim.report.chatbots.figures import pair_label
from advsim.report.chatbots.pictures import drawing, rates_against_rates
from advsim.report.page.names import short_names
from advsim.report.page.plots import Picture, Point, Series
from advsim.report.page.rows_picture import rows_picture
from advsim.report.sweep.figures import SweepFigures
from advsim.report.sweep.tables import rates_by_side

MAX_SIDES = 6
"""More sides than these cannot be told apart in one picture: the real one and the last simulators are drawn."""

_MAX_AGAINST_REAL = 4
_MAX_NAME_OF_PAIR = 15


def draw_sweep(figures: SweepFigures) -> tuple[Picture, ...]:
    """Every picture that there are figures for."""
    with drawing():
        drawn = (
            _rates(figures),
            *_against_real(figures),
            _differences(figures),
            _turn_effects(figures),
            _parts(figures),
        )
    return tuple(picture for picture in drawn if picture is not None)


def _shown(figures: SweepFigures) -> list[str]:
    """Sides that are drawn, by their heading."""
    simulated = [result.simulator for result in figures.simulators]
    real = [] if figures.real is None else [figures.real]
    return [*real, *simulated[-(MAX_SIDES - len(real)) :]]


def _left_out(figures: SweepFigures) -> str:
    more = len(figures.simulators) + figures.has_real - len(_shown(figures))
    return f" The other {more} simulators stand in the table." if more else ""


def _rates(figures: SweepFigures) -> Picture | None:
    sides = {name: rates for name, rates in rates_by_side(figures).items() if name in _shown(figures)}
    names = sorted({name for rates in sides.values() for name in rates})
    return rows_picture(
        [
            Series(label=side, style=style, points=tuple(_rate_points(rates, names)))
            for style, (side, rates) in enumerate(sides.items())
        ],
        names,
        name="rates",
        title="Failure rate by chatbot, % of messages",
        caption="Any failure, with 95 % intervals over users or scenarios; without a line there are too few of them."
        + _left_out(figures),
        digits=1,
    )


def _rate_points(rates: Mapping[str, Rate], names: list[str]) -> Iterator[Point]:
    for row, name in enumerate(names):
        rate = rates.get(name)
        if rate is not None and rate.estimate is not None:
            yield Point(place=row, value=100 * rate.estimate, low=_times_100(rate.low), high=_times_100(rate.high))


def _against_real(figures: SweepFigures) -> Iterator[Picture | None]:
    if figures.real is None:
        return
    sides = rates_by_side(figures)
    real = sides.pop(figures.real)
    drawn = [name for name in list(sides)[-_MAX_AGAINST_REAL:] if len(real) > 1]
    for number, name in enumerate(drawn):
        yield rates_against_rates(
            [(chatbot, real[chatbot], rate) for chatbot, rate in sides[name].items() if chatbot in real],
            sides=(figures.real, name),
            title=f"Failure rate by chatbot, {name} against real",
            name=f"against-real-{number}",
        )


def _differences(figures: SweepFigures) -> Picture | None:
    first = figures.simulators[0].by_chatbot.tests if figures.simulators else ()
    sides: dict[str, list[Difference | None]] = {}
    if figures.real is not None:
        sides[figures.real] = [next(iter(test.real), None) for test in first]
    for result in figures.simulators:
        sides[result.simulator] = [next(iter(test.simulated), None) for test in result.by_chatbot.tests]
    series = [
        Series(
            label=name,
            style=style,
            points=tuple(
                Point(place=row, value=100 * found.difference, low=_times_100(found.low), high=_times_100(found.high))
                for row, found in enumerate(sides[name])
                if found is not None and found.difference is not None
            ),
        )
        for style, name in enumerate(_shown(figures))
    ]
    pairs = [test.pair for test in first]
    short = short_names((chatbot for pair in pairs for chatbot in (pair.a, pair.b)), most=_MAX_NAME_OF_PAIR)
    return rows_picture(
        series,
        [pair_label(pair) for pair in pairs],
        short=[pair_label(replace(pair, a=short[pair.a], b=short[pair.b])) for pair in pairs],
        name="differences",
        title="A/B tests: difference of failure rates, percentage points",
        caption=f"Any failure, with 95 % intervals. Right of 0 the chatbot fails more often than {figures.baseline}."
        + _left_out(figures),
        digits=1,
        reference=0.0,
        can_be_negative=True,
    )


def _turn_effects(figures: SweepFigures) -> Picture | None:
    with_paired = [result for result in figures.simulators if result.paired is not None][-MAX_SIDES:]
    names = list(
        dict.fromkeys(each.chatbot for result in with_paired if result.paired for each in result.paired.chatbots)
    )
    series = []
    for result in with_paired:
        points = [
            Point(
                place=names.index(each.chatbot),
                value=100 * each.turn_effect.difference,
                low=_times_100(each.turn_effect.low),
                high=_times_100(each.turn_effect.high),
            )
            for each in (result.paired.chatbots if result.paired is not None else ())
            if each.turn_effect.difference is not None
        ]
        series.append(Series(label=result.simulator, points=tuple(points), style=_style(figures, result.simulator)))
    return rows_picture(
        series,
        names,
        name="turn-effects",
        title="Paired replay: the simulator's turn less the real one, percentage points",
        caption="How much more often a chatbot fails when only the last user turn of a real prefix is the simulator's. "
        "At 0 its turns are as hard to answer as real ones.",
        digits=1,
        reference=0.0,
        can_be_negative=True,
    )


def _parts(figures: SweepFigures) -> Picture | None:
    with_paired = [(result.simulator, result.paired) for result in figures.simulators if result.paired is not None]
    parts = (
        ("gap", [paired.gap for _, paired in with_paired]),
        ("user's turn", [paired.turn_effect if paired.gap is not None else None for _, paired in with_paired]),
        ("design", [paired.design_effect for _, paired in with_paired]),
    )
    series = [
        Series(
            label=label,
            style=style,
            points=tuple(Point(place=row, value=100 * value) for row, value in enumerate(values) if value is not None),
        )
        for style, (label, values) in enumerate(parts)
    ]
    return rows_picture(
        series,
        [name for name, _ in with_paired],
        name="parts",
        title="Parts of the gap between simulated conversations and replay, percentage points",
        caption="Means over chatbots, any failure: gap = the user's turn + the design (later turns, and contexts of "
        "the chatbot's own making).",
        digits=1,
        reference=0.0,
        can_be_negative=True,
    )


def _style(figures: SweepFigures, side: str) -> int:
    """Its colour and mark, the same in all pictures."""
    shown = _shown(figures)
    return shown.index(side) if side in shown else len(shown)


def _times_100(share: float | None) -> float | None:
    return None if share is None else 100 * share
