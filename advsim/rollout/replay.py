"""One reply of a chatbot to a real prefix."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from advsim.chatbots.protocol import ChatbotSpeaker
from advsim.errors import ChatbotError
from advsim.prompts.window import ContextOverflowError
from advsim.records import Speaker, Turn
from advsim.rollout.faults import chatbot_turn


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """One reply of the chatbot of that name to a real prefix, which ends with the user's turn."""

    dialogue_id: str
    prefix: tuple[Turn, ...]
    chatbot: str
    seed: int


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


async def replay(request: ReplayRequest, *, chatbot: ChatbotSpeaker, timeout_s: float) -> ReplayedReply:
    """Let the chatbot answer a real prefix once. A failing chatbot is data, as in :func:`simulate`."""
    assert request.prefix and request.prefix[-1].speaker is Speaker.USER, "the chatbot replies to the user"
    text = thought = error = ""
    is_cut = False
    num_prompt_tokens = num_output_tokens = 0
    try:
        answer = await asyncio.wait_for(chatbot.reply(request.prefix, seed=request.seed), timeout_s)
        num_prompt_tokens, num_output_tokens = answer.num_prompt_tokens, len(answer.token_ids)
        turn = chatbot_turn(answer)
        text, thought, is_cut = turn.text, turn.thought, turn.is_cut
    except TimeoutError:
        error = f"the chatbot did not answer within {timeout_s} s"
    except (ContextOverflowError, ChatbotError) as failure:
        error = str(failure)
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
    )
