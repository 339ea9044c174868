"""Labelled chatbot messages: read from JSON Lines, to build detectors with and to test them.

The messages are written, not observed; ``labelled/README.md`` says how. ``build`` is for making rules and training, and
``held_out`` for measuring what was made: look at it for nothing else.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from advsim.config.paths import read_file
from advsim.detectors.taxonomy import Taxonomy, load_taxonomy
from advsim.errors import ConfigError, CorpusError
from advsim.prompts.thoughts import separate_thoughts
from advsim.records import Dialogue, Speaker, Split, Turn

Part = Literal["build", "held_out"]
TextKind = Literal["real", "simulated", "written"]
"""Who wrote the user turns: people, a simulator, or somebody who composed them for calibration."""

_FOLDER = Path(__file__).with_name("labelled")
_SPLITS: dict[Part, Split] = {"build": Split.TRAIN, "held_out": Split.TEST}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledMessage:
    """A chatbot message in its context, with what is wrong with it.

    Attributes:
        id: unique over both parts.
        part: ``build`` or ``held_out``.
        context: the turns before the message, oldest first; the last one is the user's.
        message: the chatbot's message that the labels speak of, without what it thought before. Earlier chatbot turns
            are not labelled.
        modes: ids of the failure modes it shows; empty where it shows none.
        severity: that of its worst mode, 1 minor to 3 severe; None where it shows none.
        note: the writer's reason; for a message without failure often the mode it comes near to.
        text: kind of text that the dialogue is; None where the file does not say.
    """

    id: str
    part: Part
    context: tuple[Turn, ...]
    message: str
    modes: frozenset[str]
    severity: int | None
    note: str
    text: TextKind | None = None

    @property
    def dialogue(self) -> Dialogue:
        """Context and message as a dialogue with this id; the message is the last turn."""
        message = Turn(speaker=Speaker.CHATBOT, text=self.message)
        return Dialogue(id=self.id, source="labelled", split=_SPLITS[self.part], turns=(*self.context, message))


_Text = Annotated[str, StringConstraints(min_length=1, pattern=r"\S")]


Severity = Annotated[int, Field(ge=1, le=3)]
"""1 minor to 3 severe."""


class RowSection(BaseModel):
    """Base of what is read from lines of labelled files: no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


RowT = TypeVar("RowT", bound=RowSection)


class TurnRow(RowSection):
    """A turn as a line has it."""

    speaker: Speaker
    text: _Text

    @property
    def turn(self) -> Turn:
        """The turn, a chatbot's thoughts apart from what it says."""
        if self.speaker is Speaker.USER:
            return Turn(speaker=self.speaker, text=self.text)
        separated = separate_thoughts(self.text)
        return Turn(speaker=self.speaker, text=separated.text, thought=separated.thought)


class _Row(RowSection):
    id: _Text
    context: Annotated[list[TurnRow], Field(min_length=1)]
    message: _Text
    modes: list[str]
    severity: Severity | None
    note: str = ""
    text: TextKind | None = None


def load_labelled(part: Part, path: Path | None = None, *, taxonomy: Taxonomy | None = None) -> list[LabelledMessage]:
    """The labelled messages of one part, in the order of the file.

    Args:
        part: ``build`` or ``held_out``.
        path: a file of one's own, JSON Lines of ``id, context, message, modes, severity``, and where known
            ``note`` and ``text`` (real, simulated or written); None is the one that ships, which is ``written``.
        taxonomy: the modes that may be named; None is the taxonomy that ships.

    Raises:
        CorpusError: the file cannot be read, a line breaks the schema, names an unknown mode or an id for the second
            time. The message names file, line and key.
    """
    known = load_taxonomy() if taxonomy is None else taxonomy
    text: TextKind | None = "written" if path is None else None
    path = _FOLDER / f"{part}.jsonl" if path is None else path
    by_id: dict[str, LabelledMessage] = {}
    for where, row in read_rows(path, _Row):
        labelled = _labelled(row, part, known, text, where=where)
        if labelled.id in by_id:
            raise CorpusError(f"{where}: id {labelled.id!r} stands there already; give it its own")
        by_id[labelled.id] = labelled
    return list(by_id.values())


_MAX_BYTES = 512 * 2**20
"""Of a file of labels."""


def read_rows(path: Path, kind: type[RowT]) -> Iterator[tuple[str, RowT]]:
    """Where each line of a JSON Lines file stands, for errors about it, and the line as ``kind``.

    Raises:
        CorpusError: the file cannot be read, or a line breaks the schema; names file, line and key.
    """
    try:
        lines = read_file(path, max_bytes=_MAX_BYTES, where=str(path)).decode().split("\n")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    except ConfigError as error:
        raise CorpusError(str(error)) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = kind.model_validate(json.loads(line))
        except (RecursionError, json.JSONDecodeError) as error:
            raise CorpusError(f"{where}: not valid JSON: {error}") from None
        except ValidationError as error:
            details = (
                f"{'.'.join(map(str, it['loc'])) or '(whole line)'}: {it['msg'].split(' or instance of ')[0]}"
                for it in error.errors()
            )
            raise CorpusError(f"{where}: {'; '.join(details)}") from None
        yield where, row


def check_severity(severity: int | None, modes: Collection[str], *, where: str) -> None:
    """Refuse a severity without a mode, and modes without one.

    Raises:
        CorpusError: as above; ``where`` begins it.
    """
    if (severity is None) != (not modes):
        raise CorpusError(
            f"{where}: got severity {severity} with modes {modes}; "
            "expected 1, 2 or 3 where there is a mode, and null where there is none"
        )


def _labelled(row: _Row, part: Part, taxonomy: Taxonomy, text: TextKind | None, *, where: str) -> LabelledMessage:
    for mode in row.modes:
        try:
            taxonomy.mode(mode)
        except ConfigError as error:
            raise CorpusError(f"{where}: modes: {error}") from None
    check_severity(row.severity, row.modes, where=where)
    speakers = [turn.speaker for turn in row.context]
    if speakers[-1] is not Speaker.USER or any(a is b for a, b in itertools.pairwise(speakers)):
        raise CorpusError(f"{where}: context: got {', '.join(speakers)}; expected alternating speakers, the user last")
    message = separate_thoughts(row.message).text
    if not message:
        raise CorpusError(f"{where}: message: got a thought and no message to the user; take the line out")
    return LabelledMessage(
        id=row.id,
        part=part,
        context=tuple(each.turn for each in row.context),
        message=message,
        modes=frozenset(row.modes),
        severity=row.severity,
        note=row.note,
        text=row.text or text,
    )
