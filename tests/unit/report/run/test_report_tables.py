from __future__ import annotations

import io
from typing import Any

import made_up_run as made
import pytest
from rich.console import Console

from advsim.report.run.metrics import read_metrics
from advsim.report.run.tables import MAX_COLUMNS, round_tables


def shown(baseline: Any, rounds: Any, width: int = 200) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=False, legacy_windows=False)
    for part in round_tables(read_metrics(baseline=baseline, rounds=rounds)):
        console.print(part)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("num_rounds", [0, 1, 3, 8])
def test_table_fits_100_columns(num_rounds: int, baseline: Any) -> None:
    rounds = [
        made.make_round(10 + n, accuracy=0.9, surface=0.6, context=0.7, scale=0.9) for n in range(1, num_rounds + 1)
    ]
    # On a wider screen nothing is cut, so that the lines show the width that the tables want.
    assert max(map(len, shown(baseline, rounds))) <= MAX_COLUMNS
    assert not any("…" in line for line in shown(baseline, rounds, width=MAX_COLUMNS))


def test_every_round_has_its_column(baseline: Any) -> None:
    rounds = [made.make_round(n, accuracy=0.9, surface=0.6, context=0.7, scale=0.9) for n in range(1, 9)]
    text = "\n".join(shown(baseline, rounds))
    assert all(f"round {n}" in text for n in range(1, 9))


def test_interval_stands_under_its_figure(baseline: Any, rounds: Any) -> None:
    lines = shown(baseline, rounds)
    row = next(i for i, line in enumerate(lines) if "Held-out, surface" in line) + 1
    assert lines[row].split()[-1] == "0.54"
    assert lines[row + 1].split()[-1] == "0.49–0.59"


def test_missing_figures_are_dashes_and_empty_rows_are_left_out(baseline: Any, rounds: Any) -> None:
    rounds[0]["discriminator"] = None
    rounds[0]["preference"] = rounds[1]["preference"] = None
    lines = shown(baseline, rounds)
    accuracy = next(line for line in lines if line.strip().startswith("accuracy"))
    assert accuracy.split()[1:] == ["–", "–", "–", "–", "0.74"]
    assert not any("mean margin" in line for line in lines)


def test_nothing_measured_is_said() -> None:
    assert shown(None, []) == ["No figures yet."]
