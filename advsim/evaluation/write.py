"""Write an evaluation: figures as JSON, every label as a row of a table, and the page."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from advsim.evaluation.measure import Measured
from advsim.records import Assessment
from advsim.report.evaluation.page import render_evaluation
from advsim.run_folder.folder import RunDir

LABEL_SCHEMA = pa.schema(
    {
        "group": pa.string(),
        "dialogue_id": pa.string(),
        "turn": pa.int32(),
        "mode": pa.string(),
        "severity": pa.int32(),
        "visibility": pa.string(),  # message; trajectory: only the dialogue so far shows it
        "confidence": pa.float64(),
        "span": pa.string(),
        "detector": pa.string(),
        "verdict": pa.string(),  # failure; abstained; error (the whole message, no mode)
    }
)


def write(folder: RunDir, evaluation: Measured, *, prefix: str, report: str) -> None:
    """Write ``metrics.json`` and ``failures.parquet`` under ``prefix``, and the page as ``report``."""
    metrics = evaluation.result.to_json()
    rows = [row for name, found in evaluation.assessments.items() for one in found for row in _label_rows(name, one)]
    folder.write_table(f"{prefix}failures.parquet", pa.Table.from_pylist(rows, schema=LABEL_SCHEMA))
    folder.write_bytes(report, render_evaluation(metrics).encode())
    folder.write_json(f"{prefix}metrics.json", metrics)


def _label_rows(group: str, one: Assessment) -> list[dict[str, Any]]:
    base = {"group": group, "dialogue_id": one.conversation_id, "turn": one.turn, "detector": one.detector}
    if one.error:
        return [{**base, "verdict": "error", "span": one.error}]
    return [
        *(
            {
                **base,
                "verdict": "failure",
                "mode": label.mode,
                "severity": label.severity,
                "visibility": label.visibility.value,
                "confidence": label.confidence,
                "span": label.span,
            }
            for label in one.labels
        ),
        *({**base, "verdict": "abstained", "mode": mode} for mode in one.abstained),
    ]
