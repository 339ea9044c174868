"""Instruments of an evaluation: the detector, its taxonomy, messages to calibrate it with, and the embedder."""

from __future__ import annotations

from dataclasses import dataclass

from advsim.config import EvaluateConfig
from advsim.detectors.build import build_detector
from advsim.detectors.judge.judge import Judge
from advsim.detectors.protocol import Detector
from advsim.detectors.taxonomy import Taxonomy, load_taxonomy
from advsim.evaluation.calibration import LabelledSet, load_calibration
from advsim.models.embedder import Embedder, LazyEmbedder


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    """Instruments that all groups of an evaluation share. Without labelled messages no rate is corrected."""

    detector: Detector
    taxonomy: Taxonomy
    embedder: Embedder
    labelled: LabelledSet | None = None

    def release(self) -> None:
        """Stop the engines of a judge that has any: all messages are judged."""
        if isinstance(self.detector, Judge):
            self.detector.shut_down()


def build_instruments(
    config: EvaluateConfig, *, detector: Detector | None = None, embedder: Embedder | None = None
) -> Instruments:
    """The detector, the taxonomy, the labelled messages and the embedder of an evaluation.

    Args:
        config: names them.
        detector: in place of the one that ``config`` names.
        embedder: in place of the one that ships.

    Raises:
        ConfigError: the judge cannot work, or taxonomy or labelled messages are not valid.
    """
    taxonomy = load_taxonomy(config.taxonomy)
    embedder = LazyEmbedder(embedder)
    return Instruments(
        detector=build_detector(config, taxonomy, embedder) if detector is None else detector,
        taxonomy=taxonomy,
        embedder=embedder,
        labelled=None if config.calibration is None else load_calibration(config.calibration, taxonomy),
    )
