"""What ``advsim serve`` reads before it starts, and what it tells."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from served_run import scripted_plan, write_served_run

from advsim.cli import main
from advsim.commands.cluster.serve import free_port, serve_config, started, tell_key
from advsim.errors import ConfigError
from advsim.serve.answer import Served
from advsim.serve.key import KEY_VARIABLE, ServeKey, key_sha256, lets_in, serve_key


def test_key_is_taken_from_the_environment_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, " given-key-123 ")
    key = serve_key(KEY_VARIABLE)
    assert lets_in("Bearer given-key-123", key.sha256) and not key.made
    tell_key(key, KEY_VARIABLE)
    assert capsys.readouterr() == ("", "")
    assert "given" not in repr(key)


def test_key_is_made_and_shown_once_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    key = serve_key(KEY_VARIABLE)
    tell_key(key, KEY_VARIABLE)
    out, err = capsys.readouterr()
    assert out == "" and err.count(key.made) == 1 and len(key.made) > 30
    assert lets_in(f"bearer {key.made}", key.sha256)
    assert key.made not in repr(key) and serve_key(KEY_VARIABLE).made != key.made


@pytest.mark.parametrize("value", ["", "   ", "short", "two words", "zwölf-zeichen"])
def test_variable_without_a_key_is_refused_and_not_quoted(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(KEY_VARIABLE, value)
    with pytest.raises(ConfigError, match=KEY_VARIABLE) as refused:
        serve_key(KEY_VARIABLE)
    assert not value.strip() or value not in str(refused.value)


def test_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}"):
            free_port("127.0.0.1", port)
    assert free_port("127.0.0.1", 0) > 0


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 1), ("127.0.0.1", 70_000), ("203.0.113.7", 0)])
def test_address_that_is_not_of_this_machine_is_refused(host: str, port: int) -> None:
    with pytest.raises(ConfigError, match="cannot listen there"):
        free_port(host, port)


def test_folder_that_is_no_run_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(tmp_path)]) == 2
    assert "no manifest.json there" in capsys.readouterr().err


def test_simulator_that_the_run_lacks_is_refused_before_anything_starts(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_served_run(tmp_path / "run", tiny_model)
    assert main(["serve", str(tmp_path / "run"), "--at", "round_7"]) == 2
    assert "round_7" in capsys.readouterr().err


def test_replicas_are_engines_of_the_configuration(tmp_path: Path, tiny_model: Path) -> None:
    run = write_served_run(tmp_path / "run", tiny_model)
    assert serve_config(run, [], replicas=3).resources.simulator.num_replicas == 3
    assert serve_config(run, ["engine.max_num_seqs=4"], replicas=None).engine.max_num_seqs == 4
    with pytest.raises(ConfigError, match="num_replicas"):
        serve_config(run, [], replicas=0)


def test_what_is_told_at_the_start_has_address_model_and_a_call_without_the_key(
    tmp_path: Path, tiny_model: Path
) -> None:
    run = write_served_run(tmp_path / "run", tiny_model)
    plan = scripted_plan(run, "hi")
    served = Served(name="round_1", adapter=run.adapter(1), epoch=1)
    told = started(plan, served, host="127.0.0.1", port=8123, variable="MY_KEY")
    assert (
        "http://127.0.0.1:8123/v1" in told and "'made-up'" in told and f"round_1-{run.adapter(1).sha256[:12]}" in told
    )
    assert "curl http://127.0.0.1:8123/v1/chat/completions" in told and "$MY_KEY" in told
    assert "plain HTTP" not in told
    assert "plain HTTP" in started(plan, served, host="0.0.0.0", port=8123, variable="MY_KEY")


def test_key_hides_in_every_way_it_is_printed() -> None:
    key = ServeKey(sha256=key_sha256("made-key"), made="made-key")
    assert "made-key" not in f"{key} {key!r}"
