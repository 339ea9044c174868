"""YAML as configurations need it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advsim.config.yaml_text import MAX_CHARACTERS, parse_yaml
from advsim.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("1e-5", 1e-5),
        ("1.5", 1.5),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("off", "off"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2024-13-45", "2024-13-45"),
        (".inf", ".inf"),
        ("'1'", "1"),
        ("[1, a]", [1, "a"]),
    ],
)
def test_a_scalar_is_a_number_or_boolean_only_in_its_plain_form(text: str, value: object) -> None:
    loaded = parse_yaml(f"key: {text}", where="x")["key"]
    assert loaded == value and type(loaded) is type(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "'a' stands here a second time"),
        ("a: !!int abc", "expected a whole number"),
        ('a: !!int ""', "expected a whole number"),
        ("a: !!float abc", "expected a decimal number"),
        ("a: !!bool maybe", "expected true or false"),
        ("a: !!binary aGVsbG8=", "got the tag"),
        ("a: !!timestamp x", "got the tag"),
        ("a: !!python/object/apply:os.system [ls]", "got the tag"),
        ("1: 2", "got the key 1, expected text"),
        ("? [1, 2]\n: 3", "expected text"),
        ("&a [*a]", "recursive"),
        ("a: " + "[" * 20_000, "nested too deeply"),
        ("a: 1\n---\nb: 2", "another document"),
        ('a: "\\ud800"', "surrogate"),
        ("a: [1", "not valid YAML"),
        ("a: " + "x" * MAX_CHARACTERS, "expected at most"),
    ],
)
def test_what_is_no_configuration_is_refused_with_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_yaml(text, where="x")


def test_aliases_that_stand_for_billions_of_values_are_refused_at_once() -> None:
    lines = ["x0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"x{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    with pytest.raises(ConfigError, match="more than 20,000 values"):
        parse_yaml("\n".join(lines), where="x")


def test_an_alias_that_is_used_twice_is_fine() -> None:
    assert parse_yaml("a: &x {b: 1}\nc: *x", where="x") == {"a": {"b": 1}, "c": {"b": 1}}


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_sentence(text: str) -> None:
    try:
        parse_yaml(text, where="x")
    except ConfigError as error:
        assert str(error).startswith("x: ")
