"""Detectors by name: rules, learned, combined, judge."""

from __future__ import annotations

from advsim.config import EvaluateConfig
from advsim.detectors.judge.judge import build_judge
from advsim.detectors.judge.pool import build_engine_judge
from advsim.detectors.protocol import Detector
from advsim.detectors.taxonomy import Taxonomy
from advsim.models.embedder import Embedder


def build_detector(config: EvaluateConfig, taxonomy: Taxonomy, embedder: Embedder) -> Detector:
    """The detector that a configuration names.

    Args:
        config: its name, and the model that judges.
        taxonomy: the modes that it finds.
        embedder: of sentences, for ``learned`` and ``combined``.

    Raises:
        ConfigError: the weights are no learned detector's, the judge's model is not there, or its environment variable
            is not set.
    """
    if config.detector == "learned":
        from advsim.detectors.learned.load import load_learned

        return load_learned(config.weights, embedder=embedder)
    if config.detector == "combined":
        from advsim.detectors.combined import load_combined

        return load_combined(taxonomy, weights=config.weights, embedder=embedder)
    if config.detector == "judge":
        judge = config.judge
        return build_judge(judge, taxonomy) if judge.base_url else build_engine_judge(judge, taxonomy)
    from advsim.detectors.rules import RulesDetector

    return RulesDetector(taxonomy)
