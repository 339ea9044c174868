"""``advsim report``: the report of a run again, also of an unfinished one, or the pages of a sweep."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from advsim.commands.options import corpus_override
from advsim.commands.show import print_json, print_parts, say
from advsim.config import parse_config
from advsim.config.paths import check_storage
from advsim.corpus.load import Corpus
from advsim.errors import AdvsimError, ConfigError, one_line
from advsim.evaluation.run_corpus import corpus_of_run
from advsim.records import Dialogue
from advsim.report.evaluation.tables import figure_tables
from advsim.report.run.metrics import read_metrics
from advsim.report.run.page import render_run
from advsim.report.run.tables import round_tables
from advsim.report.sweep.figures import read_figures
from advsim.report.sweep.page import write_pages
from advsim.report.sweep.tables import sweep_table
from advsim.report.sweep.words import standfirst
from advsim.run_folder.folder import RunDir
from advsim.run_folder.layout import MANIFEST, REPORT
from advsim.run_folder.reader import Run, load_run
from advsim.sweep.outcomes import RESULT


def run(options: argparse.Namespace) -> None:
    """Write the report of a run or a sweep and print its table, or its figures as JSON.

    Raises:
        ConfigError: it is no folder of a run or a sweep.
        CorpusError: the run's dialogues cannot be read.
        RunError: the folder cannot be read or written.
    """
    if "://" in options.run_folder:
        check_storage(options.run_folder, key="RUN")
    folder = RunDir(options.run_folder)
    if folder.exists(RESULT) and not folder.exists(MANIFEST):
        _report_sweep(folder, options)
        return
    run = load_run(options.run_folder)
    if options.json:
        print(json.dumps({"baseline": run.baseline, "rounds": run.rounds}, indent=2))
        return
    write_report(run, corpus_of(run, [*options.overrides, *corpus_override(options)]))
    print_parts(round_tables(read_metrics(baseline=run.baseline, rounds=run.rounds)), sys.stdout)
    say(f"report: {run.folder.location}/{REPORT}")


def _report_sweep(folder: RunDir, options: argparse.Namespace) -> None:
    if options.json:
        print_json(folder.read_object(RESULT))
        return
    page = write_pages(folder, _real_dialogues(folder, options))
    figures = read_figures(folder)
    print_parts(figure_tables(sweep_table(figures)), sys.stdout)
    say(standfirst(figures))
    say(f"report: {page}")


def _real_dialogues(folder: RunDir, options: argparse.Namespace) -> dict[str, Dialogue] | None:
    """Those of the sweep's run; None where run or dialogues are not where they were, as on another machine."""
    location = str(folder.read_object(RESULT).get("run") or "")
    overrides = [*options.overrides, *corpus_override(options)]
    if not location:
        return None
    try:
        corpus = corpus_of(load_run(location), overrides)
    except AdvsimError as error:
        if overrides:
            raise
        say(f"replies stand without the real turns before them: {one_line(str(error))}", sys.stderr)
        return None
    return {dialogue.id: dialogue for dialogue in corpus.dialogues}


def corpus_of(run: Run, overrides: Sequence[str] = ()) -> Corpus:
    """The dialogues that a run was trained on, wherever they lie now.

    Args:
        run: the run.
        overrides: ``corpus.key=value`` each, such as ``corpus.path=/data/chats.jsonl``.

    Raises:
        ConfigError: another key is overridden, or the dialogues are others than those of the run.
        CorpusError: the dialogues cannot be read.
    """
    other = [override for override in overrides if not override.strip().startswith("corpus.")]
    if other:
        raise ConfigError(f"override {other[0]!r}: has no effect on a report, which reads the section corpus alone")
    written = {"corpus": run.config["corpus"]} if "corpus" in run.config else {}  # the rest may be of another version
    config = parse_config(written, overrides, where=f"configuration of {run.folder.location}")
    return corpus_of_run(run, config.corpus)


def write_report(run: Run, corpus: Corpus) -> None:
    """Write the page of a run: figures of all finished rounds, and conversations of the first and the last."""
    rounds = run.rounds
    shown = {metrics["round"]: run.conversations(metrics["round"]) for metrics in (rounds[:1] + rounds[-1:])}
    scenario_ids = {conversation.scenario_id for conversations in shown.values() for conversation in conversations}
    reals = {dialogue.id: dialogue for dialogue in corpus.dialogues if dialogue.id in scenario_ids}
    metrics = read_metrics(manifest=run.manifest, baseline=run.baseline, rounds=rounds, no_signal=run.no_signal)
    page = render_run(metrics, conversations=shown, reals=reals)
    run.folder.write_bytes(REPORT, page.encode())
