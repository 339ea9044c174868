"""Failures in what a sweep has: a detector goes over its shards, and writes a table of messages beside each.

    free/sft/terse/00003.parquet ──detector──> judged/free/sft/terse/00003.parquet

A shard is judged once: the table holds the SHA-256 of the shard and of the detector's settings, and is made anew where
one of them changed. Detectors run in Ray actors where there is much to judge, else here.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from advsim.config import EvaluateConfig
from advsim.detectors.build import build_detector, detector_stamp
from advsim.detectors.measurable import MeasuredDetector
from advsim.detectors.protocol import Detector
from advsim.detectors.taxonomy import load_taxonomy
from advsim.models.embedder import LazyEmbedder
from advsim.rates.blame import Blame, attribute
from advsim.rates.outcomes import MessageOutcome, outcomes
from advsim.records import Conversation, Dialogue, StopReason
from advsim.rollout.faults import user_turn_fault
from advsim.rollout.replay import ReplayedReply
from advsim.run_folder.folder import RunDir
from advsim.run_folder.results import plain_values, text_sha256
from advsim.runtime.placement import PoolRequest, pool_requests, running_ray, start_actors
from advsim.runtime.progress import Reporter, Stage
from advsim.sweep.outcomes import outcome_rows, outcomes_table
from advsim.sweep.planning.items import Cell, Design
from advsim.sweep.planning.study import SweepPlan
from advsim.sweep.replay import replay_outcomes, replayed_dialogues
from advsim.sweep.shards import read_next_turns, read_shard

NUM_SHARDS_FOR_ACTORS = 8
"""With fewer shards an actor would take longer to start than the work takes here."""

_MADE_FROM = b"advsim.made_from"
_BLAME = b"advsim.blame"
AT_FAULT = b"advsim.at_fault"
"""Key of the ids of conversations in which the simulator was at fault, as JSON, in the metadata of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a detector needs to judge shards of a sweep, wherever it runs.

    Attributes:
        output: folder of the sweep.
        clusters: whose a scenario is, by its id.
        opened: scenarios whose first chatbot message is not the chatbot's own.
        dialogues: held-out ones, by id.
        instructions: of the simulator, which no user turn may repeat.
        settings_sha256: of the detector and the modes that count.
    """

    output: RunDir
    clusters: Mapping[str, str]
    opened: frozenset[str]
    dialogues: Mapping[str, Dialogue]
    instructions: str
    settings_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What is known of the messages of a cell.

    Attributes:
        rows: one a message, and one a conversation or reply that failed.
        blame: conversations by what they are attributed to; empty for replies.
        at_fault: ids of conversations in which the simulator was at fault.
    """

    rows: list[MessageOutcome]
    blame: Mapping[Blame, int]
    at_fault: frozenset[str]


def bench_of(study: SweepPlan, counted: Sequence[str]) -> Bench:
    """The bench of a sweep.

    Args:
        study: the plan.
        counted: modes whose findings count.
    """
    evaluate = study.settings.evaluate
    return Bench(
        output=study.output,
        clusters={start.scenario.id: start.cluster for start in study.starts},
        opened=frozenset(start.scenario.id for start in study.starts if start.scenario.opening),
        dialogues={dialogue.id: dialogue for dialogue in study.held_out},
        instructions=study.config.prompt.instructions,
        settings_sha256=text_sha256(
            {
                "evaluate": evaluate.model_dump(mode="json", exclude={"worth"}),
                "detector": plain_values(detector_stamp(evaluate)),
                "counted": sorted(counted),
            }
        ),
    )


def judge_all(
    study: SweepPlan, detector: Detector, reporter: Reporter, *, only: Sequence[tuple[Cell, int]] | None = None
) -> None:
    """Judge the shards that are there and not judged yet.

    Args:
        study: the plan.
        detector: of the modes that count.
        reporter: for progress.
        only: these shards; None: all.

    Raises:
        AdvsimError: the detector fails, or a file is damaged.
    """
    bench = bench_of(study, detector.modes)
    todo = [
        (cell, number)
        for cell, number in (study.shards() if only is None else only)
        if study.output.exists(cell.file(number)) and not _is_judged(bench, cell, number)
    ]
    if not todo:
        return
    evaluate = study.settings.evaluate
    with reporter.stage("detector", total=len(todo), unit="shard") as stage:
        if len(todo) < NUM_SHARDS_FOR_ACTORS or evaluate.detector == "judge":
            for cell, number in todo:  # a judge has engines or an endpoint of its own to spread over
                judge_shard(bench, cell, number, detector)
                stage.advance()
        else:
            _judge_in_actors(study, bench, todo, detector.modes, stage)


def judge_shard(bench: Bench, cell: Cell, number: int, detector: Detector) -> None:
    """Judge one shard and write the table of its messages."""
    made_from = _made_from(bench, cell, number)
    said = read_shard(bench.output, cell, number)
    blame: Mapping[Blame, int] = {}
    at_fault: list[str] = []
    if cell.design is Design.FREE:
        conversations = cast(list[Conversation], said)
        assessments = detector.assess(conversations)
        left_out = [(each.id, 0) for each in conversations if each.scenario_id in bench.opened]
        rows = outcomes(cell.chatbot, conversations, assessments, judged_modes=detector.modes, left_out=left_out)
        attributed = attribute(
            cell.chatbot,
            conversations,
            assessments,
            user_turn_fault=partial(user_turn_fault, instructions=bench.instructions),
            judged_modes=detector.modes,
            left_out=left_out,
        )
        blame = {kind: count for kind, count in attributed.num_by_blame.items() if count}
        at_fault = [each.conversation_id for each in attributed.dialogues if each.faults]
        rows += [_failed(cell.chatbot, each) for each in conversations if each.stop_reason is StopReason.ERROR]
        cluster = {each.id: bench.clusters[each.scenario_id] for each in conversations}
        rows = [dataclasses.replace(row, user_id=cluster[row.dialogue_id]) for row in rows]
    else:
        turns = read_next_turns(bench.output, cell.simulator) if cell.design is Design.PAIRED else None
        with bench.output.reading(f"{cell.file(number)}, which does not fit the dialogues,"):
            replayed = replayed_dialogues(cast(list[ReplayedReply], said), bench.dialogues, turns)
        rows = replay_outcomes(cell.chatbot, replayed, detector)
    table = outcomes_table({cell.simulator or cell.design.value: {cell.chatbot: rows}})
    metadata = {
        _MADE_FROM: made_from.encode(),
        _BLAME: json.dumps({kind.value: count for kind, count in blame.items()}).encode(),
        AT_FAULT: json.dumps(at_fault).encode(),
    }
    bench.output.write_table(judged_file(cell, number), table.replace_schema_metadata(metadata))


def read_judged(study: SweepPlan, cell: Cell, *, num_shards: int | None = None) -> Judged:
    """What is known of the messages of a cell; nothing where none was judged.

    Args:
        study: the sweep.
        cell: of it.
        num_shards: the first so many; None: all.

    Raises:
        RunError: a table is damaged.
    """
    rows: list[MessageOutcome] = []
    blame: Counter[Blame] = Counter()
    at_fault: set[str] = set()
    for number in range(study.num_shards(cell.design) if num_shards is None else num_shards):
        name = judged_file(cell, number)
        if not study.output.exists(name):
            continue
        table = study.output.read_table(name)
        with study.output.reading(name):
            rows += outcome_rows(table)
            metadata = table.schema.metadata
            blame.update({Blame(kind): count for kind, count in json.loads(metadata[_BLAME]).items()})
            at_fault |= set(json.loads(metadata[AT_FAULT]))
    return Judged(rows=rows, blame=dict(blame), at_fault=frozenset(at_fault))


class DetectorActor:
    """A detector in a process of its own.

    Args:
        bench: what it needs.
        evaluate: names the detector.
        modes: that count.
        num_actors: how many share a machine's cores; nothing else runs on them now.
    """

    def __init__(self, bench: Bench, evaluate: EvaluateConfig, modes: Sequence[str], num_actors: int) -> None:
        if evaluate.detector in ("learned", "combined"):
            import torch

            torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // num_actors))  # Ray alone would leave one
        self._bench = bench
        known = build_detector(evaluate, load_taxonomy(evaluate.taxonomy), LazyEmbedder(None))
        self._detector = MeasuredDetector(known, modes)

    def judge(self, cell: Cell, number: int) -> None:
        """Judge one shard."""
        judge_shard(self._bench, cell, number, self._detector)


def _judge_in_actors(
    study: SweepPlan, bench: Bench, todo: Sequence[tuple[Cell, int]], modes: Sequence[str], stage: Stage
) -> None:
    import ray
    from ray.util.actor_pool import ActorPool

    from advsim.runtime.actors import actor_failures

    request: PoolRequest = next(each for each in pool_requests(study.config) if each.pool == "scorer")
    with running_ray(study.config) as pools:
        shared = ray.put(bench)
        num_machines = sum(node["Alive"] for node in ray.nodes())
        on_each = -(-request.num_bundles // max(1, num_machines))
        arguments = (shared, study.settings.evaluate, tuple(modes), on_each)
        actors = start_actors(DetectorActor, request, pools.place(request), lambda index: arguments, concurrency=1)
        pool = ActorPool(actors)
        with actor_failures("detector", log_dir=""):
            for _ in pool.map_unordered(lambda actor, shard: actor.judge.remote(*shard), todo):
                stage.advance()
        for actor in actors:
            ray.kill(actor)
        pools.release(request.pool)


def _is_judged(bench: Bench, cell: Cell, number: int) -> bool:
    name = judged_file(cell, number)
    if not bench.output.exists(name):
        return False
    metadata = bench.output.read_table(name, columns=["turn"]).schema.metadata or {}
    return bool(metadata.get(_MADE_FROM, b"").decode() == _made_from(bench, cell, number))


def _made_from(bench: Bench, cell: Cell, number: int) -> str:
    return f"{bench.output.sha256(cell.file(number))} {bench.settings_sha256}"


def judged_file(cell: Cell, number: int) -> str:
    """The file of the messages of a shard."""
    return f"judged/{cell.file(number)}"


def _failed(chatbot: str, conversation: Conversation) -> MessageOutcome:
    return MessageOutcome(
        configuration=chatbot,
        dialogue_id=conversation.id,
        user_id=None,
        turn=len(conversation.turns),
        modes=frozenset(),
        error=True,
    )
