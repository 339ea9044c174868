"""Scenarios and personas of a file: what is read, and what is refused with its place."""

from pathlib import Path

import pytest

from advsim.errors import ConfigError
from advsim.records import Speaker
from advsim.sweep.planning.scenarios import read_scenarios

ROOT = Path(__file__).resolve().parents[4]


def test_the_personas_that_ship_are_read():
    starts = read_scenarios(str(ROOT / "examples" / "personas.yaml"))
    by_id = {start.scenario.id: start for start in starts}
    assert len(starts) == 20 and by_id["carer"].scenario.context.earlier_sessions
    opened = by_id["returning"].scenario
    assert opened.opens_with is Speaker.CHATBOT and opened.opening and by_id["exam"].scenario.opening == ""


def test_scenarios_of_one_person_are_one_cluster_and_those_of_nobody_each_their_own(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text(
        '{"id": "1", "user_id": "u", "session": "x"}\n\n{"id": "2", "user_id": "u", "session": "y"}\n'
        '{"id": "3", "profile": "z"}\n{"id": "u", "profile": "z"}\n'
    )
    clusters = [start.cluster for start in read_scenarios(str(file))]
    assert clusters == ["user u", "user u", "scenario 3", "scenario u"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", "", "no scenario"),
        ("a.jsonl", '{"id": "1"}', "scenario 1: says nothing of the person"),
        ("a.jsonl", '{"id": "1", "profile": "x"}\n{"id": "1", "profile": "y"}', "two scenarios with id 1"),
        ("a.jsonl", '{"id": "1", "profile": "x"}\n{oops', "line 2: no JSON"),
        ("a.jsonl", '{"id": "1", "persona": "x"}', "scenario 1, persona"),
        ("a.jsonl", '{"id": 1, "profile": "x"}', "scenario 1, id"),
        ("a.jsonl", '{"id": "1", "profile": "x", "themes": "y"}', "scenario 1, themes"),
        ("a.jsonl", '["id"]', "scenario 1"),
        ("a.jsonl", "[" * 100_000, "no JSON"),
        ("a.yaml", "a: 1", "the file"),
        ("a.yaml", "- {id: a, profile: x, profile: y}", "second time"),
        ("a.yaml", "- !!python/object/apply:os.system [ls]", "tag"),
        ("a.yaml", "[", "a.yaml"),
        ("a.yaml", "", "the file"),
    ],
)
def test_a_file_that_is_no_list_of_scenarios_is_refused_with_the_place(tmp_path, name, text, said):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_scenarios(str(file))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "1", "profile": "\xe9"}')
    for name in ("gone.jsonl", ".", "latin.jsonl"):
        with pytest.raises(ConfigError, match="cannot read"):
            read_scenarios(str(tmp_path / name))
