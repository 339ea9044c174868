"""One owner of a run at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from advsim.errors import RunError
from advsim.run_folder.folder import RunDir
from advsim.run_folder.layout import LEASE
from advsim.run_folder.lease import STALE_S, lease

HOLDS = """
import sys, time
from advsim.run_folder.folder import RunDir
from advsim.run_folder.lease import lease
with lease(RunDir(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(str(tmp_path / "runs" / "r"))


def holder_of(run: RunDir) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, run.location], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_and_told_who_holds_the_run(run: RunDir) -> None:
    process = holder_of(run)
    try:
        with pytest.raises(RunError, match=rf"being written by process {process.pid} on .*, since 20"), lease(run):
            pass
    finally:
        process.kill()
        process.wait()


def test_a_killed_owner_leaves_the_run_to_the_next(run: RunDir) -> None:
    process = holder_of(run)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with lease(run):
        assert json.loads(run.read_bytes(LEASE))["pid"] == os.getpid()
    assert not run.exists(LEASE)


def test_on_storage_without_locks_a_lease_that_is_kept_fresh_is_respected_and_a_stale_one_is_not(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunDir, "is_local", property(lambda self: False))
    other = {"host": "elsewhere", "pid": 7, "since": "then", "at": time.time()}
    run.write_json(LEASE, other)
    with pytest.raises(RunError, match="process 7 on elsewhere, since then"), lease(run):
        pass
    run.write_json(LEASE, {**other, "at": time.time() - STALE_S - 1})
    with lease(run):
        assert json.loads(run.read_bytes(LEASE))["pid"] == os.getpid()
    assert not run.exists(LEASE)
