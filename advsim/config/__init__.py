"""The configuration: one pydantic model a section, YAML files and dotted overrides.

Imports nothing heavy, so that ``advsim check`` answers within two seconds. Unknown keys are refused with the nearest
valid one. Every field says its unit, its range where it has one, and why the default is what it is. Settings marked
[ref] are those of the paper's public reference code (github slingshot-ai/dial); see METHOD in ARCHITECTURE.md for the
sources.
"""

from advsim.config.base import Count, Fraction, Seconds, Section, Seed
from advsim.config.corpus import PRESET_HUB_IDS, ColumnsConfig, CorpusConfig
from advsim.config.evaluate import EvaluateConfig, JudgeConfig, JudgeEnginesConfig
from advsim.config.load import load_config, load_section, parse_config, parse_section, read_yaml
from advsim.config.model import EngineConfig, LoraConfig, ModelConfig, SamplingConfig
from advsim.config.paths import is_loopback
from advsim.config.resources import LearnerConfig, PoolConfig, ResourcesConfig
from advsim.config.rollout import (
    SIMULATOR_INSTRUCTIONS,
    CallsConfig,
    ChatbotConfig,
    ChatEndpointConfig,
    ExampleConfig,
    HttpApiConfig,
    PriceConfig,
    PromptConfig,
    RolloutConfig,
)
from advsim.config.run import Config
from advsim.config.sweep import CapsConfig, SimulatorConfig, SweepConfig
from advsim.config.training import (
    DiscriminatorConfig,
    DpoConfig,
    HeldOutConfig,
    PreferenceConfig,
    SftConfig,
    StopConfig,
)

__all__ = [
    "PRESET_HUB_IDS",
    "SIMULATOR_INSTRUCTIONS",
    "CallsConfig",
    "CapsConfig",
    "ChatEndpointConfig",
    "ChatbotConfig",
    "ColumnsConfig",
    "Config",
    "CorpusConfig",
    "Count",
    "DiscriminatorConfig",
    "DpoConfig",
    "EngineConfig",
    "EvaluateConfig",
    "ExampleConfig",
    "Fraction",
    "HeldOutConfig",
    "HttpApiConfig",
    "JudgeConfig",
    "JudgeEnginesConfig",
    "LearnerConfig",
    "LoraConfig",
    "ModelConfig",
    "PoolConfig",
    "PreferenceConfig",
    "PriceConfig",
    "PromptConfig",
    "ResourcesConfig",
    "RolloutConfig",
    "SamplingConfig",
    "Seconds",
    "Section",
    "Seed",
    "SftConfig",
    "SimulatorConfig",
    "StopConfig",
    "SweepConfig",
    "is_loopback",
    "load_config",
    "load_section",
    "parse_config",
    "parse_section",
    "read_yaml",
]
