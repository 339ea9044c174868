"""Dialogues that are too long for the simulator's prompts: refused, left out or cut, as ``corpus.too_long`` says."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from advsim.corpus.load import Corpus
from advsim.errors import CorpusError
from advsim.prompts.simulator import SimulatorPrompts
from advsim.records import Dialogue, Split

NUM_NAMED = 1000
"""Ids in one error at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedCorpus:
    """A corpus whose training and validation dialogues all fit, with the ids of those that did not.

    The corpus keeps the hash of what was read. Dialogues of the test split are in no prompt of a training run and stay
    as they are.
    """

    corpus: Corpus
    dropped: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()


def fit_corpus(corpus: Corpus, prompts: SimulatorPrompts, *, too_long: Literal["error", "drop", "cut"]) -> FittedCorpus:
    """Refuse, leave out or cut the dialogues in which a user turn has no prompt.

    Args:
        corpus: as it was read.
        prompts: of the simulator.
        too_long: ``cut`` keeps the longest beginning that fits and ends with a user turn; without one a dialogue is
            left out.

    Raises:
        CorpusError: dialogues are too long and ``too_long`` is ``error``; all ids are named, up to a thousand.
    """
    kept: list[Dialogue] = []
    dropped: list[str] = []
    cut: list[str] = []
    for dialogue in corpus.dialogues:
        num_turns = len(dialogue.turns)
        num_fitting = num_turns if dialogue.split is Split.TEST else prompts.num_fitting_turns(dialogue)
        if num_fitting == num_turns:
            kept.append(dialogue)
        elif too_long == "cut" and num_fitting:
            cut.append(dialogue.id)
            kept.append(dataclasses.replace(dialogue, turns=dialogue.turns[:num_fitting]))
        else:
            dropped.append(dialogue.id)
    if too_long == "error" and dropped:
        _refuse(next(it for it in corpus.dialogues if it.id == dropped[0]), prompts, dropped)
    fitted = dataclasses.replace(corpus, dialogues=tuple(kept)) if dropped or cut else corpus
    return FittedCorpus(corpus=fitted, dropped=tuple(dropped), cut=tuple(cut))


def _refuse(first: Dialogue, prompts: SimulatorPrompts, ids: Sequence[str]) -> None:
    remedy = "leave them out or cut them by corpus.too_long: drop or cut"
    try:
        prompts.check_fits(first)
    except CorpusError as error:
        if len(ids) == 1:
            raise CorpusError(f"{error}; or {remedy}") from None
        more = f" and {len(ids) - NUM_NAMED} more" if len(ids) > NUM_NAMED else ""
        listed = ", ".join(ids[:NUM_NAMED])
        raise CorpusError(f"{error}; or {remedy}; {len(ids)} dialogues are too long: {listed}{more}") from None
