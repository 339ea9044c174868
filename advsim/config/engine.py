"""The vLLM engines, and how turns are sampled."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from advsim.config.base import Gib, Section, Tokens

CORES = r"^(?:all|\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*(?:\|\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)*)$"
"""vLLM's way to write cores: ``all``, or numbers and ranges, ``|`` between the workers of one engine."""


class EngineConfig(Section):
    """The vLLM engines of the simulator and chatbot pools."""

    max_model_len: Annotated[int, Field(ge=64, le=10_000_000, strict=True)] = 1024
    """Tokens of prompt and answer together."""
    max_num_seqs: Annotated[int, Field(ge=1, le=65_536, strict=True)] = 32
    """Requests decoded at once by one engine. Batching is worth 5 to 10 times even on two cores."""
    gpu_memory_utilization: Annotated[float, Field(ge=0.01, le=1.0, strict=True)] = 0.85
    kv_cache_gib: Gib = 1.0
    """CPU only: GiB of KV cache for each engine."""
    cpu_threads_bind: Annotated[str, Field(pattern=CORES)] = "all"
    """CPU only: cores of an engine, vLLM's VLLM_CPU_OMP_THREADS_BIND form ("0-1"), or "all". vLLM's own default keeps
    one core back, which halves the speed of a two-core machine."""
    adapter_serving: Literal["lora", "merged"] = "lora"
    """``lora`` serves the adapter beside the base model. ``merged`` folds it into a kept copy of the base weights on
    every push: faster decoding, but the engine then serves nothing else, so it cannot be colocated with a chatbot."""
    step_timeout_s: Annotated[float, Field(ge=10.0, le=30 * 86_400.0, strict=True)] = 3_600.0
    """CPU only: seconds for one step of the model, after which vLLM ends the engine for good. vLLM's own 300 s are not
    enough on a machine that others use too."""
    startup_timeout_s: Annotated[float, Field(ge=1.0, le=30 * 86_400.0, strict=True)] = 600.0


class SamplingConfig(Section):
    """How turns are sampled."""

    temperature: Annotated[float, Field(ge=0.0, le=10.0, strict=True)] = 1.0
    top_p: Annotated[float, Field(gt=0.0, le=1.0, strict=True)] = 1.0
    max_tokens: Tokens = 64
