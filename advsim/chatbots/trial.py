"""One message to a chatbot, to see that it answers."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from dataclasses import dataclass

from advsim.chatbots.caller import TRIAL_MESSAGE, answer_to, called_chatbot
from advsim.chatbots.cost import Cost, replies_cost
from advsim.chatbots.protocol import Utterance
from advsim.config import ChatbotConfig
from advsim.errors import ConfigError
from advsim.records import Effort


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A message and what a chatbot answered to it; ``cost`` is None without a price, or where no tokens were told."""

    message: str
    reply: str
    effort: Effort
    cost: Cost | None


def try_chatbot(config: ChatbotConfig) -> Trial:
    """Send a chatbot that is called one message, once, from this process; Python code is loaded in it.

    Raises:
        ConfigError: it does not answer, and why; or a secret is not set, or code cannot be loaded.
    """
    once = config.model_copy(update={"calls": config.calls.model_copy(update={"max_attempts": 1})})
    try:
        chatbot = called_chatbot(once, folder=os.getcwd())
    except ConfigError as error:
        raise ConfigError(f"chatbot {config.name}: {error}") from error

    async def ask() -> Utterance:
        try:
            return await answer_to(TRIAL_MESSAGE, chatbot, name=f"{config.name} ({config.kind})")
        finally:
            await chatbot.close()

    try:
        said = asyncio.run(ask())
    except ConfigError as error:
        raise ConfigError(f"{error}, or check without a message to it (--no-call)") from None
    effort = said.effort or Effort(seconds=0.0)
    return Trial(message=TRIAL_MESSAGE, reply=said.text, effort=effort, cost=replies_cost([effort], config.price))


def trial_json(trial: Trial | None) -> dict[str, object] | None:
    """A trial as plain values."""
    return None if trial is None else dataclasses.asdict(trial)
