"""A finished sweep as others read it: its figures, what they were made from, and the table under them.

The table has a row for each chatbot message of each side; a side is a simulator, the replies to real prefixes, or those
to the same prefixes with a simulator's last turn (``sft@paired``). It is written before the figures, which hold its
SHA-256: a reader never sees figures of one sweep and messages of another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from advsim.config.paths import check_storage
from advsim.detectors.build import DetectorStamp, detector_stamp
from advsim.errors import ConfigError
from advsim.rates.outcomes import MessageOutcome
from advsim.run_folder.folder import RunDir
from advsim.run_folder.results import plain_values, read_values, text_sha256
from advsim.run_folder.versions import installed_versions
from advsim.sweep.planning.study import SweepPlan

RESULT = "sweep.json"
OUTCOMES = "outcomes.parquet"
REPLAY = "replay"
"""The side of the replies to real prefixes."""
PAIRED = "@paired"
"""Behind a simulator's name: replies to real prefixes whose last turn that simulator wrote."""

Outcomes = dict[str, list[MessageOutcome]]
"""Messages of a side by chatbot."""

_MODES = pa.list_(pa.string())
_SCHEMA = pa.schema(
    {
        "side": pa.string(),
        "chatbot": pa.string(),
        "dialogue_id": pa.string(),
        "user_id": pa.string(),
        "turn": pa.int32(),
        "modes": _MODES,
        "abstained": _MODES,
        "not_known": _MODES,
        "error": pa.bool_(),
    }
)
_AGAIN = (
    "run the same 'advsim sweep' again: what was simulated and replayed is kept, only the detector judges once more"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeFrom:
    """What the figures of a sweep were made from.

    Attributes:
        run: name of the run; empty for a sweep without one.
        corpus_sha256: of the run's dialogues; empty for a sweep without a run.
        model_sha256: of the weights under the simulators; empty where the run does not say.
        adapters: SHA-256 of each simulator's adapter, fixed lines or mixture; empty for the base model.
        chatbots: SHA-256 of the settings of each chatbot.
        evaluate: settings of the detector.
        detector: what the detector was.
        versions: of Python and packages.
        outcomes_sha256: of the table of messages.
        scenarios_sha256: of the scenarios that were simulated; empty in sweeps of older versions.
    """

    run: str
    corpus_sha256: str
    model_sha256: str
    adapters: Mapping[str, str]
    chatbots: Mapping[str, str]
    evaluate: Mapping[str, Any]
    detector: DetectorStamp
    versions: Mapping[str, str]
    outcomes_sha256: str
    scenarios_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The keys of ``sweep.json`` that others than its tables read.

    ``sides`` is empty in those of older versions: they have all simulators and the replay. ``is_complete`` is False
    where a cap stopped it.
    """

    detector: str
    modes: tuple[str, ...]
    baseline: str
    seed: int
    max_user_turns: int
    num_conversations: int
    num_prefixes: int
    made_from: MadeFrom
    sides: tuple[str, ...] = ()
    is_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedSweep:
    """A sweep that has come to its end.

    Attributes:
        location: its folder.
        sha256: of ``sweep.json``.
        summary: what it says of the sweep.
        sides: messages by side and chatbot; simulators in the order of the run, then ``replay``.
    """

    location: str
    sha256: str
    summary: Summary
    sides: Mapping[str, Outcomes]

    def side(self, name: str | None) -> tuple[str, Outcomes]:
        """Name and messages of a side; of the last simulator for None.

        Raises:
            ConfigError: there is no such side.
        """
        simulators = [side for side in self.sides if side != REPLAY and not side.endswith(PAIRED)]
        chosen = name if name is not None else (simulators or [REPLAY])[-1]
        if chosen not in self.sides:
            raise ConfigError(f"--simulator {chosen}: {self.location} has {', '.join(self.sides)}; name one of these")
        return chosen, self.sides[chosen]


def outcomes_table(sides: Mapping[str, Outcomes]) -> pa.Table:
    """Messages of all sides, a row each."""
    rows = [
        {
            "side": side,
            "chatbot": chatbot,
            "dialogue_id": row.dialogue_id,
            "user_id": row.user_id,
            "turn": row.turn,
            "modes": sorted(row.modes),
            "abstained": sorted(row.abstained),
            "not_known": sorted(row.not_known),
            "error": row.error,
        }
        for side, by_chatbot in sides.items()
        for chatbot, messages in by_chatbot.items()
        for row in messages
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def write_outcomes(study: SweepPlan, sides: Mapping[str, Outcomes]) -> MadeFrom:
    """Write the messages of all sides; returns what the figures are made from, for :data:`RESULT`.

    Raises:
        RunError: the folder cannot be written.
    """
    tables = [
        outcomes_table({side: {chatbot: rows}})
        for side, by_chatbot in sides.items()
        for chatbot, rows in by_chatbot.items()
    ]
    study.output.write_table(OUTCOMES, pa.concat_tables(tables or [_SCHEMA.empty_table()]))
    run, corpus = study.run, study.corpus
    model = None if run is None else run.manifest.get("model")
    evaluate = study.settings.evaluate
    return MadeFrom(
        run="" if run is None else run.name,
        corpus_sha256="" if corpus is None else corpus.sha256,
        model_sha256=str(model.get("sha256", "")) if isinstance(model, dict) else "",
        adapters={simulator.name: simulator.sha256 for simulator in study.simulators},
        chatbots={chatbot.name: text_sha256(chatbot.model_dump(mode="json")) for chatbot in study.chatbots},
        evaluate=evaluate.model_dump(mode="json"),
        detector=detector_stamp(evaluate),
        versions=installed_versions(),
        outcomes_sha256=study.output.sha256(OUTCOMES),
        scenarios_sha256=text_sha256([plain_values(start) for start in study.starts]),
    )


def read_sweep(location: str) -> FinishedSweep:
    """Read a finished sweep.

    Args:
        location: its folder; for a sweep without ``output``, ``RUN/sweep``.

    Raises:
        ConfigError: it is no folder of a sweep, or one of an older version, which does not have the messages.
        RunError: its files are damaged, or do not belong together.
    """
    check_storage(location, key="SWEEP")
    folder = RunDir(location)
    if not folder.exists(RESULT):
        raise ConfigError(
            f"{location}: no {RESULT} there; give the folder of a finished sweep, for example runs/quickstart/sweep, "
            "which 'advsim sweep' names and writes"
        )
    values = folder.read_object(RESULT)
    if "made_from" not in values or not folder.exists(OUTCOMES):
        raise ConfigError(
            f"{location}: this sweep does not have the table of its messages ({OUTCOMES}), as those of older versions; "
            f"{_AGAIN}"
        )
    where = f"{RESULT} in {folder.location}"
    summary = read_values(Summary, values, where=where, remedy=_AGAIN)
    if summary.made_from.outcomes_sha256 != folder.sha256(OUTCOMES):
        raise ConfigError(f"{location}: {OUTCOMES} is not the table that {RESULT} was made from; {_AGAIN}")
    table = folder.read_table(OUTCOMES)
    names = list(summary.sides or [*summary.made_from.adapters, REPLAY])
    with folder.reading(OUTCOMES):
        sides = _sides(table, list(summary.made_from.chatbots), names)
    with folder.reading(RESULT):
        _check(summary, sides)
    return FinishedSweep(location=location, sha256=folder.sha256(RESULT), summary=summary, sides=sides)


def _check(summary: Summary, sides: Mapping[str, Outcomes]) -> None:
    if summary.seed < 0 or summary.max_user_turns < 1:
        raise ValueError(f"seed {summary.seed} or max_user_turns {summary.max_user_turns} is out of its range")
    if summary.baseline not in summary.made_from.chatbots:
        raise ValueError(f"baseline {summary.baseline!r:.60} is none of its chatbots")
    found = {mode for side in sides.values() for rows in side.values() for row in rows for mode in row.modes}
    if unknown := sorted(found - {*summary.modes}):
        raise ValueError(f"messages show {', '.join(unknown):.60}, which is none of its modes")


def outcome_rows(table: pa.Table) -> list[MessageOutcome]:
    """Messages of a table that :func:`outcomes_table` made, in its order.

    Raises:
        ValueError: a column is missing or of another type.
    """
    return [
        MessageOutcome(
            configuration=row["chatbot"],
            dialogue_id=row["dialogue_id"],
            user_id=row["user_id"],
            turn=row["turn"],
            modes=frozenset(row["modes"]),
            abstained=frozenset(row["abstained"]),
            not_known=frozenset(row["not_known"]),
            error=row["error"],
        )
        for row in table.cast(_SCHEMA).to_pylist()
    ]


def _sides(table: pa.Table, chatbots: Sequence[str], names: Sequence[str]) -> dict[str, Outcomes]:
    """Messages by side and chatbot; a chatbot without a message has an empty list."""
    found: dict[tuple[str, str], list[MessageOutcome]] = defaultdict(list)
    for side, row in zip(table["side"].to_pylist(), outcome_rows(table), strict=True):
        found[side, row.configuration].append(row)
    if strange := sorted(place for place in found if place[0] not in names or place[1] not in chatbots):
        raise ValueError(f"messages of {' with '.join(strange[0]):.100}, which {RESULT} does not name")
    return {side: {chatbot: found[side, chatbot] for chatbot in chatbots} for side in names}
