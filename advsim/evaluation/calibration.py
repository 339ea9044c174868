"""Calibration of a detector on labelled messages, and failure rates corrected for its errors."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from advsim.config.paths import local_path
from advsim.detectors.accuracy import Proportion, any_counts, detector_counts, sensitivity, specificity, two_by_two
from advsim.detectors.findings import Findings, shown_and_found
from advsim.detectors.labelled import LabelledMessage, TextKind, load_labelled
from advsim.detectors.protocol import Detector
from advsim.detectors.taxonomy import Taxonomy
from advsim.errors import ConfigError, CorpusError
from advsim.rates.correction import CorrectedRate, corrected_rate, counts_for
from advsim.rates.rates import ANY
from advsim.records import DetectorCounts, Rate
from advsim.runtime.progress import Reporter

WHOLE_DIALOGUES = "in whole dialogues"
"""Kind of text of the labelled whole dialogues."""

SHIPPED = "shipped"
"""Names the held-out labelled messages that ship, in place of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledSet:
    """Messages to calibrate a detector with. ``source`` is the file's name, or ``shipped``."""

    source: str
    messages: tuple[LabelledMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeCalibration:
    """A detector against labelled messages, for one mode (``any``: any failure) and one kind of text.

    Attributes:
        counts: the two-by-two table; with mode and kind of text.
        sensitivity: found / shown, with Wilson's interval.
        specificity: not found / not shown, with Wilson's interval.
        num_not_judged: labelled messages without a verdict, in none of the counts.
    """

    counts: DetectorCounts
    sensitivity: Proportion
    specificity: Proportion
    num_not_judged: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A detector's errors, as counted on labelled messages.

    Attributes:
        source: of the labelled messages.
        num_messages: by kind of text. ``real`` and ``simulated`` serve groups of their kind; any other kind is all
            labelled messages together: ``written``, ``unstated`` where no label says, ``mixed`` where they differ.
        num_written: labelled messages that were composed, in all kinds.
        modes: any failure first, for each kind of text.
    """

    source: str
    num_messages: Mapping[str, int]
    num_written: int
    modes: tuple[ModeCalibration, ...]

    @property
    def counts(self) -> tuple[DetectorCounts, ...]:
        """The two-by-two tables."""
        return tuple(mode.counts for mode in self.modes)

    def text_for(self, text: str) -> str:
        """The kind of labelled text that serves a group of this kind."""
        return text if text in self.num_messages else list(self.num_messages)[-1]


def load_calibration(source: str | Path, taxonomy: Taxonomy) -> LabelledSet:
    """Labelled messages of a file, or with ``shipped`` the held-out ones that ship.

    Args:
        source: JSON Lines as :func:`advsim.detectors.labelled.load_labelled` reads them, or ``shipped``.
        taxonomy: the modes that may be named.

    Raises:
        ConfigError: the file cannot be read, breaks the format, names an unknown mode, or is empty.
    """
    path = None if str(source) == SHIPPED else local_path(str(source), key="calibration")
    try:
        messages = load_labelled("held_out", path, taxonomy=taxonomy)
    except CorpusError as error:
        raise ConfigError(f"calibration: {error}") from None
    if not messages:
        raise ConfigError(
            f"calibration {source}: got no labelled message, expected one a line; advsim/detectors/labelled/README.md "
            "says how"
        )
    return LabelledSet(source=SHIPPED if path is None else path.name, messages=tuple(messages))


def calibrate(
    labelled: LabelledSet, *, detector: Detector, taxonomy: Taxonomy, texts: Collection[str], reporter: Reporter
) -> Calibration:
    """Let the detector judge the labelled messages and count its errors, for each kind of text that a group needs.

    Args:
        labelled: the messages; they must not be those that the detector was made with.
        detector: any.
        taxonomy: its modes are counted.
        texts: kinds of text of the groups: ``real``, ``simulated``, or empty where it is not known.
        reporter: shows progress.

    Raises:
        CorpusError: the detector leaves a labelled message without an assessment.
    """
    dialogues = [message.dialogue for message in labelled.messages]
    with reporter.stage(f"labelled messages by {detector.name}", total=len(dialogues), unit="dialogue") as stage:
        assessments = detector.assess(dialogues, advance=stage.advance)
    modes: list[ModeCalibration] = []
    kinds = _kinds(labelled.messages, texts)
    for text, messages in kinds.items():
        tables = (
            any_counts(assessments, messages, text=text, judged_modes=detector.modes),
            *detector_counts(assessments, messages, text=text, modes=taxonomy.ids),
        )
        modes.extend(_of_mode(counts, len(messages)) for counts in tables)
    return Calibration(
        source=labelled.source,
        num_messages={text: len(messages) for text, messages in kinds.items()},
        num_written=sum(message.text == "written" for message in labelled.messages),
        modes=tuple(modes),
    )


def calibration_by_findings(findings: Findings, modes: Sequence[str]) -> Calibration:
    """The errors of a detector in whole labelled dialogues, one kind of text for all groups.

    Args:
        findings: of the detector.
        modes: those that are measured; ``any`` is any of them, and counts messages that were judged on all of them.
    """
    messages = [message for row in findings.dialogues for message in row.messages]
    tables = []
    for mode in (ANY, *findings.modes):
        of_mode = shown_and_found(findings, modes if mode == ANY else (mode,)).values()
        cells = [(bool(shown), bool(found)) for shown, found in of_mode]
        tables.append(two_by_two(mode, WHOLE_DIALOGUES, cells))
    return Calibration(
        source=f"{len(findings.dialogues)} dialogues",
        num_messages={WHOLE_DIALOGUES: len(messages)},
        num_written=0,
        modes=tuple(_of_mode(counts, len(messages)) for counts in tables),
    )


def corrected_rates(rates: Mapping[str, Rate], calibration: Calibration, text: str) -> dict[str, CorrectedRate]:
    """Failure rates by mode, corrected for the detector's errors.

    Args:
        rates: by mode, and ``any``; one whose mode nobody labelled has no corrected rate.
        calibration: of the detector.
        text: the group's kind of text.
    """
    kind = calibration.text_for(text)
    known = {counts.mode for counts in calibration.counts}
    return {
        mode: corrected_rate(rate, counts_for(calibration.counts, mode=mode, text=kind))
        for mode, rate in rates.items()
        if mode in known
    }


def _kinds(messages: Sequence[LabelledMessage], texts: Collection[str]) -> dict[str, list[LabelledMessage]]:
    """Labelled messages by the kind of text that they serve; all of them together last, where a group needs that."""
    wanted: tuple[TextKind, ...] = ("real", "simulated")
    by_kind: dict[str, list[LabelledMessage]] = {
        kind: kept
        for kind in wanted
        if kind in texts and (kept := [message for message in messages if message.text == kind])
    }
    if not by_kind.keys() >= set(texts):
        stated = {message.text for message in messages}
        name = "mixed" if len(stated) > 1 else (stated.pop() or "unstated")
        by_kind[name] = list(messages)
    return by_kind


def _of_mode(counts: DetectorCounts, num_messages: int) -> ModeCalibration:
    judged = counts.num_true_positive + counts.num_false_negative + counts.num_true_negative + counts.num_false_positive
    return ModeCalibration(
        counts=counts,
        sensitivity=sensitivity(counts),
        specificity=specificity(counts),
        num_not_judged=num_messages - judged,
    )
