"""Does what a sweep is still missing, on rollout engines, and writes it shard by shard.

    shards that miss items ──items──> RolloutPool (a coroutine a dialogue) ──as they finish──> open shards ──> parquet

A shard is written once all of it is there, and before that every ``write_every_s``: each time whole, so that an item is
there once or not at all. Items of chatbots that failed are missing too: the next start asks again.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from advsim.corpus.prefixes import Prefix
from advsim.models.adapter import Canary
from advsim.records import Split
from advsim.rollout.delivery import canary_of_run
from advsim.rollout.pool import RolloutPool
from advsim.rollout.replay import ReplayRequest
from advsim.rollout.turn_loop import RolloutTask
from advsim.run_folder.events import record_event
from advsim.run_folder.layout import LOGS
from advsim.runtime.metrics import WorkMetrics
from advsim.runtime.placement import running_ray
from advsim.runtime.progress import Reporter, Stage
from advsim.sweep.caps import Meter
from advsim.sweep.planning.items import Cell, Design, Item
from advsim.sweep.planning.simulators import Simulator, delivery
from advsim.sweep.planning.study import SweepPlan
from advsim.sweep.replay import with_last_turn
from advsim.sweep.shards import (
    Said,
    done_ids,
    has_failed,
    read_decided,
    read_next_turns,
    read_shard,
    write_shard,
)
from advsim.sweep.user_turns import write_turns_of

_UNITS = {Design.FREE: "dialogue", Design.REPLAY: "message", Design.PAIRED: "message"}
_NOTE_EVERY_S = 2.0
Decide = Callable[[Simulator, int], Mapping[str, int]]
"""Chatbots that need not be asked any more, and after how many shards each was decided, once so many are there."""


@dataclass(slots=True, eq=False)
class _Open:
    """A shard that is being filled."""

    cell: Cell
    number: int
    num_items: int
    said: dict[str, Said]
    num_asked: int = 0
    num_heard: int = 0


@dataclass(slots=True)
class _Filling:
    """Open shards of one piece of work."""

    study: SweepPlan
    place: dict[str, _Open] = field(default_factory=dict)  # of each item that is under way
    unwritten: set[_Open] = field(default_factory=set)
    written_at: float = field(default_factory=time.monotonic)

    def take(self, said: Said) -> None:
        """Put a result into its shard, and write what is due."""
        shard = self.place.pop(said.id)
        shard.said[said.id] = said
        shard.num_heard += 1
        self.unwritten.add(shard)
        if shard.num_heard == shard.num_asked and len(shard.said) == shard.num_items:
            self._write(shard)
        elif time.monotonic() - self.written_at >= self.study.settings.write_every_s:
            self.write_all()

    def write_all(self) -> None:
        """Write all shards that hold something new."""
        for shard in list(self.unwritten):
            self._write(shard)
        self.written_at = time.monotonic()

    def _write(self, shard: _Open) -> None:
        write_shard(self.study.output, shard.cell, shard.number, list(shard.said.values()))
        self.unwritten.discard(shard)


def missing(study: SweepPlan) -> dict[tuple[Cell, int], int]:
    """Number of items that each shard misses; shards that miss none are not there.

    Where a sweep may stop early, nothing is missing of a chatbot from where it was decided on.
    """
    decided = read_decided(study.output) if study.settings.stop_early else {}
    turns: dict[str, Mapping[Prefix, str]] = {}
    open_shards: dict[tuple[Cell, int], int] = {}
    for cell, number in study.shards():
        if cell.design is Design.FREE and number >= _num_needed(study, decided.get(cell.simulator, {}), cell.chatbot):
            continue
        if cell.design is Design.PAIRED and cell.simulator not in turns:
            turns[cell.simulator] = read_next_turns(study.output, cell.simulator)
        done = done_ids(study.output, cell, number)
        items = askable(study, cell, number, turns.get(cell.simulator, {}))
        num_missing = sum(item.id not in done for item in items)
        if num_missing:
            open_shards[cell, number] = num_missing
    return open_shards


def _num_needed(study: SweepPlan, decided: Mapping[str, int], chatbot: str) -> int:
    """Shards of conversations that are needed of a chatbot; of the baseline none after all others were decided."""
    others = [name for name in study.names if name != study.settings.baseline]
    if chatbot == study.settings.baseline and others and decided.keys() >= set(others):
        return max(decided[name] for name in others)
    return decided.get(chatbot, study.num_shards(Design.FREE))


def askable(study: SweepPlan, cell: Cell, number: int, turns: Mapping[Prefix, str]) -> list[Item]:
    """Items of a shard that can be asked for: not those whose user turn a simulator failed to write.

    Args:
        study: the sweep.
        cell: the shard's.
        number: of the shard.
        turns: that the cell's simulator wrote, by prefix; not used but for paired replay.
    """
    items = study.shard(cell, number)
    if cell.design is not Design.PAIRED:
        return items
    return [item for item in items if turns.get(study.prefixes[item.index], "not written yet")]


def work(
    study: SweepPlan, open_shards: dict[tuple[Cell, int], int], reporter: Reporter, *, decide: Decide | None = None
) -> str:
    """Simulate and replay what is missing; starts engines only where something is.

    Args:
        study: the plan.
        open_shards: what :func:`missing` gives.
        reporter: for progress.
        decide: of chatbots that need not be asked any more; None: all are asked to the end.

    Returns:
        The cap that stopped it, in words; empty where nothing did.

    Raises:
        AdvsimError: an engine does not start, or does not hold the adapter it should.
    """
    if not open_shards:
        return ""
    meter = Meter(study.settings, study.chatbots)
    with engines(study, reporter) as rollouts:
        if Design.REPLAY in study.designs:
            cells = study.cells(Design.REPLAY)
            with _stage(reporter, "replay", cells, open_shards) as stage:
                fill(study, rollouts, _of(open_shards, cells), stage, meter)
        for simulator in study.speaking:
            _simulate(study, rollouts, simulator, open_shards, reporter, meter, decide)
    return meter.stopped_by


def _simulate(
    study: SweepPlan,
    rollouts: RolloutPool,
    simulator: Simulator,
    open_shards: dict[tuple[Cell, int], int],
    reporter: Reporter,
    meter: Meter,
    decide: Decide | None,
) -> None:
    cells = {
        design: [cell for cell in study.cells(design) if cell.simulator == simulator.name]
        for design in (Design.FREE, Design.PAIRED)
        if design in study.designs
    }
    if not any(_of(open_shards, of_design) for of_design in cells.values()) or meter.stops():
        return
    if simulator.adapter is not None:
        proof = None if study.run is None else canary(study)
        rollouts.push(delivery(simulator, study.run, proof, config=study.config))
    free = cells.get(Design.FREE, [])
    if free:
        with _stage(reporter, f"conversations, {simulator.name}", free, open_shards) as stage:
            if decide is None:
                fill(study, rollouts, _of(open_shards, free), stage, meter)
            else:
                _fill_until_decided(study, rollouts, simulator, free, open_shards, stage, meter, decide)
    paired = cells.get(Design.PAIRED, [])
    if _of(open_shards, paired) and not meter.stops():
        write_turns_of(study, rollouts, simulator, reporter, meter)
        if not meter.stopped_by:
            with _stage(reporter, f"paired replay, {simulator.name}", paired, open_shards) as stage:
                fill(study, rollouts, _of(open_shards, paired), stage, meter)


def _fill_until_decided(
    study: SweepPlan,
    rollouts: RolloutPool,
    simulator: Simulator,
    cells: Sequence[Cell],
    open_shards: dict[tuple[Cell, int], int],
    stage: Stage,
    meter: Meter,
    decide: Decide,
) -> None:
    for number in range(study.num_shards(Design.FREE)):
        decided = decide(simulator, number) if number else {}
        wave = [
            (cell, number)
            for cell in cells
            if number < _num_needed(study, decided, cell.chatbot) and (cell, number) in open_shards
        ]
        if wave and meter.stops():
            return
        fill(study, rollouts, wave, stage, meter)
        if meter.stopped_by:  # half a shard of one chatbot is nothing to decide on
            return


def fill(
    study: SweepPlan, rollouts: RolloutPool, shards: Sequence[tuple[Cell, int]], stage: Stage, meter: Meter
) -> None:
    """Ask for what shards of one design miss, and write it."""
    filling = _Filling(study=study)
    is_paired = bool(shards) and shards[0][0].design is Design.PAIRED
    turns = read_next_turns(study.output, shards[0][0].simulator) if is_paired else {}

    def items() -> Iterator[Item]:
        for cell, number in shards:
            every = askable(study, cell, number, turns)
            kept = {each.id: each for each in read_shard(study.output, cell, number)}
            wanted = [item for item in every if item.id not in kept or has_failed(kept[item.id])]
            done = {name: each for name, each in kept.items() if not has_failed(each)}
            shard = _Open(cell=cell, number=number, num_items=len(every), said=done, num_asked=len(wanted))
            for item in wanted:
                if not meter.take():
                    return
                filling.place[item.id] = shard
                yield item

    if not shards:
        return
    noted_at = time.monotonic()
    try:
        for said in _ask(study, rollouts, shards[0][0].design, items(), turns):
            filling.take(said)
            meter.add(said)
            stage.advance()
            if time.monotonic() >= noted_at + _NOTE_EVERY_S:
                noted_at = time.monotonic()
                stage.note(meter.note)
    finally:
        filling.write_all()
        stage.note(meter.note)


def _ask(
    study: SweepPlan, rollouts: RolloutPool, design: Design, items: Iterator[Item], turns: Mapping[Prefix, str]
) -> Iterator[Said]:
    if design is Design.FREE:
        yield from rollouts.simulate(_task(study, item) for item in items)
        return
    dialogues = {dialogue.id: dialogue for dialogue in study.held_out}

    def request(item: Item) -> ReplayRequest:
        name, turn = study.prefixes[item.index]
        prefix = dialogues[name].turns[: turn + 1]
        if item.cell.design is Design.PAIRED:
            prefix = with_last_turn(prefix, turns[name, turn])
        return ReplayRequest(dialogue_id=name, prefix=prefix, chatbot=item.cell.chatbot, seed=item.seed, id=item.id)

    yield from rollouts.replay(map(request, items))


def _task(study: SweepPlan, item: Item) -> RolloutTask:
    simulator = study.simulator(item.cell.simulator)
    return RolloutTask(
        conversation_id=item.id,
        scenario=study.starts[item.index].scenario,
        chatbot=item.cell.chatbot,
        adapter=simulator.adapter,
        seed=item.seed,
        lines=simulator.lines,
        best_of=simulator.best_of,
    )


@contextmanager
def engines(study: SweepPlan, reporter: Reporter) -> Iterator[RolloutPool]:
    """The run's rollout engines, serving all chatbots; no scorer and no learner. None is started for fixed lines."""

    def notice(said: str) -> None:
        reporter.warning(said)
        record_event(study.output, said)

    is_scripted = not any(simulator.needs_model for simulator in study.speaking)
    is_scripted = is_scripted and all(chatbot.kind != "model" for chatbot in study.chatbots)
    with running_ray(study.config) as pools, tempfile.TemporaryDirectory(prefix="advsim-logs-") as scratch:
        log_dir = study.output.path / LOGS if study.output.is_local else Path(scratch)
        rollouts = RolloutPool(
            study.config,
            pools,
            log_dir=str(log_dir),
            chatbots=study.chatbots,
            notice=notice,
            trace=WorkMetrics(),
            has_model=not is_scripted,
        )
        try:
            rollouts.wait_until_ready()
            yield rollouts
        finally:
            rollouts.close()


def canary(study: SweepPlan) -> Canary:
    """The canary of the run's training; another would not have its log-probabilities."""
    assert study.run is not None and study.corpus is not None, "only adapters of the run have one"
    return canary_of_run(study.run, study.config, study.corpus.split(Split.TRAIN))


def _of(open_shards: dict[tuple[Cell, int], int], cells: Sequence[Cell]) -> list[tuple[Cell, int]]:
    """Open shards of cells, the first shards of all cells before the second ones."""
    numbers = sorted({number for _, number in open_shards})
    return [(cell, number) for number, cell in itertools.product(numbers, cells) if (cell, number) in open_shards]


@contextmanager
def _stage(
    reporter: Reporter, name: str, cells: Sequence[Cell], open_shards: dict[tuple[Cell, int], int]
) -> Iterator[Stage]:
    total = sum(open_shards[key] for key in _of(open_shards, cells))
    unit = _UNITS[cells[0].design]
    with reporter.stage(name, total=total, unit=unit) as stage:
        yield stage
