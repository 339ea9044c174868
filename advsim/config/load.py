"""Reads a configuration: YAML, dotted overrides, and errors that name the key."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from advsim.config.base import BRANCH, Section
from advsim.config.paths import local_path
from advsim.config.run import Config
from advsim.config.yaml_text import MAX_CHARACTERS, parse_yaml
from advsim.errors import ConfigError

_IN_PYTHON = re.compile(r" or instance of \w+")
"""What pydantic says of its classes, which no file has."""
SectionT = TypeVar("SectionT", bound=Section)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply ``key.path=value`` overrides (values in YAML syntax) and validate.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value has the wrong type or range.
    """
    return parse_config(read_yaml(path), overrides, where=str(path))


def parse_config(values: dict[str, Any], overrides: Sequence[str] = (), *, where: str = "configuration") -> Config:
    """Validate a mapping with overrides applied; see :func:`load_config`."""
    return parse_section(Config, values, overrides, where=where)


def load_section(kind: type[SectionT], path: str | Path, overrides: Sequence[str] = ()) -> SectionT:
    """Read a YAML file whose top level is one section, such as the lab's; see :func:`load_config`."""
    return parse_section(kind, read_yaml(path), overrides, where=str(path))


def parse_section(
    kind: type[SectionT], values: dict[str, Any], overrides: Sequence[str] = (), *, where: str
) -> SectionT:
    """Validate a mapping as one section, with overrides applied; see :func:`load_config`.

    Args:
        kind: the section.
        values: its keys.
        overrides: ``key.path=value`` each.
        where: stands in front of errors, for example the file's name.
    """
    values = copy.deepcopy(values)
    for override in overrides:
        set_override(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(explain(detail, kind) for detail in error.errors()[:20])) from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML mapping, with the errors of :func:`load_config`; types are those of YAML 1.2."""
    file = local_path(str(path), key="configuration file")
    try:
        if file.exists() and not file.is_file():
            raise ConfigError(
                f"{path}: is no regular file; give the path of a YAML config, e.g. configs/quickstart.yaml"
            )
        with file.open(encoding="utf-8-sig") as stream:
            text = stream.read(MAX_CHARACTERS + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; give the path of a YAML config, e.g. configs/quickstart.yaml"
        ) from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    loaded = parse_yaml(text, where=str(path))
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: got a {type(loaded).__name__} at the top level, expected a mapping of sections")
    return loaded


def set_override(values: dict[str, Any], override: str) -> None:
    """Set the key of nested ``values`` that ``key.path=value`` names; the value is read as YAML.

    Raises:
        ConfigError: it has no such form, its value is no YAML, or a key on the path holds a value instead of a section.
    """
    key, separator, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not separator or not all(parts):
        raise ConfigError(f"override {override!r}: expected key.path=value, for example -o stop.max_rounds=1")
    try:
        value = parse_yaml(text, where="the value")
    except ConfigError as error:
        raise ConfigError(f"override {override[:200]!r}: {error}; quote it where it is meant as text") from None
    *parents, leaf = parts
    node = values
    for parent in parents:
        if node.get(parent) is None:  # an empty section in YAML, or an optional one that is off
            node[parent] = {}
        child = node[parent]
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {parent} holds the value {child!r}, not a section with keys")
        node = child
    node[leaf] = value


def explain(detail: Any, kind: type[BaseModel] = Config) -> str:
    """An error of pydantic in words: the key, what was got, and for an unknown key the one that ``kind`` has."""
    location: tuple[str | int, ...] = tuple(part for part in detail["loc"] if not str(part).startswith(BRANCH))
    key = ".".join(str(part) for part in location)
    if detail["type"] == "extra_forbidden":
        valid = _valid_keys(location[:-1], kind)
        leaf = str(location[-1])
        near = difflib.get_close_matches(leaf, valid, n=1, cutoff=0.4)
        same_name = [path for path in _key_paths(kind) if path[-1] == leaf]
        # rollout.max_tokens is meant as rollout.sampling.max_tokens, whatever other sections have such a key
        parents = tuple(part for part in location[:-1] if isinstance(part, str))
        inside = [path for path in same_name if path[: len(parents)] == parents]
        if len(inside or same_name) == 1:
            hint = f"did you mean {'.'.join((inside or same_name)[0])}?"
        elif near:
            hint = f"did you mean {'.'.join([*map(str, location[:-1]), near[0]])}?"
        else:
            hint = f"valid: {', '.join(valid)}"
        return f"unknown key {key}: {hint}"
    message = _IN_PYTHON.sub("", detail["msg"].removeprefix("Value error, "))
    if any(str(part).endswith("_env") for part in location):  # what stands there may be the secret itself
        return f"{key}: expected the NAME of an environment variable (letters, digits, _), never what is in it"
    if location and not isinstance(detail["input"], dict):
        got = repr(detail["input"])
        shown = got if len(got) <= 200 else f"{got[:120]}... ({len(got):,} characters)"
        return f"{key}: got {shown}; {message[0].lower()}{message[1:]}"
    return f"{key}: {message}" if key else message


def _valid_keys(location: Sequence[str | int], section: type[BaseModel]) -> list[str]:
    for part in location:
        if isinstance(part, int):
            continue
        field = section.model_fields.get(part)
        inner = None if field is None else _section_type(field.annotation)
        if inner is None:
            break
        section = inner
    return sorted(section.model_fields)


def _key_paths(section: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in section.model_fields.items():
        yield (*prefix, name)
        inner = _section_type(field.annotation)
        if inner is not None:
            yield from _key_paths(inner, (*prefix, name))


def _section_type(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, alone, in a list, or beside something else."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((section for option in get_args(annotation) if (section := _section_type(option))), None)
