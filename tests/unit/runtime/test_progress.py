from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest

from advsim.runtime.progress import PLAIN_INTERVAL_S, Reporter


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def interactive(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_plain_reporter_prints_no_control_characters(
    stream: type[io.StringIO], interactive: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = stream()
    reporter = Reporter(file, force_plain=True)
    with reporter.stage("rollout 1/2", total=2, unit="dialogue") as stage:
        stage.advance()
        stage.note("\x1b[31mred\x1b[0m\r\nnext")
        reporter.warning("odd \x1b]0;title\x07 text [bold]kept[/bold]")
        stage.advance()
    written = file.getvalue()
    assert "rollout 1/2: 2 dialogues in" in written
    assert "[bold]kept[/bold]" in written
    assert not re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", written)


def test_plain_lines_come_at_most_every_interval(clock: Clock) -> None:
    file = io.StringIO()
    reporter = Reporter(file, force_plain=True, clock=clock)
    with reporter.stage("rollout", total=100, unit="dialogue") as stage:
        for _ in range(60):
            clock.now_s += 1
            stage.advance()
            stage.note("ok")
    lines = file.getvalue().splitlines()
    assert len(lines) == 2 + 60 / PLAIN_INTERVAL_S
    assert lines[0].endswith("rollout: started, 100 dialogues")
    assert lines[1].endswith("rollout: 15/100 dialogues, 1.0/s, about 1 min 25 s left, ok")
    assert lines[-1] == "[0:01:00] rollout: 60 dialogues in 1 min 00 s (1.0/s); ok"


def test_steps_reported_from_outside_set_count_total_and_loss(clock: Clock) -> None:
    file = io.StringIO()
    with Reporter(file, force_plain=True, clock=clock).stage("SFT", unit="step") as stage:
        clock.now_s += 20
        stage.update(10, 40, {"loss": 2.5, "grad_norm": 1.0})
        clock.now_s += 60
        stage.update(39, 40, {"loss": 1.25})
        stage.update(40, 40, {})
    lines = file.getvalue().splitlines()
    assert lines[1].endswith("SFT: 10/40 steps, 30.0/min, about 1 min 00 s left, loss 2.500")
    assert lines[-1].endswith("SFT: 40 steps in 1 min 20 s (30.0/min); loss 1.250")


def test_broken_stage_is_not_reported_as_done(clock: Clock) -> None:
    file = io.StringIO()
    with (
        pytest.raises(ValueError),
        Reporter(file, force_plain=True, clock=clock).stage("dpo", total=8, unit="step") as stage,
    ):
        stage.advance(3)
        clock.now_s += 4
        raise ValueError
    assert file.getvalue().splitlines()[-1].endswith("dpo: stopped after 4.0 s at 3/8")


def test_terminal_keeps_one_line_a_stage_and_gives_the_cursor_back(interactive: None) -> None:
    file = Terminal()
    reporter = Reporter(file)
    with reporter.stage("outer"), reporter.stage("rollout", total=2, unit="dialogue") as stage:
        stage.advance(2)
        reporter.message("half way")
    written = file.getvalue()
    assert written.count("rollout: 2 dialogues in") == 1
    assert "half way" in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")


def test_continuous_integration_gets_plain_lines(interactive: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    assert not Reporter(Terminal()).is_live


def test_terminal_bars_leave_standard_output_alone(interactive: None, capsys: pytest.CaptureFixture[str]) -> None:
    file = Terminal()
    with Reporter(file).stage("load"):
        print("from a library")
    assert capsys.readouterr().out == "from a library\n"
    assert "from a library" not in file.getvalue()


def test_progress_needs_none_of_the_heavy_libraries() -> None:
    heavy = "torch", "ray", "matplotlib", "transformers"
    code = f"import advsim.runtime.progress, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
