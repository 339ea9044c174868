"""Chatbot files: what is refused and how, and that the shipped ones are what the validity benchmark needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advsim.chatbots.load import check_named_chatbots, load_chatbots
from advsim.config import Config
from advsim.errors import ConfigError

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "chatbots"
APPROACHES = {
    "cognitive_behavioural",
    "motivational_interviewing",
    "person_centred",
    "solution_focused",
    "psychoeducation",
    "peer_support",
}
DEGRADED = {"terse", "lecture", "advice_first", "sycophantic", "crisis_blind", "cold", "repetitive"}


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_chatbots_are_the_approaches_the_degraded_ones_and_a_plain_assistant() -> None:
    chatbots = load_chatbots(FOLDER)
    assert {chatbot.name for chatbot in chatbots} >= APPROACHES | DEGRADED | {"assistant"}
    assert len({chatbot.system_prompt for chatbot in chatbots}) == len(chatbots)


def test_the_shipped_chatbots_can_share_one_engine_of_the_embedded_model() -> None:
    chatbots = load_chatbots(FOLDER)
    check_named_chatbots(chatbots, Config())
    for chatbot in chatbots:
        assert chatbot.kind == "model" and chatbot.model is None
        assert len(chatbot.system_prompt.split()) <= 150
        assert chatbot.sampling.max_tokens <= 128


def test_folders_and_files_can_be_given_together(tmp_path: Path) -> None:
    one = write(tmp_path / "one.yaml", json.dumps({"system_prompt": "Be one."}))
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "b.yaml", json.dumps({"system_prompt": "Be b."}))
    write(folder / "a.yaml", json.dumps({"name": "first", "system_prompt": "Be a."}))
    write(folder / "notes.txt", "no chatbot")
    assert [chatbot.name for chatbot in load_chatbots(one, folder)] == ["one", "first", "b"]


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.yaml", json.dumps({"system_prompt": "Be a."}))
    assert [chatbot.name for chatbot in load_chatbots("~")] == ["a"]
    assert [chatbot.name for chatbot in load_chatbots("~/a.yaml")] == ["a"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"system_promt": "x"}', "unknown key system_promt: did you mean system_prompt?"),
        ('{"sampling": {"temp": 1}}', "unknown key sampling.temp"),
        ('{"sampling": {"max_tokens": 0}}', "sampling.max_tokens: got 0"),
        ('{"kind": "scripted"}', "needs at least one entry in replies"),
        ('{"chatbot": {"name": "x"}}', "without a section around them"),
        ("- a\n- b\n", "expected a mapping"),
        ("{", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_refused_by_name_with_its_key(tmp_path: Path, text: str, named: str) -> None:
    file = write(tmp_path / "wrong.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_chatbots(file)
    assert str(file) in str(caught.value) and named in str(caught.value)


def test_two_chatbots_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.yaml", '{"name": "same"}')
    with pytest.raises(ConfigError, match=r"b\.yaml: got a chatbot called 'same', as .*a\.yaml has one"):
        load_chatbots(tmp_path)


def test_a_folder_without_chatbots_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \*\.yaml file"):
        load_chatbots(tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        load_chatbots(tmp_path / "missing.yaml")
