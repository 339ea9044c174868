"""The journal of a run: one line a finished stage, with the hashes of what it read and what it wrote."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advsim.errors import RunError
from advsim.run_folder.folder import RunDir
from advsim.run_folder.layout import JOURNAL


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCheck:
    """A stage as its journal line has it, held against the files as they are now.

    Attributes:
        stage: its key.
        problems: what is missing or has changed, a phrase each; empty where the stage stands.
        is_verified: whether the line has hashes; lines of older versions have none, and only missing files are seen.
    """

    stage: str
    problems: tuple[str, ...]
    is_verified: bool


class Journal:
    """What is finished. One line a completed stage: key, seconds, outputs and inputs with their SHA-256.

    A stage is done where its outputs are those that it wrote and its inputs those that it read. So what hangs on a file
    that was changed, lost or written anew is done again, and nothing else.
    """

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._done: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(run.read_lines(JOURNAL), start=1):
            if not _is_stage(line):
                raise RunError(
                    f"{JOURNAL} in run folder {run.location}: line {number} names no stage with its outputs; take the "
                    "line out, and the same run does that stage again"
                )
            self._done[line["stage"]] = line

    @property
    def stages(self) -> tuple[str, ...]:
        """Keys of the stages that were ever completed, in the order of their first lines."""
        return tuple(self._done)

    def check(self, stage: str) -> StageCheck | None:
        """Hold a stage against the files; None where it was never completed."""
        line = self._done.get(stage)
        if line is None:
            return None
        problems = [f"{name} is missing" for name in line["outputs"] if not self._run.exists(name)]
        for role, recorded in (("output", line.get("sha256", {})), ("input", line.get("inputs", {}))):
            for name, sha256 in recorded.items():
                if not self._run.exists(name):
                    problems.append(f"{role} {name} is missing")
                elif self._run.sha256(name) != sha256:
                    problems.append(f"{role} {name} is not what it was when the stage was done")
        return StageCheck(stage=stage, problems=tuple(dict.fromkeys(problems)), is_verified="sha256" in line)

    def is_done(self, stage: str) -> bool:
        """Whether the stage need not be done again."""
        checked = self.check(stage)
        return checked is not None and not checked.problems

    def seconds(self, stage: str) -> float | None:
        """How long the stage took when it was done."""
        line = self._done.get(stage)
        return None if line is None else float(line["seconds"])

    def complete(self, stage: str, *, outputs: Sequence[str], seconds: float, inputs: Sequence[str] = ()) -> None:
        """Record a stage as done, after all its outputs are written.

        Args:
            stage: its key.
            outputs: files and folders that it wrote.
            seconds: it took.
            inputs: files and folders of the run that it read.
        """
        line = {
            "stage": stage,
            "outputs": list(outputs),
            "seconds": round(seconds, 3),
            "at": utc_now(),
            "sha256": self._hashes(outputs),
            "inputs": self._hashes(inputs),
        }
        self._run.append_line(JOURNAL, line)
        self._done[stage] = line

    def _hashes(self, names: Sequence[str]) -> Mapping[str, str]:
        return {file: self._run.sha256(file) for name in names for file in self._run.files(name)}


def _is_stage(line: Mapping[str, Any]) -> bool:
    """Whether a line says what :meth:`Journal.complete` writes; older lines have no hashes."""
    outputs, hashes = line.get("outputs"), (line.get("sha256", {}), line.get("inputs", {}))
    return (
        isinstance(line.get("stage"), str)
        and isinstance(outputs, list)
        and all(isinstance(name, str) for name in outputs)
        and all(isinstance(names, dict) for names in hashes)
        and isinstance(line.get("seconds"), int | float)
    )


def utc_now() -> str:
    """Time in ISO 8601, UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
