"""The dialogues of a run are found by their hash where the folder was copied to another machine."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import made_up_dialogues
import pytest

from advsim.cli import main
from advsim.config import parse_config
from advsim.corpus.load import load_corpus
from advsim.errors import AdvsimError, ConfigError, CorpusError
from advsim.evaluation.run_corpus import corpus_of_run
from advsim.run_folder.folder import RunDir
from advsim.run_folder.reader import Run, load_run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with nothing in it."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def run(tmp_path: Path, home: Path) -> Run:
    """A run in a folder deeper down, and its dialogues in ``data/`` beside nothing."""
    (tmp_path / "data").mkdir()
    config = parse_config(
        {"corpus": {"source": "jsonl", "path": str(made_up_dialogues.write(tmp_path / "data" / "chats.jsonl"))}}
    )
    folder = RunDir(str(tmp_path / "elsewhere" / "runs" / "one"))
    folder.write_json(
        "manifest.json",
        {
            "name": "one",
            "config": config.model_dump(mode="json"),
            "corpus": {"sha256": load_corpus(config.corpus).sha256, "num_dialogues": 14},
        },
    )
    return load_run(str(folder.path))


def found(run: Run, **changes) -> str:
    config = parse_config(run.config)
    return corpus_of_run(run, config.corpus.model_copy(update=changes)).sha256


def test_where_the_configuration_says_nothing_is_searched(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(tmp_path / "data" / "chats.jsonl", tmp_path / "home" / "chats.jsonl")
    assert found(run) == run.corpus_sha256 and not caplog.records


@pytest.mark.parametrize(
    "place", ["home/chats.jsonl", "home/renamed.jsonl", "elsewhere/runs/one/chats.jsonl", "elsewhere/runs/other.jsonl"]
)
def test_moved_dialogues_are_found_here_or_beside_the_run_by_their_hash(
    run: Run, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.move(tmp_path / "data" / "chats.jsonl", tmp_path / place)
    made_up_dialogues.write(tmp_path / "home" / "a.jsonl", num=3)
    (tmp_path / "home" / "b.jsonl").write_text("no dialogue\n")
    with caplog.at_level(logging.WARNING):
        assert found(run) == run.corpus_sha256
    assert [record.message for record in caplog.records] == [
        f"run {run.folder.location}: its dialogues are read from {tmp_path / place}, by their hash"
    ]


def test_a_relative_path_is_found_from_the_folder_that_holds_runs(run: Run, tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "data").mkdir()
    shutil.move(tmp_path / "data" / "chats.jsonl", tmp_path / "elsewhere" / "data" / "chats.jsonl")
    assert found(run, path="data/chats.jsonl") == run.corpus_sha256


def test_renamed_dialogues_that_are_given_are_the_runs(run: Run, tmp_path: Path) -> None:
    shutil.move(tmp_path / "data" / "chats.jsonl", tmp_path / "data" / "renamed.jsonl")
    assert found(run, path=str(tmp_path / "data" / "renamed.jsonl")) == run.corpus_sha256


def test_other_dialogues_of_the_same_name_are_not_taken(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data" / "chats.jsonl").unlink()
    made_up_dialogues.write(tmp_path / "home" / "chats.jsonl", num=9)
    with pytest.raises(CorpusError, match=rf"SHA-256 {run.corpus_sha256[:12]} in .*home either; .*--corpus"):
        found(run)
    with pytest.raises(ConfigError, match=rf"expected {run.corpus_sha256[:12]}.*--corpus PATH"):
        found(run, path=str(tmp_path / "home" / "chats.jsonl"))


@pytest.mark.parametrize("command", ["report", "evaluate"])
def test_both_commands_take_the_place_of_the_dialogues(
    run: Run, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "away").mkdir()
    shutil.move(tmp_path / "data" / "chats.jsonl", tmp_path / "away" / "chats.jsonl")
    assert main([command, run.folder.location]) == 2
    assert "--corpus PATH" in capsys.readouterr().err
    code = main([command, run.folder.location, "--corpus", str(tmp_path / "away" / "chats.jsonl")])
    said = capsys.readouterr()
    assert "--corpus PATH" not in said.err
    assert code == 0 if command == "report" else "nothing" in said.err or "neither conversations" in said.err


def test_hub_and_sample_runs_are_not_searched_for(run: Run) -> None:
    config = parse_config({})
    run.folder.write_json("manifest.json", {"config": config.model_dump(mode="json"), "corpus": {"sha256": "0" * 64}})
    with pytest.raises(AdvsimError, match="expected 000000000000") as differs:
        corpus_of_run(run, config.corpus)
    assert "no file with" not in str(differs.value)
