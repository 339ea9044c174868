"""The actor that calls chatbots, beside the simulator that talks through it; actors are plain classes here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from chatbot_server import Sends, completion, serve_chatbot

from advsim.chatbots.caller import CallerActor, CallerSpec
from advsim.config import ChatbotConfig, EngineConfig, ModelConfig, RolloutConfig
from advsim.engine.protocol import EngineSpec
from advsim.errors import ConfigError
from advsim.records import Context, Conversation, Scenario, Speaker, StopReason, Turn, chatbot_turns
from advsim.rollout.replay import ReplayRequest
from advsim.rollout.simulator_actor import SimulatorActor, SimulatorSpec
from advsim.rollout.turn_loop import RolloutTask

CODE = """
class Counts:
    alive = set()
    def __init__(self):
        self.num = 0
        Counts.alive.add(id(self))
    def __del__(self):
        Counts.alive.discard(id(self))
    def reply(self, message):
        self.num += 1
        return f"reply {self.num}"

def alive(messages):
    return str(len(Counts.alive))

def boom(messages):
    raise ValueError("no database")
"""


class Handle:
    """Stands for Ray's handle: ``actor.reply.remote(...)`` gives something to await."""

    def __init__(self, actor: CallerActor) -> None:
        self._actor = actor

    def __getattr__(self, name: str) -> Handle:
        method = getattr(self._actor, name)

        class Method:
            @staticmethod
            def remote(*arguments: object) -> object:
                return asyncio.ensure_future(method(*arguments))

        return Method()


def bot(name: str, function: str, **calls: object) -> ChatbotConfig:
    return ChatbotConfig.model_validate(
        {"name": name, "kind": "python", "function": f"bots_of_callers.py:{function}", "calls": calls}
    )


def caller(folder: Path, *chatbots: ChatbotConfig, must_answer: bool = False) -> CallerActor:
    (folder / "bots_of_callers.py").write_text(CODE, encoding="utf-8")
    return CallerActor(CallerSpec(chatbots=chatbots, folder=str(folder), num_callers=1, must_answer=must_answer))


@pytest.fixture
def simulator(tiny_model) -> SimulatorActor:
    engine = EngineSpec(
        kind="scripted", config=EngineConfig(), model=ModelConfig(path=str(tiny_model)), replies=("i feel low",)
    )
    spec = SimulatorSpec(
        engine=engine,
        instructions="You write.",
        budget_tokens=512,
        rollout=RolloutConfig(max_user_turns=3, turn_timeout_s=0.3),
        chatbot=ChatbotConfig(),
    )
    return SimulatorActor(spec, "simulator-0")


def talk(simulator: SimulatorActor, actor: CallerActor, *names: str) -> list[Conversation]:
    async def all_at_once() -> list[Conversation]:
        simulator.use_callers([Handle(actor)], list(dict.fromkeys(names)))
        scenario = Scenario(id="s", context=Context())
        tasks = [
            RolloutTask(conversation_id=f"c-{number}", scenario=scenario, chatbot=name, adapter=None, seed=number)
            for number, name in enumerate(names)
        ]
        talks = await asyncio.gather(*map(simulator.simulate, tasks))
        await asyncio.sleep(0)  # the ends of sessions are not waited for
        return list(talks)

    return asyncio.run(all_at_once())


def texts(conversation: Conversation) -> list[str]:
    return [turn.text for _, turn in chatbot_turns(conversation)]


def test_conversations_with_a_class_do_not_see_each_other_and_are_forgotten(simulator, tmp_path: Path) -> None:
    actor = caller(tmp_path, bot("counts", "Counts"), bot("alive", "alive"))
    for conversation in talk(simulator, actor, "counts", "counts", "counts"):
        assert texts(conversation) == ["reply 1", "reply 2", "reply 3"]
        assert all(turn.effort.seconds < 0.3 for _, turn in chatbot_turns(conversation))
    assert actor._chatbots["counts"]._callee._instances == {}


def test_a_failing_chatbot_keeps_its_dialogues_with_the_reason_and_the_others_go_on(simulator, tmp_path: Path) -> None:
    actor = caller(tmp_path, bot("boom", "boom", max_attempts=1, max_failures_in_a_row=2), bot("counts", "Counts"))
    failed = talk(simulator, actor, *["boom"] * 4)
    assert {conversation.stop_reason for conversation in failed} == {StopReason.ERROR}
    assert [len(conversation.turns) for conversation in failed] == [1] * 4  # what the user said is kept
    reasons = [conversation.error for conversation in failed]  # which two of the four were asked first is chance
    assert all("no database" in reason for reason in reasons)
    assert sum("not asked any more" in reason for reason in reasons) == 2, reasons
    (fine,) = talk(simulator, actor, "counts")
    assert fine.stop_reason is StopReason.MAX_TURNS


def test_waiting_for_a_place_is_no_time_out_of_the_turn(simulator, tmp_path: Path) -> None:
    with serve_chatbot(lambda got: Sends(body=completion("there"), hangs_s=0.15)) as server:
        config = ChatbotConfig.model_validate(
            {
                "name": "slow",
                "kind": "endpoint",
                "endpoint": {"base_url": f"{server.url}/v1", "model": "m"},
                "calls": {"max_concurrency": 1},
            }
        )
        talks = talk(simulator, caller(tmp_path, config), "slow", "slow", "slow")  # 9 calls of 0.15 s, one at a time
    assert {conversation.stop_reason for conversation in talks} == {StopReason.MAX_TURNS}
    assert {conversation.num_output_tokens > 3 * 3 for conversation in talks} == {True}


def test_a_replayed_prefix_is_answered_with_its_time(simulator, tmp_path: Path) -> None:
    actor = caller(tmp_path, bot("counts", "Counts"))
    prefix = tuple(
        Turn(speaker=speaker, text=text)
        for speaker, text in [(Speaker.USER, "a"), (Speaker.CHATBOT, "b"), (Speaker.USER, "c")]
    )

    async def ask() -> object:
        simulator.use_callers([Handle(actor)], ["counts"])
        return await simulator.replay(ReplayRequest(dialogue_id="d", prefix=prefix, chatbot="counts", seed=0))

    reply = asyncio.run(ask())
    assert (reply.text, reply.error, reply.seconds is not None) == ("reply 2", "", True)


def test_code_that_cannot_be_loaded_names_the_chatbot(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"chatbot lost: function: .* has no 'absent'"):
        caller(tmp_path, bot("lost", "absent"))


def test_a_run_does_not_begin_with_a_chatbot_that_does_not_answer(tmp_path: Path) -> None:
    failing, fine = bot("boom", "boom", max_attempts=1), bot("counts", "Counts")
    with pytest.raises(ConfigError, match=r"chatbot boom does not answer: .*no database"):
        asyncio.run(caller(tmp_path, failing, must_answer=True).start())
    asyncio.run(caller(tmp_path, fine, must_answer=True).start())
    asyncio.run(caller(tmp_path, failing).start())  # one of several may fail beside the others
