"""The Ray actor that calls chatbots outside of advsim."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from advsim.chatbots.called import CalledChatbot, Callee
from advsim.chatbots.endpoint import ChatEndpoint
from advsim.chatbots.http_api import HttpApi
from advsim.chatbots.protocol import Utterance
from advsim.chatbots.python_code import PythonCode
from advsim.config import ChatbotConfig
from advsim.errors import ChatbotError, ConfigError
from advsim.prompts.window import ContextOverflowError
from advsim.records import Speaker, Turn
from advsim.runtime.actors import redirect_output

TRIAL_MESSAGE = "Hi, I had a hard day and do not know whom to talk to."


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerSpec:
    """What a calling actor is started with."""

    chatbots: tuple[ChatbotConfig, ...]
    folder: str  # of the driver, which paths of Python code start from
    num_callers: int  # actors that share the bounds of each chatbot
    must_answer: bool = False  # a chatbot that does not answer ends the start
    log_file: str = ""


class CallerActor:
    """Calls all chatbots of a pool that are outside of advsim."""

    def __init__(self, spec: CallerSpec) -> None:
        redirect_output(spec.log_file)
        self._must_answer = spec.must_answer
        self._chatbots = {}
        for config in spec.chatbots:
            try:
                self._chatbots[config.name] = called_chatbot(config, folder=spec.folder, share=spec.num_callers)
            except ConfigError as error:
                raise ConfigError(f"chatbot {config.name}: {error}") from error

    async def start(self) -> float:
        """Nothing to load; returns the seconds it took.

        Raises:
            ConfigError: a chatbot has to answer before anything else is done, and does not.
        """
        started = time.monotonic()
        if self._must_answer:
            for name, chatbot in self._chatbots.items():
                await answer_to(TRIAL_MESSAGE, chatbot, name=name)
        return time.monotonic() - started

    async def begin(self) -> None:
        """Begin a new piece of work: chatbots that were given up are tried again."""
        for chatbot in self._chatbots.values():
            chatbot.begin()

    async def check_alive(self) -> None:
        """Answer, so that the driver knows that this process is there."""

    async def reply(self, turns: Sequence[Turn], seed: int, name: str, session: str) -> Utterance:
        """The reply to ``turns`` of the chatbot of that name."""
        return await self._chatbots[name].reply(turns, seed=seed, session=session)

    async def end(self, name: str, session: str) -> None:
        """Forget a conversation with the chatbot of that name."""
        await self._chatbots[name].end(session)

    async def close(self) -> None:
        """Free connections."""
        for chatbot in self._chatbots.values():
            await chatbot.close()


async def answer_to(message: str, chatbot: CalledChatbot, *, name: str) -> Utterance:
    """What a chatbot answers to a user's first message.

    Raises:
        ConfigError: it does not answer, and why.
    """
    session = f"trial-{uuid.uuid4().hex[:12]}"
    try:
        return await chatbot.reply([Turn(speaker=Speaker.USER, text=message)], seed=0, session=session)
    except (ChatbotError, ContextOverflowError) as error:
        raise ConfigError(f"chatbot {name} does not answer: {error}; mend what it says is wrong") from None
    finally:
        await chatbot.end(session)


def called_chatbot(config: ChatbotConfig, *, folder: str, share: int = 1) -> CalledChatbot:
    """The chatbot of a configuration that is called.

    Args:
        config: of one of the kinds ``endpoint``, ``http`` and ``python``.
        folder: which paths of Python code start from.
        share: of how many equal ones this is.

    Raises:
        ConfigError: an environment variable of a secret is not set, Python code cannot be loaded, or answers are to be
            kept of a class, which keeps the dialogue.
    """
    callee: Callee
    if config.endpoint is not None:
        callee = ChatEndpoint(config)
    elif config.http is not None:
        callee = HttpApi(config)
    else:
        assert config.function is not None, "the configuration sees to it"
        callee = PythonCode(config.function, folder=folder, load_timeout_s=config.calls.load_timeout_s)
    return CalledChatbot(callee, config.calls, share=share, settings=config.model_dump_json())
