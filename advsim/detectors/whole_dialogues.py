"""Whole dialogues with a label on every chatbot message: to build detectors with, and to say what they are worth.

``labelled/whole_labels.jsonl`` has the labels of all dialogues, and ``labelled/whole_dialogues.jsonl`` the text of
those that may be shipped. ESConv's licence (CC BY-NC) forbids that: its dialogues are named by a hash of their text,
which comes from the user's own copy of the corpus.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from advsim.detectors.labelled import RowSection, Severity, TurnRow, check_severity, read_rows
from advsim.detectors.taxonomy import Taxonomy, load_taxonomy
from advsim.errors import CorpusError
from advsim.records import Dialogue, Split, Turn, chatbot_turns

WholePart = Literal["train", "build", "tune", "final", "fresh", "pairs"]
"""``train``, ``build``: to make rules and train; ``tune``: to choose between them; ``final``: to measure, looked at
seldom; ``fresh``: later dialogues that no rules, encoder or language model were made with; ``pairs``: short dialogues,
two or three that end on the same reply, which fails by what was said before in one and not in another; nothing was made
with them either. How much each member of ``combined`` counts is fitted on ``tune``, ``final`` and ``fresh``.

``train`` and ``pairs`` were read once only, ``fresh`` once and partly twice; the others twice, with a third look."""

Source = Literal["written", "simulated", "esconv"]

_FOLDER = Path(__file__).with_name("labelled")
LABELS = _FOLDER / "whole_labels.jsonl"
"""The labels that ship."""

_SPLITS = {
    "train": Split.TRAIN,
    "build": Split.TRAIN,
    "tune": Split.VALIDATION,
    "final": Split.TEST,
    "fresh": Split.TEST,
    "pairs": Split.TEST,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageLabel:
    """What is wrong with a chatbot message.

    Attributes:
        modes: ids of the failure modes that it shows; empty where it shows none.
        severity: that of its worst mode, 1 minor to 3 severe; None where it shows none.
        first: modes by the first pass of labelling alone.
        second: modes by the second pass, which did not see the first; None where there was none.
    """

    modes: frozenset[str]
    severity: int | None
    first: frozenset[str]
    second: frozenset[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledDialogue:
    """A dialogue with a label on every chatbot message; ``labels`` is by turn index."""

    dialogue: Dialogue
    part: WholePart
    source: Source
    labels: Mapping[int, MessageLabel]


class _Message(RowSection):
    turn: Annotated[int, Field(ge=0)]
    modes: list[str]
    severity: Severity | None
    first: list[str]
    second: list[str] | None = None


class LabelsRow(RowSection):
    """A line of ``whole_labels.jsonl``."""

    dialogue: str
    fingerprint: str
    source: Source
    part: WholePart
    messages: list[_Message]


class _Text(RowSection):
    id: str
    chatbot: str
    turns: list[TurnRow]


def fingerprint(turns: Sequence[Turn]) -> str:
    """Hash of who said what, whatever the white space: the same dialogue read from another copy has the same."""
    said = "\n".join(f"{turn.speaker} {' '.join(turn.text.split())}" for turn in turns)
    return hashlib.sha256(said.encode()).hexdigest()[:24]


def load_whole_dialogues(
    *parts: WholePart, copy: Sequence[Dialogue] = (), folder: Path = _FOLDER, taxonomy: Taxonomy | None = None
) -> list[LabelledDialogue]:
    """The labelled dialogues of these parts whose text is there.

    Args:
        parts: parts to read; none: all of them.
        copy: dialogues of the user's own copy of ESConv, found by their fingerprint; without it those are left out.
        folder: of the two files.
        taxonomy: modes that may be named; None is the taxonomy that ships.

    Raises:
        CorpusError: a file cannot be read or a line breaks the schema, names an unknown mode, or does not label every
            chatbot message of its dialogue.
    """
    known = (load_taxonomy() if taxonomy is None else taxonomy).ids
    texts = {
        text.id: Dialogue(
            id=text.id,
            source="written",
            split=Split.TEST,
            chatbot=text.chatbot,
            turns=tuple(each.turn for each in text.turns),
        )
        for _, text in read_rows(folder / "whole_dialogues.jsonl", _Text)
    }
    own = {fingerprint(dialogue.turns): dialogue for dialogue in copy}
    kept = []
    for _, row in read_rows(folder / "whole_labels.jsonl", LabelsRow):
        text = texts.get(row.dialogue) or own.get(row.fingerprint)
        if text is not None and row.part in (parts or _SPLITS):
            kept.append(_labelled(row, text, known))
    return kept


def _labelled(row: LabelsRow, text: Dialogue, known: Sequence[str]) -> LabelledDialogue:
    dialogue = Dialogue(
        id=row.dialogue,
        source=row.source,
        split=_SPLITS[row.part],
        chatbot=text.chatbot or row.source,
        turns=tuple(replace(turn, labels={}) for turn in text.turns),
    )
    where = f"labels of {row.dialogue}"
    spoken_turns = [turn for turn, _ in chatbot_turns(dialogue)]
    labelled_turns = [message.turn for message in row.messages]
    if labelled_turns != spoken_turns:
        raise CorpusError(f"{where}: got labels of turns {labelled_turns}, expected one of each of {spoken_turns}")
    if fingerprint(dialogue.turns) != row.fingerprint:
        raise CorpusError(f"{where}: the text is not the one that was labelled; take the text or the labels anew")
    for message in row.messages:
        named = {*message.modes, *message.first, *(message.second or ())}
        if named - set(known):
            raise CorpusError(f"{where}, turn {message.turn}: unknown modes {sorted(named - set(known))}")
        check_severity(message.severity, message.modes, where=f"{where}, turn {message.turn}")
    return LabelledDialogue(
        dialogue=dialogue,
        part=row.part,
        source=row.source,
        labels={
            message.turn: MessageLabel(
                modes=frozenset(message.modes),
                severity=message.severity,
                first=frozenset(message.first),
                second=None if message.second is None else frozenset(message.second),
            )
            for message in row.messages
        },
    )
