"""The figures of a run, read for its report: any may be missing or null, none may be of another kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from advsim.config import HeldOutConfig, StopConfig
from advsim.run_folder.results import read_values
from advsim.training.manifest import Manifest
from advsim.training.metrics import StopDecision
from advsim.training.run_metrics import Baseline, RoundMetrics

_REMEDY = "the file was not written by this version, run the stage again"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMetrics:
    """All figures of a run, rounds in order; ``no_signal``: why the round after them is not trained."""

    manifest: Manifest = field(default_factory=Manifest)
    baseline: Baseline = field(default_factory=Baseline)
    rounds: tuple[RoundMetrics, ...] = ()
    no_signal: StopDecision | None = None

    @property
    def chance_margin(self) -> float:
        """Distance from 0.5 within which the run's stop rule takes an accuracy for chance."""
        return self._setting("stop", "chance_margin", StopConfig().chance_margin)

    @property
    def min_control_auc(self) -> float:
        """AUC on its controls from which the run takes a held-out classifier for measurable."""
        return self._setting("held_out", "min_control_auc", HeldOutConfig().min_control_auc)

    def _setting(self, section: str, key: str, default: float) -> float:
        values = self.manifest.config.get(section)
        value = values.get(key) if isinstance(values, Mapping) else None
        return float(value) if isinstance(value, int | float) else default


def read_metrics(
    *,
    manifest: Mapping[str, object] | None = None,
    baseline: Mapping[str, object] | None,
    rounds: Sequence[Mapping[str, object]],
    no_signal: Mapping[str, object] | None = None,
) -> RunMetrics:
    """Read the parsed JSON of a run's manifest, baseline and rounds.

    Args:
        manifest: ``manifest.json``, or None.
        baseline: ``baseline.json``; None or empty while it is not measured.
        rounds: each ``rounds/NN/metrics.json``, in any order.
        no_signal: ``no_signal.json`` of the round after them; None or empty where there is none.

    Raises:
        RunError: a key holds something of another kind than the run writes; the message names it.
    """
    read = [
        read_values(
            RoundMetrics, _without_holes(metrics), where=f"metrics.json of round {metrics.get('round')}", remedy=_REMEDY
        )
        for metrics in rounds
    ]
    where = f"no_signal.json of round {len(rounds) + 1}"
    ended = no_signal and read_values(StopDecision, no_signal, where=where, remedy=_REMEDY)
    return RunMetrics(
        manifest=read_values(Manifest, manifest or {}, where="manifest.json", remedy=_REMEDY),
        baseline=read_values(Baseline, _without_holes(baseline or {}), where="baseline.json", remedy=_REMEDY),
        rounds=tuple(sorted(read, key=lambda metrics: metrics.round)),
        no_signal=ended or None,
    )


def _without_holes(values: object) -> object:
    """The same without keys that hold null or a figure that is not finite: they are as good as missing."""
    if isinstance(values, Mapping):
        return {key: _without_holes(value) for key, value in values.items() if not _is_hole(value)}
    return values


def _is_hole(value: object) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))
