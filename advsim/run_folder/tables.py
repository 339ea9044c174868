"""Records as parquet tables and back: one schema for each kind of record.

Conversations are two tables: one row a conversation, and one row a turn (``turns_table``).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from advsim.records import (
    Assessment,
    Candidate,
    Conversation,
    Effort,
    NextTurn,
    PreferencePair,
    ScoredTurn,
    Speaker,
    StopReason,
    Turn,
)

_TOKENS = pa.list_(pa.int32())

SCHEMAS: Mapping[type, pa.Schema] = MappingProxyType(
    {
        ScoredTurn: pa.schema(
            {
                "conversation_id": pa.string(),
                "turn": pa.int32(),
                "user_turn": pa.int32(),
                "p_real": pa.float64(),
                "reward": pa.float64(),
            }
        ),
        Candidate: pa.schema(
            {
                "conversation_id": pa.string(),
                "turn": pa.int32(),
                "index": pa.int32(),
                "text": pa.string(),
                "token_ids": _TOKENS,
                "finished": pa.bool_(),
                "simulator_version": pa.int32(),
                "p_real": pa.float64(),
                "reward": pa.float64(),
            }
        ),
        PreferencePair: pa.schema(
            {
                "conversation_id": pa.string(),
                "turn": pa.int32(),
                "prompt_ids": _TOKENS,
                "chosen_ids": _TOKENS,
                "rejected_ids": _TOKENS,
                "chosen": pa.string(),
                "rejected": pa.string(),
                "chosen_reward": pa.float64(),
                "rejected_reward": pa.float64(),
                "margin": pa.float64(),
                "simulator_version": pa.int32(),
            }
        ),
        NextTurn: pa.schema(
            {"dialogue_id": pa.string(), "turn": pa.int32(), "text": pa.string(), "finished": pa.bool_()}
        ),
    }
)

CONVERSATION_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "scenario_id": pa.string(),
        "chatbot": pa.string(),
        "simulator_version": pa.int32(),
        "simulator_sha256": pa.string(),
        "stop_reason": pa.string(),
        "num_prompt_tokens": pa.int64(),
        "num_output_tokens": pa.int64(),
        "num_regenerated": pa.int32(),
        "seed": pa.int64(),
        "error": pa.string(),
    }
)

TURN_SCHEMA = pa.schema(
    {
        "conversation_id": pa.string(),
        "turn": pa.int32(),
        "speaker": pa.string(),
        "text": pa.string(),
        "token_ids": _TOKENS,
        "thought": pa.string(),
        "is_cut": pa.bool_(),
        "seconds": pa.float64(),  # of a chatbot's reply, as the two below; null where nobody told them
        "num_prompt_tokens": pa.int64(),
        "num_output_tokens": pa.int64(),
        "simulator_version": pa.int32(),
        "simulator_sha256": pa.string(),
    }
)


_OF_A_CONVERSATION = ("conversation_id", "turn", "simulator_version", "simulator_sha256")
WHOLE_CONVERSATION_SCHEMA = CONVERSATION_SCHEMA.append(
    pa.field("turns", pa.list_(pa.struct([field for field in TURN_SCHEMA if field.name not in _OF_A_CONVERSATION])))
)


def to_table(records: Sequence[Any], kind: type) -> pa.Table:
    """Table of records of one kind (a key of ``SCHEMAS``)."""
    return pa.Table.from_pylist([_row(record) for record in records], schema=SCHEMAS[kind])


def from_table(table: pa.Table, kind: type) -> list[Any]:
    """Records of a table that :func:`to_table` wrote.

    Raises:
        TypeError, ValueError: a column is missing, or holds values of another type.
    """
    known = [column for column in SCHEMAS[kind] if column.name in table.column_names]
    typed = table.select([column.name for column in known]).cast(pa.schema(known))
    return [
        kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})
        for row in typed.to_pylist()
    ]


def conversations_table(conversations: Iterable[Conversation]) -> pa.Table:
    """One row a conversation, without its turns."""
    rows = [{name: _plain(getattr(c, name)) for name in CONVERSATION_SCHEMA.names} for c in conversations]
    return pa.Table.from_pylist(rows, schema=CONVERSATION_SCHEMA)


def turns_table(conversations: Iterable[Conversation]) -> pa.Table:
    """One row a turn, each stamped with the adapter that was speaking the user."""
    rows = [
        {
            "conversation_id": conversation.id,
            "turn": index,
            **_turn_row(turn),
            "simulator_version": conversation.simulator_version,
            "simulator_sha256": conversation.simulator_sha256,
        }
        for conversation in conversations
        for index, turn in enumerate(conversation.turns)
    ]
    return pa.Table.from_pylist(rows, schema=TURN_SCHEMA)


def whole_conversations_table(conversations: Iterable[Conversation]) -> pa.Table:
    """One row a conversation, with its turns as a list."""
    rows = [
        {
            **{name: _plain(getattr(c, name)) for name in CONVERSATION_SCHEMA.names},
            "turns": [_turn_row(turn) for turn in c.turns],
        }
        for c in conversations
    ]
    return pa.Table.from_pylist(rows, schema=WHOLE_CONVERSATION_SCHEMA)


def read_whole_conversations(table: pa.Table) -> list[Conversation]:
    """Conversations of a table that :func:`whole_conversations_table` wrote.

    Raises:
        KeyError, TypeError, ValueError: a column is missing or holds something else.
    """
    return [
        Conversation(
            **{
                **row,
                "stop_reason": StopReason(row["stop_reason"]),
                "turns": tuple(_turn_of(turn) for turn in row["turns"]),
            }
        )
        for row in table.to_pylist()
    ]


def read_conversations(conversations: pa.Table, turns: pa.Table) -> list[Conversation]:
    """Conversations from their two tables, in the order of the first.

    Raises:
        KeyError, TypeError, ValueError: a column is missing or holds something else, or the tables do not belong
            together.
    """
    by_id: dict[str, list[tuple[int, Turn]]] = defaultdict(list)
    for row in turns.to_pylist():
        by_id[row["conversation_id"]].append((row["turn"], _turn_of(row)))
    strange = set(by_id) - set(conversations["id"].to_pylist())
    if strange:
        raise ValueError(f"turns of a conversation {min(map(str, strange))!r:.60} that is in no row")
    return [
        Conversation(
            **{**row, "stop_reason": StopReason(row["stop_reason"])},
            turns=tuple(turn for _, turn in sorted(by_id[row["id"]], key=lambda item: item[0])),
        )
        for row in conversations.to_pylist()
    ]


def _turn_row(turn: Turn) -> dict[str, Any]:
    return {
        "speaker": turn.speaker.value,
        "text": turn.text,
        "token_ids": list(turn.token_ids),
        "thought": turn.thought,
        "is_cut": turn.is_cut,
        "seconds": turn.effort and turn.effort.seconds,
        "num_prompt_tokens": turn.effort and turn.effort.num_prompt_tokens,
        "num_output_tokens": turn.effort and turn.effort.num_output_tokens,
    }


def _turn_of(row: Mapping[str, Any]) -> Turn:
    return Turn(
        speaker=Speaker(row["speaker"]),
        text=row["text"],
        token_ids=tuple(row["token_ids"]),
        thought=row.get("thought") or "",  # tables of older runs lack this and what follows
        is_cut=bool(row.get("is_cut")),
        effort=_effort_of(row),
    )


def _effort_of(row: Mapping[str, Any]) -> Effort | None:
    if row.get("seconds") is None:
        return None
    return Effort(
        seconds=row["seconds"],
        num_prompt_tokens=row.get("num_prompt_tokens"),
        num_output_tokens=row.get("num_output_tokens"),
    )


def _row(record: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(record, field.name)) for field in dataclasses.fields(record)}


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value


LABEL_SCHEMA = pa.schema(
    {
        "group": pa.string(),
        "dialogue_id": pa.string(),
        "turn": pa.int32(),
        "mode": pa.string(),
        "severity": pa.int32(),
        "visibility": pa.string(),  # message; trajectory: only the dialogue so far shows it
        "confidence": pa.float64(),
        "span": pa.string(),
        "detector": pa.string(),
        "verdict": pa.string(),  # failure; abstained; error (the whole message, no mode)
    }
)


def failures_table(assessments: Mapping[str, Sequence[Assessment]]) -> pa.Table:
    """Every label, abstention and error of a detector, one a row.

    Args:
        assessments: by group of dialogues.
    """
    rows = [
        row for group, verdicts in assessments.items() for verdict in verdicts for row in _label_rows(group, verdict)
    ]
    return pa.Table.from_pylist(rows, schema=LABEL_SCHEMA)


def _label_rows(group: str, verdict: Assessment) -> list[dict[str, Any]]:
    base = {"group": group, "dialogue_id": verdict.conversation_id, "turn": verdict.turn, "detector": verdict.detector}
    if verdict.error:
        return [{**base, "verdict": "error", "span": verdict.error}]
    return [
        *(
            {
                **base,
                "verdict": "failure",
                "mode": label.mode,
                "severity": label.severity,
                "visibility": label.visibility.value,
                "confidence": label.confidence,
                "span": label.span,
            }
            for label in verdict.labels
        ),
        *({**base, "verdict": "abstained", "mode": mode} for mode in verdict.abstained),
    ]
