"""What a detector finds in the labelled whole dialogues, message by message, kept in a file.

From it follows what the detector is worth (:mod:`advsim.detectors.worth`), which of its modes can be measured at all,
and how rates are corrected. The files of the detectors that ship are beside the labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from advsim.config.paths import local_path, read_file
from advsim.detectors.accuracy import by_message, verdict
from advsim.detectors.protocol import Detector
from advsim.detectors.whole_dialogues import LabelledDialogue
from advsim.errors import ConfigError, one_line
from advsim.rates.rates import ANY
from advsim.runtime.progress import Reporter

SHIPPED = "shipped"
"""Names the file that ships for a detector, in place of a path."""

_FOLDER = Path(__file__).with_name("labelled") / "findings"
_MAX_BYTES = 50_000_000


Setting: TypeAlias = str | int | float | None
"""Of a detector that has any: what its findings hang on."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FoundMessage(_Section):
    """A labelled message: the modes that it shows, those that were found, and those without a verdict."""

    turn: Annotated[int, Field(ge=0)]
    shown: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    not_judged: tuple[str, ...] = ()


class FoundDialogue(_Section):
    """A labelled dialogue, its chatbot messages in order."""

    dialogue: str
    messages: tuple[FoundMessage, ...]


class Findings(_Section):
    """A detector's findings in labelled dialogues that it was not made with.

    Attributes:
        detector: its name.
        parts: of the labelled dialogues that were judged.
        settings: of the detector; empty where it has none. A judge with other settings is another detector.
        modes: ids that were labelled and judged; what is said of others is not known.
        dialogues: a row each.
    """

    format: Literal["advsim-detector-findings"] = "advsim-detector-findings"
    detector: str
    settings: dict[str, Setting] = Field(default_factory=dict)
    parts: tuple[str, ...]
    modes: tuple[str, ...]
    dialogues: Annotated[tuple[FoundDialogue, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _counts_each_once(self) -> Findings:
        ids = [row.dialogue for row in self.dialogues]
        for what, names in (("mode", self.modes), ("dialogue", ids)):
            if twice := [name for name, number in Counter(names).items() if number > 1]:
                raise ValueError(f"{what} {twice[0]!r} stands there twice")
        if ANY in self.modes:
            raise ValueError(f"a mode cannot be called {ANY!r}, which is any of them")
        known = set(self.modes)
        for row in self.dialogues:
            turns = [message.turn for message in row.messages]
            if len(set(turns)) < len(turns):
                raise ValueError(f"dialogue {row.dialogue!r}: a turn stands there twice")
            for message in row.messages:
                if unknown := {*message.shown, *message.found, *message.not_judged} - known:
                    raise ValueError(
                        f"dialogue {row.dialogue!r}, turn {message.turn}: {min(unknown)!r} is none of the modes"
                    )
        return self

    def save(self, path: Path) -> None:
        """Write the file as JSON, a dialogue a line.

        Raises:
            ConfigError: it cannot be written.
        """
        head = self.model_dump_json(exclude={"dialogues"}, exclude_defaults=False)[:-1]
        rows = ",\n".join(row.model_dump_json(exclude_defaults=True) for row in self.dialogues)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'{head},"dialogues":[\n{rows}\n]}}\n', encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from None


def find_in_labelled(
    detector: Detector,
    dialogues: Sequence[LabelledDialogue],
    *,
    modes: Sequence[str],
    reporter: Reporter,
    settings: Mapping[str, Setting] | None = None,
) -> Findings:
    """Let a detector judge labelled dialogues.

    Args:
        detector: any.
        dialogues: labelled ones; they must not be those that the detector was made with.
        modes: ids that the labels know.
        reporter: shows progress.
        settings: what the detector's findings hang on, kept with them; None where it has none.

    Raises:
        CorpusError: the detector assessed a message twice.
    """
    with reporter.stage(f"labelled dialogues by {detector.name}", total=len(dialogues), unit="dialogue") as stage:
        assessed = by_message(detector.assess([each.dialogue for each in dialogues], advance=stage.advance))
    rows = []
    for each in dialogues:
        messages = []
        for turn, label in each.labels.items():
            said = {mode: verdict(assessed[each.dialogue.id, turn], mode) for mode in modes}
            messages.append(
                FoundMessage(
                    turn=turn,
                    shown=tuple(mode for mode in modes if mode in label.modes),
                    found=tuple(mode for mode in modes if said[mode]),
                    not_judged=tuple(mode for mode in modes if said[mode] is None),
                )
            )
        rows.append(FoundDialogue(dialogue=each.dialogue.id, messages=tuple(messages)))
    return Findings(
        detector=detector.name,
        settings=dict(settings or {}),
        parts=tuple(sorted({each.part for each in dialogues})),
        modes=tuple(modes),
        dialogues=tuple(rows),
    )


def load_findings(
    source: str, detector: str, *, settings: Mapping[str, Setting] | None = None, folder: Path = _FOLDER
) -> Findings | None:
    """The findings that say what a detector is worth.

    Args:
        source: a file of :meth:`Findings.save`, or ``shipped``.
        detector: its name.
        settings: of the detector, where it has any; a file that names others says nothing of it.
        folder: of the files that ship.

    Returns:
        None where ``shipped`` has none of this detector.

    Raises:
        ConfigError: the file cannot be read, breaks the format, or is of another detector, or of one with
            other settings.
    """
    path = folder / f"{detector}.json" if source == SHIPPED else local_path(source, key="worth")
    if source == SHIPPED and not path.is_file():
        return None
    try:
        findings = Findings.model_validate_json(read_file(path, max_bytes=_MAX_BYTES, where=f"worth {source}"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"worth {source}: {place}: {reason}; expected a file of `advsim detectors measure --save`"
        ) from None
    if findings.detector != detector:
        raise ConfigError(f"worth {source}: got findings of {findings.detector}, expected those of {detector}")
    now = settings or {}
    other = [key for key, value in findings.settings.items() if key in now and now[key] != value]
    if other:
        got, expected = (
            one_line(", ".join(f"{key} {values[key]}" for key in other), max_characters=200)
            for values in (findings.settings, now)
        )
        raise ConfigError(
            f"worth {source}: got findings of {detector} with {got}, expected them with {expected}; measure it as it "
            "is now: advsim detectors measure --save FILE"
        )
    return findings


def shown_and_found(findings: Findings, modes: Sequence[str]) -> Mapping[tuple[str, int], tuple[set[str], set[str]]]:
    """Modes shown and found in each message that was judged on all of these modes, by dialogue and turn."""
    wanted = set(modes)
    return {
        (row.dialogue, message.turn): (wanted & set(message.shown), wanted & set(message.found))
        for row in findings.dialogues
        for message in row.messages
        if not wanted & set(message.not_judged)
    }
