"""Draw a study: real and simulated dialogues with each of some chatbots, as tables of outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from advsim.lab.chatbots import MODES, Chatbots, draw_chatbots, draw_failures
from advsim.lab.config import LabConfig
from advsim.lab.population import DrawnDialogues, Population, draw_dialogues, population_of, simulator_of
from advsim.rates.outcomes import MessageOutcome

Outcomes = dict[str, list[MessageOutcome]]
"""Outcomes by configuration."""

_modes_of_code: dict[int, frozenset[str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One repetition's material.

    Attributes:
        chatbots: the chatbots of this study.
        real: outcomes of real users, by chatbot; every chatbot meets users of its own.
        replayed: outcomes of other real users, by chatbot; every chatbot answers the same users and dialogues.
        simulated: outcomes by simulator, then chatbot; other users than the real ones.
        simulated_replayed: the same, where every chatbot answers the same simulated users and dialogues.
    """

    chatbots: Chatbots
    real: Outcomes
    replayed: Outcomes
    simulated: Mapping[str, Outcomes]
    simulated_replayed: Mapping[str, Outcomes]


def draw_study(config: LabConfig, *, repetition: int) -> Study:
    """Draw new chatbots, and for each of them real users and the users of every simulator.

    The same configuration and repetition give the same study; another repetition shares nothing with it.
    """
    population = population_of(config.population, spread=config.spread)
    chatbots = draw_chatbots(config.num_chatbots, rng=np.random.default_rng((config.seed, 2, repetition)))

    def draw(users: Population, stream: int) -> Outcomes:
        return draw_outcomes(
            users,
            chatbots,
            num_users=config.num_users,
            max_user_turns=config.max_user_turns,
            rng=np.random.default_rng((config.seed, 3, repetition, stream)),
            users_of=str(stream),
        )

    return Study(
        chatbots=chatbots,
        real=draw(population, 0),
        replayed=_replay(config, population, chatbots, rng=np.random.default_rng((config.seed, 4, repetition))),
        simulated_replayed={
            name: _replay(
                config,
                simulator_of(population, simulator),
                chatbots,
                rng=np.random.default_rng((config.seed, 5, repetition, number)),
            )
            for number, (name, simulator) in enumerate(config.simulators.items())
        },
        simulated={
            name: draw(simulator_of(population, simulator), number)
            for number, (name, simulator) in enumerate(config.simulators.items(), start=1)
        },
    )


def draw_outcomes(
    population: Population,
    chatbots: Chatbots,
    *,
    num_users: int,
    max_user_turns: int,
    rng: np.random.Generator,
    users_of: str,
) -> Outcomes:
    """Outcomes of dialogues of each chatbot with users of its own, whose ids begin with ``users_of``."""
    by_chatbot: Outcomes = {}
    for number, name in enumerate(chatbots.names):
        dialogues = draw_dialogues(population, num_users=num_users, max_user_turns=max_user_turns, rng=rng)
        by_chatbot[name] = rows_of(
            name, dialogues, draw_failures(dialogues, chatbots, number, rng=rng), users_of=f"{users_of}/{name}"
        )
    return by_chatbot


def _replay(config: LabConfig, population: Population, chatbots: Chatbots, *, rng: np.random.Generator) -> Outcomes:
    dialogues = draw_dialogues(population, num_users=config.num_users, max_user_turns=config.max_user_turns, rng=rng)
    return {
        name: rows_of(name, dialogues, draw_failures(dialogues, chatbots, number, rng=rng), users_of="all")
        for number, name in enumerate(chatbots.names)
    }


def rows_of(
    configuration: str, dialogues: DrawnDialogues, failures: npt.NDArray[np.bool_], *, users_of: str
) -> list[MessageOutcome]:
    """The outcomes table of dialogues: the user speaks first, so the message to user turn t has the index 2 t + 1.

    Args:
        configuration: name of the chatbot.
        dialogues: the dialogues.
        failures: shape (dialogues, max user turns, modes).
        users_of: put before the ids of users and dialogues: two chatbots with the same word here meet the same people.
    """
    dialogue, turn = np.nonzero(dialogues.present)
    codes = failures[dialogue, turn] @ (1 << np.arange(len(MODES)))
    users = dialogues.user[dialogue]
    return [
        MessageOutcome(
            configuration=configuration,
            dialogue_id=f"{users_of}/d{d}",
            user_id=f"{users_of}/u{u}",
            turn=2 * t + 1,
            modes=_modes(code),
        )
        for d, u, t, code in zip(dialogue.tolist(), users.tolist(), turn.tolist(), codes.tolist(), strict=True)
    ]


def _modes(code: int) -> frozenset[str]:
    if code not in _modes_of_code:
        _modes_of_code[code] = frozenset(mode for position, mode in enumerate(MODES) if code >> position & 1)
    return _modes_of_code[code]
