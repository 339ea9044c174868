"""Names in pictures: cut in their middle where they would leave no room for the figures."""

from __future__ import annotations

from collections.abc import Iterable

_ELLIPSIS = "…"


def short_names(names: Iterable[str], *, most: int) -> dict[str, str]:
    """What to write for each name: itself, or beginning and end of it, at most ``most`` characters.

    Names that differ only in what is left out are numbered, so that two never look the same.
    """
    shown: dict[str, str] = {}
    for name in dict.fromkeys(names):
        text, number = _cut(name, most), 1
        while text in shown.values():
            number += 1
            ending = f" ({number})"
            text = _cut(name, most - len(ending)) + ending
        shown[name] = text
    return shown


def _cut(name: str, most: int) -> str:
    if len(name) <= most:
        return name
    num_last = (most - len(_ELLIPSIS)) // 2
    num_first = most - len(_ELLIPSIS) - num_last
    return name[:num_first].rstrip() + _ELLIPSIS + name[-num_last:].lstrip()
