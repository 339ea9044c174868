"""``advsim verify``: are the files of a run those that its stages wrote?"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from advsim.commands.show import print_parts
from advsim.errors import RunError
from advsim.run_folder.journal import Journal, StageCheck
from advsim.run_folder.reader import load_run


def run(options: argparse.Namespace) -> None:
    """Hold every finished stage of a run against its files; changes nothing.

    Raises:
        ConfigError: it is no run folder.
        RunError: a stage does not stand; the same run would do it again.
    """
    run = load_run(options.run_folder)
    journal = Journal(run.folder)
    checks = [check for stage in journal.stages if (check := journal.check(stage)) is not None]
    if options.json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        print_parts([_table(checks)], sys.stdout)
    wrong = [check.stage for check in checks if check.problems]
    if wrong:
        raise RunError(
            f"run {run.folder.location}: {len(wrong)} of {len(checks)} stages do not stand ({', '.join(wrong[:5])}); "
            "restore the files, or run 'advsim train' with the run's configuration, which does them again"
        )


def _table(checks: list[StageCheck]) -> Table:
    table = Table("stage", "files", title="Stages of the run, held against its files")
    for check in checks:
        stands = "as written" if check.is_verified else "there; written by a version without hashes"
        table.add_row(Text(check.stage), Text("\n".join(check.problems) or stands))
    return table
