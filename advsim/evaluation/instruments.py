"""Instruments of an evaluation: the detector, its taxonomy, messages to calibrate it with, and the embedder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from advsim.config import EvaluateConfig
from advsim.detectors.build import build_detector
from advsim.detectors.findings import SHIPPED, Findings, load_findings
from advsim.detectors.judge.judge import Judge
from advsim.detectors.measurable import MeasuredDetector
from advsim.detectors.protocol import Detector
from advsim.detectors.taxonomy import Taxonomy, load_taxonomy
from advsim.detectors.worth import Worth, is_shown, measurable_modes, worth
from advsim.evaluation.calibration import LabelledSet, load_calibration
from advsim.models.embedder import Embedder, LazyEmbedder


@dataclass(frozen=True, kw_only=True)
class Instruments:
    """Instruments that all groups of an evaluation share. Without labelled messages no rate is corrected."""

    detector: Detector
    taxonomy: Taxonomy
    embedder: Embedder
    labelled: LabelledSet | None = None
    findings: Findings | None = None
    """What the detector finds in labelled whole dialogues; None where nobody measured it."""

    @cached_property
    def worth(self) -> Worth | None:
        """What the detector is worth, all modes; None where nobody measured it."""
        return None if self.findings is None else worth(self.findings)

    @property
    def measured(self) -> Detector:
        """The detector, of the modes alone that count in "any failure"."""
        return MeasuredDetector(self.detector, self.counted)

    @cached_property
    def counted(self) -> tuple[str, ...]:
        """Modes whose findings make a message a failing one.

        All that the detector judges, where the precision of "any failure" is shown to be high enough with all of them;
        otherwise those that are measured one by one.
        """
        if self.worth is None or is_shown(self.worth.modes[0]):
            return tuple(self.detector.modes)
        return self.modes

    @property
    def worth_counted(self) -> Worth | None:
        """What it is worth on the modes that count; ``any`` is any of these."""
        if self.findings is None or set(self.counted) >= set(self.findings.modes):
            return self.worth
        return worth(self.findings, [mode for mode in self.counted if mode in self.findings.modes])

    @cached_property
    def modes(self) -> tuple[str, ...]:
        """Modes with a rate of their own: those the detector judges, less those it is not shown to get right."""
        if self.worth is None or self.findings is None:
            return tuple(self.detector.modes)
        measurable = measurable_modes(self.worth)
        return tuple(mode for mode in self.detector.modes if mode in measurable or mode not in self.findings.modes)

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
    known = build_detector(config, taxonomy, embedder) if detector is None else detector
    # what ships was measured with the weights that ship, whatever the name of another detector
    own = {"learned": config.weights, "combined": config.weights or config.reader}.get(config.detector)
    is_other = detector is not None or own is not None or isinstance(known, Judge)
    return Instruments(
        detector=known,
        taxonomy=taxonomy,
        embedder=embedder,
        labelled=None if config.calibration is None else load_calibration(config.calibration, taxonomy),
        findings=None
        if config.worth is None or (is_other and config.worth == SHIPPED)
        else _findings(config.worth, known),
    )


def _findings(source: str, detector: Detector) -> Findings | None:
    return load_findings(source, detector.name, settings=detector.settings if isinstance(detector, Judge) else None)
