"""The turn loop of one simulated conversation: pure but for the two speakers it is given.

user turn (regenerated while empty or out of role) -> [END]? -> chatbot turn -> user turn -> ... -> max turns
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from advsim.chatbots.protocol import ChatbotSpeaker, Utterance
from advsim.config import RolloutConfig
from advsim.errors import ChatbotError
from advsim.prompts.window import ContextOverflowError
from advsim.records import AdapterRef, Conversation, Scenario, Speaker, StopReason, Turn
from advsim.rollout.faults import chatbot_turn
from advsim.rollout.user_turn import SimulatorSpeaker, draw_user_turn


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutTask:
    """One conversation to simulate, with the adapter that has to speak it (None: the base model, zero-shot).

    Where there are ``lines``, the user says these in turn, and no model is asked. Each turn is chosen from ``best_of``
    draws.
    """

    conversation_id: str
    scenario: Scenario
    chatbot: str
    adapter: AdapterRef | None
    seed: int
    lines: tuple[str, ...] = ()
    best_of: int = 1


async def simulate(
    task: RolloutTask,
    *,
    simulator: SimulatorSpeaker,
    chatbot: ChatbotSpeaker,
    config: RolloutConfig,
    instructions: str,
) -> Conversation:
    """Run one conversation to its end. A failing chatbot ends it with ``StopReason.ERROR``, as data.

    Raises:
        EngineError: the simulator's own engine failed, which no conversation survives.
    """
    session = f"{task.conversation_id}-{uuid.uuid4().hex[:12]}"  # a repeated conversation is another one to a chatbot
    try:
        return await _converse(
            task, simulator=simulator, chatbot=chatbot, config=config, instructions=instructions, session=session
        )
    finally:
        await chatbot.end(session)


async def asked(
    chatbot: ChatbotSpeaker, turns: Sequence[Turn], *, seed: int, session: str, timeout_s: float
) -> Utterance:
    """The chatbot's reply, within a time unless the chatbot bounds that itself.

    Raises:
        ChatbotError: there is none, or not within ``timeout_s`` seconds.
    """
    try:
        async with asyncio.timeout(None if chatbot.bounds_time else timeout_s):
            return await chatbot.reply(turns, seed=seed, session=session)
    except TimeoutError:
        raise ChatbotError(f"the chatbot did not answer within {timeout_s} s") from None


async def _converse(
    task: RolloutTask,
    *,
    simulator: SimulatorSpeaker,
    chatbot: ChatbotSpeaker,
    config: RolloutConfig,
    instructions: str,
    session: str,
) -> Conversation:
    turns: list[Turn] = []
    if task.scenario.opens_with is Speaker.CHATBOT and task.scenario.opening:
        turns.append(Turn(speaker=Speaker.CHATBOT, text=task.scenario.opening))
    num_user_turns = num_prompt_tokens = num_output_tokens = num_regenerated = 0
    stop_reason = StopReason.MAX_TURNS
    error = ""
    while num_user_turns < config.max_user_turns:
        try:
            said = await draw_user_turn(
                simulator,
                task.scenario.context,
                turns,
                seed=task.seed,
                max_regenerations=config.max_regenerations,
                instructions=instructions,
            )
        except ContextOverflowError as overflow:
            stop_reason, error = StopReason.CONTEXT_OVERFLOW, str(overflow)
            break
        num_prompt_tokens += said.num_prompt_tokens
        num_output_tokens += said.num_output_tokens
        num_regenerated += said.num_regenerated
        if said.text:
            turns.append(Turn(speaker=Speaker.USER, text=said.text, token_ids=said.token_ids, is_cut=said.is_cut))
            num_user_turns += 1
        if said.fault is not None or said.ended:
            stop_reason = said.fault or StopReason.END_TOKEN
            break
        try:
            answer = await asked(
                chatbot, turns, seed=task.seed + len(turns), session=session, timeout_s=config.turn_timeout_s
            )
            num_prompt_tokens += answer.num_prompt_tokens
            num_output_tokens += answer.num_output_tokens
            reply = chatbot_turn(answer)
        except ContextOverflowError as overflow:
            stop_reason, error = StopReason.CONTEXT_OVERFLOW, str(overflow)
            break
        except ChatbotError as failure:
            stop_reason, error = StopReason.ERROR, str(failure)
            break
        turns.append(reply)
    return Conversation(
        id=task.conversation_id,
        scenario_id=task.scenario.id,
        chatbot=task.chatbot,
        simulator_version=task.adapter.version if task.adapter else -1,
        simulator_sha256=task.adapter.sha256 if task.adapter else "",
        turns=tuple(turns),
        stop_reason=stop_reason,
        num_prompt_tokens=num_prompt_tokens,
        num_output_tokens=num_output_tokens,
        num_regenerated=num_regenerated,
        seed=task.seed,
        error=error,
    )
