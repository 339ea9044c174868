"""How the users of an evaluation write, as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from advsim.evaluation.results import Group
from advsim.evaluation.summary import UserSummary
from advsim.rates.intervals import LEVEL
from advsim.realism.free_dialogues import AtUserTurn, TwoSample
from advsim.realism.habits import HabitComparison, HabitSummary
from advsim.realism.mauve import OverSeeds
from advsim.realism.permutation import Null
from advsim.records import Estimate
from advsim.report.page.figures import (
    DIVERSITY_NAMES,
    NULL_LABEL,
    Cell,
    Row,
    control_name,
    counts_row,
    estimate_cell,
    figure_row,
    format_figure,
    format_interval,
    null_cell,
)

HABIT_NAMES = {
    "lowercase_start": "start lower-case",
    "no_end_punctuation": "no end punctuation",
    "question": "with a question",
    "short": "up to three words",
    "emoji": "with emoji",
    "turn_words": "words a turn",
    "type_token": "types / 50 words",
    "user_turns": "user turns",
}
SHARES = ("lowercase_start", "no_end_punctuation", "question", "short", "emoji")


def habit_rows(users: Sequence[UserSummary | None]) -> Iterable[Row]:
    """Mean of each typing habit over dialogues, with the standard deviation between them."""
    for habit, label in HABIT_NAMES.items():
        yield Row(label=label, cells=tuple(_mean_and_spread(_described(group, habit)) for group in users))


def _described(users: UserSummary | None, habit: str) -> HabitSummary | None:
    return None if users is None else next((summary for summary in users.habits if summary.habit == habit), None)


def _mean_and_spread(summary: HabitSummary | None) -> Cell:
    if summary is None or summary.mean is None:
        return Cell()
    std = "" if summary.std is None else f"sd {_habit(summary.habit, summary.std)}"
    return Cell(value=_habit(summary.habit, summary.mean), interval=std)


def _habit(habit: str, value: float) -> str:
    if habit in SHARES:
        return f"{100 * value:.0f} %"
    return format_figure(value, 2 if habit == "type_token" else 1)


def _compared(users: Sequence[UserSummary | None], habit: str) -> list[HabitComparison | None]:
    spreads = [None if group is None else group.spread for group in users]
    return [
        None if spread is None else next((each for each in spread.habits if each.habit == habit), None)
        for spread in spreads
    ]


def ratio_rows(users: Sequence[UserSummary | None]) -> Iterable[Row]:
    """How much users differ from each other, relative to those of the reference."""
    for habit, label in HABIT_NAMES.items():
        yield Row(
            label=label,
            cells=tuple(
                Cell()
                if comparison is None
                else Cell(
                    value=format_figure(comparison.std_ratio),
                    interval=format_interval(comparison.std_ratio_low, comparison.std_ratio_high),
                )
                for comparison in _compared(users, habit)
            ),
        )


def distance_rows(users: Sequence[UserSummary | None]) -> Iterable[Row]:
    """The p of the distance of each habit's distribution from the reference's."""
    for habit, label in HABIT_NAMES.items():
        cells = []
        for comparison in _compared(users, habit):
            if comparison is None or comparison.p_adjusted is None or comparison.wasserstein is None:
                cells.append(Cell())
                continue
            distance = f"distance {_habit(habit, comparison.wasserstein)}"
            cells.append(Cell(value=format_figure(comparison.p_adjusted, 3), interval=distance))
        yield Row(label=label, cells=tuple(cells))


def diversity_rows(users: Sequence[UserSummary | None]) -> Iterable[Row]:
    """Lexical diversity."""
    for key, label in DIVERSITY_NAMES.items():
        digits = 1 if key in ("mtld", "mean_turn_words") else 2
        values = [None if group is None else getattr(group.diversity, key) for group in users]
        yield Row(label=label, cells=tuple(Cell(value=format_figure(value, digits)) for value in values))


def families_of(groups: Sequence[Group]) -> list[str]:
    """Families of classifiers, in order of appearance."""
    classifiers = [classifier for group in groups if group.users is not None for classifier in group.users.realism]
    return list(dict.fromkeys(classifier.family for classifier in classifiers))


def realism_rows(groups: Sequence[Group], family: str) -> Iterable[Row]:
    """What one family of classifiers found, with its null, its ablations and its power."""
    classifiers = [
        None if group.users is None else next((each for each in group.users.realism if each.family == family), None)
        for group in groups
    ]

    def row(label: str, value: Callable[[TwoSample], Cell], *, is_detail: bool = False) -> Row:
        cells = tuple(Cell() if classifier is None else value(classifier) for classifier in classifiers)
        return Row(label=label, cells=cells, is_detail=is_detail)

    def at_turn(turn: int, value: Callable[[AtUserTurn], Estimate]) -> tuple[Cell, ...]:
        at_turns = [None if classifier is None else classifier.at_turn.get(turn) for classifier in classifiers]
        return tuple(Cell() if at is None else _estimate_and_n(value(at)) for at in at_turns)

    yield row("what it says", lambda classifier: Cell(value=said) if (said := what_it_says(classifier)) else Cell())
    yield row("by turn", lambda classifier: _estimate(classifier.auc))
    yield row(NULL_LABEL, lambda classifier: _null(classifier.nulls.auc if classifier.nulls else None))
    yield row("by dialogue", lambda classifier: _estimate(classifier.auc_dialogue))
    turns = sorted({turn for classifier in classifiers if classifier is not None for turn in classifier.at_turn})
    for turn in turns:
        yield Row(label=f"at user turn {turn}", cells=at_turn(turn, lambda at: at.auc))
    yield row("by length alone", lambda classifier: Cell(value=format_figure(classifier.length_only.value)))
    yield row(
        "by user turns alone", lambda classifier: _estimate(classifier.user_only) if classifier.user_only else Cell()
    )
    yield row("accuracy by turn", lambda classifier: _estimate(classifier.accuracy))
    yield row(
        NULL_LABEL, lambda classifier: _null(classifier.nulls.accuracy if classifier.nulls else None), is_detail=True
    )
    for turn in turns:
        cells = at_turn(turn, lambda at: at.accuracy)
        yield Row(label=f"accuracy at user turn {turn}", cells=cells, is_detail=True)
    powers = [{} if classifier is None else classifier.power for classifier in classifiers]
    for control in dict.fromkeys(control for power in powers for control in power):
        values = [power[control].value if control in power else None for power in powers]
        yield figure_row(f"power: {control_name(control)}", values)


def what_it_says(classifier: TwoSample) -> str:
    """Whether the users are told apart, by the permutation test; nothing of a classifier that misses its control."""
    if classifier.auc.value is None or classifier.nulls is None:
        return ""
    if classifier.nulls.auc.p_value <= 1 - LEVEL:
        return "told apart"
    return "not told apart" if classifier.measurable else "cannot tell"


def figures_at_turn(classifier: TwoSample) -> list[tuple[int, AtUserTurn]]:
    """Figures by user turn number, in order."""
    return sorted(classifier.at_turn.items())


def _null(null: Null | None) -> Cell:
    return Cell() if null is None else null_cell(null.high, null.p_value)


def _estimate(estimate: Estimate) -> Cell:
    return estimate_cell(estimate.value, estimate.low, estimate.high)


def _estimate_and_n(estimate: Estimate) -> Cell:
    return estimate_cell(estimate.value, estimate.low, estimate.high, n=estimate.num_turns or None)


def mauve_rows(users: Sequence[UserSummary | None]) -> Iterable[Row]:
    """MAUVE, its ceiling, and what both rest on."""
    mauves = [None if group is None else group.mauve for group in users]
    scores = [None if mauve is None else mauve.score for mauve in mauves]
    yield Row(label="MAUVE", cells=tuple(_over_seeds(score) for score in scores))
    ceilings = [None if mauve is None else mauve.ceiling for mauve in mauves]
    yield Row(label="ceiling: real with real", cells=tuple(_over_seeds(ceiling) for ceiling in ceilings))
    measured = [mauve if mauve is not None and mauve.score is not None else None for mauve in mauves]
    yield counts_row("turns a side", [None if mauve is None else mauve.num_turns for mauve in measured], is_detail=True)
    yield counts_row("buckets", [None if mauve is None else mauve.num_buckets for mauve in measured], is_detail=True)


def _over_seeds(seeds: OverSeeds | None) -> Cell:
    if seeds is None:
        return Cell()
    return Cell(value=format_figure(seeds.mean), interval=format_interval(seeds.low, seeds.high))
