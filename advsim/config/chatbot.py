"""The chatbot under test."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from advsim.config.base import DisplayName, Section
from advsim.config.engine import SamplingConfig
from advsim.config.model import ModelConfig


class ExampleConfig(Section):
    """One exchange that the chatbot is shown before the dialogue, as if it had been said."""

    user: Annotated[str, Field(min_length=1)]
    chatbot: Annotated[str, Field(min_length=1)]


class ChatbotConfig(Section):
    """The chatbot under test."""

    name: DisplayName = "assistant"
    kind: Literal["model", "scripted"] = "model"
    """``model``: a model on vLLM with a system prompt; ``scripted``: fixed replies, for tests and demonstrations."""
    model: ModelConfig | None = None
    """None: the simulator's base model, without the adapter."""
    system_prompt: str = (
        "You are a warm, brief support chatbot. Listen first, reflect what you hear, ask one open question at a time."
    )
    examples: tuple[ExampleConfig, ...] | None = None
    """Few-shot exchanges in front of every dialogue. A small model copies these where it hardly follows a prompt."""
    replies: tuple[str, ...] = ()
    """Replies of a scripted chatbot, used in turn."""
    sampling: SamplingConfig = SamplingConfig(temperature=0.7, top_p=0.95, max_tokens=64)

    @model_validator(mode="after")
    def _scripted_has_replies(self) -> ChatbotConfig:
        if self.kind == "scripted" and not self.replies:
            raise ValueError("a scripted chatbot needs at least one entry in chatbot.replies")
        if self.kind != "scripted" and self.replies:
            raise ValueError(
                "chatbot.replies are those of a scripted chatbot; set chatbot.kind to scripted, or drop them"
            )
        if not all(reply.strip() for reply in self.replies):
            raise ValueError("chatbot.replies: got an empty reply, expected text in each")
        return self
