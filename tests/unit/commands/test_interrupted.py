"""What Ctrl-C leaves to be said."""

from __future__ import annotations

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

    monkeypatch.setattr(f"advsim.commands.{command[0]}.run", interrupt)
    assert main(command) == 130
    assert capsys.readouterr().err == said
