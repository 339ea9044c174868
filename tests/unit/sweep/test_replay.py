"""Replay: which prefixes, what the chatbot sees of them, and that only its own message is judged."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from advsim.chatbots.actor import ChatbotActor, ChatbotSpec, RemoteChatbot
from advsim.chatbots.load import check_named_chatbots
from advsim.config import ChatbotConfig, Config, EngineConfig, ModelConfig, RolloutConfig, parse_config
from advsim.engine.protocol import EngineSpec
from advsim.errors import ChatbotError, ConfigError
from advsim.records import (
    Assessment,
    Context,
    Dialogue,
    FailureLabel,
    Scenario,
    Speaker,
    Split,
    StopReason,
    Turn,
    chatbot_turns,
)
from advsim.rollout.replay import ReplayedReply, ReplayRequest, replay
from advsim.rollout.simulator_actor import SimulatorActor, SimulatorSpec
from advsim.rollout.turn_loop import RolloutTask
from advsim.run_folder.folder import RunDir
from advsim.sweep.replay import (
    choose_replay_prefixes,
    read_replies,
    replay_outcomes,
    replayed_dialogues,
    replies_table,
    with_last_turn,
)


def dialogue(name: str, num_user_turns: int, *, user_id: str | None = None, opened: bool = True) -> Dialogue:
    turns = [Turn(speaker=Speaker.CHATBOT, text="hello")] if opened else []
    for number in range(1, num_user_turns + 1):
        turns += [
            Turn(speaker=Speaker.USER, text=f"{name} says {number}"),
            Turn(speaker=Speaker.CHATBOT, text=f"real bad answer {number}"),
        ]
    return Dialogue(id=name, source="test", split=Split.TEST, user_id=user_id, turns=tuple(turns))


DIALOGUES = [dialogue("a", 4), dialogue("b", 2, user_id="u"), dialogue("c", 9), dialogue("d", 1, opened=False)]


BY_ID = {each.id: each for each in DIALOGUES}


def answers(requests: Sequence[ReplayRequest]) -> list[ReplayedReply]:
    """To every request the number of turns it has."""
    return [reply(request, text=f"{request.chatbot} saw {len(request.prefix)} turns") for request in requests]


def reply(request: ReplayRequest, *, text: str, error: str = "") -> ReplayedReply:
    return ReplayedReply(
        dialogue_id=request.dialogue_id,
        turn=len(request.prefix),
        chatbot=request.chatbot,
        text=text,
        num_prompt_tokens=7,
        num_output_tokens=3,
        error=error,
    )


class FindsBad:
    """Finds the mode in every chatbot message with the word bad; sees what it was given."""

    name = "finds_bad"
    modes = ("invalidation",)

    def assess(self, dialogues, *, advance=None):
        return [
            Assessment(
                conversation_id=holder.id,
                turn=index,
                detector=self.name,
                labels=(
                    FailureLabel(
                        conversation_id=holder.id,
                        turn=index,
                        mode="invalidation",
                        severity=1,
                        span="bad",
                        detector=self.name,
                        confidence=1.0,
                    ),
                )
                if "bad" in turn.text
                else (),
            )
            for holder in dialogues
            for index, turn in chatbot_turns(holder)
        ]


def requests(num_prefixes: int = 6) -> list[ReplayRequest]:
    prefixes = choose_replay_prefixes(DIALOGUES, num_prefixes=num_prefixes, seed=3)
    return [
        ReplayRequest(dialogue_id=name, prefix=BY_ID[name].turns[: turn + 1], chatbot="x", seed=number, id=f"i{number}")
        for number, (name, turn) in enumerate(prefixes)
    ]


def test_prefixes_end_with_a_user_turn_and_hold_no_later_one() -> None:
    made = requests(num_prefixes=16)
    assert len(made) == 16
    assert all(request.prefix[-1].speaker is Speaker.USER for request in made)


def test_every_dialogue_gives_a_prefix_before_any_gives_two() -> None:
    names = [name for name, _ in choose_replay_prefixes(DIALOGUES, num_prefixes=4, seed=1)]
    assert sorted(names) == ["a", "b", "c", "d"]


def test_prefixes_stay_within_the_user_turns_that_are_compared() -> None:
    prefixes = choose_replay_prefixes(DIALOGUES, num_prefixes=100, seed=0, max_user_turn=2)
    assert len(prefixes) == 2 + 2 + 2 + 1
    heard = [BY_ID[name].turns[: turn + 1] for name, turn in prefixes]
    assert max(sum(said.speaker is Speaker.USER for said in turns) for turns in heard) == 2


def test_a_simulators_turn_stands_in_place_of_the_users_last_and_of_nothing_else() -> None:
    (request,) = requests(num_prefixes=1)
    turn = len(request.prefix) - 1
    (replayed,) = replayed_dialogues(answers([request]), BY_ID, {(request.dialogue_id, turn): "somebody else's words"})
    assert replayed.turns[:turn] == request.prefix[:-1] and replayed.turns[turn].text == "somebody else's words"
    assert replayed.turns[:-1] == with_last_turn(request.prefix, "somebody else's words")
    assert replayed.turns[-1].text == f"x saw {len(request.prefix)} turns"


def test_only_the_replayed_message_is_judged_although_the_context_fails() -> None:
    made = requests(num_prefixes=8)
    replayed = replayed_dialogues(answers(made), BY_ID)
    rows = replay_outcomes("x", replayed, FindsBad())
    assert len(rows) == 8
    assert not any(row.modes for row in rows)
    bad = replayed_dialogues([reply(request, text="a bad one") for request in made], BY_ID)
    assert all(row.modes == {"invalidation"} and not row.error for row in replay_outcomes("x", bad, FindsBad()))


def test_prefixes_of_one_dialogue_are_one_cluster_of_its_user() -> None:
    made = requests(num_prefixes=8)
    rows = replay_outcomes("x", replayed_dialogues(answers(made), BY_ID), FindsBad())
    assert {row.dialogue_id for row in rows} == {"a", "b", "c", "d"}
    assert {row.user_id for row in rows if row.dialogue_id == "b"} == {"u"}
    assert len({(row.dialogue_id, row.turn) for row in rows}) == 8


def test_a_failed_replay_is_neither_a_failure_of_the_chatbot_nor_dropped() -> None:
    made = requests(num_prefixes=4)
    replies = [reply(made[0], text="", error="HTTP 500"), *(reply(r, text="fine") for r in made[1:])]
    replayed = replayed_dialogues(replies, BY_ID)
    assert replayed[0].turns == made[0].prefix
    rows = replay_outcomes("x", replayed, FindsBad())
    assert [row.error for row in rows].count(True) == 1
    [failed] = [row for row in rows if row.error]
    assert (failed.dialogue_id, failed.turn, failed.modes) == (made[0].dialogue_id, len(made[0].prefix), frozenset())


def test_replies_survive_their_table(tmp_path: Path) -> None:
    replies = [dataclasses.replace(each, id=f"i{number}") for number, each in enumerate(answers(requests()))]
    folder = RunDir(str(tmp_path))
    for written in (replies, []):
        folder.write_table("replay.parquet", replies_table(written))
        assert read_replies(folder.read_table("replay.parquet")) == written
    with pytest.raises(TypeError, match="other"):
        read_replies(replies_table(replies).append_column("other", [[1] * len(replies)]))


class Fails:
    bounds_time = False

    async def end(self, session):
        pass

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def reply(self, turns, *, seed, session):
        raise self.error


def test_a_chatbot_that_fails_or_is_silent_is_data() -> None:
    [request] = requests(num_prefixes=1)
    answer = asyncio.run(replay(request, chatbot=Fails(ChatbotError("HTTP 500")), timeout_s=1.0))
    assert (answer.text, answer.error) == ("", "HTTP 500")

    class Sleeps(Fails):
        async def reply(self, turns, *, seed, session):
            await asyncio.sleep(5)

    answer = asyncio.run(replay(request, chatbot=Sleeps(ChatbotError()), timeout_s=0.05))
    assert "0.05 s" in answer.error


# --- several chatbots on one engine, through the actors but without Ray ----------------------------------------------


def scripted(name: str, *replies: str) -> ChatbotConfig:
    return ChatbotConfig(name=name, kind="scripted", replies=replies)


@pytest.fixture
def engine(tiny_model) -> EngineSpec:
    return EngineSpec(
        kind="scripted",
        config=EngineConfig(),
        model=ModelConfig(path=str(tiny_model)),
        replies=("i feel low",),
    )


def simulator(engine: EngineSpec, *named: ChatbotConfig) -> SimulatorActor:
    spec = SimulatorSpec(
        engine=engine,
        instructions="You write.",
        budget_tokens=512,
        rollout=RolloutConfig(max_user_turns=2),
        chatbot=ChatbotConfig(),
        named_chatbots=named,
    )
    return SimulatorActor(spec, "simulator-0")


def task(chatbot: str) -> RolloutTask:
    scenario = Scenario(id="s", context=Context())
    return RolloutTask(conversation_id="c", scenario=scenario, chatbot=chatbot, adapter=None, seed=5)


def said_by_chatbot(actor: SimulatorActor, chatbot: str) -> set[str]:
    conversation = asyncio.run(actor.simulate(task(chatbot)))
    assert (conversation.chatbot, conversation.stop_reason) == (chatbot, StopReason.MAX_TURNS)
    return {turn.text for _, turn in chatbot_turns(conversation)}


def test_one_engine_speaks_every_chatbot_by_its_name(engine: EngineSpec) -> None:
    actor = simulator(engine, scripted("warm", "i hear you"), scripted("cold", "get over it"))
    assert said_by_chatbot(actor, "warm") == {"i hear you"}
    assert said_by_chatbot(actor, "cold") == {"get over it"}
    request = dataclasses.replace(requests(num_prefixes=1)[0], chatbot="cold")
    answer = asyncio.run(actor.replay(request))
    assert (answer.chatbot, answer.text, answer.turn) == ("cold", "get over it", len(request.prefix))


def test_a_chatbot_that_is_not_there_is_an_error_and_never_another_one(engine: EngineSpec) -> None:
    actor = simulator(engine, scripted("warm", "i hear you"))
    with pytest.raises(ConfigError, match="no chatbot is called 'cool', expected one of warm"):
        asyncio.run(actor.simulate(task("cool")))


def test_without_named_chatbots_the_runs_own_answers_whatever_it_is_called(engine: EngineSpec) -> None:
    assert said_by_chatbot(simulator(engine), "anything") == {"i feel low"}


def test_chatbot_actors_are_asked_for_the_chatbot_by_name(engine: EngineSpec) -> None:
    class Remote:
        """Stands for Ray's handle: ``actor.reply.remote(...)`` gives something to await."""

        def __init__(self, actor: ChatbotActor) -> None:
            self.reply = self
            self.remote = actor.reply

    spec = ChatbotSpec(
        engine=engine,
        chatbot=scripted("own", "unused"),
        budget_tokens=512,
        named_chatbots=(scripted("cold", "get over it"),),
    )
    handle = Remote(ChatbotActor(spec))
    turns = (Turn(speaker=Speaker.USER, text="hi"),)
    assert asyncio.run(RemoteChatbot(handle, "cold").reply(turns, seed=0, session="s")).text == "get over it"
    own = asyncio.run(RemoteChatbot(handle).reply(turns, seed=0, session="s"))
    assert own.text == "i feel low"  # its own, on its engine


def run_config(**sections: object) -> Config:
    return parse_config(dict(sections))


@pytest.mark.parametrize(
    ("chatbot", "named"),
    [
        ({"name": "a", "model": {"path": "other/model"}}, "needs the model 'other/model'"),
        ({"name": "a", "sampling": {"max_tokens": 5000}}, "may take 5000 tokens"),
    ],
)
def test_a_chatbot_that_the_engines_cannot_speak_is_refused(chatbot: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        check_named_chatbots([ChatbotConfig.model_validate(chatbot)], run_config())


def test_two_chatbots_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two chatbots are called 'a'"):
        check_named_chatbots([ChatbotConfig(name="a"), ChatbotConfig(name="a")], run_config())


def test_model_chatbots_need_an_engine_with_a_model() -> None:
    own = {"kind": "scripted", "replies": ["hi"]}
    with pytest.raises(ConfigError, match="scripted"):
        check_named_chatbots([ChatbotConfig(name="a")], run_config(chatbot=own))
    check_named_chatbots([scripted("b", "hi")], run_config(chatbot=own))
