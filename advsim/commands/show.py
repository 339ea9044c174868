"""What commands print: tables, lines and JSON, without anything from outside that a terminal would obey."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.segment import Segment

from advsim.errors import printable

_NOT_ESCAPED_BY_JSON = re.compile(r"[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def say(text: str, file: TextIO | None = None) -> None:
    """Print one line, or lines; None: standard output."""
    print(printable(text), file=sys.stdout if file is None else file)


def print_json(values: Any) -> None:
    """Print JSON on standard output: letters of all scripts as they are, what a terminal obeys by its number."""
    text = json.dumps(values, indent=2, allow_nan=False, ensure_ascii=False)
    print(_NOT_ESCAPED_BY_JSON.sub(lambda found: f"\\u{ord(found.group()):04x}", text))


def console_on(file: TextIO | None = None, *, width: int = 100) -> Console:
    """A console that shows text as it is: no markup, no control characters of what is printed.

    Args:
        file: where to; None: standard output.
        width: columns where ``file`` is no terminal.
    """
    stream = sys.stdout if file is None else file
    console = Console(file=stream, width=None if stream.isatty() else width, markup=False, emoji=False)
    console.push_render_hook(_Printable())
    return console


def print_parts(parts: Iterable[RenderableType], file: TextIO, *, width: int = 100) -> None:
    """Print parts one under the other.

    Args:
        parts: what rich can print.
        file: where to.
        width: columns where ``file`` is no terminal.
    """
    console = console_on(file, width=width)
    for part in parts:
        console.print(part)


class _Printable(RenderHook):
    """Takes what a terminal obeys out of all text, wherever in a table it stands; styles are added after it."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_PrintableText(renderable) for renderable in renderables]


class _PrintableText:
    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
