"""A whole run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from advsim.config.base import Section, Seed
from advsim.config.corpus import CorpusConfig
from advsim.config.evaluate import EvaluateConfig
from advsim.config.model import EngineConfig, LoraConfig, ModelConfig
from advsim.config.paths import under
from advsim.config.resources import ResourcesConfig
from advsim.config.rollout import ChatbotConfig, PromptConfig, RolloutConfig
from advsim.config.training import (
    DiscriminatorConfig,
    DpoConfig,
    HeldOutConfig,
    PreferenceConfig,
    SftConfig,
    StopConfig,
)

MIN_PROMPT_TOKENS = 48
"""Instructions, frames and one short turn: with less no dialogue fits."""


class Config(Section):
    """A whole run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)] = "run"
    seed: Seed = 0
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
        if self.prompt_budget_tokens < MIN_PROMPT_TOKENS:
            raise ValueError(
                f"a simulator prompt may have {self.prompt_budget_tokens} tokens, expected at least "
                f"{MIN_PROMPT_TOKENS}; raise prompt.max_context_tokens or engine.max_model_len, or lower max_tokens of "
                "rollout, preference or held_out sampling"
            )
        if self.held_out.num_prefixes < self.held_out.num_folds:
            raise ValueError(
                f"held_out.num_prefixes is {self.held_out.num_prefixes} and held_out.num_folds "
                f"{self.held_out.num_folds}; every fold needs a prefix: raise the one or lower the other"
            )
        if self.stop.max_rounds:
            self._check_rounds()
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

    def _check_rounds(self) -> None:
        """What the rounds need besides SFT."""
        if self.discriminator.on == "conversations":
            self._check_conversations()
        else:
            if self.preference.num_lowest_turns != PreferenceConfig().num_lowest_turns:
                raise ValueError(
                    "preference.num_lowest_turns has no effect with discriminator.on: prefixes, where every prefix "
                    "gets draws; take it out"
                )
            if self.preference.num_candidates < 2:
                raise ValueError(
                    "preference.num_candidates is 1, but with discriminator.on: prefixes pairs are two draws on one "
                    "prefix; raise it"
                )
        if self.preference.sampling.temperature == 0.0:
            raise ValueError(
                "preference.sampling.temperature is 0, where all candidates of a turn are the same and give no pair; "
                "raise it"
            )
        if self.rollout.sampling.temperature == 0.0 and self.preference.num_candidates < 2:
            raise ValueError("preference.num_candidates is 1 with rollout.sampling.temperature 0; raise one of the two")

    def _check_conversations(self) -> None:
        """What rounds on conversations need, and what has no effect there."""
        if self.rollout.max_user_turns < 2:
            raise ValueError(
                "rollout.max_user_turns is 1, but pairs come from conversations of at least 2 user turns; raise it, or "
                "set stop.max_rounds to 0 for SFT alone"
            )
        if self.dpo.loss == "calibrated":
            raise ValueError(
                "dpo.loss is calibrated, but with discriminator.on: conversations the rewards are no calibrated odds; "
                "take another loss, or set discriminator.on to prefixes"
            )
        if self.stop.min_discriminator_auc != StopConfig().min_discriminator_auc:
            raise ValueError(
                "stop.min_discriminator_auc has no effect with discriminator.on: conversations, whose discriminator "
                "has no interval; take it out"
            )

    @property
    def prompt_budget_tokens(self) -> int:
        """Tokens of a simulator prompt at most: what the longest answer leaves of the model's length."""
        samplings = (self.rollout.sampling, self.preference.sampling, self.held_out.sampling)
        longest = max(sampling.max_tokens for sampling in samplings)
        return min(self.prompt.max_context_tokens, self.engine.max_model_len - longest)

    @property
    def run_path(self) -> str:
        """Where the run folder is: a path or a URI."""
        return under(self.output_dir, self.name)
