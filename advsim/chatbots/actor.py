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
    """Speaks the chatbot through a chatbot actor; ``name`` is one of its named chatbots, empty for its own."""

    def __init__(self, actor: Any, name: str = "") -> None:
        self._actor = actor
        self._name = name

    async def reply(self, turns: Sequence[Turn], *, seed: int) -> Utterance:
        """See :class:`advsim.chatbots.protocol.ChatbotSpeaker`."""
        try:
            with actor_failures("chatbot"):
                said: Utterance = await self._actor.reply.remote(turns, seed, self._name)
        except EngineDiedError:
            raise  # no failure of this chatbot: the pool starts its engine again and repeats the conversation
        except EngineError as error:
            raise ChatbotError(f"the chatbot engine failed: {error}") from error
        return said


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

    async def reply(self, turns: Sequence[Turn], seed: int, name: str = "") -> Utterance:
        """The reply to ``turns`` of the chatbot of that name, or of this actor's own."""
        return await (self._named[name] if name else self._chatbot).reply(turns, seed=seed)
