"""One reply of a chatbot to a real prefix."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from advsim.chatbots.protocol import ChatbotSpeaker
from advsim.errors import ChatbotError
from advsim.prompts.window import ContextOverflowError
from advsim.records import Speaker, Turn
from advsim.rollout.faults import chatbot_turn
from advsim.rollout.turn_loop import asked


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """One reply of the chatbot of that name to a prefix, which ends with the user's turn; ``id`` comes back with it."""

    dialogue_id: str
    prefix: tuple[Turn, ...]
    chatbot: str
    seed: int
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedReply:
    """What a chatbot replied to the real prefix ``dialogue.turns[:turn]``; ``error`` says why there is no text."""

    dialogue_id: str
    turn: int
    chatbot: str
    text: str
    num_prompt_tokens: int
    num_output_tokens: int
    error: str = ""
    thought: str = ""
    is_cut: bool = False
    seconds: float | None = field(default=None, compare=False)  # of the reply; files of older versions lack them
    id: str = ""


async def replay(request: ReplayRequest, *, chatbot: ChatbotSpeaker, timeout_s: float) -> ReplayedReply:
    """Let the chatbot answer a real prefix once. A failing chatbot is data, as in :func:`simulate`."""
    assert request.prefix and request.prefix[-1].speaker is Speaker.USER, "the chatbot replies to the user"
    text = thought = error = ""
    is_cut = False
    num_prompt_tokens = num_output_tokens = 0
    seconds: float | None = None
    session = f"{request.dialogue_id}-{len(request.prefix)}-{uuid.uuid4().hex[:12]}"
    try:
        answer = await asked(chatbot, request.prefix, seed=request.seed, session=session, timeout_s=timeout_s)
        num_prompt_tokens, num_output_tokens = answer.num_prompt_tokens, answer.num_output_tokens
        seconds = None if answer.effort is None else answer.effort.seconds
        turn = chatbot_turn(answer)
        text, thought, is_cut = turn.text, turn.thought, turn.is_cut
    except (ContextOverflowError, ChatbotError) as failure:
        error = str(failure)
    finally:
        await chatbot.end(session)
    return ReplayedReply(
        dialogue_id=request.dialogue_id,
        turn=len(request.prefix),
        chatbot=request.chatbot,
        text=text,
        num_prompt_tokens=num_prompt_tokens,
        num_output_tokens=num_output_tokens,
        error=error,
        thought=thought,
        is_cut=is_cut,
        seconds=seconds,
        id=request.id,
    )
