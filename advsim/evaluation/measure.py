"""Measure every group: the detector's failures, and how users write."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from advsim.config import HeldOutConfig
from advsim.corpus.habits import num_words
from advsim.detectors.judge.judge import Judge
from advsim.evaluation.calibration import Calibration, calibrate, calibration_by_findings, corrected_rates
from advsim.evaluation.chatbots import measure_chatbots
from advsim.evaluation.inputs import GroupInput
from advsim.evaluation.instruments import Instruments
from advsim.evaluation.notes import (
    calibration_notes,
    chatbot_notes,
    detector_notes,
    group_notes,
    language_notes,
    population_notes,
    reply_notes,
    silent_replies,
    worth_notes,
)
from advsim.evaluation.results import Evaluation, Group
from advsim.evaluation.summary import (
    FailureSummary,
    UserSummary,
    choose_examples,
    compare_users,
    summarise_failures,
    summarise_users,
)
from advsim.prompts.thoughts import ONLY_A_THOUGHT
from advsim.rates.blame import attribute
from advsim.rates.outcomes import MessageOutcome, outcomes
from advsim.realism.diversity import common_token_budget
from advsim.realism.free_dialogues import TwoSample
from advsim.realism.user_texts import UserTexts
from advsim.records import Assessment, StopReason, chatbot_turns, user_turns
from advsim.rollout.faults import user_turn_fault
from advsim.runtime.progress import Reporter, Stage
from advsim.validity.by_chatbot import rows_by_chatbot
from advsim.validity.population_test import SimulatorVerdict, simulator_verdict
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
        assessments = _assess(inputs, instruments, reporter)
        calibration = _calibration(inputs, instruments, reporter)
    finally:
        instruments.release()
    rows = {
        group.name: outcomes(
            group.name,
            group.dialogues,
            assessments[group.name],
            group.users,
            modes=taxonomy.ids,
            judged_modes=instruments.counted,
            left_out=group.openings,
        )
        for group in inputs
    }
    reference = next((group for group in inputs if group.is_reference), None)
    dialogue_budget = _token_budget([group.texts for group in inputs])
    next_turn_budget = _token_budget([group.next_turns for group in inputs])
    groups: list[Group] = []
    num_parts = sum(7 * bool(group.dialogues) + 2 * bool(group.next_turns) for group in inputs)
    with reporter.stage("users: typing habits, classifiers, MAUVE", total=num_parts, unit="part") as stage:
        for group in inputs:
            compared = reference if group is not reference else None
            stage.note(group.name)
            failures = _failures(group, rows, assessments[group.name], compared, instruments, seed)
            if failures is not None and calibration is not None:
                corrected = corrected_rates(failures.rates, calibration, group.text)
                failures = dataclasses.replace(failures, corrected=corrected)
            stage.advance(bool(group.dialogues))
            users = _users(group, compared, dialogue_budget, instruments, held_out, seed, stage)
            next_turns = _next_turns(group, compared, next_turn_budget, instruments, seed, stage)
            groups.append(_group(group, failures, users, next_turns, assessments[group.name], taxonomy.ids))
    by_chatbot = None
    if pairs is not None:
        with reporter.stage("chatbots: rates, A/B tests, agreement", total=1, unit="part") as stage:
            by_chatbot = measure_chatbots(inputs[-1], reference, rows, pairs, modes=instruments.modes, seed=seed)
            stage.advance()
    result = Evaluation(
        title=title,
        detector=detector.name,
        modes={mode.id: mode.name for mode in taxonomy.modes},
        modes_judged=instruments.modes,
        worth=instruments.worth,
        worth_counted=instruments.worth_counted,
        judge=detector.use if isinstance(detector, Judge) else None,
        groups=tuple(groups),
        by_chatbot=by_chatbot,
        notes=(
            *notes,
            *(chatbot_notes(by_chatbot, groups) if by_chatbot is not None else ()),
            *detector_notes(detector, taxonomy),
            *worth_notes(instruments.worth, detector, instruments.modes, instruments.counted),
            *(calibration_notes(calibration, detector, inputs) if calibration is not None else ()),
            *group_notes(groups, instruments.modes),
            *reply_notes(groups),
            *language_notes(assessments, detector),
            *population_notes(groups),
        ),
        seconds=time.monotonic() - started_s,
        calibration=calibration,
    )
    return Measured(result=result, assessments=assessments)


def _assess(inputs: Sequence[GroupInput], instruments: Instruments, reporter: Reporter) -> dict[str, list[Assessment]]:
    """What the detector says, by group: without openings the chatbot did not write, silent replies as errors."""
    detector = instruments.measured
    by_group: dict[str, list[Assessment]] = {}
    num_dialogues = sum(len(group.dialogues) for group in inputs)
    with reporter.stage(f"failures by {detector.name}", total=num_dialogues, unit="dialogue") as stage:
        for group in inputs:
            said = detector.assess(group.dialogues, advance=stage.advance) if group.dialogues else []
            silent = silent_replies(group)
            by_group[group.name] = [
                dataclasses.replace(assessment, labels=(), abstained=(), error=ONLY_A_THOUGHT)
                if (assessment.conversation_id, assessment.turn) in silent
                else assessment
                for assessment in said
                if (assessment.conversation_id, assessment.turn) not in group.openings
            ]
    return by_group


def _calibration(inputs: Sequence[GroupInput], instruments: Instruments, reporter: Reporter) -> Calibration | None:
    if instruments.labelled is None:
        return (
            None if instruments.findings is None else calibration_by_findings(instruments.findings, instruments.counted)
        )
    texts = {group.text for group in inputs if group.dialogues}
    return calibrate(
        instruments.labelled,
        detector=instruments.measured,
        taxonomy=instruments.taxonomy,
        texts=texts,
        reporter=reporter,
    )


def _token_budget(groups: Sequence[Sequence[UserTexts]]) -> int:
    return common_token_budget([[text for said in texts for text in said.texts] for texts in groups if texts])


def _failures(
    group: GroupInput,
    rows: Mapping[str, Sequence[MessageOutcome]],
    assessments: Sequence[Assessment],
    reference: GroupInput | None,
    instruments: Instruments,
    seed: int,
) -> FailureSummary | None:
    if not group.dialogues:
        return None
    blame = (
        attribute(
            group.name,
            group.conversations,
            assessments,
            users=group.users,
            user_turn_fault=partial(user_turn_fault, instructions=group.instructions),
            is_simulated=bool(group.stop_reasons),  # of dialogue files it is not known who wrote the user turns
            modes=instruments.taxonomy.ids,
            judged_modes=instruments.counted,
            left_out=group.openings,
        )
        if group.conversations
        else None
    )
    return summarise_failures(
        rows[group.name],
        assessments,
        modes=instruments.taxonomy.ids,
        measured=None if instruments.worth is None else instruments.modes,
        reference=rows[reference.name] if reference is not None else None,
        population_test=_population_test(group, reference, rows, instruments.modes, seed)
        if reference is not None
        else None,
        blame=blame,
        num_words={
            (dialogue.id, turn): num_words(said.text)
            for dialogue in group.dialogues
            for turn, said in chatbot_turns(dialogue)
        },
        seed=seed,
    )


def _population_test(
    group: GroupInput,
    reference: GroupInput,
    rows: Mapping[str, Sequence[MessageOutcome]],
    modes: Sequence[str],
    seed: int,
) -> SimulatorVerdict:
    """Test the chatbots in common where both sides name several, otherwise each side as a whole."""
    sides = (group, reference)
    by_chatbot = [rows_by_chatbot(rows[side.name], side.chatbots) for side in sides]
    if min(map(len, by_chatbot)) < 2:
        by_chatbot = [{"all": list(rows[side.name])} for side in sides]
    shared = [name for name in by_chatbot[0] if name in by_chatbot[1]]
    simulated, real = ({name: side[name] for name in shared} for side in by_chatbot)
    return simulator_verdict(simulated, real, modes=modes, seed=seed)


def _users(
    group: GroupInput,
    reference: GroupInput | None,
    token_budget: int,
    instruments: Instruments,
    held_out: HeldOutConfig,
    seed: int,
    stage: Stage,
) -> UserSummary | None:
    if not group.texts:
        return None
    realism: tuple[TwoSample, ...] = ()
    if reference is None:
        stage.advance(4)
    else:
        realism = compare_users(
            group.dialogues,
            reference.dialogues,
            texts=group.texts,
            reference_texts=reference.texts,
            config=held_out,
            seed=seed,
            embedder=instruments.embedder,
            advance=lambda: stage.advance(2),
        )
    return summarise_users(
        group.texts,
        token_budget=token_budget,
        seed=seed,
        embedder=instruments.embedder,
        reference=reference.texts if reference is not None else None,
        realism=realism,
        advance=stage.advance,
    )


def _next_turns(
    group: GroupInput,
    reference: GroupInput | None,
    token_budget: int,
    instruments: Instruments,
    seed: int,
    stage: Stage,
) -> UserSummary | None:
    if not group.next_turns:
        return None
    return summarise_users(
        group.next_turns,
        token_budget=token_budget,
        seed=seed,
        embedder=instruments.embedder,
        reference=reference.next_turns if reference is not None else None,
        advance=stage.advance,
    )


def _group(
    group: GroupInput,
    failures: FailureSummary | None,
    users: UserSummary | None,
    next_turns: UserSummary | None,
    assessments: Sequence[Assessment],
    modes: Sequence[str],
) -> Group:
    replies = [turn for dialogue in group.dialogues for _, turn in chatbot_turns(dialogue)]
    return Group(
        name=group.name,
        is_reference=group.is_reference,
        num_dialogues=len(group.dialogues),
        num_users=len(set(group.users.values())),
        num_user_turns=sum(len(user_turns(dialogue)) for dialogue in group.dialogues),
        num_ended_by_error=group.stop_reasons.get(StopReason.ERROR.value, 0),
        num_with_thought=sum(bool(turn.thought) for turn in replies),
        num_silent=len(silent_replies(group)),
        num_cut=sum(turn.is_cut for turn in replies),
        stop_reasons=dict(group.stop_reasons),
        failures=failures,
        users=users,
        next_turns=next_turns,
        examples=choose_examples(group.dialogues, assessments, modes=modes),
    )
