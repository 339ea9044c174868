"""``advsim sweep``: simulated users, and real people's messages, meet several chatbots.

Finished parts are kept: the same command again goes on where it was stopped, and only prints the table once everything
is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from advsim.commands.options import only_figures_on_stdout
from advsim.commands.show import console_on
from advsim.config import CorpusConfig, SweepConfig, load_section
from advsim.corpus.load import Corpus
from advsim.errors import ConfigError, one_line
from advsim.evaluation.instruments import build_instruments
from advsim.evaluation.run_corpus import corpus_of_run
from advsim.report.evaluation.tables import figure_tables
from advsim.report.sweep.figures import read_figures
from advsim.report.sweep.page import write_pages
from advsim.report.sweep.tables import service_cells, sweep_table
from advsim.report.sweep.words import standfirst, trust_sentences
from advsim.run_folder.layout import REPORT
from advsim.run_folder.lease import lease
from advsim.run_folder.reader import Run
from advsim.runtime.progress import Reporter
from advsim.sweep.early import Deciding
from advsim.sweep.judge import judge_all
from advsim.sweep.measure import Result, all_sides, measure_all, result_json
from advsim.sweep.outcomes import RESULT, write_outcomes
from advsim.sweep.planning.estimate import describe_work, estimate
from advsim.sweep.planning.settings import keep_settings
from advsim.sweep.planning.study import SweepPlan, plan
from advsim.sweep.service import ChatbotService, services
from advsim.sweep.work import missing, work


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResults:
    """What a sweep found.

    Attributes:
        study: what it is about.
        results: one a simulator.
        services: how each chatbot served.
        stopped_by: the cap that stopped it, in words; empty where it is complete.
    """

    study: SweepPlan
    results: tuple[Result, ...]
    services: tuple[ChatbotService, ...]
    stopped_by: str


def run(options: argparse.Namespace) -> None:
    """Run a sweep to its end, write what it found as JSON, and print it; or say what there is to do.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    settings = load_section(SweepConfig, options.config, options.overrides)
    if options.dry_run:
        with only_figures_on_stdout():
            study = _plan(settings)
            todo = estimate(study, missing(study))
        print(json.dumps(dataclasses.asdict(todo), indent=2) if options.json else describe_work(study, todo))
        return
    with only_figures_on_stdout():
        found = sweep(settings)
    if options.json:
        print(json.dumps(found.study.output.read_json(RESULT), indent=2, allow_nan=False))
    else:
        print_results(found)


def sweep(settings: SweepConfig, *, reporter: Reporter | None = None) -> SweepResults:
    """Run a sweep to its end, or to a cap, and write what it found; see :func:`advsim.run_sweep`."""
    reporter = reporter or Reporter(file=sys.stderr)
    study = _plan(settings)
    study.output.check_writable(key="output")
    with lease(study.output):
        keep_settings(study)
        instruments = build_instruments(settings.evaluate)
        if not instruments.counted:
            raise ConfigError(
                f"evaluate.worth: no mode of the detector {instruments.detector.name} is shown to be right more often "
                "than not, so that no rate could be given; choose another detector, or evaluate.worth=null for what it "
                "finds"
            )
        detector = instruments.measured
        decide = Deciding(study, detector, reporter) if settings.stop_early else None
        open_shards = missing(study)
        reporter.message(describe_work(study, estimate(study, open_shards)))
        try:
            stopped_by = work(study, open_shards, reporter, decide=decide)
            judge_all(study, detector, reporter)
        finally:
            instruments.release()
        sides = all_sides(study)
        modes = instruments.modes or instruments.counted
        results = measure_all(study, sides, modes=modes)
        made_from = write_outcomes(study, sides.outcomes)
        served = services(study)
        found = result_json(
            study,
            results,
            sides.outcomes,
            served,
            detector=detector.name,
            modes=detector.modes,
            made_from=made_from,
            stopped_by=stopped_by,
        )
        study.output.write_json(RESULT, found)
        write_pages(study.output, {dialogue.id: dialogue for dialogue in study.held_out})
    return SweepResults(study=study, results=tuple(results), services=tuple(served), stopped_by=stopped_by)


def _plan(settings: SweepConfig) -> SweepPlan:
    def corpus_of(run: Run, config: CorpusConfig) -> Corpus:
        return corpus_of_run(run, config, remedy="-o 'run_overrides=[corpus.path=PATH]'")

    return plan(settings, corpus_of=corpus_of)


def print_results(found: SweepResults) -> None:
    """Tables of all figures, and the verdict on each simulator."""
    study, console = found.study, console_on()
    figures = read_figures(study.output)
    console.print(f"\n{_what_stands_here(study)}")
    for part in figure_tables(sweep_table(figures)):
        console.print(part)
    console.print(service_table(found.services))
    for service in found.services:
        for reason, count in service.reasons.items():
            said = one_line(reason, max_characters=300)
            console.print(f"{service.chatbot}: {count} without a reply: {said}", highlight=False)
    console.print(standfirst(figures), highlight=False)
    for result in found.results:
        console.print(f"{result.simulator}: {' '.join(trust_sentences(result))}", highlight=False)
    if found.stopped_by:
        console.print(
            f"Stopped by {found.stopped_by}: these are the figures of what is there so far. Raise it and run the same "
            "command to go on.",
            highlight=False,
        )
    console.print(f"all figures: {study.output.location}/{RESULT}", highlight=False, soft_wrap=True)
    console.print(f"report: {study.output.location}/{REPORT}", highlight=False, soft_wrap=True)


def _what_stands_here(study: SweepPlan) -> str:
    parts = ["Failures by the detector, any mode unless one is named, with 95 % intervals."]
    if study.prefixes:
        num_dialogues = len({name for name, _ in study.prefixes})
        parts.append(f"Real: replay of {len(study.prefixes)} prefixes of {num_dialogues} dialogues.")
    parts.append(
        f"Simulated: at most {study.settings.num_conversations} conversations of each simulator with each chatbot, "
        f"on {len(study.starts)} scenarios."
    )
    return " ".join(parts)


def service_table(services: Sequence[ChatbotService]) -> Table:
    """How the chatbots answered, a row each: the page's table."""
    figures = service_cells(services)
    table = Table("chatbot", *figures.columns)
    for group in figures.groups:
        table.title = group.title
        for row in group.rows:
            table.add_row(row.label, *(cell.value for cell in row.cells))
    return table
