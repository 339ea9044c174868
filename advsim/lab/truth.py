"""True rates, differences and agreement, which the estimators should find, from a very large sample.

A true rate is the expected number of failing messages over the expected number of messages, both over the population of
users. It is computed from the frequencies of states in a very large sample of dialogues and the known probabilities of
failing in each state, so that no noise of single failures is in it.

**What the true correlation is.** The configurations of a study are taken as a sample of those one could have built;
what is asked is whether a simulator ranks *configurations like these* as people would. So every repetition draws new
chatbots, and the true r, concordance and so on are those of the whole population of chatbots. An interval has to carry
the choice of the configurations; about the studied ones alone it could be narrower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from advsim.lab.chatbots import MODES, OCCASION, Chatbots, draw_chatbots
from advsim.lab.config import LabConfig
from advsim.lab.population import NUM_STATES, Population, draw_dialogues, population_of, simulator_of

_CHATBOTS_AT_ONCE = 500
_USERS_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueAgreement:
    """True agreement of simulated with real rates over the population of chatbots.

    Attributes:
        pearson: correlation of the true rates.
        concordance: Lin's concordance of the true rates.
        bias: mean of simulated minus real rate.
        mean_rate: mean simulated rate.
    """

    pearson: float
    concordance: float
    bias: float
    mean_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Frequencies of states by population, and true agreement by simulator.

    Attributes:
        real: share of the real population's user turns in each state; shape (states,).
        simulated: the same by simulator.
        agreement: true agreement by simulator.
    """

    real: npt.NDArray[np.float64]
    simulated: dict[str, npt.NDArray[np.float64]]
    agreement: dict[str, TrueAgreement]


def true_rates(
    frequencies: npt.NDArray[np.float64], chatbots: Chatbots, *, mode: str | None = None
) -> npt.NDArray[np.float64]:
    """True failure rate of each chatbot, of one mode or of any; shape (chatbots,).

    Args:
        frequencies: share of user turns in each state; shape (states,).
        chatbots: the chatbots.
        mode: id of a mode; None: any failure.
    """
    if mode is not None:
        column = MODES.index(mode)
        return np.asarray(chatbots.on_occasion[:, column] * (frequencies @ OCCASION[:, column]))
    rates = []
    kept = frequencies > 0
    for first in range(0, len(chatbots.on_occasion), _CHATBOTS_AT_ONCE):
        on_occasion = chatbots.on_occasion[first : first + _CHATBOTS_AT_ONCE]
        passes = np.ones((len(on_occasion), int(kept.sum())))
        for column in range(len(MODES)):
            passes *= 1.0 - on_occasion[:, column, None] * OCCASION[kept, column]
        rates.append(1.0 - passes @ frequencies[kept])
    return np.concatenate(rates)


def state_frequencies(
    population: Population, *, num_users: int, max_user_turns: int, seed: int
) -> npt.NDArray[np.float64]:
    """Share of user turns in each state in a sample of users; shape (states,)."""
    rng = np.random.default_rng(seed)
    counts = np.zeros(NUM_STATES)
    for first in range(0, num_users, _USERS_AT_ONCE):
        num_now = min(_USERS_AT_ONCE, num_users - first)
        drawn = draw_dialogues(population, num_users=num_now, max_user_turns=max_user_turns, rng=rng)
        counts += np.bincount(drawn.states[drawn.present], minlength=NUM_STATES)
    return np.asarray(counts / counts.sum())


def compute_truth(config: LabConfig) -> Truth:
    """True frequencies and agreement for a configuration; depends on its seed only through sampling noise."""
    population = population_of(config.population, spread=config.spread)
    real = _frequencies(population, config)
    simulated = {
        name: real if simulator.is_right else _frequencies(simulator_of(population, simulator), config)
        for name, simulator in config.simulators.items()
    }
    chatbots = draw_chatbots(config.num_truth_chatbots, rng=np.random.default_rng((config.seed, 1)))
    real_rates = true_rates(real, chatbots)
    agreement = {
        name: _agreement(true_rates(frequencies, chatbots), real_rates) for name, frequencies in simulated.items()
    }
    return Truth(real=real, simulated=simulated, agreement=agreement)


def true_mode_shares(frequencies: npt.NDArray[np.float64], chatbots: Chatbots) -> npt.NDArray[np.float64]:
    """Expected share of each mode among failing messages, over all chatbots; shape (modes,).

    As in :mod:`advsim.rates.divergence`, a message with k modes counts 1 / k for each. With S other modes failing
    independently, E[1 / (1 + S)] is the integral over t from 0 to 1 of the product of 1 - p + p t over these modes, a
    polynomial, which Gauss-Legendre nodes integrate exactly.
    """
    nodes, weights = np.polynomial.legendre.leggauss(len(MODES) // 2)
    kept = frequencies > 0
    total = np.zeros(len(MODES))
    for chatbot in range(len(chatbots.names)):
        p = chatbots.probabilities(chatbot)[kept]  # (states, modes)
        for t, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            factors = 1 - p + p * t
            others = factors.prod(axis=1, keepdims=True) / factors  # t > 0, so that no factor is 0
            total += weight * (frequencies[kept] @ (p * others))
    return np.asarray(total / total.sum())


def _frequencies(population: Population, config: LabConfig) -> npt.NDArray[np.float64]:
    # Common random numbers: the same seed for all populations, so that differences between them are precise.
    return state_frequencies(
        population, num_users=config.num_truth_users, max_user_turns=config.max_user_turns, seed=config.seed
    )


def _agreement(simulated: npt.NDArray[np.float64], real: npt.NDArray[np.float64]) -> TrueAgreement:
    covariance = float(np.cov(simulated, real, bias=True)[0, 1])
    bias = float(simulated.mean() - real.mean())
    spreads: Sequence[float] = (float(simulated.var()), float(real.var()))
    return TrueAgreement(
        pearson=covariance / float(np.sqrt(spreads[0] * spreads[1])),
        concordance=2.0 * covariance / (spreads[0] + spreads[1] + bias**2),
        bias=bias,
        mean_rate=float(simulated.mean()),
    )
