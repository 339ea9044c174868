"""Simulates and replays what a sweep is still missing, on the engines of its run."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from advsim.config import parse_config
from advsim.models.adapter import Canary
from advsim.models.base import load_tokenizer, resolve_model
from advsim.prompts.simulator import SimulatorPrompts
from advsim.records import Conversation, Split
from advsim.rollout.delivery import canary_of, delivery_of
from advsim.rollout.pool import RolloutPool
from advsim.rollout.replay import ReplayedReply
from advsim.run_folder.layout import LOGS
from advsim.run_folder.tables import conversations_table, turns_table
from advsim.runtime.placement import running_ray
from advsim.runtime.progress import Reporter
from advsim.sweep.plan import Simulator, Study, cell, replay_file
from advsim.sweep.replay import replay_requests, replies_table


@contextmanager
def engines(study: Study) -> Iterator[RolloutPool]:
    """The run's rollout engines, serving all chatbots; no scorer and no learner."""
    with running_ray(study.config) as pools, tempfile.TemporaryDirectory(prefix="advsim-logs-") as scratch:
        log_dir = study.output.path / LOGS if study.output.is_local else Path(scratch)
        rollouts = RolloutPool(study.config, pools, log_dir=str(log_dir), chatbots=study.chatbots)
        rollouts.wait_until_ready()
        yield rollouts


def canary(study: Study) -> Canary:
    """The canary of the run's training; another would not have its log-probabilities."""
    prompts = SimulatorPrompts(
        load_tokenizer(resolve_model(study.config.model)),
        instructions=study.config.prompt.instructions,
        budget_tokens=parse_config(study.run.manifest["config"]).prompt_budget_tokens,
    )
    return canary_of(study.corpus.split(Split.TRAIN), prompts)


def replay_all(study: Study, rollouts: RolloutPool, reporter: Reporter) -> None:
    """Let chatbots whose replays are missing answer the prefixes; each one's are written once it has answered all."""
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
    """Let a simulator talk to the chatbots it has not talked to; each one's are written once all are there."""
    if simulator.adapter is not None:
        rollouts.push(delivery_of(study.run, simulator.adapter.version, canary(study)))
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
    """Do what is missing; starts engines only where something is.

    Raises:
        AdvsimError: an engine does not start, or does not hold the adapter it should.
    """
    if not study.missing_replays() and not any(map(study.missing_chatbots, study.simulators)):
        return
    with engines(study) as rollouts:
        if study.missing_replays():
            replay_all(study, rollouts, reporter)
        for simulator in study.simulators:
            if study.missing_chatbots(simulator):
                simulate_all(study, simulator, rollouts, reporter)
