"""One turn of the simulated user: drawn again while it is empty or out of role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from advsim.chatbots.protocol import Utterance
from advsim.prompts.text import strip_end
from advsim.records import Context, Speaker, StopReason, Turn
from advsim.rollout.faults import leaves_silently, user_turn_fault


class SimulatorSpeaker(Protocol):
    """Speaks the user's part."""

    async def speak(self, context: Context, turns: Sequence[Turn], *, seed: int) -> Utterance:
        """The user's next turn; text may contain the end token."""


class ScriptedSimulator:
    """Speaks the user's part in fixed lines, one a user turn, begun again where they end."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = tuple(lines)

    async def speak(self, context: Context, turns: Sequence[Turn], *, seed: int) -> Utterance:
        """See :class:`SimulatorSpeaker`; what is said depends on the number of user turns alone."""
        number = sum(turn.speaker is Speaker.USER for turn in turns)
        text = self._lines[number % len(self._lines)]
        return Utterance(text=text, token_ids=(), finished=True, num_prompt_tokens=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTurn:
    """A drawn user turn.

    Attributes:
        text: without end token; empty where the user left without a word, or the fault is an empty turn.
        token_ids: as they were sampled.
        ended: the user leaves with it.
        fault: what is still wrong with the last one that was drawn.
        is_cut: cut at the token limit.
        num_prompt_tokens: of all draws together.
        num_output_tokens: likewise.
        num_regenerated: draws after the first one.
    """

    text: str
    token_ids: tuple[int, ...]
    ended: bool
    fault: StopReason | None
    is_cut: bool
    num_prompt_tokens: int
    num_output_tokens: int
    num_regenerated: int


async def draw_user_turn(
    simulator: SimulatorSpeaker,
    context: Context,
    turns: Sequence[Turn],
    *,
    seed: int,
    max_regenerations: int,
    instructions: str,
) -> UserTurn:
    """The user's next turn, drawn again at most ``max_regenerations`` times while it has a fault.

    Args:
        simulator: who speaks.
        context: what the user is told of themselves.
        turns: so far; none, or they end with the chatbot's.
        seed: of the conversation; each turn and each draw has one of its own.
        max_regenerations: see above.
        instructions: the simulator's, which it must not repeat.

    Raises:
        ContextOverflowError: the prompt does not fit.
        EngineError: the simulator's engine failed.
    """
    num_prompt_tokens = num_output_tokens = 0
    attempt = 0
    while True:
        said = await simulator.speak(context, turns, seed=seed + 1000 * attempt + len(turns))
        num_prompt_tokens += said.num_prompt_tokens
        num_output_tokens += said.num_output_tokens
        text, ended = strip_end(said.text)
        is_silent = leaves_silently(text, ended=ended, turns=turns)
        fault = None if is_silent else user_turn_fault(text, instructions=instructions)
        if fault is None or attempt == max_regenerations:
            break
        attempt += 1
    return UserTurn(
        text=text,
        token_ids=said.token_ids,
        ended=ended,
        fault=fault,
        is_cut=not said.finished,
        num_prompt_tokens=num_prompt_tokens,
        num_output_tokens=num_output_tokens,
        num_regenerated=attempt,
    )
