"""Whole training runs whose processes are killed at random moments: what they end with, and what is left behind.

    python -m pytest tests/chaos           a few kills, as in `make test`
    make chaos                             fifty

A real run on the tiny model: vLLM, Ray, SFT, discriminator, DPO. A process of each kind is killed in turn (SIGKILL; the
driver also by SIGTERM and SIGINT), as far as there is one at that moment; a driver that ended is started again with the
same command.
"""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import yaml

from advsim import load_run

pytestmark = pytest.mark.slow

NUM_KILLS = int(os.environ.get("ADVSIM_CHAOS_KILLS", "2"))
SEED = int(os.environ.get("ADVSIM_CHAOS_SEED", "0"))
NUM_ROUNDS = 2
NUM_CONVERSATIONS = 6
LONGEST_S = 900.0
"""Seconds without a kill after which a driver counts as stuck."""
MARK = "ADVSIM_CHAOS_MARK"

KINDS = {
    "engine": ("ray::SimulatorActor",),
    "vLLM": ("VLLM::",),
    "scorer": ("ray::ScorerActor",),
    "learner worker": ("ray::RayTrainWorker",),
    "learner controller": ("ray::TrainController",),
    "raylet": ("raylet/raylet",),
    "gcs": ("gcs_server",),
}
"""How the command lines of the processes of each kind begin, or what stands in them."""

ENDINGS = {
    signal.SIGKILL: (-signal.SIGKILL,),
    signal.SIGTERM: (130, -signal.SIGTERM),  # the latter before Ray started: nothing is there yet that must be ended
    signal.SIGINT: (130, -signal.SIGINT),
}
"""Exit codes of a driver that was sent a signal."""
RAY_ITSELF = {"raylet", "gcs"}
"""Where one of these dies while the driver connects, or stays away, Ray itself ends the driver's process, with 1."""


def configuration(folder: Path, model: Path) -> Path:
    sampling = {"temperature": 1.0, "max_tokens": 12}
    file = folder / "chaos.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "name": "chaos",
                "output_dir": str(folder / "runs"),
                "model": {"path": str(model)},
                "lora": {"r": 8, "alpha": 16},
                "sft": {"max_steps": 3, "learning_rate": 1e-2},
                "engine": {"kv_cache_gib": 0.2},
                "rollout": {"num_conversations": NUM_CONVERSATIONS, "max_user_turns": 2, "sampling": sampling},
                "chatbot": {"sampling": sampling},
                "discriminator": {"batch_size": 4},
                "preference": {"num_candidates": 3, "sampling": sampling},
                "dpo": {"learning_rate": 1e-2, "beta": 0.1, "max_steps": 2},
                "held_out": {"num_prefixes": 14, "num_bootstrap": 20, "num_folds": 2, "sampling": sampling},
                "stop": {"max_rounds": NUM_ROUNDS},
            }
        )
    )
    return file


def marked(mark: str) -> list[psutil.Process]:
    """Every living process that has this run's mark in its environment, whoever its parent is."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


def kinds_there(mark: str, driver: int) -> dict[str, list[psutil.Process]]:
    there: dict[str, list[psutil.Process]] = {}
    for process in marked(mark):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        kind = (
            "driver"
            if process.pid == driver
            else next((k for k, ways in KINDS.items() if any(w in line for w in ways)), "")
        )
        if kind:
            there.setdefault(kind, []).append(process)
    return there


def num_killed(killed: Counter[str], kind: str) -> int:
    return sum(number for name, number in killed.items() if name.split(",")[0] == kind)


def end_all(mark: str) -> None:
    for process in marked(mark):
        try:
            process.kill()
        except psutil.Error:
            continue


def test_a_run_whose_processes_are_killed_again_and_again_ends_with_everything_once(
    tiny_model: Path, tmp_path: Path
) -> None:
    file = configuration(tmp_path, tiny_model)
    mark, chance = f"chaos-{os.getpid()}-{time.time_ns()}", random.Random(SEED)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {MARK: mark}
    killed: Counter[str] = Counter()
    endings: Counter[str] = Counter()
    report = {"killed": killed, "endings": endings}
    started = time.monotonic()
    num_runs = 0

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "advsim.cli", "train", str(file), "-o", f"name=chaos{num_runs}"]
        with (tmp_path / "screen.txt").open("ab") as screen:
            # A shell that starts tests in the background has SIGINT ignored, which is inherited.
            restore = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
            return subprocess.Popen(command, env=environment, stdout=screen, stderr=screen, preexec_fn=restore)

    def check_run() -> None:
        """Everything of a run that ended is there once."""
        run = load_run(str(tmp_path / "runs" / f"chaos{num_runs}"))
        assert len(run.rounds) == NUM_ROUNDS
        for number in range(1, NUM_ROUNDS + 1):
            ids = [conversation.id for conversation in run.conversations(number)]
            assert ids == [f"r{number:02d}-{index:05d}" for index in range(NUM_CONVERSATIONS)]
        stages = [json.loads(line)["stage"] for line in (run.folder.path / "journal.jsonl").read_text().splitlines()]
        assert len(set(stages)) == len(stages)
        verified = subprocess.run(
            [sys.executable, "-m", "advsim.cli", "verify", str(run.folder.path)], capture_output=True, check=False
        )
        assert verified.returncode == 0, verified.stdout + verified.stderr

    try:
        driver, sent, hurt = start(), None, set[str]()
        next_kill, last_change = time.monotonic() + chance.uniform(5, 25), time.monotonic()
        while True:
            time.sleep(0.5)
            now = time.monotonic()
            assert now - last_change < LONGEST_S, (report, (tmp_path / "screen.txt").read_text()[-3000:])
            if (code := driver.poll()) is not None:
                endings[str(code)] += 1
                # 0 done, 3 a run that failed and can be resumed, 130 interrupted; anything else is a fault.
                assert code in (0, 3, *(ENDINGS[sent] if sent else ()), *((1,) if hurt & RAY_ITSELF else ())), (
                    code,
                    report,
                    (tmp_path / "screen.txt").read_text()[-3000:],
                )
                last_change = now
                if code == 0:
                    check_run()
                    if sum(killed.values()) >= NUM_KILLS:
                        break
                    num_runs += 1
                driver, sent, hurt = start(), None, set[str]()
                next_kill = now + chance.uniform(5, 25)
            elif now >= next_kill and sum(killed.values()) < NUM_KILLS:
                there = kinds_there(mark, driver.pid)
                if there:
                    kind = min(sorted(there), key=lambda each: (num_killed(killed, each), chance.random()))
                    wanted = chance.choice(sorted(ENDINGS)) if kind == "driver" else signal.SIGKILL
                    try:
                        chance.choice(there[kind]).send_signal(wanted)
                    except psutil.NoSuchProcess:
                        continue
                    if kind == "driver":
                        sent = wanted
                    hurt.add(kind)
                    killed[f"{kind}, {wanted.name}" if kind == "driver" else kind] += 1
                    last_change = now
                next_kill = now + chance.uniform(3, 25)
        deadline = time.monotonic() + 30
        while (left := marked(mark)) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert not left, [" ".join(process.cmdline())[:100] for process in left]
    finally:
        print(
            f"chaos: {sum(killed.values())} kills {dict(killed)}, endings {dict(endings)}, {num_runs + 1} runs,"
            f" {time.monotonic() - started:.0f} s"
        )
        end_all(mark)
