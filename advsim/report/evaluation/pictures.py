"""The pictures of an evaluation: failure rates by mode, spread of habits, and whether users are told apart."""

from __future__ import annotations

from matplotlib import rc_context

from advsim.evaluation.results import Evaluation, Group
from advsim.rates.rates import ANY
from advsim.realism.free_dialogues import TwoSample
from advsim.records import Estimate
from advsim.report.evaluation.user_figures import HABIT_NAMES
from advsim.report.page.figures import control_name
from advsim.report.page.plots import Picture, Point, Series
from advsim.report.page.rows_picture import rows_picture
from advsim.report.page.svg import STYLE


def draw_evaluation(evaluation: Evaluation) -> tuple[Picture, ...]:
    """Every picture that there are figures for."""
    with rc_context(STYLE):
        drawn = (_rates(evaluation), _spread(evaluation), _told_apart(evaluation))
    return tuple(picture for picture in drawn if picture is not None)


def _rates(evaluation: Evaluation) -> Picture | None:
    keys = (ANY, *evaluation.modes_found)
    names = ["any failure", *(evaluation.modes[mode].lower() for mode in evaluation.modes_found)]
    series = []
    for style, group in enumerate(evaluation.groups):
        if group.failures is None:
            continue
        rates = [(row, group.failures.rates.get(key)) for row, key in enumerate(keys)]
        points = tuple(
            Point(
                place=row,
                value=100 * rate.estimate,
                low=None if rate.low is None else 100 * rate.low,
                high=None if rate.high is None else 100 * rate.high,
            )
            for row, rate in rates
            if rate is not None and rate.estimate is not None
        )
        series.append(Series(label=group.name, points=points, style=style))
    return rows_picture(
        series,
        names,
        name="rates",
        title="Failure rate by mode, % of chatbot messages",
        caption="Point and 95 % interval over users or dialogues. Modes that the detector found nowhere are left out.",
        digits=1,
    )


def _spread(evaluation: Evaluation) -> Picture | None:
    habits = list(HABIT_NAMES)
    series = []
    for style, group in enumerate(evaluation.groups):
        if group.users is None or group.users.spread is None:
            continue
        points = tuple(
            Point(
                place=habits.index(habit.habit),
                value=habit.std_ratio,
                low=habit.std_ratio_low,
                high=habit.std_ratio_high,
            )
            for habit in group.users.spread.habits
            if habit.std_ratio is not None and habit.habit in habits
        )
        series.append(Series(label=group.name, points=points, style=style))
    return rows_picture(
        series,
        list(HABIT_NAMES.values()),
        name="spread",
        title="How much users differ from each other",
        caption="Between-user standard deviation relative to that of the reference's users, for each habit. Left of 1 "
        "the users are more alike than real ones, at 0 they are one and the same person.",
        digits=2,
        reference=1.0,
    )


def _told_apart(evaluation: Evaluation) -> Picture | None:
    compared = [group for group in evaluation.groups if group.users is not None and group.users.realism]
    families = list(dict.fromkeys(classifier.family for group in compared for classifier in _realism(group)))
    rows: list[tuple[str, str]] = []
    for family in families:
        rows += [(family, ""), (family, "length"), (family, "user")]
        controls = [
            control
            for group in compared
            for classifier in _realism(group)
            if classifier.family == family
            for control in classifier.power
        ]
        rows += [(family, control) for control in dict.fromkeys(controls)]
    series = []
    for group in compared:
        points = []
        for row, (name, what) in enumerate(rows):
            classifier = next((each for each in _realism(group) if each.family == name), None)
            estimate = None if classifier is None else _estimates(classifier).get(what)
            if estimate is not None and estimate.value is not None:
                points.append(
                    Point(place=row, value=estimate.value, low=estimate.low, high=estimate.high, is_solid=not what)
                )
        series.append(Series(label=group.name, points=tuple(points), style=evaluation.groups.index(group)))
    ablations = {"length": "– length alone", "user": "– user turns alone"}
    names = [
        f"{family} classifier" if not what else ablations.get(what, f"– {control_name(what)}") for family, what in rows
    ]
    return rows_picture(
        series,
        names,
        name="told-apart",
        title="Are the users told apart from the reference's? AUC a turn",
        caption="Solid: the classifier on the users' turns; 0.5 is chance. Hollow: length alone, the user's turns "
        "without the chatbot's, and the same classifier on turns known not to be real. One that misses its controls "
        "says nothing when it is near 0.5.",
        digits=2,
        reference=0.5,
    )


def _realism(group: Group) -> tuple[TwoSample, ...]:
    return group.users.realism if group.users is not None else ()


def _estimates(classifier: TwoSample) -> dict[str, Estimate | None]:
    """AUC by what the classifier was shown: controls by name, nothing for the turns themselves."""
    return {
        **classifier.power,
        "": classifier.auc,
        "length": classifier.length_only,
        "user": classifier.user_only,
    }
