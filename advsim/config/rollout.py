"""Simulated conversations."""

from __future__ import annotations

from advsim.config.base import NonNegativeInt, PositiveFloat, PositiveInt, Section
from advsim.config.engine import SamplingConfig


class RolloutConfig(Section):
    """Simulated conversations on the training scenarios."""

    num_conversations: PositiveInt = 32
    """Conversations a round. Scenarios are used in a fresh order each round; more than there are repeats them."""
    max_user_turns: PositiveInt = 8
    """User turns of a conversation at most. Real dialogues are cut to the same number where the two are compared."""
    max_concurrent: PositiveInt = 32
    """Conversations under way on one simulator engine at once."""
    sampling: SamplingConfig = SamplingConfig()
    max_regenerations: NonNegativeInt = 2
    """How often an empty or role-breaking user turn is drawn again before the conversation is ended by it."""
    turn_timeout_s: PositiveFloat = 300.0
