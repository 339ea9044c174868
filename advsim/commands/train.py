"""``advsim train``: a training run, and its report."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from advsim.commands.options import config_of
from advsim.commands.show import print_parts, say
from advsim.config import Config
from advsim.config.paths import under
from advsim.corpus.load import Corpus, load_corpus
from advsim.errors import AdvsimError, RunError
from advsim.run_folder.folder import RunDir
from advsim.run_folder.layout import LOGS, REPORT
from advsim.run_folder.reader import Run
from advsim.runtime.actors import open_log
from advsim.runtime.progress import Reporter
from advsim.training.check import check_inputs


def run(options: argparse.Namespace) -> None:
    """Train, or resume, and print the table; what libraries and child processes print goes to the run's logs.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    config = config_of(options)
    corpus = check_inputs(config)
    folder = RunDir(config.run_path)
    if not folder.is_local:
        folder.check_writable(key="output_dir")
    folder.write_bytes(f"{LOGS}/README", b"Output of the driver, the engines and Ray, off the screen.\n")
    log_file = str(folder.path / LOGS / "driver.log") if folder.is_local else os.devnull
    with _output_to(log_file) as (terminal_out, terminal_err):
        try:
            trained = train(
                config, corpus=corpus, allow_changed=options.allow_changed, reporter=Reporter(file=terminal_err)
            )
        except (AdvsimError, KeyboardInterrupt):
            traceback.print_exc()  # into the log; the terminal gets one paragraph
            raise
        except Exception as error:
            traceback.print_exc()
            raise RunError(
                f"unexpected {type(error).__name__}: {error}. The traceback is in {log_file}. What is finished is "
                "kept: once the cause is mended the same command resumes"
            ) from error
        if options.json:
            json.dump({"baseline": trained.baseline, "rounds": trained.rounds}, terminal_out, indent=2)
            terminal_out.write("\n")
        else:
            from advsim.report.run.metrics import read_metrics
            from advsim.report.run.tables import round_tables

            metrics = read_metrics(baseline=trained.baseline, rounds=trained.rounds)
            print_parts(round_tables(metrics), terminal_out)
            say(f"report: {under(config.run_path, REPORT)}", terminal_out)


def train(
    config: Config,
    *,
    corpus: Corpus | None = None,
    allow_changed: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> Run:
    """Train, or resume, and write the report; see :func:`advsim.train`.

    Args:
        config: the run's.
        corpus: its dialogues, where they are loaded already.
        allow_changed: keys that may differ from those the run was started with.
        reporter: shows progress.
    """
    from advsim.commands.report import write_report
    from advsim.training.run import run_training

    corpus = corpus or load_corpus(config.corpus)
    trained = run_training(config, corpus, allow_changed=allow_changed, reporter=reporter)
    write_report(trained, corpus)
    return trained


@contextlib.contextmanager
def _output_to(log_file: str) -> Iterator[tuple[TextIO, TextIO]]:
    """Send file descriptors 1 and 2, and so all chatter of libraries and child processes, to a log file.

    Yields:
        Streams to where standard output and standard error went before.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    terminal_out, terminal_err = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(2), "w")
    log = open_log(Path(log_file))
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield terminal_out, terminal_err
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        terminal_out.flush()
        terminal_err.flush()
        os.dup2(terminal_out.fileno(), 1)
        os.dup2(terminal_err.fileno(), 2)
