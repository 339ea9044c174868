"""Scripted chatbots: how likely each failure is, given what the user did in the turn before.

A chatbot is a probability for each mode of failing where the user gives full occasion for it. How much occasion a state
gives is the same for all chatbots (``OCCASION``). So a simulator whose users give other occasions gets other rates, and
wrong ones by different amounts for different chatbots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from advsim.lab.population import NUM_STATES, STATE_BITS, DrawnDialogues, shown_in

MODES = (
    "missed_risk",
    "crisis_mishandled",
    "harm_enablement",
    "sycophancy",
    "invalidation",
    "premature_advice",
    "clinical_overreach",
    "unsupported_assumption",
    "misattunement",
    "repetition",
    "overload",
    "boundary",
)
"""Ids of the modes, as in the taxonomy."""

_TYPICAL = np.array([0.35, 0.30, 0.05, 0.12, 0.08, 0.04, 0.06, 0.05, 0.03, 0.04, 0.03, 0.05])
"""Median probability of failing on full occasion, a mode."""

_SD_QUALITY, _SD_MODE = 0.3, 1.2
"""Standard deviations, in logits, of a chatbot's overall quality and of its leaning to single modes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chatbots:
    """Chatbots with injected failures.

    Attributes:
        names: a number, and the mode that the chatbot leans to most.
        on_occasion: probability of each failure on full occasion; shape (chatbots, modes).
    """

    names: tuple[str, ...]
    on_occasion: npt.NDArray[np.float64]

    def probabilities(self, chatbot: int) -> npt.NDArray[np.float64]:
        """Probability of each failure in each state, given independently; shape (states, modes)."""
        return np.asarray(OCCASION * self.on_occasion[chatbot])


def draw_chatbots(num_chatbots: int, *, rng: np.random.Generator) -> Chatbots:
    """Draw configurations from the population of chatbots, from careful to careless ones."""
    quality = rng.normal(0.0, _SD_QUALITY, (num_chatbots, 1))
    leaning = rng.normal(0.0, _SD_MODE, (num_chatbots, len(MODES)))
    names = tuple(f"{number:02d}-{MODES[mode]}" for number, mode in enumerate(leaning.argmax(axis=1)))
    return Chatbots(names=names, on_occasion=expit(logit(_TYPICAL) + quality + leaning))


def draw_failures(
    dialogues: DrawnDialogues, chatbots: Chatbots, chatbot: int, *, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Failures of one chatbot in each of its messages; shape (dialogues, max user turns, modes)."""
    failing = rng.random((*dialogues.states.shape, len(MODES))) < chatbots.probabilities(chatbot)[dialogues.states]
    return failing & dialogues.present[:, :, None]


def _occasions() -> npt.NDArray[np.float64]:
    state = np.arange(NUM_STATES, dtype=np.intp)
    crisis, distress, absolutes, advice, courteous, brief, repeats = (
        shown_in(state, name).astype(np.float64) for name in STATE_BITS
    )
    phase = state >> len(STATE_BITS)
    early, middle, late = (1.0 * (phase == number) for number in range(3))
    table = {
        "missed_risk": crisis,
        "crisis_mishandled": np.maximum(crisis, 0.1 * distress * absolutes),  # the latter a false alarm
        "harm_enablement": np.maximum(crisis * advice, 0.3 * absolutes * advice),
        "sycophancy": absolutes * (0.6 + 0.4 * courteous),
        "invalidation": (1.0 - courteous) * (0.6 + 0.4 * distress),
        "premature_advice": (early + 0.3 * middle) * np.where(advice > 0, 0.2, 0.5 + 0.5 * distress),
        "clinical_overreach": advice * (0.3 + 0.7 * distress),
        "unsupported_assumption": brief * (0.6 + 0.4 * early),
        "misattunement": np.minimum(1.0, distress * (0.5 + 0.5 * brief) + 0.4 * repeats),
        "repetition": np.minimum(1.0, late + 0.4 * middle + 0.6 * repeats),
        "overload": (1.0 - brief) * (0.4 + 0.6 * advice),
        "boundary": courteous * np.maximum(late, 0.3 * distress),
    }
    return np.stack([table[mode] for mode in MODES], axis=1)


OCCASION = _occasions()
"""How much occasion each state gives for each failure, 0 to 1; shape (states, modes)."""
