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

from advsim.rates.rates import ANY
from advsim.report.chatbots.metrics import AgreementPart, ByChatbotPart, IntervalPart, SharePart
from advsim.report.evaluation.failure_metrics import DifferencePart, RatePart
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


_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """A side. ``rates`` and ``tests`` are its own; ``part`` is None for the real dialogues."""

    label: str
    rates: Mapping[str, Mapping[str, RatePart]]
    tests: Mapping[str, Sequence[DifferencePart]]
    part: ByChatbotPart | None


def chatbot_table(simulated: Mapping[str, ByChatbotPart], *, real: str | None, modes: Mapping[str, str]) -> FigureTable:
    """All figures by chatbot; rows and groups of rows without any figure are left out.

    Args:
        simulated: what was found for each simulator by its name; all against the same real dialogues.
        real: name of the real dialogues; None: there are none.
        modes: names of the modes by id, in order.
    """
    columns = _columns(simulated, real)
    labels = list(dict.fromkeys(test.pair.label for part in simulated.values() for test in part.tests))
    margins = {d.margin for column in columns for found in column.tests.values() for d in found[:1]}
    margin = f"±{100 * max((m for m in margins if m is not None), default=0.0):g} points"
    groups = (
        RowGroup(title="Failure rate by chatbot, %", rows=filled_rows(_rate_rows(columns))),
        RowGroup(title="Judged messages (dialogues)", rows=filled_rows(_size_rows(columns))),
        *(
            RowGroup(title=f"{name} over chatbots", rows=filled_rows(_agreement_rows(columns, key)))
            for key, name in COEFFICIENTS.items()
        ),
        RowGroup(title="Simulated told from real users", rows=filled_rows(_population_rows(columns))),
        RowGroup(title="Pearson's r by mode, observed", rows=filled_rows(_mode_rows(columns, modes))),
        RowGroup(title="A − B, points", rows=filled_rows(_test_rows(columns, labels, _points))),
        RowGroup(title="A − B, p by Holm", rows=filled_rows(_test_rows(columns, labels, _p))),
        RowGroup(title=f"p of no difference ({margin})", rows=filled_rows(_test_rows(columns, labels, _equivalence))),
        RowGroup(title="A/B results that replicate", rows=filled_rows(_replication_rows(columns))),
        *(
            RowGroup(title=f"{label} by mode, points", rows=filled_rows(_mode_test_rows(columns, label, modes)))
            for label in labels
        ),
    )
    return FigureTable(columns=tuple(c.label for c in columns), groups=tuple(group for group in groups if group.rows))


def agreement_notes(part: ByChatbotPart | None) -> tuple[str, ...]:
    """Why coefficients or intervals are missing, each reason once, and whether any mode differs."""
    if part is None:
        return ()
    found: dict[str, list[str]] = {}
    if part.validity is not None:
        for key, name in COEFFICIENTS.items():
            one: AgreementPart = getattr(part.validity, key)
            reasons = [one.reason] if one.estimate is None else [i.reason for i in one.intervals if i.low is None]
            for reason in dict.fromkeys(reasons):
                if reason:
                    found.setdefault(reason, []).append(name)
        if part.validity.ceiling.reason:
            found.setdefault(part.validity.ceiling.reason, []).append("real with real")
    notes = [f"{', '.join(names)} over chatbots: {reason}." for reason, names in found.items()]
    tested = [d for test in part.tests for d in (*test.simulated[1:], *test.real[1:])]
    if tested and not any(_is_significant(d) for d in tested):
        notes.append("No mode differs significantly between two chatbots (Benjamini-Hochberg over modes).")
    return tuple(notes)


def _columns(simulated: Mapping[str, ByChatbotPart], real: str | None) -> list[_Column]:
    columns = [
        _Column(
            label=label,
            rates={one.chatbot: one.simulated for one in part.chatbots},
            tests={test.pair.label: test.simulated for test in part.tests},
            part=part,
        )
        for label, part in simulated.items()
    ]
    first = next(iter(simulated.values()), None)
    if real is None or first is None:
        return columns
    return [
        _Column(
            label=real,
            rates={one.chatbot: one.real for one in first.chatbots},
            tests={test.pair.label: test.real for test in first.tests},
            part=None,
        ),
        *columns,
    ]


def _rate_rows(columns: Sequence[_Column]) -> Iterable[Row]:
    for name, rates in _rates(columns):
        yield _row(
            name, rates, lambda rate: Cell(value=percent(rate.estimate), interval=percent_interval(rate.low, rate.high))
        )


def _size_rows(columns: Sequence[_Column]) -> Iterable[Row]:
    for name, rates in _rates(columns):
        yield _row(name, rates, lambda rate: Cell(value=f"{rate.num_messages:,} ({rate.num_dialogues:,})"))


def _rates(columns: Sequence[_Column]) -> Iterable[tuple[str, list[RatePart | None]]]:
    for name in sorted({name for column in columns for name in column.rates}):
        yield name, [column.rates.get(name, {}).get(ANY) for column in columns]


def _agreement_rows(columns: Sequence[_Column], key: str) -> Iterable[Row]:
    validity = [column.part.validity if column.part is not None else None for column in columns]
    found: list[AgreementPart | None] = [None if one is None else getattr(one, key) for one in validity]
    for method in dict.fromkeys(i.method for one in found if one is not None for i in one.intervals):
        yield _row(METHODS.get(method, words(method)), found, partial(_agreement, method=method))
    if key != "mean_difference":  # which has the observed value beside its interval
        yield _row("observed", found, lambda one: Cell(value=format_figure(one.estimate)))
    ceiling = next((one.ceiling for one in validity if one is not None), None)
    if ceiling is not None and key in ("pearson", "concordance"):
        bounds: IntervalPart = getattr(ceiling, f"{key}_interval")
        cell = Cell(value=format_figure(getattr(ceiling, key)), interval=_bounds(bounds))
        cells = tuple(cell if column.part is None else Cell() for column in columns)
        yield Row(label="real with real, split half", cells=cells)


def _agreement(found: AgreementPart, *, method: str) -> Cell:
    interval = next((i for i in found.intervals if i.method == method), IntervalPart())
    value = found.disattenuated if method == "disattenuated" else found.estimate
    return Cell(value=format_figure(value), interval=_bounds(interval))


def _bounds(interval: IntervalPart) -> str:
    """As words, because a bound can be negative."""
    return "" if interval.low is None or interval.high is None else f"{interval.low:.2f} to {interval.high:.2f}"


def _population_rows(columns: Sequence[_Column]) -> Iterable[Row]:
    tests = [column.part.population_test if column.part is not None else None for column in columns]
    yield _row("population test, p", tests, lambda test: p_cell(test.p_value, flagged=test.flagged))


def _mode_rows(columns: Sequence[_Column], modes: Mapping[str, str]) -> Iterable[Row]:
    for mode, name in modes.items():
        found = [column.part.validity_by_mode.get(mode) if column.part is not None else None for column in columns]
        yield _row(name.lower(), found, lambda one: Cell(value=format_figure(one.estimate)))


def _test_rows(
    columns: Sequence[_Column], labels: Sequence[str], cell: Callable[[DifferencePart], Cell]
) -> Iterable[Row]:
    for label in labels:
        yield _row(label, [next(iter(column.tests.get(label, ())), None) for column in columns], cell)


def _mode_test_rows(columns: Sequence[_Column], label: str, modes: Mapping[str, str]) -> Iterable[Row]:
    """The modes in which a pair differs significantly on any side."""
    for mode, name in modes.items():
        found = [next((d for d in column.tests.get(label, ()) if d.mode == mode), None) for column in columns]
        if any(one is not None and _is_significant(one) for one in found):
            yield _row(name.lower(), found, _points)
            yield _row("  p by Benjamini-Hochberg", found, _p)


def _replication_rows(columns: Sequence[_Column]) -> Iterable[Row]:
    found = [column.part.replication if column.part is not None else None for column in columns]
    yield _row("of one sign", found, lambda one: _share(one.sign_agreement))
    yield _row("  where real is significant", found, lambda one: _share(one.sign_agreement_significant))
    yield _row("soft pairwise accuracy", found, lambda one: _share(one.soft_pairwise_accuracy))
    yield _row("pairs without a sign", found, lambda one: Cell(value=str(one.num_without_sign)))
    alike_in_real = next((one.num_equivalent[1] for one in found if one is not None), None)
    alike = [
        alike_in_real if column.part is None else None if one is None else one.num_equivalent[0]
        for column, one in zip(columns, found, strict=True)
    ]
    yield _row("pairs shown to be alike", alike, lambda number: Cell(value=str(number)))


def _share(found: SharePart) -> Cell:
    interval = format_interval(found.low, found.high)
    of = f"of {found.num_pairs}"
    return Cell(value=format_figure(found.value), interval=f"{interval}, {of}" if interval else of)


def _points(found: DifferencePart) -> Cell:
    if found.difference is None:
        return Cell()
    return Cell(value=f"{100 * found.difference:+.1f}", interval=points_interval(found.low, found.high))


def _p(found: DifferencePart) -> Cell:
    return Cell(value=format_figure(found.p_adjusted, 3))


def _equivalence(found: DifferencePart) -> Cell:
    return Cell(value=format_figure(found.equivalence_p, 3))


def _is_significant(found: DifferencePart) -> bool:
    return found.p_adjusted is not None and found.p_adjusted <= SIGNIFICANT


def _row(label: str, found: Iterable[_Found | None], cell: Callable[[_Found], Cell]) -> Row:
    return Row(label=label, cells=tuple(Cell() if one is None else cell(one) for one in found))
