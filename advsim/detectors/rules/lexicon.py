r"""Reads the phrase lists of the rules: YAML files beside this module, one list of patterns a name.

A pattern is a regular expression on lower-cased text, written to be read: a space stands for any white space, an
apostrophe may be left out by the writer ("don't" also finds "dont"), ``{name}`` inserts the alternatives of the list
``name`` of ``shared.yaml``, and a pattern matches whole words only (so a stem is written ``worr\w*``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import yaml

from advsim.errors import ConfigError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FOLDER = Path(__file__).parent / "lexicons"
_REFERENCE = re.compile(r"\{([a-z_]+)\}")
_SPACE = re.compile(r" ([?*+]?)")
_APOSTROPHE = re.compile(r"'\??")
_NEGATED = re.compile(
    r"(?:\b(?:not|never|no|without|cannot|hardly|nor|none)|n't|\b(?:dont|doesnt|didnt|isnt|cant|wont))"
    r"(?: [\w']+){0,4} ?$"
)
_PLAIN = str.maketrans({"’": "'", "‘": "'", "`": "'", "“": '"', "”": '"', "\u00a0": " "})


def plain(text: str) -> str:
    """The text as the patterns read it: straight quotes, lower case, every character at its old place."""
    straight = text.translate(_PLAIN)
    lowered = straight.lower()
    if len(lowered) == len(straight):
        return lowered
    return "".join(low if len(low := char.lower()) == 1 else char for char in straight)


def spelled(text: str) -> str:
    """Plain text with the words put right that chat often writes otherwise; characters may move."""
    for right, written in lexicon("spelling").items():
        text = written.sub(right, text)
    return text


def affirmed(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The first match in plain text that no word of negation comes before within its clause."""
    matches = pattern.finditer(text)
    return next((match for match in matches if not _NEGATED.search(text, 0, match.start())), None)


@cache
def lexicon(file: str) -> Mapping[str, re.Pattern[str]]:
    """The compiled lists of one file of ``lexicons/`` (named without ending), by the name of the list.

    Raises:
        ConfigError: a pattern is no regular expression or refers to an unknown shared list.
    """
    shared = {name: "|".join(patterns) for name, patterns in _read("shared").items()}
    return {name: _compile(f"{file}.{name}", patterns, shared) for name, patterns in _read(file).items()}


@cache
def words(file: str, name: str) -> frozenset[str]:
    """A list that holds plain words instead of patterns."""
    return frozenset(" ".join(_read(file)[name]).split())


@cache
def _read(file: str) -> Mapping[str, list[str]]:
    text = (_FOLDER / f"{file}.yaml").read_text(encoding="utf-8")
    lists: dict[str, list[str]] = yaml.load(text, Loader=_LOADER)  # a safe loader, in C where PyYAML has it
    return lists


def _space(match: re.Match[str]) -> str:
    return r"\s*" if match[1] in ("?", "*") else r"\s+"


def _compile(name: str, patterns: Iterable[str], shared: Mapping[str, str]) -> re.Pattern[str]:
    alternatives = []
    for pattern in patterns:
        try:
            while _REFERENCE.search(pattern):
                pattern = _REFERENCE.sub(lambda match: f"(?:{shared[match[1]]})", pattern)
        except KeyError as error:
            raise ConfigError(
                f"{name}: pattern {pattern!r} refers to {error}, which shared.yaml does not have"
            ) from error
        alternatives.append(_APOSTROPHE.sub("'?", _SPACE.sub(_space, pattern)))
    try:
        return re.compile(r"(?<!\w)(?:" + "|".join(alternatives) + r")(?!\w)")
    except re.error as error:
        raise ConfigError(f"{name}: not a regular expression: {error}") from error
