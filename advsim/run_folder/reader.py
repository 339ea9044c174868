"""A run, finished or not, for programs and notebooks: what :func:`advsim.load_run` returns."""

from __future__ import annotations

from typing import Any

from advsim.errors import ConfigError, RunError
from advsim.records import AdapterRef, Candidate, Conversation, PreferencePair, ScoredTurn
from advsim.run_folder.folder import MANIFEST, RunDir
from advsim.run_folder.tables import from_table, read_conversations


class Run:
    """Reads a run folder. Nothing is cached: a run that is still going on shows what it has so far."""

    def __init__(self, folder: RunDir) -> None:
        self.folder = folder

    @property
    def manifest(self) -> dict[str, Any]:
        """Config as resolved, versions, seed, hashes of corpus and model."""
        manifest: dict[str, Any] = self.folder.read_json(MANIFEST)
        return manifest

    @property
    def baseline(self) -> dict[str, Any]:
        """Figures of real, zero-shot and SFT turns on the held-out prefixes; empty while they are not measured."""
        baseline: dict[str, Any] = self.folder.read_json("baseline.json") if self.folder.exists("baseline.json") else {}
        return baseline

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """Content of ``metrics.json`` of each finished round, in order."""
        finished: list[dict[str, Any]] = []
        while self.folder.exists(f"rounds/{len(finished) + 1:02d}/metrics.json"):
            finished.append(self.folder.read_json(f"rounds/{len(finished) + 1:02d}/metrics.json"))
        return finished

    def conversations(self, round_number: int) -> list[Conversation]:
        """Simulated conversations of a round.

        Raises:
            RunError: the round has no rollout.
        """
        folder = self._round(round_number)
        return read_conversations(
            self.folder.read_table(f"{folder}/conversations.parquet"), self.folder.read_table(f"{folder}/turns.parquet")
        )

    def scores(self, round_number: int) -> list[ScoredTurn]:
        """User turns of a round with the discriminator's probability and the reward."""
        return from_table(self.folder.read_table(f"{self._round(round_number)}/scores.parquet"), ScoredTurn)

    def candidates(self, round_number: int) -> list[Candidate]:
        """Alternatives that were drawn for the least real turns of a round."""
        return from_table(self.folder.read_table(f"{self._round(round_number)}/candidates.parquet"), Candidate)

    def pairs(self, round_number: int) -> list[PreferencePair]:
        """Preference pairs of a round."""
        return from_table(self.folder.read_table(f"{self._round(round_number)}/pairs.parquet"), PreferencePair)

    def adapter(self, version: int | None = None) -> AdapterRef:
        """Adapter of a version (0: SFT, r: round r); None for the newest.

        Raises:
            RunError: there is no such adapter.
        """
        if version is None:
            version = len(self.rounds)
        name = "sft/metrics.json" if version == 0 else f"rounds/{version:02d}/dpo.json"
        if not self.folder.exists(name):
            raise RunError(f"run {self.folder.location} has no adapter version {version}; finish the training first")
        path = "sft/adapter" if version == 0 else f"rounds/{version:02d}/adapter"
        return AdapterRef(version=version, path=path, sha256=self.folder.read_json(name)["adapter_sha256"])

    def _round(self, number: int) -> str:
        folder = f"rounds/{number:02d}"
        if not self.folder.exists(folder):
            raise RunError(
                f"run {self.folder.location} has no round {number}; it has {len(self.rounds)} finished rounds"
            )
        return folder


def load_run(location: str) -> Run:
    """Open a run folder for reading.

    Raises:
        ConfigError: it is no run folder.
    """
    folder = RunDir(location)
    if not folder.exists(MANIFEST):
        raise ConfigError(f"{location}: no {MANIFEST} there; give the folder of a run, for example runs/quickstart")
    return Run(folder)
