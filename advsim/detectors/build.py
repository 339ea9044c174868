"""Detectors by name: rules, learned, combined, judge."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from advsim.config import EvaluateConfig, ModelConfig
from advsim.config.paths import local_path
from advsim.detectors.judge.judge import build_judge
from advsim.detectors.judge.pool import build_engine_judge
from advsim.detectors.protocol import Detector
from advsim.detectors.saved import WEIGHTS_FILE
from advsim.detectors.taxonomy import Taxonomy
from advsim.errors import ConfigError
from advsim.models.base import check_model
from advsim.models.embedded import EMBEDDED
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
        ConfigError: the weights are no learned detector's or the reader no reader's, the judge's model is not there, or
            its environment variable is not set.
    """
    if config.detector == "learned":
        from advsim.detectors.learned.load import load_learned

        return load_learned(config.weights, embedder=embedder)
    if config.detector == "combined":
        from advsim.detectors.combined import load_combined

        return load_combined(taxonomy, weights=config.weights, reader=config.reader, embedder=embedder)
    if config.detector == "judge":
        judge = config.judge
        return build_judge(judge, taxonomy) if judge.base_url else build_engine_judge(judge, taxonomy)
    from advsim.detectors.rules import RulesDetector

    return RulesDetector(taxonomy)


def check_detector_files(config: EvaluateConfig) -> None:
    """Check that what a configuration names is there, without loading anything.

    Raises:
        ConfigError: a file or a folder is not.
    """
    for key, command in (("weights", "advsim detectors train"), ("reader", "advsim detectors train --reader")):
        folder = getattr(config, key)
        if folder is not None and not (local_path(folder, key=f"evaluate.{key}") / WEIGHTS_FILE).is_file():
            raise ConfigError(
                f"evaluate.{key}: got {folder!r}, which has no {WEIGHTS_FILE}; name a folder of {command}"
            )
    if config.detector == "combined":
        check_model(ModelConfig(path=EMBEDDED), key="evaluate.detector")
    for key in ("taxonomy", "worth", "calibration"):
        file = getattr(config, key)
        if file not in (None, "shipped") and not local_path(file, key=f"evaluate.{key}").is_file():
            raise ConfigError(f"evaluate.{key}: got {file!r}, which is no file")


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorStamp:
    """What tells whether a detector is still the one that it was.

    Attributes:
        shipped_sha256: of the detectors' code, rules and weights in this version of advsim.
        taxonomy_sha256: of ``evaluate.taxonomy``; empty without one.
        weights_sha256: of ``evaluate.weights``; empty without them.
        reader_sha256: of ``evaluate.reader``; empty without one.
    """

    shipped_sha256: str
    taxonomy_sha256: str = ""
    weights_sha256: str = ""
    reader_sha256: str = ""


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
    taxonomy, weights, reader = config.taxonomy, config.weights, config.reader
    return DetectorStamp(
        shipped_sha256=shipped.hexdigest(),
        taxonomy_sha256=""
        if taxonomy is None
        else hashlib.sha256(local_path(taxonomy, key="evaluate.taxonomy").read_bytes()).hexdigest(),
        weights_sha256="" if weights is None else folder_sha256(local_path(weights, key="evaluate.weights")),
        reader_sha256="" if reader is None else folder_sha256(local_path(reader, key="evaluate.reader")),
    )
