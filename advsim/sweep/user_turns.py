"""The user turns that a simulator writes on real prefixes, for paired replay."""

from __future__ import annotations

import time
from collections.abc import Mapping

from advsim.corpus.prefixes import Prefix
from advsim.records import NextTurn
from advsim.rollout.faults import user_turn_fault
from advsim.rollout.pool import RolloutPool
from advsim.rollout.simulator_actor import NextTurnRequest
from advsim.runtime.progress import Reporter
from advsim.sweep.caps import Meter
from advsim.sweep.planning.items import Cell, Design
from advsim.sweep.planning.simulators import Simulator
from advsim.sweep.planning.study import SweepPlan
from advsim.sweep.shards import read_next_turns, write_next_turns


def write_turns_of(
    study: SweepPlan, rollouts: RolloutPool, simulator: Simulator, reporter: Reporter, meter: Meter
) -> None:
    """Let a simulator write the last user turn of every prefix once; all chatbots answer the same turns.

    As in whole conversations, a turn that is empty or out of role is drawn again; one that stays so has no text. What
    is settled is written every ``write_every_s``, and at the end, whatever ended it.

    Raises:
        AdvsimError: an engine failed, or the folder cannot be written.
    """
    there = read_next_turns(study.output, simulator.name)
    settled = dict(there)
    wanted = [prefix for prefix in study.prefixes if prefix not in there]
    rollout = study.config.rollout
    written_at = time.monotonic()
    try:
        with reporter.stage(f"user turns on real prefixes, {simulator.name}", total=len(wanted), unit="turn") as stage:
            for attempt in range(rollout.max_regenerations + 1):
                requests, wanted = _requests(study, simulator, wanted, attempt), []
                for said in rollouts.next_turns(request for request in requests if not meter.stops()):
                    prefix = (said.dialogue_id, said.turn)
                    is_faulty = user_turn_fault(said.text, instructions=study.config.prompt.instructions) is not None
                    if is_faulty and attempt < rollout.max_regenerations:
                        wanted.append(prefix)
                        continue
                    settled[prefix] = "" if is_faulty else said.text
                    stage.advance()
                    if time.monotonic() - written_at >= study.settings.write_every_s:
                        _write(study, simulator, settled)
                        written_at = time.monotonic()
    finally:
        if settled.keys() - there.keys():
            _write(study, simulator, settled)


def _requests(study: SweepPlan, simulator: Simulator, wanted: list[Prefix], attempt: int) -> list[NextTurnRequest]:
    dialogues = {dialogue.id: dialogue for dialogue in study.held_out}
    cell = Cell(design=Design.PAIRED, simulator=simulator.name, chatbot="")
    seeds = {prefix: study.item(cell, index).seed for index, prefix in enumerate(study.prefixes)}
    return [
        NextTurnRequest(
            scenario=dialogues[name].scenario,
            prefix=dialogues[name].turns[:turn],
            sampling=study.config.rollout.sampling,
            adapter=simulator.adapter,
            seed=seeds[name, turn] + 1000 * attempt,
            lines=simulator.lines,
            best_of=simulator.best_of,
        )
        for name, turn in wanted
    ]


def _write(study: SweepPlan, simulator: Simulator, texts: Mapping[Prefix, str]) -> None:
    turns = [NextTurn(dialogue_id=name, turn=turn, text=text) for (name, turn), text in sorted(texts.items())]
    write_next_turns(study.output, simulator.name, turns)
