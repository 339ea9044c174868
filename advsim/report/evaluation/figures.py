"""The figures of an evaluation as rows and columns, for the terminal's tables and the page's alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from advsim.detectors.worth import ModeWorth
from advsim.evaluation.results import Evaluation, Group
from advsim.rates.ab_test import Difference
from advsim.rates.correction import CorrectedRate
from advsim.rates.rates import ANY
from advsim.records import Visibility
from advsim.report.evaluation.user_figures import (
    HABIT_NAMES,
    distance_rows,
    diversity_rows,
    families_of,
    figures_at_turn,
    habit_rows,
    mauve_rows,
    ratio_rows,
    realism_rows,
)
from advsim.report.page.figures import (
    MISSING,
    NULL_LABEL,
    Cell,
    FigureTable,
    Row,
    RowGroup,
    counts_row,
    filled_rows,
    format_figure,
    format_interval,
    keys_of,
    p_cell,
    percent,
    percent_interval,
    points_interval,
    words,
)

SEVERITIES = {1: "minor", 2: "moderate", 3: "severe"}
LEGEND: tuple[tuple[str, str], ...] = (
    (
        "failure rate",
        "failing chatbot messages / judged chatbot messages, in per cent, with its 95 % interval over users (dialogues "
        "where users are unknown). A detector errs: the rates are what it finds, not what people would say.",
    ),
    (
        "right; found of all",
        "precision and recall of the detector for this mode in whole labelled dialogues of other chatbots: of its "
        "findings the share that is right, and of the failures the share that it finds.",
    ),
    (
        "not measurable",
        "the precision is not shown to be above 50 % (lower bound of its interval): in how many messages the mode was "
        "found here, and how many findings in labelled dialogues are right. It has no rate, test or verdict itself.",
    ),
    (
        "per 100 words",
        "failing messages to 100 words of judged messages: long messages have more room for failures, so that chatbots "
        "of unlike length are compared by this too.",
    ),
    (
        "difference",
        "rate less that of the reference, in percentage points; from the two intervals and the correlation of users "
        "who are in both groups. p: of a permutation of users, over modes after Benjamini and Hochberg. The figure "
        "beside it is of two one-sided tests that the rates differ by more than so many points: small means equal.",
    ),
    (
        "population test",
        "a permutation test over all modes (and chatbots, where both sides name several) that flags a group whose "
        "failures differ from the reference's by more than chance; not flagged is no proof that the users are right.",
    ),
    (
        "divergence",
        "base-2 Jensen-Shannon, 0 to 1, between the distributions over modes. It is above 0 even between two halves of "
        "one group: compare it with the value under which 95 % of random relabellings stay.",
    ),
    (
        "by fault",
        "what each conversation is attributed to. To the simulator, or in dialogues of files to the user side: the "
        "user turns repeat themselves, are empty or out of role. The last rate leaves those conversations out.",
    ),
    (
        "typing habits",
        "mean over dialogues, each counted once; the small figure is the standard deviation between dialogues.",
    ),
    (
        "spread ratio",
        "how much the users of a group differ from each other, relative to the reference's, chance of few turns taken "
        "off: 1 is equal, 0 is one and the same person.",
    ),
    (
        "p",
        "of the distance between the two distributions of a habit, by dealing users to the sides at random; Holm over "
        "all habits.",
    ),
    (
        "AUC",
        "of fresh classifiers between the users of a group and the reference's: 0.5 is chance. Where a classifier does "
        "not find its control, a value near 0.5 says nothing. Under it the value under which 95 % of classifiers stay "
        "that were fitted with users dealt to the sides at random, and the p of this comparison: told apart where p is "
        "at most .05. User turns alone: without the chatbot's turns.",
    ),
    ("MAUVE", "likeness of the embedded turns, 0 to 1; read it against the ceiling, real users among themselves."),
)


def evaluation_table(evaluation: Evaluation) -> FigureTable:
    """All figures; rows and groups of rows without any figure are left out."""
    groups = evaluation.groups
    rows = (
        RowGroup(title="Dialogues", rows=filled_rows(_size_rows(groups))),
        RowGroup(title="Corrected for detector errors, %", rows=filled_rows(_corrected_rows(evaluation))),
        RowGroup(title="Found in messages, %", rows=filled_rows(_rate_rows(evaluation))),
        RowGroup(title="Found per 100 words", rows=filled_rows(_word_rows(evaluation))),
        RowGroup(title="Not measurable, messages", rows=filled_rows(not_measurable_rows(evaluation))),
        RowGroup(title="Difference to ref., points", rows=filled_rows(_difference_rows(evaluation))),
        RowGroup(title="Divergence over modes, bits", rows=filled_rows(_divergence_rows(groups))),
        RowGroup(title="Conversations by fault", rows=filled_rows(_blame_rows(groups))),
        RowGroup(title="Failures by severity", rows=filled_rows(_severity_rows(groups))),
        RowGroup(title="Typing habits over dialogues", rows=filled_rows(habit_rows([group.users for group in groups]))),
        RowGroup(title="Spread between users, ratio", rows=filled_rows(ratio_rows([group.users for group in groups]))),
        RowGroup(title="Distance of habits, p", rows=filled_rows(distance_rows([group.users for group in groups]))),
        RowGroup(title="Diversity of user turns", rows=filled_rows(diversity_rows([group.users for group in groups]))),
        *(
            RowGroup(title=f"Users told apart by {family}, AUC", rows=filled_rows(realism_rows(groups, family)))
            for family in families_of(groups)
        ),
        RowGroup(title="MAUVE of user turns", rows=filled_rows(mauve_rows([group.users for group in groups]))),
        RowGroup(
            title="Next turns on real prefixes: diversity",
            rows=filled_rows(diversity_rows([group.next_turns for group in groups])),
        ),
        RowGroup(
            title="Next turns on real prefixes: habits",
            rows=filled_rows(habit_rows([group.next_turns for group in groups])),
        ),
        RowGroup(
            title="Next turns on real prefixes: p",
            rows=filled_rows(distance_rows([group.next_turns for group in groups])),
        ),
        RowGroup(
            title="Next turns on real prefixes: MAUVE",
            rows=filled_rows(mauve_rows([group.next_turns for group in groups])),
        ),
    )
    names = tuple(f"{group.name} (ref.)" if group.is_reference else group.name for group in groups)
    return FigureTable(columns=names, groups=tuple(group for group in rows if group.rows))


def missing_notes(evaluation: Evaluation) -> tuple[str, ...]:
    """Why figures are missing: a sentence for each reason, named by group."""
    notes: list[str] = []
    for group in evaluation.groups:
        for mode in (ANY, *evaluation.modes_found):
            corrected = group.failures.corrected.get(mode) if group.failures is not None else None
            if corrected is not None and corrected.reason:
                notes.append(f"{group.name}, corrected rate of {mode_name(evaluation, mode)}: {corrected.reason}.")
        for kind, users in (("user turns", group.users), ("next turns", group.next_turns)):
            if users is None:
                continue
            if users.mauve is not None and users.mauve.reason:
                notes.append(f"{group.name}, MAUVE of {kind}: {users.mauve.reason}.")
            for habit in users.spread.habits if users.spread is not None else ():
                if habit.note and habit.wasserstein is None:
                    name = HABIT_NAMES.get(habit.habit, words(habit.habit))
                    notes.append(f"{group.name}, {name} of {kind}: {habit.note}.")
        for classifier in group.users.realism if group.users is not None else ():
            if not classifier.measurable:
                notes.append(
                    f"{group.name}: {classifier.gate}, so that an AUC near 0.5 would say nothing."
                    if classifier.auc.value is not None
                    else f"{group.name}, {classifier.family} classifier {classifier.note}."
                )
            elif classifier.note:
                notes.append(f"{group.name}: the {classifier.family} classifier {classifier.note}.")
            short = [(turn, at.auc) for turn, at in figures_at_turn(classifier) if at.auc.value is None]
            if short:
                listed = ", ".join(f"{turn} ({auc.num_turns} turns)" for turn, auc in short)
                notes.append(f"{group.name}: too few dialogues for classifiers at user turn {listed}.")
    return tuple(dict.fromkeys(notes))


def mode_name(evaluation: Evaluation, mode: str) -> str:
    """A mode's name in a row; ``any`` is any failure."""
    return "any failure" if mode == ANY else evaluation.modes.get(mode, mode).lower()


def _size_rows(groups: Sequence[Group]) -> Iterable[Row]:
    yield counts_row("dialogues", [group.num_dialogues or None for group in groups])
    yield counts_row("known users", [group.num_users or None for group in groups])
    yield counts_row("user turns", [group.num_user_turns or None for group in groups])
    yield counts_row("chatbot messages", [None if g.failures is None else g.failures.num_messages for g in groups])
    not_judged = [None if g.failures is None else g.failures.rates[ANY].num_not_judged for g in groups]
    yield counts_row("not judged", not_judged)
    if any(group.num_ended_by_error for group in groups):
        yield counts_row(
            "ended by an error", [group.num_ended_by_error if group.stop_reasons else None for group in groups]
        )
    for reason in keys_of(group.stop_reasons for group in groups):
        counts = [group.stop_reasons.get(reason) for group in groups]
        yield Row(
            label=f"ended by {words(reason)}",
            cells=tuple(Cell(value=format_figure(count, 0)) for count in counts),
            is_detail=True,
        )


def _rate_rows(evaluation: Evaluation) -> Iterable[Row]:
    """Modes that were found, then those of which there is only the upper end of the interval to tell."""
    found = evaluation.modes_found
    for mode in (ANY, *found, *(mode for mode in evaluation.modes_judged if mode not in found)):
        cells = []
        for group in evaluation.groups:
            rate = group.failures.rates.get(mode) if group.failures is not None else None
            cells.append(
                Cell()
                if rate is None
                else Cell(value=percent(rate.estimate), interval=percent_interval(rate.low, rate.high))
            )
        yield Row(label=mode_name(evaluation, mode), cells=tuple(cells))
        if (known := evaluation.worth_of(mode)) is not None:
            yield Row(
                label="  right; found of all, %",
                cells=tuple(_worth(known) if cell.value != MISSING else cell for cell in cells),
            )
        yield Row(
            label="  seen only over the dialogue", cells=tuple(_over_dialogue(g, mode) for g in evaluation.groups)
        )


def _word_rows(evaluation: Evaluation) -> Iterable[Row]:
    for mode in (ANY, *evaluation.modes_found):
        rates = [None if it.failures is None else it.failures.per_100_words.get(mode) for it in evaluation.groups]
        cells = (
            Cell()
            if rate is None or rate.estimate is None
            else Cell(value=format_figure(rate.estimate, 2), interval=format_interval(rate.low, rate.high))
            for rate in rates
        )
        yield Row(label=mode_name(evaluation, mode), cells=tuple(cells), is_detail=mode != ANY)


def not_measurable_rows(evaluation: Evaluation) -> Iterable[Row]:
    """Modes that the detector does not get right often enough: precision and recall in place of rates."""
    for mode in evaluation.modes_not_measurable:
        if (known := evaluation.worth_of(mode)) is not None:
            yield Row(
                label=mode_name(evaluation, mode), cells=tuple(_not_measured(it, known) for it in evaluation.groups)
            )


def _not_measured(group: Group, worth: ModeWorth) -> Cell:
    """In how many messages the mode was found, and how often such a finding is right as far as it is known."""
    labels = group.failures.visibilities.get(worth.mode, {}) if group.failures is not None else {}
    right = f"{worth.precision.num_true} of {worth.precision.num} right" if worth.precision.num else "never found"
    return Cell(value=f"{sum(labels.values()):,}", interval=right)


def _worth(worth: ModeWorth) -> Cell:
    """Precision with its interval; recall."""
    interval = percent_interval(worth.precision.low, worth.precision.high)
    precision = f"{percent(worth.precision.value)}" + (f" [{interval}]" if interval else "")
    return Cell(value=precision, interval=f"of all {percent(worth.recall.value)}")


def _over_dialogue(group: Group, mode: str) -> Cell:
    """How many of the labels of a mode the message alone does not show; nothing where all of them are in messages."""
    labels = group.failures.visibilities.get(mode, {}) if group.failures is not None else {}
    over = labels.get(Visibility.TRAJECTORY, 0)
    return Cell(value=f"{over:,} of {sum(labels.values()):,}") if over else Cell()


def _corrected_rows(evaluation: Evaluation) -> Iterable[Row]:
    for mode in (ANY, *evaluation.modes_found):
        rates = [None if group.failures is None else group.failures.corrected.get(mode) for group in evaluation.groups]
        yield Row(label=mode_name(evaluation, mode), cells=tuple(_corrected(rate) for rate in rates))


def _corrected(rate: CorrectedRate | None) -> Cell:
    if rate is None:
        return Cell()
    if rate.estimate is None:
        return Cell(value="see notes")
    return Cell(value=percent(rate.estimate), interval=percent_interval(rate.low, rate.high))


def _difference_rows(evaluation: Evaluation) -> Iterable[Row]:
    for mode in (ANY, *evaluation.modes_found):
        differences = [_difference(group, mode) for group in evaluation.groups]
        margin = next((difference.margin for difference in differences if difference is not None), 0.0)
        yield Row(
            label=mode_name(evaluation, mode),
            cells=tuple(
                Cell()
                if difference is None or difference.difference is None
                else Cell(
                    value=f"{100 * difference.difference:+.1f}",
                    interval=points_interval(difference.low, difference.high),
                )
                for difference in differences
            ),
        )
        yield Row(
            label=f"  p; p of equal within ±{100 * margin:g}",
            cells=tuple(
                Cell()
                if difference is None or difference.p_adjusted is None
                else Cell(
                    value=format_figure(difference.p_adjusted, 3), interval=format_figure(difference.equivalence_p, 3)
                )
                for difference in differences
            ),
            is_detail=mode != ANY,
        )
    tests = [group.failures.population_test if group.failures is not None else None for group in evaluation.groups]
    cells = (Cell() if test is None else p_cell(test.p_value, flagged=test.flagged) for test in tests)
    yield Row(label="population test, p", cells=tuple(cells))


def _difference(group: Group, mode: str) -> Difference | None:
    differences = group.failures.differences if group.failures is not None else ()
    return next((difference for difference in differences if (difference.mode or ANY) == mode), None)


def _divergence_rows(groups: Sequence[Group]) -> Iterable[Row]:
    failures = [group.failures for group in groups]
    for label, divergences in (
        ("given failure", [None if summary is None else summary.divergence for summary in failures]),
        (
            "with messages that do not fail",
            [None if summary is None else summary.divergence_with_none for summary in failures],
        ),
    ):
        yield Row(
            label=label,
            cells=tuple(
                Cell()
                if divergence is None
                else Cell(
                    value=format_figure(divergence.jensen_shannon, 3),
                    interval=format_interval(divergence.low, divergence.high, digits=3),
                )
                for divergence in divergences
            ),
        )
        yield Row(
            label=NULL_LABEL,
            cells=tuple(
                Cell()
                if divergence is None or divergence.p_value is None
                else Cell(value=format_figure(divergence.null_high, 3), interval=f"p {divergence.p_value:.3f}")
                for divergence in divergences
            ),
        )


def _blame_rows(groups: Sequence[Group]) -> Iterable[Row]:
    blames = [group.failures.blame if group.failures is not None else None for group in groups]
    for key in keys_of(blame.num_by_blame for blame in blames if blame is not None):
        yield counts_row(
            {"none": "no failure found"}.get(key, words(key)),
            [None if blame is None else blame.num_by_blame.get(key, 0) for blame in blames],
        )
    for key in keys_of(blame.num_by_fault for blame in blames if blame is not None):
        counts = [None if blame is None else blame.num_by_fault.get(key, 0) for blame in blames]
        yield counts_row(f"user side: {words(key)}", counts, is_detail=not any(counts))
    rates = [None if blame is None else blame.rate_without_user_side_faults for blame in blames]
    yield Row(
        label="% failing without these",
        cells=tuple(
            Cell()
            if rate is None
            else Cell(value=percent(rate.estimate), interval=percent_interval(rate.low, rate.high))
            for rate in rates
        ),
    )


def _severity_rows(groups: Sequence[Group]) -> Iterable[Row]:
    for key, label in SEVERITIES.items():
        yield counts_row(label, [None if g.failures is None else g.failures.severities.get(key, 0) for g in groups])
