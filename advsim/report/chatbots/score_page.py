"""One self-contained HTML page a score: how far a frozen prediction was off."""

from __future__ import annotations

from collections.abc import Sequence

from advsim.predictions.scoring import Score, ScoredRate, ScoreSummary, summary_sentence
from advsim.rates.rates import ANY
from advsim.records import Rate
from advsim.report.chatbots.pictures import drawing, rates_against_rates
from advsim.report.chatbots.predictions import score_tables
from advsim.report.page.figures import MISSING, format_figure
from advsim.report.page.plots import Picture, Point, Series
from advsim.report.page.render import KeyFigure, render_page
from advsim.report.page.rows_picture import rows_picture
from advsim.validity.factors import LARGE_CHANGE

_LEGEND = (
    ("error", "max(predicted / live, live / predicted), 1 at best; of two rates of 0 there is none"),
    ("within, outside", "whether the interval of the predicted rate holds the live one"),
    ("live change", "factor between the live rates of two chatbots; beyond chance where a permutation says p ≤ .05"),
    ("direction", f"asked for where live rates differ by a factor of {LARGE_CHANGE:g} or more; no difference is wrong"),
    ("interval", "95 %, over dialogues or people; of the sampling alone, not of how users or a detector err"),
)


def render_score(score: Score) -> str:
    """The page as HTML text. The same score gives the same text."""
    rates, *changes = score_tables(score)
    return render_page(
        "score.html",
        score=score,
        standfirst=score.sentence,
        by_mode=summary_sentence("Mode by mode", score.by_mode),
        key_figures=_key_figures(score.any_mode),
        pictures=draw_score(score),
        figures=rates,
        changes=changes,
        legend=_LEGEND,
    )


def draw_score(score: Score) -> tuple[Picture, ...]:
    """Predicted against live rates of any failure: against each other, and side by side under the chatbots' names."""
    rates = [rate for rate in score.rates if rate.mode == ANY]
    with drawing():
        drawn = (
            rates_against_rates(
                [(rate.chatbot, rate.live, rate.predicted) for rate in rates],
                sides=("live", "predicted"),
                title="Failure rate by chatbot, predicted against live",
            ),
            _side_by_side(rates),
        )
    return tuple(picture for picture in drawn if picture is not None)


def _side_by_side(rates: Sequence[ScoredRate]) -> Picture | None:
    sides = (("live", [rate.live for rate in rates]), ("predicted", [rate.predicted for rate in rates]))
    return rows_picture(
        [Series(label=label, points=_points(of_side), style=style) for style, (label, of_side) in enumerate(sides)],
        [rate.chatbot for rate in rates],
        name="side-by-side",
        title="Failure rate by chatbot, % of messages",
        caption="Any failure, with 95 % intervals. Where the two of a chatbot lie far apart, sampling alone does "
        "not explain the difference.",
        digits=1,
    )


def _points(rates: Sequence[Rate]) -> tuple[Point, ...]:
    return tuple(
        Point(
            place=row,
            value=100 * rate.estimate,
            low=None if rate.low is None else 100 * rate.low,
            high=None if rate.high is None else 100 * rate.high,
        )
        for row, rate in enumerate(rates)
        if rate.estimate is not None
    )


def _key_figures(summary: ScoreSummary) -> tuple[KeyFigure, ...]:
    def factor(value: float | None) -> str:
        return MISSING if value is None else f"{format_figure(value)}x"

    def share(num: int, of: int) -> str:
        return MISSING if not of else f"{num} of {of}"

    worst = "" if summary.worst is None else f", worst {factor(summary.worst_factor)} ({summary.worst[0]})"
    return (
        KeyFigure(
            label="Median error, any failure",
            value=factor(summary.median_factor),
            note=f"{summary.num_rates} chatbots{worst}",
        ),
        KeyFigure(
            label="Live rates in predicted intervals",
            value=share(summary.num_covered, summary.num_intervals),
            note=f"{summary.num_consistent} of {summary.num_compared} differ by no more than sampling explains",
        ),
        KeyFigure(
            label="Directions as predicted",
            value=share(summary.num_right, summary.num_large_changes),
            note=f"of live changes of at least {LARGE_CHANGE:g}x; {summary.num_significant_right} of "
            f"{summary.num_significant} that are beyond chance",
        ),
    )
