"""One message to a chatbot, to see that it answers."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from dataclasses import dataclass

from advsim.chatbots.caller import called_chatbot
from advsim.config import ChatbotConfig
from advsim.errors import ChatbotError, ConfigError
from advsim.prompts.window import ContextOverflowError
from advsim.records import Effort, Speaker, Turn

MESSAGE = "Hi, I had a hard day and do not know whom to talk to."


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A message and what a chatbot answered to it."""

    message: str
    reply: str
    effort: Effort


def try_chatbot(config: ChatbotConfig, *, message: str = MESSAGE) -> Trial:
    """Send a chatbot that is called one message, once, from this process; Python code is loaded in it.

    Raises:
        ConfigError: it does not answer, and why; or a secret is not set, or code cannot be loaded.
    """
    once = config.model_copy(update={"calls": config.calls.model_copy(update={"max_attempts": 1})})
    try:
        chatbot = called_chatbot(once, folder=os.getcwd())
    except ConfigError as error:
        raise ConfigError(f"chatbot {config.name}: {error}") from error

    async def ask() -> Trial:
        try:
            turn = Turn(speaker=Speaker.USER, text=message)
            said = await chatbot.reply([turn], seed=0, session="advsim-check")
            await chatbot.end("advsim-check")
        finally:
            await chatbot.close()
        return Trial(message=message, reply=said.text, effort=said.effort or Effort(seconds=0.0))

    try:
        return asyncio.run(ask())
    except (ChatbotError, ContextOverflowError) as error:
        raise ConfigError(
            f"chatbot {config.name} ({config.kind}) does not answer: {error}; mend what it says is wrong, or check "
            "without a message to it (--no-call)"
        ) from None


def trial_json(trial: Trial | None) -> dict[str, object] | None:
    """A trial as plain values."""
    return None if trial is None else dataclasses.asdict(trial)
