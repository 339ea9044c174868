"""What ``advsim check`` calls sound starts: places, cores, and what models can do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advsim.cli import main
from advsim.config import parse_config
from advsim.errors import ConfigError, CorpusError
from advsim.training.check import check_inputs

CASES = Path(__file__).resolve().parents[3] / "configs"


def refusal(tmp_path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        check_inputs(parse_config({"output_dir": str(tmp_path / "runs")}, overrides))
    return str(refused.value)


def test_a_sound_configuration_makes_nothing(tmp_path: Path) -> None:
    assert check_inputs(parse_config({"output_dir": str(tmp_path / "runs")})) is not None
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "place",
    ["''", "~nosuchuser/x", "foo://bar", "https://x/y", "/etc/passwd", "/proc/x", "'${HOME}/runs'", r'"a\u0000b"'],
)
def test_an_output_folder_that_cannot_be_is_refused(tmp_path: Path, place: str) -> None:
    assert "output_dir" in refusal(tmp_path, f"output_dir={place}")


def test_keys_in_an_address_are_refused_and_not_printed(tmp_path: Path) -> None:
    message = refusal(tmp_path, "output_dir=s3://AKIA123:topsecret@bucket/runs")
    assert "holds a key or password" in message and "topsecret" not in message


def test_a_sequence_longer_than_the_model_can_have_is_refused(tmp_path: Path) -> None:
    assert "model.path can have 8192 tokens" in refusal(tmp_path, "engine.max_model_len=20000")
    assert "discriminator.max_tokens: got 9000" in refusal(tmp_path, "discriminator.max_tokens=9000")


def test_a_kv_cache_that_cannot_hold_one_sequence_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "engine.max_model_len=8000", "engine.kv_cache_gib=0.05")
    assert "engine.kv_cache_gib: got 0.05" in message and "takes 0.17 GiB" in message


def test_layers_that_the_model_lacks_are_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "lora.target_modules=[q_proj, nonexistent]")
    assert "lora.target_modules: the model has no layer called nonexistent" in message
    assert "discriminator.lora.target_modules" in refusal(tmp_path, "discriminator.lora.target_modules=[nonexistent]")


def test_cores_that_do_not_exist_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert "this machine has cores 0 to" in refusal(tmp_path, "engine.cpu_threads_bind=0-4095")


@pytest.mark.parametrize("name", ["[/bold]", "[red]x"])
def test_markup_in_a_name_is_shown_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    folder = tmp_path / "[/x]"
    arguments = ["-o", f"chatbot.name='{name}'", "-o", f"output_dir='{folder}'"]
    assert main(["check", str(CASES / "quickstart.yaml"), *arguments]) == 0
    assert name in capsys.readouterr().out


def test_rounds_on_prefixes_need_dialogues_of_two_users(tmp_path: Path) -> None:
    file = tmp_path / "one.jsonl"
    turns = [{"speaker": speaker, "text": f"{speaker} says {n}"} for n in range(4) for speaker in ("user", "chatbot")]
    sides = [("ann", "train")] * 3 + [("bob", "validation")] * 2
    rows = [{"id": f"d{n}", "user_id": u, "turns": turns, "split": split} for n, (u, split) in enumerate(sides)]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    given = {"output_dir": str(tmp_path / "runs"), "corpus": {"source": "jsonl", "path": str(file)}}
    assert check_inputs(parse_config(given)) is not None
    with pytest.raises(CorpusError, match="train split has dialogues of 1 user"):
        check_inputs(parse_config(given, ["discriminator.on=prefixes"]))
    assert check_inputs(parse_config(given, ["discriminator.on=prefixes", "stop.max_rounds=0"])) is not None


@pytest.mark.parametrize(
    ("on", "key", "value"),
    [
        ("conversations", "discriminator.prefixes.num_prefixes", 10),
        ("prefixes", "discriminator.learning_rate", 1e-3),
        ("prefixes", "discriminator.visible_turns", "all"),
        ("prefixes", "preference.num_lowest_turns", 3),
    ],
)
def test_a_setting_of_the_other_kind_of_round_is_refused(on: str, key: str, value: object) -> None:
    with pytest.raises(ConfigError, match="no effect"):
        parse_config({}, [f"discriminator.on={on}", f"{key}={value}"])


def test_a_configuration_written_out_whole_is_read_again() -> None:
    for on in ("conversations", "prefixes"):
        config = parse_config({}, [f"discriminator.on={on}"])
        assert parse_config(config.model_dump(mode="json")) == config


def test_one_draw_a_prefix_gives_no_pair_and_is_refused() -> None:
    asked = ["discriminator.on=prefixes", "rollout.max_user_turns=1"]
    assert parse_config({}, asked).discriminator.on == "prefixes"
    with pytest.raises(ConfigError, match=r"preference\.num_candidates is 1"):
        parse_config({}, [*asked, "preference.num_candidates=1"])
