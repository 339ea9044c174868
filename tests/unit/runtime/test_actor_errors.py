"""What is said of an actor's failure, and what is read from an engine's log."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError

from advsim.errors import ConfigError, EngineDiedError, EngineError
from advsim.runtime.actors import failure_of, is_death, last_error_in, open_log, reason_of

VLLM_LOG = """\
(EngineCore pid=7) INFO 11-28 09:00:00 [core.py:105] Initializing a V1 LLM engine
(EngineCore pid=7) ERROR 11-28 09:00:01 [core.py:1100] EngineCore failed to start.
(EngineCore pid=7) ERROR 11-28 09:00:01 [core.py:1100] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-28 09:00:01 [core.py:1100]   File "core.py", line 9, in run
(EngineCore pid=7) ERROR 11-28 09:00:01 [core.py:1100] ValueError: \x1b[31mTo serve\x1b[0m 2048 tokens.
(EngineCore pid=7) Process EngineCore:
Traceback (most recent call last):
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""


def task_error(cause: Exception) -> RayTaskError:
    return RayTaskError("simulate", "\x1b[36mray::A\x1b[0m\nTraceback\n  File x\n" + str(cause), cause)


def test_the_root_cause_is_the_last_error_of_the_log_that_is_not_about_another(tmp_path: Path) -> None:
    log = tmp_path / "simulator-0.log"
    log.write_text(VLLM_LOG)
    assert last_error_in(log) == "ValueError: To serve 2048 tokens."


def test_what_a_log_said_earlier_is_not_the_cause_of_now(tmp_path: Path) -> None:
    log = tmp_path / "simulator-0.log"
    log.write_text(VLLM_LOG)
    assert last_error_in(log, since=len(VLLM_LOG)) == ""
    assert last_error_in(tmp_path / "none.log") == "" and last_error_in(None) == ""


def test_only_a_gone_process_or_engine_is_a_death() -> None:
    assert is_death(ActorDiedError()) and is_death(OutOfMemoryError("x")) and is_death(EngineDiedError("x"))
    assert is_death(task_error(EngineDiedError("gone")))
    assert not is_death(task_error(EngineError("refused"))) and not is_death(task_error(RuntimeError("x")))
    assert not is_death(ActorDiedError.from_task_error(task_error(ConfigError("no model"))))


def test_an_error_of_advsim_arrives_as_itself_and_others_by_type_and_first_line(tmp_path: Path) -> None:
    ours = ConfigError("model.path: got x")
    assert failure_of(task_error(ours), "scorer-0") is ours
    said = failure_of(task_error(RuntimeError("out of\nmemory")), "scorer-0", log_dir=str(tmp_path))
    assert isinstance(said, EngineError)
    assert str(said) == (
        f"the scorer-0 process failed: RuntimeError: out of (traceback in {tmp_path / 'failures.log'})"
    )
    assert "File x" in (tmp_path / "failures.log").read_text()


def test_an_error_of_a_constructor_keeps_its_type_and_exit_code() -> None:
    text = task_error(ConfigError("x"))
    text.traceback_str = "ray::A\nTraceback\n  File x\nadvsim.errors.ConfigError: model.path: got 'x', no folder"
    said = failure_of(ActorDiedError.from_task_error(text), "simulator-0")
    assert isinstance(said, ConfigError) and str(said) == "model.path: got 'x', no folder"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OutOfMemoryError("Task was killed due to the node running low on memory"), "memory was nearly full"),
        (task_error(KeyError("x")), "KeyError: 'x'"),
        (EngineDiedError("first\nsecond"), "first"),
    ],
)
def test_a_reason_is_one_line(error: Exception, reason: str) -> None:
    assert reason in reason_of(error) and "\n" not in reason_of(error)


def test_logs_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        os.close(open_log(tmp_path / "logs" / "chatbot-0.log"))
        failure_of(ValueError("what a person wrote"), "chatbot-0", log_dir=str(tmp_path / "logs"))
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "logs").iterdir()}
    assert modes == {0o600} and stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700
