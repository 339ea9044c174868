"""Which turns of a dialogue a prompt shows when not all of them fit."""

from __future__ import annotations

from collections.abc import Sequence


class ContextOverflowError(ValueError):
    """The context and the newest turn do not fit in the token budget, whatever history is dropped."""


class GrowingWindow:
    """The window of a dialogue that grows turn by turn, in time linear in its turns.

    Whenever the turns from ``first`` on exceed ``space``, ``first`` moves on until they fit half of it (or only the
    newest turn is left). It depends on earlier turns only, so a longer dialogue moves it monotonically.

    Args:
        space: tokens that turns may take.
    """

    def __init__(self, *, space: int) -> None:
        self._space = space
        self._sizes: list[int] = []
        self._used = 0
        self.first: int | None = 0 if space >= 0 else None
        """Index of the first turn shown; None, and so for all longer dialogues, where not even the newest turn fits."""

    def push(self, size: int, *, is_newest: bool) -> None:
        """Add a turn.

        Args:
            size: its tokens with its frame.
            is_newest: whether a prompt can end with it; one that cannot may be dropped for being too long.
        """
        self._sizes.append(size)
        if self.first is None:
            return
        position = len(self._sizes) - 1
        self._used += size
        if self._used > self._space:
            while self.first < position and self._used > self._space // 2:
                self._used -= self._sizes[self.first]
                self.first += 1
        if self._used > self._space:
            self.first, self._used = (None if is_newest else position + 1), 0


def window_start(sizes: Sequence[int], newest: Sequence[bool], *, space: int) -> int | None:
    """Index of the first turn shown, as :class:`GrowingWindow` has it; None where the newest turn does not fit.

    Args:
        sizes: tokens of each turn with its frame, oldest first.
        newest: for each turn, whether a prompt can end with it.
        space: tokens that turns may take.
    """
    window = GrowingWindow(space=space)
    for size, is_newest in zip(sizes, newest, strict=True):
        window.push(size, is_newest=is_newest)
    return window.first
