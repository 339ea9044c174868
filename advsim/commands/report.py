"""``advsim report``: the report of a run again, also of an unfinished one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from advsim.commands.options import corpus_override
from advsim.commands.show import print_parts, say
from advsim.config import parse_config
from advsim.corpus.load import Corpus
from advsim.errors import ConfigError
from advsim.evaluation.run_corpus import corpus_of_run
from advsim.report.run.metrics import read_metrics
from advsim.report.run.page import render_run
from advsim.report.run.tables import round_tables
from advsim.run_folder.layout import REPORT
from advsim.run_folder.reader import Run, load_run


def run(options: argparse.Namespace) -> None:
    """Write the report of a run and print its table, or its figures as JSON.

    Raises:
        ConfigError: it is no run folder.
        CorpusError: the run's dialogues cannot be read.
        RunError: the folder cannot be read or written.
    """
    run = load_run(options.run_folder)
    if options.json:
        print(json.dumps({"baseline": run.baseline, "rounds": run.rounds}, indent=2))
        return
    write_report(run, corpus_of(run, [*options.overrides, *corpus_override(options)]))
    print_parts(round_tables(read_metrics(baseline=run.baseline, rounds=run.rounds)), sys.stdout)
    say(f"report: {run.folder.location}/{REPORT}")


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
    metrics = read_metrics(manifest=run.manifest, baseline=run.baseline, rounds=rounds)
    page = render_run(metrics, conversations=shown, reals=reals)
    run.folder.write_bytes(REPORT, page.encode())
