"""Files of a sweep: what was said in a shard, and which of its items are done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from advsim.corpus.prefixes import Prefix
from advsim.records import Conversation, NextTurn, StopReason
from advsim.rollout.replay import ReplayedReply
from advsim.run_folder.folder import RunDir
from advsim.run_folder.tables import (
    from_table,
    read_whole_conversations,
    to_table,
    whole_conversations_table,
)
from advsim.sweep.planning.items import Cell, Design
from advsim.sweep.planning.study import SweepPlan
from advsim.sweep.replay import read_replies, replies_table

_DECIDED = "decided.json"

Said = Conversation | ReplayedReply
"""What an item gives: a conversation, or a reply."""


def write_shard(output: RunDir, cell: Cell, number: int, said: Sequence[Said]) -> None:
    """Write what is there of a shard, in the order of the ids.

    Raises:
        RunError: the folder cannot be written.
    """
    ordered = sorted(said, key=lambda each: each.id)
    if cell.design is Design.FREE:
        table = whole_conversations_table(cast(list[Conversation], ordered))
    else:
        table = replies_table(cast(list[ReplayedReply], ordered))
    output.write_table(cell.file(number), table)


def read_shard(output: RunDir, cell: Cell, number: int) -> list[Said]:
    """What was said in a shard; nothing where it is not there.

    Raises:
        RunError: the file is damaged.
    """
    name = cell.file(number)
    if not output.exists(name):
        return []
    table = output.read_table(name)
    with output.reading(name):
        if cell.design is Design.FREE:
            return list(read_whole_conversations(table))
        return list(read_replies(table))


def has_failed(said: Said) -> bool:
    """Whether nothing can be said of the chatbot, because the connection or an engine failed: it is asked again."""
    return bool(said.error) if isinstance(said, ReplayedReply) else said.stop_reason is StopReason.ERROR


def done_ids(output: RunDir, cell: Cell, number: int) -> set[str]:
    """Ids of a shard's items that are done; those that failed are not.

    Raises:
        RunError: the file is damaged.
    """
    name = cell.file(number)
    if not output.exists(name):
        return set()
    table = output.read_table(name)
    with output.reading(name):
        ids = table["id"].to_pylist()
        if cell.design is Design.FREE:
            failed = [reason == StopReason.ERROR.value for reason in table["stop_reason"].to_pylist()]
        else:
            failed = [bool(error) for error in table["error"].to_pylist()]
    return {name for name, is_failed in zip(ids, failed, strict=True) if not is_failed}


def all_said(study: SweepPlan, cell: Cell) -> Iterator[Said]:
    """What was said in a cell, a shard at a time."""
    for number in range(study.num_shards(cell.design)):
        yield from read_shard(study.output, cell, number)


def write_next_turns(output: RunDir, simulator: str, turns: Sequence[NextTurn]) -> None:
    """Write the user turns that a simulator wrote on real prefixes; faulty ones have no text."""
    output.write_table(_next_turns_file(simulator), to_table(turns, NextTurn))


def read_next_turns(output: RunDir, simulator: str) -> dict[Prefix, str]:
    """User turns of a simulator by prefix, faulty ones as an empty text; none where they are not written yet.

    Raises:
        RunError: the file is damaged.
    """
    name = _next_turns_file(simulator)
    if not output.exists(name):
        return {}
    table = output.read_table(name)
    with output.reading(name):
        turns: list[NextTurn] = from_table(table, NextTurn)
        return {(turn.dialogue_id, turn.turn): turn.text for turn in turns}


def write_decided(output: RunDir, decided: Mapping[str, Mapping[str, int]], *, made_with: str) -> None:
    """Write after how many shards chatbots were decided, by simulator and chatbot, and with which detector."""
    output.write_json(_DECIDED, {"made_with": made_with, "decided": decided})


def read_decided(output: RunDir, *, made_with: str | None = None) -> dict[str, dict[str, int]]:
    """What :func:`write_decided` wrote; nothing where it is not there, or was made with another detector.

    Args:
        output: folder of the sweep.
        made_with: the detector; None: whichever.

    Raises:
        RunError: the file is damaged.
    """
    if not output.exists(_DECIDED):
        return {}
    values = output.read_object(_DECIDED)
    with output.reading(_DECIDED):
        if made_with is not None and values["made_with"] != made_with:
            return {}
        return {
            simulator: {chatbot: int(num_shards) for chatbot, num_shards in of_simulator.items()}
            for simulator, of_simulator in values["decided"].items()
        }


def _next_turns_file(simulator: str) -> str:
    return f"{Design.PAIRED.value}/{simulator}/next_turns.parquet"
