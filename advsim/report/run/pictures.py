"""The pictures of a report, each a small figure that stays readable at the width of a phone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from advsim.realism.diversity import Diversity
from advsim.report.page.figures import DIVERSITY_NAMES, control_name, format_figure, words
from advsim.report.page.plots import (
    MARKERS,
    SMALL,
    Picture,
    Point,
    Series,
    draw_lines,
    draw_stacked,
    label_above,
    legend,
    panel,
    reference_line,
    share_axis,
    sparse_ticks,
)
from advsim.report.page.svg import INK, MUTED, RULE, SERIES, STYLE, inline_svg
from advsim.report.run.curve import draw_curve
from advsim.report.run.figures import controls, families, run_columns
from advsim.report.run.metrics import RunMetrics
from advsim.training.metrics import ClassifierMetrics, TurnAccuracy, TurnEstimate

_RELATIVE = ("mattr", "mtld", "distinct_1", "distinct_2", "entropy")
_TRAINED_AGAINST = 0  # colour and marker of the discriminator; families follow, the same in all pictures
_FIRST_FAMILY = 1


def draw_pictures(run: RunMetrics) -> tuple[Picture, ...]:
    """Every picture that the run has figures for, in reading order."""
    with rc_context(STYLE):
        drawn = (
            _realism(run),
            draw_curve(run),
            _power(run),
            _at_turns(run),
            _margins(run),
            _diversity(run),
            _turn_words(run),
            _stop_reasons(run),
            _seconds(run),
        )
    return tuple(picture for picture in drawn if picture is not None)


def _realism(run: RunMetrics) -> Picture | None:
    judged = tuple(
        Point(
            place=metrics.round, value=metrics.discriminator.accuracy
        )  # of the adapter before, which stands at this place
        for metrics in run.rounds
        if metrics.discriminator.accuracy is not None
    )
    lines = [Series(label="trained against", points=judged, style=_TRAINED_AGAINST)]
    for style, family in enumerate(families(run), start=_FIRST_FAMILY):
        points = tuple(
            Point(
                place=x,
                value=classifier.accuracy,
                low=classifier.low,
                high=classifier.high,
                is_solid=bool(classifier.measurable),
            )
            for x, classifier in _by_adapter(run, family)
            if classifier.accuracy is not None
        )
        lines.append(Series(label=f"held-out {family}", points=points, style=style))
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    figure, axes = panel(2.95)
    draw_lines(axes, lines)
    reference_line(axes, 0.5, "chance")
    lowest = min(point.value if point.low is None else point.low for line in lines for point in line.points)
    axes.set_ylim(min(0.4, lowest - 0.03), 1.02)
    axes.set_ylabel("accuracy")
    _adapter_axis(axes, run)
    legend(axes, len(lines))
    return _picture(
        figure,
        name="realism",
        title="Told from real users",
        caption="Accuracy of each classifier on one simulator; lower is more realistic. Upright bars are intervals. "
        "A hollow mark is not measurable: that classifier does not find its own control. The discriminator trained "
        "against judges the simulator before its round, the held-out ones the simulator after it.",
        text=_describe(lines, _adapter_labels(run)),
    )


def _power(run: RunMetrics) -> Picture | None:
    latest = [(family, _latest(run, family)) for family in families(run)]
    names = controls(classifier for _, classifier in latest)
    if not names:
        return None
    figure, axes = panel(1.35 + 0.36 * len(names))
    for index, (family, classifier) in enumerate(latest, start=_FIRST_FAMILY):
        shift = 0.3 * (index - _FIRST_FAMILY - (len(latest) - 1) / 2)  # equal figures stay visible side by side
        dots = [(auc, shift - row) for row, name in enumerate(names) if (auc := classifier.power.get(name)) is not None]
        axes.plot(
            [x for x, _ in dots],
            [y for _, y in dots],
            linestyle="",
            marker=MARKERS[index % len(MARKERS)],
            markersize=7,
            color=SERIES[index % len(SERIES)],
            label=f"held-out {family}",
            clip_on=False,
            zorder=3,
        )
    for row in range(len(names)):
        axes.axhline(-row, color=RULE, linewidth=0.7, zorder=0)
    threshold = run.min_control_auc
    _upright(axes, 0.5, "chance", colour=INK)
    _upright(axes, threshold, f"needed {threshold:.2f}", colour=MUTED)
    known = [auc for _, classifier in latest for auc in classifier.power.values() if auc is not None]
    axes.set_xlim(min(0.45, min(known, default=0.5) - 0.03), 1.0)
    axes.set_ylim(-len(names) + 0.4, 1.0)
    axes.set_yticks([-row for row in range(len(names))], [control_name(name) for name in names])
    axes.set_xlabel("AUC on a control that is known not to be real")
    legend(axes, len(latest))
    by_control = (
        f"{control_name(name)}: "
        + ", ".join(f"{family} {format_figure(classifier.power.get(name))}" for family, classifier in latest)
        for name in names
    )
    return _picture(
        figure,
        name="power",
        title="How far to trust that",
        caption="What each held-out classifier finds where the answer is known. One that does not find its control "
        "(surface: zero-shot turns, context: shuffled turns) says nothing about realism.",
        text=". ".join(by_control) + ".",
    )


def _at_turns(run: RunMetrics) -> Picture | None:
    judged = [metrics.discriminator.accuracy_at_turn for metrics in run.rounds]
    latest: list[tuple[str, int, Mapping[int, TurnAccuracy] | Mapping[int, TurnEstimate]]] = [
        ("trained against", _TRAINED_AGAINST, next((at_turn for at_turn in reversed(judged) if at_turn), {})),
        *(
            (f"held-out {family}", style, _latest(run, family).accuracy_at_turn)
            for style, family in enumerate(families(run), start=_FIRST_FAMILY)
        ),
    ]
    turns = sorted({turn for *_, at_turn in latest for turn in at_turn})
    lines = []
    for label, style, at_turn in latest:
        values = [(x, at_turn[turn].value) for x, turn in enumerate(turns) if turn in at_turn]
        points = tuple(Point(place=x, value=value) for x, value in values if value is not None)
        if points:
            lines.append(Series(label=label, points=points, style=style))
    if not lines:
        return None
    figure, axes = panel(2.6)
    draw_lines(axes, lines)
    reference_line(axes, 0.5, "chance")
    axes.set_ylim(min(0.4, min(point.value for line in lines for point in line.points) - 0.03), 1.02)
    axes.set_ylabel("accuracy")
    sparse_ticks(axes, [str(turn) for turn in turns])
    axes.set_xlim(-0.35, max(len(turns) - 1, 1) + 0.35)
    axes.set_xlabel("user turn")
    legend(axes, len(lines))
    return _picture(
        figure,
        name="turns",
        title="Early and late in the dialogue",
        caption="Accuracy at one user turn number, by the latest measurement of each classifier. The later the turn, "
        "the fewer dialogues reach it; the table gives the numbers.",
        text=_describe(lines, [f"turn {turn}" for turn in turns]),
    )


def _diversity(run: RunMetrics) -> Picture | None:
    lines = []
    for style, key in enumerate(_RELATIVE):
        points = []
        for x, simulated, real in _diversities(run):
            value, reference = getattr(simulated, key), getattr(real, key)
            if value is not None and reference:
                points.append(Point(place=x, value=value / reference))
        if points:
            label = DIVERSITY_NAMES[key].removesuffix(" (bits)")
            lines.append(Series(label=label, points=tuple(points), style=style))
    if not lines:
        return None
    figure, axes = panel(2.95)
    draw_lines(axes, lines)
    reference_line(axes, 1, "real users", is_label_above=True)
    share_axis(axes.yaxis)
    _adapter_axis(axes, run)
    legend(axes, len(lines))
    return _picture(
        figure,
        name="diversity",
        title="Lexical diversity, relative to real",
        caption="User turns at the same token budget on both sides, so that length does not decide. Given without "
        "interval.",
        text=_describe(lines, _adapter_labels(run), form=".0%"),
    )


def _turn_words(run: RunMetrics) -> Picture | None:
    measured = [(x, simulated.mean_turn_words) for x, simulated, _ in _diversities(run)]
    points = tuple(Point(place=x, value=value) for x, value in measured if value is not None)
    if not points:
        return None
    line = Series(label="simulated", points=points, style=2)
    figure, axes = panel(2.95)
    draw_lines(axes, [line])
    for point in points if len(points) <= 6 else (points[0], points[-1]):
        label_above(axes, point.place, point.value, f"{point.value:.1f}")
    real = run.baseline.real.diversity.mean_turn_words
    if real is not None:
        reference_line(axes, real, f"real users {real:.1f}")
    axes.set_ylim(0, max([point.value for point in points] + [real or 0.0]) * 1.2)
    axes.set_ylabel("words")
    _adapter_axis(axes, run)
    text = _describe([line], _adapter_labels(run), form=".1f")
    return _picture(
        figure,
        name="words",
        title="Words a user turn",
        caption="The mean. Users differ more than the mean shows.",
        text=text if real is None else f"Real users: {real:.1f}. {text}",
    )


def _margins(run: RunMetrics) -> Picture | None:
    margins = [
        (metrics.round, metrics.preference.mean_margin, metrics.preference.num_pairs)
        for metrics in run.rounds
        if metrics.preference.mean_margin is not None
    ]
    if not margins:
        return None
    figure, axes = panel(2.6)
    axes.bar(range(len(margins)), [margin for _, margin, _ in margins], width=0.5, color=SERIES[3])
    for x, (_, margin, num_pairs) in enumerate(margins):
        with_pairs = num_pairs is not None and len(margins) <= 4
        label_above(axes, x, margin, f"{margin:.1f}" + (f", {num_pairs:.0f} pairs" if with_pairs else ""))
    axes.set_ylim(0, max(max(margin for _, margin, _ in margins) * 1.2, 0.1))
    axes.set_ylabel("logits")
    sparse_ticks(axes, [f"round {number}" if len(margins) <= 5 else f"{number}" for number, *_ in margins])
    axes.set_xlim(-0.6, max(len(margins) - 1, 1) + 0.6)
    return _picture(
        figure,
        name="margins",
        title="Reward margin of the preference pairs",
        caption="Reward of the chosen less the rejected text, by that round's own discriminator. A margin that shrinks "
        "leaves less to learn from.",
        text=" ".join(f"Round {number}: {margin:.2f}." for number, margin, _ in margins),
    )


def _stop_reasons(run: RunMetrics) -> Picture | None:
    rows = []
    for metrics in run.rounds:
        counts = metrics.rollout.stop_reasons
        total = sum(counts.values())
        if total:
            rows.append((f"round {metrics.round}", {reason: count / total for reason, count in counts.items()}))
    return _stacked(
        rows,
        name="stops",
        title="How conversations ended",
        caption="Share of the conversations of a round. Failed ones are counted here, not left out.",
        axis="share of conversations",
        as_share=True,
    )


def _seconds(run: RunMetrics) -> Picture | None:
    before = {"SFT": run.baseline.sft.seconds} if run.baseline.sft.seconds else {}
    spent = [
        ("before", before),
        *(
            (f"round {metrics.round}", {stage: seconds for stage, seconds in metrics.seconds.items() if seconds})
            for metrics in run.rounds
        ),
    ]
    return _stacked(
        [(label, values) for label, values in spent if values],
        name="seconds",
        title="Where the time went",
        caption="Wall-clock time of each stage.",
        axis="seconds",
        as_share=False,
    )


def _stacked(
    rows: Sequence[tuple[str, Mapping[str, float]]], *, name: str, title: str, caption: str, axis: str, as_share: bool
) -> Picture | None:
    if not rows:
        return None
    figure, axes = panel(1.5 + 0.42 * len(rows))
    num_keys = draw_stacked(axes, rows, as_share=as_share)
    if as_share:
        share_axis(axes.xaxis)
    axes.set_xlabel(axis)
    legend(axes, num_keys)
    form = ".0%" if as_share else ",.0f"
    by_row = (
        f"{label}: " + ", ".join(f"{words(key)} {value:{form}}" for key, value in values.items())
        for label, values in rows
    )
    return _picture(figure, name=name, title=title, caption=caption, text=". ".join(by_row) + ".")


def _upright(axes: Any, value: float, label: str, *, colour: str) -> None:
    axes.axvline(value, color=colour, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        label,
        (value, 1),
        xycoords=("data", "axes fraction"),
        xytext=(3, -1),
        textcoords="offset points",
        va="top",
        color=MUTED,
        fontsize=SMALL,
    )


def _adapter_labels(run: RunMetrics) -> list[str]:
    last = max((metrics.round for metrics in run.rounds), default=0)
    return ["zero-shot", "SFT", *(f"round {number}" for number in range(1, last + 1))]


def _adapter_axis(axes: Any, run: RunMetrics) -> None:
    labels = _adapter_labels(run)
    sparse_ticks(axes, labels if len(labels) <= 6 else [label.removeprefix("round ") for label in labels])
    axes.set_xlim(-0.35, len(labels) - 0.65)
    axes.set_xlabel("simulator")


def _by_adapter(run: RunMetrics, family: str) -> Iterable[tuple[int, ClassifierMetrics]]:
    """(position on the axis of simulators, classifier): 0 is zero-shot, 1 is SFT, r + 1 is the adapter of round r."""
    zero_shot, sft, *rounds = run_columns(run)[1:]
    for position, column in ((0, zero_shot), (1, sft), *((column.metrics.round + 1, column) for column in rounds)):
        if family in column.held_out:
            yield position, column.held_out[family]


def _latest(run: RunMetrics, family: str) -> ClassifierMetrics:
    measured = [classifier for _, classifier in _by_adapter(run, family)]
    return measured[-1] if measured else ClassifierMetrics()


def _diversities(run: RunMetrics) -> Iterable[tuple[int, Diversity, Diversity]]:
    """(position as above, simulated turns, real turns measured alike)."""
    real = run.baseline.real.diversity
    yield 0, run.baseline.zero_shot.diversity, real
    yield 1, run.baseline.sft.diversity, real
    for metrics in run.rounds:
        yield metrics.round + 1, metrics.diversity.simulated, metrics.diversity.real


def _describe(lines: Sequence[Series], labels: Sequence[str], *, form: str = ".2f") -> str:
    by_line = (
        f"{line.label}: " + ", ".join(f"{labels[point.place]} {point.value:{form}}" for point in line.points)
        for line in lines
    )
    return ". ".join(by_line) + "."


def _picture(figure: Figure, *, name: str, title: str, caption: str, text: str) -> Picture:
    svg = inline_svg(figure, name=name, title=title, description=text)
    return Picture(name=name, title=title, caption=caption, svg=svg)
