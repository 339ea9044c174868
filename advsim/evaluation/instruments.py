"""What measures: the detector of failures, its taxonomy, labelled messages to calibrate it with, and the embedder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from advsim.detectors.build import JudgeOptions, _detector
from advsim.detectors.judge.judge import Judge
from advsim.detectors.protocol import Detector
from advsim.detectors.taxonomy import Taxonomy, load_taxonomy
from advsim.evaluation.calibration import LabelledSet, load_calibration
from advsim.models.embedder import Embedder, LazyEmbedder


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    """The same for all groups of an evaluation. Without labelled messages no rate is corrected."""

    detector: Detector
    taxonomy: Taxonomy
    embedder: Embedder
    labelled: LabelledSet | None = None

    def release(self) -> None:
        """Stop the engines of a judge that has any: all messages are judged."""
        if isinstance(self.detector, Judge):
            self.detector.shut_down()


def build_instruments(
    detector: str | Detector,
    *,
    taxonomy: str | Path | None = None,
    judge: JudgeOptions | None = None,
    calibration: str | Path | None = None,
    embedder: Embedder | None = None,
) -> Instruments:
    """The detector by its name or as given, the taxonomy of a file or the shipped one, the embedder.

    Raises:
        ConfigError: there is no detector of that name, the judge is not described, or taxonomy or labelled messages
            are not valid.
    """
    known = load_taxonomy(taxonomy)
    vectors = LazyEmbedder(embedder)
    return Instruments(
        detector=_detector(detector, known, judge, vectors) if isinstance(detector, str) else detector,
        taxonomy=known,
        embedder=vectors,
        labelled=None if calibration is None else load_calibration(calibration, known),
    )
