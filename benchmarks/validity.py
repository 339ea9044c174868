"""Simulated against replayed real failure rates over chatbot configurations, for every simulator of a finished run.

`python benchmarks/validity.py RUN --chatbots configs/chatbots` starts one engine, lets every simulator of the run (the
base model zero-shot, SFT, each round) talk to every chatbot on held-out scenarios, lets the same chatbots answer real
held-out prefixes, runs a detector over both, and prints how well the simulated rates agree with the real ones. Finished
parts are kept in OUTPUT (default: RUN/validity): the same command again goes on where it was stopped, and only prints
the table once everything is there.

What it shows: whether a simulator puts chatbots in the order, and at the distances, in which they fail on real people's
messages. What it does not: replayed messages stand behind another chatbot's turns (a human supporter's), so failures
that build up over a chatbot's own turns are in the simulated rates only; and both sides are judged by the same
detector, whose errors are part of both rates. A chatbot here is a system prompt and a sampling on one model; a small
one follows prompts weakly, and where the real rates hardly differ between chatbots the ceiling says so.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import advsim
from advsim.config import ChatbotConfig, Config, load_chatbots, parse_config
from advsim.corpus.load import Corpus, load_corpus
from advsim.corpus.prefixes import Prefix, user_of
from advsim.detectors.protocol import Detector
from advsim.detectors.rules import RulesDetector
from advsim.errors import AdvsimError, ConfigError
from advsim.models.adapter import Canary
from advsim.models.base import load_tokenizer, resolve_model
from advsim.prompts.simulator import SimulatorPrompts
from advsim.rates.divergence import Divergence, mode_divergence
from advsim.rates.outcomes import MessageOutcome, outcomes
from advsim.rates.rates import ANY
from advsim.records import AdapterRef, Conversation, Dialogue, Split, StopReason, user_turns
from advsim.report.chatbots.figures import agreement_notes, chatbot_table
from advsim.report.chatbots.metrics import ByChatbotPart
from advsim.report.evaluation.tables import figure_tables
from advsim.report.page.figures import Cell, Row, RowGroup, format_figure, format_interval
from advsim.rollout.delivery import Delivery
from advsim.rollout.pool import RolloutPool
from advsim.rollout.replay import ReplayedReply
from advsim.rollout.turn_loop import RolloutTask
from advsim.run_folder.folder import RunDir, config_changes
from advsim.run_folder.reader import Run
from advsim.run_folder.tables import conversations_table, read_conversations, turns_table
from advsim.runtime.placement import Pools, start_ray
from advsim.runtime.progress import Reporter
from advsim.sweep.replay import (
    choose_replay_prefixes,
    read_replies,
    replay_outcomes,
    replay_requests,
    replayed_dialogues,
    replies_table,
)
from advsim.validity.by_chatbot import validity_by_mode
from advsim.validity.replication import AbPair, AbReplication, PairResult, ab_replication
from advsim.validity.verdict import Agreement, ConfigurationPair, Validity, predictive_validity

TOKENS_A_MESSAGE = 35
"""Rough mean over users and chatbots, for the estimate of the work only."""

SETTINGS = "settings.json"
RESULT = "validity.json"
Outcomes = dict[str, list[MessageOutcome]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """One simulator of the run; ``adapter`` None is the base model."""

    name: str
    adapter: AdapterRef | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is simulated and replayed."""

    run: Run
    config: Config
    corpus: Corpus
    chatbots: tuple[ChatbotConfig, ...]
    simulators: tuple[Simulator, ...]
    scenarios: tuple[Dialogue, ...]  # one a conversation; held out from training
    held_out: tuple[Dialogue, ...]
    prefixes: tuple[Prefix, ...]
    seed: int
    output: RunDir

    @property
    def names(self) -> list[str]:
        """Names of the chatbots."""
        return [chatbot.name for chatbot in self.chatbots]

    def missing_chatbots(self, simulator: Simulator) -> list[str]:
        """Chatbots whose conversations are not there, or were ended by a failing engine: they are held again.

        The conversations' table is written after that of their turns.
        """

        def is_missing(name: str) -> bool:
            table = f"{cell(simulator, name)}/conversations.parquet"
            if not self.output.exists(table):
                return True
            return StopReason.ERROR.value in self.output.read_table(table)["stop_reason"].to_pylist()

        return [name for name in self.names if is_missing(name)]

    def missing_replays(self) -> list[str]:
        """Chatbots whose replays are not there, or hold an answer that failed."""

        def is_missing(name: str) -> bool:
            if not self.output.exists(replay_file(name)):
                return True
            return any(reply.error for reply in read_replies(self.output.read_table(replay_file(name))))

        return [name for name in self.names if is_missing(name)]

    def tasks(self, simulator: Simulator, names: Sequence[str]) -> list[RolloutTask]:
        """All conversations of a simulator, a chatbot after the other; every chatbot meets the same scenarios."""
        number = self.simulators.index(simulator)
        return [
            RolloutTask(
                conversation_id=f"{simulator.name}-{name}-{index:04d}",
                scenario=dialogue.scenario,
                chatbot=name,
                adapter=simulator.adapter,
                seed=self.seed + 1_000_003 * (number + 1) + 10_007 * self.names.index(name) + 11 * index,
            )
            for name in names
            for index, dialogue in enumerate(self.scenarios)
        ]


def cell(simulator: Simulator, chatbot: str) -> str:
    return f"simulated/{simulator.name}/{chatbot}"


def replay_file(chatbot: str) -> str:
    return f"replayed/{chatbot}.parquet"


# --- what is to be done ----------------------------------------------------------------------------------------------


def plan(arguments: argparse.Namespace) -> Study:
    """The study that the arguments describe.

    Raises:
        ConfigError: the corpus is another one than that of the run, a name is asked for that is not there, or the
            output folder holds another study.
    """
    run = advsim.load_run(arguments.run)
    values: dict[str, Any] = run.manifest["config"]
    overrides = [f"rollout.max_user_turns={arguments.max_user_turns}", *arguments.override]
    config = parse_config(values, overrides, where=f"configuration of {arguments.run}")
    corpus = load_corpus(config.corpus)
    if corpus.sha256 != run.manifest["corpus"]["sha256"]:
        raise ConfigError(
            f"the corpus of {arguments.run} has changed since: got hash {corpus.sha256[:12]}, expected "
            f"{run.manifest['corpus']['sha256'][:12]}; restore it, or say where it is with -o corpus.path=..."
        )
    held_out = tuple(d for d in corpus.dialogues if d.split is not Split.TRAIN)
    order = sorted(held_out, key=lambda dialogue: dialogue.id)
    random.Random(arguments.seed).shuffle(order)
    # Nobody is on both sides: what one person brings would make simulated and real rates alike by itself.
    scenarios = order[: min(arguments.num_conversations, len(order) // 2)]
    simulated = {user_of(dialogue) for dialogue in scenarios}
    replayed = [dialogue for dialogue in order if user_of(dialogue) not in simulated]
    if not scenarios or not replayed:
        raise ConfigError(
            f"{arguments.run} keeps {len(order)} dialogues from training, expected enough for people to simulate and "
            "others to replay; raise corpus.validation_fraction"
        )
    output = RunDir(arguments.output or f"{arguments.run.rstrip('/')}/validity")
    study = Study(
        run=run,
        config=config,
        corpus=corpus,
        chatbots=tuple(load_chatbots(*arguments.chatbots)),
        simulators=choose_simulators(run, arguments.simulators),
        scenarios=tuple(scenarios[index % len(scenarios)] for index in range(arguments.num_conversations)),
        held_out=held_out,
        prefixes=tuple(
            choose_replay_prefixes(
                replayed,
                num_prefixes=arguments.num_prefixes,
                seed=arguments.seed,
                max_user_turn=arguments.max_user_turns,
            )
        ),
        seed=arguments.seed,
        output=output,
    )
    check_names(study, arguments.baseline)
    keep_settings(study)
    return study


def choose_simulators(run: Run, wanted: Sequence[str]) -> tuple[Simulator, ...]:
    there = [Simulator(name="zero_shot", adapter=None), Simulator(name="sft", adapter=run.adapter(0))]
    there += [
        Simulator(name=f"round_{number}", adapter=run.adapter(number)) for number in range(1, len(run.rounds) + 1)
    ]
    unknown = sorted(set(wanted) - {simulator.name for simulator in there})
    if unknown:
        names = ", ".join(simulator.name for simulator in there)
        raise ConfigError(f"--simulators: got {unknown[0]}, expected some of {names}")
    return tuple(simulator for simulator in there if not wanted or simulator.name in wanted)


def check_names(study: Study, baseline: str) -> None:
    unsafe = [name for name in study.names if not name.replace("_", "").replace("-", "").isalnum()]
    if unsafe:
        raise ConfigError(f"chatbot {unsafe[0]!r}: expected a name of letters, digits, _ and -; it names a folder here")
    if baseline not in study.names:
        raise ConfigError(f"--baseline {baseline}: no such chatbot; expected one of {', '.join(study.names)}")


def keep_settings(study: Study) -> None:
    """Write what the output folder is about, or check that it is about the same."""
    settings = {
        "seed": study.seed,
        "scenarios": [dialogue.id for dialogue in study.scenarios],
        "prefixes": [f"{name}@{turn}" for name, turn in study.prefixes],
        **{part: getattr(study.config, part).model_dump(mode="json") for part in ("rollout", "prompt", "engine")},
        "chatbot_model": (study.config.chatbot.model or study.config.model).model_dump(mode="json"),
        "model": study.run.manifest["model"],
        "adapters": {s.name: s.adapter.sha256 if s.adapter else "" for s in study.simulators},
        "chatbots": {chatbot.name: chatbot.model_dump(mode="json") for chatbot in study.chatbots},
    }
    before = study.output.read_json(SETTINGS) if study.output.exists(SETTINGS) else settings
    shared = {
        **settings,  # simulators and chatbots may be added later; what both know must be the same
        "adapters": {**before["adapters"], **settings["adapters"]},
        "chatbots": {**before["chatbots"], **settings["chatbots"]},
    }
    known = {
        **before,
        "adapters": {**settings["adapters"], **before["adapters"]},
        "chatbots": {**settings["chatbots"], **before["chatbots"]},
    }
    changes = config_changes(known, shared)
    if changes:
        raise ConfigError(
            f"{study.output.location} holds results of another study ({', '.join(changes)} differ); give another "
            "folder with --output, or remove it"
        )
    study.output.write_json(SETTINGS, shared)


def describe_work(study: Study, *, tokens_per_s: float) -> str:
    turns = study.config.rollout.max_user_turns
    open_cells = sum(len(study.missing_chatbots(simulator)) for simulator in study.simulators)
    num_simulated = open_cells * len(study.scenarios) * 2 * turns
    num_replayed = len(study.missing_replays()) * len(study.prefixes)
    tokens = (num_simulated + num_replayed) * TOKENS_A_MESSAGE
    cells = len(study.simulators) * len(study.chatbots)
    return (
        f"{len(study.simulators)} simulators x {len(study.chatbots)} chatbots x {len(study.scenarios)} conversations "
        f"of at most {turns} user turns, and {len(study.chatbots)} x {len(study.prefixes)} replays. To do: "
        f"{open_cells} of {cells} cells, at most {num_simulated} simulated messages, and {num_replayed} replays; about "
        f"{tokens:,} tokens, {tokens / tokens_per_s / 60:.0f} min at {tokens_per_s:g} tokens/s (less where "
        "conversations end early)"
    )


# --- doing it --------------------------------------------------------------------------------------------------------


@contextmanager
def engines(study: Study) -> Iterator[RolloutPool]:
    """The run's rollout engines, serving all chatbots; no scorer and no learner."""
    import ray

    started_here = not ray.is_initialized()
    start_ray(study.config)
    pools = Pools(timeout_s=study.config.resources.schedule_timeout_s)
    try:
        with tempfile.TemporaryDirectory(prefix="advsim-logs-") as scratch:
            log_dir = study.output.path / "logs" if study.output.is_local else Path(scratch)
            rollouts = RolloutPool(study.config, pools, log_dir=str(log_dir), chatbots=study.chatbots)
            rollouts.wait_until_ready()
            yield rollouts
    finally:
        pools.release_all()
        if started_here:
            ray.shutdown()


def delivery(study: Study, adapter: AdapterRef) -> Delivery:
    """An adapter of the run with the canary of its training; another canary would not have its log-probabilities."""
    prompts = SimulatorPrompts(
        load_tokenizer(resolve_model(study.config.model)),
        instructions=study.config.prompt.instructions,
        budget_tokens=parse_config(study.run.manifest["config"]).prompt_budget_tokens,
    )
    dialogue = max(study.corpus.split(Split.TRAIN), key=lambda d: (len(d.turns[0].text), d.id))
    position, turn = user_turns(dialogue)[0]
    metrics = "sft/metrics.json" if adapter.version == 0 else f"rounds/{adapter.version:02d}/dpo.json"
    return Delivery(
        adapter=adapter,
        files=study.run.folder.read_files(adapter.path),
        canary=Canary(
            prompt_ids=prompts.prompt(dialogue.context, dialogue.turns[:position]),
            completion_ids=prompts.turn_ids(turn)[:32],
        ),
        canary_logprobs=tuple(study.run.folder.read_json(metrics)["canary_logprobs"]),
    )


def replay_all(study: Study, rollouts: RolloutPool, reporter: Reporter) -> None:
    names = study.missing_replays()
    requests = replay_requests(study.prefixes, study.held_out, chatbots=names, seed=study.seed)
    found: dict[str, list[ReplayedReply]] = {name: [] for name in names}
    with reporter.stage("replay", total=len(requests), unit="message") as stage:
        for reply in rollouts.replay(requests):
            done = found[reply.chatbot]
            done.append(reply)
            stage.advance()
            if len(done) == len(study.prefixes):
                done.sort(key=lambda one: (one.dialogue_id, one.turn))
                study.output.write_table(replay_file(reply.chatbot), replies_table(done))


def simulate_all(study: Study, simulator: Simulator, rollouts: RolloutPool, reporter: Reporter) -> None:
    if simulator.adapter is not None:
        rollouts.push(delivery(study, simulator.adapter))
    names = study.missing_chatbots(simulator)
    tasks = study.tasks(simulator, names)
    found: dict[str, list[Conversation]] = {name: [] for name in names}
    with reporter.stage(f"conversations, {simulator.name}", total=len(tasks), unit="dialogue") as stage:
        for conversation in rollouts.simulate(tasks):
            done = found[conversation.chatbot]
            done.append(conversation)
            stage.advance()
            if len(done) == len(study.scenarios):
                done.sort(key=lambda one: one.id)
                folder = cell(simulator, conversation.chatbot)
                study.output.write_table(f"{folder}/turns.parquet", turns_table(done))
                study.output.write_table(f"{folder}/conversations.parquet", conversations_table(done))


def work(study: Study, reporter: Reporter) -> None:
    if not study.missing_replays() and not any(map(study.missing_chatbots, study.simulators)):
        return
    with engines(study) as rollouts:
        if study.missing_replays():
            replay_all(study, rollouts, reporter)
        for simulator in study.simulators:
            if study.missing_chatbots(simulator):
                simulate_all(study, simulator, rollouts, reporter)


# --- reading it ------------------------------------------------------------------------------------------------------


def conversations_of(study: Study, simulator: Simulator, chatbot: str) -> list[Conversation]:
    folder = cell(simulator, chatbot)
    return read_conversations(
        study.output.read_table(f"{folder}/conversations.parquet"), study.output.read_table(f"{folder}/turns.parquet")
    )


def simulated_outcomes(
    chatbot: str, conversations: Sequence[Conversation], dialogues: Mapping[str, Dialogue], detector: Detector
) -> list[MessageOutcome]:
    """Outcomes of the messages that the chatbot itself wrote: an opening taken from the real dialogue is not its own.

    All conversations of one scenario are one cluster (of the scenario's user where known), over all chatbots, so that
    two chatbots are compared on the same scenarios. A conversation that failed has one more row, with ``error``.
    """
    scenario = {conversation.id: dialogues[conversation.scenario_id] for conversation in conversations}
    rows = outcomes(
        chatbot,
        conversations,
        detector.assess(conversations),
        judged_modes=detector.modes,
        left_out=[(conversation_id, 0) for conversation_id, dialogue in scenario.items() if dialogue.opening],
    )
    rows += [
        MessageOutcome(
            configuration=chatbot,
            dialogue_id=conversation.id,
            user_id=None,
            turn=len(conversation.turns),
            modes=frozenset(),
            error=True,
        )
        for conversation in conversations
        if conversation.stop_reason is StopReason.ERROR
    ]
    return [dataclasses.replace(row, user_id=user_of(scenario[row.dialogue_id])) for row in rows]


def real_outcomes(study: Study, detector: Detector) -> Outcomes:
    found = {}
    for name in study.names:
        replies = read_replies(study.output.read_table(replay_file(name)))
        found[name] = replay_outcomes(name, replayed_dialogues(replies, study.held_out), detector)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one simulator's rates are worth. ``by_mode`` has Pearson's r of modes that both sides show."""

    simulator: str
    validity: Validity
    divergence: Divergence
    divergence_with_none: Divergence
    ab: AbReplication
    by_mode: dict[str, Agreement]
    stop_reasons: dict[str, int]
    num_user_turns: int
    num_regenerated: int
    num_output_tokens: int


def measure(study: Study, simulator: Simulator, real: Outcomes, detector: Detector, *, baseline: str) -> Result:
    dialogues = {dialogue.id: dialogue for dialogue in study.held_out}
    conversations = {name: conversations_of(study, simulator, name) for name in study.names}
    simulated = {name: simulated_outcomes(name, conversations[name], dialogues, detector) for name in study.names}
    sides = [[row for rows in side.values() for row in rows] for side in (simulated, real)]
    everything = [conversation for found in conversations.values() for conversation in found]
    pairs = [AbPair(a=name, b=baseline) for name in study.names if name != baseline]
    return Result(
        simulator=simulator.name,
        validity=predictive_validity(simulated, real, seed=study.seed),
        divergence=mode_divergence(*sides, modes=detector.modes, seed=study.seed),
        divergence_with_none=mode_divergence(*sides, modes=detector.modes, with_none=True, seed=study.seed),
        ab=ab_replication(simulated, real, pairs, seed=study.seed),
        by_mode=validity_by_mode(simulated, real, modes=detector.modes),
        stop_reasons=dict(sorted(Counter(c.stop_reason.value for c in everything).items())),
        num_user_turns=sum(len(user_turns(c)) for c in everything),
        num_regenerated=sum(c.num_regenerated for c in everything),
        num_output_tokens=sum(c.num_output_tokens for c in everything),
    )


# --- saying it -------------------------------------------------------------------------------------------------------


def print_results(study: Study, results: Sequence[Result]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 100)
    modes = {mode: mode.replace("_", " ") for result in results for mode in result.by_mode}
    table = chatbot_table({result.simulator: as_part(result) for result in results}, real="real", modes=modes)
    console.print(
        "\nFailures by the detector, any mode unless one is named, with 95 % intervals. Real: replay of "
        f"{len(study.prefixes)} prefixes of {len({name for name, _ in study.prefixes})} dialogues; simulated: "
        f"{len(study.scenarios)} conversations of each simulator with each chatbot."
    )
    for part in figure_tables(dataclasses.replace(table, groups=(*table.groups, divergence_rows(results)))):
        console.print(part)
    for result in results:
        stops = ", ".join(f"{reason} {count}" for reason, count in result.stop_reasons.items())
        said = f"{result.simulator}: {result.validity.sentence} (ends: {stops}; {result.num_user_turns} user turns)"
        console.print(" ".join([said, *agreement_notes(as_part(result))]), markup=False, highlight=False)


def as_part(result: Result) -> ByChatbotPart:
    """The result in the form that tables are made of."""
    pairs = result.validity.pairs
    return ByChatbotPart.model_validate(
        {
            "chatbots": [
                {"chatbot": p.configuration, **{side: {ANY: rate} for side, rate in as_sides(p).items()}} for p in pairs
            ],
            "tests": [
                {"pair": dataclasses.asdict(p.pair), **{side: [found] for side, found in as_sides(p).items()}}
                for p in result.ab.pairs
            ],
            "validity": dataclasses.asdict(result.validity),
            "validity_by_mode": {mode: dataclasses.asdict(found) for mode, found in result.by_mode.items()},
            "replication": dataclasses.asdict(result.ab),
        }
    )


def as_sides(pair: ConfigurationPair | PairResult) -> dict[str, dict[str, Any]]:
    return {"simulated": dataclasses.asdict(pair.simulated), "real": dataclasses.asdict(pair.real)}


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


def result_json(study: Study, results: Sequence[Result], detector: Detector) -> dict[str, Any]:
    return {
        "run": study.run.folder.location,
        "detector": detector.name,
        "num_chatbots": len(study.chatbots),
        "num_conversations": len(study.scenarios),
        "num_prefixes": len(study.prefixes),
        "max_user_turns": study.config.rollout.max_user_turns,
        "simulators": [dataclasses.asdict(result) for result in results],
    }


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("--chatbots", nargs="+", default=["configs/chatbots"], help="files or folders")
    parser.add_argument("--simulators", nargs="*", default=[], help="some of zero_shot sft round_1 ...; all by default")
    parser.add_argument("--num-conversations", type=int, default=16, help="of each simulator with each chatbot")
    parser.add_argument("--num-prefixes", type=int, default=80, help="real prefixes that each chatbot answers")
    parser.add_argument("--max-user-turns", type=int, default=3, help="of a conversation, and of a prefix")
    parser.add_argument("--baseline", default="assistant", help="the chatbot that A/B pairs compare with")
    parser.add_argument("--output", help="folder of the results; default RUN/validity")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tokens-per-s", type=float, default=300.0, help="for the estimate of the work only")
    parser.add_argument(
        "-o", "--override", action="append", default=[], help="key.path=value of the run's configuration"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parsed = parser.parse_args(arguments)
    for name in ("num_conversations", "num_prefixes", "max_user_turns"):
        if getattr(parsed, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: got {getattr(parsed, name)}, expected 1 or more")
    return parsed


def main() -> None:
    arguments = parse_arguments()
    reporter = Reporter(file=sys.stderr)
    try:
        study = plan(arguments)
        reporter.message(describe_work(study, tokens_per_s=arguments.tokens_per_s))
        work(study, reporter)
        detector = RulesDetector()
        real = real_outcomes(study, detector)
        results = [measure(study, s, real, detector, baseline=arguments.baseline) for s in study.simulators]
    except AdvsimError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    written = result_json(study, results, detector)
    study.output.write_json(RESULT, written)
    if arguments.json:
        print(json.dumps(written, indent=2, allow_nan=False))
    else:
        print_results(study, results)


if __name__ == "__main__":
    main()
