"""Temporary folders of adapters."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from advsim.rollout.scratch import AdapterScratch

HOLDER = "from advsim.rollout.scratch import AdapterScratch; s = AdapterScratch(); print(s.path, flush=True); input()"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def test_a_folder_goes_with_its_engine(temporary: Path) -> None:
    scratch = AdapterScratch()
    (scratch.path / "v1").mkdir()
    scratch.remove()
    scratch.remove()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_engine_left_is_removed_by_the_next_and_what_is_in_use_is_not(temporary: Path) -> None:
    (temporary / "advsim-adapters-of-somebody").mkdir()  # without a lock: nobody knows whose it is
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    left = Path(holder.stdout.readline().strip())
    first = AdapterScratch()
    assert left.is_dir(), "its engine lives"
    holder.kill()
    holder.wait()
    second = AdapterScratch()
    assert not left.exists() and first.path.is_dir() and second.path.is_dir()
    first.remove()
    second.remove()
    assert [path.name for path in temporary.iterdir()] == ["advsim-adapters-of-somebody"]
