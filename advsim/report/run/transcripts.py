"""One scenario as the real user, the first and the last round wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from advsim.records import Context, Conversation, Dialogue, Speaker, StopReason, Turn

STOP_NAMES = {
    StopReason.END_TOKEN: "the simulator ended the dialogue",
    StopReason.MAX_TURNS: "cut at the limit of turns",
    StopReason.CONTEXT_OVERFLOW: "cut at the limit of tokens",
    StopReason.EMPTY_TURN: "the simulator wrote an empty turn",
    StopReason.ROLE_BREAK: "the simulator broke its role",
    StopReason.ERROR: "ended by an error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTurn:
    """A turn as the page shows it."""

    speaker: str
    is_user: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """A dialogue as the page shows it."""

    title: str
    subtitle: str
    turns: tuple[ShownTurn, ...]
    ending: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Transcripts side by side; ``is_same_scenario`` is False where the rounds share no scenario."""

    scenario_id: str
    context: tuple[str, ...]
    transcripts: tuple[Transcript, ...]
    is_same_scenario: bool
    has_real: bool


def compare_transcripts(
    conversations: Mapping[int, Sequence[Conversation]], reals: Mapping[str, Dialogue]
) -> Comparison | None:
    """Choose one conversation of the first and one of the last round: same scenario where there is one, lowest id.

    The choice looks at ids only, so that nobody picks the prettiest. Conversations ended by an error come last.

    Args:
        conversations: by round number.
        reals: real dialogues by id, which is the scenario's id.
    """
    filled = {number: of_round for number, of_round in sorted(conversations.items()) if of_round}
    if not filled:
        return None
    numbers = sorted({min(filled), max(filled)})
    by_scenario = [{c.scenario_id: c for c in sorted(filled[n], key=_rank, reverse=True)} for n in numbers]
    shared = set.intersection(*(set(of_round) for of_round in by_scenario))
    chosen = [min(filled[numbers[0]], key=_rank), min(filled[numbers[-1]], key=_rank)][: len(numbers)]
    if shared:
        scenario_id = min(
            shared, key=lambda name: (name not in reals, any(_failed(of_round[name]) for of_round in by_scenario), name)
        )
        chosen = [of_round[scenario_id] for of_round in by_scenario]
    real = reals.get(chosen[0].scenario_id)
    transcripts = [_simulated(conversation, number) for conversation, number in zip(chosen, numbers, strict=True)]
    if real is not None:
        transcripts.insert(0, Transcript(title="Real user", subtitle=real.source, turns=_turns(real.turns), ending=""))
    return Comparison(
        scenario_id=chosen[0].scenario_id,
        context=() if real is None else _context(real.context),
        transcripts=tuple(transcripts),
        is_same_scenario=bool(shared),
        has_real=real is not None,
    )


def _rank(conversation: Conversation) -> tuple[bool, str, str]:
    return (_failed(conversation), conversation.scenario_id, conversation.id)


def _failed(conversation: Conversation) -> bool:
    return conversation.stop_reason is StopReason.ERROR


def _simulated(conversation: Conversation, number: int) -> Transcript:
    adapter = "SFT adapter" if conversation.simulator_version == 0 else f"adapter {conversation.simulator_version}"
    return Transcript(
        title=f"Simulated, round {number}",
        subtitle=f"{adapter} {conversation.simulator_sha256[:8]} with {conversation.chatbot}",
        turns=_turns(conversation.turns),
        ending=STOP_NAMES[conversation.stop_reason] + (f": {conversation.error}" if conversation.error else ""),
    )


def _turns(turns: Sequence[Turn]) -> tuple[ShownTurn, ...]:
    return tuple(
        ShownTurn(
            speaker="User" if turn.speaker is Speaker.USER else "Chatbot",
            is_user=turn.speaker is Speaker.USER,
            text=turn.text,
        )
        for turn in turns
    )


def _context(context: Context) -> tuple[str, ...]:
    layers = (context.profile, *context.themes, *context.earlier_sessions, context.session)
    return tuple(layer for layer in layers if layer)
