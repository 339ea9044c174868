"""Sweeps of many dialogues, without a model: time, memory and what kills lose.

    python benchmarks/sweep_scale.py [--sizes 1000 10000 100000] [--kills 50] [--seed 0]

Users and chatbots say fixed lines, so that what is measured is advsim: planning, actors, files, detector, statistics.
Prints JSON: for each size the wall time, the time a dialogue, the peak memory of the driver and of everything; ratios
of the time a dialogue to that of the smallest size. Then the largest size once more, killed (SIGKILL of the driver and
all it started) at random moments and started again each time: items lost and items doubled, which have to be none.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import IO

import psutil
import yaml

from advsim.config import SweepConfig, load_section
from advsim.sweep.planning.study import plan
from advsim.sweep.shards import all_said

NUM_SCENARIOS = 500
CHATBOTS = {"calm": ["I hear you.", "What was hardest today?"], "hasty": ["You should go for a run.", "Just sleep."]}
LINES = ["I can't sleep again.", "It's my work, mostly.", "I don't know any more."]


def settings(folder: Path, num_dialogues: int) -> Path:
    """Write a sweep of two chatbots; returns its file."""
    scenarios = folder / "scenarios.jsonl"
    people = [json.dumps({"id": f"p{i}", "profile": f"Person number {i}."}) for i in range(NUM_SCENARIOS)]
    scenarios.write_text("\n".join(people))
    for name, replies in CHATBOTS.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "kind": "scripted", "replies": replies}))
    file = folder / f"sweep_{num_dialogues}.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "simulators": [{"name": "lines", "lines": LINES}],
                "chatbots": [str(folder / f"{name}.yaml") for name in CHATBOTS],
                "scenarios": str(scenarios),
                "baseline": "calm",
                "num_conversations": num_dialogues // len(CHATBOTS),
                "shard_size": 500,
                "max_user_turns": 3,
                "output": str(folder / f"out_{num_dialogues}"),
                "evaluate": {"detector": "rules"},
                "run_overrides": ["rollout.max_concurrent=64"],
            }
        )
    )
    return file


def start(file: Path, stderr: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start the sweep."""
    command = [sys.executable, "-m", "advsim.cli", "sweep", str(file), "--json"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)


def measured(file: Path, num_dialogues: int) -> dict[str, float]:
    """Run a sweep to its end and watch its memory."""
    started = time.monotonic()
    running = start(file)
    driver = psutil.Process(running.pid)
    peak_driver = peak_all = 0.0
    while running.poll() is None:
        try:
            peak_driver = max(peak_driver, driver.memory_info().rss)
            everything = [driver, *driver.children(recursive=True)]
            peak_all = max(peak_all, sum(process.memory_full_info().pss for process in everything))
        except psutil.Error:
            pass
        time.sleep(0.5)
    if running.returncode:
        raise SystemExit(f"the sweep ended with {running.returncode}")
    wall_s = time.monotonic() - started
    return {
        "num_dialogues": num_dialogues,
        "wall_s": round(wall_s, 1),
        "ms_a_dialogue": round(1000 * wall_s / num_dialogues, 2),
        "driver_peak_mib": round(peak_driver / 2**20),
        "all_peak_mib": round(peak_all / 2**20),
    }


def killed(file: Path, num_kills: int, rng: random.Random) -> dict[str, int]:
    """Kill a sweep again and again while it works, let it end, and count its items."""
    num_killed = 0
    while num_killed < num_kills:
        log = file.with_suffix(".log")
        with log.open("wb") as said:
            running = start(file, stderr=said)
            while running.poll() is None and b": started" not in log.read_bytes():
                time.sleep(0.05)
            try:
                running.wait(timeout=rng.uniform(0.05, 4.0))
                break  # it came to its end before the kill
            except subprocess.TimeoutExpired:
                kill(running)
                num_killed += 1
    if start(file).wait():
        raise SystemExit("the sweep did not come to its end after the kills")
    study = plan(load_section(SweepConfig, file))
    there = Counter(said.id for cell in study.cells(study.designs[0]) for said in all_said(study, cell))
    wanted = {item.id for cell, number in study.shards() for item in study.shard(cell, number)}
    return {
        "num_kills": num_killed,
        "num_items": len(wanted),
        "num_lost": len(wanted - there.keys()),
        "num_doubled": sum(count > 1 for count in there.values()),
        "num_strange": len(there.keys() - wanted),
    }


def kill(running: subprocess.Popen[bytes]) -> None:
    """SIGKILL a driver and all that it started: Ray's processes have groups of their own."""
    tree = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    for process in tree:
        try:
            process.kill()
        except psutil.Error:
            continue
    running.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="advsim-scale-") as name:
        folder = Path(name)
        sizes = [measured(settings(folder, size), size) for size in options.sizes]
        kills = {}
        if options.kills:
            again = Path(tempfile.mkdtemp(dir=folder))
            file = settings(again, options.sizes[-1])
            kills = killed(file, options.kills, random.Random(options.seed))
    fixed = sizes[0]["ms_a_dialogue"]
    print(
        json.dumps(
            {
                "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
                "sizes": [{**size, "ratio_to_smallest": round(size["ms_a_dialogue"] / fixed, 2)} for size in sizes],
                "kills": kills,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
