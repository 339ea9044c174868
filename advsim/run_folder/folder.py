"""The run folder: manifest, journal and atomic files, on a local disk, a shared file system or ``s3://``.

A file is written under a temporary name and then renamed. A stage's journal line is written last, so that a stage is
either recorded with its complete output or done again: what a resumed run trusts is the journal alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet

from advsim.errors import RunError
from advsim.run_folder.results import plain_values


class RunDir:
    """One run folder. All names are relative to it and use ``/``."""

    def __init__(self, location: str) -> None:
        self.location = location
        try:
            if "://" in location:
                self._fs, self._root = pyarrow.fs.FileSystem.from_uri(location)
            else:
                self._fs, self._root = pyarrow.fs.LocalFileSystem(), str(Path(location).expanduser().resolve())
        except (OSError, pa.ArrowException, ValueError) as error:
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
        """Whether a file or folder is there."""
        info = self._fs.get_file_info(self._full(name))
        return bool(info.type != pyarrow.fs.FileType.NotFound)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file atomically.

        Raises:
            RunError: the disk is full, the folder is not writable, or storage failed.
        """
        target = self._full(name)
        temporary = f"{target}.{os.getpid()}.tmp"
        try:
            self._fs.create_dir(target.rpartition("/")[0], recursive=True)
            with self._fs.open_output_stream(temporary) as stream:
                stream.write(content)
            self._fs.move(temporary, target)
        except OSError as error:
            with contextlib.suppress(OSError):  # half a file would take the space that is wanted
                self._fs.delete_file(temporary)
            raise RunError(
                f"cannot write {name} in run folder {self.location}: {error.strerror or error}; free space or make the "
                "folder writable, then run the same command to resume"
            ) from error

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
        except ValueError as error:
            raise RunError(f"{name} in run folder {self.location} is not valid JSON: {error}") from error

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a parquet file atomically."""
        sink = pa.BufferOutputStream()
        pyarrow.parquet.write_table(table, sink)
        self.write_bytes(name, sink.getvalue().to_pybytes())

    def read_table(self, name: str) -> pa.Table:
        """Content of a parquet file.

        Raises:
            RunError: it is not there or damaged.
        """
        try:
            return pyarrow.parquet.read_table(pa.BufferReader(self.read_bytes(name)))
        except pa.ArrowException as error:
            raise RunError(f"{name} in run folder {self.location} is damaged: {error}") from error

    def write_files(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Write several files into a sub-folder, each atomically."""
        for name, content in files.items():
            self.write_bytes(f"{folder}/{name}", content)

    def read_files(self, folder: str) -> dict[str, bytes]:
        """Names and contents of the files of a sub-folder (not deeper)."""
        selector = pyarrow.fs.FileSelector(self._full(folder))
        try:
            infos = self._fs.get_file_info(selector)
        except OSError as error:
            raise RunError(f"cannot read {folder} in run folder {self.location}: {error}") from error
        names = sorted(info.base_name for info in infos if info.type == pyarrow.fs.FileType.File)
        return {name: self.read_bytes(f"{folder}/{name}") for name in names}

    def append_line(self, name: str, value: Any) -> None:
        """Append values or a result as one JSON line, durably.

        The file is rewritten atomically, so a reader never sees half a line.
        """
        before = self.read_bytes(name) if self.exists(name) else b""
        line = json.dumps(value, allow_nan=False, ensure_ascii=False, default=plain_values)
        self.write_bytes(name, before + line.encode() + b"\n")

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """Parsed lines of a JSONL file; empty where it is not there."""
        if not self.exists(name):
            return []
        try:
            return [json.loads(line) for line in self.read_bytes(name).splitlines() if line.strip()]
        except ValueError as error:
            raise RunError(f"{name} in run folder {self.location} has a broken line: {error}") from error

    def _full(self, name: str) -> str:
        return f"{self._root}/{name}"


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
