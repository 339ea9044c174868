"""Modules of a chatbot's own folder: its code finds the helpers beside it before any others of their name.

Two folders may each have a helper of one name, and a helper may be called like an installed package. So each folder is
a package under a name that nobody else has, and an ``import`` in its code, also within a call, looks into it first.
What is in one folder alone is also found by its plain name, as pickle and ``importlib.import_module`` look for it.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

_PREFIX = "advsim_chatbot_"
_packages: dict[str, str] = {}  # by folder
_plain_names: set[str] = set()  # of modules of folders


def load_file(file: Path) -> ModuleType:
    """The module of a Python file; one and the same for all who name it, until it or a helper that it has is edited.

    Raises:
        ImportError: it is no Python file.
        BaseException: whatever its code raises.
    """
    package = _package_of(file.parent)
    name = f"{package}.{file.stem.replace('.', '_')}"
    loaded = sys.modules.get(name)
    if loaded is not None:
        if not any(_is_edited(module) for own, module in [*sys.modules.items()] if own.startswith(f"{package}.")):
            return loaded
        _forget(package)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise ImportError(f"{file} is no Python file; expected path/to/file.py:name")
    spec.loader = _OwnLoader(name, str(file))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def with_plain_names(text: str) -> str:
    """A text with the names of modules as the code has them."""
    return re.sub(rf"{_PREFIX}[0-9a-f]{{12}}\.", "", text)


def _package_of(folder: Path) -> str:
    """The package of a folder, made where there is none."""
    place = str(folder)
    if place not in _packages:
        package = _PREFIX + hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:12]
        spec = ModuleSpec(package, None, is_package=True)
        spec.submodule_search_locations = [place]
        sys.modules[package] = importlib.util.module_from_spec(spec)
        _forget_plain_names()  # the new folder may have some of them too
        _packages[place] = package
        if _first not in sys.meta_path:
            sys.meta_path.insert(0, _first)
            sys.meta_path.append(_last)
    return _packages[place]


def _forget(package: str) -> None:
    """Drop the modules of a folder, to load them anew."""
    for name in [name for name in sys.modules if name.startswith(f"{package}.")]:
        del sys.modules[name]
    _forget_plain_names()
    importlib.invalidate_caches()


def _forget_plain_names() -> None:
    for name in _plain_names:
        sys.modules.pop(name, None)
    _plain_names.clear()


def _is_edited(module: ModuleType) -> bool:
    stamp = vars(module).get("__stamp__")
    return stamp is not None and stamp != _stamp(str(module.__file__))


def _stamp(file: str) -> tuple[int, int]:
    """Of a file's content, as far as it can be told without reading; zeros where there is none."""
    try:
        about = os.stat(file)
    except OSError:
        return 0, 0
    return about.st_mtime_ns, about.st_size


class _OwnLoader(SourceFileLoader):
    """Gives a module an ``import`` that looks into its folder first."""

    def exec_module(self, module: ModuleType) -> None:
        package = module.__name__.partition(".")[0]
        vars(module)["__stamp__"] = _stamp(self.path)
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import_of(package)}
        super().exec_module(module)


def _import_of(package: str) -> Callable[..., Any]:
    """``__import__`` for the code of a folder."""
    (folder,) = sys.modules[package].__path__
    whose: dict[str, _Whose] = {}

    def own_import(
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        top = name.partition(".")[0]
        if not level and top not in whose:
            whose[top] = _whose(top, folder)
        importer = globals or {}
        means_another = importer.get("__name__") == f"{package}.{top}" and "__path__" not in importer
        if level or whose[top] is _Whose.OTHERS or means_another:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = builtins.__import__(f"{package}.{name}", globals, locals, fromlist or (), 0)
        if whose[top] is _Whose.OWN_ALONE and name not in sys.modules:
            with contextlib.suppress(ImportError):  # pickle's C code asks this function, and then looks there
                importlib.import_module(name)
        return module if fromlist else sys.modules[f"{package}.{top}"]

    return own_import


class _Whose(Enum):
    """Which module code of a folder means by a name."""

    OTHERS = auto()  # one that is found as ever
    OWN = auto()  # the folder's, though there is another of this name
    OWN_ALONE = auto()  # the folder's, and outside of such folders there is none


def _whose(top: str, folder: str) -> _Whose:
    spec = PathFinder.find_spec(top, [folder])
    if spec is None or top in sys.builtin_module_names:
        return _Whose.OTHERS
    try:
        other = importlib.util.find_spec(top)
    except (ImportError, ValueError):  # ValueError: a module without a spec, such as __main__
        other = None
    if other is None or other.name.startswith(_PREFIX) or isinstance(other.loader, _PlainNameLoader):
        return _Whose.OWN_ALONE
    if spec.origin is None or other.origin is None:  # a folder of no code is not meant where there is a package
        return _Whose.OTHERS if spec.origin is None else _Whose.OWN
    is_same = os.path.realpath(other.origin) == os.path.realpath(spec.origin)
    return _Whose.OTHERS if is_same else _Whose.OWN


class _OwnFinder(MetaPathFinder):
    """Finds what is under the packages of folders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent, _, name = fullname.rpartition(".")
        if not fullname.startswith(_PREFIX):
            own = _name_of(sys.modules[parent]) if parent in _plain_names and parent in sys.modules else ""
            return ModuleSpec(fullname, _PlainNameLoader([f"{own}.{name}"])) if own.startswith(_PREFIX) else None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _OwnLoader(fullname, spec.loader.path)
        return spec


class _PlainNameFinder(MetaPathFinder):
    """Finds the modules of folders by their plain names, where nothing else is called so."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or "." in fullname:
            return None
        found = {package: PathFinder.find_spec(fullname, [folder]) for folder, package in _packages.items()}
        names = [f"{package}.{fullname}" for package, spec in found.items() if spec is not None and spec.origin]
        return ModuleSpec(fullname, _PlainNameLoader(names)) if names else None


class _PlainNameLoader(Loader):
    """Loads the one module of these names, under the name that is asked for."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        if len(self._names) > 1:
            places = [folder for folder, package in _packages.items() if f"{package}.{spec.name}" in self._names]
            raise ImportError(
                f"the folders of several chatbots have a module {spec.name} ({', '.join(places)}), so it cannot be "
                "found by its name from outside of them; rename one, or use an import statement in the chatbot's code"
            )
        module = importlib.import_module(self._names[0])
        self._spec = module.__spec__
        _plain_names.add(spec.name)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # importlib has put the one of the plain name there


def _name_of(module: ModuleType) -> str:
    return str(vars(module).get("__name__", ""))


_first, _last = _OwnFinder(), _PlainNameFinder()
