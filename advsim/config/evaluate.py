"""What ``advsim evaluate`` measures, and by which detector."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from advsim.config.base import Section
from advsim.config.judge import JudgeConfig


class EvaluateConfig(Section):
    """What ``advsim evaluate`` measures, and by which detector."""

    detector: Literal["rules", "learned", "combined", "judge"] = "rules"
    """``rules`` needs nothing and is the fastest; ``combined`` is rules and the learned detector weighed together."""
    taxonomy: str | None = None
    """YAML file that adds failure modes or replaces their texts."""
    calibration: str | None = None
    """File of labelled messages, or ``shipped``: rates are also given without the detector's errors on them."""
    pairs: tuple[str, ...] = ()
    """``A:B`` each: chatbots to compare, chosen beforehand, where dialogues name several; empty: all with baseline."""
    baseline: str | None = None
    """The chatbot that all others are compared with; None: the first by name."""
    judge: JudgeConfig = JudgeConfig()
    """The model that judges, for the detector ``judge``."""

    @model_validator(mode="after")
    def _consistent(self) -> EvaluateConfig:
        if self.detector == "judge" and not self.judge.model:
            raise ValueError(
                "detector judge: got no model, expected one; set evaluate.judge.model to embedded:smollm2-135m, a hub "
                "id or a folder, which is started here, or to the model's name at an endpoint and "
                "evaluate.judge.base_url to http://host:port/v1"
            )
        if self.pairs and self.baseline is not None:
            raise ValueError(
                "got evaluate.pairs and evaluate.baseline, expected one of the two; pairs name both sides of each"
            )
        return self
