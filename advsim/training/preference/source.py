"""Where the preference pairs of a round come from: what the rounds ask of each way, and what each has at hand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from advsim.config import Config
from advsim.corpus.load import Corpus
from advsim.prompts.simulator import SimulatorPrompts
from advsim.records import AdapterRef, Candidate
from advsim.rollout.pool import RolloutPool
from advsim.run_folder.folder import RunDir
from advsim.runtime.progress import Reporter
from advsim.training.discriminator.pool import ScorerPool
from advsim.training.held_out import HeldOut
from advsim.training.preference.candidates import Drawn


@dataclass(frozen=True, kw_only=True)
class PairSource(ABC):
    """Trains the discriminator of a round and makes its pairs.

    Attributes:
        reads: files of the round that :meth:`train` and :meth:`pair` read besides what :meth:`train` wrote.
        also_reads: files elsewhere in the run that :meth:`train` reads besides the adapter.
        writes: files and folders of the round that :meth:`train` writes.
        pairs_write: those that :meth:`pair` writes, ``pairs.parquet`` among them.
        push: makes every engine hold an adapter, by version, and returns it.
    """

    reads: ClassVar[tuple[str, ...]]
    also_reads: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[tuple[str, ...]]
    pairs_write: ClassVar[tuple[str, ...]]

    config: Config
    run: RunDir
    corpus: Corpus
    prompts: SimulatorPrompts
    rollouts: RolloutPool
    scorers: ScorerPool
    held_out: HeldOut
    reporter: Reporter
    push: Callable[[int], AdapterRef]

    def drawn(self, groups: Iterable[list[Candidate]], name: str, *, num_turns: int) -> Drawn:
        """Candidates by turn as their groups come; a turn whose draws are all empty has none.

        Args:
            groups: of one turn each.
            name: in progress bars.
            num_turns: that were asked for.
        """
        drawn: Drawn = {}
        with self.reporter.stage(name, total=num_turns, unit="turn") as stage:
            for group in groups:
                if group:
                    drawn[group[0].conversation_id, group[0].turn] = group
                stage.advance()
        return drawn

    @abstractmethod
    def train(self, number: int, name: str) -> None:
        """Train the discriminator of round ``number``, called ``name`` in progress bars, and write what it says."""

    @abstractmethod
    def no_pairs_remedy(self, folder: str) -> str:
        """What else may be why there is no pair, and what to change; the middle of a sentence."""

    @abstractmethod
    def pair(self, number: int, name: str) -> None:
        """Write the preference pairs of round ``number``."""
