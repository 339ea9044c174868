"""Scripted users: who they are, and what they do in each turn.

A user is a vector of traits, drawn once; a dialogue is an array of the states its turns are in. What a user does
depends on the traits alone and not on the chatbot, so that true rates follow from the distribution of states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from advsim.lab.config import TRAITS, KindConfig, SimulatorConfig

STATE_BITS = ("crisis", "distress", "absolutes", "advice", "courteous", "brief", "repeats")
"""What a user turn shows, one bit each; with the phase of the dialogue they make its state."""

NUM_PHASES = 3
"""Early (user turns 1 to 3), middle (4 to 7), late (8 on)."""

NUM_STATES = NUM_PHASES * 2 ** len(STATE_BITS)
"""A state is ``phase * 2**7 + bits``."""

MAX_SESSIONS = 3
_P_ANOTHER_SESSION = 0.4
_P_CRISIS_SHOWS_AGAIN = 0.6
_P_CRISIS_ONSET = 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """A distribution over users.

    Attributes:
        kinds: names of the kinds of users.
        shares: probability of each kind; shape (kinds,), sums to 1.
        means: mean of each trait in each kind; shape (kinds, traits), traits in the order of ``TRAITS``.
        spread: concentration of the beta distribution that users' traits are drawn from.
    """

    kinds: tuple[str, ...]
    shares: npt.NDArray[np.float64]
    means: npt.NDArray[np.float64]
    spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnDialogues:
    """Dialogues as states; a chatbot message follows each user turn.

    Attributes:
        user: number of the user; shape (dialogues,), ascending.
        kind: number of the user's kind; shape (dialogues,).
        states: state of each user turn; shape (dialogues, max user turns).
        present: whether the dialogue has that turn; same shape.
    """

    user: npt.NDArray[np.intp]
    kind: npt.NDArray[np.intp]
    states: npt.NDArray[np.intp]
    present: npt.NDArray[np.bool_]


def population_of(kinds: Mapping[str, KindConfig], *, spread: float) -> Population:
    """The population that a configuration describes."""
    shares = np.array([kind.share for kind in kinds.values()])
    return Population(
        kinds=tuple(kinds),
        shares=shares / shares.sum(),
        means=np.array([[getattr(kind, trait) for trait in TRAITS] for kind in kinds.values()]),
        spread=spread,
    )


def simulator_of(population: Population, simulator: SimulatorConfig) -> Population:
    """The population of users that a simulator plays: the real one, changed as its configuration says."""
    shares, means = population.shares.copy(), population.means.copy()
    if simulator.only is not None:
        shares = np.array([float(kind == simulator.only) for kind in population.kinds])
    for column, trait in enumerate(TRAITS):
        value = getattr(simulator, trait)
        if value is not None:
            means[:, column] = value
    return Population(kinds=population.kinds, shares=shares, means=means, spread=population.spread)


def draw_dialogues(
    population: Population, *, num_users: int, max_user_turns: int, rng: np.random.Generator
) -> DrawnDialogues:
    """Draw users and all their sessions."""
    kind_of_user = rng.choice(len(population.kinds), size=num_users, p=population.shares)
    traits = _beta(population.means[kind_of_user], population.spread, rng)
    num_sessions = 1 + rng.binomial(MAX_SESSIONS - 1, _P_ANOTHER_SESSION, size=num_users)
    user = np.repeat(np.arange(num_users), num_sessions)
    trait = dict(zip(TRAITS, traits[user].T, strict=True))
    shape = (len(user), max_user_turns)

    def happens(name: str) -> npt.NDArray[np.bool_]:
        return np.asarray(rng.random(shape) < trait[name][:, None])

    turn = np.arange(max_user_turns)
    num_turns = 1 + rng.geometric(np.maximum(trait["leaving"], 1e-9))
    onset = np.where(rng.random(len(user)) < trait["crisis"], rng.geometric(_P_CRISIS_ONSET, len(user)) - 1, shape[1])
    shows_again = rng.random(shape) < _P_CRISIS_SHOWS_AGAIN
    crisis = (turn == onset[:, None]) | ((turn > onset[:, None]) & shows_again)
    shown = {
        "crisis": crisis,
        "distress": happens("disclosure") | crisis,
        "absolutes": happens("absolutes"),
        "advice": happens("advice"),
        "courteous": happens("courtesy"),
        "brief": happens("brevity"),
    }
    bits = np.zeros(shape, dtype=np.intp)
    for position, name in enumerate(STATE_BITS[:-1]):
        bits += shown[name].astype(np.intp) << position
    repeats = happens("repeating")
    for number in range(1, max_user_turns):  # a turn that repeats shows what the previous one showed
        bits[:, number] = np.where(repeats[:, number], bits[:, number - 1], bits[:, number])
    bits[:, 1:] |= repeats[:, 1:].astype(np.intp) << (len(STATE_BITS) - 1)
    return DrawnDialogues(
        user=user,
        kind=kind_of_user[user],
        states=phase_of(turn)[None, :] * 2 ** len(STATE_BITS) + (bits & (2 ** len(STATE_BITS) - 1)),
        present=turn < num_turns[:, None],
    )


def phase_of(turn: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Phase of user turns counted from 0."""
    return np.digitize(turn, (3, 7))


def shown_in(state: npt.NDArray[np.intp], name: str) -> npt.NDArray[np.bool_]:
    """Whether states show the named bit of ``STATE_BITS``."""
    return np.asarray((state >> STATE_BITS.index(name)) & 1 == 1)


def _beta(means: npt.NDArray[np.float64], concentration: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Beta draws of given means; a mean of 0 or 1 is that value itself."""
    inside = np.clip(means, 1e-6, 1.0 - 1e-6)
    drawn = rng.beta(inside * concentration, (1.0 - inside) * concentration)
    return np.where((means <= 0.0) | (means >= 1.0), means, drawn)
