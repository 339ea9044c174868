"""Transcripts of a sweep: some conversations of each cell, failing ones first, read shard by shard.

    judged/free/sft/terse/00003.parquet ──which failed──> choose ──> free/sft/terse/00003.parquet ──> shown

No more than one shard is held at a time, and of the text no more than what is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from advsim.records import Conversation, Dialogue, Speaker, Turn
from advsim.report.page.figures import words
from advsim.report.run.transcripts import STOP_NAMES
from advsim.report.sweep.figures import SweepFigures
from advsim.rollout.replay import ReplayedReply
from advsim.run_folder.folder import RunDir
from advsim.sweep.judge import AT_FAULT, judged_file
from advsim.sweep.outcomes import outcome_rows
from advsim.sweep.planning.items import Cell, Design
from advsim.sweep.shards import Said, read_next_turns, read_shard

MAX_SHOWN = 50
"""Conversations of a cell."""
MAX_CHARACTERS = 4_000
"""Of a turn or a thought."""
MAX_CELL_CHARACTERS = 2_000_000
"""Of all that is shown of a cell: a page that a browser still opens."""
MAX_TURNS_BEFORE = 4
"""Turns of a real prefix that stand before a reply."""


_Place = tuple[int, str]  # number of a shard, and what an item is known by in it


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidTurn:
    """A turn as the page shows it.

    Attributes:
        speaker: who, in words; says where a turn is real.
        is_user: whose side.
        text: what was said.
        thought: what a reasoning chatbot wrote before.
        marks: modes found in it, or why it is in no rate.
        has_failed: whether a mode was found in it.
    """

    speaker: str
    is_user: bool
    text: str
    thought: str = ""
    marks: tuple[str, ...] = ()
    has_failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidDialogue:
    """A conversation, or a reply with what it answers; ``ending`` is why it ended, and whose fault something was."""

    id: str
    about: str
    turns: tuple[SaidTurn, ...]
    ending: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTranscripts:
    """What is shown of a cell.

    Attributes:
        cell: which.
        num: conversations or replies that are there.
        num_failing: of these, those with a failing message.
        shown: at most ``MAX_SHOWN``, failing ones first.
    """

    cell: Cell
    num: int
    num_failing: int
    shown: tuple[SaidDialogue, ...]


@dataclass(slots=True, kw_only=True)
class _Shard:
    """What was found in a shard: modes by message, messages without a verdict, conversations at fault."""

    modes: dict[tuple[str, int], tuple[str, ...]] = field(default_factory=dict)
    not_judged: set[tuple[str, int]] = field(default_factory=set)
    at_fault: set[str] = field(default_factory=set)

    @property
    def failing(self) -> set[str]:
        """Items with a failing message."""
        return {item for item, _ in self.modes}


def cells_of(figures: SweepFigures, folder: RunDir) -> list[Cell]:
    """Cells of the sweep's designs that have a shard: conversations by simulator, then replies, then paired ones."""
    chatbots = [service.chatbot for service in figures.chatbots]
    simulators = list(figures.made_from.adapters)
    cells = [Cell(design=Design.FREE, simulator=name, chatbot=chatbot) for name in simulators for chatbot in chatbots]
    cells += [Cell(design=Design.REPLAY, simulator="", chatbot=chatbot) for chatbot in chatbots]
    cells += [
        Cell(design=Design.PAIRED, simulator=name, chatbot=chatbot) for name in simulators for chatbot in chatbots
    ]
    asked_for = figures.designs or tuple(Design)
    return [cell for cell in cells if cell.design in asked_for and next(_numbers(folder, cell), None) is not None]


def cell_transcripts(
    figures: SweepFigures, folder: RunDir, cell: Cell, dialogues: Mapping[str, Dialogue]
) -> CellTranscripts:
    """Choose and read what is shown of a cell.

    Args:
        figures: of the sweep.
        folder: of the sweep.
        cell: one of :func:`cells_of`.
        dialogues: real ones by id, where they are known, to stand before replies.

    Raises:
        RunError: a file is damaged.
    """
    num = num_failing = 0
    failing: list[_Place] = []
    others: list[_Place] = []
    for number in _numbers(folder, cell):
        ids = _ids(folder, cell, number)
        found = _found(folder, cell, number).failing
        num += len(ids)
        num_failing += sum(item in found for item in ids)
        for item in ids:
            kept = failing if item in found else others
            if len(kept) < MAX_SHOWN:
                kept.append((number, item))
    chosen = [*failing, *others][:MAX_SHOWN]
    said = dict(_read(figures, folder, cell, chosen, dialogues))
    shown: list[SaidDialogue] = []
    num_characters = 0
    for place in chosen:
        num_characters += sum(len(turn.text) + len(turn.thought) for turn in said[place].turns)
        if shown and num_characters > MAX_CELL_CHARACTERS:
            break
        shown.append(said[place])
    return CellTranscripts(cell=cell, num=num, num_failing=num_failing, shown=tuple(shown))


def _numbers(folder: RunDir, cell: Cell) -> Iterator[int]:
    """Numbers of the shards that are there; a cap can leave a hole between them."""
    for name in folder.files(cell.folder):
        stem = name.rpartition("/")[2].removesuffix(".parquet")
        if stem.isdecimal() and name == cell.file(int(stem)):
            yield int(stem)


def _ids(folder: RunDir, cell: Cell, number: int) -> list[str]:
    """What the messages of the shard's items are known by, as in the table of what was judged."""
    columns = ["id"] if cell.design is Design.FREE else ["dialogue_id", "turn"]
    table = folder.read_table(cell.file(number), columns=columns)
    with folder.reading(cell.file(number)):
        if cell.design is Design.FREE:
            return [str(item) for item in table["id"].to_pylist()]
        places = zip(table["dialogue_id"].to_pylist(), table["turn"].to_pylist(), strict=True)
        return [f"{dialogue}@{turn}" for dialogue, turn in places]


def _found(folder: RunDir, cell: Cell, number: int) -> _Shard:
    name = judged_file(cell, number)
    found = _Shard()
    if not folder.exists(name):
        return found
    table = folder.read_table(name)
    with folder.reading(name):
        for row in outcome_rows(table):
            item = row.dialogue_id if cell.design is Design.FREE else f"{row.dialogue_id}@{row.turn}"
            if row.error or row.abstained - row.not_known:
                found.not_judged.add((item, row.turn))
            if row.modes and not row.error:
                found.modes[item, row.turn] = tuple(sorted(row.modes))
        found.at_fault = set(json.loads((table.schema.metadata or {}).get(AT_FAULT, b"[]")))
    return found


def _read(
    figures: SweepFigures,
    folder: RunDir,
    cell: Cell,
    chosen: list[_Place],
    dialogues: Mapping[str, Dialogue],
) -> Iterator[tuple[_Place, SaidDialogue]]:
    users = read_next_turns(folder, cell.simulator) if cell.design is Design.PAIRED else {}
    for number in dict.fromkeys(number for number, _ in chosen):
        found = _found(folder, cell, number)
        for item, said in zip(_ids(folder, cell, number), read_shard(folder, cell, number), strict=True):
            if (number, item) in chosen:
                yield (number, item), _shown(figures, cell, item, said, found, dialogues, users)


def _shown(
    figures: SweepFigures,
    cell: Cell,
    item: str,
    said: Said,
    found: _Shard,
    dialogues: Mapping[str, Dialogue],
    users: Mapping[tuple[str, int], str],
) -> SaidDialogue:
    if isinstance(said, Conversation):
        return _conversation(figures, said, found)
    before = _before(cell, said, dialogues, users)
    reply = Turn(speaker=Speaker.CHATBOT, text=said.text, thought=said.thought, is_cut=said.is_cut)
    answered = [] if said.error else [_turn(reply, "Chatbot", *_marks(found, item, said.turn))]
    return SaidDialogue(
        id=said.dialogue_id,
        about=f"reply in place of turn {said.turn} of the real dialogue, counted from 0",
        turns=(*before, *answered),
        ending=f"no reply: {said.error}" if said.error else "",
    )


def _conversation(figures: SweepFigures, talk: Conversation, found: _Shard) -> SaidDialogue:
    turns = []
    for number, turn in enumerate(talk.turns):
        is_opening = number == 0 and turn.speaker is Speaker.CHATBOT
        speaker = "Simulated user" if turn.speaker is Speaker.USER else "Chatbot"
        turns.append(_turn(turn, _opening(figures) if is_opening else speaker, *_marks(found, talk.id, number)))
    ending = STOP_NAMES[talk.stop_reason] + (f": {talk.error}" if talk.error else "")
    if talk.id in found.at_fault:
        ending += "; the simulator was at fault (an empty, repeated or out-of-role turn)"
    again = f", {talk.num_regenerated} user turns drawn again" if talk.num_regenerated else ""
    return SaidDialogue(id=talk.id, about=f"scenario {talk.scenario_id}{again}", turns=tuple(turns), ending=ending)


def _opening(figures: SweepFigures) -> str:
    """Who spoke an opening: never the chatbot that is tested."""
    if figures.scenarios_file == "":
        return "Real opening, of the real dialogue's chatbot; in no rate"
    return "Opening of the scenario, not this chatbot's; in no rate"


def _before(
    cell: Cell, said: ReplayedReply, dialogues: Mapping[str, Dialogue], users: Mapping[tuple[str, int], str]
) -> list[SaidTurn]:
    """What a reply answers, as far as it is known: real turns, the last one the simulator's in paired replay."""
    real = dialogues.get(said.dialogue_id)
    heard = [] if real is None else list(real.turns[: said.turn])
    names = {Speaker.USER: "Real user", Speaker.CHATBOT: "Chatbot of the real dialogue; in no rate"}
    shown = [_turn(turn, names[turn.speaker]) for turn in heard]
    if cell.design is Design.PAIRED:
        text = users.get((said.dialogue_id, said.turn - 1), "")
        shown = [*shown[:-1], SaidTurn(speaker=f"Simulated user ({cell.simulator})", is_user=True, text=_cut(text))]
    return shown[-MAX_TURNS_BEFORE:]


def _turn(turn: Turn, speaker: str, marks: tuple[str, ...] = (), has_failed: bool = False) -> SaidTurn:
    cut = ("cut",) if turn.is_cut else ()
    return SaidTurn(
        speaker=speaker,
        is_user=turn.speaker is Speaker.USER,
        text=_cut(turn.text),
        thought=_cut(turn.thought),
        marks=(*marks, *cut),
        has_failed=has_failed,
    )


def _marks(found: _Shard, item: str, turn: int) -> tuple[tuple[str, ...], bool]:
    modes = found.modes.get((item, turn), ())
    unclear = ("not judged on every mode: in no rate",) if (item, turn) in found.not_judged else ()
    return (*(words(mode) for mode in modes), *unclear), bool(modes)


def _cut(text: str) -> str:
    more = len(text) - MAX_CHARACTERS
    return text if more <= 0 else f"{text[:MAX_CHARACTERS]} … ({more:,} more characters)"
