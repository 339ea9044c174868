"""Evaluate a dialogue file, alone or against a second one."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from advsim.config import Config
from advsim.corpus.files import read_dialogues
from advsim.detectors.protocol import Detector
from advsim.evaluation.chatbots import choose_pairs
from advsim.evaluation.inputs import GroupInput
from advsim.evaluation.instruments import build_instruments
from advsim.evaluation.measure import Measured, measure
from advsim.evaluation.notes import ONE_CHATBOT, file_notes, one_sided_notes, same_people_notes
from advsim.evaluation.people import tell_people_apart
from advsim.models.embedder import Embedder
from advsim.records import Conversation, Dialogue, StopReason
from advsim.runtime.progress import Reporter


def measure_files(
    conversations: str | Path,
    *,
    reference: str | Path | None = None,
    config: Config | None = None,
    detector: Detector | None = None,
    reporter: Reporter | None = None,
    embedder: Embedder | None = None,
) -> Measured:
    """Evaluate a dialogue file, alone or against a second one; see :func:`advsim.evaluate_files`."""
    config = config or Config()
    reporter = reporter or Reporter(file=sys.stderr)
    started_s = time.monotonic()
    instruments = build_instruments(config.evaluate, detector=detector, embedder=embedder)
    file = read_dialogues(conversations, config.corpus)
    text = "" if reference is None else "simulated"
    inputs = [_from_file(file.name, file.dialogues, text=text)]
    notes = file_notes(file, config.corpus)
    if reference is not None:
        second = read_dialogues(reference, config.corpus)
        name = second.name if second.name != file.name else f"{second.name} (reference)"
        people = tell_people_apart(file.dialogues, second.dialogues, same_users=config.evaluate.same_users)
        inputs.insert(0, _from_file(name, people.reference, text="real", is_reference=True))
        notes += file_notes(second, config.corpus)
        notes += one_sided_notes([file, second])
        notes += same_people_notes(people.same, people.num_apart)
        notes.append("Files: users and chatbots can both differ between them, and no figure here tells which it is.")
        if [dialogue.turns for dialogue in file.dialogues] == [dialogue.turns for dialogue in second.dialogues]:
            notes.append("Both files hold the same dialogues: every difference is 0 by construction.")
    compared = choose_pairs(
        inputs[-1],
        inputs[0] if len(inputs) > 1 else None,
        pairs=config.evaluate.pairs,
        baseline=config.evaluate.baseline,
    )
    if compared is None and reference is not None:
        notes.append(ONE_CHATBOT)
    return measure(
        file.name,
        inputs,
        pairs=compared,
        instruments=instruments,
        held_out=config.held_out,
        notes=notes,
        seed=config.seed,
        reporter=reporter,
        started_s=started_s,
    )


def _from_file(name: str, dialogues: Sequence[Dialogue], *, text: str, is_reference: bool = False) -> GroupInput:
    return GroupInput(
        name=name,
        is_reference=is_reference,
        text=text,
        dialogues=tuple(dialogues),
        conversations=() if is_reference else tuple(_as_conversation(dialogue) for dialogue in dialogues),
    )


def _as_conversation(dialogue: Dialogue) -> Conversation:
    """A dialogue of a file for attribution: how it ended is not known, so that only its turns can show a fault."""
    return Conversation(
        id=dialogue.id,
        scenario_id=dialogue.id,
        chatbot=dialogue.chatbot or dialogue.source,
        simulator_version=0,
        simulator_sha256="",
        turns=dialogue.turns,
        stop_reason=StopReason.END_TOKEN,
        num_prompt_tokens=0,
        num_output_tokens=0,
        seed=0,
    )
