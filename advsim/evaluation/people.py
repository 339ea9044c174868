"""Who is the same person in two files."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from advsim.corpus.prefixes import user_of
from advsim.records import Dialogue, Speaker

_Text = tuple[tuple[Speaker, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """The reference's dialogues under ids of their own, but for those of people who are in both files.

    Attributes:
        reference: its dialogues, in order.
        same: people of both files, as :func:`advsim.corpus.prefixes.user_of` names them.
        num_apart: people of the reference who only share an id with somebody.
    """

    reference: tuple[Dialogue, ...]
    same: frozenset[str]
    num_apart: int


def tell_people_apart(dialogues: Sequence[Dialogue], reference: Sequence[Dialogue], *, same_users: bool) -> People:
    """Give the reference's people other ids where an id alone makes them somebody of the other file.

    Two exports often number their users from 1, so an equal id is no evidence. An equal dialogue is: a file compared
    with itself, or with a part of itself, is about the same people, and one of them in two folds would be an AUC
    below .5.

    Args:
        dialogues: of the file.
        reference: of the second file.
        same_users: equal ids are known to name the same people.
    """
    said: dict[str, set[_Text]] = defaultdict(set)
    for dialogue in dialogues:
        said[user_of(dialogue)].add(_text(dialogue))
    shared = {user_of(dialogue) for dialogue in reference} & said.keys()
    same = shared if same_users else {user_of(it) for it in reference if _text(it) in said.get(user_of(it), set())}
    taken = {dialogue.id for dialogue in (*dialogues, *reference)} | {
        dialogue.user_id for dialogue in (*dialogues, *reference) if dialogue.user_id is not None
    }
    apart = {name: _free_name(name.split(" ", 1)[1], taken) for name in sorted(shared - same)}
    return People(
        reference=tuple(_renamed(dialogue, apart) for dialogue in reference),
        same=frozenset(same),
        num_apart=len(apart),
    )


def _text(dialogue: Dialogue) -> _Text:
    return tuple((turn.speaker, turn.text) for turn in dialogue.turns)


def _free_name(name: str, taken: set[str]) -> str:
    free = f"{name} (reference)"
    while free in taken:
        free += "'"
    return free


def _renamed(dialogue: Dialogue, apart: dict[str, str]) -> Dialogue:
    name = apart.get(user_of(dialogue))
    if name is None:
        return dialogue
    if dialogue.user_id is None:
        return dataclasses.replace(dialogue, id=name)
    return dataclasses.replace(dialogue, user_id=name)
