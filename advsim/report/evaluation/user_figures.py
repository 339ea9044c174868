"""How the users of an evaluation write, as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from advsim.report.evaluation.metrics import (
    AtUserTurnPart,
    EstimatePart,
    GroupPart,
    HabitComparisonPart,
    TwoSamplePart,
    UsersPart,
)
from advsim.report.page.figures import (
    DIVERSITY_NAMES,
    NULL_LABEL,
    Cell,
    Row,
    control_name,
    counts_row,
    estimate_cell,
    format_figure,
    format_interval,
    keys_of,
    null_cell,
    turn_number,
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


def habit_rows(users: Sequence[UsersPart | None]) -> Iterable[Row]:
    """Mean of each typing habit over dialogues, with the standard deviation between them."""
    for habit, label in HABIT_NAMES.items():
        cells = []
        for one in users:
            found = next((each for each in one.habits if each.habit == habit), None) if one is not None else None
            if found is None or found.mean is None:
                cells.append(Cell())
                continue
            std = "" if found.std is None else f"sd {_habit(habit, found.std)}"
            cells.append(Cell(value=_habit(habit, found.mean), interval=std))
        yield Row(label=label, cells=tuple(cells))


def _habit(habit: str, value: float) -> str:
    if habit in SHARES:
        return f"{100 * value:.0f} %"
    return format_figure(value, 2 if habit == "type_token" else 1)


def _compared(users: Sequence[UsersPart | None], habit: str) -> list[HabitComparisonPart | None]:
    return [
        next((each for each in one.spread.habits if each.habit == habit), None)
        if one is not None and one.spread is not None
        else None
        for one in users
    ]


def ratio_rows(users: Sequence[UsersPart | None]) -> Iterable[Row]:
    """How much users differ from each other, relative to those of the reference."""
    for habit, label in HABIT_NAMES.items():
        yield Row(
            label=label,
            cells=tuple(
                Cell()
                if one is None
                else Cell(
                    value=format_figure(one.std_ratio), interval=format_interval(one.std_ratio_low, one.std_ratio_high)
                )
                for one in _compared(users, habit)
            ),
        )


def distance_rows(users: Sequence[UsersPart | None]) -> Iterable[Row]:
    """The p of the distance of each habit's distribution from the reference's."""
    for habit, label in HABIT_NAMES.items():
        cells = []
        for one in _compared(users, habit):
            if one is None or one.p_adjusted is None or one.wasserstein is None:
                cells.append(Cell())
                continue
            distance = f"distance {_habit(habit, one.wasserstein)}"
            cells.append(Cell(value=format_figure(one.p_adjusted, 3), interval=distance))
        yield Row(label=label, cells=tuple(cells))


def diversity_rows(users: Sequence[UsersPart | None]) -> Iterable[Row]:
    """Lexical diversity."""
    for key, label in DIVERSITY_NAMES.items():
        digits = 1 if key in ("mtld", "mean_turn_words") else 2
        values = [None if one is None else getattr(one.diversity, key) for one in users]
        yield Row(label=label, cells=tuple(Cell(value=format_figure(value, digits)) for value in values))


def families_of(groups: Sequence[GroupPart]) -> list[str]:
    """Families of classifiers, in order of appearance."""
    found = [one.family for group in groups if group.users is not None for one in group.users.realism]
    return list(dict.fromkeys(found))


def realism_rows(groups: Sequence[GroupPart], family: str) -> Iterable[Row]:
    """What one family of classifiers found, with its null, its ablations and its power."""
    found = [
        next((one for one in group.users.realism if one.family == family), None) if group.users is not None else None
        for group in groups
    ]

    def row(label: str, value: Callable[[TwoSamplePart], Cell], *, is_detail: bool = False) -> Row:
        return Row(
            label=label, cells=tuple(Cell() if one is None else value(one) for one in found), is_detail=is_detail
        )

    yield row("by turn", lambda one: _estimate(one.auc))
    yield row(NULL_LABEL, lambda one: null_cell(one.nulls.auc.high, one.nulls.auc.p_value))
    yield row("by dialogue", lambda one: _estimate(one.auc_dialogue))
    at_turns = [dict(figures_at_turn(one)) if one is not None else {} for one in found]
    turns = sorted({turn for at_turn in at_turns for turn in at_turn}, key=turn_number)
    for turn in turns:
        estimates = [at_turn[turn].auc if turn in at_turn else EstimatePart() for at_turn in at_turns]
        yield Row(label=f"at user turn {turn}", cells=tuple(_estimate_and_n(one) for one in estimates))
    yield row("by length alone", lambda one: Cell(value=format_figure(one.length_only.value)))
    yield row("by user turns alone", lambda one: _estimate(one.user_only))
    yield row("accuracy by turn", lambda one: _estimate(one.accuracy))
    yield row(NULL_LABEL, lambda one: null_cell(one.nulls.accuracy.high, one.nulls.accuracy.p_value), is_detail=True)
    for turn in turns:
        estimates = [at_turn[turn].accuracy if turn in at_turn else EstimatePart() for at_turn in at_turns]
        cells = tuple(_estimate_and_n(one) for one in estimates)
        yield Row(label=f"accuracy at user turn {turn}", cells=cells, is_detail=True)
    for control in keys_of(dict.fromkeys(one.power) for one in found if one is not None):
        values = [one.power[control].value if one is not None and control in one.power else None for one in found]
        yield Row(
            label=f"power: {control_name(control)}", cells=tuple(Cell(value=format_figure(value)) for value in values)
        )


def figures_at_turn(classifier: TwoSamplePart) -> list[tuple[str, AtUserTurnPart]]:
    """Figures by user turn number, in order."""
    return sorted(classifier.at_turn.items(), key=lambda item: turn_number(item[0]))


def _estimate(one: EstimatePart) -> Cell:
    return estimate_cell(one.value, one.low, one.high)


def _estimate_and_n(one: EstimatePart) -> Cell:
    return estimate_cell(one.value, one.low, one.high, n=one.num_turns or None)


def mauve_rows(users: Sequence[UsersPart | None]) -> Iterable[Row]:
    """MAUVE, its ceiling, and what both rest on."""
    for key, label in (("score", "MAUVE"), ("ceiling", "ceiling: real with real")):
        cells = []
        for one in users:
            seeds = getattr(one.mauve, key) if one is not None and one.mauve is not None else None
            cells.append(
                Cell()
                if seeds is None
                else Cell(value=format_figure(seeds.mean), interval=format_interval(seeds.low, seeds.high))
            )
        yield Row(label=label, cells=tuple(cells))
    yield counts_row("turns a side", _mauve_counts(users, "num_turns"), is_detail=True)
    yield counts_row("buckets", _mauve_counts(users, "num_buckets"), is_detail=True)


def _mauve_counts(users: Sequence[UsersPart | None], key: str) -> list[int | None]:
    return [
        getattr(one.mauve, key) if one is not None and one.mauve is not None and one.mauve.score is not None else None
        for one in users
    ]
