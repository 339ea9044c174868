"""How prompts are built."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from advsim.config.base import Section

SIMULATOR_INSTRUCTIONS = (
    "You play a person who writes to a support chatbot. Write only this person's next message, the way they would type "
    "it. When they would leave the chat, end the message with [END]."
)


class PromptConfig(Section):
    """How prompts are built (see :mod:`advsim.prompts.frames`)."""

    instructions: str = SIMULATOR_INSTRUCTIONS
    max_context_tokens: Annotated[int, Field(ge=64, le=10_000_000, strict=True)] = 15_000
    """Budget of context layers and history together [paper]; the model's own length limits it further."""
