"""Results as JSON values and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from advsim.errors import RunError
from advsim.run_folder.folder import RunDir
from advsim.run_folder.results import plain_values, read_values


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    value: float | None
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    name: str
    colour: Colour
    shares: Mapping[int, Share]
    pair: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()
    by_name: Mapping[str, float] = field(default_factory=dict)


FOUND = Found(name="x", colour=Colour.RED, shares={10: Share(value=None, n=0), 2: Share(value=0.1, n=3)}, notes=("a",))


def read(values):
    return read_values(Found, values, where="found.json", remedy="look again")


def test_a_result_comes_back_from_json_equal_to_what_was_written():
    assert read(json.loads(json.dumps(plain_values(FOUND)))) == FOUND


def test_keys_of_the_json_are_the_fields_in_their_order(tmp_path):
    folder = RunDir(str(tmp_path))
    folder.write_json("found.json", {"all": [FOUND]})
    (values,) = folder.read_json("found.json")["all"]
    assert list(values) == ["name", "colour", "shares", "pair", "notes", "by_name"]
    assert list(values["shares"].items()) == [("10", {"value": None, "n": 0}), ("2", {"value": 0.1, "n": 3})]
    folder.append_line("found.jsonl", FOUND)
    assert folder.read_lines("found.jsonl") == [values]


def test_a_figure_that_is_no_number_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunDir(str(tmp_path)).write_json("share.json", Share(value=float("nan"), n=1))


def test_only_dataclasses_are_results():
    for value in ({1, 2}, Share, 0.5):
        with pytest.raises(TypeError, match="expected a dataclass"):
            plain_values(value)


def test_missing_keys_take_the_defaults_and_unknown_keys_are_left_out():
    values = plain_values(FOUND)
    del values["pair"], values["by_name"]
    assert read({**values, "since": "later"}) == FOUND


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": {"2": {"value": "low", "n": 3}}}, r"found\.json, key shares\.2\.value: got 'low'; .*; look again"),
        ({"shares": {"2": {"value": 0.1}}}, r"key shares\.2\.n: got no such key; .*; look again"),
        ({"colour": "blue", "name": 7}, r"key name: got 7; .* \(2 such keys\); look again"),
    ],
)
def test_values_of_another_kind_are_refused_by_key_with_the_remedy(change, message):
    with pytest.raises(RunError, match=message):
        read(plain_values(FOUND) | change)
