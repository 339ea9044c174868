"""What of a file is not read is counted or refused, in every format; paths mean the same in all keys and options."""

import json
from pathlib import Path

import pytest
import yaml

from advsim.cli import main
from advsim.config import CorpusConfig, load_config
from advsim.corpus.files import read_dialogues
from advsim.corpus.load import load_corpus
from advsim.detectors.taxonomy import load_taxonomy
from advsim.errors import ConfigError, CorpusError, RunError
from advsim.evaluation.calibration import load_calibration
from advsim.evaluation.notes import file_notes, one_sided_notes
from advsim.records import Speaker
from advsim.run_folder.folder import RunDir

USER, BOT = {"speaker": "user", "text": "hi"}, {"speaker": "chatbot", "text": "hello"}


def write(path: Path, *lines: dict) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def many(path: Path, **more) -> Path:
    return write(path, *({"id": f"c-{i}", "turns": [{**USER, "text": f"hi {i}"}, BOT], **more} for i in range(30)))


@pytest.mark.parametrize(
    ("line", "num"),
    [
        ({"turns": [{"speaker": "System", "text": "be kind"}, USER, BOT, {"speaker": "tool", "text": "{}"}]}, 2),
        ({"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "hi"}]}, 1),
        ({"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "tool_calls": [1]}]}, 1),
        ({"conversations": [{"from": "system", "value": "x"}, {"from": "human", "value": "hi"}]}, 1),
        ({"turns": [USER, BOT]}, 0),
    ],
)
def test_dropped_turns_are_counted_in_every_format(tmp_path, capsys, line, num):
    roles = CorpusConfig(path=str(write(tmp_path / "a.jsonl", line, line)), drop_roles=("system", "tool"))
    assert (
        load_corpus(roles.model_copy(update={"validation_fraction": 0, "test_fraction": 0})).num_dropped_turns
        == 2 * num
    )
    file = read_dialogues(tmp_path / "a.jsonl", roles)
    assert file.num_dropped_turns == 2 * num
    notes = file_notes(file, roles)
    assert notes == ([f"a: {2 * num} turns were left out, as corpus.drop_roles (system, tool) says."] if num else [])


def test_dropped_turns_stand_in_corpus_stats(tmp_path, capsys):
    path = write(
        tmp_path / "a.jsonl",
        *(
            {"id": f"c{i}", "turns": [{"speaker": "system", "text": "be kind"}, {**USER, "text": f"{i}"}]}
            for i in range(30)
        ),
    )
    main(["corpus", "stats", str(path), "-o", "corpus.drop_roles=[system]", "--json"])
    assert json.loads(capsys.readouterr().out)["num_dropped_turns"] == 30


@pytest.mark.parametrize("key", ["id", "user_id", "split"])
def test_a_known_key_that_a_mapping_does_not_name_is_refused_until_it_is_decided(tmp_path, key):
    path = write(tmp_path / "a.jsonl", {key: "train", "log": [USER, BOT]})
    columns = {"turns": "log"}

    def load(**more):
        settings = {"path": str(path), "columns": {**columns, **more}, "validation_fraction": 0.0, "test_fraction": 0.0}
        return load_corpus(CorpusConfig.model_validate(settings)).dialogues[0]

    with pytest.raises(CorpusError, match=rf"key {key}: .*corpus.columns.{key} to {key} to use it, or to null"):
        load()
    load(**{key: None})
    used = load(**{key: key})
    assert {"id": used.id, "user_id": used.user_id, "split": used.split}[key] == "train"


def test_a_configuration_of_an_older_run_still_reads_its_file(tmp_path):
    path = write(tmp_path / "a.jsonl", {"split": "test", "user_id": "u", "log": [USER, BOT]})
    values = CorpusConfig(path=str(path), validation_fraction=0.0, test_fraction=0.0).model_dump(mode="json")
    values["columns"]["turns"] = "log"
    del values["columns"]["split"]  # which the older version did not have
    assert load_corpus(CorpusConfig.model_validate(values)).dialogues[0].user_id is None


@pytest.mark.parametrize("key", ["turns", "messages", "conversations"])
def test_turns_of_a_dialogue_have_a_bound_that_can_be_raised(tmp_path, key):
    names = {"turns": ("speaker", "text"), "messages": ("role", "content"), "conversations": ("from", "value")}[key]
    said = [dict(zip(names, ("user" if i % 2 == 0 else "assistant", f"{i}"), strict=True)) for i in range(12)]
    path = write(tmp_path / "a.jsonl", {"id": "c", key: said})
    for bound in (10_000, 12):
        assert len(read_dialogues(path, CorpusConfig(max_turns=bound)).dialogues[0].turns) == 12
    with pytest.raises(
        CorpusError, match=r"dialogue c: .*got 12 turns, expected at most 11; .*raise corpus\.max_turns"
    ):
        read_dialogues(path, CorpusConfig(max_turns=11))


def test_logs_of_users_alone_keep_their_turns_apart(tmp_path):
    alone = {"id": "a", "turns": [USER, {**USER, "text": "anyone?"}, {**USER, "text": "ok"}]}
    both = {"id": "b", "turns": [USER, {**USER, "text": "anyone?"}, BOT, BOT]}
    file = read_dialogues(write(tmp_path / "a.jsonl", alone, both))
    assert [[turn.text for turn in dialogue.turns] for dialogue in file.dialogues] == [
        ["hi", "anyone?", "ok"],
        ["hi\nanyone?", "hello\nhello"],
    ]
    assert {turn.speaker for turn in file.dialogues[0].turns} == {Speaker.USER}
    only = read_dialogues(write(tmp_path / "only.jsonl", alone))
    (note,) = one_sided_notes([file, only])
    assert note.startswith("only: holds users' turns alone.")
    assert one_sided_notes([only, only]) == one_sided_notes([file]) == []


def test_the_home_folder_is_meant_in_all_keys_and_options(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    many(tmp_path / "a.jsonl")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"name": "n", "corpus": {"path": "~/a.jsonl"}}))
    (tmp_path / "modes.yaml").write_text("modes: {missed_risk: {name: Risk missed}}")
    (tmp_path / "labels.jsonl").write_text("")
    assert len(load_corpus(load_config("~/run.yaml").corpus).dialogues) == 30
    assert len(read_dialogues("~/a.jsonl").dialogues) == 30
    assert load_taxonomy("~/modes.yaml").mode("missed_risk").name == "Risk missed"
    with pytest.raises(ConfigError, match="no labelled message"):
        load_calibration("~/labels.jsonl", load_taxonomy())
    assert RunDir("~/out").path == tmp_path / "out"


def test_the_home_folder_of_nobody_is_an_error_that_says_so():
    for read in (load_config, load_taxonomy, lambda path: load_calibration(path, load_taxonomy())):
        with pytest.raises(ConfigError, match="no home folder"):
            read("~nobody-here/a")
    with pytest.raises(RunError, match="nobody-here"):
        RunDir("~nobody-here/a")
