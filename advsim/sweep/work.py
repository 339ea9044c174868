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
from advsim.records import Conversation, Split, StopReason
from advsim.rollout.delivery import canary_of, delivery_of
from advsim.rollout.pool import RolloutPool
from advsim.rollout.replay import ReplayedReply
from advsim.run_folder.events import record_event
from advsim.run_folder.layout import LOGS
from advsim.run_folder.tables import conversations_table, turns_table
from advsim.runtime.placement import running_ray
from advsim.runtime.progress import Reporter
from advsim.sweep.measure import conversations_of
from advsim.sweep.plan import Simulator, SweepPlan, cell, replay_file
from advsim.sweep.replay import read_replies, replay_requests, replies_table


@contextmanager
def engines(sweep_plan: SweepPlan, reporter: Reporter) -> Iterator[RolloutPool]:
    """The run's rollout engines, serving all chatbots; no scorer and no learner."""

    def notice(said: str) -> None:
        reporter.warning(said)
        record_event(sweep_plan.output, said)

    with running_ray(sweep_plan.config) as pools, tempfile.TemporaryDirectory(prefix="advsim-logs-") as scratch:
        log_dir = sweep_plan.output.path / LOGS if sweep_plan.output.is_local else Path(scratch)
        rollouts = RolloutPool(
            sweep_plan.config, pools, log_dir=str(log_dir), chatbots=sweep_plan.chatbots, notice=notice
        )
        try:
            rollouts.wait_until_ready()
            yield rollouts
        finally:
            rollouts.close()


def canary(sweep_plan: SweepPlan) -> Canary:
    """The canary of the run's training; another would not have its log-probabilities."""
    prompts = SimulatorPrompts(
        load_tokenizer(resolve_model(sweep_plan.config.model)),
        instructions=sweep_plan.config.prompt.instructions,
        budget_tokens=parse_config(sweep_plan.run.config).prompt_budget_tokens,
    )
    return canary_of(sweep_plan.corpus.split(Split.TRAIN), prompts)


def replay_all(sweep_plan: SweepPlan, rollouts: RolloutPool, reporter: Reporter) -> None:
    """Let chatbots whose replays are missing answer the prefixes; each one's are written once it has answered all.

    Replies that came are kept; those that failed are asked for again.
    """
    names = sweep_plan.missing_replays()
    replies = {name: _answered(sweep_plan, name) for name in names}
    there = {(name, reply.dialogue_id, reply.turn) for name, done in replies.items() for reply in done}
    requests = [
        request
        for request in replay_requests(sweep_plan.prefixes, sweep_plan.held_out, chatbots=names, seed=sweep_plan.seed)
        if (request.chatbot, request.dialogue_id, len(request.prefix)) not in there
    ]
    with reporter.stage("replay", total=len(requests), unit="message") as stage:
        for reply in rollouts.replay(requests):
            done = replies[reply.chatbot]
            done.append(reply)
            stage.advance()
            if len(done) == len(sweep_plan.prefixes):
                done.sort(key=lambda answer: (answer.dialogue_id, answer.turn))
                sweep_plan.output.write_table(replay_file(reply.chatbot), replies_table(done))


def simulate_all(sweep_plan: SweepPlan, simulator: Simulator, rollouts: RolloutPool, reporter: Reporter) -> None:
    """Let a simulator talk to the chatbots it has not talked to; each one's are written once all are there.

    Of a chatbot that has failed only the conversations that did not come to their end are held again.
    """
    if simulator.adapter is not None:
        rollouts.push(delivery_of(sweep_plan.run, simulator.adapter.version, canary(sweep_plan)))
    names = sweep_plan.missing_chatbots(simulator)
    conversations = {name: _finished(sweep_plan, simulator, name) for name in names}
    there = {conversation.id for done in conversations.values() for conversation in done}
    tasks = [task for task in sweep_plan.tasks(simulator, names) if task.conversation_id not in there]
    with reporter.stage(f"conversations, {simulator.name}", total=len(tasks), unit="dialogue") as stage:
        for conversation in rollouts.simulate(tasks):
            done = conversations[conversation.chatbot]
            done.append(conversation)
            stage.advance()
            if len(done) == len(sweep_plan.scenarios):
                done.sort(key=lambda finished: finished.id)
                folder = cell(simulator, conversation.chatbot)
                sweep_plan.output.write_table(f"{folder}/turns.parquet", turns_table(done))
                sweep_plan.output.write_table(f"{folder}/conversations.parquet", conversations_table(done))


def _finished(sweep_plan: SweepPlan, simulator: Simulator, chatbot: str) -> list[Conversation]:
    """Conversations of an earlier start that a failing chatbot has not ended."""
    if not sweep_plan.output.exists(f"{cell(simulator, chatbot)}/conversations.parquet"):
        return []
    held = conversations_of(sweep_plan, simulator, chatbot)
    return [conversation for conversation in held if conversation.stop_reason is not StopReason.ERROR]


def _answered(sweep_plan: SweepPlan, chatbot: str) -> list[ReplayedReply]:
    """Replies of an earlier start that came."""
    if not sweep_plan.output.exists(replay_file(chatbot)):
        return []
    return [reply for reply in read_replies(sweep_plan.output, replay_file(chatbot)) if not reply.error]


def work(sweep_plan: SweepPlan, reporter: Reporter) -> None:
    """Simulate and replay what is missing; starts engines only where something is.

    Raises:
        AdvsimError: an engine does not start, or does not hold the adapter it should.
    """
    if not sweep_plan.missing_replays() and not any(map(sweep_plan.missing_chatbots, sweep_plan.simulators)):
        return
    with engines(sweep_plan, reporter) as rollouts:
        if sweep_plan.missing_replays():
            replay_all(sweep_plan, rollouts, reporter)
        for simulator in sweep_plan.simulators:
            if sweep_plan.missing_chatbots(simulator):
                simulate_all(sweep_plan, simulator, rollouts, reporter)
