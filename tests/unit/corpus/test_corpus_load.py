from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from advsim.config import CorpusConfig
from advsim.corpus.load import Corpus, load_corpus
from advsim.corpus.split import assign_split
from advsim.errors import CorpusError
from advsim.records import Context, Speaker, Split

HALF = {"validation_fraction": 0.5}
ALL_TRAIN = {"validation_fraction": 0.0, "test_fraction": 0.0}


def native(dialogue_id: Any = "d-1", *texts: str, **more: Any) -> dict[str, Any]:
    speakers = ("user", "chatbot")
    turns = [{"speaker": speakers[i % 2], "text": text} for i, text in enumerate(texts or ("hi", "hello"))]
    return {"id": dialogue_id, "turns": turns, **more}


def messages(*roles: str, **more: Any) -> dict[str, Any]:
    return {"id": "m", "messages": [{"role": role, "content": f"by {role}"} for role in roles or ("user",)], **more}


def write(path: Path, *lines: Any) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def load(path: Path, **settings: Any) -> Corpus:
    return load_corpus(CorpusConfig(path=str(path), **{**ALL_TRAIN, **settings}))


def failure(path: Path, **settings: Any) -> str:
    with pytest.raises(CorpusError) as caught:
        load(path, **settings)
    return str(caught.value)


def test_native_line_keeps_layers_labels_and_order(tmp_path: Path) -> None:
    line = {
        "id": "d-1",
        "source": "helpline",
        "user_id": "u-1",
        "context": {"profile": " nurse ", "themes": ["sleep"], "earlier_sessions": ["one", "two"], "session": "tired"},
        "turns": [
            {"speaker": "user", "text": "  hi\n", "labels": {"risk": ["low", 2], "mood": "flat", "none": None}},
            {"speaker": "chatbot", "text": "hello"},
        ],
        "outcome": {"zeta": 3, "alpha": True, "missing": None, "said": "ok"},
    }
    (dialogue,) = load(write(tmp_path / "a.jsonl", line)).dialogues
    assert dialogue.source == "helpline"
    assert dialogue.user_id == "u-1"
    assert dialogue.context == Context(
        profile="nurse", themes=("sleep",), earlier_sessions=("one", "two"), session="tired"
    )
    assert [turn.text for turn in dialogue.turns] == ["hi", "hello"]
    assert dialogue.turns[0].labels == {"risk": ("low", "2"), "mood": ("flat",)}
    assert list(dialogue.outcome.items()) == [("zeta", "3"), ("alpha", "true"), ("said", "ok")]


def test_source_defaults_to_the_file_name(tmp_path: Path) -> None:
    (dialogue,) = load(write(tmp_path / "chats.jsonl", native())).dialogues
    assert dialogue.source == "chats"


def test_messages_context_becomes_layers_without_inventing_any(tmp_path: Path) -> None:
    messages = [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "hey", "labels": {"feedback": [4]}}]
    context = {"situation": "I lost my job.", "emotion": "anxiety", "problem_type": "job crisis", "domains": ["x"]}
    with_goal = {"goal_text": "Find a hotel.", "goal": {"hotel": {}}}
    corpus = load(
        write(
            tmp_path / "a.jsonl",
            {"id": "a", "split": "valid", "context": context, "messages": messages, "outcome": {"ratings": {"a": 1}}},
            {"id": "b", "context": with_goal, "messages": messages},
            {"id": "c", "context": {}, "messages": messages},
        )
    )
    first, second, third = corpus.dialogues
    assert first.context == Context(profile="Emotion: anxiety. Problem: job crisis.", session="I lost my job.")
    assert first.outcome == {"ratings": '{"a": 1}'}
    assert [turn.speaker for turn in first.turns] == [Speaker.CHATBOT, Speaker.USER]
    assert first.turns[1].labels == {"feedback": ("4",)}
    assert second.context == Context(session="Find a hotel.")
    assert third.context == Context()


def test_split_named_in_a_native_line_is_respected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", native("a", "x", split="test"), native("b", "y", split="train"), native("c"))
    assert [d.split for d in load(path).dialogues] == [Split.TEST, Split.TRAIN, Split.TRAIN]


def test_split_of_a_messages_line_is_ignored(tmp_path: Path) -> None:
    line = {"id": "a", "split": "test", "messages": [{"role": "user", "content": "hi"}]}
    assert load(write(tmp_path / "a.jsonl", line)).dialogues[0].split is Split.TRAIN


def test_user_in_two_named_splits_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", native("a", user_id="u-7", split="train"), native("b", user_id="u-7", split="test")
    )
    assert "user u-7: got dialogue a in train and dialogue b in test" in failure(path)


def test_gzip_loads_whatever_the_file_is_called(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "b.jsonl"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(json.dumps(native()).encode()))
        assert load(path).dialogues[0].id == "d-1"


def test_byte_order_mark_and_blank_lines_are_no_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(native()).encode() + b"\r\n\r\n")
    assert len(load(path).dialogues) == 1


def test_hash_depends_on_content_and_not_on_formatting(tmp_path: Path) -> None:
    line = native("d-1", "hi", "hello", context={"session": "s", "profile": "p"})
    first = load(write(tmp_path / "a.jsonl", {"source": "s", **line})).sha256
    reordered = json.dumps({"source": "s", **line}, sort_keys=True, indent=None, separators=(" ,", " :"))
    assert load(write(tmp_path / "b.jsonl", reordered, "")).sha256 == first
    outcomes = [{"source": "s", **line, "outcome": outcome} for outcome in ({"x": "1", "y": "2"}, {"y": "2", "x": "1"})]
    with_outcome, swapped = (load(write(tmp_path / "c.jsonl", changed)).sha256 for changed in outcomes)
    assert with_outcome == swapped != first
    assert load(write(tmp_path / "d.jsonl", {"source": "s", **line, "split": "train"})).sha256 == first


def test_hash_of_a_corpus_without_chatbots_is_that_of_earlier_versions(tmp_path: Path) -> None:
    """Written down when dialogues could not name a chatbot: runs from that time must still resume."""
    line = native("d-1", "hi", "hello", source="s", user_id="u-1", outcome={"x": "1"})
    unnamed = load(write(tmp_path / "a.jsonl", line)).sha256
    assert unnamed == "ff4c5a03fe2e86932bf4ca06c59391d855b9c4a65ea74642869a5bff057775e1"
    assert load(write(tmp_path / "b.jsonl", {**line, "chatbot": None})).sha256 == unnamed
    assert load(write(tmp_path / "c.jsonl", {**line, "chatbot": "warm"})).sha256 != unnamed


def test_chatbot_is_read_from_both_line_formats_and_may_be_absent(tmp_path: Path) -> None:
    messages = {"messages": [{"role": "user", "content": "hi"}]}
    corpus = load(
        write(
            tmp_path / "a.jsonl",
            native("a", chatbot=" warm "),
            native("b", chatbot=4),
            native("c"),
            {"id": "d", "chatbot": "cold", **messages},
        )
    )
    assert [dialogue.chatbot for dialogue in corpus.dialogues] == ["warm", "4", None, "cold"]


@pytest.mark.parametrize("name", ["two\nlines", "\ud83d", "\x00"])
def test_chatbot_without_a_printable_name_is_refused(tmp_path: Path, name: str) -> None:
    assert "chatbot: got " in failure(write(tmp_path / "a.jsonl", native("a", chatbot=name)))


def test_max_dialogues_keeps_the_same_choice_when_the_file_is_reordered(tmp_path: Path) -> None:
    lines = [native(f"d-{i}") for i in range(30)]
    chosen = load(write(tmp_path / "a.jsonl", *lines), max_dialogues=10).dialogues
    turned = load(write(tmp_path / "b.jsonl", *lines[::-1]), max_dialogues=10).dialogues
    assert len(chosen) == 10
    assert {d.id for d in chosen} == {d.id for d in turned}
    assert [d.id for d in chosen] == sorted((d.id for d in chosen), key=lambda i: int(i[2:]))  # order as read


def test_merging_joins_text_and_labels_of_one_speaker(tmp_path: Path) -> None:
    turns = [
        {"speaker": "user", "text": "hi", "labels": {"a": ["1"]}},
        {"speaker": "user", "text": "you there?", "labels": {"a": ["2"], "b": ["3"]}},
    ]
    path = write(tmp_path / "a.jsonl", {"id": "d-1", "turns": turns})
    (turn,) = load(path, merge_consecutive=True).dialogues[0].turns
    assert turn.text == "hi\nyou there?"
    assert turn.labels == {"a": ("1", "2"), "b": ("3",)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"id": "x", ', ["line 2", "not valid JSON"]),
        ("[1, 2]", ["line 2", "got a JSON list, expected an object"]),
        ({"turns": []}, ["line 2", "got 0 turns"]),
        ({"id": "x"}, ["line 2, dialogue x", "turns or messages: missing"]),
        (native("first"), ["line 2, dialogue first", "line 1", "unique ids"]),
        ({"id": "x", "turns": [{"speaker": "sys", "text": "a"}]}, ["turns[0].speaker: got 'sys'", "'chatbot'"]),
        (
            {"id": "x", "messages": [{"role": "system", "content": "a"}]},
            ["messages[0].role: got 'system'", "corpus.drop_roles"],
        ),
        ({"id": "x", "turns": [{"speaker": "chatbot", "text": "a"}]}, ["dialogue x", "none by the user"]),
        ({"id": "x", "turns": []}, ["got 0 turns and none by the user"]),
        (
            {"id": "x", "turns": [{"speaker": "user", "text": "a"}, {"speaker": "user", "text": "b"}]},
            ["turns[0] and turns[1]", "merge them with a newline", "corpus.merge_consecutive"],
        ),
        (native("x", "a", "  \n"), ["turns[1]: got an empty text"]),
        (native("x", "a [END]"), ["turns[0]: got [END] in a user's text"]),
        (native("x", "half \ud83d"), ["turns[0].text", "surrogate"]),
        (native("x", split="tset"), ["split: got 'tset'", "did you mean test?"]),
        (native("x", split="dev"), ["split: got 'dev'"]),
        (native("x", splt="test"), ["unknown key splt", "did you mean split?"]),
        (messages(split="tset"), ["split: got 'tset'", "did you mean test?"]),
        (messages(splt="test"), ["unknown key 'splt'", "did you mean split?"]),
        (messages(usr_id="u"), ["unknown key 'usr_id'", "did you mean user_id?"]),
        (native("x", user_id="half \ud83d"), ["user_id", "surrogate"]),
        (native("x", user="u-1"), ["unknown key user", "did you mean user_id?"]),
        (native("x", context={"sumary": "a"}), ["unknown key context.sumary", "profile, themes"]),
        (native("x", context="a"), ["context: got 'a'"]),
        (native("x", context={"themes": "work"}), ["context.themes: got 'work', expected"]),
        ({"id": "x", "turns": "hi"}, ["turns: got 'hi', expected a valid list"]),
        ({"id": "x", "turns": [{"speaker": "user", "text": 3}]}, ["turns[0].text: got 3, expected a valid string"]),
        (
            {"id": "x", "messages": [{"role": "user", "content": "a"}], "context": {"emotion": ["sad"]}},
            ["Emotion: got ['sad'], expected a text or a number"],
        ),
    ],
)
def test_bad_line_is_named_with_its_remedy(tmp_path: Path, line: Any, expected: list[str]) -> None:
    message = failure(write(tmp_path / "chats.jsonl", native("first"), line))
    for part in [str(tmp_path / "chats.jsonl"), *expected]:
        assert part in message


def test_end_token_in_the_chatbots_text_is_no_error(tmp_path: Path) -> None:
    assert load(write(tmp_path / "a.jsonl", native("x", "a", "b [END]"))).dialogues


def test_numeric_ids_are_read_as_text(tmp_path: Path) -> None:
    (dialogue,) = load(write(tmp_path / "a.jsonl", native(17, user_id=4))).dialogues
    assert (dialogue.id, dialogue.user_id) == ("17", "4")


def test_non_utf8_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps(native()).encode() + b'\n{"id": "caf\xe9"}\n')
    assert "line 2: not UTF-8 (byte 12 of the line)" in failure(path)


def test_first_five_bad_lines_are_reported_and_the_rest_counted(tmp_path: Path) -> None:
    message = failure(write(tmp_path / "a.jsonl", *[{"id": f"d-{i}"} for i in range(17)]))
    assert "17 bad dialogues" in message
    assert [f"dialogue d-{i}:" in message for i in range(6)] == [True] * 5 + [False]
    assert message.endswith("and 12 more")


def test_allowed_bad_dialogues_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.jsonl", native("a"), {"id": "b"}, {"id": "c"})
    corpus = load(path, max_bad_dialogues=2)
    assert ([d.id for d in corpus.dialogues], corpus.num_left_out) == (["a"], 2)
    assert "dialogue b" in caplog.text
    assert "2 bad dialogues" in failure(path, max_bad_dialogues=1)


def test_missing_file_says_which_key_to_change(tmp_path: Path) -> None:
    assert "nowhere.jsonl: no such file" in failure(tmp_path / "nowhere.jsonl")
    assert "corpus.path" in failure(tmp_path / "nowhere.parquet")


def test_unreadable_path_is_a_corpus_error(tmp_path: Path) -> None:
    assert "cannot be read" in failure(tmp_path)


def test_empty_file_is_refused(tmp_path: Path) -> None:
    assert "got no dialogues" in failure(write(tmp_path / "a.jsonl", ""))


def test_cut_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(json.dumps(native(f"d-{i}")) for i in range(500)).encode())[:-200])
    assert "broken gzip archive after line" in failure(path)
    path.write_text(json.dumps(native()))
    assert "broken gzip archive after line 0" in failure(path)


def test_empty_train_split_is_refused(tmp_path: Path) -> None:
    message = failure(write(tmp_path / "a.jsonl", native("a")), test_fraction=0.999)
    assert "none of them in the train split" in message
    assert "lower corpus.validation_fraction" in message


@pytest.mark.parametrize(
    ("lines", "settings", "remedy"),
    [
        ([native("a", split="test"), native("b", "x", split="validation")], {}, "name train in some of them"),
        ([native(name, user_id=name) for name in "abc"], {"test_fraction": 0.999}, "all say the same"),
        ([native("a"), native("b", "x", split="test")], {"max_dialogues": 1}, "raise corpus.max_dialogues"),
    ],
)
def test_an_empty_train_split_is_refused_with_what_mends_it_and_not_where_nothing_is_trained(
    tmp_path: Path, lines: list[dict[str, Any]], settings: dict[str, Any], remedy: str
) -> None:
    path = write(tmp_path / "a.jsonl", *lines)
    assert remedy in failure(path, **settings)
    config = CorpusConfig(path=str(path), **{**ALL_TRAIN, **settings})
    assert load_corpus(config, to_train=False).dialogues


def test_sample_loads_with_every_split_filled() -> None:
    corpus = load_corpus(CorpusConfig())
    assert all(corpus.split(split) for split in Split)
    assert sum(len(corpus.split(split)) for split in Split) == len(corpus.dialogues)
    assert {dialogue.source for dialogue in corpus.dialogues} == {"sample"}


@pytest.mark.parametrize("role", ["system", "tool", "developer", "function"])
@pytest.mark.parametrize("key", ["turns", "messages"])
def test_role_of_nobody_is_refused_by_name_or_dropped_where_the_config_says_so(
    tmp_path: Path, role: str, key: str
) -> None:
    role_key, text_key = ("speaker", "text") if key == "turns" else ("role", "content")
    turns = [{role_key: who, text_key: f"by {who}"} for who in (role, "user", "bot")]
    path = write(tmp_path / "a.jsonl", {"id": "d", key: turns})
    assert f"line 1, dialogue d: {key}[0].{role_key}: got {role!r}" in failure(path)
    assert [turn.text for turn in load(path, drop_roles=(role,)).dialogues[0].turns] == ["by user", "by bot"]


def test_roles_of_the_chatbot_are_those_that_the_config_lists(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", messages("user", "Nurse"))
    assert "messages[1].role: got 'Nurse'" in failure(path)
    assert load(path, columns={"chatbot_values": ["nurse"]}).dialogues[0].turns[1].speaker is Speaker.CHATBOT


@pytest.mark.parametrize("missing", [None, float("nan"), "", "  ", "nan", "NaN", "null"])
def test_missing_ids_are_missing_however_they_are_written(tmp_path: Path, missing: Any) -> None:
    (dialogue,) = load(write(tmp_path / "a.jsonl", native(missing, user_id=missing, chatbot=missing))).dialogues
    assert (dialogue.user_id, dialogue.chatbot) == (None, None)
    assert len(dialogue.id) == 16


def test_one_person_has_one_id_however_it_is_written(tmp_path: Path) -> None:
    spellings = ["jos\u00e9", "jose\u0301", " jos\u00e9 "]
    path = write(tmp_path / "a.jsonl", *(native(str(i), f"t{i}", user_id=name) for i, name in enumerate(spellings)))
    assert {dialogue.user_id for dialogue in load(path).dialogues} == {"jos\u00e9"}
    path = write(tmp_path / "b.jsonl", native("a", "x", user_id=7), native("b", "y", user_id=7.0))
    assert {dialogue.user_id for dialogue in load(path).dialogues} == {"7"}


def test_equal_dialogues_are_counted_and_stand_in_one_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [native(f"d-{i}", f"text {i % 30}", "ok") for i in range(90)]
    corpus = load(write(tmp_path / "a.jsonl", *lines), validation_fraction=0.3, test_fraction=0.3)
    all_splits = [{d.split for d in corpus.dialogues if d.turns[0].text == f"text {i}"} for i in range(30)]
    assert corpus.num_repeats == 60
    assert "60 of 90 dialogues" in caplog.text
    assert {len(splits) for splits in all_splits} == {1}
    assert len({next(iter(splits)) for splits in all_splits}) == 3


def test_users_who_share_a_dialogue_stand_in_one_split(tmp_path: Path) -> None:
    lines = [native(f"{i}-{j}", f"own {i}" if j else "shared", user_id=f"a{i}") for i in range(12) for j in range(2)]
    path = write(tmp_path / "a.jsonl", *lines)
    alone = load(write(tmp_path / "b.jsonl", *(native(str(i), f"own {i}", user_id=f"a{i}") for i in range(12))), **HALF)
    assert len({dialogue.split for dialogue in alone.dialogues}) == 2
    assert len({dialogue.split for dialogue in load(path, **HALF).dialogues}) == 1


@pytest.mark.parametrize("missing", [None, float("nan"), ""])
def test_equal_dialogues_stand_in_one_split_however_a_missing_split_is_written(tmp_path: Path, missing: Any) -> None:
    lines = [native(f"d-{i}", f"text {i % 3}", split=missing) for i in range(30)]
    corpus = load(write(tmp_path / "a.jsonl", *lines), **HALF)
    assert len({(dialogue.turns[0].text, dialogue.split) for dialogue in corpus.dialogues}) == 3


def test_a_user_whose_split_is_named_stays_there_with_all_dialogues(tmp_path: Path) -> None:
    user = next(f"u{i}" for i in range(99) if assign_split("", f"u{i}", **HALF, test_fraction=0.0) is Split.VALIDATION)
    lines = [
        native("a", "shared", user_id="other", split="train"),
        native("b", "shared", user_id=user, split="validation"),
        native("c", "own", user_id=user),
    ]
    splits = [dialogue.split for dialogue in load(write(tmp_path / "a.jsonl", *lines), **HALF).dialogues]
    assert splits == [Split.TRAIN, Split.VALIDATION, Split.VALIDATION]


def test_corpus_of_one_user_says_so(tmp_path: Path) -> None:
    lines = [native(f"d-{i}", f"text {i}", user_id="u", split="test") for i in range(3)]
    assert "all are of one user (u)" in failure(write(tmp_path / "a.jsonl", *lines))


def test_tool_calls_are_read_by_one_setting_which_the_error_names(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    said = [{"role": "user", "content": "where"}, call, {"role": "tool", "content": "{}"}]
    path = write(tmp_path / "a.jsonl", {"id": "x", "messages": [*said, {"role": "assistant", "content": "lost"}]})
    assert "messages[1]: got a message that calls a tool" in failure(path)
    assert "corpus.drop_roles to [tool]" in failure(path)
    assert [turn.text for turn in load(path, drop_roles=("tool",)).dialogues[0].turns] == ["where", "lost"]


@pytest.mark.parametrize(
    "left_out",
    [
        {"role": "system", "content": None},
        {"role": "system"},
        {"role": "tool", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        {"role": "tool", "content": {"found": 3}, "labels": "x"},
    ],
)
@pytest.mark.parametrize("names", [("messages", "role", "content"), ("turns", "speaker", "text")])
def test_nothing_is_held_to_the_schema_in_a_turn_that_is_left_out(
    tmp_path: Path, left_out: dict[str, Any], names: tuple[str, str, str]
) -> None:
    key, role_key, text_key = names
    called = {"role": role_key, "content": text_key}
    turns = [{"role": "user", "content": "hi"}, left_out, {"role": "assistant", "content": "hello"}]
    line = {"id": "d", key: [{called.get(name, name): value for name, value in turn.items()} for turn in turns]}
    path = write(tmp_path / "a.jsonl", line)
    corpus = load(path, drop_roles=("system", "tool"))
    assert [turn.text for turn in corpus.dialogues[0].turns] == ["hi", "hello"]
    assert corpus.num_dropped_turns == 1
    line[key][2][text_key] = None
    assert f"{key}[2].{text_key}" in failure(write(path, line), drop_roles=("system", "tool"))


@pytest.mark.parametrize(
    "said",
    [
        {"content": None, "refusal": "I cannot help."},
        {"content": "", "refusal": "I cannot help.", "tool_calls": [{"id": "c"}]},
        {"content": [{"type": "refusal", "refusal": "I cannot help."}]},
        {"content": "I cannot help.", "refusal": None, "tool_calls": float("nan")},
    ],
)
def test_a_refusal_is_what_the_chatbot_said(tmp_path: Path, said: dict[str, Any]) -> None:
    line = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", **said}]}
    assert load(write(tmp_path / "a.jsonl", line)).dialogues[0].turns[1].text == "I cannot help."


def test_keys_without_a_value_do_not_say_which_format_a_line_has(tmp_path: Path) -> None:
    said = [{"role": "system", "content": "x"}, {"role": "user", "content": "hi"}]
    line = {"turns": None, "conversations": float("nan"), "split": "test", "messages": said}
    corpus = load(write(tmp_path / "a.jsonl", line), drop_roles=("system",))
    assert (corpus.num_dropped_turns, corpus.dialogues[0].turns[0].text) == (1, "hi")


def test_turns_may_stand_in_a_json_text(tmp_path: Path) -> None:
    said = json.dumps([{"role": "user", "content": "hi"}])
    (dialogue,) = load(write(tmp_path / "a.jsonl", {"messages": said})).dialogues
    assert dialogue.turns[0].text == "hi"
    assert "messages: got '[{', expected a valid list" in failure(write(tmp_path / "b.jsonl", {"messages": "[{"}))


@pytest.mark.parametrize("line", [messages("user"), native("d")], ids=["messages", "native"])
def test_uid_is_taken_for_the_user_and_not_for_the_dialogue(tmp_path: Path, line: dict[str, Any]) -> None:
    del line["id"]
    assert "uid" in (said := failure(write(tmp_path / "a.jsonl", {**line, "uid": "u0"})))
    assert "did you mean user_id?" in said


def test_sharegpt_and_content_parts_are_read(tmp_path: Path) -> None:
    sharegpt = {"id": "s", "conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    path = write(tmp_path / "a.jsonl", sharegpt, {"id": "p", "messages": [{"role": "user", "content": parts}]})
    first, second = load(path).dialogues
    assert [(turn.speaker, turn.text) for turn in first.turns] == [(Speaker.USER, "hi"), (Speaker.CHATBOT, "hello")]
    assert second.turns[0].text == "a\nb"
    picture = {"id": "p", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}
    assert "part 0 is image_url" in failure(write(tmp_path / "b.jsonl", picture))


def test_columns_map_json_lines_too(tmp_path: Path) -> None:
    line = {"who": "u", "log": [{"by": "client", "said": "hi"}, {"by": "agent", "said": "hello"}]}
    columns = {"user_id": "who", "turns": "log", "speaker": "by", "text": "said"}
    (dialogue,) = load(write(tmp_path / "a.jsonl", line), columns=columns).dialogues
    assert (dialogue.user_id, [turn.text for turn in dialogue.turns]) == ("u", ["hi", "hello"])


def test_a_thought_in_a_log_is_no_part_of_the_message(tmp_path: Path) -> None:
    lines = [native("d-1", "hi", "<think>he whines</think>\nHello."), native("d-2", "hi", "<think>he whines")]
    first, second = load(write(tmp_path / "a.jsonl", *lines)).dialogues
    assert (first.turns[1].text, first.turns[1].thought) == ("Hello.", "he whines")
    assert (second.turns[1].text, second.turns[1].thought) == ("", "he whines")


def test_what_a_user_writes_is_no_thought_unless_a_message_stands_beside_it(tmp_path: Path) -> None:
    said = ("<think>hi</think>", "<think>hi", "<think>a user is short</think>\nhi")
    lines = [native(str(number), text, "hello") for number, text in enumerate(said)]
    turns = [dialogue.turns[0] for dialogue in load(write(tmp_path / "a.jsonl", *lines)).dialogues]
    assert [(turn.text, turn.thought) for turn in turns] == [
        ("<think>hi</think>", ""),
        ("<think>hi", ""),
        ("hi", "a user is short"),
    ]


def test_merged_turns_keep_their_thoughts_and_no_empty_line(tmp_path: Path) -> None:
    turns = [("user", "hi"), ("chatbot", "<think>a"), ("chatbot", "<think>b</think>Hello."), ("user", "ok")]
    line = {"id": "d", "turns": [{"speaker": speaker, "text": text} for speaker, text in turns]}
    (dialogue,) = load(write(tmp_path / "a.jsonl", line), merge_consecutive=True).dialogues
    assert (dialogue.turns[1].text, dialogue.turns[1].thought) == ("Hello.", "a\nb")


def test_a_corpus_without_thoughts_keeps_the_hash_that_older_versions_gave_it(tmp_path: Path) -> None:
    corpus = load(write(tmp_path / "a.jsonl", native("d", "hi", "hello")))
    assert corpus.sha256 == "7c9387b4db565c35a722b41377e18fd6fc2ad3fc51589575b9d5aec836af7c96"
