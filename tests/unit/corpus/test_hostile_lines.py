"""What a line or a row can hold that would pass without a word and mean something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from advsim.config import CorpusConfig
from advsim.corpus.files import read_dialogues
from advsim.corpus.identity import plain_id
from advsim.corpus.load import load_corpus
from advsim.errors import CorpusError

TURNS = [{"speaker": "user", "text": "i feel low"}, {"speaker": "chatbot", "text": "What happened?"}]


def read(path: Path, *lines: Mapping[str, Any] | str) -> Any:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return read_dialogues(path).dialogues


@pytest.mark.parametrize("unseen", ["\u200b", "\ufeff", "\u2060", "\u00ad", "\u200e", "\u202e", "\u2066"])
def test_what_nobody_sees_makes_no_other_person(unseen: str) -> None:
    assert plain_id(f"u{unseen}7{unseen}") == "u7"
    assert plain_id(unseen) is None


def test_joiners_of_scripts_that_have_them_stay() -> None:
    assert plain_id("می‌خواهم") == "می‌خواهم"


@pytest.mark.parametrize("missing", ["N/A", "#N/A", "NA", "n/a", "-nan", "nil", "undefined", "<null>", "\\N", " NaT "])
def test_what_data_bases_and_tables_write_for_nothing_is_no_user(missing: str) -> None:
    assert plain_id(missing) is None


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "1e400", "9007199254740993.0", "1.2e30"])
def test_a_number_that_was_rounded_is_nobodys_id(tmp_path: Path, number: str) -> None:
    line = f'{{"id": "c", "user_id": {number}, "turns": {json.dumps(TURNS)}}}'
    with pytest.raises(CorpusError, match=r"user_id: got .*, expected a valid string; correct it"):
        read(tmp_path / "a.jsonl", line)


def test_whole_numbers_of_any_size_are_ids() -> None:
    assert (plain_id(10**30 + 1), plain_id(7.0), plain_id(2.0**52)) == (str(10**30 + 1), "7", str(2**52))


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('{"id": "c", "user_id": "a", "user_id": "b", "turns": TURNS}', "user_id"),
        ('{"id": "c", "turns": TURNS, "turns": TURNS}', "turns"),
        ('{"id": "c", "turns": [{"speaker": "user", "text": "a", "text": "b"}]}', "text"),
    ],
)
def test_a_key_that_stands_twice_is_refused_and_none_is_dropped(tmp_path: Path, line: str, key: str) -> None:
    line = line.replace("TURNS", json.dumps(TURNS))
    for text in (line, f"[{line}]"):
        with pytest.raises(
            CorpusError, match=f"key '{key}' stands twice in one object, expected it once; take one out"
        ):
            read(tmp_path / "a.jsonl", text)


@pytest.mark.parametrize("text", ["\u200b", "\u0000", "\u200b \ufeff\n", "\u2063\u00ad", "\u0007"])
@pytest.mark.parametrize("key", ["turns", "messages"])
def test_a_text_in_which_nothing_can_be_seen_is_empty(tmp_path: Path, text: str, key: str) -> None:
    names = ("speaker", "text") if key == "turns" else ("role", "content")
    said = [dict(zip(names, pair, strict=True)) for pair in (("user", text), ("assistant", "hm"))]
    with pytest.raises(CorpusError, match="got an empty text"):
        read(tmp_path / "a.jsonl", {"id": "c", key: said})


@pytest.mark.parametrize("text", ["👍", "👩‍💻", "…", "?", "हाँ", "⠀x"])
def test_a_text_in_which_something_can_be_seen_is_read(tmp_path: Path, text: str) -> None:
    (dialogue,) = read(tmp_path / "a.jsonl", {"id": "c", "turns": [{"speaker": "user", "text": text}]})
    assert dialogue.turns[0].text == text


def test_two_dialogues_in_one_line_are_refused_and_none_is_dropped(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "hi"}]
    conversations = [{"from": "human", "value": "other"}]
    for both in (
        {"messages": messages, "conversations": conversations},
        {"turns": TURNS, "conversations": conversations},
        {"turns": TURNS, "messages": messages},
    ):
        with pytest.raises(CorpusError, match=f"got {' and '.join(both)}, expected one of them"):
            read(tmp_path / "a.jsonl", {"id": "c", **both})
    (dialogue,) = read(tmp_path / "a.jsonl", {"id": "c", "messages": messages, "conversations": None})
    assert dialogue.turns[0].text == "hi"


@pytest.mark.parametrize("kind", ["input_text", "output_text", "text"])
def test_parts_of_text_are_text(tmp_path: Path, kind: str) -> None:
    content = [{"type": kind, "text": "one"}, {"type": kind, "text": "two"}]
    (dialogue,) = read(tmp_path / "a.jsonl", {"id": "c", "messages": [{"role": "user", "content": content}]})
    assert dialogue.turns[0].text == "one\ntwo"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"id": "c", "turns": [1]}, r"turns\[0\]: got 1, expected a JSON object"),
        ({"id": "c", "context": "nurse", "turns": TURNS}, "context: got 'nurse', expected a JSON object"),
        ({"id": "c", "context": {"themes": "a"}, "turns": TURNS}, "expected a valid list"),
    ],
)
def test_errors_speak_of_the_file_and_not_of_the_code(tmp_path: Path, line: dict[str, Any], said: str) -> None:
    with pytest.raises(CorpusError, match=said) as refused:
        read(tmp_path / "a.jsonl", line)
    assert "instance of" not in str(refused.value)


def load(path: Path, table: pa.Table, **columns: Any) -> Any:
    pq.write_table(table, path)
    settings = {"path": str(path), "columns": columns, "validation_fraction": 0.0, "test_fraction": 0.0}
    return load_corpus(CorpusConfig.model_validate(settings)).dialogues


def test_a_column_with_a_dot_in_its_name_is_meant_before_a_part_of_a_struct(tmp_path: Path) -> None:
    table = pa.table({"meta.user": ["flat"], "turns": [TURNS]})
    assert load(tmp_path / "a.parquet", table, user_id="meta.user")[0].user_id == "flat"
    both = pa.table({"meta.user": ["flat"], "meta": [{"user": "inside"}], "turns": [TURNS]})
    assert load(tmp_path / "b.parquet", both, user_id="meta.user")[0].user_id == "flat"
    nested = pa.table({"meta": [{"user": "inside"}], "turns": [TURNS]})
    assert load(tmp_path / "c.parquet", nested, user_id="meta.user")[0].user_id == "inside"


def test_two_columns_of_one_name_are_refused_by_name(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([TURNS]), pa.array([TURNS])], names=["turns", "turns"])
    with pytest.raises(CorpusError, match="got two columns called turns, expected one; rename one of them"):
        load(tmp_path / "a.parquet", table)


@pytest.mark.parametrize("values", [pa.array([b"a"]), pa.array([5], pa.timestamp("s")), pa.array([["a"]])])
def test_a_user_of_any_type_is_not_left_unused_without_a_word(tmp_path: Path, values: pa.Array) -> None:
    with pytest.raises(CorpusError, match="key user_id: is there"):
        load(tmp_path / "a.parquet", pa.table({"user_id": values, "turns": [TURNS]}))
