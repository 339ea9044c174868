"""Reads rows of dialogue files (shipped or given), parquet tables and hub data sets. Content is checked elsewhere.

A defect of one line is a :class:`Row` with a ``problem``; a source that cannot be read at all is a CorpusError.
"""

from __future__ import annotations

import gzip
import json
import re
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from io import BufferedReader
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow
import pyarrow.parquet

from advsim.corpus.formats import foreign_format
from advsim.corpus.rows import Row, check_columns
from advsim.errors import CorpusError

GZIP_MAGIC = b"\x1f\x8b"
MAX_LINE_BYTES = 16 * 2**20
"""Bytes of one line, unzipped: a dialogue has thousands."""
MAX_UNZIPPED_BYTES = 16 * 2**30
"""Bytes of a whole file, unzipped."""
MAX_ARRAY_BYTES = 512 * 2**20
"""Bytes of a JSON array, which is read whole."""
_BEGINS_ARRAY = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[\s*\{")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_START_BYTES = 64 * 2**10
_NO_VALUE = (pyarrow.ArrowException, ValueError, TypeError, OverflowError)
"""What pyarrow raises of values that Python has no form for."""
PARQUET_REVISION = "refs/convert/parquet"
"""The hub's own parquet copy of a data set that consists of a loading script, which ``datasets`` no longer runs."""


def sample_files() -> list[Path]:
    """The dialogue files shipped with advsim, by name."""
    with resources.as_file(resources.files("advsim.corpus") / "sample") as folder:
        return sorted(folder.glob("*.jsonl"))


def read_jsonl(path: Path) -> Iterator[Row]:
    """One row a non-empty line of a JSON Lines file, plain or gzip'd (told by its first bytes), or of a JSON array.

    Raises:
        CorpusError: the file is missing, unreadable, of another format, a broken gzip archive, or larger than
            :data:`MAX_LINE_BYTES` a line or :data:`MAX_UNZIPPED_BYTES` unzipped.
    """
    number = 0
    try:
        check_regular(path)
        with _open_lines(path) as lines:
            start = lines.read(_START_BYTES)
            problem = foreign_format(start, path.name)
            if problem:
                raise CorpusError(f"{path} {problem}")
            lines.seek(0)
            if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
                array = _json_array(lines, path)
                if array is not None:
                    yield from array
                    return
                lines.seek(0)
            for number, line in enumerate(_bounded_lines(lines, path), start=1):
                if line.strip():
                    yield _parse_line(line, where=f"{path} line {number}")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(
            f"{path}: broken gzip archive after line {number} ({error}), expected JSON lines, plain or gzip'd; copy or "
            "download the file again"
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None


def read_parquet(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """One row a row of a parquet file, or of all those in a folder and its folders, by name.

    Each file is read by its own schema. Folders called ``split=train`` are a column of that name and value.

    Args:
        path: of the file or folder.
        needed: columns that every file must have.
        optional: columns that are read where a file has them.

    Raises:
        CorpusError: a file is missing, unreadable, no parquet, or lacks a column or has one twice.
    """
    check_columns(parquet_columns(path), needed, where=str(path))
    names = list(dict.fromkeys([*needed, *optional]))
    for file in _parquet_files(path):
        folders = _folder_columns(file, path)
        with _parquet_errors(file):
            inside = pyarrow.parquet.read_schema(file).names
        if lacking := [name for name in needed if name not in inside and name not in folders]:
            raise CorpusError(
                f"{file}: lacks {', '.join(lacking)}, which other files of {path} have; add what is missing, null "
                "where it is not known, or take the file out"
            )
        wanted = [name for name in names if name in inside]
        constant = {name: folders[name] for name in names if name in folders and name not in inside}
        with _parquet_errors(file):
            table = pyarrow.parquet.read_table(file, columns=wanted, partitioning=None)
        number = 0
        for batch in table.to_batches():
            for values, problem in _plain_values(batch):
                number += 1
                yield Row(where=f"{file} row {number}", values={**values, **constant}, problem=problem)


def _plain_values(batch: pyarrow.RecordBatch) -> list[tuple[dict[str, Any], str]]:
    """The rows of a batch, each with what keeps it from being read: a date beyond all calendars, no UTF-8."""
    try:
        return [(values, "") for values in batch.to_pylist()]
    except _NO_VALUE as error:
        if batch.num_rows == 1:
            reason = " ".join(str(error).split())[:200]
            return [({}, f"a value cannot be read ({reason}); take it out, or leave its column out of corpus.columns")]
    return [row for index in range(batch.num_rows) for row in _plain_values(batch.slice(index, 1))]


def parquet_columns(path: Path) -> list[str]:
    """Names of the top-level columns of a parquet file, or of all those in a folder together.

    Raises:
        CorpusError: a file is missing, unreadable or no parquet.
    """
    names: list[str] = []
    for file in _parquet_files(path):
        with _parquet_errors(file):
            inside = pyarrow.parquet.read_schema(file).names
        before = set(names)  # a name that one file has twice stays twice
        names += [name for name in inside if name not in before]
        names += [name for name in _folder_columns(file, path) if name not in names]
    return names


def read_hub(
    name: str,
    *,
    split: str,
    subset: str | None,
    revision: str | None,
    needed: Callable[[Sequence[str]], Sequence[str]],
) -> Iterator[Row]:
    """One row a row of a hub data set (or of a local folder that ``datasets`` can read); no code of it is run.

    Args:
        name: of the data set.
        split: of it.
        subset: of it; None: it has none.
        revision: of it; None: the default branch.
        needed: which of the columns that are there must be.

    Raises:
        CorpusError: the data set, subset, split or revision is not found, cannot be fetched, or lacks a column.
    """
    import datasets  # here, because it takes seconds to import and only this source needs it

    try:
        table = datasets.load_dataset(name, subset, split=split, revision=revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        script = "scripts are no longer supported" in str(error)
        remedy = (
            f"it consists of a loading script: set corpus.hub_revision to {PARQUET_REVISION}"
            if script
            else "check corpus.path, corpus.hub_split, corpus.hub_subset and the connection, or download its files and "
            "set corpus.source to jsonl or parquet"
        )
        raise CorpusError(f"hub data set {name}, split {split}: {' '.join(str(error).split())}; {remedy}") from None
    where = f"{name} {split}"
    check_columns(table.column_names, needed(table.column_names), where=where)
    for number, values in enumerate(table, start=1):
        yield Row(where=f"{where} row {number}", values=values)


def _open_lines(path: Path) -> gzip.GzipFile | BufferedReader:
    """The file, unzipped; a gzip archive of zeros is stopped by the bounds on what is read."""
    with path.open("rb") as raw:
        zipped = raw.read(2) == GZIP_MAGIC or path.suffix == ".gz"
    return gzip.open(path, "rb") if zipped else path.open("rb")


def check_regular(path: Path) -> None:
    """Refuse what is no file: reading a pipe or device would hang.

    Raises:
        CorpusError: it is a folder, pipe, socket or device.
        OSError: there is nothing.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise CorpusError(f"{path}: cannot be read ({what}), expected a file of dialogues; name the file itself")


def _bounded_lines(lines: gzip.GzipFile | BufferedReader, path: Path) -> Iterator[bytes]:
    num_bytes = 0
    number = 0
    while line := lines.readline(MAX_LINE_BYTES + 1):
        number += 1
        num_bytes += len(line)
        if len(line) > MAX_LINE_BYTES:
            raise CorpusError(
                f"{path} line {number}: longer than {MAX_LINE_BYTES // 2**20} MiB, one dialogue a line is expected"
            )
        if num_bytes > MAX_UNZIPPED_BYTES:
            raise CorpusError(
                f"{path} line {number}: more than {MAX_UNZIPPED_BYTES // 2**30} GiB so far, unzipped; split the file"
            )
        yield line


def _json_array(lines: gzip.GzipFile | BufferedReader, path: Path) -> list[Row] | None:
    """The rows of a file that is one JSON array; None where it is something else."""
    content = lines.read(MAX_ARRAY_BYTES + 1)
    if len(content) > MAX_ARRAY_BYTES:
        raise CorpusError(
            f"{path} is a JSON array of more than {MAX_ARRAY_BYTES // 2**20} MiB; convert it to JSON Lines (one "
            "dialogue a line)"
        )
    try:
        values = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_object)
    except _DoubleKeyError as error:
        raise CorpusError(f"{path}: {error}") from None
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" or not _BEGINS_ARRAY.match(content):
            return None
        raise CorpusError(
            f"{path} line {error.lineno}: not valid JSON ({error.msg} at column {error.colno}), expected a whole array "
            "of dialogues; correct it there (a comma after the last one?), or write one dialogue a line"
        ) from None
    except (ValueError, RecursionError):
        return None
    return [_row(value, where=f"{path} entry {number}") for number, value in enumerate(values, start=1)]


class _DoubleKeyError(ValueError):
    """An object has a key twice: of two people or texts, one would be dropped without a word."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _DoubleKeyError(f"key {twice[:60]!r} stands twice in one object, expected it once; take one out")
    return values


def _parse_line(line: bytes, *, where: str) -> Row:
    try:
        return _row(json.loads(line.decode("utf-8-sig"), object_pairs_hook=_object), where=where)
    except _DoubleKeyError as error:
        problem = str(error)
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8"
    except json.JSONDecodeError as error:
        problem = f"not valid JSON ({error.msg} at column {error.colno}); expected one JSON object a line"
    except (ValueError, RecursionError):  # a number of too many digits, or lists in lists without end
        problem = "not readable JSON (nested too deep, or a number too long); expected one JSON object a line"
    return Row(where=where, values={}, problem=problem)


def _row(value: Any, *, where: str) -> Row:
    if isinstance(value, dict):
        return Row(where=where, values=value)
    got = "null" if value is None else type(value).__name__
    return Row(
        where=where, values={}, problem=f"got a JSON {got}, expected an object; write a dialogue, or take it out"
    )


def _parquet_files(path: Path) -> list[Path]:
    """The file, or the parquet files in the folder and its folders; hidden ones and logs of writers are none."""
    with _parquet_errors(path):
        if not path.is_dir():
            check_regular(path)
            return [path]
    inside = sorted(file for file in path.rglob("*.parquet") if not _is_of_a_writer(file.relative_to(path)))
    if not inside:
        raise CorpusError(f"{path}: got a folder without a .parquet file, expected one at least; check corpus.path")
    for file in inside:
        with _parquet_errors(file):
            check_regular(file)
    return inside


def _is_of_a_writer(place: Path) -> bool:
    return any(part.startswith((".", "_")) for part in place.parts)


def _folder_columns(file: Path, path: Path) -> dict[str, str | None]:
    """What the folders between say, as Hive and Spark write it: ``split=train``."""
    parts = file.relative_to(path).parent.parts if file != path else ()
    pairs = [part.partition("=") for part in parts if "=" in part]
    return {name: None if value == _HIVE_NULL else unquote(value) for name, _, value in pairs}


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unreadable(path, error) from None
    except pyarrow.ArrowInvalid as error:
        raise CorpusError(f"{path}: not a parquet file ({error}); set corpus.source to what it is") from None
    except _NO_VALUE as error:
        raise CorpusError(f"{path}: cannot be read ({error}); write its columns as text and lists of text") from None


def _unreadable(path: Path, error: OSError) -> CorpusError:
    if isinstance(error, FileNotFoundError):
        return CorpusError(f"{path}: no such file; give the path of a dialogue file in corpus.path")
    return CorpusError(f"{path}: cannot be read ({error.strerror or error}); give a readable file in corpus.path")
