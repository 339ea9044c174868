"""The protocol of inference engines. Only :mod:`advsim.engine.vllm` imports vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from advsim.config import EngineConfig, ModelConfig
from advsim.records import AdapterRef


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One prompt and how to continue it. ``prompt_ids`` are complete: engines add no template and no special token."""

    prompt_ids: tuple[int, ...]
    num_samples: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 64
    min_tokens: int = 0  # no continuation stops before
    stop_token_ids: tuple[int, ...] = ()
    stop_texts: tuple[str, ...] = ()
    use_adapter: bool = False
    seed: int | None = None
    json_schema: str | None = None  # as JSON text; a continuation that is not cut at max_tokens is JSON after it


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One continuation. ``token_ids`` exclude the stop token; a stop text stays in ``text`` and ``token_ids``."""

    text: str
    token_ids: tuple[int, ...]
    finished: bool  # stopped by itself, not cut at max_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """Specification from which an actor builds an engine on its own machine."""

    kind: str  # "vllm" or "scripted"
    config: EngineConfig
    model: ModelConfig  # resolved on the actor's own machine
    max_lora_rank: int = 0  # 0: the engine never serves an adapter
    num_gpus: float = 0.0  # 0: on CPU; more than 1: the model is split over them
    seed: int = 0
    replies: tuple[str, ...] = ()  # scripted only
    whole_prompts: bool = False  # never split a prompt over steps: then a request's seed holds on CPU too


class Engine(Protocol):
    """An inference engine that serves a base model and at most one adapter beside it."""

    async def start(self) -> None:
        """Load the model.

        Raises:
            EngineError: the engine cannot start.
        """

    async def generate(self, request: GenerationRequest) -> list[Completion]:
        """``num_samples`` continuations of the prompt.

        Raises:
            EngineDiedError: the engine is gone.
            EngineError: the request is impossible.
        """

    async def load_adapter(self, adapter: AdapterRef, folder: Path) -> None:
        """Make ``folder`` the adapter that ``use_adapter`` requests are served with, dropping the one before.

        Raises:
            EngineDiedError: the engine is gone.
            EngineError: the adapter cannot be loaded.
        """

    async def logprobs(
        self, prompt_ids: Sequence[int], completion_ids: Sequence[int], *, use_adapter: bool
    ) -> list[float]:
        """Natural-log probability of each completion token given all before it; same length as ``completion_ids``."""

    async def check_alive(self) -> None:
        """Return where the engine answers requests.

        Raises:
            EngineDiedError: it does not any more.
        """

    def close(self) -> None:
        """Free the engine."""
