"""Simulated conversations."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from advsim.config.base import Count, Seconds, Section
from advsim.config.engine import SamplingConfig


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
