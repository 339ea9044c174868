"""How prompts are built, and the conversations of a round: the simulator's part and the chatbot that it meets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from advsim.config.base import Count, DisplayName, Seconds, Section
from advsim.config.model import ModelConfig, SamplingConfig

SIMULATOR_INSTRUCTIONS = (
    "You play a person who writes to a support chatbot. Write only this person's next message, the way they would type "
    "it. When they would leave the chat, end the message with [END]."
)


class PromptConfig(Section):
    """How prompts are built (see :mod:`advsim.prompts.frames`)."""

    instructions: str = SIMULATOR_INSTRUCTIONS
    max_context_tokens: Annotated[int, Field(ge=64, le=10_000_000, strict=True)] = 15_000
    """Budget of context layers and history together [paper]; the model's own length limits it further."""


class RolloutConfig(Section):
    """Simulated conversations on the training scenarios."""

    num_conversations: Count = 32
    """Conversations a round. Scenarios are used in a fresh order each round; more than there are repeats them."""
    max_user_turns: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 8
    """User turns of a conversation at most. Real dialogues are cut to the same number where the two are compared."""
    max_concurrent: Annotated[int, Field(ge=1, le=100_000, strict=True)] = 32
    """Conversations under way on one simulator engine at once."""
    sampling: SamplingConfig = SamplingConfig()
    max_regenerations: Annotated[int, Field(ge=0, le=1_000, strict=True)] = 2
    """How often an empty or role-breaking user turn is drawn again before the conversation is ended by it."""
    turn_timeout_s: Seconds = 300.0


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
