from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from advsim.config import ColumnsConfig, CorpusConfig
from advsim.corpus.files import read_dialogues
from advsim.corpus.load import load_corpus
from advsim.corpus.rows import line_from_columns, line_from_esconv
from advsim.errors import CorpusError
from advsim.records import Context, Dialogue, Speaker

ALL_TRAIN = {"validation_fraction": 0.0, "test_fraction": 0.0}

CHATS = [
    {
        "meta": {"key": 7, "who": "u-1"},
        "log": [{"from": "client", "body": "hi"}, {"from": "helper", "body": "hello"}],
        "age": 31,
        "job": "nurse",
        "why": "No sleep.",
    },
    {
        "meta": {"key": 8, "who": "u-1"},
        "log": [{"from": "helper", "body": "Welcome back"}, {"from": "client", "body": "thx"}],
        "age": 31,
        "job": None,
        "why": "Bad night.",
    },
]
COLUMNS = {
    "id": "meta.key",
    "user_id": "meta.who",
    "turns": "log",
    "speaker": "from",
    "text": "body",
    "profile": ["age", "job"],
    "session": ["why"],
}

ESCONV = {
    "experience_type": "Previous Experience",
    "emotion_type": "shame",
    "problem_type": "made-up problem",
    "situation": "I broke a vase.",
    "survey_score": {"seeker": {"initial_emotion_intensity": "4", "empathy": "5"}, "supporter": {"relevance": "3"}},
    "dialog": [
        {"text": "Hello", "speaker": "usr"},
        {"text": "anyone here", "speaker": "usr"},
        {"text": "Yes.", "speaker": "sys", "strategy": "Others"},
        {"text": "What happened?", "speaker": "sys", "strategy": "Question"},
    ],
}


def utterance(conversation: str, index: int, speaker: int, text: str) -> dict[str, Any]:
    return {
        "conv_id": conversation,
        "utterance_idx": index,
        "context": "guilty",
        "prompt": "I ate it_comma_ all of it.",
        "speaker_idx": speaker,
        "utterance": text,
        "selfeval": "5|5|5",
        "tags": "",
    }


UTTERANCES = [
    utterance("hit:0_conv:1", 1, 4, "I ate the cake_comma_ sorry"),
    utterance("hit:0_conv:1", 3, 4, "Yes."),
    utterance("hit:0_conv:1", 2, 9, "All of it?"),
    utterance("hit:1_conv:2", 1, 9, "My turn"),
    utterance("hit:1_conv:2", 2, 4, "Go on"),
]


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def load(path: Path | str, **settings: Any) -> tuple[Dialogue, ...]:
    return load_corpus(CorpusConfig.model_validate({"path": str(path), **ALL_TRAIN, **settings})).dialogues


def check_chats(dialogues: tuple[Dialogue, ...]) -> None:
    first, second = dialogues
    assert (first.id, first.user_id) == ("7", "u-1")
    assert first.context == Context(profile="age: 31. job: nurse.", session="No sleep.")
    assert [(turn.speaker, turn.text) for turn in first.turns] == [(Speaker.USER, "hi"), (Speaker.CHATBOT, "hello")]
    assert second.context.profile == "age: 31."
    assert second.opening == "Welcome back"


def test_parquet_columns_are_mapped_through_dotted_names(tmp_path: Path) -> None:
    check_chats(load(parquet(tmp_path / "chats.parquet", CHATS), columns=COLUMNS))


def test_parquet_column_names_the_chatbot(tmp_path: Path) -> None:
    rows = [{**row, "answered_by": name} for row, name in zip(CHATS, ("warm", None), strict=True)]
    dialogues = load(parquet(tmp_path / "chats.parquet", rows), columns={**COLUMNS, "chatbot": "answered_by"})
    assert [dialogue.chatbot for dialogue in dialogues] == ["warm", None]


def test_file_to_look_at_gives_id_user_and_chatbot_where_the_columns_are_there(tmp_path: Path) -> None:
    turns = [{"speaker": "user", "text": "hi"}, {"speaker": "chatbot", "text": "hello"}]
    named = parquet(tmp_path / "a.parquet", [{"id": 7, "user_id": "u-1", "chatbot": "warm", "turns": turns}])
    (dialogue,) = read_dialogues(named).dialogues
    assert (dialogue.id, dialogue.user_id, dialogue.chatbot) == ("7", "u-1", "warm")
    (unnamed,) = read_dialogues(parquet(tmp_path / "b.parquet", [{"turns": turns}])).dialogues
    assert (unnamed.user_id, unnamed.chatbot) == (None, None)


@pytest.mark.parametrize("source", ["parquet", "hub"])
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("id", "id"), ("user_id", "user_id"), ("split", "split"), ("chatbot", "chatbot"),
        ("ID", "id"), ("_id", "id"), ("uid", "user_id"), ("userId", "user_id"), ("usr_id", "user_id"),
        ("splits", "split"), ("chat_bot", "chatbot"),
    ],
)  # fmt: skip
def test_column_that_decides_something_is_not_left_unused_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str, key: str
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    rows = [{name: None, "turns": ["hi", "hello"]}, {name: "train", "turns": ["hey", "hello"]}]
    path = parquet(tmp_path / "set" / "train.parquet", rows)
    place = path if source == "parquet" else path.parent
    # however many dialogues may be bad: that nobody decided is no defect of a row
    with pytest.raises(
        CorpusError, match=rf"row 2: key {name}: .*corpus\.columns\.{key} to {name} to use it, or to nu"
    ):
        load(place, source=source, max_bad_dialogues=1)
    assert len(load(place, source=source, columns={key: None})) == 2
    used = load(place, source=source, columns={key: name}, max_bad_dialogues=1)[-1]
    assert {"id": used.id, "user_id": used.user_id, "split": used.split, "chatbot": used.chatbot}[key] == "train"


@pytest.mark.parametrize("name", ["idx", "title", "uuid", "split_reason", "age"])
def test_other_columns_are_left_unused(tmp_path: Path, name: str) -> None:
    assert load(parquet(tmp_path / "a.parquet", [{name: "x", "turns": ["hi", "hello"]}]))


def test_column_without_a_value_is_no_id(tmp_path: Path) -> None:
    rows = [{"user_id": missing, "turns": ["hi", "hello"]} for missing in ("", "nan", None)]
    assert len(load(parquet(tmp_path / "a.parquet", rows))) == 3


def test_file_to_look_at_needs_no_word_on_its_split_but_on_a_misspelt_user(tmp_path: Path) -> None:
    turns = [{"speaker": "user", "text": "hi"}, {"speaker": "chatbot", "text": "hello"}]
    assert read_dialogues(parquet(tmp_path / "a.parquet", [{"split": "test", "turns": turns}])).dialogues
    mapped = CorpusConfig(columns=ColumnsConfig(turns="log"))
    assert read_dialogues(parquet(tmp_path / "b.parquet", [{"split": "test", "log": turns}]), mapped).dialogues
    with pytest.raises(CorpusError, match=r"key userid: is there, and looks like user_id, .*corpus\.columns\.user_id"):
        read_dialogues(parquet(tmp_path / "c.parquet", [{"userid": "u", "turns": turns}]))


def test_parquet_folder_is_read_whole(tmp_path: Path) -> None:
    for number, row in enumerate(CHATS):
        parquet(tmp_path / f"{number}.parquet", [row])
    check_chats(load(tmp_path, source="parquet", columns=COLUMNS))


MESSAGES = {"turns": "messages", "speaker": "role", "text": "content"}


def asked(number: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"hi {number}"}, {"role": "assistant", "content": "ok"}]


def test_every_file_of_a_parquet_folder_counts(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [{"messages": asked(1)}])
    parquet(tmp_path / "b.parquet", [{"messages": asked(2), "user_id": "u"}])
    with pytest.raises(CorpusError, match=r"b\.parquet row 1: key user_id: is there"):
        load(tmp_path, source="parquet", columns=MESSAGES)
    with pytest.raises(CorpusError, match=r"a\.parquet: lacks user_id, which other files .* have; add"):
        load(tmp_path, source="parquet", columns={**MESSAGES, "user_id": "user_id"})
    assert len(load(tmp_path, source="parquet", columns={**MESSAGES, "user_id": None})) == 2


def test_files_of_a_parquet_folder_may_differ_in_types(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [{"messages": asked(1), "user_id": 7}])
    parquet(tmp_path / "b.parquet", [{"messages": asked(2), "user_id": "u"}])
    dialogues = load(tmp_path, source="parquet", columns={**MESSAGES, "user_id": "user_id"})
    assert [dialogue.user_id for dialogue in dialogues] == ["7", "u"]


def test_folders_of_a_parquet_folder_are_columns_as_spark_writes_them(tmp_path: Path) -> None:
    for number, name in enumerate(["split=train", "split=test", "_temporary", "split=__HIVE_DEFAULT_PARTITION__"]):
        (tmp_path / name).mkdir()
        parquet(tmp_path / name / "part-0.parquet", [{"messages": asked(number)}])
    with pytest.raises(CorpusError, match=r"key split: is there"):
        load(tmp_path, source="parquet", columns=MESSAGES)
    dialogues = load(tmp_path, source="parquet", columns={**MESSAGES, "split": "split"}, validation_fraction=0.999)
    assert {dialogue.turns[0].text: dialogue.split.value for dialogue in dialogues} == {
        "hi 3": "validation",
        "hi 1": "test",
        "hi 0": "train",
    }


def test_parquet_folder_without_a_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"got a folder without a \.parquet file"):
        load(tmp_path, source="parquet")


def test_tool_calls_of_a_table_are_left_out_by_the_setting_that_the_error_names(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    told = {"role": "tool", "content": "{}", "tool_calls": None}
    answer = {"role": "assistant", "content": None, "refusal": "No.", "tool_calls": None}
    path = parquet(tmp_path / "a.parquet", [{"messages": [{**asked(1)[0], "refusal": None}, call, told, answer]}])
    with pytest.raises(CorpusError, match=r"turns\[1\]: got a message that calls a tool.*set corpus\.drop_roles"):
        load(path, columns=MESSAGES, drop_roles=("system",))
    (dialogue,) = load(path, columns=MESSAGES, drop_roles=("tool",))
    assert [turn.text for turn in dialogue.turns] == ["hi 1", "No."]


def test_a_column_may_hold_turns_in_a_json_text(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", [{"messages": json.dumps(asked(1))}])
    assert [turn.text for turn in load(path, columns=MESSAGES)[0].turns] == ["hi 1", "ok"]


def test_parquet_without_the_needed_columns_names_them_and_those_there(tmp_path: Path) -> None:
    path = parquet(tmp_path / "chats.parquet", CHATS)
    with pytest.raises(
        CorpusError, match=r"got the columns meta, log, age, job, why, expected also turns.*corpus\.col"
    ):
        load(path)
    with pytest.raises(CorpusError, match=r"row 1: column meta\.uid: missing"):
        load(path, columns={**COLUMNS, "user_id": "meta.uid"}, max_bad_dialogues=1)


def test_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "chats.parquet"
    path.write_text("{}")
    with pytest.raises(CorpusError, match="not a parquet file"):
        load(path)


def test_hub_data_set_loads_through_the_datasets_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    as_parquet, as_json = tmp_path / "as_parquet", tmp_path / "as_json"
    as_parquet.mkdir()
    as_json.mkdir()
    parquet(as_parquet / "train.parquet", CHATS)
    (as_json / "test.jsonl").write_text("\n".join(json.dumps(row) for row in CHATS))
    check_chats(load(as_parquet, source="hub", columns=COLUMNS))
    check_chats(load(as_json, source="hub", hub_split="test", columns=COLUMNS))
    assert (tmp_path / "cache").exists()
    with pytest.raises(CorpusError, match=r"split nosuch.*check corpus\.path"):
        load(as_parquet, source="hub", hub_split="nosuch", columns=COLUMNS)
    with pytest.raises(CorpusError, match="expected also turns"):
        load(as_parquet, source="hub")


def test_missing_hub_data_set_is_a_corpus_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"hub data set .*nowhere.*corpus\.path"):
        load(tmp_path / "nowhere", source="hub")


def test_strings_alternate_from_the_configured_first_speaker() -> None:
    row = {"turns": ["Hi, how can I help?", "no sleep"]}
    line = line_from_columns(row, ColumnsConfig(first_speaker="chatbot"))
    assert [turn["speaker"] for turn in line["turns"]] == ["chatbot", "user"]


def test_struct_of_lists_is_read_as_turns() -> None:
    row = {"turns": {"speaker": ["user", "bot"], "text": ["a", "b"]}}
    turns = line_from_columns(row, ColumnsConfig())["turns"]
    assert turns == [{"speaker": "user", "text": "a"}, {"speaker": "bot", "text": "b"}]


def test_speaker_names_that_miss_the_user_are_shown() -> None:
    row = {"turns": [{"speaker": "Patient", "text": "a"}]}
    with pytest.raises(CorpusError, match=r"got the speakers Patient.*corpus\.columns\.user_values"):
        line_from_columns(row, ColumnsConfig())


@pytest.mark.parametrize("turns", [[], "hi", None, [{"speaker": "user", "text": "a"}, "b"]])
def test_turns_of_another_form_are_refused(turns: Any) -> None:
    with pytest.raises(CorpusError, match="column turns"):
        line_from_columns({"turns": turns}, ColumnsConfig())


def test_made_ids_follow_the_content_and_repeats_are_numbered(tmp_path: Path) -> None:
    rows = [{"turns": ["hi", "hello"]}, {"turns": ["hey", "hello"]}, {"turns": ["hi", "hello"]}]
    first, other, again = (dialogue.id for dialogue in load(parquet(tmp_path / "a.parquet", rows)))
    assert again == f"{first}-2"
    assert [d.id for d in load(parquet(tmp_path / "b.parquet", rows[::-1]))] == [first, other, again]


def test_esconv_rows_merge_typed_lines_and_keep_the_survey(tmp_path: Path) -> None:
    path = parquet(tmp_path / "esconv.parquet", [{"text": json.dumps(ESCONV)}])
    (dialogue,) = load(path, preset="esconv")
    assert dialogue.id.startswith("esconv-")
    assert dialogue.context == Context(
        profile="Emotion: shame. Problem: made-up problem. Experience: Previous Experience. "
        "Initial emotion intensity: 4.",
        session="I broke a vase.",
    )
    assert [turn.text for turn in dialogue.turns] == ["Hello\nanyone here", "Yes.\nWhat happened?"]
    assert dialogue.turns[1].labels == {"strategy": ("Others", "Question")}
    assert dialogue.outcome["seeker_empathy"] == "5"
    assert dialogue.outcome["supporter_relevance"] == "3"


@pytest.mark.parametrize(
    "row",
    [{"text": "{"}, {"text": "[]"}, {}, {"dialog": "hi"}, {"dialog": [{"speaker": "seeker", "text": "a"}]}],
)
def test_row_that_is_no_esconv_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(CorpusError, match=r"corpus\.preset"):
        line_from_esconv(row)


def test_empathetic_dialogues_rows_become_one_dialogue_a_conversation(tmp_path: Path) -> None:
    path = parquet(tmp_path / "ed.parquet", UTTERANCES)
    first, second = load(path, preset="empathetic_dialogues")
    assert first.id == "hit:0_conv:1"
    assert [turn.text for turn in first.turns] == ["I ate the cake, sorry", "All of it?", "Yes."]
    assert [turn.speaker for turn in first.turns] == [Speaker.USER, Speaker.CHATBOT, Speaker.USER]
    assert first.context == Context(profile="Emotion: guilty.", session="I ate it, all of it.")
    assert (first.user_id, second.user_id) == ("4", "9")


def test_empathetic_dialogues_rows_may_stand_in_any_order(tmp_path: Path) -> None:
    rows = sorted(UTTERANCES, key=lambda row: -row["utterance_idx"])
    there, mixed = parquet(tmp_path / "a.parquet", UTTERANCES), parquet(tmp_path / "b.parquet", rows)
    said = {dialogue.id: dialogue.turns for dialogue in load(there, preset="empathetic_dialogues")}
    assert {dialogue.id: dialogue.turns for dialogue in load(mixed, preset="empathetic_dialogues")} == said


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("utterance", None, "column utterance: missing"),
        ("utterance", ["x"], "column utterance: got ['x'], expected a text or a number"),
        ("utterance_idx", "two", "column utterance_idx: got 'two', expected a whole number"),
        ("utterance_idx", float("nan"), "column utterance_idx: missing"),
        ("speaker_idx", None, "column speaker_idx: missing"),
        ("prompt", [1], "column prompt: got [1], expected a text or a number"),
        ("context", {"a": 1}, "Emotion: got {'a': 1}"),
        ("conv_id", None, "column conv_id: missing"),
    ],
)
def test_a_defect_of_one_utterance_is_one_bad_dialogue(tmp_path: Path, column: str, value: Any, problem: str) -> None:
    rows = [dict(row) for row in UTTERANCES]
    at = next(number for number, row in enumerate(rows) if row["utterance"] == "My turn")
    rows[at][column] = value
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(CorpusError) as caught:
        load(path, preset="empathetic_dialogues", source="jsonl")
    assert f"line {at + 1}" in str(caught.value) and problem in str(caught.value)
    left = load(path, preset="empathetic_dialogues", source="jsonl", max_bad_dialogues=1)
    assert "hit:0_conv:1" in [dialogue.id for dialogue in left]


def test_a_number_is_an_utterance(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({**row, "utterance": 5}) + "\n" for row in UTTERANCES))
    assert load(path, preset="empathetic_dialogues", source="jsonl")[0].turns[0].text == "5"


def test_preset_alone_names_the_hub_data_set() -> None:
    config = CorpusConfig(preset="esconv")
    assert (config.source, config.path) == ("hub", "thu-coai/esconv")


def test_preset_is_refused_where_it_would_be_ignored() -> None:
    with pytest.raises(ValidationError, match="does not fit source sample"):
        CorpusConfig(source="sample", preset="esconv")
