"""``advsim check``: check a configuration, print what a run with it would use, and send its chatbot one message.

A chatbot's own file, or a sweep's, is taken as well.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from advsim.chatbots.load import check_called_chatbots, load_chatbots
from advsim.chatbots.trial import Trial, trial_json, try_chatbot
from advsim.commands.options import config_of, is_sweep, only_figures_on_stdout
from advsim.commands.show import console_on, print_json
from advsim.config import ChatbotConfig, Config, EvaluateConfig, SweepConfig, load_section, parse_config, read_yaml
from advsim.config.load import set_override
from advsim.corpus.load import Corpus
from advsim.detectors.build import check_detector_files
from advsim.detectors.taxonomy import load_taxonomy
from advsim.errors import ConfigError, one_line
from advsim.evaluation.run_corpus import corpus_of_run
from advsim.models.base import check_model
from advsim.records import Split
from advsim.report.page.figures import money
from advsim.run_folder.reader import load_run
from advsim.runtime.placement import PoolRequest, colocated, pool_requests
from advsim.runtime.progress import duration
from advsim.sweep.planning.estimate import describe_work, estimate
from advsim.sweep.planning.study import plan
from advsim.sweep.work import missing
from advsim.training.check import check_inputs
from advsim.training.estimate import RunEstimate, estimate_run
from advsim.validity.by_chatbot import pair_readings


def run(options: argparse.Namespace) -> None:
    """Check a configuration and print what a run with it would use.

    Raises:
        ConfigError: a key, or a model's path; or the chatbot does not answer.
        CorpusError: the dialogues cannot be read, or a split that training needs is empty.
    """
    values = read_yaml(options.config)
    for override in options.overrides:
        set_override(values, override)
    if is_chatbot(values):
        _check_chatbot(options)
        return
    if is_sweep(values):
        _check_sweep(options)
        return
    config = config_of(options)
    _check_evaluate(config.evaluate)
    corpus = check_inputs(config)
    trial = _trial_of(config.chatbot, options)
    expected = _estimate(config, corpus, options.estimate) if options.estimate else None
    pools = pool_requests(config)
    splits = {split.value: len(corpus.split(split)) for split in Split} if corpus else None
    if options.json:
        asked = [
            {"pool": p.pool, "actors": p.num_bundles, "cpus_each": p.num_cpus, "gpus_each": p.num_gpus, "key": p.key}
            for p in pools
        ]
        print_json(
            {
                "config": config.model_dump(mode="json"),
                "pools": asked,
                "splits": splits,
                "chatbot_answer": trial_json(trial),
                **({"estimate": asdict(expected)} if expected else {}),
            }
        )
        return
    _print_summary(config, pools, splits)
    if values and values.keys() <= ChatbotConfig.model_fields.keys():
        console_on().print(
            "  checked as a run's file, though all its keys are a chatbot's as well; if it is a chatbot's, add "
            "kind: model",
            soft_wrap=True,
        )
    if expected is not None:
        _print_estimate(expected)
    _print_trial(config.chatbot, trial)


def is_chatbot(values: Mapping[str, Any]) -> bool:
    """Whether a file is a chatbot's: it has keys that only a chatbot has, mistyped or not, and none of a run alone."""
    run, chatbot = set(Config.model_fields), set(ChatbotConfig.model_fields)
    keys = {next(iter(difflib.get_close_matches(str(key), run | chatbot, n=1, cutoff=0.7)), None) for key in values}
    return bool(keys & (chatbot - run)) and not keys & (run - chatbot)


def _check_evaluate(config: EvaluateConfig) -> None:
    """Check what ``advsim evaluate`` would refuse of its section, as far as it can be known without dialogues."""
    check_detector_files(config)
    taxonomy = load_taxonomy(config.taxonomy)
    for mode in config.judge.modes:
        if mode not in taxonomy.ids:
            raise ConfigError(f"evaluate.judge.modes: got {mode!r}, expected some of {', '.join(taxonomy.ids)}")
    for pair in config.pairs:
        if not any(a and b and a != b for a, b in pair_readings(pair)):
            raise ConfigError(f"evaluate.pairs: got {pair!r}, expected NAME:NAME, two different chatbots")


def _estimate(config: Config, corpus: Corpus | None, location: str) -> RunEstimate:
    if corpus is None:
        raise ConfigError(
            "--estimate: the dialogues are read from the hub when the run starts, expected ones that are here; give a "
            "file with -o corpus.source=jsonl -o corpus.path=PATH"
        )
    measured = load_run(location)
    there = corpus_of_run(measured, parse_config(measured.config).corpus, remedy=f"a copy beside {location}")
    return estimate_run(config, corpus, measured=measured, measured_corpus=there)


def _print_estimate(expected: RunEstimate) -> None:
    table = Table("stage", "work", "expected", title=f"Time, from that of {expected.measured}")
    for each in expected.stages:
        known = "not known: that run did other work" if each.seconds is None else duration(each.seconds)
        table.add_row(each.stage, f"{each.amount:,.0f} {each.unit}", known)
    console = console_on()
    console.print(table)
    beside = f", and {', '.join(expected.unknown)}" if expected.unknown else ""
    said = f"together {duration(expected.seconds)}, beside starting engines and writing the report{beside}"
    console.print(said, soft_wrap=True)


def _check_chatbot(options: argparse.Namespace) -> None:
    (chatbot,) = load_chatbots(options.config, overrides=options.overrides)
    check_called_chatbots([chatbot])
    if chatbot.kind == "model" and chatbot.model is not None:
        check_model(chatbot.model, key=f"chatbot {chatbot.name}: model.path", use="chatbot")
    trial = _trial_of(chatbot, options)
    if options.json:
        print_json({"chatbot": chatbot.model_dump(mode="json"), "chatbot_answer": trial_json(trial)})
        return
    console_on().print(Text.assemble((chatbot.name, "bold"), f" ({chatbot.kind}): the chatbot's file is sound"))
    _print_trial(chatbot, trial)


def _check_sweep(options: argparse.Namespace) -> None:
    settings = load_section(SweepConfig, options.config, options.overrides)
    _check_evaluate(settings.evaluate)
    with only_figures_on_stdout():
        study = plan(settings)
        todo = estimate(study, missing(study))
    trials = {chatbot.name: _trial_of(chatbot, options) for chatbot in study.chatbots}
    if options.json:
        answers = {name: trial_json(trial) for name, trial in trials.items()}
        print_json({"sweep": settings.model_dump(mode="json"), "to_do": asdict(todo), "chatbot_answers": answers})
        return
    console = console_on()
    console.print(f"the sweep's file is sound: {describe_work(study, todo)}", highlight=False)
    console.print(f"  output       {study.output.location}", highlight=False, soft_wrap=True)
    console.print(f"  simulators   {', '.join(simulator.name for simulator in study.simulators)}", highlight=False)
    for chatbot in study.chatbots:
        console.print(Text.assemble((chatbot.name, "bold"), f" ({chatbot.kind})"))
        _print_trial(chatbot, trials[chatbot.name])


def _trial_of(chatbot: ChatbotConfig, options: argparse.Namespace) -> Trial | None:
    if not chatbot.is_called or options.no_call:
        return None
    with only_figures_on_stdout():  # code of a chatbot may print
        return try_chatbot(chatbot)


def _print_trial(chatbot: ChatbotConfig, trial: Trial | None) -> None:
    console = console_on()
    if trial is not None:
        console.print(f"  message      {trial.message}", highlight=False)
        console.print(f"  answer       {one_line(trial.reply, max_characters=400)}", highlight=False)
        told = [trial.effort.num_prompt_tokens, trial.effort.num_output_tokens]
        tokens = f"; {told[0]} tokens in, {told[1]} out" if None not in told else ""
        console.print(f"  time         {trial.effort.seconds:.2f} s{tokens}", highlight=False)
        if chatbot.price is not None:
            cost = money(trial.cost) if trial.cost is not None else "not known: the chatbot tells no tokens"
            console.print(f"  cost         {cost}", highlight=False)
    elif chatbot.is_called:
        console.print("  answer       not asked for (--no-call)", highlight=False)


def _print_summary(config: Config, pools: Sequence[PoolRequest], splits: Mapping[str, int] | None) -> None:
    console = console_on()
    dialogues = (
        ", ".join(f"{count} {split}" for split, count in splits.items()) if splits else "read when the run starts"
    )
    table = Table("pool", "actors", "CPUs each", "GPUs each", "set by", title="What each pool would ask for")
    for pool in pools:
        table.add_row(pool.pool, str(pool.num_bundles), f"{pool.num_cpus:g}", f"{pool.num_gpus:g}", pool.key)
    where = "on the simulator's engines" if colocated(config) else "in a pool of its own"
    console.print(Text.assemble((config.name, "bold"), ": the configuration is sound"))
    console.print(f"  run folder   {config.run_path}")
    console.print(f"  simulator    {config.model.path}")
    console.print(f"  chatbot      {config.chatbot.name} ({config.chatbot.kind}, {where})")
    console.print(f"  dialogues    {dialogues}")
    console.print(
        f"  rounds       up to {config.stop.max_rounds}, {config.rollout.num_conversations} conversations each"
    )
    console.print(table)
    cpus = sum(pool.num_bundles * pool.num_cpus for pool in pools)
    gpus = sum(pool.num_bundles * pool.num_gpus for pool in pools)
    console.print(f"together at most {cpus:g} CPUs and {gpus:g} GPUs")
