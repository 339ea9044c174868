"""The figures of a finished sweep as its pages read them, from ``sweep.json`` alone."""

from __future__ import annotations

from dataclasses import dataclass

from advsim.errors import ConfigError
from advsim.rates.rates import ANY
from advsim.run_folder.folder import RunDir
from advsim.run_folder.results import read_values
from advsim.sweep.measure import Result
from advsim.sweep.outcomes import REPLAY, RESULT, MadeFrom
from advsim.sweep.service import ChatbotService

REAL = "real"
"""Heading of the replies to real prefixes where they stand beside simulated conversations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFigures:
    """The keys of ``sweep.json`` that are shown.

    Attributes:
        detector: that judged.
        modes: that it judged.
        baseline: chatbot that the others are compared with.
        num_conversations: of each simulator with each chatbot, at most.
        num_prefixes: real prefixes that chatbots answered.
        max_user_turns: of a conversation.
        made_from: run, simulators and chatbots.
        chatbots: how each chatbot served.
        simulators: what was found with each; one named ``replay`` where there is none.
        designs: that were asked for; empty in files of older versions.
        num_scenarios: of the conversations.
        scenarios_file: where they are from; empty for a run's real dialogues; None in files of older versions.
        stopped_by: the cap that stopped it; empty where it is complete.
    """

    detector: str
    modes: tuple[str, ...]
    baseline: str
    num_conversations: int
    num_prefixes: int
    max_user_turns: int
    made_from: MadeFrom
    chatbots: tuple[ChatbotService, ...]
    simulators: tuple[Result, ...]
    designs: tuple[str, ...] = ()
    num_scenarios: int = 0
    scenarios_file: str | None = None
    stopped_by: str = ""

    @property
    def has_simulated(self) -> bool:
        """Whether there is anything but replies to real prefixes."""
        return any(result.simulator != REPLAY for result in self.simulators)

    @property
    def has_real(self) -> bool:
        """Whether replies to real prefixes stand beside simulated conversations."""
        return any(rates.real for result in self.simulators for rates in result.by_chatbot.chatbots)

    @property
    def real(self) -> str | None:
        """Heading of the real side; None without one."""
        return REAL if self.has_real else None

    @property
    def rated_modes(self) -> tuple[str, ...]:
        """Modes with a rate of their own, in order."""
        known = (rates.simulated for result in self.simulators for rates in result.by_chatbot.chatbots)
        return tuple(dict.fromkeys(mode for of_chatbot in known for mode in of_chatbot if mode != ANY))

    @property
    def found_modes(self) -> tuple[str, ...]:
        """Modes with a rate above 0 somewhere."""
        rates = [rates for result in self.simulators for rates in result.by_chatbot.chatbots]
        return tuple(
            mode
            for mode in self.rated_modes
            if any(side[mode].estimate for each in rates for side in (each.simulated, each.real) if mode in side)
        )


def read_figures(folder: RunDir) -> SweepFigures:
    """Read the figures of a finished sweep.

    Raises:
        ConfigError: it is no folder of a finished sweep.
        RunError: the file is damaged, or of a version that had other keys.
    """
    if not folder.exists(RESULT):
        raise ConfigError(f"{folder.location}: no {RESULT} there; give the folder of a finished sweep")
    return read_values(
        SweepFigures,
        folder.read_object(RESULT),
        where=f"{RESULT} in {folder.location}",
        remedy="run the same 'advsim sweep' again, which only measures what is there",
    )
