"""The vLLM engines, and how turns are sampled."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from advsim.config.base import Fraction, PositiveFloat, PositiveInt, Section


class EngineConfig(Section):
    """The vLLM engines of the simulator and chatbot pools."""

    max_model_len: PositiveInt = 1024
    """Tokens of prompt and answer together."""
    max_num_seqs: PositiveInt = 32
    """Requests decoded at once by one engine. Batching is worth 5 to 10 times even on two cores."""
    gpu_memory_utilization: Fraction = 0.85
    kv_cache_gib: PositiveFloat = 1.0
    """CPU only: GiB of KV cache for each engine."""
    cpu_threads_bind: str = "all"
    """CPU only: cores of an engine, vLLM's VLLM_CPU_OMP_THREADS_BIND form ("0-1"), or "all". vLLM's own default keeps
    one core back, which halves the speed of a two-core machine."""
    adapter_serving: Literal["lora", "merged"] = "lora"
    """``lora`` serves the adapter beside the base model. ``merged`` folds it into a kept copy of the base weights on
    every push: faster decoding, but the engine then serves nothing else, so it cannot be colocated with a chatbot."""
    startup_timeout_s: PositiveFloat = 600.0


class SamplingConfig(Section):
    """How turns are sampled."""

    temperature: Annotated[float, Field(ge=0.0)] = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    max_tokens: PositiveInt = 64
