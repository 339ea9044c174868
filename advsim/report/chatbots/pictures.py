"""Pictures of several chatbots: simulated against real rates, and A/B differences of both side by side."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from matplotlib import rc_context

from advsim.rates.ab_test import Difference
from advsim.rates.rates import ANY
from advsim.records import Rate
from advsim.report.chatbots.figures import pair_label
from advsim.report.page.figures import format_interval
from advsim.report.page.names import short_names
from advsim.report.page.plots import Picture, Point, Series, panel
from advsim.report.page.rows_picture import rows_picture
from advsim.report.page.svg import INK, MUTED, RULE, SERIES, STYLE, inline_svg
from advsim.validity.by_chatbot import ByChatbot

MAX_NAMED = 12
"""More chatbots than these are not named in the scatter, where their names would cover each other."""

MAX_NAME = 18
_MAX_AXIS_NAME = 36
_MAX_NAME_OF_PAIR = 15
_NAME_SIZE = 8.5  # points
_SIDE = 290  # of the scatter, about, in points
_CORNERS = ((1, 1), (-1, 1), (1, -1), (-1, -1))
_Box = tuple[float, float, float, float]  # left, right, bottom, top


@contextmanager
def drawing() -> Iterator[None]:
    """The style of the pages; a name can hold letters that matplotlib's own font lacks, and the page's fonts have."""
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def draw_chatbots(by_chatbot: ByChatbot, *, simulated: str, real: str | None) -> tuple[Picture, ...]:
    """Every picture that there are figures for.

    Args:
        by_chatbot: what is said of them.
        simulated: name of the conversations.
        real: name of the real dialogues; None: there are none.
    """
    with drawing():
        drawn = (
            _scatter(by_chatbot, simulated, real)
            if by_chatbot.validity is not None and real is not None
            else _rates(by_chatbot, simulated),
            _differences(by_chatbot, simulated, real),
        )
    return tuple(picture for picture in drawn if picture is not None)


def _scatter(by_chatbot: ByChatbot, simulated: str, real: str) -> Picture | None:
    return rates_against_rates(
        [
            (rates.chatbot, rates.real[ANY], rates.simulated[ANY])
            for rates in by_chatbot.chatbots
            if ANY in rates.real and ANY in rates.simulated
        ],
        sides=(real, simulated),
        title="Failure rate by chatbot, simulated against real",
    )


def rates_against_rates(
    rates: Sequence[tuple[str, Rate, Rate]], *, sides: tuple[str, str], title: str, name: str = "chatbots"
) -> Picture | None:
    """Two rates of each chatbot as a mark with both intervals, and the line where both are equal.

    Args:
        rates: name, rate along the level axis, rate along the upright one; without one of these there is no mark.
        sides: what both axes are of.
        title: of the picture.
        name: of the picture, unique on its page.

    Returns:
        None where there is no mark.
    """
    points = [(name, x, y) for name, x, y in rates if x.estimate is not None and y.estimate is not None]
    if not points:
        return None
    bounds = [
        100 * bound
        for _, *both in points
        for rate in both
        for bound in (rate.estimate, rate.low, rate.high)
        if bound is not None
    ]
    margin = 0.06 * (max(bounds) - min(bounds)) or 1.0
    limits = (min(bounds) - margin, max(bounds) + margin)
    shown = short_names((name for name, _, _ in points), most=MAX_NAME)
    written = short_names(sides, most=_MAX_AXIS_NAME)
    in_full = {text: name for name, text in shown.items()}
    in_full |= {_axis(text): _axis(name) for name, text in written.items()}
    figure, axes = panel(4.5)
    axes.plot(limits, limits, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    for _, x, y in points:
        _cross(axes, x, y)
    if len(points) <= MAX_NAMED:
        places = [(shown[name], 100 * (x.estimate or 0.0), 100 * (y.estimate or 0.0)) for name, x, y in points]
        _write_names(axes, places, scale=(limits[1] - limits[0]) / _SIDE)
    axes.set_xlim(*limits)
    axes.set_ylim(*limits)
    axes.set_aspect("equal")
    axes.set_xlabel(_axis(written[sides[0]]))
    axes.set_ylabel(_axis(written[sides[1]]))
    axes.grid(color=RULE, linewidth=0.6)
    axes.tick_params(labelcolor=MUTED)
    axes.set_axisbelow(True)
    said = "; ".join(f"{name}: {sides[0]} {_said(x)}, {sides[1]} {_said(y)}" for name, x, y in points)
    return Picture(
        name=name,
        title=title,
        caption="A point a chatbot, any failure, with 95 % intervals of both rates. On the dashed line both rates are "
        "equal." + ("" if len(points) <= MAX_NAMED else " The names stand in the table."),
        svg=inline_svg(figure, name=name, title=title, description=said, in_full=in_full),
    )


def _axis(name: str) -> str:
    return f"{name}, % of messages"


def _cross(axes: Any, x: Rate, y: Rate) -> None:
    """A mark at both rates, with both intervals behind it."""
    at_x, at_y = 100 * (x.estimate or 0.0), 100 * (y.estimate or 0.0)
    thin = {"color": SERIES[1], "linewidth": 0.9, "alpha": 0.55, "zorder": 2}
    if x.low is not None and x.high is not None:
        axes.plot([100 * x.low, 100 * x.high], [at_y, at_y], **thin)
    if y.low is not None and y.high is not None:
        axes.plot([at_x, at_x], [100 * y.low, 100 * y.high], **thin)
    axes.plot(at_x, at_y, marker="o", color=SERIES[1], zorder=4)


def _write_names(axes: Any, places: Sequence[tuple[str, float, float]], *, scale: float) -> None:
    """Each name in that corner of its mark where it covers the fewest marks and names.

    Args:
        axes: to write on.
        places: names with the place of their marks.
        scale: per cent a point of type.
    """
    taken = [(x - 3 * scale, x + 3 * scale, y - 3 * scale, y + 3 * scale) for _, x, y in places]
    for name, x, y in places:
        width, height = 0.58 * _NAME_SIZE * len(name) * scale, _NAME_SIZE * scale

        boxes = {
            (right, up): (
                x + 5 * right * scale - (0 if right > 0 else width),
                x + 5 * right * scale + (width if right > 0 else 0),
                y + 4 * up * scale - (0 if up > 0 else height),
                y + 4 * up * scale + (height if up > 0 else 0),
            )
            for right, up in _CORNERS
        }
        covered = {corner: sum(_overlap(box, other) for other in taken) for corner, box in boxes.items()}
        corner = min(_CORNERS, key=covered.__getitem__)
        taken.append(boxes[corner])
        axes.annotate(
            name,
            (x, y),
            xytext=(5 * corner[0], 4 * corner[1]),
            textcoords="offset points",
            ha="left" if corner[0] > 0 else "right",
            va="bottom" if corner[1] > 0 else "top",
            color=INK,
            fontsize=_NAME_SIZE,
            zorder=5,
        )


def _overlap(box: _Box, other: _Box) -> bool:
    return box[0] < other[1] and other[0] < box[1] and box[2] < other[3] and other[2] < box[3]


def _rates(by_chatbot: ByChatbot, simulated: str) -> Picture | None:
    """Without a second side to hold them against, the rates alone."""
    points = tuple(
        Point(
            place=row,
            value=100 * estimate,
            low=_times_100(rates.simulated[ANY].low),
            high=_times_100(rates.simulated[ANY].high),
        )
        for row, rates in enumerate(by_chatbot.chatbots)
        if (estimate := _estimate(rates.simulated)) is not None
    )
    return rows_picture(
        [Series(label=simulated, points=points, style=1)],
        [rates.chatbot for rates in by_chatbot.chatbots],
        name="chatbots",
        title="Failure rate by chatbot, % of messages",
        caption="Any failure. Point and 95 % interval over users or dialogues.",
        digits=1,
    )


def _differences(by_chatbot: ByChatbot, simulated: str, real: str | None) -> Picture | None:
    sides = [
        (0, real or "", [test.real for test in by_chatbot.tests]),
        (1, simulated, [test.simulated for test in by_chatbot.tests]),
    ]
    series = [
        Series(
            label=label,
            style=style,
            points=tuple(
                Point(place=row, value=100 * first.difference, low=_times_100(first.low), high=_times_100(first.high))
                for row, differences in enumerate(tests)
                if (first := _any_mode(differences)) is not None and first.difference is not None
            ),
        )
        for style, label, tests in sides
    ]
    pairs = [test.pair for test in by_chatbot.tests]
    short = short_names((chatbot for pair in pairs for chatbot in (pair.a, pair.b)), most=_MAX_NAME_OF_PAIR)
    return rows_picture(
        [line for line in series if line.points],
        [pair_label(pair) for pair in pairs],
        short=[pair_label(replace(pair, a=short[pair.a], b=short[pair.b])) for pair in pairs],
        name="differences",
        title="A/B tests: difference of failure rates, percentage points",
        caption="Any failure, with 95 % intervals. Right of 0 the first chatbot of the pair fails more often. A result "
        "replicates where both marks are on one side.",
        digits=1,
        reference=0.0,
        can_be_negative=True,
    )


def _any_mode(differences: Sequence[Difference]) -> Difference | None:
    return next(iter(differences), None)


def _estimate(rates: Mapping[str, Rate]) -> float | None:
    return rates[ANY].estimate if ANY in rates else None


def _times_100(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _said(rate: Rate) -> str:
    interval = format_interval(_times_100(rate.low), _times_100(rate.high), 1)
    return f"{100 * (rate.estimate or 0.0):.1f} %" + (f" ({interval})" if interval else "")
