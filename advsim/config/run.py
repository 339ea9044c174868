"""A whole run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from advsim.config.base import Section
from advsim.config.chatbot import ChatbotConfig
from advsim.config.corpus import CorpusConfig
from advsim.config.engine import EngineConfig
from advsim.config.evaluate import EvaluateConfig
from advsim.config.held_out import HeldOutConfig, StopConfig
from advsim.config.model import LoraConfig, ModelConfig
from advsim.config.prompt import PromptConfig
from advsim.config.resources import ResourcesConfig
from advsim.config.rollout import RolloutConfig
from advsim.config.training import DiscriminatorConfig, DpoConfig, PreferenceConfig, SftConfig


class Config(Section):
    """A whole run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "run"
    seed: int = 0
    output_dir: str = "runs"
    """The run folder is ``output_dir/name``: a local path, a shared file system, or an ``s3://`` URI."""
    model: ModelConfig = ModelConfig()
    corpus: CorpusConfig = CorpusConfig()
    prompt: PromptConfig = PromptConfig()
    lora: LoraConfig = LoraConfig()
    sft: SftConfig = SftConfig()
    engine: EngineConfig = EngineConfig()
    rollout: RolloutConfig = RolloutConfig()
    chatbot: ChatbotConfig = ChatbotConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    preference: PreferenceConfig = PreferenceConfig()
    dpo: DpoConfig = DpoConfig()
    held_out: HeldOutConfig = HeldOutConfig()
    stop: StopConfig = StopConfig()
    resources: ResourcesConfig = ResourcesConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    """Read by ``advsim evaluate`` alone; training does not know it."""

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        samplings = [self.rollout.sampling, self.preference.sampling, self.held_out.sampling]
        if self.chatbot.kind == "model":
            samplings.append(self.chatbot.sampling)
        longest = max(sampling.max_tokens for sampling in samplings)
        if longest >= self.engine.max_model_len:
            raise ValueError(
                f"engine.max_model_len is {self.engine.max_model_len} but a turn may take {longest} tokens; "
                "raise engine.max_model_len or lower max_tokens of rollout, preference, held_out and chatbot sampling"
            )
        if self.resources.colocate and self.chatbot.kind == "model":
            other = self.chatbot.model
            if other is not None and (other.path, other.revision) != (self.model.path, self.model.revision):
                raise ValueError(
                    f"resources.colocate shares one engine, but chatbot.model is {other.path!r} (revision "
                    f"{other.revision}) and model is {self.model.path!r} (revision {self.model.revision}); set "
                    "resources.colocate to false"
                )
            if self.engine.adapter_serving == "merged":
                raise ValueError(
                    "engine.adapter_serving is merged, but resources.colocate needs the base model on the same engine; "
                    "set resources.colocate to false or engine.adapter_serving to lora"
                )
        return self

    @property
    def prompt_budget_tokens(self) -> int:
        """Tokens of a simulator prompt at most: what the longest answer leaves of the model's length."""
        samplings = (self.rollout.sampling, self.preference.sampling, self.held_out.sampling)
        longest = max(sampling.max_tokens for sampling in samplings)
        return min(self.prompt.max_context_tokens, self.engine.max_model_len - longest)

    @property
    def run_path(self) -> str:
        """Where the run folder is: a path or a URI."""
        return f"{self.output_dir.rstrip('/')}/{self.name}"
