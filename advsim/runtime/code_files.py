"""The files of a chatbot's Python code: the one that is named, and what it imports from the folder beside it.

Imports are followed in the text and nothing is loaded: what is imported by a name that the code makes up is not seen.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from advsim.config.paths import local_path

_MAX_FILES = 1_000
_MAX_BYTES = 20 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFiles:
    """Files of code.

    Attributes:
        root: the folder that imports start from.
        files: absolute paths below it, the named one first; at most a thousand with 20 MiB.
    """

    root: Path
    files: tuple[Path, ...]

    @property
    def sha256(self) -> str:
        """Of what the files are called below the root, and say."""
        whole = hashlib.sha256()
        for file in sorted(self.files):
            content = hashlib.sha256(_content(file)).hexdigest()
            whole.update(f"{file.relative_to(self.root).as_posix()}\0{content}\n".encode("utf-8", "surrogateescape"))
        return whole.hexdigest()


def is_file(place: str) -> bool:
    """Whether a function's place is the path of a file, not the name of a module."""
    return place.endswith(".py") or "/" in place


def code_files(function: str, *, folder: Path, key: str) -> CodeFiles | None:
    """The files of the code that a configuration names; None where it is not in a folder here, but installed.

    Args:
        function: ``package.module:name`` or ``path/to/file.py:name``.
        folder: where a relative path, or a package that is not installed, is looked for.
        key: of the configuration, for errors.

    Raises:
        ConfigError: the path can name no file.
    """
    place = function.rpartition(":")[0]
    if is_file(place):
        file = (folder / local_path(place, key=key)).resolve()
        return _followed(file, root=file.parent) if file.is_file() else None
    root = folder.resolve()
    found = list(_module_files(root, place.split(".")))
    return _followed(found[-1], root=root, also=found[:-1]) if found else None


def code_sha256(function: str | None, *, key: str) -> str:
    """Of the code that a configuration names, below the current folder; empty where it names none or none is here.

    Raises:
        ConfigError: the path can name no file.
    """
    files = code_files(function, folder=Path.cwd(), key=key) if function else None
    return files.sha256 if files else ""


def _followed(named: Path, *, root: Path, also: list[Path] | None = None) -> CodeFiles:
    files = dict.fromkeys([named, *(also or ())])
    waiting = list(files)
    num_bytes = 0
    while waiting:
        file = waiting.pop(0)
        content = _content(file)
        num_bytes += len(content)
        for imported in _imported(file, content, root):
            if imported not in files and len(files) < _MAX_FILES and num_bytes < _MAX_BYTES:
                files[imported] = None
                waiting.append(imported)
    return CodeFiles(root=root, files=tuple(files))


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # whoever loads it will say so
        return b""


def _imported(file: Path, content: bytes, root: Path) -> Iterator[Path]:
    """Files below the root that code imports, in the order of its lines."""
    try:
        nodes = list(ast.walk(ast.parse(content)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # whoever loads it will say so
        return
    package = file.relative_to(root).parent.parts
    for node in nodes:
        if isinstance(node, ast.Import):
            for each in node.names:
                yield from _module_files(root, each.name.split("."))
        elif isinstance(node, ast.ImportFrom) and node.level <= len(package) + 1:
            start = package[: len(package) + 1 - node.level] if node.level else ()
            module = [*start, *(node.module.split(".") if node.module else ())]
            for each in node.names:
                yield from _module_files(root, [*module, each.name])


def _module_files(root: Path, names: list[str]) -> Iterator[Path]:
    """The files of a module and of the packages that it is in, as far as they are below the root."""
    folder = root
    for name in names:
        package, module = folder / name / "__init__.py", folder / f"{name}.py"
        if package.is_file():
            yield package
        elif module.is_file():
            yield module
            return
        folder = folder / name
