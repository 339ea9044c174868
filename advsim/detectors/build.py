"""Detectors by name: rules, learned, combined, judge."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from advsim.config import EvaluateConfig
from advsim.config.paths import local_path
from advsim.detectors.judge.judge import build_judge
from advsim.detectors.judge.pool import build_engine_judge
from advsim.detectors.protocol import Detector
from advsim.detectors.taxonomy import Taxonomy
from advsim.models.embedder import Embedder
from advsim.models.hashing import folder_sha256

_SOURCES = (".py", ".yaml", ".json", ".npz", ".safetensors")
_NOT_THE_DETECTOR = ("labelled", "__pycache__")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorStamp:
    """What tells whether a detector is still the one that it was.

    Attributes:
        shipped_sha256: of the detectors' code, rules and weights in this version of advsim.
        taxonomy_sha256: of ``evaluate.taxonomy``; empty without one.
        weights_sha256: of ``evaluate.weights``; empty without them.
    """

    shipped_sha256: str
    taxonomy_sha256: str = ""
    weights_sha256: str = ""


def detector_stamp(config: EvaluateConfig) -> DetectorStamp:
    """The stamp of the detector that a configuration names, which can be built.

    Raises:
        ConfigError: a path can name no file.
    """
    folder = Path(__file__).parent
    shipped = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        place = file.relative_to(folder)
        if file.suffix in _SOURCES and not set(place.parts) & set(_NOT_THE_DETECTOR):
            shipped.update(f"{place.as_posix()}\n".encode())
            shipped.update(hashlib.sha256(file.read_bytes()).digest())
    taxonomy, weights = config.taxonomy, config.weights
    return DetectorStamp(
        shipped_sha256=shipped.hexdigest(),
        taxonomy_sha256=""
        if taxonomy is None
        else hashlib.sha256(local_path(taxonomy, key="evaluate.taxonomy").read_bytes()).hexdigest(),
        weights_sha256="" if weights is None else folder_sha256(local_path(weights, key="evaluate.weights")),
    )
