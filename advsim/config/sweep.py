"""A sweep: the simulators of a run meet several chatbots, and the chatbots answer real prefixes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from advsim.config.base import Count, Section, Seed
from advsim.config.evaluate import EvaluateConfig


class SweepConfig(Section):
    """A sweep: the simulators of a run meet several chatbots, and the chatbots answer real prefixes."""

    run: Annotated[str, Field(min_length=1)]
    """Folder of a finished run."""
    chatbots: Annotated[tuple[str, ...], Field(min_length=1)] = ("configs/chatbots",)
    """Chatbot files, or folders of them."""
    simulators: tuple[str, ...] = ()
    """Some of ``zero_shot``, ``sft``, ``round_1``, ...; empty: all that the run has."""
    num_conversations: Count = 16
    """Of each simulator with each chatbot."""
    num_prefixes: Count = 80
    """Real prefixes that each chatbot answers, one message each."""
    max_user_turns: Annotated[int, Field(ge=1, le=10_000, strict=True)] = 3
    """Of a conversation, and of a prefix."""
    baseline: str = "assistant"
    """The chatbot that A/B pairs compare with."""
    output: str | None = None
    """Folder of what was simulated and found; None: ``sweep`` in the run folder."""
    seed: Seed = 0
    evaluate: EvaluateConfig = EvaluateConfig()
    """The detector of both sides' failures, and what it is worth."""
    run_overrides: tuple[str, ...] = ()
    """``key.path=value`` each, of the run's configuration: where its corpus lies now, or how its engines run here."""
    tokens_per_s: Annotated[float, Field(ge=0.01, le=1e9, strict=True)] = 300.0
    """For the estimate of the work only."""
