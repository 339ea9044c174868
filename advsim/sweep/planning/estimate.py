"""What a sweep still has to do, before it starts: dialogues, messages, tokens, time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from advsim.chatbots.cost import tokens_cost
from advsim.sweep.planning.items import Cell, Design
from advsim.sweep.planning.study import SweepPlan

TOKENS_A_MESSAGE = 35
"""Rough mean over users and chatbots, for the estimate of the work only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What is still to be done, at most: conversations that end early are shorter.

    Attributes:
        num_conversations: to be held.
        num_replies: to real prefixes, with real or simulated last turns.
        num_done: conversations and replies that are there, or that nothing hangs on any more with ``stop_early``.
        num_messages: of both speakers.
        num_tokens: written, roughly.
        minutes: at ``tokens_per_s``.
        cost: of the chatbots that have a price, roughly, by currency; a system prompt or a long persona comes on top.
    """

    num_conversations: int
    num_replies: int
    num_done: int
    num_messages: int
    num_tokens: int
    minutes: float
    cost: Mapping[str, float]


def estimate(study: SweepPlan, open_shards: Mapping[tuple[Cell, int], int]) -> Estimate:
    """What the shards that are open still miss."""
    num_free = sum(count for (cell, _), count in open_shards.items() if cell.design is Design.FREE)
    num_replies = sum(open_shards.values()) - num_free
    num_messages = num_free * 2 * study.config.rollout.max_user_turns + num_replies
    total = sum(len(study.cells(design)) * study.num_items(design) for design in study.designs)
    num_tokens = (num_messages + _num_further_draws(study, open_shards)) * TOKENS_A_MESSAGE
    return Estimate(
        num_conversations=num_free,
        num_replies=num_replies,
        num_done=total - num_free - num_replies,
        num_messages=num_messages,
        num_tokens=num_tokens,
        minutes=round(num_tokens / study.settings.tokens_per_s / 60, 1),
        cost=_cost(study, open_shards),
    )


def _num_further_draws(study: SweepPlan, open_shards: Mapping[tuple[Cell, int], int]) -> int:
    """Draws of user turns that are not said, where the best of several is."""
    turns = {Design.FREE: study.config.rollout.max_user_turns, Design.PAIRED: 1}
    return sum(
        count * turns[cell.design] * (study.simulator(cell.simulator).best_of - 1)
        for (cell, _), count in open_shards.items()
        if cell.design in turns
    )


def _cost(study: SweepPlan, open_shards: Mapping[tuple[Cell, int], int]) -> dict[str, float]:
    """A reply reads all messages before it, and each is of the same length here."""
    turns = study.config.rollout.max_user_turns
    read = {Design.FREE: turns**2, Design.REPLAY: turns, Design.PAIRED: turns}  # 1 + 3 + 5 + ... messages
    written = {Design.FREE: turns, Design.REPLAY: 1, Design.PAIRED: 1}
    prices = {chatbot.name: chatbot.price for chatbot in study.chatbots}
    costs: dict[str, float] = {}
    for (cell, _), count in open_shards.items():
        price = prices[cell.chatbot]
        num_read, num_written = (count * TOKENS_A_MESSAGE * each[cell.design] for each in (read, written))
        cost = tokens_cost(num_read, num_written, price)
        if cost is not None:
            costs[cost.currency] = costs.get(cost.currency, 0.0) + cost.amount
    return {currency: round(amount, 4) for currency, amount in sorted(costs.items())}


def describe_work(study: SweepPlan, todo: Estimate) -> str:
    """The work and a rough time for it, in a sentence."""
    settings = study.settings
    parts = []
    if Design.FREE in study.designs:
        parts.append(
            f"{len(study.speaking)} simulators x {len(study.chatbots)} chatbots x {settings.num_conversations} "
            f"conversations of at most {study.config.rollout.max_user_turns} user turns"
        )
    if Design.REPLAY in study.designs:
        parts.append(f"{len(study.chatbots)} x {len(study.prefixes)} replays")
    if Design.PAIRED in study.designs:
        parts.append(f"{len(study.speaking)} x {len(study.chatbots)} x {len(study.prefixes)} paired replays")
    done = "are there or need not be held" if settings.stop_early else "are there"
    costs = "".join(f", {amount:.2f} {currency}" for currency, amount in todo.cost.items())
    return (
        f"{', '.join(parts)}. To do: {todo.num_conversations:,} conversations and {todo.num_replies:,} replies "
        f"({todo.num_done:,} {done}), at most {todo.num_messages:,} messages; about {todo.num_tokens:,} tokens, "
        f"{todo.minutes:.0f} min at {settings.tokens_per_s:g} tokens/s{costs} (less where conversations end early)"
    )
