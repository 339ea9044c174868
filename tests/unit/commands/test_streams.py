"""What stands on which stream, and what Ctrl-C leaves to be said."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from advsim.cli import main


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["train", "x.yaml"], "advsim: interrupted; run the same command to resume\n"),
        (["sweep", "x.yaml"], "advsim: interrupted; run the same command to resume\n"),
        (["evaluate", "runs/x"], "advsim: interrupted\n"),
        (["submit", "x.yaml", "--address", "http://h:1"], "advsim: job 7 goes on\n"),
    ],
)
def test_only_commands_that_resume_say_so(
    command: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(options: object) -> None:
        raise KeyboardInterrupt(*(["job 7 goes on"] if command[0] == "submit" else []))

    module = "cluster.submit" if command[0] == "submit" else command[0]
    monkeypatch.setattr(f"advsim.commands.{module}.run", interrupt)
    assert main(command) == 130
    assert capsys.readouterr().err == said


def test_json_of_an_evaluation_is_alone_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ray prints to standard output when a process dies."""

    def evaluate(*_: object) -> tuple[object, str]:
        print("(raylet) A worker died")
        return SimpleNamespace(groups=(), detector="rules", judge=None, notes=()), ""

    monkeypatch.setattr("advsim.commands.evaluate._evaluate_run", evaluate)
    monkeypatch.setattr("advsim.commands.evaluate.plain_values", lambda evaluation: {"groups": []})
    assert main(["evaluate", "runs/x", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"groups": []} and "(raylet)" in said.err


@pytest.mark.parametrize("error", [ValueError("x\x1b[2J"), KeyError("mode"), RecursionError(), SyntaxError("no")])
def test_a_fault_of_advsim_itself_has_an_exit_code_that_is_no_verdict(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: object) -> None:
        raise error

    monkeypatch.setattr("advsim.commands.predictions.gate.run", fail)
    assert main(["gate", "s", "--baseline", "a", "--candidate", "b", "--max-increase", "2"]) == 70
    said = capsys.readouterr()
    assert "Traceback" in said.err and not said.out and "\x1b" not in said.err
    last = said.err.splitlines()[-1]
    assert last.startswith(f"advsim: unexpected {type(error).__name__}: ") and "report it" in last


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (["evaluate", "--conversations", "FILE", "--out", "BAD"], "--out"),
        (["detectors", "measure", "--detector", "rules", "--save", "BAD"], "--save"),
        (["detectors", "train", "--out", "BAD"], "--out"),
    ],
)
@pytest.mark.parametrize("bad", ["FILE/inside", "/proc/x/y"])
def test_where_results_go_is_asked_before_the_work(
    command: list[str],
    key: str,
    bad: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"id": "c", "turns": [{"speaker": "user", "text": "hi"}]}\n')
    for work in ("evaluate.measure_files", "detectors.load_whole_dialogues", "detectors.load_labelled"):
        monkeypatch.setattr(f"advsim.commands.{work}", pytest.fail)
    assert main([part.replace("BAD", bad).replace("FILE", str(file)) for part in command]) == 2
    assert capsys.readouterr().err.startswith(f"advsim: {key}: ")


def test_a_key_that_says_nothing_of_a_detector_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detectors", "measure", "--detector", "rules", "-o", "corpus.path=x"]) == 2
    assert "corpus.path=x: has no effect" in capsys.readouterr().err
