"""Which chatbots of a sweep need not be asked any more: the sign of their difference from the baseline is decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from advsim.detectors.protocol import Detector
from advsim.rates.sequential import anytime_difference
from advsim.runtime.progress import Reporter
from advsim.sweep.judge import judge_all, read_judged
from advsim.sweep.measure import alpha_of
from advsim.sweep.planning.items import Cell, Design
from advsim.sweep.planning.simulators import Simulator
from advsim.sweep.planning.study import SweepPlan


@dataclass(slots=True, kw_only=True)
class Deciding:
    """Judges what is there after each wave of shards, and looks; see :class:`advsim.sweep.work.Decide`.

    Attributes:
        study: the sweep.
        detector: of the modes that count.
        reporter: for progress.
        done: chatbots that are decided, by simulator.
    """

    study: SweepPlan
    detector: Detector
    reporter: Reporter
    done: dict[str, dict[str, int]] = field(default_factory=dict)

    def __call__(self, simulator: Simulator, num_shards: int) -> Sequence[str]:
        """Chatbots whose difference from the baseline is decided after so many shards of each."""
        study, baseline = self.study, self.study.settings.baseline
        decided = self.done.setdefault(simulator.name, {})
        cells = {
            name: Cell(design=Design.FREE, simulator=simulator.name, chatbot=name)
            for name in study.names
            if name not in decided
        }
        judge_all(
            study,
            self.detector,
            self.reporter,
            only=[(cell, number) for cell in cells.values() for number in range(num_shards)],
        )
        rows = {name: read_judged(study, cell).rows for name, cell in cells.items()}
        for name in cells:
            if name == baseline:
                continue
            found = anytime_difference(rows[name], rows[baseline], alpha=alpha_of(study))
            if found.is_decided and found.difference is not None:
                decided[name] = num_shards
                way = "more" if found.difference > 0 else "less"
                self.reporter.message(
                    f"{simulator.name}: {name} fails {way} often than {baseline} "
                    f"({100 * found.difference:+.1f} points, {found.num_clusters} people); it is asked no more"
                )
        return list(decided)
