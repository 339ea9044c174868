"""Which turns of a dialogue a prompt shows when not all of them fit."""

from __future__ import annotations

from collections.abc import Sequence


class ContextOverflowError(ValueError):
    """The context and the newest turn do not fit in the token budget, whatever history is dropped."""


def window_start(sizes: Sequence[int], newest: Sequence[bool], *, space: int) -> int | None:
    """Index of the first turn shown. Depends on earlier turns only, so a longer dialogue moves it monotonically.

    Whenever the turns from ``first`` on exceed ``space``, ``first`` moves on until they fit half of it (or only the
    newest turn is left). None where even that one does not fit.

    Args:
        sizes: tokens of each turn with its frame, oldest first.
        newest: for each turn, whether a prompt can end with it; one that cannot may be dropped for being too long.
        space: tokens that turns may take.
    """
    if space < 0:
        return None
    first, used = 0, 0
    for position, (size, is_newest) in enumerate(zip(sizes, newest, strict=True)):
        used += size
        if used > space:
            while first < position and used > space // 2:
                used -= sizes[first]
                first += 1
        if used > space:
            if is_newest:
                return None
            first, used = position + 1, 0
    return first
