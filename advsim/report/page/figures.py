"""Figures as rows and columns, for the terminal's tables and the pages alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from advsim.chatbots.cost import Cost

MISSING = "–"
NULL_LABEL = "  95 % of relabelled, and p"
_SPELLED = {"dpo": "DPO", "sft": "SFT", "held_out": "held-out measures"}
CONTROL_NAMES = {
    "zero_shot": "zero-shot turns",
    "shuffled": "shuffled turns",
    "repeated": "repeated turns",
    "truncated": "truncated turns",
}
DIVERSITY_NAMES = {
    "ttr": "type-token ratio",
    "mattr": "MATTR",
    "mtld": "MTLD",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "distinct_3": "distinct-3",
    "entropy": "word entropy (bits)",
    "mean_turn_words": "words a turn",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A figure as text, with its interval where it has one."""

    value: str = MISSING
    interval: str = ""


def p_cell(p_value: float | None, *, flagged: bool) -> Cell:
    """A p-value, with a mark where the test flags."""
    return Cell(value=format_figure(p_value, 3), interval="flagged" if flagged else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One measure over the columns. ``is_detail`` rows are left out on the terminal."""

    label: str
    cells: tuple[Cell, ...]
    is_detail: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroup:
    """Rows under one heading."""

    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureTable:
    """Columns and grouped rows; rows without any figure are left out."""

    columns: tuple[str, ...]
    groups: tuple[RowGroup, ...]


def format_figure(value: float | None, digits: int = 2) -> str:
    """A figure with so many decimals, thousands separated; a dash where there is none."""
    return MISSING if value is None else f"{value:,.{digits}f}"


def format_interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """``low–high``, or an empty string where a bound is missing."""
    return "" if low is None or high is None else f"{low:.{digits}f}–{high:.{digits}f}"


def estimate_cell(value: float | None, low: float | None, high: float | None, *, n: float | None = None) -> Cell:
    """A figure with its interval and, where given, the number of turns it rests on."""
    beside = (format_interval(low, high), "" if n is None else f"n {n:,.0f}")
    return Cell(value=format_figure(value), interval=", ".join(part for part in beside if part))


def null_cell(high: float | None, p_value: float | None) -> Cell:
    """The 95 % point of a permutation null and the p of the figure that it belongs to; empty where there is no null."""
    return Cell() if p_value is None else Cell(value=format_figure(high), interval=f"p {p_value:.3f}")


def keys_of(mappings: Iterable[Mapping[str, float | None]]) -> list[str]:
    """The keys of all mappings, in order of appearance."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def control_name(control: str) -> str:
    """A control as words."""
    return CONTROL_NAMES.get(control, words(control))


def words(key: str) -> str:
    """A JSON key as words."""
    return _SPELLED.get(key, key.replace("_", " "))


def figure_row(label: str, values: Iterable[float | None], *, digits: int = 2, is_detail: bool = False) -> Row:
    """A row of figures with so many decimals."""
    return Row(
        label=label, cells=tuple(Cell(value=format_figure(value, digits)) for value in values), is_detail=is_detail
    )


def filled_rows(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The rows that hold any figure."""
    return tuple(row for row in rows if any(cell.value != MISSING for cell in row.cells))


def money(cost: Cost | None) -> str:
    """An amount with its currency: two decimals, or more where only these show two digits of it; a dash for none."""
    if cost is None:
        return "-"
    digits = 2 if not 0 < cost.amount < 0.1 else 1 - math.floor(math.log10(cost.amount))
    return f"{cost.amount:,.{digits}f} {cost.currency}"


def percent(value: float | None) -> str:
    """A share in per cent with one decimal."""
    return MISSING if value is None else f"{100 * value:.1f}"


def percent_interval(low: float | None, high: float | None) -> str:
    """Bounds of a share in per cent."""
    return "" if low is None or high is None else f"{100 * low:.1f}–{100 * high:.1f}"


def points_interval(low: float | None, high: float | None) -> str:
    """Bounds of a difference of shares in percentage points, with signs."""
    return "" if low is None or high is None else f"{100 * low:+.1f} to {100 * high:+.1f}"


def counts_row(label: str, values: Iterable[int | None], *, is_detail: bool = False) -> Row:
    """A row of whole numbers."""
    return Row(label=label, cells=tuple(Cell(value=format_figure(value, 0)) for value in values), is_detail=is_detail)
