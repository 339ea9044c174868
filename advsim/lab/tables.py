"""The lab's result for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from advsim.lab.coverage import Coverage, LabResult, RepetitionShare
from advsim.records import Dialogue, Speaker

_ONLY_WITH_EVERY_METHOD = ("method", "below / above", "width")


def lab_tables(result: LabResult, *, every_method: bool = False) -> list[Table]:
    """Tables of coverage and of simulators.

    Args:
        result: what the lab found.
        every_method: also the interval methods that reports do not print first.
    """
    return [_coverage_table(result, every_method=every_method), _simulator_table(result)]


def dialogue_text(dialogue: Dialogue) -> Text:
    """One dialogue in words, with what each turn shows or where it fails in brackets."""
    text = Text(f"An example ({dialogue.source}):\n", style="bold")
    for turn in dialogue.turns:
        marks = turn.labels.get("shows" if turn.speaker is Speaker.USER else "modes", ())
        text.append(f"  {turn.speaker.value:>7}: ", style="bold")
        text.append(turn.text)
        text.append(f"  [{', '.join(marks)}]\n" if marks else "\n", style="dim")
    return text


def _coverage_table(result: LabResult, *, every_method: bool) -> Table:
    table = Table(
        title=f"Estimates against the truth, {result.num_repetitions} repetitions",
        caption="bias and coverage with their Monte-Carlo error (± 1 standard error; 95 % interval). Goal: 93 to 97 %. "
        "r and concordance: over all chatbots one could have built; bias of the value without sampling noise",
    )
    names = ("estimate", "users", "method", "truth", "bias", "coverage", "below / above", "width", "n", "95 %")
    shown = [number for number, name in enumerate(names) if every_method or name not in _ONLY_WITH_EVERY_METHOD]
    for number in shown:
        table.add_column(names[number], justify="left" if number < 3 else "right")
    for row in result.coverages:
        if every_method or row.is_shipped:
            cells = _coverage_cells(row)
            table.add_row(*(cells[number] for number in shown))
    return table


def _coverage_cells(row: Coverage) -> list[str]:
    covered = "no interval"
    sides = width = ""
    if row.coverage is not None and row.coverage_low is not None and row.coverage_high is not None:
        covered = f"{100 * row.coverage:.1f} % [{100 * row.coverage_low:.1f}, {100 * row.coverage_high:.1f}]"
    if row.share_low is not None and row.share_high is not None and row.mean_width is not None:
        sides = f"{100 * row.share_low:.1f} / {100 * row.share_high:.1f} %"
        width = f"{row.mean_width:.3f}"
    return [
        row.quantity.value,
        row.simulator,
        row.method,
        f"{row.truth:.4f}",
        f"{row.bias:+.4f} ± {row.bias_error:.4f}",
        covered,
        sides,
        width,
        f"{row.num_intervals:,}" + (f" (+{row.num_without} without)" if row.num_without else ""),
        "" if row.standing is None else row.standing.value,
    ]


def _simulator_table(result: LabResult) -> Table:
    table = Table(
        title=f"Simulators, {result.num_repetitions} repetitions",
        caption="true r, concordance and bias; observed r less the real-vs-real ceiling; flagged: told from the "
        "population by its failure rates. The right one should not be, the others should. 'r supported' alone would "
        "not find them. A/B signs: pairs whose true rates differ by 5 points or more",
    )
    for name in (
        "simulator",
        "true r",
        "concordance",
        "bias",
        "r - ceiling",
        "flagged",
        "r supported",
        "A/B signs",
    ):
        table.add_column(name, justify="left" if name == "simulator" else "right")
    for simulator in result.simulators:
        gap = (
            f"{simulator.ceiling_gap:+.3f} ± {simulator.ceiling_gap_error:.3f}"
            if simulator.ceiling_gap is not None and simulator.ceiling_gap_error is not None
            else "undefined"
        )
        table.add_row(
            simulator.name + (" (population)" if simulator.is_right else ""),
            f"{simulator.true_pearson:.3f}",
            f"{simulator.true_concordance:.3f}",
            f"{100 * simulator.true_bias:+.1f} points",
            gap,
            _share(simulator.flagged),
            _share(simulator.supported, bounds=False),
            _share(simulator.right_signs, bounds=False),
        )
    return table


def _share(share: RepetitionShare | None, *, bounds: bool = True) -> str:
    if share is None:
        return "none"
    if not bounds:
        return f"{100 * share.value:.1f} %"
    return f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"
