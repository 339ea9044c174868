"""Detectors by name: rules, learned, combined, judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from advsim.config import ModelConfig
from advsim.detectors.judge.config import JudgeConfig
from advsim.detectors.judge.judge import Judge, build_judge
from advsim.detectors.judge.pool import JudgeEnginesConfig, build_engine_judge
from advsim.detectors.protocol import Detector
from advsim.detectors.taxonomy import Taxonomy
from advsim.errors import ConfigError
from advsim.models.embedder import Embedder

DETECTORS = ("rules", "learned", "combined", "judge")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """The model that judges, for the detector ``judge``."""

    base_url: str = ""
    """Empty: ``model`` is started here on engines of its own, and stopped when all messages are judged."""
    model: str = ""
    """Its name at the endpoint; without one an embedded model, a hub id or a local folder."""
    api_key_env: str | None = None
    """NAME of the environment variable with the key."""
    num_votes: int = 1
    """How often each question is asked; above 1 at temperature 0.7, since at 0 all votes would be the same."""
    scope: Literal["rubric", "mode"] = "rubric"
    """The whole rubric in one call, or one call a mode."""
    num_engines: int = 1
    """Engines of its own; each takes a GPU where there are any."""


def _detector(name: str, taxonomy: Taxonomy, judge: JudgeOptions | None, embedder: Embedder) -> Detector:
    if name == "rules":
        from advsim.detectors.rules import RulesDetector

        return RulesDetector(taxonomy)
    if name == "learned":
        from advsim.detectors.learned.load import load_learned

        return load_learned(taxonomy, embedder=embedder)
    if name == "combined":
        from advsim.detectors.combined import load_combined

        return load_combined(taxonomy, embedder=embedder)
    if name == "judge":
        return _judge(judge or JudgeOptions(), taxonomy)
    raise ConfigError(f"detector: got {name!r}, expected one of {', '.join(DETECTORS)}")


def _judge(judge: JudgeOptions, taxonomy: Taxonomy) -> Judge:
    if not judge.model:
        raise ConfigError(
            "detector judge: got no model, expected one; give --judge-model embedded:smollm2-135m, a hub id or a "
            "folder, which is started here, or the model's name at an endpoint and --judge-url http://host:port/v1"
        )
    if not judge.base_url and judge.api_key_env:
        raise ConfigError(
            f"detector judge: got a key ({judge.api_key_env}) and no endpoint, expected both or neither; give "
            "--judge-url http://host:port/v1, or leave --judge-key-env out to start the model here"
        )
    if judge.base_url and judge.num_engines != 1:
        raise ConfigError(
            f"detector judge: got --judge-engines {judge.num_engines} with --judge-url, expected one of the two; "
            "an endpoint has engines of its own"
        )
    try:
        config = JudgeConfig(
            base_url=judge.base_url or JudgeConfig().base_url,
            model=judge.model,
            api_key_env=judge.api_key_env,
            scope=judge.scope,
            num_votes=judge.num_votes,
            temperature=0.7 if judge.num_votes > 1 else 0.0,
        )
        if not judge.base_url:
            engines = JudgeEnginesConfig(model=ModelConfig(path=judge.model), num_engines=judge.num_engines)
            return build_engine_judge(config, engines, taxonomy)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in error.errors())
        raise ConfigError(f"detector judge: {'; '.join(faults)}") from None
    return build_judge(config, taxonomy)
