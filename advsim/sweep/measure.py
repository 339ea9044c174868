"""Simulated against replayed real failure rates over chatbots, for every simulator of a sweep.

What it shows: whether a simulator puts chatbots in the order, and at the distances, in which they fail on real people's
messages. What it does not: replayed messages stand behind another chatbot's turns, so failures that build up over a
chatbot's own turns are in the simulated rates only; and both sides are judged by the same detector, whose errors are
part of both rates.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from advsim.corpus.prefixes import user_of
from advsim.detectors.protocol import Detector
from advsim.rates.divergence import Divergence, mode_divergence
from advsim.rates.outcomes import MessageOutcome, of_modes, outcomes
from advsim.records import Conversation, Dialogue, StopReason, user_turns
from advsim.run_folder.results import plain_values
from advsim.run_folder.tables import read_conversations
from advsim.sweep.outcomes import MadeFrom, Outcomes
from advsim.sweep.plan import Simulator, SweepPlan, cell, replay_file
from advsim.sweep.replay import read_replies, replay_outcomes, replayed_dialogues
from advsim.sweep.service import ChatbotService, services
from advsim.validity.agreement import Agreement
from advsim.validity.by_chatbot import validity_by_mode
from advsim.validity.population_test import SimulatorVerdict, simulator_verdict
from advsim.validity.replication import AbPair, AbReplication, ab_replication
from advsim.validity.verdict import Validity, predictive_validity


def conversations_of(study: SweepPlan, simulator: Simulator, chatbot: str) -> list[Conversation]:
    """Conversations of a simulator with a chatbot."""
    folder = cell(simulator, chatbot)
    spoken, turns = (study.output.read_table(f"{folder}/{name}.parquet") for name in ("conversations", "turns"))
    with study.output.reading(f"{folder}/conversations.parquet or turns.parquet"):
        return read_conversations(spoken, turns)


def simulated_outcomes(
    chatbot: str, conversations: Sequence[Conversation], dialogues: Mapping[str, Dialogue], detector: Detector
) -> list[MessageOutcome]:
    """Outcomes of the messages that the chatbot itself wrote: an opening taken from the real dialogue is not its own.

    All conversations of one scenario are one cluster (of the scenario's user where known), over all chatbots, so that
    two chatbots are compared on the same scenarios. A conversation that failed has one more row, with ``error``.
    """
    scenario = {conversation.id: dialogues[conversation.scenario_id] for conversation in conversations}
    rows = outcomes(
        chatbot,
        conversations,
        detector.assess(conversations),
        judged_modes=detector.modes,
        left_out=[(conversation_id, 0) for conversation_id, dialogue in scenario.items() if dialogue.opening],
    )
    rows += [
        MessageOutcome(
            configuration=chatbot,
            dialogue_id=conversation.id,
            user_id=None,
            turn=len(conversation.turns),
            modes=frozenset(),
            error=True,
        )
        for conversation in conversations
        if conversation.stop_reason is StopReason.ERROR
    ]
    return [dataclasses.replace(row, user_id=user_of(scenario[row.dialogue_id])) for row in rows]


def outcomes_of(study: SweepPlan, simulator: Simulator, detector: Detector) -> Outcomes:
    """Outcomes of the conversations of a simulator, by chatbot."""
    dialogues = {dialogue.id: dialogue for dialogue in study.held_out}
    return {
        name: simulated_outcomes(name, conversations_of(study, simulator, name), dialogues, detector)
        for name in study.names
    }


def real_outcomes(study: SweepPlan, detector: Detector) -> Outcomes:
    """Outcomes of the replies to real prefixes, by chatbot."""
    by_chatbot = {}
    for name in study.names:
        replies = read_replies(study.output, replay_file(name))
        with study.output.reading(f"{replay_file(name)}, which does not fit the dialogues,"):
            dialogues = replayed_dialogues(replies, study.held_out)
        by_chatbot[name] = replay_outcomes(name, dialogues, detector)
    return by_chatbot


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a simulator's rates are worth. ``by_mode`` has Pearson's r of modes that both sides show."""

    simulator: str
    validity: Validity
    population_test: SimulatorVerdict
    divergence: Divergence
    divergence_with_none: Divergence
    ab: AbReplication
    by_mode: dict[str, Agreement]
    stop_reasons: dict[str, int]
    num_user_turns: int
    num_regenerated: int
    num_output_tokens: int


def measure(
    study: SweepPlan,
    simulator: Simulator,
    simulated: Outcomes,
    real: Outcomes,
    *,
    modes: Sequence[str],
    baseline: str,
) -> Result:
    """What the rates that a simulator gives are worth, against those of the replies to real prefixes.

    Args:
        study: the sweep.
        simulator: one of its simulators.
        simulated: outcomes of its conversations.
        real: outcomes of the replies.
        modes: those that the detector measures.
        baseline: the chatbot that A/B pairs compare with.
    """
    sides = [[row for rows in side.values() for row in rows] for side in (simulated, real)]
    own = [of_modes(rows, modes) for rows in sides]
    everything = [said for name in study.names for said in conversations_of(study, simulator, name)]
    pairs = [AbPair(a=name, b=baseline) for name in study.names if name != baseline]
    return Result(
        simulator=simulator.name,
        validity=predictive_validity(simulated, real, seed=study.seed),
        population_test=simulator_verdict(simulated, real, modes=modes, seed=study.seed),
        divergence=mode_divergence(*own, modes=modes, seed=study.seed),
        divergence_with_none=mode_divergence(*own, modes=modes, with_none=True, seed=study.seed),
        ab=ab_replication(simulated, real, pairs, seed=study.seed),
        by_mode=validity_by_mode(simulated, real, modes=modes),
        stop_reasons=dict(sorted(Counter(c.stop_reason.value for c in everything).items())),
        num_user_turns=sum(len(user_turns(c)) for c in everything),
        num_regenerated=sum(c.num_regenerated for c in everything),
        num_output_tokens=sum(c.num_output_tokens for c in everything),
    )


def all_services(study: SweepPlan) -> list[ChatbotService]:
    """How each chatbot served, over all simulators of a finished sweep."""
    talks = {
        name: [talk for simulator in study.simulators for talk in conversations_of(study, simulator, name)]
        for name in study.names
    }
    return services(study, talks)


def result_json(
    study: SweepPlan, results: Sequence[Result], detector: Detector, *, baseline: str, made_from: MadeFrom
) -> dict[str, Any]:
    """Everything found, and what it was made from, as plain values."""
    return {
        "run": study.run.folder.location,
        "detector": detector.name,
        "modes": list(detector.modes),
        "num_chatbots": len(study.chatbots),
        "num_conversations": len(study.scenarios),
        "num_prefixes": len(study.prefixes),
        "max_user_turns": study.config.rollout.max_user_turns,
        "baseline": baseline,
        "seed": study.seed,
        "made_from": plain_values(made_from),
        "chatbots": [plain_values(service) for service in all_services(study)],
        "simulators": [plain_values(result) for result in results],
    }
