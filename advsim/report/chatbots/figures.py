"""Several chatbots side by side, as rows and columns, for the terminal's tables and the page's alike.

A column is a side: the real dialogues, and each simulator whose conversations were held against them. What is said of a
simulator's agreement with the real rates stands in its column; in the real column stands what real rates reach against
real rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from advsim.rates.ab_test import Difference
from advsim.rates.intervals import Interval
from advsim.rates.rates import ANY
from advsim.rates.sequential import AnytimeDifference
from advsim.records import Rate
from advsim.report.page.figures import (
    Cell,
    FigureTable,
    Row,
    RowGroup,
    filled_rows,
    format_figure,
    format_interval,
    p_cell,
    percent,
    percent_interval,
    points_interval,
    words,
)
from advsim.validity.agreement import Agreement
from advsim.validity.by_chatbot import ByChatbot
from advsim.validity.replication import AbPair, PairShare

SIGNIFICANT = 0.05
COEFFICIENTS = {
    "pearson": "Pearson's r",
    "concordance": "Concordance (Lin)",
    "spearman": "Spearman's rho",
    "mean_difference": "Mean difference",
}
METHODS = {
    "disattenuated": "without noise, jackknife on z",
    "student_t": "simulated − real, Student's t",
}
CHATBOT_LEGEND: tuple[tuple[str, str], ...] = (
    (
        "agreement over chatbots",
        "of simulated with real failure rates, any mode, with the method of each interval. Concordance falls with a "
        "bias, r does not. The chatbots count as a sample of those one could have built.",
    ),
    (
        "without noise",
        "corrected for the sampling noise of both rates, which lowers what is observed; the verdict reads this.",
    ),
    (
        "real with real",
        "random halves of the real dialogues of each chatbot against each other, stepped up to all of them: what the "
        "observed coefficient of a perfect simulator would come to.",
    ),
    (
        "told from real users",
        "a permutation test over all chatbots and modes that flags simulated users whose chatbot failures differ from "
        "the real ones by more than chance; not flagged is no proof that they are right.",
    ),
    (
        "A − B",
        "difference of two chatbots' failure rates, in percentage points. p: permutation of users (dialogues where "
        "users are unknown), Holm over the pairs, Benjamini-Hochberg over the modes of a pair. p of no difference: two "
        "one-sided tests; small means that they differ by less than the margin.",
    ),
    (
        "soft pairwise accuracy",
        "1 less the distance of the one-sided p of both sides, over the pairs (arXiv 2409.09598): where real dialogues "
        "cannot tell two chatbots apart, the simulator should not either.",
    ),
)


_Figure = TypeVar("_Figure")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A side. ``rates`` and ``tests`` are its own; ``by_chatbot`` is None for the real dialogues."""

    label: str
    rates: Mapping[str, Mapping[str, Rate]]
    tests: Mapping[str, Sequence[Difference]]
    by_chatbot: ByChatbot | None


def chatbot_table(simulated: Mapping[str, ByChatbot], *, real: str | None, modes: Mapping[str, str]) -> FigureTable:
    """All figures by chatbot; rows and groups of rows without any figure are left out.

    Args:
        simulated: what was found for each simulator by its name; all against the same real dialogues.
        real: name of the real dialogues; None: there are none.
        modes: names of the modes by id, in order.
    """
    columns = _columns(simulated, real)
    labels = list(dict.fromkeys(pair_label(test.pair) for compared in simulated.values() for test in compared.tests))
    margins = {difference.margin for column in columns for test in column.tests.values() for difference in test[:1]}
    margin = f"±{100 * max(margins, default=0.0):g} points"
    groups = (
        RowGroup(title="Failure rate by chatbot, %", rows=filled_rows(_rate_rows(columns))),
        RowGroup(title="Judged messages (dialogues)", rows=filled_rows(_size_rows(columns))),
        *(
            RowGroup(title=f"{name} over chatbots", rows=filled_rows(_agreement_rows(columns, key)))
            for key, name in COEFFICIENTS.items()
        ),
        RowGroup(title="Simulated told from real users", rows=filled_rows(_population_rows(columns))),
        RowGroup(title="Pearson's r by mode, observed", rows=filled_rows(_mode_rows(columns, modes))),
        RowGroup(title="A − B, points", rows=filled_rows(_test_rows(columns, labels, points_cell))),
        RowGroup(title="A − B, p by Holm", rows=filled_rows(_test_rows(columns, labels, _p))),
        RowGroup(title=f"p of no difference ({margin})", rows=filled_rows(_test_rows(columns, labels, _equivalence))),
        RowGroup(title="A/B results that replicate", rows=filled_rows(_replication_rows(columns))),
        *(
            RowGroup(title=f"{label} by mode, points", rows=filled_rows(_mode_test_rows(columns, label, modes)))
            for label in labels
        ),
    )
    return FigureTable(columns=tuple(c.label for c in columns), groups=tuple(group for group in groups if group.rows))


def rate_cell(rate: Rate) -> Cell:
    """A rate in per cent with its interval."""
    return Cell(value=percent(rate.estimate), interval=percent_interval(rate.low, rate.high))


def pair_label(pair: AbPair) -> str:
    """The pair as a difference."""
    return f"{pair.a} \N{MINUS SIGN} {pair.b}"


def agreement_notes(by_chatbot: ByChatbot | None) -> tuple[str, ...]:
    """Why coefficients or intervals are missing, each reason once, and whether any mode differs."""
    if by_chatbot is None:
        return ()
    missing: dict[str, list[str]] = {}  # names of figures by reason
    if by_chatbot.validity is not None:
        for key, name in COEFFICIENTS.items():
            for reason in _reasons(getattr(by_chatbot.validity, key)):
                missing.setdefault(reason, []).append(name)
        if by_chatbot.validity.ceiling.reason:
            missing.setdefault(by_chatbot.validity.ceiling.reason, []).append("real with real")
    notes = [f"{', '.join(names)} over chatbots: {reason}." for reason, names in missing.items()]
    by_mode = [difference for test in by_chatbot.tests for difference in (*test.simulated[1:], *test.real[1:])]
    if by_mode and not any(_is_significant(difference) for difference in by_mode):
        notes.append("No mode differs significantly between two chatbots (Benjamini-Hochberg over modes).")
    return tuple(notes)


def _reasons(agreement: Agreement) -> list[str]:
    """Why the coefficient or some of its intervals are missing, each reason once."""
    if agreement.estimate is None:
        return [agreement.reason] if agreement.reason else []
    reasons = [interval.reason for interval in agreement.intervals if interval.low is None]
    return list(dict.fromkeys(reason for reason in reasons if reason))


def _columns(simulated: Mapping[str, ByChatbot], real: str | None) -> list[_Column]:
    columns = [
        _Column(
            label=label,
            rates={rates.chatbot: rates.simulated for rates in by_chatbot.chatbots},
            tests={pair_label(test.pair): test.simulated for test in by_chatbot.tests},
            by_chatbot=by_chatbot,
        )
        for label, by_chatbot in simulated.items()
    ]
    first = next(iter(simulated.values()), None)
    if real is None or first is None:
        return columns
    return [
        _Column(
            label=real,
            rates={rates.chatbot: rates.real for rates in first.chatbots},
            tests={pair_label(test.pair): test.real for test in first.tests},
            by_chatbot=None,
        ),
        *columns,
    ]


def _rate_rows(columns: Sequence[_Column]) -> Iterable[Row]:
    for name, rates in _rates(columns):
        yield _row(name, rates, rate_cell)


def _size_rows(columns: Sequence[_Column]) -> Iterable[Row]:
    for name, rates in _rates(columns):
        yield _row(name, rates, lambda rate: Cell(value=f"{rate.num_messages:,} ({rate.num_dialogues:,})"))


def _rates(columns: Sequence[_Column]) -> Iterable[tuple[str, list[Rate | None]]]:
    for name in sorted({name for column in columns for name in column.rates}):
        yield name, [column.rates.get(name, {}).get(ANY) for column in columns]


def _agreement_rows(columns: Sequence[_Column], key: str) -> Iterable[Row]:
    validities = [None if column.by_chatbot is None else column.by_chatbot.validity for column in columns]
    agreements: list[Agreement | None] = [
        None if validity is None else getattr(validity, key) for validity in validities
    ]
    intervals = [interval for agreement in agreements if agreement is not None for interval in agreement.intervals]
    for method in dict.fromkeys(interval.method for interval in intervals):
        yield _row(METHODS.get(method, words(method)), agreements, partial(_agreement, method=method))
    if key != "mean_difference":  # which has the observed value beside its interval
        yield _row("observed", agreements, lambda agreement: Cell(value=format_figure(agreement.estimate)))
    ceiling = next((validity.ceiling for validity in validities if validity is not None), None)
    if ceiling is not None and key in ("pearson", "concordance"):
        cell = Cell(value=format_figure(getattr(ceiling, key)), interval=_bounds(getattr(ceiling, f"{key}_interval")))
        cells = tuple(cell if column.by_chatbot is None else Cell() for column in columns)
        yield Row(label="real with real, split half", cells=cells)


def _agreement(agreement: Agreement, *, method: str) -> Cell:
    interval = next((interval for interval in agreement.intervals if interval.method == method), None)
    value = agreement.disattenuated if method == "disattenuated" else agreement.estimate
    return Cell(value=format_figure(value), interval="" if interval is None else _bounds(interval))


def _bounds(interval: Interval) -> str:
    """As words, because a bound can be negative."""
    return "" if interval.low is None or interval.high is None else f"{interval.low:.2f} to {interval.high:.2f}"


def _population_rows(columns: Sequence[_Column]) -> Iterable[Row]:
    tests = [None if column.by_chatbot is None else column.by_chatbot.population_test for column in columns]
    yield _row("population test, p", tests, lambda test: p_cell(test.p_value, flagged=test.flagged))


def _mode_rows(columns: Sequence[_Column], modes: Mapping[str, str]) -> Iterable[Row]:
    for mode, name in modes.items():
        sides = [column.by_chatbot for column in columns]
        agreements = [None if side is None else side.validity_by_mode.get(mode) for side in sides]
        yield _row(name.lower(), agreements, lambda agreement: Cell(value=format_figure(agreement.estimate)))


def _test_rows(columns: Sequence[_Column], labels: Sequence[str], cell: Callable[[Difference], Cell]) -> Iterable[Row]:
    for label in labels:
        yield _row(label, [next(iter(column.tests.get(label, ())), None) for column in columns], cell)


def _mode_test_rows(columns: Sequence[_Column], label: str, modes: Mapping[str, str]) -> Iterable[Row]:
    """The modes in which a pair differs significantly on any side."""
    for mode, name in modes.items():
        differences = [next((d for d in column.tests.get(label, ()) if d.mode == mode), None) for column in columns]
        if any(difference is not None and _is_significant(difference) for difference in differences):
            yield _row(name.lower(), differences, points_cell)
            yield _row("  p by Benjamini-Hochberg", differences, _p)


def _replication_rows(columns: Sequence[_Column]) -> Iterable[Row]:
    results = [None if column.by_chatbot is None else column.by_chatbot.replication for column in columns]
    yield _row("of one sign", results, lambda result: _share(result.sign_agreement))
    yield _row("  where real is significant", results, lambda result: _share(result.sign_agreement_significant))
    yield _row("soft pairwise accuracy", results, lambda result: _share(result.soft_pairwise_accuracy))
    yield _row("pairs without a sign", results, lambda result: Cell(value=str(result.num_without_sign)))
    alike_in_real = next((result.num_equivalent[1] for result in results if result is not None), None)
    alike = [
        alike_in_real if column.by_chatbot is None else None if result is None else result.num_equivalent[0]
        for column, result in zip(columns, results, strict=True)
    ]
    yield _row("pairs shown to be alike", alike, lambda number: Cell(value=str(number)))


def _share(share: PairShare) -> Cell:
    interval = format_interval(share.low, share.high)
    of = f"of {share.num_pairs}"
    return Cell(value=format_figure(share.value), interval=f"{interval}, {of}" if interval else of)


def points_cell(difference: Difference | AnytimeDifference) -> Cell:
    """A difference in percentage points with its interval."""
    if difference.difference is None:
        return Cell()
    return Cell(value=f"{100 * difference.difference:+.1f}", interval=points_interval(difference.low, difference.high))


def _p(difference: Difference) -> Cell:
    return Cell(value=format_figure(difference.p_adjusted, 3))


def _equivalence(difference: Difference) -> Cell:
    return Cell(value=format_figure(difference.equivalence_p, 3))


def _is_significant(difference: Difference) -> bool:
    return difference.p_adjusted is not None and difference.p_adjusted <= SIGNIFICANT


def _row(label: str, figures: Iterable[_Figure | None], cell: Callable[[_Figure], Cell]) -> Row:
    return Row(label=label, cells=tuple(Cell() if figure is None else cell(figure) for figure in figures))
