"""The chatbot pool's Ray actor, and a chatbot that speaks through one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from advsim.chatbots.on_engine import EngineChatbot, chatbot_prompts, named_chatbot
from advsim.chatbots.protocol import Utterance
from advsim.config import ChatbotConfig
from advsim.engine.actor import EngineActor
from advsim.engine.build import build_engine
from advsim.engine.protocol import EngineSpec
from advsim.errors import ChatbotError, EngineDiedError, EngineError
from advsim.models.base import load_tokenizer, resolve_model
from advsim.prompts.window import ContextOverflowError
from advsim.records import Turn
from advsim.runtime.actors import actor_failures, redirect_output


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatbotSpec:
    """What a chatbot actor is started with."""

    engine: EngineSpec
    chatbot: ChatbotConfig
    budget_tokens: int
    log_file: str = ""
    named_chatbots: tuple[ChatbotConfig, ...] = ()  # further chatbots on this engine, which tasks ask for by name


class RemoteChatbot:
    """Speaks the chatbot through an actor.

    Args:
        actor: a :class:`ChatbotActor` or a :class:`advsim.chatbots.caller.CallerActor`.
        name: one of the actor's named chatbots; empty for its own.
        is_called: the actor calls something outside of advsim.
    """

    def __init__(self, actor: Any, name: str = "", *, is_called: bool = False) -> None:
        self._actor = actor
        self._name = name
        self._is_called = is_called

    @property
    def bounds_time(self) -> bool:
        """Where it is called, each call has its own time."""
        return self._is_called

    async def reply(self, turns: Sequence[Turn], *, seed: int, session: str) -> Utterance:
        """See :class:`advsim.chatbots.protocol.ChatbotSpeaker`."""
        try:
            with actor_failures("chatbot"):
                try:
                    said: Utterance = await self._actor.reply.remote(turns, seed, self._name, session)
                except ContextOverflowError as overflow:  # of Ray's making, with a whole traceback as its words
                    raise ContextOverflowError(str(getattr(overflow, "cause", overflow))) from None
        except EngineDiedError:
            raise  # no failure of this chatbot: the pool starts its engine again and repeats the conversation
        except EngineError as error:
            raise ChatbotError(f"the chatbot engine failed: {error}") from error
        return said

    async def end(self, session: str) -> None:
        """Tell the actor, without waiting for it; an engine keeps nothing."""
        if self._is_called:
            self._actor.end.remote(self._name, session)


class ChatbotActor(EngineActor):
    """One engine of the chatbot pool."""

    def __init__(self, spec: ChatbotSpec) -> None:
        redirect_output(spec.log_file)
        self._engine = build_engine(spec.engine)
        tokenizer = load_tokenizer(resolve_model(spec.engine.model))
        prompts = chatbot_prompts(spec.chatbot, tokenizer, budget_tokens=spec.budget_tokens)
        self._chatbot = EngineChatbot(self._engine, prompts, spec.chatbot.sampling)
        self._named = {
            config.name: named_chatbot(config, self._engine, spec.engine, tokenizer) for config in spec.named_chatbots
        }

    async def reply(self, turns: Sequence[Turn], seed: int, name: str = "", session: str = "") -> Utterance:
        """The reply to ``turns`` of the chatbot of that name, or of this actor's own."""
        return await (self._named[name] if name else self._chatbot).reply(turns, seed=seed, session=session)
