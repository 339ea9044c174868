"""Tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, RenderableType


def print_parts(parts: Iterable[RenderableType], file: TextIO, *, width: int = 100) -> None:
    """Print parts one under the other.

    Args:
        parts: what rich can print.
        file: where to.
        width: columns where ``file`` is no terminal.
    """
    console = Console(file=file, width=None if file.isatty() else width)
    for part in parts:
        console.print(part)
