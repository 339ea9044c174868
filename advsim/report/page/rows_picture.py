"""A kind of picture: rows of points with intervals, one colour and mark a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from advsim.report.page.figures import format_figure, format_interval
from advsim.report.page.names import short_names
from advsim.report.page.plots import MARKERS, Picture, Series, legend, panel
from advsim.report.page.svg import INK, MUTED, PAPER, RULE, SERIES, inline_svg

_MAX_ROW_NAME = 32
_MAX_LEGEND_NAME = 20


def rows_picture(
    series: Sequence[Series],
    names: Sequence[str],
    *,
    name: str,
    title: str,
    caption: str,
    digits: int,
    short: Sequence[str] | None = None,
    reference: float | None = None,
    can_be_negative: bool = False,
) -> Picture | None:
    """One row a name, and in it a point with its interval for each series that has one there.

    Args:
        series: ``place`` of a point is its row.
        names: of the rows; a row without any point is left out.
        name: of the picture.
        title: of the picture.
        caption: under it.
        digits: of the figures in the description.
        short: what to write for the names where there is little room; None: the names, cut in their middle.
        reference: where the dashed line stands.
        can_be_negative: whether the axis goes on to the left of 0.

    Returns:
        None where there is no point.
    """
    filled = sorted({point.place for line in series for point in line.points})
    if not filled:
        return None
    place_of = {row: place for place, row in enumerate(filled)}
    cut = short_names(names, most=_MAX_ROW_NAME)
    shown = [cut[names[row]] if short is None else short[row] for row in filled]
    entries = short_names((line.label for line in series), most=_MAX_LEGEND_NAME)
    names = [names[row] for row in filled]
    series = [
        replace(line, points=tuple(replace(point, place=place_of[point.place]) for point in line.points))
        for line in series
        if line.points
    ]
    figure, axes = panel(1.1 + (0.24 + 0.11 * len(series)) * len(names))
    for index, line in enumerate(series):
        colour = SERIES[line.style % len(SERIES)]
        shift = 0.17 * (index - (len(series) - 1) / 2)
        for point in line.points:
            place = -point.place - shift
            if point.low is not None and point.high is not None:
                axes.plot([point.low, point.high], [place, place], color=colour, linewidth=1.2, zorder=3)
            axes.plot(
                point.value,
                place,
                color=colour,
                marker=MARKERS[line.style % len(MARKERS)],
                markerfacecolor=colour if point.is_solid else PAPER,
                markeredgewidth=1.3,
                markersize=4.8,
                zorder=4,
            )
        axes.plot(
            [], [], color=colour, marker=MARKERS[line.style % len(MARKERS)], linestyle="none", label=entries[line.label]
        )
    if reference is not None:
        axes.axvline(reference, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.set_yticks([-row for row in range(len(names))], shown)
    axes.set_ylim(-len(names) + 0.4, 0.6)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.tick_params(axis="x", labelcolor=MUTED)
    axes.set_axisbelow(True)
    if not can_be_negative:
        low, high = axes.get_xlim()
        axes.set_xlim(max(-0.015 * (high - low), low), high)  # a mark at 0 is a whole mark
    if len(series) > 1:
        legend(axes, len(series))
    text = "; ".join(f"{line.label}: {_describe(line, names, digits)}" for line in series)
    return Picture(
        name=name,
        title=title,
        caption=caption,
        svg=inline_svg(
            figure,
            name=name,
            title=title,
            description=text,
            in_full={**dict(zip(shown, names, strict=True)), **{text: label for label, text in entries.items()}},
        ),
    )


def _describe(series: Series, names: Sequence[str], digits: int) -> str:
    said = []
    for point in series.points:
        interval = format_interval(point.low, point.high, digits)
        said.append(
            f"{names[point.place]} {format_figure(point.value, digits)}" + (f" ({interval})" if interval else "")
        )
    return ", ".join(said)
