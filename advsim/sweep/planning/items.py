"""The work of a sweep as a stream of items: one conversation or one reply each, in shards of a cell.

    cell = design x simulator x chatbot          free/sft/terse
    shard = so many items of a cell              free/sft/terse/00003.parquet
    item = scenario or prefix, with its seed     id: a hash of what it is

An item's id depends on what it is and on nothing else: not on the order, the number of the others, or the machine. What
is done under an id is done, and a longer plan of the same scenarios begins with the shorter one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class Design(StrEnum):
    """How simulated users and real people meet a chatbot."""

    FREE = "free"
    REPLAY = "replay"
    PAIRED = "paired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One simulator with one chatbot in one design; ``simulator`` is empty where real people speak."""

    design: Design
    simulator: str
    chatbot: str

    @property
    def folder(self) -> str:
        """Its folder in that of the sweep."""
        return "/".join(part for part in (self.design.value, self.simulator, self.chatbot) if part)

    def file(self, number: int) -> str:
        """The file of a shard."""
        return f"{self.folder}/{number:05d}.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One conversation, or one reply.

    Attributes:
        id: unique in the sweep.
        cell: where it belongs.
        index: of its scenario, or of its prefix.
        repeat: how often that was used before.
        seed: of what is drawn. A simulator has the same for every chatbot, so that it begins alike with all of them.
    """

    id: str
    cell: Cell
    index: int
    repeat: int
    seed: int


def item_of(cell: Cell, *, index: int, repeat: int, what: str, simulator_sha256: str, seed: int) -> Item:
    """An item of a cell.

    Args:
        cell: where it belongs.
        index: of its scenario or prefix.
        repeat: how often that was used before.
        what: id of the scenario, or of the prefix.
        simulator_sha256: of the simulator; empty for the base model and real people.
        seed: of the sweep.
    """
    drawn = _digest(cell.design.value, cell.simulator, what, str(repeat), str(seed))
    return Item(
        id=_digest(cell.folder, simulator_sha256, what, str(repeat), str(seed)).hex()[:20],
        cell=cell,
        index=index,
        repeat=repeat,
        seed=int.from_bytes(drawn[:4], "big") % 2**30,
    )


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\n".join(f"{len(part)}:{part}" for part in parts).encode()).digest()
