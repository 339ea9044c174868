"""Which chatbots of a sweep need not be asked any more: the sign of their difference from the baseline is decided.

Decisions are kept in the sweep's folder: what was decided stays so, and is not asked for by a later start. They hold
for the detector that made them; with another one everything is open again.
"""

from __future__ import annotations

from collections.abc import Mapping

from advsim.detectors.protocol import Detector
from advsim.rates.sequential import anytime_difference
from advsim.runtime.progress import Reporter
from advsim.sweep.judge import bench_of, judge_all, read_judged
from advsim.sweep.measure import alpha_of
from advsim.sweep.planning.items import Cell, Design
from advsim.sweep.planning.simulators import Simulator
from advsim.sweep.planning.study import SweepPlan
from advsim.sweep.shards import read_decided, write_decided


class Deciding:
    """Judges what is there after each wave of shards, and looks; see :data:`advsim.sweep.work.Decide`.

    Args:
        study: the sweep.
        detector: of the modes that count.
        reporter: for progress.

    Raises:
        RunError: the folder cannot be read or written.
    """

    def __init__(self, study: SweepPlan, detector: Detector, reporter: Reporter) -> None:
        self._study = study
        self._detector = detector
        self._reporter = reporter
        self._made_with = bench_of(study, detector.modes).settings_sha256
        self._judged: set[tuple[Cell, int]] = set()
        self._done = read_decided(study.output, made_with=self._made_with)
        write_decided(study.output, self._done, made_with=self._made_with)

    def __call__(self, simulator: Simulator, num_shards: int) -> Mapping[str, int]:
        """Chatbots whose difference from the baseline is decided by so many shards of each, and after how many it was.

        There is no look once scenarios are used again: a second conversation of a person is no new person, and the
        intervals are about a growing number of people.
        """
        study, baseline = self._study, self._study.settings.baseline
        decided = self._done.setdefault(simulator.name, {})
        if num_shards * study.settings.shard_size > len(study.starts):
            return dict(decided)
        cells = {
            name: Cell(design=Design.FREE, simulator=simulator.name, chatbot=name)
            for name in study.names
            if name not in decided
        }
        shards = [(cell, number) for cell in cells.values() for number in range(num_shards)]
        judge_all(study, self._detector, self._reporter, only=[each for each in shards if each not in self._judged])
        self._judged.update(shards)
        rows = {name: read_judged(study, cell, num_shards=num_shards).rows for name, cell in cells.items()}
        for name in cells:
            if name == baseline:
                continue
            found = anytime_difference(rows[name], rows[baseline], alpha=alpha_of(study))
            if found.is_decided and found.difference is not None:
                decided[name] = num_shards
                way = "more" if found.difference > 0 else "less"
                self._reporter.message(
                    f"{simulator.name}: {name} fails {way} often than {baseline} "
                    f"({100 * found.difference:+.1f} points, {found.num_clusters} people); it is asked no more"
                )
        write_decided(study.output, self._done, made_with=self._made_with)
        return dict(decided)
