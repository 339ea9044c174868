"""Live logs as the detector's outcomes by chatbot, over the messages that a prediction is of."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from advsim.config import CorpusConfig, EvaluateConfig, parse_section
from advsim.corpus.files import read_dialogues
from advsim.detectors.build import detector_stamp
from advsim.detectors.measurable import MeasuredDetector
from advsim.detectors.protocol import Detector
from advsim.errors import ConfigError, CorpusError
from advsim.evaluation.instruments import build_instruments
from advsim.predictions.prediction import Prediction
from advsim.prompts.thoughts import ONLY_A_THOUGHT
from advsim.rates.outcomes import outcomes
from advsim.records import Assessment, Dialogue, Speaker
from advsim.sweep.outcomes import Outcomes
from advsim.validity.by_chatbot import rows_by_chatbot


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLogs:
    """Dialogues of the chatbots that are scored.

    Attributes:
        files: their names.
        dialogues: of these chatbots; ids are unique over the files.
        num_unnamed: dialogues that name no chatbot.
        others: dialogues of chatbots that are not scored, by chatbot.
        num_bad: dialogues that broke the schema and were left out.
        not_scored: predicted chatbots that were left out on purpose.
    """

    files: tuple[str, ...]
    dialogues: tuple[Dialogue, ...]
    num_unnamed: int = 0
    others: Mapping[str, int] = field(default_factory=dict)
    num_bad: int = 0
    not_scored: tuple[str, ...] = ()


def read_logs(
    paths: Sequence[str], predicted: Sequence[str], *, corpus: CorpusConfig, only: Sequence[str] = ()
) -> LiveLogs:
    """Read live logs of the chatbots predicted.

    Args:
        paths: dialogue files; each dialogue names its chatbot in its key ``chatbot``.
        predicted: names of the chatbots predicted.
        corpus: how the files are read.
        only: score these alone, because the others were not deployed.

    Raises:
        ConfigError: ``only`` names a chatbot that was not predicted.
        CorpusError: a file cannot be read, holds what another holds too, or a chatbot to score is in none.
    """
    if unknown := sorted(set(only) - set(predicted)):
        raise ConfigError(f"--chatbot {unknown[0]}: was not predicted; expected some of {', '.join(predicted)}")
    wanted = [name for name in predicted if not only or name in only]
    files = [(path, read_dialogues(path, corpus)) for path in paths]
    everything = _with_unique_ids([(path, file.dialogues) for path, file in files])
    names = Counter(dialogue.chatbot for dialogue in everything if dialogue.chatbot is not None)
    _check_chatbots(wanted, names, ", ".join(paths))
    return LiveLogs(
        files=tuple(file.name for _, file in files),
        dialogues=tuple(dialogue for dialogue in everything if dialogue.chatbot in wanted),
        num_unnamed=sum(dialogue.chatbot is None for dialogue in everything),
        others={name: number for name, number in sorted(names.items()) if name not in wanted},
        num_bad=sum(file.num_left_out for _, file in files),
        not_scored=tuple(name for name in predicted if name not in wanted),
    )


def _with_unique_ids(files: Sequence[tuple[str, Sequence[Dialogue]]]) -> list[Dialogue]:
    """All dialogues; an id that an earlier file has is told apart, for files of several months may number anew.

    Raises:
        CorpusError: a dialogue is given twice.
    """
    holders: dict[str, list[tuple[str, Dialogue]]] = defaultdict(list)
    by_id: dict[str, Dialogue] = {}
    for path, dialogues in files:
        for dialogue in dialogues:
            for earlier, other in holders[dialogue.id]:
                if other.turns == dialogue.turns:
                    raise CorpusError(
                        f"{path}: dialogue {dialogue.id!r} is in {earlier} too, with the same turns, and would count "
                        "twice; give each dialogue once"
                    )
            holders[dialogue.id].append((path, dialogue))
            unique = dialogue.id
            while unique in by_id:
                unique = f"{path}: {unique}"
            by_id[unique] = dataclasses.replace(dialogue, id=unique)
    return list(by_id.values())


def _check_chatbots(wanted: Sequence[str], there: Mapping[str, int], where: str) -> None:
    missing = [name for name in wanted if name not in there]
    if not missing:
        return
    named = ", ".join(sorted(there)) or "no chatbot"
    hint = "each dialogue names its chatbot in its key chatbot (-o corpus.columns.chatbot=KEY where it is another)"
    if deployed := [name for name in wanted if name in there]:
        alone = " ".join(f"--chatbot {name}" for name in deployed)
        hint += f"; to score alone those that were deployed, add {alone}"
    raise CorpusError(f"{where}: no dialogue with {', '.join(missing)}, as predicted; the logs name {named}; {hint}")


def detector_of(prediction: Prediction) -> tuple[MeasuredDetector, Callable[[], None], list[str]]:
    """The prediction's detector, what to call when all is judged, and notes.

    Raises:
        ConfigError: it cannot be built, or its taxonomy, weights or reader are others than they were.
    """
    settings = {**prediction.made_from.evaluate, "worth": None, "calibration": None}  # the modes are known already
    config = parse_section(EvaluateConfig, settings, where="detector of the prediction")
    instruments = build_instruments(config)
    stamp, then = detector_stamp(config), prediction.made_from.detector
    for key, path, now, before in (
        ("taxonomy", config.taxonomy, stamp.taxonomy_sha256, then.taxonomy_sha256),
        ("weights", config.weights, stamp.weights_sha256, then.weights_sha256),
        ("reader", config.reader, stamp.reader_sha256, then.reader_sha256),
    ):
        if now != before:
            raise ConfigError(
                f"evaluate.{key} {path}: is another than the prediction was made with (SHA-256 {now[:12]}, expected "
                f"{before[:12]}); restore it: the same detector has to judge both"
            )
    made_with = prediction.made_from.versions.get("advsim", "of then")
    if unknown := [mode for mode in prediction.modes if mode not in instruments.detector.modes]:
        raise ConfigError(
            f"detector {prediction.detector}: does not judge {', '.join(unknown)}, which the prediction has; score it "
            f"with advsim {made_with}"
        )
    notes = []
    if stamp.shipped_sha256 != then.shipped_sha256:
        notes.append(
            f"The detectors that ship have changed since the sweep (advsim {made_with}): part of what differs may be "
            "theirs."
        )
    return MeasuredDetector(instruments.detector, prediction.modes), instruments.release, notes


def live_outcomes(
    dialogues: Sequence[Dialogue],
    detector: Detector,
    *,
    max_user_turns: int,
    advance: Callable[[int], None] | None = None,
) -> tuple[Outcomes, int]:
    """Outcomes of the replies to the first user turns, by chatbot, and how many later replies are in none.

    A chatbot's opening is not counted, as in a sweep. A reply with a thought and no message is one that could not be
    judged.

    Args:
        dialogues: each with a chatbot.
        detector: judges all of each dialogue.
        max_user_turns: replies to later user turns are left out.
        advance: called with n when n more dialogues are judged.
    """
    answers = {dialogue.id: dict(_replies(dialogue)) for dialogue in dialogues}
    later = {(name, turn) for name, of in answers.items() for turn, number in of.items() if number > max_user_turns}
    openings = {(name, turn) for name, of in answers.items() for turn, number in of.items() if number == 0}
    said = detector.assess(dialogues, advance=advance) if dialogues else []
    rows = outcomes(
        "live",
        dialogues,
        _without_silent(said, dialogues),
        {dialogue.id: dialogue.user_id for dialogue in dialogues if dialogue.user_id is not None},
        judged_modes=detector.modes,
        left_out=later | openings,
    )
    return rows_by_chatbot(rows, {d.id: d.chatbot for d in dialogues if d.chatbot is not None}), len(later)


def _replies(dialogue: Dialogue) -> Iterator[tuple[int, int]]:
    """(index, user turns before it) of each chatbot turn."""
    num_user_turns = 0
    for index, turn in enumerate(dialogue.turns):
        if turn.speaker is Speaker.USER:
            num_user_turns += 1
        else:
            yield index, num_user_turns


def _without_silent(said: Sequence[Assessment], dialogues: Collection[Dialogue]) -> list[Assessment]:
    turns = {dialogue.id: dialogue.turns for dialogue in dialogues}
    return [
        dataclasses.replace(assessment, labels=(), abstained=(), error=ONLY_A_THOUGHT)
        if (turn := turns[assessment.conversation_id][assessment.turn]).thought and not turn.text
        else assessment
        for assessment in said
    ]
