"""The run folder: whole files on a local disk, a shared file system or ``s3://``.

A file is written in ``.tmp/`` of the run folder, forced to the disk and then renamed, so that no reader ever sees half
of one, and what a kill leaves behind lies in no folder that is read. Files are for their owner alone: they hold what
people wrote in distress, or what a model made of it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet

from advsim.errors import ConfigError, RunError, one_line
from advsim.run_folder.results import plain_values

TEMPORARY = ".tmp"
"""Folder of files that are being written; swept when a run starts."""


class RunDir:
    """One run folder. All names are relative to it and use ``/``."""

    def __init__(self, location: str) -> None:
        self.location = location
        try:
            if "://" in location:
                self._fs, self._root = pyarrow.fs.FileSystem.from_uri(location)
            else:
                self._fs, self._root = pyarrow.fs.LocalFileSystem(), str(Path(location).expanduser().resolve())
        except (OSError, pa.ArrowException, ValueError, RuntimeError) as error:  # "~name" of nobody here
            raise RunError(f"{location}: cannot be used as a run folder ({error})") from error

    @property
    def is_local(self) -> bool:
        """Whether the folder is a path of this machine (or a mounted shared file system)."""
        return isinstance(self._fs, pyarrow.fs.LocalFileSystem)

    @property
    def path(self) -> Path:
        """Local path of the folder.

        Raises:
            RunError: the folder is on remote storage.
        """
        if not self.is_local:
            raise RunError(f"{self.location} is on remote storage and has no local path")
        return Path(self._root)

    def exists(self, name: str) -> bool:
        """Whether a file or folder is there.

        Raises:
            RunError: that cannot be seen, for example because a folder may not be read.
        """
        return bool(self._info(name).type != pyarrow.fs.FileType.NotFound)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file atomically.

        Raises:
            RunError: the disk is full, the folder is not writable, or storage failed.
        """
        target = self._full(name)
        temporary = self._full(f"{TEMPORARY}/{os.getpid()}-{secrets.token_hex(4)}")
        try:
            if self.is_local:
                _write_local(Path(temporary), Path(target), content)
            else:
                self._write_remote(temporary, target, content)
        except OSError as error:
            with contextlib.suppress(OSError):  # half a file would take the space that is wanted
                self._fs.delete_file(temporary)
            raise RunError(
                f"cannot write {name} in run folder {self.location}: {error.strerror or error}; free space or make the "
                "folder writable, then run the same command to resume"
            ) from error

    def check_writable(self, *, key: str) -> None:
        """Write a file and take it away, before work whose result would be lost where that fails.

        Args:
            key: of the configuration, or the flag, that names this folder.

        Raises:
            ConfigError: the folder or bucket is not there, may not be written, or its storage does not answer.
        """
        probe = f".writable-{secrets.token_hex(4)}"
        try:
            self.write_bytes(probe, b"")
            self.remove(probe)
        except RunError as error:
            cause = one_line(str(getattr(error.__cause__, "strerror", None) or error.__cause__), max_characters=300)
            raise ConfigError(
                f"{key}: {self.location} cannot be written ({cause}); name another place, or mend its address, keys "
                "or its rights"
            ) from None

    def sweep(self) -> int:
        """Take away what writers that were killed left in ``.tmp/``; returns the number of files.

        Only for the one process that owns the run (:mod:`advsim.run_folder.lease`).
        """
        if not self.exists(TEMPORARY):
            return 0
        left = self._infos(TEMPORARY)
        for info in left:
            with contextlib.suppress(OSError):
                self._fs.delete_file(info.path)
        return len(left)

    def remove(self, name: str) -> None:
        """Take a file or a folder away; nothing where it is not there.

        Raises:
            RunError: it cannot be removed.
        """
        kind = self._info(name).type
        try:
            if kind == pyarrow.fs.FileType.Directory:
                self._fs.delete_dir(self._full(name))
            elif kind == pyarrow.fs.FileType.File:
                self._fs.delete_file(self._full(name))
        except OSError as error:
            raise RunError(f"cannot remove {name} in run folder {self.location}: {error}") from error

    def files(self, name: str) -> list[str]:
        """Files under a name: itself where it is a file, else all below it, in order; empty where nothing is there.

        Raises:
            RunError: that cannot be seen.
        """
        info = self._info(name)
        if info.type == pyarrow.fs.FileType.File:
            return [name]
        if info.type != pyarrow.fs.FileType.Directory:
            return []
        below = self._infos(name, recursive=True)
        return sorted(
            entry.path.removeprefix(f"{self._root}/") for entry in below if entry.type == pyarrow.fs.FileType.File
        )

    def sha256(self, name: str) -> str:
        """SHA-256 of a file's bytes.

        Raises:
            RunError: it is not there or cannot be read.
        """
        return hashlib.sha256(self.read_bytes(name)).hexdigest()

    def read_bytes(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            RunError: it is not there or cannot be read.
        """
        try:
            with self._fs.open_input_stream(self._full(name)) as stream:
                return bytes(stream.read())
        except OSError as error:
            raise RunError(f"cannot read {name} in run folder {self.location}: {error}") from error

    def write_json(self, name: str, value: Any) -> None:
        """Write plain values or results (dataclasses) as JSON, atomically; NaN is refused, a missing figure is null."""
        text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False, default=plain_values)
        self.write_bytes(name, f"{text}\n".encode())

    def read_json(self, name: str) -> Any:
        """Parsed content of a JSON file.

        Raises:
            RunError: it is not there or is no JSON.
        """
        try:
            return json.loads(self.read_bytes(name))
        except (ValueError, RecursionError) as error:
            raise RunError(f"{name} in run folder {self.location} is not valid JSON: {error}") from error

    def read_object(self, name: str) -> dict[str, Any]:
        """Parsed content of a JSON file that holds an object.

        Raises:
            RunError: it is not there, is no JSON, or holds something else.
        """
        return self._object(self.read_json(name), name)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a parquet file atomically."""
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(table, sink)
        self.write_bytes(name, sink.getvalue().to_pybytes())

    def read_table(self, name: str, *, columns: Sequence[str] | None = None) -> pa.Table:
        """Content of a parquet file.

        Args:
            name: of the file.
            columns: those that are read; None: all.

        Raises:
            RunError: it is not there or damaged.
        """
        try:
            return pyarrow.parquet.read_table(
                pa.BufferReader(self.read_bytes(name)), columns=None if columns is None else list(columns)
            )
        except pa.ArrowException as error:
            raise RunError(f"{name} in run folder {self.location} is damaged: {error}") from error

    def write_files(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write several files into a sub-folder, each atomically."""
        for name, content in files.items():
            self.write_bytes(f"{folder}/{name}", content)

    def read_files(self, folder: str) -> dict[str, bytes]:
        """Names and contents of the files of a sub-folder (not deeper)."""
        names = sorted(info.base_name for info in self._infos(folder) if info.type == pyarrow.fs.FileType.File)
        return {name: self.read_bytes(f"{folder}/{name}") for name in names}

    def append_line(self, name: str, value: Any) -> None:
        """Append values or a result as one JSON line, durably.

        The file is rewritten atomically, so a reader never sees half a line.
        """
        before = self.read_bytes(name) if self.exists(name) else b""
        line = json.dumps(value, allow_nan=False, ensure_ascii=False, default=plain_values)
        self.write_bytes(name, before + line.encode() + b"\n")

    def write_lines(self, name: str, values: Sequence[Mapping[str, Any]]) -> None:
        """Write a JSONL file atomically."""
        lines = [json.dumps(value, allow_nan=False, ensure_ascii=False) for value in values]
        self.write_bytes(name, "".join(f"{line}\n" for line in lines).encode())

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """Parsed lines of a JSONL file, an object each; empty where it is not there.

        Raises:
            RunError: it cannot be read, or a line is no JSON object.
        """
        if not self.exists(name):
            return []
        try:
            lines = [json.loads(line) for line in self.read_bytes(name).splitlines() if line.strip()]
        except (ValueError, RecursionError) as error:
            raise RunError(f"{name} in run folder {self.location} has a broken line: {error}") from error
        return [self._object(line, f"line {number} of {name}") for number, line in enumerate(lines, start=1)]

    @contextlib.contextmanager
    def reading(self, what: str) -> Iterator[None]:
        """Say what is damaged where files do not hold, or do not fit, what is read from them.

        Raises:
            RunError: in place of the error of the one who reads.
        """
        try:
            yield
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise RunError(
                f"{what} in run folder {self.location}: damaged, or of another version ({type(error).__name__}: "
                f"{error!s:.200}); restore it, or take it away and run again what wrote it"
            ) from error

    def _object(self, value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise RunError(
                f"{name} in run folder {self.location}: got a {type(value).__name__}, expected a JSON object; restore "
                "the file, or run the stage that writes it again"
            )
        return value

    def _info(self, name: str) -> pyarrow.fs.FileInfo:
        """What is at a name.

        Raises:
            RunError: that cannot be seen.
        """
        try:
            return self._fs.get_file_info(self._full(name))
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {name} in run folder {self.location}: {error}") from error

    def _infos(self, folder: str, *, recursive: bool = False) -> list[pyarrow.fs.FileInfo]:
        """What is in a folder.

        Raises:
            RunError: that cannot be seen.
        """
        try:
            return list(self._fs.get_file_info(pyarrow.fs.FileSelector(self._full(folder), recursive=recursive)))
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {folder} in run folder {self.location}: {error}") from error

    def _full(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _write_remote(self, temporary: str, target: str, content: bytes) -> None:
        for folder in (temporary, target):
            self._fs.create_dir(folder.rpartition("/")[0], recursive=True)
        with self._fs.open_output_stream(temporary) as stream:
            stream.write(content)
        self._fs.move(temporary, target)


def _write_local(temporary: Path, target: Path, content: bytes) -> None:
    """Write, force to the disk, rename, and force the rename to the disk."""
    make_private(target.parent)
    descriptor = _open_new(temporary)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, target)
    with contextlib.suppress(OSError):  # another file is being written
        temporary.parent.rmdir()
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _open_new(file: Path) -> int:
    for _ in range(10):
        make_private(file.parent)
        with contextlib.suppress(FileNotFoundError):  # another writer took the empty folder away just now
            return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))


def make_private(folder: Path) -> None:
    """Make a folder and those above it that are missing; the new ones are for their owner alone."""
    missing = [part for part in (folder, *folder.parents) if not part.exists()]
    for part in reversed(missing):
        part.mkdir(mode=0o700, exist_ok=True)


def config_changes(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with the value before and after; a key that is absent counts as None."""
    changes: dict[str, tuple[Any, Any]] = {}
    for key in sorted({*before, *after}):
        old, new, name = before.get(key), after.get(key), f"{prefix}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changes |= config_changes(old, new, f"{name}.")
        elif old != new:
            changes[name] = (old, new)
    return changes
