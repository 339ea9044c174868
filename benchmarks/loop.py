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
import threading
import time
from pathlib import Path

import advsim


def run_memory_gib() -> float:
    """Proportional set size in GiB of every process that was started after this one by this user."""
    total_kib = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name = (folder / "cmdline").read_bytes()
            if not any(word in name for word in (b"ray", b"advsim", b"VLLM", b"vllm")):
                continue
            lines = (folder / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # ended meanwhile, or not ours
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kib / 2**20


def main() -> None:
    config, *options = sys.argv[1:]
    peak_gib = 0.0
    finished = threading.Event()

    def watch() -> None:
        nonlocal peak_gib
        while not finished.wait(1.0):
            peak_gib = max(peak_gib, run_memory_gib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="advsim-benchmark-") as folder:
        command = [sys.executable, "-m", "advsim.cli", "train", config, *options, "-o", f"output_dir={folder}"]
        try:
            subprocess.run(command, check=True, stdout=sys.stderr)
        finally:
            finished.set()
            watcher.join()
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
                    "peak_memory_gib": round(peak_gib, 2),
                    "seconds": {line["stage"]: round(line["seconds"], 1) for line in journal},
                    "output_tokens_per_s": [metrics["rollout"]["output_tokens_per_s"] for metrics in run.rounds],
                    "versions": run.manifest["versions"],
                },
                indent=2,
            )
        )


if __name__ == "__main__":
    main()
