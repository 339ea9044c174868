"""Kinds of plot: lines with intervals, stacked bars, and the reference line that both are read against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from advsim.report.page.figures import keys_of, words
from advsim.report.page.svg import INK, MUTED, PAPER, RULE, SERIES

SMALL = 9.5  # points
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_WIDTH_IN = 4.9
_MAX_TICKS = 9
_LABEL_SHARE = 0.1  # a segment of a stacked bar is labelled from this share of the longest bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A figure at a place along the other axis, with its interval where it has one.

    A hollow point is another kind of figure: one not to be trusted, or a control.
    """

    place: int
    value: float
    low: float | None = None
    high: float | None = None
    is_solid: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Points of one measure. ``style`` is its place among colours and markers, the same in all pictures."""

    label: str
    points: tuple[Point, ...]
    style: int


def panel(height_in: float) -> tuple[Figure, Any]:
    """A figure of the common width, and its axes."""
    figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
    axes = figure.add_subplot()
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    return figure, axes


def draw_lines(axes: Any, lines: Sequence[Series]) -> None:
    """Lines with marks and intervals; lines that have intervals stand side by side, so that none hides another."""
    has_intervals = any(point.low is not None for line in lines for point in line.points)
    for index, line in enumerate(lines):
        colour = SERIES[line.style % len(SERIES)]
        mark = {"marker": MARKERS[line.style % len(MARKERS)], "color": colour}
        shift = 0.07 * (index - (len(lines) - 1) / 2) if has_intervals else 0.0
        axes.plot([point.place + shift for point in line.points], [point.value for point in line.points], color=colour)
        for point in line.points:
            if point.low is not None and point.high is not None:
                axes.plot([point.place + shift] * 2, [point.low, point.high], color=colour, linewidth=1.2, zorder=3)
            face = colour if point.is_solid else PAPER
            axes.plot(point.place + shift, point.value, markerfacecolor=face, markeredgewidth=1.4, zorder=4, **mark)
        axes.plot([], [], label=line.label, **mark)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)


def reference_line(axes: Any, value: float, label: str, *, is_label_above: bool = False) -> None:
    """A dashed level line with its name at the left end, where simulators are furthest from it."""
    axes.axhline(value, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        label,
        (0, value),
        xycoords=("axes fraction", "data"),
        xytext=(1, 3 if is_label_above else -3),
        textcoords="offset points",
        va="bottom" if is_label_above else "top",
        color=MUTED,
        fontsize=SMALL,
    )


def label_above(axes: Any, x: float, y: float, text: str) -> None:
    """A figure written over its mark."""
    axes.annotate(text, (x, y), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=SMALL)


def draw_stacked(axes: Any, rows: Sequence[tuple[str, Mapping[str, float]]], *, as_share: bool) -> int:
    """Horizontal stacked bars, first row on top; long segments carry their figure. Returns the number of keys."""
    kept = [key for key in keys_of(dict(values) for _, values in rows) if any(v.get(key, 0) > 0 for _, v in rows)]
    longest = max(sum(values.values()) for _, values in rows)
    places = [-row for row in range(len(rows))]
    lefts = [0.0] * len(rows)
    for index, key in enumerate(kept):
        widths = [values.get(key, 0.0) for _, values in rows]
        colour = SERIES[index % len(SERIES)]
        axes.barh(
            places, widths, left=lefts, height=0.62, label=words(key), color=colour, edgecolor=PAPER, linewidth=0.8
        )
        for place, left, width in zip(places, lefts, widths, strict=True):
            if width >= _LABEL_SHARE * longest:
                text = f"{width:.0%}" if as_share else f"{width:,.0f}"
                axes.text(left + width / 2, place, text, ha="center", va="center", color=PAPER, fontsize=SMALL)
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    axes.set_yticks(places, [label for label, _ in rows])
    axes.set_ylim(-len(rows) + 0.5, 0.5)
    axes.set_xlim(0, longest)
    return len(kept)


def share_axis(axis: Any) -> None:
    """Tick labels as percentages."""
    axis.set_major_formatter(lambda value, _: f"{value:.0%}")


def sparse_ticks(axes: Any, labels: Sequence[str]) -> None:
    """Labels at 0, 1, 2, ..., some left out where there are many."""
    step = -(-len(labels) // _MAX_TICKS)
    shown = range(0, len(labels), step)
    axes.set_xticks(list(shown), [labels[x] for x in shown])


def legend(axes: Any, num_entries: int) -> None:
    """A legend above the axes, three entries a line at most."""
    axes.figure.legend(
        loc="outside upper left", ncols=min(3, num_entries), handlelength=1.5, columnspacing=1.2, handletextpad=0.5
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawn figure with its caption; the text inside the SVG repeats its figures for those who do not see it."""

    name: str
    title: str
    caption: str
    svg: Markup
