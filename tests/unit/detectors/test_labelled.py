import json
from collections import Counter
from functools import cache
from pathlib import Path
from statistics import median

import pytest

from advsim.detectors.labelled import load_labelled
from advsim.detectors.taxonomy import load_taxonomy
from advsim.errors import CorpusError
from advsim.records import Speaker, Split

PARTS = ("build", "held_out")
ROW = {
    "id": "x-1",
    "context": [{"speaker": "user", "text": "hi"}],
    "message": "Hello.",
    "modes": ["overload"],
    "severity": 1,
    "note": "",
}


@cache
def shipped(part):
    return load_labelled(part)


def everything():
    return [labelled for part in PARTS for labelled in shipped(part)]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def user_texts(labelled):
    return [" ".join(turn.text.lower().split()) for turn in labelled.context if turn.speaker is Speaker.USER]


def five_word_runs(text):
    words = "".join(c if c.isalnum() else " " for c in text.lower().replace("'", "")).split()
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


@pytest.mark.parametrize("part", PARTS)
def test_each_part_has_enough_of_every_mode_and_of_none(part):
    found = shipped(part)
    counts = Counter(mode for labelled in found for mode in labelled.modes)
    assert all(counts[mode] >= 12 for mode in load_taxonomy().ids), counts
    assert sum(not labelled.modes for labelled in found) >= 50


def test_each_part_has_at_least_180_messages_and_the_part_to_build_with_may_grow():
    build, held_out = (len(shipped(part)) for part in PARTS)
    assert held_out >= 180
    assert build >= held_out


def test_ids_and_messages_are_unique():
    for values in ([it.id for it in everything()], [" ".join(it.message.lower().split()) for it in everything()]):
        assert [value for value, count in Counter(values).items() if count > 1] == []


def test_no_turn_of_one_part_stands_in_the_other():
    build, held_out = (shipped(part) for part in PARTS)
    assert not {text for it in build for text in user_texts(it)} & {text for it in held_out for text in user_texts(it)}
    assert not {it.message for it in build} & {it.message for it in held_out}


def test_messages_of_the_parts_share_hardly_any_run_of_five_words():
    build = {run for it in shipped("build") for run in five_word_runs(it.message)}
    held_out = {run for it in shipped("held_out") for run in five_word_runs(it.message)}
    assert len(build & held_out) <= 0.01 * len(held_out)


def test_severity_stands_with_failures_only_and_spans_all_levels():
    for labelled in everything():
        assert (labelled.severity in (1, 2, 3)) == bool(labelled.modes)
    assert {labelled.severity for labelled in everything()} == {None, 1, 2, 3}


def test_repetition_always_has_something_to_repeat():
    for labelled in everything():
        if "repetition" in labelled.modes and len(labelled.context) == 1:
            words = labelled.message.lower().split()
            assert max(Counter(word for word in words if len(word) > 4).values()) >= 3, labelled.id


@pytest.mark.parametrize("part", PARTS)
def test_neither_a_question_nor_length_alone_tells_failures_from_none(part):
    failing = [it.message for it in shipped(part) if it.modes]
    passing = [it.message for it in shipped(part) if not it.modes]
    asking = [sum(text.endswith("?") for text in texts) / len(texts) for texts in (passing, failing)]
    assert abs(asking[0] - asking[1]) < 0.3
    words = [median(len(text.split()) for text in texts) for texts in (passing, failing)]
    assert abs(words[0] - words[1]) < 5


def test_near_misses_name_a_mode_that_exists():
    near = [it for it in everything() if it.note.startswith("near miss of ")]
    assert len(near) >= 80 and not any(it.modes for it in near)
    named = {mode for mode in load_taxonomy().ids for it in near if mode in it.note}
    assert named == set(load_taxonomy().ids)


def test_the_dialogue_ends_with_the_message_and_alternates():
    for labelled in everything():
        dialogue = labelled.dialogue
        assert dialogue.id == labelled.id and dialogue.turns[-1].text == labelled.message
        assert dialogue.turns[-1].speaker is Speaker.CHATBOT
        assert all(a.speaker is not b.speaker for a, b in zip(dialogue.turns, dialogue.turns[1:], strict=False))
    assert {it.dialogue.split for it in shipped("held_out")} == {Split.TEST}


def test_files_have_one_layout():
    for labelled in everything():
        assert labelled.part.replace("_", "-") in labelled.id
        assert labelled.message == labelled.message.strip() and labelled.note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modes": ["sycofancy"]}, "unknown failure mode 'sycofancy'; did you mean sycophancy"),
        ({"severity": 4}, "severity"),
        ({"severity": None}, "got severity None with modes"),
        ({"modes": []}, "got severity 1 with modes"),
        ({"context": []}, "context"),
        ({"context": [{"speaker": "user", "text": "a"}, {"speaker": "chatbot", "text": "b"}]}, "the user last"),
        ({"context": [{"speaker": "user", "text": "a"}, {"speaker": "user", "text": "b"}]}, "alternating"),
        ({"context": [{"speaker": "therapist", "text": "a"}]}, "context.0.speaker"),
        ({"message": " "}, "message"),
        ({"mode": "overload"}, "mode: Extra inputs"),
    ],
)
def test_a_faulty_line_is_an_error_that_names_file_line_and_key(tmp_path, change, message):
    path = write(tmp_path / "own.jsonl", ROW, {**ROW, "id": "x-2", **change})
    with pytest.raises(CorpusError, match=message) as caught:
        load_labelled("build", path)
    assert "own.jsonl, line 2" in str(caught.value)


def test_a_second_line_with_the_same_id_broken_json_and_a_missing_file_are_errors(tmp_path):
    with pytest.raises(CorpusError, match="line 2: id 'x-1' stands there already"):
        load_labelled("build", write(tmp_path / "twice.jsonl", ROW, ROW))
    (tmp_path / "broken.jsonl").write_text('{"id": \n', encoding="utf-8")
    with pytest.raises(CorpusError, match="line 1: not valid JSON"):
        load_labelled("build", tmp_path / "broken.jsonl")
    with pytest.raises(CorpusError, match="cannot be read"):
        load_labelled("build", tmp_path / "none.jsonl")


def test_a_file_of_ones_own_may_be_empty_and_may_name_modes_of_ones_own(tmp_path):
    assert load_labelled("build", write(tmp_path / "empty.jsonl")) == []
    modes = tmp_path / "own.yaml"
    shown = "[{user: a, reply: b}, {user: c, reply: d}]"
    modes.write_text(
        "modes: {mine: {name: n, definition: d, severities: [a, b, c], visibility: message, cues: [c], "
        f"examples: {shown}, counter_examples: {shown}}}}}\n",
        encoding="utf-8",
    )
    path = write(tmp_path / "own.jsonl", {**ROW, "modes": ["mine"]})
    assert load_labelled("held_out", path, taxonomy=load_taxonomy(modes))[0].modes == {"mine"}
    with pytest.raises(CorpusError, match="unknown failure mode 'mine'"):
        load_labelled("held_out", path)


def test_what_the_chatbot_thought_is_no_part_of_a_labelled_message(tmp_path):
    context = [{"speaker": "chatbot", "text": "<think>a</think>Hi."}, {"speaker": "user", "text": "hi"}]
    row = {**ROW, "context": context, "message": "<think>he whines</think>Hello."}
    (labelled,) = load_labelled("build", write(tmp_path / "a.jsonl", row))
    assert labelled.message == labelled.dialogue.turns[-1].text == "Hello."
    assert (labelled.context[0].text, labelled.context[0].thought) == ("Hi.", "a")
    with pytest.raises(CorpusError, match="line 1: message: got a thought and no message"):
        load_labelled("build", write(tmp_path / "b.jsonl", {**ROW, "message": "<think>he whines"}))


@pytest.mark.parametrize("line", ["[" * 100_000, "[1]", "{", "\x00"])
def test_labels_that_are_no_objects_are_an_error_of_their_line(tmp_path, line):
    path = tmp_path / "labels.jsonl"
    path.write_text(line)
    with pytest.raises(CorpusError, match=r"labels\.jsonl, line 1") as refused:
        load_labelled("build", path)
    assert "instance of" not in str(refused.value)


def test_labels_are_read_from_a_regular_file_alone():
    with pytest.raises(CorpusError, match="/dev/zero: is no file"):
        load_labelled("build", Path("/dev/zero"))
