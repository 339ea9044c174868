"""The detector's errors on labelled messages as rows and columns, rates without them in headings, and the terms."""

from __future__ import annotations

from advsim.detectors.accuracy import Proportion
from advsim.evaluation.results import Evaluation, Group
from advsim.rates.correction import CorrectedRate
from advsim.rates.rates import ANY
from advsim.report.chatbots.figures import CHATBOT_LEGEND
from advsim.report.evaluation.figures import LEGEND, mode_name
from advsim.report.page.figures import Cell, FigureTable, Row, RowGroup, percent, percent_interval

TERMS: tuple[tuple[str, str], ...] = (
    (
        "sensitivity, specificity",
        "share of the labelled messages that show a mode in which the detector finds it, and of those that do not show "
        "it in which it finds nothing; both n beside them, 95 % intervals by Wilson.",
    ),
    (
        "corrected rate",
        "(rate + specificity - 1) / (sensitivity + specificity - 1), after Rogan and Gladen; the interval, after Lang "
        "and Reiczigel, carries the uncertainty of rate, sensitivity and specificity. Near 0 and 100 % it has room for "
        "fewer errors than on the labels; there is none where the rate shows that those do not hold here.",
    ),
)


def legend(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """The terms of an evaluation's tables with their meanings."""
    return (
        *LEGEND,
        *(CHATBOT_LEGEND if evaluation.by_chatbot is not None else ()),
        *(TERMS if evaluation.calibration is not None else ()),
    )


def corrected_to_head(group: Group) -> CorrectedRate | None:
    """The corrected rate of any failure, where it can stand in a heading: 0 and 1 are cut ones and need a bound."""
    rate = group.failures.corrected.get(ANY) if group.failures is not None else None
    if rate is None or rate.estimate is None or (rate.estimate in (0, 1) and rate.low is None):
        return None
    return rate


def corrected_share(rate: CorrectedRate) -> str:
    """In per cent: "0 %" would be read as a finding of no failure, where it is one of too many false alarms."""
    if rate.estimate == 0 and rate.high is not None:
        return f"at most {percent(rate.high)} %"
    if rate.estimate == 1 and rate.low is not None:
        return f"at least {percent(rate.low)} %"
    return f"{percent(rate.estimate)} %"


def calibration_table(evaluation: Evaluation) -> FigureTable:
    """Sensitivity and specificity by kind of text and mode; no rows without a calibration."""
    calibration = evaluation.calibration
    groups = () if calibration is None else tuple(calibration.num_messages)
    return FigureTable(
        columns=("sensitivity, %", "of", "specificity, %", "of"),
        groups=tuple(
            RowGroup(
                title=f"Labelled messages: {text}",
                rows=tuple(
                    Row(
                        label=mode_name(evaluation, mode.counts.mode),
                        cells=(*_cells(mode.sensitivity), *_cells(mode.specificity)),
                    )
                    for mode in (calibration.modes if calibration is not None else ())
                    if mode.counts.text == text and (mode.sensitivity.num or mode.specificity.num)
                ),
            )
            for text in groups
        ),
    )


def _cells(share: Proportion) -> tuple[Cell, Cell]:
    return (
        Cell(value=percent(share.value), interval=percent_interval(share.low, share.high)),
        Cell(value=f"{share.num:,}"),
    )
