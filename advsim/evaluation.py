"""``advsim evaluate``: how a chatbot fails and how users write, in a run or in any dialogue files.

    groups of dialogues ──> detector ──> rates, severities, differences, divergence, blame, examples
            │
            └──> user turns ──> diversity, typing habits and their spread, classifiers, MAUVE

One group is the reference (real dialogues), where there is one; the others stand beside it and are compared with it.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import ValidationError

from advsim.config import Config, HeldOutConfig
from advsim.corpus.files import read_dialogues
from advsim.corpus.load import Corpus, load_corpus
from advsim.embedding import Embedder, FloatArray, MiniLmEmbedder
from advsim.errors import ConfigError, RunError
from advsim.evaluate.blame import attribute
from advsim.evaluate.diversity import common_token_budget
from advsim.evaluate.outcomes import MessageOutcome, outcomes
from advsim.evaluate.summary import (
    Example,
    FailureSummary,
    UserSummary,
    choose_examples,
    compare_users,
    summarise_failures,
    summarise_users,
)
from advsim.evaluate.user_texts import UserTexts, next_turn_texts, user_texts
from advsim.failures.detector import Detector
from advsim.failures.judge import Judge, JudgeConfig, build_judge
from advsim.failures.taxonomy import Taxonomy, load_taxonomy
from advsim.progress import Reporter
from advsim.records import Assessment, Context, Conversation, Dialogue, NextTurn, Split, StopReason, user_turns
from advsim.report.evaluation import render_evaluation
from advsim.rollout.faults import user_turn_fault
from advsim.run import Run
from advsim.run_dir import RunDir
from advsim.tables import from_table

DETECTORS = ("rules", "learned", "combined", "judge")
METRICS = "evaluation/metrics.json"
FAILURES = "evaluation/failures.parquet"
REPORT = "report/evaluation.html"

LABEL_SCHEMA = pa.schema(
    {
        "group": pa.string(),
        "dialogue_id": pa.string(),
        "turn": pa.int32(),
        "mode": pa.string(),
        "severity": pa.int32(),
        "confidence": pa.float64(),
        "span": pa.string(),
        "detector": pa.string(),
        "verdict": pa.string(),  # failure; abstained; error (the whole message, no mode)
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """The model that judges, for the detector ``judge``."""

    base_url: str = ""
    model: str = ""
    api_key_env: str | None = None
    """NAME of the environment variable with the key."""
    num_votes: int = 1
    """How often each question is asked; above 1 at temperature 0.7, since at 0 all votes would be the same."""
    scope: Literal["rubric", "mode"] = "rubric"
    """The whole rubric in one call, or one call a mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group of dialogues or conversations, or only next turns, with all that is said of it.

    Attributes:
        name: for example ``real``, ``SFT``, ``round 1``, or a file's name.
        is_reference: real dialogues that the others are compared with.
        num_dialogues: dialogues or conversations; 0 where there are only next turns.
        num_users: known users.
        num_user_turns: in the dialogues.
        num_ended_by_error: conversations that a failing chatbot or engine ended: infrastructure, no chatbot failure.
        stop_reasons: conversations by why they ended; empty for real dialogues.
        failures: None where there are only next turns.
        users: user turns of the dialogues.
        next_turns: user turns written on real held-out prefixes (for the reference: the real ones).
        examples: failures with their evidence.
    """

    name: str
    is_reference: bool
    num_dialogues: int
    num_users: int
    num_user_turns: int
    num_ended_by_error: int = 0
    stop_reasons: Mapping[str, int] = dataclasses.field(default_factory=dict)
    failures: FailureSummary | None = None
    users: UserSummary | None = None
    next_turns: UserSummary | None = None
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What :func:`evaluate_run` and :func:`evaluate_files` return.

    Attributes:
        title: the run's or the file's name.
        detector: which detector found the failures.
        modes: names of the failure modes by id, in order.
        modes_judged: ids of those that the detector can judge.
        groups: the reference first, where there is one.
        notes: what a reader must know to read the figures.
        seconds: it took.
    """

    title: str
    detector: str
    modes: Mapping[str, str]
    modes_judged: tuple[str, ...]
    groups: tuple[Group, ...]
    notes: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Nested plain values, keys as the fields; a figure that could not be given is null."""
        plain: dict[str, Any] = _plain(self)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    """What is known of a group before anything is measured. ``users`` by dialogue id, where known."""

    name: str
    is_reference: bool = False
    dialogues: tuple[Dialogue, ...] = ()
    conversations: tuple[Conversation, ...] = ()  # the same, where somebody is to be blamed
    users: Mapping[str, str] = dataclasses.field(default_factory=dict)
    stop_reasons: Mapping[str, int] = dataclasses.field(default_factory=dict)
    next_turns: tuple[UserTexts, ...] = ()
    instructions: str = ""  # the simulator's; it must not repeat them
    openings: frozenset[tuple[str, int]] = frozenset()  # messages taken from the real dialogue, not the chatbot's own

    @property
    def texts(self) -> list[UserTexts]:
        return user_texts(self.dialogues, self.users)


def evaluate_files(
    conversations: str | Path,
    *,
    reference: str | Path | None = None,
    detector: str | Detector = "rules",
    taxonomy: str | Path | None = None,
    judge: JudgeOptions | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    reporter: Reporter | None = None,
    embedder: Embedder | None = None,
) -> Evaluation:
    """Evaluate a dialogue file, alone or against a second one; see :func:`advsim.evaluate_files`."""
    reporter = reporter or Reporter(file=sys.stderr)
    started_s = time.monotonic()
    vectors = _Embeddings(embedder)
    found, known = _detector(detector, taxonomy, judge, vectors)
    file = read_dialogues(conversations)
    inputs = [_from_file(file.name, file.dialogues, is_reference=False)]
    notes: list[str] = []
    if reference is not None:
        second = read_dialogues(reference)
        name = second.name if second.name != file.name else f"{second.name} (reference)"
        inputs.insert(0, _from_file(name, second.dialogues, is_reference=True))
        notes.append("Files: users and chatbots can both differ between them, and no figure here tells which it is.")
        if [one.turns for one in file.dialogues] == [one.turns for one in second.dialogues]:
            notes.append("Both files hold the same dialogues: every difference is 0 by construction.")
    evaluation = _evaluate(
        file.name,
        inputs,
        detector=found,
        taxonomy=known,
        held_out=HeldOutConfig(),
        notes=notes,
        seed=seed,
        reporter=reporter,
        embedder=vectors,
        started_s=started_s,
    )
    if out is not None:
        folder = RunDir(str(out))
        _write(folder, evaluation, prefix="", report="evaluation.html")
    return evaluation.result


def evaluate_run(
    run: Run,
    *,
    detector: str | Detector = "rules",
    taxonomy: str | Path | None = None,
    judge: JudgeOptions | None = None,
    reporter: Reporter | None = None,
    embedder: Embedder | None = None,
) -> Evaluation:
    """Evaluate all rounds of a run against its held-out real dialogues; see :func:`advsim.evaluate_run`."""
    reporter = reporter or Reporter(file=sys.stderr)
    started_s = time.monotonic()
    vectors = _Embeddings(embedder)
    found, known = _detector(detector, taxonomy, judge, vectors)
    config = Config.model_validate(run.manifest["config"])
    corpus = load_corpus(config.corpus)
    if corpus.sha256 != run.manifest["corpus"]["sha256"]:
        raise ConfigError(
            f"run {run.folder.location}: the corpus has hash {corpus.sha256[:12]}, expected "
            f"{run.manifest['corpus']['sha256'][:12]}, which the run was trained on; restore the file: real and "
            "simulated turns cannot be set side by side without it"
        )
    notes: list[str] = []
    inputs = [_real_of(run, corpus, notes), *_simulated_of(run, corpus, config.prompt.instructions)]
    if len(inputs) == 1:
        raise RunError(
            f"run {run.folder.location} has neither conversations nor held-out turns yet; finish a round, then "
            "evaluate it"
        )
    notes.append(
        "Conversations of round r are written with the adapter before it, so those of round 1 stand under SFT; the "
        "last adapter has next turns only."
    )
    notes.append(
        "Conversations start from training scenarios and meet the run's chatbot; the real dialogues are held out and "
        "were answered by whoever answered them. Rates compare the two as a whole."
    )
    evaluation = _evaluate(
        str(run.manifest["name"]),
        inputs,
        detector=found,
        taxonomy=known,
        held_out=config.held_out,
        notes=notes,
        seed=config.seed,
        reporter=reporter,
        embedder=vectors,
        started_s=started_s,
    )
    _write(run.folder, evaluation, prefix="evaluation/", report=REPORT)
    return evaluation.result


def _detector(
    name: str | Detector, taxonomy: str | Path | None, judge: JudgeOptions | None, embedder: Embedder
) -> tuple[Detector, Taxonomy]:
    """The detector by its name, or the one given.

    Raises:
        ConfigError: there is no detector of that name, or the judge is not described.
    """
    known = load_taxonomy(taxonomy)
    if not isinstance(name, str):
        return name, known
    if name == "rules":
        from advsim.failures.rules import RulesDetector

        return RulesDetector(known), known
    if name == "learned":
        from advsim.failures.learned import load_learned

        return load_learned(known, embedder=embedder), known
    if name == "combined":
        from advsim.failures.combined import load_combined

        return load_combined(known, embedder=embedder), known
    if name == "judge":
        if judge is None or not judge.base_url or not judge.model:
            raise ConfigError(
                "detector judge: got no endpoint and model, expected both; give --judge-url http://host:port/v1 and "
                "--judge-model NAME"
            )
        try:
            config = JudgeConfig(
                base_url=judge.base_url,
                model=judge.model,
                api_key_env=judge.api_key_env,
                scope=judge.scope,
                num_votes=judge.num_votes,
                temperature=0.7 if judge.num_votes > 1 else 0.0,
            )
        except ValidationError as error:
            faults = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}".removeprefix(": ") for one in error.errors())
            raise ConfigError(f"detector judge: {'; '.join(faults)}") from None
        return build_judge(config, known), known
    raise ConfigError(f"detector: got {name!r}, expected one of {', '.join(DETECTORS)}")


class _Embeddings:
    """The embedder given, or the one that ships, loaded when it is first needed: a wrong file is told at once."""

    def __init__(self, given: Embedder | None) -> None:
        self._embedder = given

    def embed(self, texts: Sequence[str]) -> FloatArray:
        if self._embedder is None:
            from transformers.utils import logging

            logging.disable_progress_bar()  # loading takes under a second, and its bar would stand between ours
            self._embedder = MiniLmEmbedder()
        return self._embedder.embed(texts)


def _from_file(name: str, dialogues: Sequence[Dialogue], *, is_reference: bool) -> _Input:
    return _Input(
        name=name,
        is_reference=is_reference,
        dialogues=tuple(dialogues),
        conversations=() if is_reference else tuple(_as_conversation(one) for one in dialogues),
        users=_users(dialogues),
    )


def _users(dialogues: Sequence[Dialogue]) -> dict[str, str]:
    return {dialogue.id: dialogue.user_id for dialogue in dialogues if dialogue.user_id is not None}


def _real_of(run: Run, corpus: Corpus, notes: list[str]) -> _Input:
    """The real dialogues that nothing was trained or stopped on, and the real next turns on the run's prefixes."""
    split = Split.TEST if corpus.split(Split.TEST) else Split.VALIDATION
    dialogues = corpus.split(split)
    notes.append(
        f"Real dialogues are the {len(dialogues)} of the {split} split"
        + ("." if split is Split.TEST else ", because the test split is empty; the stop rule has seen them.")
    )
    by_id = {dialogue.id: dialogue for dialogue in corpus.dialogues}
    prefixes = _next_turns(run, "held_out/v0.parquet") or _next_turns(run, "held_out/zero_shot.parquet")
    said = [dataclasses.replace(one, text=by_id[one.dialogue_id].turns[one.turn].text) for one in prefixes]
    return _Input(
        name="real",
        is_reference=True,
        dialogues=dialogues,
        users=_users(dialogues),
        next_turns=tuple(next_turn_texts(said, _users(corpus.dialogues))),
    )


def _simulated_of(run: Run, corpus: Corpus, instructions: str) -> list[_Input]:
    """Zero-shot, SFT and the adapter of every round, as far as there is anything of them."""
    by_id = {dialogue.id: dialogue for dialogue in corpus.dialogues}
    users = _users(corpus.dialogues)
    found = []
    num_rounds = 0
    while run.folder.exists(f"rounds/{num_rounds + 1:02d}/conversations.parquet"):
        num_rounds += 1
    for version in range(-1, num_rounds + 1):
        turns = _next_turns(run, f"held_out/{'zero_shot' if version < 0 else f'v{version}'}.parquet")
        conversations = run.conversations(version + 1) if 0 <= version < num_rounds else []
        if not turns and not conversations:
            continue
        found.append(
            _Input(
                name={-1: "zero-shot", 0: "SFT"}.get(version, f"round {version}"),
                dialogues=tuple(_as_dialogue(one, by_id) for one in conversations),
                conversations=tuple(conversations),
                instructions=instructions,
                users={one.id: users.get(one.scenario_id, one.scenario_id) for one in conversations},
                openings=frozenset((one.id, 0) for one in conversations if by_id[one.scenario_id].opening),
                stop_reasons=Counter(one.stop_reason.value for one in conversations),
                next_turns=tuple(next_turn_texts(turns, users)),
            )
        )
    return found


def _next_turns(run: Run, name: str) -> list[NextTurn]:
    return from_table(run.folder.read_table(name), NextTurn) if run.folder.exists(name) else []


def _as_conversation(dialogue: Dialogue) -> Conversation:
    """A dialogue of a file for attribution: how it ended is not known, so that only its turns can show a fault."""
    return Conversation(
        id=dialogue.id,
        scenario_id=dialogue.id,
        chatbot=dialogue.source,
        simulator_version=0,
        simulator_sha256="",
        turns=dialogue.turns,
        stop_reason=StopReason.END_TOKEN,
        num_prompt_tokens=0,
        num_output_tokens=0,
        seed=0,
    )


def _as_dialogue(conversation: Conversation, by_id: Mapping[str, Dialogue]) -> Dialogue:
    """A conversation with the context it was started from; the split means nothing."""
    scenario = by_id.get(conversation.scenario_id)
    context = Context() if scenario is None else scenario.context
    return Dialogue(
        id=conversation.id,
        source=conversation.chatbot,
        split=Split.TRAIN,
        user_id=None if scenario is None else scenario.user_id,
        context=context,
        turns=conversation.turns,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evaluated:
    """The result, and the detector's verdicts by group for the table of failures."""

    result: Evaluation
    assessments: Mapping[str, Sequence[Assessment]]


def _evaluate(
    title: str,
    inputs: Sequence[_Input],
    *,
    detector: Detector,
    taxonomy: Taxonomy,
    held_out: HeldOutConfig,
    notes: Sequence[str],
    seed: int,
    reporter: Reporter,
    embedder: Embedder,
    started_s: float,
) -> _Evaluated:
    assessments: dict[str, Sequence[Assessment]] = {}
    num_dialogues = sum(len(one.dialogues) for one in inputs)
    with reporter.stage(f"failures by {detector.name}", total=num_dialogues, unit="dialogue") as stage:
        for one in inputs:
            said = detector.assess(one.dialogues, advance=stage.advance) if one.dialogues else []
            assessments[one.name] = [said for said in said if (said.conversation_id, said.turn) not in one.openings]
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
    budgets = {
        kind: common_token_budget([[text for said in texts for text in said.texts] for texts in each if texts])
        for kind, each in (
            ("users", [one.texts for one in inputs]),
            ("next_turns", [one.next_turns for one in inputs]),
        )
    }
    groups: list[Group] = []
    num_parts = sum(7 * bool(one.dialogues) + 2 * bool(one.next_turns) for one in inputs)
    with reporter.stage("users: typing habits, classifiers, MAUVE", total=num_parts, unit="part") as stage:
        for one in inputs:
            compared = reference if one is not reference else None
            stage.note(one.name)
            failures = _failures(one, rows, assessments[one.name], compared, taxonomy, detector, seed)
            stage.advance(bool(one.dialogues))
            users = next_turns = None
            if one.texts:
                against = compared.texts if compared is not None else None
                realism = (
                    compare_users(
                        one.dialogues,
                        compared.dialogues,
                        texts=one.texts,
                        reference_texts=compared.texts,
                        config=held_out,
                        seed=seed,
                        embedder=embedder,
                        advance=lambda: stage.advance(2),
                    )
                    if compared is not None
                    else ()
                )
                if compared is None:
                    stage.advance(4)
                users = summarise_users(
                    one.texts,
                    token_budget=budgets["users"],
                    seed=seed,
                    embedder=embedder,
                    reference=against,
                    realism=realism,
                    advance=stage.advance,
                )
            if one.next_turns:
                next_turns = summarise_users(
                    one.next_turns,
                    token_budget=budgets["next_turns"],
                    seed=seed,
                    embedder=embedder,
                    reference=compared.next_turns if compared is not None else None,
                    advance=stage.advance,
                )
            groups.append(_group(one, failures, users, next_turns, assessments[one.name], taxonomy))
    result = Evaluation(
        title=title,
        detector=detector.name,
        modes={mode.id: mode.name for mode in taxonomy.modes},
        modes_judged=tuple(detector.modes),
        groups=tuple(groups),
        notes=(*notes, *_warnings(groups, detector, taxonomy)),
        seconds=time.monotonic() - started_s,
    )
    return _Evaluated(result=result, assessments=assessments)


def _failures(
    one: _Input,
    rows: Mapping[str, Sequence[MessageOutcome]],
    assessments: Sequence[Assessment],
    reference: _Input | None,
    taxonomy: Taxonomy,
    detector: Detector,
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
            modes=taxonomy.ids,
            judged_modes=detector.modes,
            left_out=one.openings,
            seed=seed,
        )
        if one.conversations
        else None
    )
    return summarise_failures(
        rows[one.name],
        assessments,
        modes=taxonomy.ids,
        reference=rows[reference.name] if reference is not None else None,
        blame=blame,
        seed=seed,
    )


def _group(
    one: _Input,
    failures: FailureSummary | None,
    users: UserSummary | None,
    next_turns: UserSummary | None,
    assessments: Sequence[Assessment],
    taxonomy: Taxonomy,
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
        examples=choose_examples(one.dialogues, assessments, modes=taxonomy.ids),
    )


def _warnings(groups: Sequence[Group], detector: Detector, taxonomy: Taxonomy) -> list[str]:
    notes = []
    not_judged = [mode for mode in taxonomy.ids if mode not in detector.modes]
    if not_judged:
        notes.append(f"The detector {detector.name} does not judge: {', '.join(not_judged)}.")
    if isinstance(detector, Judge):
        cost = detector.cost
        notes.append(
            f"The judge took {cost.num_calls} calls ({cost.num_retries} of them repeated), "
            f"{cost.num_prompt_tokens} prompt and {cost.num_completion_tokens} completion tokens as far as the server "
            f"reported them; {cost.num_errors} of {cost.num_messages} messages got no verdict."
        )
    for group in groups:
        if group.failures is None:
            continue
        rates = group.failures.rates
        unclear = [mode for mode in taxonomy.ids if mode in detector.modes and not rates[mode].num_messages]
        if unclear and group.failures.num_messages:
            notes.append(f"{group.name}: the detector gave no verdict on any message for {', '.join(unclear)}.")
        if not group.failures.num_messages:
            notes.append(f"{group.name}: no chatbot turns, so there is nothing to judge.")
        elif not any(group.failures.severities.values()):
            notes.append(f"{group.name}: the detector found no failure; that does not show that there is none.")
        if group.failures.num_errors:
            notes.append(
                f"{group.name}: {group.failures.num_errors} messages could not be judged; they are in no rate."
            )
        if group.num_ended_by_error:
            notes.append(
                f"{group.name}: {group.num_ended_by_error} conversations ended by an error of the chatbot's service: "
                "infrastructure, in no rate."
            )
    return notes


def _write(folder: RunDir, evaluation: _Evaluated, *, prefix: str, report: str) -> None:
    metrics = evaluation.result.to_json()
    rows = [row for name, found in evaluation.assessments.items() for one in found for row in _label_rows(name, one)]
    folder.write_table(f"{prefix}failures.parquet", pa.Table.from_pylist(rows, schema=LABEL_SCHEMA))
    folder.write_bytes(report, render_evaluation(metrics).encode())
    folder.write_json(f"{prefix}metrics.json", metrics)


def _label_rows(group: str, one: Assessment) -> list[dict[str, Any]]:
    base = {"group": group, "dialogue_id": one.conversation_id, "turn": one.turn, "detector": one.detector}
    if one.error:
        return [{**base, "verdict": "error", "span": one.error}]
    return [
        *(
            {
                **base,
                "verdict": "failure",
                "mode": label.mode,
                "severity": label.severity,
                "confidence": label.confidence,
                "span": label.span,
            }
            for label in one.labels
        ),
        *({**base, "verdict": "abstained", "mode": mode} for mode in one.abstained),
    ]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
