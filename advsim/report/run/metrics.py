"""The figures of a run, read for its report: any may be missing or null, none may be of another kind."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from advsim.config import HeldOutConfig, StopConfig
from advsim.run_folder.results import read_values
from advsim.training.manifest import Manifest
from advsim.training.metrics import DiscriminatorMetrics, StopDecision
from advsim.training.run_metrics import Baseline, RoundMetrics
from advsim.training.stop_rule import decide_on_signal

_REMEDY = "the file was not written by this version, run the stage again"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMetrics:
    """All figures of a run, rounds in order; ``begun``: the discriminator of a round after them that has no more."""

    manifest: Manifest = field(default_factory=Manifest)
    baseline: Baseline = field(default_factory=Baseline)
    rounds: tuple[RoundMetrics, ...] = ()
    begun: DiscriminatorMetrics | None = None

    @property
    def no_signal(self) -> StopDecision | None:
        """Why the round after the finished ones is not trained, where its discriminator finds nothing."""
        limit = self._setting("stop", "min_discriminator_auc", StopConfig().min_discriminator_auc)
        config = StopConfig(min_discriminator_auc=limit)
        return None if self.begun is None else decide_on_signal(len(self.rounds) + 1, self.begun, config)

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
    begun: Mapping[str, object] | None = None,
) -> RunMetrics:
    """Read the parsed JSON of a run's manifest, baseline and rounds.

    Args:
        manifest: ``manifest.json``, or None.
        baseline: ``baseline.json``; None or empty while it is not measured.
        rounds: each ``rounds/NN/metrics.json``, in any order.
        begun: ``discriminator.json`` of the round after them, or None.

    Raises:
        RunError: a key holds something of another kind than the run writes; the message names it.
    """
    read = [
        read_values(
            RoundMetrics, _without_holes(metrics), where=f"metrics.json of round {metrics.get('round')}", remedy=_REMEDY
        )
        for metrics in rounds
    ]
    where_begun = f"discriminator.json of round {len(rounds) + 1}"
    judged = begun and read_values(DiscriminatorMetrics, _without_holes(begun), where=where_begun, remedy=_REMEDY)
    return RunMetrics(
        manifest=read_values(Manifest, manifest or {}, where="manifest.json", remedy=_REMEDY),
        baseline=read_values(Baseline, _without_holes(baseline or {}), where="baseline.json", remedy=_REMEDY),
        rounds=tuple(sorted(read, key=lambda metrics: metrics.round)),
        begun=judged or None,
    )


def _without_holes(values: object) -> object:
    """The same without keys that hold null or a figure that is not finite: they are as good as missing."""
    if isinstance(values, Mapping):
        return {key: _without_holes(value) for key, value in values.items() if not _is_hole(value)}
    return values


def _is_hole(value: object) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))
