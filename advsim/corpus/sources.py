"""Reads rows of dialogue files (shipped or given), parquet tables and hub data sets. Content is checked elsewhere.

A defect of one line is a :class:`Row` with a ``problem``; a source that cannot be read at all is a CorpusError.
"""

from __future__ import annotations

import gzip
import json
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from io import BufferedReader
from pathlib import Path
from typing import Any

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


def read_parquet(path: Path, needed: list[str]) -> Iterator[Row]:
    """One row a row of a parquet file or folder, with the needed columns alone.

    Raises:
        CorpusError: the file is missing, unreadable, no parquet, or lacks a column.
    """
    check_columns(parquet_columns(path), needed, where=str(path))
    with _parquet_errors(path):
        table = pyarrow.parquet.read_table(path, columns=needed)
    number = 0
    for batch in table.to_batches():
        for values, problem in _plain_values(batch):
            number += 1
            yield Row(where=f"{path} row {number}", values=values, problem=problem)


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
    """Names of the top-level columns of a parquet file, or of the first one in a folder.

    Raises:
        CorpusError: the file is missing, unreadable or no parquet.
    """
    with _parquet_errors(path):
        if not path.is_dir():
            check_regular(path)
        names: list[str] = pyarrow.parquet.read_schema(path if path.is_file() else _first_parquet(path)).names
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
    """The rows of a file that is one JSON array of objects; None where it is something else."""
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
    except (ValueError, RecursionError):
        return None
    if not values or not all(isinstance(value, dict) for value in values):
        return None
    return [Row(where=f"{path} entry {number}", values=value) for number, value in enumerate(values, start=1)]


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
    problem = ""
    values: Any = {}
    try:
        values = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_object)
    except _DoubleKeyError as error:
        problem = str(error)
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 (byte {error.start + 1} of the line); save the file as UTF-8"
    except json.JSONDecodeError as error:
        problem = f"not valid JSON ({error.msg} at column {error.colno}); expected one JSON object a line"
    except (ValueError, RecursionError):  # a number of too many digits, or lists in lists without end
        problem = "not readable JSON (nested too deep, or a number too long); expected one JSON object a line"
    if not problem and not isinstance(values, dict):
        problem = f"got a JSON {type(values).__name__}, expected an object; write one dialogue a line"
    return Row(where=where, values={} if problem else values, problem=problem)


def _first_parquet(folder: Path) -> Path:
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise FileNotFoundError(folder)
    return files[0]


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
