"""What a detector is worth on whole dialogues: precision, recall and false alarms, with intervals over dialogues."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from advsim.detectors.findings import Findings, FoundMessage
from advsim.rates.intervals import rate_interval
from advsim.rates.rates import ANY
from advsim.realism.bootstrap import percentile_bounds

NUM_BOOTSTRAP = 2_000
MIN_LABELLED = 5
"""Messages of a mode below which it is in no macro-F1: a figure of fewer says nothing."""

MIN_PRECISION = 0.5
"""A mode is measured by a detector whose findings of it are shown to be right more often than this."""

_Ints = npt.NDArray[np.intp]
_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """``num_true`` of ``num`` messages, with a 95 % interval over dialogues; None where there are too few of either."""

    value: float | None
    low: float | None
    high: float | None
    num_true: int
    num: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeWorth:
    """A detector on one mode (``any``: some failure, whichever).

    Attributes:
        mode: its id.
        precision: of the messages in which it was found, the share that shows it.
        recall: of the judged messages that show it, the share in which it was found.
        f1: harmonic mean of both; None where no judged message shows it.
        num_not_judged: messages without a verdict; they are in neither share.
    """

    mode: str
    precision: Share
    recall: Share
    f1: float | None
    num_not_judged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """A detector on labelled dialogues.

    Attributes:
        detector: its name.
        num_dialogues: labelled dialogues.
        num_messages: labelled chatbot messages.
        modes: ``any`` first, then the taxonomy's.
        findings: precision and recall over all (message, mode) that were found or are shown, whatever the mode.
        macro_f1: mean of ``f1`` over the modes with ``MIN_LABELLED`` judged messages that show them.
        macro_f1_low: 95 % percentile bounds of a bootstrap over dialogues.
        macro_f1_high: see ``macro_f1_low``.
        alarms: of the messages that show no failure, the share in which one was found.
    """

    detector: str
    num_dialogues: int
    num_messages: int
    modes: tuple[ModeWorth, ...]
    findings: ModeWorth
    macro_f1: float | None
    macro_f1_low: float | None
    macro_f1_high: float | None
    alarms: Share


def worth(findings: Findings, modes: Sequence[str] | None = None) -> Worth:
    """Count where a detector is right.

    Args:
        findings: in labelled dialogues that it was not made with.
        modes: ids to count; ``any`` is any of them. None: all that were labelled.
    """
    modes = findings.modes if modes is None else modes
    messages = [message for row in findings.dialogues for message in row.messages]

    def table(of: Callable[[FoundMessage], Collection[str]]) -> _Bools:
        return np.array([[mode in of(it) for mode in modes] for it in messages], dtype=bool).reshape(
            len(messages), len(modes)
        )

    counted = _Table(
        shown=table(lambda message: message.shown),
        found=table(lambda message: message.found),
        judged=~table(lambda message: message.not_judged),
        dialogue=np.repeat(
            np.arange(len(findings.dialogues), dtype=np.intp), [len(row.messages) for row in findings.dialogues]
        ),
        num_dialogues=len(findings.dialogues),
    )
    return _worth(findings.detector, counted, modes)


def measurable_modes(worth: Worth) -> tuple[str, ...]:
    """Modes whose precision is shown to be above ``MIN_PRECISION``: the lower bound of its interval is.

    A finding of another mode is more likely wrong than right as far as anybody knows: its rate would be one of alarms.
    """
    return tuple(mode.mode for mode in worth.modes if mode.mode != ANY and is_shown(mode))


def is_shown(mode: ModeWorth) -> bool:
    """Whether the precision is shown to be above ``MIN_PRECISION``."""
    return mode.precision.low is not None and mode.precision.low > MIN_PRECISION


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Labels, findings and verdicts, shape (messages, modes), and the dialogue of each message, shape (messages,)."""

    shown: _Bools
    found: _Bools
    judged: _Bools
    dialogue: _Ints
    num_dialogues: int

    def share(self, true: _Bools, of: _Bools, dialogue: _Ints | None = None) -> Share:
        """``true`` among ``of``, shape (cells,); ``dialogue`` of each cell, of each message where None."""
        where = self.dialogue if dialogue is None else dialogue
        num_of = np.bincount(where, weights=of, minlength=self.num_dialogues).astype(np.float64)
        num_true = np.bincount(where, weights=true & of, minlength=self.num_dialogues).astype(np.float64)
        kept = num_of > 0
        bounds = rate_interval(num_true[kept], num_of[kept]) if kept.any() else None
        return Share(
            value=float(num_true.sum() / num_of.sum()) if kept.any() else None,
            low=bounds[0] if bounds else None,
            high=bounds[1] if bounds else None,
            num_true=int(num_true.sum()),
            num=int(num_of.sum()),
        )


def _worth(name: str, table: _Table, modes: Sequence[str]) -> Worth:
    by_mode = [
        _of_mode(table, mode, table.shown[:, m], table.found[:, m], table.judged[:, m]) for m, mode in enumerate(modes)
    ]
    shown_any = np.asarray(table.shown.any(axis=1))
    found_any = np.asarray((table.found & table.judged).any(axis=1))
    judged_any = np.asarray(table.judged.any(axis=1))
    cells = np.repeat(table.dialogue, len(modes))
    low, high = _macro_bounds(table)
    return Worth(
        detector=name,
        num_dialogues=table.num_dialogues,
        num_messages=len(table.dialogue),
        modes=(_of_mode(table, ANY, shown_any, found_any, judged_any), *by_mode),
        findings=_of_mode(table, "all findings", table.shown.ravel(), table.found.ravel(), table.judged.ravel(), cells),
        macro_f1=_macro_f1(table.shown, table.found, table.judged),
        macro_f1_low=low,
        macro_f1_high=high,
        alarms=table.share(found_any, ~shown_any & judged_any),
    )


def _of_mode(
    table: _Table,
    mode: str,
    shown: _Bools,
    found: _Bools,
    judged: _Bools,
    dialogue: _Ints | None = None,
) -> ModeWorth:
    precision = table.share(shown, found & judged, dialogue)
    recall = table.share(found, shown & judged, dialogue)
    return ModeWorth(
        mode=mode,
        precision=precision,
        recall=recall,
        f1=_f1(precision.num_true, precision.num, recall.num),
        num_not_judged=int((~judged).sum()),
    )


def _f1(num_right: int, num_found: int, num_shown: int) -> float | None:
    return 2 * num_right / (num_found + num_shown) if num_shown else None


def _macro_f1(shown: _Bools, found: _Bools, judged: _Bools) -> float | None:
    num_shown = (shown & judged).sum(axis=0)
    num_found = (found & judged).sum(axis=0)
    num_right = (shown & found & judged).sum(axis=0)
    counted = num_shown >= MIN_LABELLED
    if not counted.any():
        return None
    return float((2 * num_right[counted] / (num_shown + num_found)[counted]).mean())


def _macro_bounds(table: _Table) -> tuple[float, float] | tuple[None, None]:
    rng = np.random.default_rng(0)
    rows = [np.flatnonzero(table.dialogue == number) for number in range(table.num_dialogues)]
    drawn: Iterable[float | None] = (
        _macro_f1(table.shown[kept], table.found[kept], table.judged[kept])
        for _ in range(NUM_BOOTSTRAP)
        for kept in [np.concatenate([rows[k] for k in rng.integers(0, len(rows), len(rows))])]
    )
    values = [value for value in drawn if value is not None] if rows else []
    if len(values) < NUM_BOOTSTRAP / 2:
        return None, None
    return percentile_bounds(np.array(values))
