"""``advsim sweep``: simulators of a run against several chatbots, beside the chatbots' replies to real people.

Finished parts are kept: the same command again goes on where it was stopped, and only prints the table once everything
is there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from rich.table import Table

from advsim.commands.options import only_figures_on_stdout
from advsim.commands.show import console_on, money
from advsim.config import SweepConfig, load_section
from advsim.errors import ConfigError, one_line
from advsim.evaluation.instruments import build_instruments
from advsim.rates.rates import ANY
from advsim.report.chatbots.figures import agreement_notes, chatbot_table
from advsim.report.evaluation.tables import figure_tables
from advsim.report.page.figures import Cell, Row, RowGroup, format_figure, format_interval
from advsim.runtime.progress import Reporter
from advsim.sweep.measure import Result, all_services, measure, outcomes_of, real_outcomes, result_json
from advsim.sweep.outcomes import REPLAY, RESULT, write_outcomes
from advsim.sweep.plan import SweepPlan, describe_work, plan
from advsim.sweep.service import ChatbotService
from advsim.sweep.work import work
from advsim.validity.by_chatbot import AbTest, ByChatbot, ChatbotRates


def run(options: argparse.Namespace) -> None:
    """Run a sweep to its end, write what it found as JSON, and print it.

    Raises:
        AdvsimError: see :mod:`advsim.errors`.
    """
    settings = load_section(SweepConfig, options.config, options.overrides)
    with only_figures_on_stdout():
        study, results = sweep(settings)
    if options.json:
        print(json.dumps(study.output.read_json(RESULT), indent=2, allow_nan=False))
    else:
        print_results(study, results)


def sweep(settings: SweepConfig, *, reporter: Reporter | None = None) -> tuple[SweepPlan, list[Result]]:
    """Run a sweep to its end and write what it found; see :func:`advsim.run_sweep`."""
    reporter = reporter or Reporter(file=sys.stderr)
    study = plan(settings)
    instruments = build_instruments(settings.evaluate)
    if not instruments.counted:
        raise ConfigError(
            f"evaluate.worth: no mode of the detector {instruments.detector.name} is shown to be right more often than "
            "not, so that no rate could be given; choose another detector, or evaluate.worth=null for what it finds"
        )
    reporter.message(describe_work(study, tokens_per_s=settings.tokens_per_s))
    work(study, reporter)
    detector = instruments.measured
    try:
        real = real_outcomes(study, detector)
        simulated = {each.name: outcomes_of(study, each, detector) for each in study.simulators}
    finally:
        instruments.release()
    baseline = settings.baseline
    modes = instruments.modes or instruments.counted
    results = [
        measure(study, each, simulated[each.name], real, modes=modes, baseline=baseline) for each in study.simulators
    ]
    made_from = write_outcomes(study, settings, {**simulated, REPLAY: real})
    study.output.write_json(RESULT, result_json(study, results, detector, baseline=baseline, made_from=made_from))
    return study, results


def print_results(study: SweepPlan, results: Sequence[Result]) -> None:
    """Tables of rates, agreement, A/B tests and divergence, and the verdict of each simulator."""
    console = console_on()
    modes = {mode: mode.replace("_", " ") for result in results for mode in result.by_mode}
    table = chatbot_table({result.simulator: by_chatbot(result) for result in results}, real="real", modes=modes)
    console.print(
        "\nFailures by the detector, any mode unless one is named, with 95 % intervals. Real: replay of "
        f"{len(study.prefixes)} prefixes of {len({name for name, _ in study.prefixes})} dialogues; simulated: "
        f"{len(study.scenarios)} conversations of each simulator with each chatbot. Modes that the detector measures: "
        f"{', '.join(modes) or 'none'}."
    )
    for part in figure_tables(dataclasses.replace(table, groups=(*table.groups, divergence_rows(results)))):
        console.print(part)
    console.print(service_table(all_services(study)))
    for service in all_services(study):
        for reason, count in service.reasons.items():
            said = one_line(reason, max_characters=300)
            console.print(f"{service.chatbot}: {count} without a reply: {said}", highlight=False)
    for result in results:
        stops = ", ".join(f"{reason} {count}" for reason, count in result.stop_reasons.items())
        said = f"{result.simulator}: {result.validity.sentence} (ends: {stops}; {result.num_user_turns} user turns)"
        notes = [said, result.population_test.sentence, *agreement_notes(by_chatbot(result))]
        console.print(" ".join(notes), highlight=False)


def service_table(services: Sequence[ChatbotService]) -> Table:
    """How the chatbots answered, a row each."""
    headings: tuple[str, ...] = (
        "chatbot",
        "kind",
        "replies",
        "failed",
        "median s",
        "95 % s",
        "slowest s",
        "tokens in",
        "tokens out",
    )
    has_price = any(service.cost is not None for service in services)
    headings += ("cost",) if has_price else ()
    has_cache = any(service.num_from_cache for service in services)
    headings += ("without a call",) if has_cache else ()
    table = Table(*headings, title="How the chatbots answered; what failed is in no rate")
    for service in services:
        times = (service.seconds_p50, service.seconds_p95, service.seconds_max)
        is_told = service.num_replies - service.num_from_cache > service.num_without_tokens
        tokens = (service.num_prompt_tokens, service.num_output_tokens) if is_told else (None, None)
        table.add_row(
            service.chatbot,
            service.kind,
            str(service.num_replies),
            str(service.num_failed),
            *("-" if seconds is None else f"{seconds:.2f}" for seconds in times),
            *("-" if count is None else f"{count:,}" for count in tokens),
            *([money(service.cost)] if has_price else []),
            *([str(service.num_from_cache)] if has_cache else []),
        )
    return table


def by_chatbot(result: Result) -> ByChatbot:
    """The result in the form that tables of several chatbots are made of: any mode alone, chatbots on both sides."""
    return ByChatbot(
        chatbots=tuple(
            ChatbotRates(chatbot=pair.configuration, simulated={ANY: pair.simulated}, real={ANY: pair.real})
            for pair in result.validity.pairs
        ),
        tests=tuple(AbTest(pair=test.pair, simulated=(test.simulated,), real=(test.real,)) for test in result.ab.pairs),
        validity=result.validity,
        validity_by_mode=result.by_mode,
        population_test=result.population_test,
        replication=result.ab,
    )


def divergence_rows(results: Sequence[Result]) -> RowGroup:
    """Jensen-Shannon divergence over modes from the real messages; nothing stands in the column of these."""

    def row(label: str, cells: Sequence[Cell]) -> Row:
        return Row(label=label, cells=(Cell(), *cells))

    def figure(value: float | None, low: float | None = None, high: float | None = None) -> Cell:
        return Cell(value=format_figure(value, 3), interval=format_interval(low, high, 3))

    given, with_none = ([r.divergence for r in results], [r.divergence_with_none for r in results])
    return RowGroup(
        title="Divergence over modes, bits",
        rows=(
            row("given failure", [figure(d.jensen_shannon, d.low, d.high) for d in given]),
            row("  95 % of relabelled", [figure(d.null_high) for d in given]),
            row("  p", [figure(d.p_value) for d in given]),
            row("with messages that do not fail", [figure(d.jensen_shannon) for d in with_none]),
        ),
    )
