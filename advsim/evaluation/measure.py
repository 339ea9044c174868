"""Measure every group: the detector's failures, and how users write."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from advsim.config import HeldOutConfig
from advsim.detectors.protocol import Detector
from advsim.evaluation.calibration import Calibration, calibrate, corrected_rates
from advsim.evaluation.chatbots import measure_chatbots
from advsim.evaluation.inputs import GroupInput
from advsim.evaluation.instruments import Instruments
from advsim.evaluation.notes import calibration_notes, chatbot_notes, detector_notes, group_notes
from advsim.evaluation.results import Evaluation, Group
from advsim.evaluation.summary import (
    FailureSummary,
    UserSummary,
    choose_examples,
    compare_users,
    summarise_failures,
    summarise_users,
)
from advsim.rates.blame import attribute
from advsim.rates.outcomes import MessageOutcome, outcomes
from advsim.realism.diversity import common_token_budget
from advsim.realism.free_dialogues import TwoSample
from advsim.realism.user_texts import UserTexts
from advsim.records import Assessment, StopReason, user_turns
from advsim.rollout.faults import user_turn_fault
from advsim.runtime.progress import Reporter, Stage
from advsim.validity.replication import AbPair


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The result, and the detector's verdicts by group for the table of failures."""

    result: Evaluation
    assessments: Mapping[str, Sequence[Assessment]]


def measure(
    title: str,
    inputs: Sequence[GroupInput],
    *,
    instruments: Instruments,
    held_out: HeldOutConfig,
    notes: Sequence[str],
    seed: int,
    reporter: Reporter,
    started_s: float,
    pairs: Sequence[AbPair] | None = None,
) -> Measured:
    """Judge, count and compare all groups.

    Args:
        title: of the evaluation.
        inputs: at most one of them the reference; names differ.
        instruments: detector, taxonomy and embedder.
        held_out: settings of the classifiers.
        notes: that stand before those of the measuring.
        seed: of all draws.
        reporter: shows progress.
        started_s: monotonic time at which the evaluation began.
        pairs: chatbots to compare, where the last of the inputs and the reference name several; None: they do not.

    Raises:
        AdvsimError: the detector or the embedder cannot work.
    """
    detector, taxonomy = instruments.detector, instruments.taxonomy
    try:
        assessments = _assess(inputs, detector, reporter)
        calibration = _calibration(inputs, instruments, reporter)
    finally:
        instruments.release()
    rows = {
        one.name: outcomes(
            one.name,
            one.dialogues,
            assessments[one.name],
            one.users,
            modes=taxonomy.ids,
            judged_modes=detector.modes,
            left_out=one.openings,
        )
        for one in inputs
    }
    reference = next((one for one in inputs if one.is_reference), None)
    dialogue_budget = _token_budget([one.texts for one in inputs])
    next_turn_budget = _token_budget([one.next_turns for one in inputs])
    groups: list[Group] = []
    num_parts = sum(7 * bool(one.dialogues) + 2 * bool(one.next_turns) for one in inputs)
    with reporter.stage("users: typing habits, classifiers, MAUVE", total=num_parts, unit="part") as stage:
        for one in inputs:
            compared = reference if one is not reference else None
            stage.note(one.name)
            failures = _failures(one, rows, assessments[one.name], compared, instruments, seed)
            if failures is not None and calibration is not None:
                corrected = corrected_rates(failures.rates, calibration, one.text)
                failures = dataclasses.replace(failures, corrected=corrected)
            stage.advance(bool(one.dialogues))
            users = _users(one, compared, dialogue_budget, instruments, held_out, seed, stage)
            next_turns = _next_turns(one, compared, next_turn_budget, instruments, seed, stage)
            groups.append(_group(one, failures, users, next_turns, assessments[one.name], taxonomy.ids))
    by_chatbot = None
    if pairs is not None:
        with reporter.stage("chatbots: rates, A/B tests, agreement", total=1, unit="part") as stage:
            by_chatbot = measure_chatbots(inputs[-1], reference, rows, pairs, modes=taxonomy.ids, seed=seed)
            stage.advance()
    result = Evaluation(
        title=title,
        detector=detector.name,
        modes={mode.id: mode.name for mode in taxonomy.modes},
        modes_judged=tuple(detector.modes),
        groups=tuple(groups),
        by_chatbot=by_chatbot,
        notes=(
            *notes,
            *(chatbot_notes(by_chatbot, groups) if by_chatbot is not None else ()),
            *detector_notes(detector, taxonomy),
            *(calibration_notes(calibration, detector, inputs) if calibration is not None else ()),
            *group_notes(groups, detector),
        ),
        seconds=time.monotonic() - started_s,
        calibration=calibration,
    )
    return Measured(result=result, assessments=assessments)


def _assess(inputs: Sequence[GroupInput], detector: Detector, reporter: Reporter) -> dict[str, list[Assessment]]:
    """What the detector says, by group; openings that the chatbot did not write are left out."""
    found: dict[str, list[Assessment]] = {}
    num_dialogues = sum(len(one.dialogues) for one in inputs)
    with reporter.stage(f"failures by {detector.name}", total=num_dialogues, unit="dialogue") as stage:
        for one in inputs:
            said = detector.assess(one.dialogues, advance=stage.advance) if one.dialogues else []
            found[one.name] = [it for it in said if (it.conversation_id, it.turn) not in one.openings]
    return found


def _calibration(inputs: Sequence[GroupInput], instruments: Instruments, reporter: Reporter) -> Calibration | None:
    if instruments.labelled is None:
        return None
    texts = {one.text for one in inputs if one.dialogues}
    return calibrate(
        instruments.labelled,
        detector=instruments.detector,
        taxonomy=instruments.taxonomy,
        texts=texts,
        reporter=reporter,
    )


def _token_budget(groups: Sequence[Sequence[UserTexts]]) -> int:
    return common_token_budget([[text for said in texts for text in said.texts] for texts in groups if texts])


def _failures(
    one: GroupInput,
    rows: Mapping[str, Sequence[MessageOutcome]],
    assessments: Sequence[Assessment],
    reference: GroupInput | None,
    instruments: Instruments,
    seed: int,
) -> FailureSummary | None:
    if not one.dialogues:
        return None
    blame = (
        attribute(
            one.name,
            one.conversations,
            assessments,
            users=one.users,
            user_turn_fault=partial(user_turn_fault, instructions=one.instructions),
            modes=instruments.taxonomy.ids,
            judged_modes=instruments.detector.modes,
            left_out=one.openings,
            seed=seed,
        )
        if one.conversations
        else None
    )
    return summarise_failures(
        rows[one.name],
        assessments,
        modes=instruments.taxonomy.ids,
        reference=rows[reference.name] if reference is not None else None,
        blame=blame,
        seed=seed,
    )


def _users(
    one: GroupInput,
    reference: GroupInput | None,
    token_budget: int,
    instruments: Instruments,
    held_out: HeldOutConfig,
    seed: int,
    stage: Stage,
) -> UserSummary | None:
    if not one.texts:
        return None
    realism: tuple[TwoSample, ...] = ()
    if reference is None:
        stage.advance(4)
    else:
        realism = compare_users(
            one.dialogues,
            reference.dialogues,
            texts=one.texts,
            reference_texts=reference.texts,
            config=held_out,
            seed=seed,
            embedder=instruments.embedder,
            advance=lambda: stage.advance(2),
        )
    return summarise_users(
        one.texts,
        token_budget=token_budget,
        seed=seed,
        embedder=instruments.embedder,
        reference=reference.texts if reference is not None else None,
        realism=realism,
        advance=stage.advance,
    )


def _next_turns(
    one: GroupInput,
    reference: GroupInput | None,
    token_budget: int,
    instruments: Instruments,
    seed: int,
    stage: Stage,
) -> UserSummary | None:
    if not one.next_turns:
        return None
    return summarise_users(
        one.next_turns,
        token_budget=token_budget,
        seed=seed,
        embedder=instruments.embedder,
        reference=reference.next_turns if reference is not None else None,
        advance=stage.advance,
    )


def _group(
    one: GroupInput,
    failures: FailureSummary | None,
    users: UserSummary | None,
    next_turns: UserSummary | None,
    assessments: Sequence[Assessment],
    modes: Sequence[str],
) -> Group:
    return Group(
        name=one.name,
        is_reference=one.is_reference,
        num_dialogues=len(one.dialogues),
        num_users=len(set(one.users.values())),
        num_user_turns=sum(len(user_turns(dialogue)) for dialogue in one.dialogues),
        num_ended_by_error=one.stop_reasons.get(StopReason.ERROR.value, 0),
        stop_reasons=dict(one.stop_reasons),
        failures=failures,
        users=users,
        next_turns=next_turns,
        examples=choose_examples(one.dialogues, assessments, modes=modes),
    )
