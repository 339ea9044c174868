"""The protocol that every detector of failures satisfies: rules, learned, judge, or one of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from advsim.records import Assessment, HasTurns


class Detector(Protocol):
    """Finds the failure modes that each chatbot message shows."""

    @property
    def name(self) -> str:
        """Name of the detector, as in its labels and assessments."""

    @property
    def modes(self) -> tuple[str, ...]:
        """Ids of the modes it can judge; it abstains from every other mode of the taxonomy."""

    def assess(
        self, dialogues: Sequence[HasTurns], *, advance: Callable[[int], None] | None = None
    ) -> list[Assessment]:
        """Judge every chatbot turn, each from the turns up to and with it: what comes after is never read.

        Only the language of a dialogue may be told from all its turns.

        Args:
            dialogues: dialogues or conversations, ids unique.
            advance: called with n when n more dialogues are done.

        Returns:
            One assessment a chatbot turn, by dialogue as given, then by turn. A message that could not be judged has
            one too, with ``error`` set.
        """
