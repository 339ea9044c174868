"""A chatbot that is a system prompt, examples and a sampling on an inference engine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from advsim.chatbots.protocol import Utterance
from advsim.config import ChatbotConfig, SamplingConfig
from advsim.engine.build import build_engine
from advsim.engine.protocol import Engine, EngineSpec, GenerationRequest
from advsim.prompts.chatbot import ChatbotPrompts
from advsim.records import Effort, Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class EngineChatbot:
    """Speaks the chatbot through an engine in this process."""

    def __init__(self, engine: Engine, prompts: ChatbotPrompts, sampling: SamplingConfig) -> None:
        self._engine = engine
        self._prompts = prompts
        self._sampling = sampling

    @property
    def bounds_time(self) -> bool:
        """No: an engine takes as long as it takes."""
        return False

    async def reply(self, turns: Sequence[Turn], *, seed: int, session: str) -> Utterance:
        """See :class:`advsim.chatbots.protocol.ChatbotSpeaker`."""
        started = time.monotonic()
        prompt_ids = self._prompts.prompt(turns)
        request = GenerationRequest(
            prompt_ids=prompt_ids,
            temperature=self._sampling.temperature,
            top_p=self._sampling.top_p,
            max_tokens=self._sampling.max_tokens,
            stop_token_ids=self._prompts.stop_token_ids,
            seed=seed,
        )
        completion = (await self._engine.generate(request))[0]
        return Utterance(
            text=self._prompts.reply_text(completion.text, completion.token_ids),
            token_ids=completion.token_ids,
            finished=completion.finished,
            num_prompt_tokens=len(prompt_ids),
            effort=Effort(
                seconds=time.monotonic() - started,
                num_prompt_tokens=len(prompt_ids),
                num_output_tokens=len(completion.token_ids),
            ),
        )

    async def end(self, session: str) -> None:
        """Nothing is kept."""


def named_chatbot(
    config: ChatbotConfig, engine: Engine, spec: EngineSpec, tokenizer: PreTrainedTokenizerBase
) -> EngineChatbot:
    """A chatbot that is a system prompt and a sampling on an engine that is there anyway; a scripted one needs none."""
    prompts = chatbot_prompts(config, tokenizer, budget_tokens=spec.config.max_model_len - config.sampling.max_tokens)
    if config.kind == "scripted":
        engine = build_engine(EngineSpec(kind="scripted", config=spec.config, model=spec.model, replies=config.replies))
    return EngineChatbot(engine, prompts, config.sampling)


def chatbot_prompts(config: ChatbotConfig, tokenizer: PreTrainedTokenizerBase, *, budget_tokens: int) -> ChatbotPrompts:
    """The prompts that a chatbot's configuration describes."""
    return ChatbotPrompts(
        tokenizer,
        system_prompt=config.system_prompt,
        budget_tokens=budget_tokens,
        examples=[(example.user, example.chatbot) for example in config.examples or ()],
    )
