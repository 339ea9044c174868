"""Coverage of every interval method and the shares of simulators flagged, over many studies of known truth.

`python benchmarks/lab_coverage.py --repetitions 500 --output lab.json` prints the tables, and JSON to standard output
or into the file. About 2 s of one core a repetition.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from advsim.commands.lab import lab_json
from advsim.config import load_section
from advsim.lab.config import LabConfig
from advsim.lab.coverage import run_lab
from advsim.lab.tables import lab_tables
from advsim.runtime.progress import Reporter

LAB = Path(__file__).resolve().parents[1] / "configs" / "lab.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", default=str(LAB), help="a lab configuration; default: configs/lab.yaml")
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, default=1, help="another one than the lab's own")
    parser.add_argument("--output", type=Path, help="file for the JSON; default: standard output")
    parser.add_argument("-o", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    fixed = {"num_repetitions": options.repetitions, "num_workers": options.workers, "seed": options.seed}
    config = load_section(
        LabConfig, options.config, [*(f"{key}={value}" for key, value in fixed.items()), *options.overrides]
    )
    started_s = time.monotonic()
    with Reporter().stage("lab", total=config.num_repetitions, unit="repetition") as stage:
        result = run_lab(config, advance=stage.advance)
    console = Console(file=sys.stderr, width=180)
    for table in lab_tables(result, every_method=True):
        console.print(table)
    console.print(f"{time.monotonic() - started_s:.0f} s")
    text = lab_json(config, result) + "\n"
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
