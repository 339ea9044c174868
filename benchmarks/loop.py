"""Time and memory of a whole training run: `python benchmarks/loop.py configs/quickstart.yaml [-o key=value ...]`.

Prints JSON: wall seconds, seconds a stage, and the peak memory of all processes of the run together (proportional set
size, so that pages shared between processes count once; Linux only).
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

import advsim


def memory_gib(root: psutil.Process) -> dict[str, float]:
    """Proportional set size in GiB of a process and all it has started, by name; engines and workers included."""
    by_name: dict[str, float] = {}
    for process in [root, *root.children(recursive=True)]:
        try:
            name = " ".join(process.cmdline())
            name = name if name.startswith("ray::") else Path(name.split()[0]).name if name else process.name()
            by_name[name] = by_name.get(name, 0.0) + process.memory_full_info().pss / 2**30
        except psutil.Error:
            continue  # ended meanwhile
    return by_name


def main() -> None:
    config, *options = sys.argv[1:]
    peak: dict[str, float] = {}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="advsim-benchmark-") as folder:
        command = [sys.executable, "-m", "advsim.cli", "train", config, *options, "-o", f"output_dir={folder}"]
        with subprocess.Popen(command, stdout=sys.stderr) as training:
            process = psutil.Process(training.pid)
            while training.poll() is None:
                peak = max(peak, memory_gib(process), key=lambda memory: sum(memory.values()))
                time.sleep(1.0)
        if training.returncode:
            raise SystemExit(training.returncode)
        wall_s = time.monotonic() - started
        (run_folder,) = Path(folder).iterdir()
        run = advsim.load_run(run_folder)
        journal = run.folder.read_lines("journal.jsonl")
        print(
            json.dumps(
                {
                    "config": config,
                    "machine": f"{platform.processor() or platform.machine()}, {platform.system()}",
                    "wall_s": round(wall_s, 1),
                    "peak_memory_gib": round(sum(peak.values()), 2),
                    "peak_memory_gib_of": {name: round(gib, 2) for name, gib in peak.items() if gib >= 0.1},
                    "seconds": {line["stage"]: round(line["seconds"], 1) for line in journal},
                    "output_tokens_per_s": [metrics["rollout"]["output_tokens_per_s"] for metrics in run.rounds],
                    "versions": run.manifest["versions"],
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
