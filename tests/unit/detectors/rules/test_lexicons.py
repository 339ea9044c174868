"""The phrase lists: no way through a pattern is dead."""

from __future__ import annotations

import re._constants as const
import re._parser as parser
from collections.abc import Iterator
from typing import Any

import pytest

from advsim.detectors.rules.lexicon import lexicon


def dead_ends(sequence: Any) -> Iterator[Any]:
    """Ways through that end in white space and a look ahead: a pattern ends where no word goes on, so none follows."""
    *before, (kind, value) = list(sequence) or [(None, None)]
    if kind in (const.ASSERT, const.ASSERT_NOT) and before and is_space(*before[-1]):
        yield value
    elif kind is const.SUBPATTERN:
        yield from dead_ends(value[3])
    elif kind is const.BRANCH:
        for branch in value[1]:
            yield from dead_ends(branch)


def is_space(kind: Any, value: Any) -> bool:
    if kind is const.MAX_REPEAT:
        return value[0] > 0 and all(is_space(*item) for item in value[2])
    return kind is const.IN and list(value) == [(const.CATEGORY, const.CATEGORY_SPACE)]


def test_the_scan_finds_a_way_that_nothing_can_follow():
    assert list(dead_ends(parser.parse(r"(?:strip|touch\s+(?!the|a))")))
    assert not list(dead_ends(parser.parse(r"(?:strip|touch(?!\s+(?:the|a)))")))


@pytest.mark.parametrize("file", ["boundary", "guidance", "harm", "risk", "safety", "spelling"])
def test_every_way_through_a_pattern_can_be_followed_by_something(file):
    for name, pattern in lexicon(file).items():
        _, *alternatives, _ = list(parser.parse(pattern.pattern))  # between the two ends of whole words
        assert not list(dead_ends(alternatives)), name
