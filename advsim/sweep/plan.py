"""Plan of a sweep: its simulators, chatbots, scenarios and prefixes, and what is still to be done.

Nobody is on both sides: people who are simulated are not among those whose prefixes are replayed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from advsim.chatbots.load import check_called_chatbots, load_chatbots
from advsim.config import ChatbotConfig, Config, SweepConfig, parse_config
from advsim.config.paths import under
from advsim.corpus.load import Corpus, load_corpus
from advsim.corpus.prefixes import Prefix, user_of
from advsim.errors import ConfigError
from advsim.records import AdapterRef, Dialogue, Split, StopReason
from advsim.rollout.turn_loop import RolloutTask
from advsim.run_folder.folder import RunDir, config_changes
from advsim.run_folder.reader import Run, load_run
from advsim.sweep.replay import choose_replay_prefixes, read_replies

TOKENS_A_MESSAGE = 35
"""Rough mean over users and chatbots, for the estimate of the work only."""

SETTINGS = "settings.json"
_PARTS = ("rollout", "prompt", "engine")
"""Sections of the run's configuration that decide what a sweep finds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """One simulator of the run; ``adapter`` None is the base model."""

    name: str
    adapter: AdapterRef | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """Simulators, chatbots, scenarios and prefixes of a sweep, and where its results go."""

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
            spoken = self.output.read_table(table)
            with self.output.reading(table):
                return StopReason.ERROR.value in spoken["stop_reason"].to_pylist()

        return [name for name in self.names if is_missing(name)]

    def missing_replays(self) -> list[str]:
        """Chatbots whose replays are not there, or hold an answer that failed."""

        def is_missing(name: str) -> bool:
            if not self.output.exists(replay_file(name)):
                return True
            return any(reply.error for reply in read_replies(self.output, replay_file(name)))

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
    """Folder of the conversations of a simulator with a chatbot."""
    return f"simulated/{simulator.name}/{chatbot}"


def replay_file(chatbot: str) -> str:
    """File of a chatbot's replies to real prefixes."""
    return f"replayed/{chatbot}.parquet"


def plan(settings: SweepConfig) -> SweepPlan:
    """Plan the sweep that the settings describe.

    Raises:
        ConfigError: the corpus is another one than that of the run, a name is asked for that is not there, or the
            output folder holds another sweep.
    """
    run = load_run(settings.run)
    chatbots = load_chatbots(*settings.chatbots)
    check_called_chatbots(chatbots)
    values = run.config
    if values.get("chatbot", {}).get("kind", "model") != "model":
        values = {**values, "chatbot": {}}  # it has no part here, and the engines of a model may have
    # No rounds here: what they alone need of a configuration does not bind a sweep, which may have single turns.
    overrides = [
        f"rollout.max_user_turns={settings.max_user_turns}",
        "stop.max_rounds=0",
        *settings.run_overrides,
    ]
    config = parse_config(values, overrides, where=f"configuration of {settings.run}")
    corpus = load_corpus(config.corpus)
    if corpus.sha256 != run.corpus_sha256:
        raise ConfigError(
            f"the corpus of {settings.run} has changed since: got hash {corpus.sha256[:12]}, expected "
            f"{run.corpus_sha256[:12]}; restore it, or say where it is with "
            "-o 'run_overrides=[corpus.path=...]'"
        )
    held_out = tuple(d for d in corpus.dialogues if d.split is not Split.TRAIN)
    order = sorted(held_out, key=lambda dialogue: dialogue.id)
    random.Random(settings.seed).shuffle(order)
    # Nobody is on both sides: what one person brings would make simulated and real rates alike by itself.
    scenarios = order[: min(settings.num_conversations, len(order) // 2)]
    simulated = {user_of(dialogue) for dialogue in scenarios}
    replayed = [dialogue for dialogue in order if user_of(dialogue) not in simulated]
    if not scenarios or not replayed:
        raise ConfigError(
            f"{settings.run} keeps {len(order)} dialogues from training, expected enough for people to simulate and "
            "others to replay; raise corpus.validation_fraction"
        )
    output = RunDir(settings.output or under(settings.run, "sweep"))
    if not output.is_local:
        output.check_writable(key="output")
    sweep_plan = SweepPlan(
        run=run,
        config=config,
        corpus=corpus,
        chatbots=tuple(chatbots),
        simulators=choose_simulators(run, settings.simulators),
        scenarios=tuple(scenarios[index % len(scenarios)] for index in range(settings.num_conversations)),
        held_out=held_out,
        prefixes=tuple(
            choose_replay_prefixes(
                replayed,
                num_prefixes=settings.num_prefixes,
                seed=settings.seed,
                max_user_turn=settings.max_user_turns,
            )
        ),
        seed=settings.seed,
        output=output,
    )
    check_names(sweep_plan, settings.baseline)
    keep_settings(sweep_plan)
    return sweep_plan


def choose_simulators(run: Run, wanted: Sequence[str]) -> tuple[Simulator, ...]:
    """Simulators of a run by name; all that it has where none is wanted.

    Raises:
        ConfigError: the run has none of that name.
    """
    there = [Simulator(name="zero_shot", adapter=None), Simulator(name="sft", adapter=run.adapter(0))]
    there += [
        Simulator(name=f"round_{number}", adapter=run.adapter(number)) for number in range(1, len(run.rounds) + 1)
    ]
    unknown = sorted(set(wanted) - {simulator.name for simulator in there})
    if unknown:
        names = ", ".join(simulator.name for simulator in there)
        raise ConfigError(f"simulators: got {unknown[0]}, expected some of {names}")
    return tuple(simulator for simulator in there if not wanted or simulator.name in wanted)


def check_names(sweep_plan: SweepPlan, baseline: str) -> None:
    """Check that chatbots' names can name folders, and that the baseline is among them.

    Raises:
        ConfigError: one cannot, or it is not.
    """
    unsafe = [name for name in sweep_plan.names if not name.replace("_", "").replace("-", "").isalnum()]
    if unsafe:
        raise ConfigError(f"chatbot {unsafe[0]!r}: expected a name of letters, digits, _ and -; it names a folder here")
    if baseline not in sweep_plan.names:
        raise ConfigError(f"baseline {baseline}: no such chatbot; expected one of {', '.join(sweep_plan.names)}")


def keep_settings(sweep_plan: SweepPlan) -> None:
    """Write the sweep's settings into the output folder, or check that those there agree."""
    settings = {
        "seed": sweep_plan.seed,
        "scenarios": [dialogue.id for dialogue in sweep_plan.scenarios],
        "prefixes": [f"{name}@{turn}" for name, turn in sweep_plan.prefixes],
        **{part: getattr(sweep_plan.config, part).model_dump(mode="json") for part in _PARTS},
        "chatbot_model": (sweep_plan.config.chatbot.model or sweep_plan.config.model).model_dump(mode="json"),
        "model": sweep_plan.run.manifest.get("model"),
        "adapters": {s.name: s.adapter.sha256 if s.adapter else "" for s in sweep_plan.simulators},
        "chatbots": {chatbot.name: _what_it_says(chatbot) for chatbot in sweep_plan.chatbots},
    }
    before = sweep_plan.output.read_object(SETTINGS) if sweep_plan.output.exists(SETTINGS) else settings
    with sweep_plan.output.reading(SETTINGS):
        for part in _PARTS:  # keys that came since a sweep of an older version had their defaults then
            defaults = type(getattr(sweep_plan.config, part))().model_dump(mode="json")
            before = {**before, part: {**defaults, **before[part]}}
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
            f"{sweep_plan.output.location} holds results of another study ({', '.join(changes)} differ); give another "
            "folder with -o output=..., or remove it"
        )
    sweep_plan.output.write_json(SETTINGS, shared)


def _what_it_says(chatbot: ChatbotConfig) -> dict[str, Any]:
    """What decides what a chatbot says, and not how fast it is called or what it costs."""
    return chatbot.model_dump(mode="json", exclude={"calls", "price"})


def describe_work(sweep_plan: SweepPlan, *, tokens_per_s: float) -> str:
    """The remaining work and a rough time for it, in a sentence."""
    turns = sweep_plan.config.rollout.max_user_turns
    open_cells = sum(len(sweep_plan.missing_chatbots(simulator)) for simulator in sweep_plan.simulators)
    num_simulated = open_cells * len(sweep_plan.scenarios) * 2 * turns
    num_replayed = len(sweep_plan.missing_replays()) * len(sweep_plan.prefixes)
    tokens = (num_simulated + num_replayed) * TOKENS_A_MESSAGE
    cells = len(sweep_plan.simulators) * len(sweep_plan.chatbots)
    return (
        f"{len(sweep_plan.simulators)} simulators x {len(sweep_plan.chatbots)} chatbots x {len(sweep_plan.scenarios)} "
        f"conversations of at most {turns} user turns, and {len(sweep_plan.chatbots)} x {len(sweep_plan.prefixes)} "
        f"replays. To do: {open_cells} of {cells} cells, at most {num_simulated} simulated messages, and "
        f"{num_replayed} replays; about {tokens:,} tokens, {tokens / tokens_per_s / 60:.0f} min at {tokens_per_s:g} "
        "tokens/s (less where conversations end early)"
    )
