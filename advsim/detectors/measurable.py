"""A detector cut down to the modes that it can measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from advsim.detectors.protocol import Detector
from advsim.records import Assessment, HasTurns

NOTHING_MEASURABLE = "no mode of this detector is shown to be right more often than not"


class MeasuredDetector:
    """Says only what a detector finds of some modes; it judges no other, and where there is none, no message at all.

    Args:
        detector: any.
        modes: those that are measured, among ``detector.modes``.
    """

    def __init__(self, detector: Detector, modes: Sequence[str]) -> None:
        self._detector = detector
        self._left_out = [mode for mode in detector.modes if mode not in modes]
        self.modes = tuple(modes)

    @property
    def name(self) -> str:
        """The detector's."""
        return self._detector.name

    def assess(
        self, dialogues: Sequence[HasTurns], *, advance: Callable[[int], None] | None = None
    ) -> list[Assessment]:
        """Judge every chatbot turn; see :class:`advsim.detectors.protocol.Detector`."""
        return [self._cut(assessment) for assessment in self._detector.assess(dialogues, advance=advance)]

    def _cut(self, assessment: Assessment) -> Assessment:
        if assessment.error or not self._left_out:
            return assessment
        if not self.modes:
            return dataclasses.replace(assessment, labels=(), abstained=(), error=NOTHING_MEASURABLE)
        return dataclasses.replace(
            assessment,
            labels=tuple(label for label in assessment.labels if label.mode not in self._left_out),
            abstained=tuple(dict.fromkeys((*assessment.abstained, *self._left_out))),
        )
