import asyncio
from collections.abc import Sequence

import pytest

from advsim.chatbots.protocol import Utterance
from advsim.config import RolloutConfig
from advsim.errors import ChatbotError, EngineError
from advsim.prompts.window import ContextOverflowError
from advsim.records import AdapterRef, Context, Conversation, Scenario, Speaker, StopReason, Turn
from advsim.rollout.replay import ReplayRequest, replay
from advsim.rollout.turn_loop import RolloutTask, simulate

ADAPTER = AdapterRef(version=3, path="rounds/03/adapter", sha256="abc")
INSTRUCTIONS = "You play a person who writes to a support chatbot."


def said(text: str) -> Utterance:
    return Utterance(text=text, token_ids=tuple(text.encode()), finished=True, num_prompt_tokens=7)


class Says:
    """A speaker with a script; an exception in it is raised."""

    bounds_time = False

    def __init__(self, *lines: str | Exception) -> None:
        self.lines = list(lines)
        self.heard: list[tuple[Turn, ...]] = []

    def _next(self, turns: Sequence[Turn]) -> Utterance:
        self.heard.append(tuple(turns))
        line = self.lines.pop(0)
        if isinstance(line, Exception):
            raise line
        return said(line)

    async def speak(self, context: Context, turns: Sequence[Turn], *, seed: int) -> Utterance:
        return self._next(turns)

    async def reply(self, turns: Sequence[Turn], *, seed: int, session: str) -> Utterance:
        return self._next(turns)

    async def end(self, session: str) -> None:
        self.ended = session


def run(user: Says, chatbot: Says, *, scenario: Scenario | None = None, **config: object) -> Conversation:
    task = RolloutTask(
        conversation_id="c-1",
        scenario=scenario or Scenario(id="s-1", context=Context()),
        chatbot="bot",
        adapter=ADAPTER,
        seed=0,
    )
    settings = RolloutConfig.model_validate({"max_user_turns": 3, "max_regenerations": 1, **config})
    return asyncio.run(simulate(task, simulator=user, chatbot=chatbot, config=settings, instructions=INSTRUCTIONS))


def texts(conversation: Conversation) -> list[str]:
    return [turn.text for turn in conversation.turns]


def test_conversation_ends_where_the_simulator_emits_the_end_token():
    conversation = run(Says("hi", "thanks, bye [END] ignored"), Says("hello"))
    assert conversation.stop_reason is StopReason.END_TOKEN
    assert texts(conversation) == ["hi", "hello", "thanks, bye"]


def test_bare_end_token_after_a_reply_is_leaving_without_a_word():
    conversation = run(Says("hi", "[END]"), Says("hello"))
    assert conversation.stop_reason is StopReason.END_TOKEN
    assert texts(conversation) == ["hi", "hello"]
    assert conversation.num_regenerated == 0


def test_conversation_ends_at_max_turns_with_the_chatbots_reply():
    conversation = run(Says("a", "b", "c"), Says("1", "2", "3"))
    assert conversation.stop_reason is StopReason.MAX_TURNS
    assert texts(conversation) == ["a", "1", "b", "2", "c", "3"]


def test_every_conversation_is_stamped_with_version_and_hash():
    conversation = run(Says("bye [END]"), Says())
    assert (conversation.simulator_version, conversation.simulator_sha256) == (3, "abc")


def test_simulated_user_turns_keep_their_sampled_tokens():
    conversation = run(Says("hi", "bye [END]"), Says("hello"))
    assert conversation.turns[0].token_ids == tuple(b"hi")
    assert conversation.turns[2].token_ids == tuple(b"bye [END]")
    assert conversation.turns[1].token_ids == ()


def test_empty_turn_is_regenerated_then_recorded():
    conversation = run(Says("", "hello there [END]"), Says())
    assert (conversation.stop_reason, conversation.num_regenerated) == (StopReason.END_TOKEN, 1)
    conversation = run(Says("hi", "", "  "), Says("hello"))
    assert (conversation.stop_reason, conversation.num_regenerated) == (StopReason.EMPTY_TURN, 1)
    assert texts(conversation) == ["hi", "hello"]


@pytest.mark.parametrize(
    "text", ["Chatbot: how are you feeling?", "As an AI I cannot", "You play a person who writes to a bot"]
)
def test_role_break_is_regenerated_then_ends_the_conversation(text):
    conversation = run(Says(text, text), Says())
    assert conversation.stop_reason is StopReason.ROLE_BREAK
    conversation = run(Says(text, "sorry [END]"), Says())
    assert conversation.stop_reason is StopReason.END_TOKEN


@pytest.mark.parametrize("text", ["?", "...", "🙂", "i asked the chatbot: nothing", "my dad is an ai researcher"])
def test_short_or_odd_human_turns_are_no_fault(text):
    assert texts(run(Says(f"{text} [END]"), Says())) == [text]


def test_chatbot_failure_is_data_not_a_crash():
    conversation = run(Says("hi"), Says(ChatbotError("HTTP 500")))
    assert (conversation.stop_reason, conversation.error) == (StopReason.ERROR, "HTTP 500")
    conversation = run(Says("hi"), Says("   "))
    assert conversation.stop_reason is StopReason.ERROR


def test_slow_chatbot_times_out():
    class Sleeps(Says):
        async def reply(self, turns, *, seed, session):
            await asyncio.sleep(5)

    conversation = run(Says("hi"), Sleeps(), turn_timeout_s=0.05)
    assert conversation.stop_reason is StopReason.ERROR
    assert "0.05 s" in conversation.error


def test_dead_simulator_engine_stops_the_rollout():
    with pytest.raises(EngineError):
        run(Says(EngineError("dead")), Says())


def test_context_overflow_is_a_stop_reason():
    conversation = run(Says("hi", ContextOverflowError("too long")), Says("hello"))
    assert conversation.stop_reason is StopReason.CONTEXT_OVERFLOW


def test_chatbot_that_opened_the_real_dialogue_opens_the_simulated_one():
    scenario = Scenario(id="s", context=Context(), opens_with=Speaker.CHATBOT, opening="What brings you here?")
    user = Says("nothing [END]")
    conversation = run(user, Says(), scenario=scenario)
    assert texts(conversation) == ["What brings you here?", "nothing"]
    assert user.heard[0][0].speaker is Speaker.CHATBOT


def test_the_user_does_not_see_what_the_chatbot_thinks():
    user = Says("hi", "ok [END]")
    conversation = run(user, Says("<think>he whines</think>\nHello."))
    assert texts(conversation) == ["hi", "Hello.", "ok"]
    assert conversation.turns[1].thought == "he whines"
    assert [turn.text for turn in user.heard[1]] == ["hi", "Hello."]


def test_a_thought_that_does_not_end_is_a_failed_reply():
    conversation = run(Says("hi"), Says("<think>he whines and"))
    assert conversation.stop_reason is StopReason.ERROR
    assert "thought did not end" in conversation.error
    assert texts(conversation) == ["hi"]


def test_a_user_who_thinks_aloud_in_markup_breaks_the_role():
    conversation = run(Says("<think>what would a user say", "hi [END]"), Says())
    assert texts(conversation) == ["hi"]
    assert conversation.num_regenerated == 1


def test_a_reply_cut_at_its_limit_is_marked():
    class Cut(Says):
        async def reply(self, turns: Sequence[Turn], *, seed: int, session: str) -> Utterance:
            return Utterance(text="That sou", token_ids=(1,), finished=False, num_prompt_tokens=1)

    conversation = run(Says("hi", "what? [END]"), Cut())
    assert [turn.is_cut for turn in conversation.turns] == [False, True, False]


def test_a_replayed_reply_keeps_its_thought_apart():
    request = ReplayRequest(dialogue_id="d", prefix=(Turn(speaker=Speaker.USER, text="hi"),), chatbot="bot", seed=0)
    reply = asyncio.run(replay(request, chatbot=Says("<think>he whines</think>Hello."), timeout_s=5))
    assert (reply.text, reply.thought, reply.error) == ("Hello.", "he whines", "")
    failed = asyncio.run(replay(request, chatbot=Says("<think>he whines"), timeout_s=5))
    assert failed.text == ""
    assert "thought did not end" in failed.error
