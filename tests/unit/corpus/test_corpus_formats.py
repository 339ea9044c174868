from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advsim.config import CorpusConfig
from advsim.corpus import sources
from advsim.corpus.files import read_dialogues
from advsim.corpus.load import load_corpus
from advsim.errors import CorpusError

DIALOGUE = {"id": "d", "turns": [{"speaker": "user", "text": "hi"}]}


def failure(path: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        load_corpus(CorpusConfig(path=str(path), source="jsonl", validation_fraction=0.0, test_fraction=0.0))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", b"id,text\n1,hi\n2,ho\n", "a CSV file"),
        ("a.jsonl", b"id;text\n1;hi\n", "a CSV file"),
        ("a.json", json.dumps(DIALOGUE, indent=2).encode(), "pretty-printed JSON"),
        ("a.xlsx", b"PK\x03\x04 and more", "a zip archive"),
        ("a.jsonl", b"PAR1 and more", "a parquet file"),
        ("a.bin", bytes(range(256)), "a binary file"),
        ("a.html", b"<html>\n</html>", "XML or HTML"),
    ],
)
def test_file_of_another_format_is_named_in_one_line(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    message = failure(path)
    assert f"{path} is {kind}" in message
    assert "\n" not in message


def test_json_array_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for indent in (None, 2):
        path.write_text(json.dumps([DIALOGUE], indent=indent))
        assert len(read_dialogues(path).dialogues) == 1


def test_a_broken_json_array_is_one_error_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([DIALOGUE, DIALOGUE], indent=1)[:-1] + ",\n]")
    last = len(path.read_text().splitlines())
    assert f"{path} line {last}: not valid JSON (Expecting value at column 1), expected a whole array" in failure(path)
    path.write_text(json.dumps([DIALOGUE, None], indent=1))
    assert failure(path) == f"{path} entry 2: got a JSON null, expected an object; write a dialogue, or take it out"


def test_a_first_line_that_only_looks_like_an_array_is_one_bad_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"[exported on 3 May]\n{json.dumps(DIALOGUE)}\n")
    config = CorpusConfig(path=str(path), max_bad_dialogues=1, validation_fraction=0.0, test_fraction=0.0)
    assert load_corpus(config).num_left_out == 1


def test_pipe_is_refused_and_does_not_hang(tmp_path: Path) -> None:
    for name in ("pipe.jsonl", "pipe.parquet"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(CorpusError, match="a pipe, socket or device"):
            read_dialogues(tmp_path / name)


def test_line_and_unzipped_bytes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_LINE_BYTES", 2**20)
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b" " * 2**21))
    assert "line 1: longer than 1 MiB" in failure(path)
    monkeypatch.setattr(sources, "MAX_UNZIPPED_BYTES", 2**20)
    path.write_bytes(gzip.compress(b" \n" * 2**20))
    assert "so far, unzipped" in failure(path)


def test_dialogue_of_too_many_turns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": "d", "turns": DIALOGUE["turns"] * 10_001}))
    assert "got 10001 turns, expected at most 10000" in failure(path)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("user"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
TURNS = st.lists(
    st.dictionaries(st.sampled_from(["speaker", "text", "role", "content", "labels", "tool_calls", "from"]), VALUES),
    max_size=3,
)
LINES = st.dictionaries(
    st.sampled_from(["id", "user_id", "chatbot", "split", "context", "outcome", "source"]), VALUES, max_size=4
).flatmap(
    lambda line: st.sampled_from(["turns", "messages", "conversations"]).flatmap(
        lambda key: (TURNS | VALUES).map(lambda turns: {**line, key: turns})
    )
)


def _read_both(path: Path) -> None:
    for suffix in (".jsonl", ".parquet"):
        renamed = path.with_suffix(suffix)
        renamed.write_bytes(path.read_bytes())
        for read in (read_dialogues, lambda file: load_corpus(CorpusConfig(path=str(file)))):
            try:
                read(renamed)
            except CorpusError:
                continue


@settings(max_examples=20, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "a.bin"
    for start in (b"", b"PAR1", b"\x1f\x8b"):
        path.write_bytes(start + content)
        _read_both(path)


@settings(max_examples=50, deadline=None)
@given(lines=st.lists(LINES, max_size=3))
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, lines: list[object]) -> None:
    path = tmp_path_factory.mktemp("json") / "a.bin"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    _read_both(path)
