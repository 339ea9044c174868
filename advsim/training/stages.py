"""Runs stages: each once, and again where its files are not those that it wrote and read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from advsim.run_folder.folder import RunDir
from advsim.run_folder.journal import Journal
from advsim.run_folder.layout import round_folder
from advsim.run_folder.reader import Run
from advsim.runtime.progress import Reporter
from advsim.runtime.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The stages of one run, as its journal has them."""

    run: RunDir
    journal: Journal
    reporter: Reporter
    trace: Trace

    def do(self, key: str, work: Callable[[], None], *, outputs: Sequence[str], inputs: Sequence[str] = ()) -> None:
        """Do a stage, unless the journal has it and its files are those that it wrote and read.

        Args:
            key: of the stage.
            work: writes all of the outputs.
            outputs: files and folders of the run; they are taken away before the stage is done again.
            inputs: files and folders of the run that ``work`` reads.
        """
        recorded = self.journal.check(key)
        if recorded is not None:
            # A setting that was changed since may ask for more than the stage wrote.
            wanted = [f"{name} is missing" for name in outputs if not self.run.exists(name)]
            problems = list(dict.fromkeys([*recorded.problems, *wanted]))
            if not problems:
                return
            self.reporter.message(f"{key} is done again: {'; '.join(problems[:3])}")
        for name in (*outputs, *self._figures_behind(key)):
            self.run.remove(name)  # what came from it must not pass for the run's while it is done again
        started = time.monotonic()
        with self.trace.span(key):
            work()
        self.journal.complete(key, outputs=outputs, inputs=inputs, seconds=time.monotonic() - started)

    def in_round(
        self,
        number: int,
        name: str,
        work: Callable[[], None],
        *,
        reads: Sequence[str] = (),
        also_reads: Sequence[str] = (),
        writes: Sequence[str],
    ) -> None:
        """Do a stage of a round; see :meth:`do`.

        Args:
            number: of the round.
            name: of the stage.
            work: writes all of the outputs.
            reads: inputs in the folder of the round.
            also_reads: inputs elsewhere in the run folder.
            writes: outputs, in the folder of the round.
        """
        folder = round_folder(number)
        self.do(
            f"{folder}/{name}",
            work,
            inputs=[*(f"{folder}/{file}" for file in reads), *also_reads],
            outputs=[f"{folder}/{file}" for file in writes],
        )

    def _figures_behind(self, key: str) -> list[str]:
        """Metrics of the rounds that a stage leads to: they say that a round is finished."""
        first = int(key.split("/")[1]) if key.startswith("rounds/") else 1
        return [f"{round_folder(number)}/metrics.json" for number in range(first, len(Run(self.run).rounds) + 1)]
