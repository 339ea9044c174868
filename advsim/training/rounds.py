"""The rounds: the only module that knows the order of the stages.

    corpus --> sft ------> adapter 0 --push--> engines
                              |
               baseline: zero-shot and SFT on held-out prefixes
                              |
    round r:   rollout        conversations        consumes adapter r-1, held and acknowledged by every engine
               discriminator  scores               trained fresh: on real and simulated dialogues of the same scenarios,
                                                   or on adapter r-1's draws on real prefixes (discriminator.on)
               preference     pairs                best against worst of candidates, drawn from adapter r-1
               dpo            adapter r            reference = frozen copy of adapter r-1
               push           acknowledgements     unblocks the next rollout
               held_out       realism, diversity   classifiers never trained against; decides whether to go on

Each stage reads its input from the run folder and writes its output there before its journal line, so that a run that
was killed goes on from the last complete stage by the same code path.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from advsim.config import Config
from advsim.corpus.load import Corpus
from advsim.errors import RunError
from advsim.models.adapter import Canary
from advsim.prompts.simulator import SimulatorPrompts
from advsim.records import (
    AdapterRef,
    Conversation,
    PreferencePair,
    Split,
    TrainingExample,
)
from advsim.rollout.delivery import canary_of, delivery_of
from advsim.rollout.pool import PushResult, RolloutPool
from advsim.rollout.turn_loop import RolloutTask
from advsim.run_folder.folder import RunDir
from advsim.run_folder.journal import Journal
from advsim.run_folder.layout import (
    BASELINE,
    METRICS,
    SFT_ADAPTER,
    SFT_METRICS,
    adapter_folder,
    held_out_turns,
    no_signal,
    round_folder,
)
from advsim.run_folder.reader import Run
from advsim.run_folder.results import plain_values, read_values
from advsim.run_folder.tables import conversations_table, from_table, turns_table
from advsim.runtime.progress import Reporter
from advsim.runtime.trace import Trace
from advsim.training.check import check_rollout
from advsim.training.discriminator.pool import ScorerPool
from advsim.training.held_out import HeldOut
from advsim.training.learner.dpo import train_dpo
from advsim.training.learner.sft import train_sft
from advsim.training.learner.workers import TrainedAdapter, Workers
from advsim.training.metrics import (
    DiscriminatorMetrics,
    DpoMetrics,
    RolloutMetrics,
    SftMetrics,
    StopDecision,
    preference_metrics,
    rollout_metrics,
)
from advsim.training.preference.from_conversations import FromConversations
from advsim.training.preference.from_prefixes import FromPrefixes
from advsim.training.preference.source import PairSource
from advsim.training.run_metrics import Headroom, HeldOutMetrics, RoundMetrics
from advsim.training.stages import Stages
from advsim.training.stop_rule import RoundSignals, decide_on_signal, decide_stop

Metrics = TypeVar("Metrics")
MAX_UNSEEN = 40
"""Validation sequences on which the temperature of greatest likelihood is found: some 4,000 tokens of people."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything that the stages of one run share."""

    config: Config
    run: RunDir
    journal: Journal
    corpus: Corpus
    prompts: SimulatorPrompts
    rollouts: RolloutPool
    scorers: ScorerPool
    held_out: HeldOut
    reporter: Reporter
    workers: Workers
    trace: Trace = field(default_factory=Trace)

    @property
    def stages(self) -> Stages:
        """What does each stage once."""
        return Stages(run=self.run, journal=self.journal, reporter=self.reporter, trace=self.trace)

    def train_all(self) -> None:
        """SFT, baseline and rounds until the stop rule ends them."""
        # First of all, so that an engine that cannot start is known before SFT spends an hour.
        self.reporter.message("engines are starting; on a CPU this takes about a minute")
        with self.trace.span("engines start"):
            self.rollouts.wait_until_ready()
        self.stages.do("sft", self._sft, outputs=[SFT_ADAPTER, SFT_METRICS])
        self.stages.do(
            "baseline",
            self._baseline,
            inputs=[SFT_ADAPTER],
            outputs=[BASELINE, held_out_turns(-1), held_out_turns(0), *self._curve_files()],
        )
        history: list[RoundSignals] = []
        for number in range(1, self.config.stop.max_rounds + 1):
            decision = self._round(number, history)
            if decision.stop:
                self.reporter.message(decision.explanation)
                break

    # --- before the rounds -------------------------------------------------------------------------------------------

    def _sft(self) -> None:
        examples = self._examples(Split.TRAIN)
        with self.reporter.stage("SFT", unit="step") as stage:
            result = train_sft(
                examples,
                unseen=self._examples(Split.VALIDATION)[:MAX_UNSEEN],
                model=self.config.model,
                config=self.config.sft,
                lora=self.config.lora,
                workers=self.workers,
                seed=self.config.seed,
                canary=self._canary(),
                on_step=stage.update,
            )
        self._write_adapter(SFT_ADAPTER, SFT_METRICS, result)

    def _curve_files(self) -> list[str]:
        return [held_out_turns(0, temperature=t) for t in self.config.held_out.temperatures]

    def _examples(self, split: Split) -> list[TrainingExample]:
        return [
            example for dialogue in self.corpus.split(split) for example in self.prompts.training_examples(dialogue)
        ]

    def _baseline(self) -> None:
        baseline = self.held_out.measure_baseline(self.rollouts, push=lambda: self._push(0), reporter=self.reporter)
        training = self._read(SftMetrics, SFT_METRICS)
        sft = replace(
            baseline.sft,
            train_loss_first=training.first_step_loss,
            train_loss_last=training.last_step_loss,
            most_likely_temperature=training.most_likely_temperature,
            seconds=training.seconds,
        )
        self.run.write_json(BASELINE, replace(baseline, sft=sft))

    # --- one round ---------------------------------------------------------------------------------------------------

    def _round(self, number: int, history: list[RoundSignals]) -> StopDecision:
        folder = round_folder(number)
        name = f"round {number}/{self.config.stop.max_rounds}"

        before = adapter_folder(number - 1)
        said = ("conversations.parquet", "turns.parquet")
        stage = partial(self.stages.in_round, number)
        stage(
            "rollout",
            lambda: self._rollout(number, folder, name),
            also_reads=[before],
            writes=[*said, "rollout.json"],
        )
        pairs = self.pairs
        stage(
            "discriminator",
            lambda: pairs.train(number, name),
            reads=pairs.reads,
            also_reads=[before, *pairs.also_reads],
            writes=pairs.writes,
        )
        signal = decide_on_signal(number, self._discriminator(folder), self.config.stop)
        if signal is not None:
            self.run.write_json(no_signal(number), signal)
            return signal
        self.run.remove(no_signal(number))  # of a start with another limit
        stage(
            "preference",
            lambda: pairs.pair(number, name),
            reads=[*pairs.reads, *pairs.writes],
            also_reads=[before],
            writes=pairs.pairs_write,
        )
        stage(
            "dpo",
            lambda: self._dpo(number, folder, name),
            reads=["pairs.parquet"],
            also_reads=[before],
            writes=["adapter", "dpo.json"],
        )
        stage("push", lambda: self._push_new(number, folder), reads=["adapter"], writes=["push.json"])
        stage(
            "held_out",
            lambda: self._held_out(number, folder, name),
            reads=["adapter"],
            also_reads=[held_out_turns(-1), held_out_turns(0), *self._curve_files(), BASELINE],
            writes=["held_out.json"],
        )
        return self._close_round(number, folder, history)

    def _rollout(self, number: int, folder: str, name: str) -> None:
        adapter = self._push(number - 1)
        tasks = self._tasks(number, adapter)
        started = time.monotonic()
        conversations: list[Conversation] = []
        with self.reporter.stage(f"{name} rollout", total=len(tasks), unit="dialogue") as stage:
            for conversation in self.rollouts.simulate(tasks):
                conversations.append(conversation)
                stage.advance()
        seconds = time.monotonic() - started
        conversations.sort(key=lambda conversation: conversation.id)
        check_rollout(tasks, conversations, adapter)
        self.run.write_table(f"{folder}/conversations.parquet", conversations_table(conversations))
        self.run.write_table(f"{folder}/turns.parquet", turns_table(conversations))
        self.run.write_json(f"{folder}/rollout.json", rollout_metrics(conversations, seconds=seconds))

    def _tasks(self, number: int, adapter: AdapterRef) -> list[RolloutTask]:
        dialogues = list(self.corpus.split(Split.TRAIN))
        random.Random(f"{self.config.seed}-{number}").shuffle(dialogues)
        return [
            RolloutTask(
                conversation_id=f"r{number:02d}-{index:05d}",
                scenario=dialogues[index % len(dialogues)].scenario,
                chatbot=self.config.chatbot.name,
                adapter=adapter,
                seed=self.config.seed * 1_000_003 + number * 100_003 + index,
            )
            for index in range(self.config.rollout.num_conversations)
        ]

    def _dpo(self, number: int, folder: str, name: str) -> None:
        pairs: list[PreferencePair] = from_table(self.run.read_table(f"{folder}/pairs.parquet"), PreferencePair)
        if not pairs:
            raise RunError(
                f"{folder}: no preference pairs: all candidates of a turn were alike, closer than "
                "preference.min_margin or too different in length (preference.max_length_ratio)"
                f"{self.pairs.no_pairs_remedy(folder)}, with --allow-changed KEY"
            )
        with self.reporter.stage(f"{name} DPO", unit="step") as stage:
            result = train_dpo(
                pairs,
                model=self.config.model,
                adapter=self.run.read_files(adapter_folder(number - 1)),
                config=self.config.dpo,
                workers=self.workers,
                seed=self.config.seed + number,
                canary=self._canary(),
                on_step=stage.update,
            )
        self._write_adapter(f"{folder}/adapter", f"{folder}/dpo.json", result)

    def _push_new(self, number: int, folder: str) -> None:
        self._push(number)
        assert self.rollouts.last_push is not None, "pushed just now"
        self.run.write_json(f"{folder}/push.json", self.rollouts.last_push)

    def _held_out(self, number: int, folder: str, name: str) -> None:
        measured = self.held_out.measure(self.rollouts, self._push(number), stage_name=name, reporter=self.reporter)
        self.run.write_json(f"{folder}/held_out.json", measured)

    def _close_round(self, number: int, folder: str, history: list[RoundSignals]) -> StopDecision:
        measured = self._read(HeldOutMetrics, f"{folder}/held_out.json")
        discriminator = self._discriminator(folder)
        pairs: list[PreferencePair] = from_table(self.run.read_table(f"{folder}/pairs.parquet"), PreferencePair)
        history.append(
            RoundSignals(round=number, discriminator_accuracy=discriminator.accuracy, held_out=measured.held_out)
        )
        decision = decide_stop(history, self.config.stop)
        stages = ("rollout", "discriminator", "preference", "dpo", "push", "held_out")
        headroom = f"{folder}/headroom.json"
        metrics = RoundMetrics(
            round=number,
            rollout=self._read(RolloutMetrics, f"{folder}/rollout.json"),
            discriminator=discriminator,
            held_out=measured.held_out,
            preference=preference_metrics(pairs),
            dpo=self._read(DpoMetrics, f"{folder}/dpo.json"),
            push=self._read(PushResult, f"{folder}/push.json"),
            diversity=measured.diversity,
            against_sft=measured.against_sft,
            headroom=self._read(Headroom, headroom) if self.run.exists(headroom) else None,
            stop=decision,
            seconds={key: self.journal.seconds(f"{folder}/{key}") for key in stages},
        )
        self.stages.in_round(
            number,
            "metrics",
            lambda: self._write_metrics(folder, metrics),
            reads=[
                "rollout.json",
                "discriminator.json",
                "pairs.parquet",
                "dpo.json",
                "push.json",
                "held_out.json",
                *(["headroom.json"] if self.run.exists(headroom) else []),
            ],
            writes=["metrics.json"],
        )
        return decision

    def _write_metrics(self, folder: str, metrics: RoundMetrics) -> None:
        self.run.write_json(f"{folder}/metrics.json", metrics)
        lines = [line for line in self.run.read_lines(METRICS) if line.get("round") != metrics.round]
        self.run.write_lines(METRICS, [*lines, plain_values(metrics)])

    def _push(self, version: int) -> AdapterRef:
        """Make every engine hold adapter ``version``; nothing to do where all have acknowledged it."""
        run = Run(self.run)
        adapter = run.adapter(version)
        if self.rollouts.pushed != adapter:
            self.rollouts.push(delivery_of(run, version, self._canary()))
        return adapter

    def _write_adapter(
        self, folder: str, metrics: str, trained: TrainedAdapter[SftMetrics] | TrainedAdapter[DpoMetrics]
    ) -> None:
        self.run.write_files(folder, trained.files)
        self.run.write_json(
            metrics,
            {
                "adapter_sha256": trained.adapter_sha256,
                **plain_values(trained.metrics),
                "canary_logprobs": trained.canary_logprobs,
            },
        )

    @property
    def pairs(self) -> PairSource:
        """Where the preference pairs come from."""
        source = FromPrefixes if self.config.discriminator.on == "prefixes" else FromConversations
        return source(
            config=self.config,
            run=self.run,
            corpus=self.corpus,
            prompts=self.prompts,
            rollouts=self.rollouts,
            scorers=self.scorers,
            held_out=self.held_out,
            reporter=self.reporter,
            push=self._push,
        )

    def _discriminator(self, folder: str) -> DiscriminatorMetrics:
        return self._read(DiscriminatorMetrics, f"{folder}/discriminator.json")

    def _read(self, kind: type[Metrics], name: str) -> Metrics:
        """Figures of an earlier stage, which may have been written before the run was resumed."""
        remedy = "the file was not written by this version; delete it and run the same command to measure it again"
        return read_values(kind, self.run.read_json(name), where=name, remedy=remedy)

    def _canary(self) -> Canary:
        return canary_of(self.corpus.split(Split.TRAIN), self.prompts)
