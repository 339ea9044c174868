"""A run, finished or not, for programs and notebooks: what :func:`advsim.load_run` returns."""

from __future__ import annotations

from typing import Any

from advsim.config.paths import check_storage
from advsim.errors import ConfigError, RunError
from advsim.records import AdapterRef, Candidate, Conversation, NextTurn, PreferencePair, ScoredTurn
from advsim.run_folder.folder import RunDir
from advsim.run_folder.layout import (
    BASELINE,
    MANIFEST,
    PROBE_FILE,
    adapter_folder,
    adapter_metrics,
    discriminator_folder,
    held_out_turns,
    no_signal,
    round_folder,
)
from advsim.run_folder.tables import from_table, read_conversations


class Run:
    """Reads a run folder. Nothing is cached: a run that is still going on shows what it has so far."""

    def __init__(self, folder: RunDir) -> None:
        self.folder = folder

    @property
    def manifest(self) -> dict[str, Any]:
        """Config as resolved, versions, seed, hashes of corpus and model."""
        return self.folder.read_object(MANIFEST)

    @property
    def name(self) -> str:
        """Name of the run."""
        return str(self.manifest.get("name", "run"))

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as the run wrote it.

        Raises:
            RunError: the manifest has none.
        """
        return self._section("config")

    @property
    def corpus_sha256(self) -> str:
        """Hash of the dialogues that the run was made on.

        Raises:
            RunError: the manifest does not say it.
        """
        sha256 = self._section("corpus").get("sha256")
        if not isinstance(sha256, str):
            raise RunError(f"{MANIFEST} in run folder {self.folder.location} has no corpus.sha256; restore the file")
        return sha256

    @property
    def baseline(self) -> dict[str, Any]:
        """Figures of real, zero-shot and SFT turns on the held-out prefixes; empty while they are not measured."""
        return self.folder.read_object(BASELINE) if self.folder.exists(BASELINE) else {}

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """Content of ``metrics.json`` of each finished round, in order."""
        finished: list[dict[str, Any]] = []
        while self.folder.exists(name := f"{round_folder(len(finished) + 1)}/metrics.json"):
            metrics = self.folder.read_object(name)
            if type(metrics.get("round")) is not int or metrics["round"] != len(finished) + 1:
                raise RunError(
                    f"{name} in run folder {self.folder.location}: round is {metrics.get('round')!r:.40}, expected "
                    f"{len(finished) + 1}; restore the file, or run 'advsim train' again, which writes it anew"
                )
            finished.append(metrics)
        return finished

    @property
    def no_signal(self) -> dict[str, Any]:
        """Why the round after the finished ones is not trained; empty where it is, or has not come so far."""
        name = no_signal(len(self.rounds) + 1)
        return self.folder.read_object(name) if self.folder.exists(name) else {}

    @property
    def num_rollouts(self) -> int:
        """Rounds that have conversations, finished or not."""
        num = 0
        while self.folder.exists(f"{round_folder(num + 1)}/conversations.parquet"):
            num += 1
        return num

    def conversations(self, round_number: int) -> list[Conversation]:
        """Simulated conversations of a round.

        Raises:
            RunError: the round has no rollout.
        """
        folder = self._round(round_number)
        spoken, turns = (self.folder.read_table(f"{folder}/{name}.parquet") for name in ("conversations", "turns"))
        with self.folder.reading(f"{folder}/conversations.parquet or turns.parquet"):
            return read_conversations(spoken, turns)

    def scores(self, round_number: int) -> list[ScoredTurn]:
        """User turns of a round's conversations with the discriminator's probability and the reward.

        Raises:
            RunError: there are none, as in rounds on prefixes, which judge draws (:meth:`candidates`).
        """
        return self._records(f"{self._round(round_number)}/scores.parquet", ScoredTurn)

    def candidates(self, round_number: int) -> list[Candidate]:
        """Alternatives that were drawn: for the least real turns of a round, or on real prefixes."""
        return self._records(f"{self._round(round_number)}/candidates.parquet", Candidate)

    def pairs(self, round_number: int) -> list[PreferencePair]:
        """Preference pairs of a round."""
        return self._records(f"{self._round(round_number)}/pairs.parquet", PreferencePair)

    def adapter(self, version: int | None = None) -> AdapterRef:
        """Adapter of a version (0: SFT, r: round r); None for the newest.

        Raises:
            RunError: there is no such adapter.
        """
        if version is None:
            version = len(self.rounds)
        sha256 = self._adapter_metrics(version)["adapter_sha256"]
        return AdapterRef(version=version, path=adapter_folder(version), sha256=sha256)

    def canary_logprobs(self, version: int) -> tuple[float, ...]:
        """What the learner's final weights of an adapter say of the canary, in nats a token.

        Raises:
            RunError: there is no such adapter.
        """
        return tuple(self._adapter_metrics(version)["canary_logprobs"])

    def probe(self, number: int) -> dict[str, bytes]:
        """Files of the probe that a round trained.

        Raises:
            RunError: it trained none.
        """
        return dict(self.folder.read_files(discriminator_folder(number)))

    def probe_auc_low(self, number: int) -> float | None:
        """Lower bound of the AUC of a round's probe on dialogues never seen; None where there are too few users."""
        low = self.folder.read_object(f"{round_folder(number)}/discriminator.json").get("auc_low")
        return float(low) if isinstance(low, int | float) else None

    def probe_round(self, version: int) -> int:
        """The round whose probe knows draws of an adapter best: the one that drew from it, else the one that made it.

        Raises:
            RunError: neither trained one, as ``discriminator.on: conversations`` does not.
        """
        for number in (version + 1, version):
            if number > 0 and self.folder.exists(f"{discriminator_folder(number)}/{PROBE_FILE}"):
                return number
        raise RunError(
            f"run {self.folder.location} has no probe that knows draws of adapter version {version}; train a round "
            "with discriminator.on: prefixes"
        )

    def held_out_turns(self, version: int, *, temperature: float | None = None) -> list[NextTurn]:
        """Next turns on real held-out prefixes by an adapter, -1 for the base model; empty while there are none.

        ``temperature`` is one of ``held_out.temperatures``, None that of ``held_out.sampling``.
        """
        name = held_out_turns(version, temperature=temperature)
        return self._records(name, NextTurn) if self.folder.exists(name) else []

    def _records(self, name: str, kind: type) -> list[Any]:
        table = self.folder.read_table(name)
        with self.folder.reading(name):
            return from_table(table, kind)

    def _section(self, key: str) -> dict[str, Any]:
        section = self.manifest.get(key)
        if not isinstance(section, dict):
            raise RunError(
                f"{MANIFEST} in run folder {self.folder.location}: {key} is {section!r:.40}, expected a section; "
                "restore the file"
            )
        return section

    def _adapter_metrics(self, version: int) -> dict[str, Any]:
        name = adapter_metrics(version)
        if not self.folder.exists(name):
            raise RunError(f"run {self.folder.location} has no adapter version {version}; finish the training first")
        return self.folder.read_object(name)

    def _round(self, number: int) -> str:
        folder = round_folder(number)
        if not self.folder.exists(folder):
            raise RunError(
                f"run {self.folder.location} has no round {number}; it has {len(self.rounds)} finished rounds"
            )
        return folder


def load_run(location: str) -> Run:
    """Open a run folder for reading.

    Raises:
        ConfigError: it is no run folder, or no address of one.
    """
    if "://" in location:  # a folder of this machine is opened whatever its name
        check_storage(location, key="RUN")
    folder = RunDir(location)
    if not folder.exists(MANIFEST):
        raise ConfigError(f"{location}: no {MANIFEST} there; give the folder of a run, for example runs/quickstart")
    return Run(folder)
