"""Tells a file of another format by its first bytes, so that one line says it instead of an error for each line."""

from __future__ import annotations

import json

_MAGIC = (
    (b"PK\x03\x04", "a zip archive (an .xlsx sheet is one)"),
    (b"PAR1", "a parquet file"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file"),
    (b"%PDF", "a PDF"),
    (b"SQLite format 3", "an SQLite data base"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
_SEPARATORS = {",": "CSV", "\t": "TSV", ";": "CSV"}


def foreign_format(start: bytes, name: str) -> str:
    """What a file is if not JSON Lines, as the end of a sentence that begins with its path; else empty.

    Args:
        start: its first bytes, unzipped.
        name: its file name.
    """
    kind = _kind(start, name)
    if not kind:
        return ""
    if kind == "a parquet file":
        return "is a parquet file; set corpus.source to parquet, or name it .parquet"
    return f"is {kind}; convert it to JSON Lines (one dialogue a line), see docs/your_dialogues.md"


def _kind(start: bytes, name: str) -> str:
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
    if b"\0" in start:
        return "a binary file"
    text = start.decode("utf-8-sig", errors="replace").lstrip()
    first, _, rest = text.partition("\n")
    first = first.strip()
    if first in ("{", "[") or (first.startswith("{") and rest and _is_pretty_printed(text)):
        return "" if first == "[" else "pretty-printed JSON"
    if first.startswith("<"):
        return "XML or HTML"
    if first and first[0] not in "{[":
        for separator, kind in _SEPARATORS.items():
            if name.lower().endswith((".csv", ".tsv")) or (first.count(separator) and separator in rest):
                return f"a {kind} file"
    return ""


def _is_pretty_printed(text: str) -> bool:
    """Whether the first object goes on over several lines."""
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return "\n" in text[:end]
