"""The folder of a finished sweep, shards and all, without a run or engines: what was said is made up, and measured."""

import dataclasses
from pathlib import Path

from advsim.config import ChatbotConfig, Config, PriceConfig, SweepConfig
from advsim.records import (
    Assessment,
    Context,
    Conversation,
    Dialogue,
    Effort,
    FailureLabel,
    NextTurn,
    Scenario,
    Speaker,
    Split,
    StopReason,
    Turn,
    chatbot_turns,
)
from advsim.rollout.replay import ReplayedReply
from advsim.run_folder.folder import RunDir
from advsim.sweep.judge import bench_of, judge_shard
from advsim.sweep.measure import all_sides, measure_all, result_json
from advsim.sweep.outcomes import RESULT, write_outcomes
from advsim.sweep.planning.items import Design
from advsim.sweep.planning.scenarios import Start
from advsim.sweep.planning.simulators import Simulator
from advsim.sweep.planning.study import SweepPlan
from advsim.sweep.service import services
from advsim.sweep.shards import write_next_turns, write_shard

MODES = ("boundary", "repetition")


class Finds:
    """A detector that finds a mode where its name stands in a message, and is unsure of the word "unsure"."""

    name, modes = "finds", MODES

    def assess(self, dialogues, *, advance=None):
        return [
            Assessment(
                conversation_id=dialogue.id,
                turn=number,
                detector=self.name,
                labels=tuple(
                    FailureLabel(
                        conversation_id=dialogue.id,
                        turn=number,
                        mode=mode,
                        severity=2,
                        span="",
                        detector=self.name,
                        confidence=0.9,
                    )
                    for mode in MODES
                    if mode in turn.text
                ),
                abstained=MODES if "unsure" in turn.text else (),
            )
            for dialogue in dialogues
            for number, turn in chatbot_turns(dialogue)
        ]


def reply(text, rank, share):
    """What a chatbot says at a place between 0 and 1: something that fails below ``share``."""
    return f"{text} boundary" if rank < share else text


def write_sweep_folder(
    folder: Path,
    simulated,
    *,
    real=None,
    with_paired=False,
    num=20,
    text="I hear you.",
    thought="",
    opening="",
    error="",
    shard_size=8,
    stop_early=False,
    scenarios="personas.yaml",
    num_dialogues=12,
) -> RunDir:
    """Write shards, judge and measure them; returns the folder.

    Args:
        folder: of the sweep.
        simulated: share of failing conversations by simulator and chatbot; none for replay alone.
        real: share of failing replies by chatbot.
        with_paired: whether simulators also wrote last turns; chatbots then fail as in conversations.
        num: conversations of a cell.
        text: what chatbots say, with the word of a mode behind it where they fail.
        thought: of the chatbots.
        opening: of the scenarios.
        error: the last conversation of each cell, and the last reply, failed with this reason.
        shard_size: items of a shard.
        stop_early: of the settings.
        scenarios: file; None: the scenarios are real dialogues.
        num_dialogues: real ones.
    """
    chatbots = list(real or next(iter(simulated.values())))
    designs = (["free"] if simulated else []) + (["replay"] if real else []) + (["paired"] if with_paired else [])
    dialogues = tuple(
        Dialogue(
            id=f"real-{i}",
            source="s",
            split=Split.VALIDATION,
            user_id=f"u{i}",
            turns=(
                Turn(speaker=Speaker.CHATBOT, text="Real hello."),
                Turn(speaker=Speaker.USER, text=f"real turn {i}"),
            ),
        )
        for i in range(num_dialogues if real else 0)
    )
    study = SweepPlan(
        settings=SweepConfig(
            run="a run",
            designs=designs,
            num_conversations=num,
            shard_size=shard_size,
            baseline=chatbots[0],
            stop_early=stop_early,
            scenarios=scenarios,
            evaluate={"detector": "rules"},
        ),
        run=None,
        config=Config(),
        corpus=None,
        chatbots=tuple(
            ChatbotConfig.model_construct(
                name=name, kind="http", price=PriceConfig(per_million_prompt_tokens=1e5, per_million_output_tokens=0.0)
            )
            for name in chatbots
        ),
        simulators=tuple(Simulator(name=name, lines=("hello",)) for name in simulated),
        starts=tuple(
            Start(scenario=Scenario(id=f"p{i}", context=Context(profile="x"), opening=opening), cluster=f"p{i}")
            for i in range(num)
        ),
        held_out=dialogues,
        prefixes=tuple((dialogue.id, 1) for dialogue in dialogues),
        output=RunDir(str(folder)),
    )
    for simulator in simulated if with_paired else ():
        turns = [NextTurn(dialogue_id=name, turn=turn, text=f"turn of {simulator}") for name, turn in study.prefixes]
        write_next_turns(study.output, simulator, turns)
    bench = bench_of(study, MODES)
    for cell, number in study.shards():
        share = real[cell.chatbot] if cell.design is Design.REPLAY else simulated[cell.simulator][cell.chatbot]
        said = []
        for item in study.shard(cell, number):
            has_error = bool(error) and item.index == study.num_items(cell.design) - 1
            answer = reply(text, item.index / study.num_items(cell.design), share)
            effort = Effort(seconds=1.5, num_prompt_tokens=10, num_output_tokens=5)
            if cell.design is Design.FREE:
                turn = Turn(speaker=Speaker.CHATBOT, text=answer, thought=thought, effort=effort)
                first = [Turn(speaker=Speaker.CHATBOT, text=opening)] if opening else []
                said.append(
                    Conversation(
                        id=item.id,
                        scenario_id=f"p{item.index}",
                        chatbot=cell.chatbot,
                        simulator_version=0,
                        simulator_sha256="",
                        num_prompt_tokens=1,
                        num_output_tokens=1,
                        seed=1,
                        stop_reason=StopReason.ERROR if has_error else StopReason.MAX_TURNS,
                        error=error if has_error else "",
                        turns=(
                            *first,
                            Turn(speaker=Speaker.USER, text=f"i am sad {item.index}"),
                            *([] if has_error else [turn]),
                        ),
                    )
                )
            else:
                name, place = study.prefixes[item.index]
                said.append(
                    ReplayedReply(
                        dialogue_id=name,
                        turn=place + 1,
                        chatbot=cell.chatbot,
                        text="" if has_error else answer,
                        num_prompt_tokens=10,
                        num_output_tokens=5,
                        error=error if has_error else "",
                        id=item.id,
                        seconds=1.5,
                        thought=thought,
                    )
                )
        write_shard(study.output, cell, number, said)
        judge_shard(bench, cell, number, Finds())
    sides = all_sides(study)
    made_from = dataclasses.replace(write_outcomes(study, sides.outcomes), run="made-up")
    found = result_json(
        study,
        measure_all(study, sides, modes=MODES),
        sides.outcomes,
        services(study),
        detector="finds",
        modes=MODES,
        made_from=made_from,
    )
    study.output.write_json(RESULT, found)
    return study.output
