"""The sweep that ships for trying the machinery: real Ray, actors and files; killed, and gone on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from advsim.config import SweepConfig, load_section
from advsim.sweep.planning.items import Design
from advsim.sweep.planning.study import plan
from advsim.sweep.shards import all_said

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SMOKE = str(ROOT / "configs" / "sweeps" / "smoke.yaml")


def start(*overrides: str, flags: tuple[str, ...] = ("--json",)) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "advsim.cli", "sweep", SMOKE, *flags]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.Popen(
        command + [part for override in overrides for part in ("-o", override)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_sweep_goes_on_and_has_every_conversation_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"output={tmp_path}/out", "num_conversations=150", "shard_size=20", "write_every_s=0.01"]
    killed = start(*overrides)
    give_up_at = time.monotonic() + 400
    while not list(tmp_path.rglob("free/*/*/*.parquet")) and time.monotonic() < give_up_at:
        time.sleep(0.02)
    tree = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    for process in tree:
        process.kill()
    killed.communicate()
    monkeypatch.chdir(ROOT)
    overrides_of = [f"output={tmp_path}/out", "num_conversations=150", "shard_size=20"]
    study = plan(load_section(SweepConfig, SMOKE, overrides_of))
    wanted = [item.id for cell, number in study.shards() for item in study.shard(cell, number)]
    before = [said.id for cell in study.cells(Design.FREE) for said in all_said(study, cell)]
    assert 0 < len(before) < len(wanted) == 900 and set(before) <= set(wanted)

    again = start(*overrides)
    printed, said = again.communicate(timeout=600)
    assert again.returncode == 0, said[-3000:]
    assert f"({len(before)} are there)" in said and "detector: started, 48 shards" in said
    found = json.loads(printed)
    there = Counter(said.id for cell in study.cells(Design.FREE) for said in all_said(study, cell))
    assert set(there) == set(wanted) and set(there.values()) == {1}
    assert found["is_complete"] and [each["simulator"] for each in found["simulators"]] == ["short", "crisis", "both"]
    assert [each["num_failed"] for each in found["chatbots"]] == [0, 0, 0]
    rates = {each["chatbot"]: each["simulated"]["any"] for each in found["simulators"][0]["by_chatbot"]["chatbots"]}
    assert all(rate["num_dialogues"] == 150 and rate["num_not_judged"] == 0 for rate in rates.values())


def test_what_there_is_to_do_is_said_without_starting_anything(tmp_path: Path) -> None:
    asked = start(f"output={tmp_path}/out", flags=("--dry-run", "--json"))
    printed, said = asked.communicate(timeout=300)
    assert asked.returncode == 0, said
    assert json.loads(printed)["num_conversations"] == 2 * 3 * 20
    assert not (tmp_path / "out").exists()
