"""YAML as configurations need it: the types of YAML 1.2, no key twice, nothing that grows without bound.

PyYAML reads YAML 1.1, in which ``yes`` is true, ``010`` is 8 and ``1:30`` is 90. Here a scalar is a number or a boolean
only where YAML 1.2's core schema says so in its plain form; everything else is text, and the section it stands in
refuses text where it expects a number.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from advsim.errors import ConfigError

MAX_CHARACTERS = 1_000_000
"""Of a configuration file; the longest that ships has about 4,000."""

MAX_VALUES = 20_000
"""Of a configuration, aliases counted each time they are used: a few lines of nested aliases stand for billions."""

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,29})$")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?$|[-+]?[0-9]+[eE][-+]?[0-9]{1,4}$")
_BOOLEAN = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")
_NULL = re.compile(r"(?:~|null|Null|NULL|)$")


class _Loader(yaml.SafeLoader):
    """Mappings, lists, text, numbers, booleans and null; any other tag is an error."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # none of PyYAML's own: those are YAML 1.1
    yaml_constructors = {}  # noqa: RUF012

    def mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key: Hashable = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _wrong(key_node, f"got the key {key!r}, expected text")
            if key in values:
                raise _wrong(key_node, f"the key {key!r} stands here a second time; keep one of the two")
            values[key] = self.construct_object(value_node, deep=True)
        return values

    def sequence(self, node: yaml.SequenceNode) -> list[Any]:
        return [self.construct_object(item, deep=True) for item in node.value]

    def text(self, node: yaml.ScalarNode) -> str:
        value = str(node.value)
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise _wrong(node, "got half of a surrogate pair, expected text that UTF-8 can hold")
        return value

    def integer(self, node: yaml.ScalarNode) -> int:
        if not _INTEGER.match(node.value):
            raise _wrong(node, f"got {node.value[:40]!r}, expected a whole number in plain decimal digits")
        return int(node.value)

    def real(self, node: yaml.ScalarNode) -> float:
        if not (_FLOAT.match(node.value) or _INTEGER.match(node.value)):
            raise _wrong(node, f"got {node.value[:40]!r}, expected a decimal number")
        return float(node.value)

    def boolean(self, node: yaml.ScalarNode) -> bool:
        if not _BOOLEAN.match(node.value):
            raise _wrong(node, f"got {node.value[:40]!r}, expected true or false")
        return str(node.value).lower() == "true"

    def nothing(self, node: yaml.ScalarNode) -> None:
        return None

    def unknown(self, node: yaml.Node) -> Any:
        raise _wrong(node, f"got the tag {str(node.tag)[:60]!r}, expected plain text, numbers, lists and mappings")


for _tag, _pattern, _first in (
    ("bool", _BOOLEAN, list("tTfF")),
    ("int", _INTEGER, list("-+0123456789")),
    ("float", _FLOAT, list("-+0123456789.")),
    ("null", _NULL, ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)
for _tag, _construct in (
    ("map", _Loader.mapping),
    ("seq", _Loader.sequence),
    ("str", _Loader.text),
    ("int", _Loader.integer),
    ("float", _Loader.real),
    ("bool", _Loader.boolean),
    ("null", _Loader.nothing),
):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)
_Loader.add_constructor(None, _Loader.unknown)


def parse_yaml(text: str, *, where: str) -> Any:
    """Plain values of a YAML text.

    Args:
        text: at most ``MAX_CHARACTERS``.
        where: stands in front of errors, for example the file's name.

    Raises:
        ConfigError: it is no YAML, too long or nested too deeply, a key stands twice, or it stands for more than
            ``MAX_VALUES`` values.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"{where}: got {len(text):,} characters, expected at most {MAX_CHARACTERS:,}")
    try:
        loaded = yaml.load(text, Loader=_Loader)  # a safe loader with fewer types
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())[:500]}") from None
    except RecursionError:
        raise ConfigError(f"{where}: lists or mappings are nested too deeply, expected sections with keys") from None
    _check_size(loaded, where)
    return loaded


def _check_size(loaded: Any, where: str) -> None:
    open_values = [loaded]
    num_values = 0
    while open_values:
        value = open_values.pop()
        num_values += 1
        if num_values > MAX_VALUES:
            raise ConfigError(
                f"{where}: stands for more than {MAX_VALUES:,} values, counting aliases (*name) each time they are "
                "used; write out what is meant"
            )
        if isinstance(value, dict):
            open_values.extend(value.values())
        elif isinstance(value, list):
            open_values.extend(value)


def _wrong(node: yaml.Node, problem: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
